//! What holds for every verb.

use super::words::{Flag, switch, value};
use super::{Failure, usage};
use runtime::{CgroupManager, Runtime};
use std::path::PathBuf;

/// The flags that every verb takes, before or after its name.
#[derive(Debug, Default)]
pub(crate) struct Global {
    pub(crate) root: Option<PathBuf>,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_json: bool,
    pub(crate) debug: bool,
    pub(crate) cgroups: CgroupManager,
    pub(crate) rootless: Option<bool>,
    pub(crate) version: bool,
    pub(crate) help: bool,
}

pub(crate) const FLAGS: &[Flag] = &[
    value("root", None, "DIR", "Directory of the records (default: /run/mycontainer/runtime)"),
    value("log", None, "FILE", "Write errors and warnings there, too"),
    value("log-format", None, "FORMAT", "text (default) or json"),
    value("log-level", None, "LEVEL", "debug, info, warn (default) or error"),
    switch("debug", None, "Tell every step in the log, or on standard error"),
    switch("systemd-cgroup", None, "Have systemd make the control groups"),
    value("cgroup-manager", None, "WHO", "cgroupfs (default), systemd or disabled"),
    value("rootless", None, "WHETHER", "true, false or auto (default)"),
    switch("version", Some('v'), "Show version and features"),
    switch("help", Some('h'), "Show this"),
];

impl Global {
    /// Takes one flag. A switch has the value `true` or `false`.
    pub(crate) fn take(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let one_of = |words: &str| usage(format!("--{name} is {words}, not {value:?}"));
        let yes = value == "true";
        match (name, value) {
            ("root", dir) => self.root = Some(dir.into()),
            ("log", file) => self.log = Some(file.into()).filter(|_| !file.is_empty()),
            ("log-format", "json") => self.log_json = true,
            ("log-format", "text" | "") => self.log_json = false,
            ("log-format", _) => return Err(one_of("text or json")),
            ("log-level", "debug") => self.debug = true,
            ("log-level", "info" | "warn" | "warning" | "error") => {}
            ("log-level", _) => return Err(one_of("debug, info, warn or error")),
            ("debug", _) => self.debug = yes,
            ("systemd-cgroup", _) if yes => self.cgroups = CgroupManager::Systemd,
            ("systemd-cgroup", _) => {}
            ("cgroup-manager", "cgroupfs") => self.cgroups = CgroupManager::Cgroupfs,
            ("cgroup-manager", "systemd") => self.cgroups = CgroupManager::Systemd,
            ("cgroup-manager", "disabled") => self.cgroups = CgroupManager::Disabled,
            ("cgroup-manager", _) => return Err(one_of("cgroupfs, systemd or disabled")),
            ("rootless", "true" | "false") => self.rootless = Some(yes),
            ("rootless", "auto" | "") => self.rootless = None,
            ("rootless", _) => return Err(one_of("true, false or auto")),
            ("version", _) => self.version = yes,
            ("help", _) => self.help = yes,
            _ => return Err(usage(format!("--{name} is declared and not taken"))),
        }
        Ok(())
    }

    /// The containers that these flags name.
    pub(crate) fn runtime(&self) -> Result<Runtime, Failure> {
        let root = match &self.root {
            Some(root) => root.clone(),
            None => default_root()?,
        };
        Ok(Runtime { root, cgroups: self.cgroups, rootless: self.rootless })
    }
}

fn default_root() -> Result<PathBuf, Failure> {
    // Podman's rootless callers are root of a user namespace.
    if runtime::is_root_of_host() {
        return Ok("/run/mycontainer/runtime".into());
    }
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    dir.map(|dir| dir.join("mycontainer/runtime"))
        .ok_or_else(|| usage("XDG_RUNTIME_DIR is not set: name a directory for the records by --root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_that_is_declared_is_taken() {
        for flag in FLAGS {
            let value = match flag.long {
                "log-format" => "json",
                "log-level" => "debug",
                "cgroup-manager" => "disabled",
                "rootless" => "auto",
                _ => "true",
            };
            Global::default().take(flag.long, value).unwrap_or_else(|e| panic!("--{}: {e:?}", flag.long));
        }
    }
}

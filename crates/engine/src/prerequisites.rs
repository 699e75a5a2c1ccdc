//! What this host must have for containers, looked at one by one: `info --check`.
//!
//! As root and as an ordinary user not the same is needed. Nothing is made: what can be asked of the kernel without that
//! is asked, and of the rest the settings are read that decide. What breaks networks alone is the doctor's matter
//! (`network doctor`).

use crate::rootless;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{geteuid, getgid, getuid};
use std::path::{Path, PathBuf};

/// Whether something is as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Good,
    /// Containers run, but something of them does not work.
    Lacking,
    /// No container runs.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Looked {
    /// What it is.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
}

/// Looks at all of it, for who calls.
pub fn check() -> Vec<Looked> {
    let mut all = vec![kernel(), file_system("overlay", Verdict::Missing, "the writable layer of a container")];
    if geteuid().is_root() {
        let erofs = "images are kept as directories without it, which takes longer to pull";
        all.extend([file_system("erofs", Verdict::Lacking, erofs), groups_of_root()]);
    } else {
        all.extend([user_namespaces(), id_programs(), ids(), way_out(), run_dir(), groups_of_user()]);
    }
    all
}

fn good(name: &'static str, found: impl Into<String>) -> Looked {
    Looked { name, verdict: Verdict::Good, found: found.into(), remedy: String::new() }
}

fn bad(name: &'static str, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Looked {
    Looked { name, verdict, found: found.into(), remedy: remedy.into() }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The oldest that we have run on is 5.15; overlays of ordinary users need 5.11.
fn kernel() -> Looked {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version {
        (major, minor) if (major, minor) >= (5, 15) => good("kernel", release),
        _ => bad("kernel", Verdict::Missing, release, "use Linux 5.15 or later"),
    }
}

/// As the kernel lists it; a module that is not loaded yet is looked for among the files of this kernel.
fn file_system(name: &'static str, verdict: Verdict, what_for: &str) -> Looked {
    let is_listed = read("/proc/filesystems")
        .is_some_and(|all| all.lines().any(|line| line.trim_start_matches("nodev").trim() == name));
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let builtin = read(&format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    if is_listed || builtin.contains(&format!("/{name}.ko")) {
        return good(name, "this kernel has it");
    }
    bad(name, verdict, format!("this kernel does not list it: {what_for}"), format!("sudo modprobe {name}"))
}

fn groups_of_root() -> Looked {
    match cgroup::Host::detect() {
        Ok(host) => good("control groups", if host.is_v2() { "version 2" } else { "version 1" }),
        Err(error) => {
            bad("control groups", Verdict::Missing, error.to_string(), "mount -t cgroup2 none /sys/fs/cgroup")
        }
    }
}

/// What limits can need.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// An ordinary user's containers have them where a part of the tree is delegated to that user.
fn groups_of_user() -> Looked {
    let name = "control groups";
    let host = match cgroup::Host::detect() {
        Ok(host) => host,
        Err(error) => {
            return bad(name, Verdict::Lacking, error.to_string(), "sudo mount -t cgroup2 none /sys/fs/cgroup");
        }
    };
    let offer = match cgroup::Subtree::offer(&host) {
        Ok(offer) => offer,
        Err(error) => {
            let found = format!("without them there are no limits and no `pause`: {error}");
            return bad(name, Verdict::Lacking, found, error.hint().unwrap_or_default());
        }
    };
    let (from, all) = (&offer.from, offer.controllers.join(" "));
    let missing: Vec<&str> =
        CONTROLLERS.into_iter().filter(|one| !offer.controllers.iter().any(|other| other == one)).collect();
    if missing.is_empty() {
        return good(name, format!("version 2, by {from}, with {all}"));
    }
    let found = format!("version 2, by {from}, without {}: what these limit cannot be limited", missing.join(" and "));
    bad(name, Verdict::Lacking, found, offer.remedy(&missing))
}

/// The settings by which distributions keep ordinary users from it. [user_namespaces(7)]
fn user_namespaces() -> Looked {
    let name = "user namespaces";
    let is = |path: &str, value: &str| read(path).as_deref() == Some(value);
    if !Path::new("/proc/self/ns/user").exists() {
        return bad(name, Verdict::Missing, "this kernel has none", "use a kernel with CONFIG_USER_NS");
    }
    for (path, closed, open) in [
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ] {
        if is(path, closed) {
            return bad(name, Verdict::Missing, format!("{path} is {closed}"), format!("sudo sysctl -w {open}"));
        }
    }
    good(name, "ordinary users may make them")
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn id_programs() -> Looked {
    let missing: Vec<&str> = ["newuidmap", "newgidmap"].into_iter().filter(|name| in_path(name).is_none()).collect();
    if missing.is_empty() {
        return good("newuidmap", "both programs are in PATH");
    }
    let found = format!("there is no {} in PATH", missing.join(" and no "));
    bad("newuidmap", Verdict::Lacking, found, "install the package uidmap (Debian) or shadow-utils (Fedora)")
}

fn ids() -> Looked {
    match rootless::ranges(getuid().as_raw(), getgid().as_raw()) {
        Some((users, groups)) => good("subordinate ids", format!("{users} users and {groups} groups")),
        None => bad(
            "subordinate ids",
            Verdict::Lacking,
            "none for you in /etc/subuid and /etc/subgid: containers have one user, root",
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
        ),
    }
}

fn way_out() -> Looked {
    let name = "pasta";
    let may_open = accessat(CWD, "/dev/net/tun", Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
    let found = in_path(name).map(|path| path.display().to_string());
    let stands_in =
        || in_path("slirp4netns").map(|path| format!("none in PATH; {} does the same, slower", path.display()));
    match (found.or_else(stands_in), may_open) {
        (Some(found), Ok(())) => good(name, found),
        (None, _) => bad(
            name,
            Verdict::Lacking,
            "there is none in PATH, and no slirp4netns: networks of containers lead nowhere",
            "install the package passt, or slirp4netns",
        ),
        (_, Err(error)) => {
            let remedy = "sudo modprobe tun; sudo chmod 666 /dev/net/tun";
            bad(name, Verdict::Lacking, format!("/dev/net/tun cannot be opened: {error}"), remedy)
        }
    }
}

fn run_dir() -> Looked {
    let name = "XDG_RUNTIME_DIR";
    match std::env::var_os(name) {
        Some(dir) if Path::new(&dir).is_dir() => good(name, dir.to_string_lossy().into_owned()),
        _ => bad(
            name,
            Verdict::Lacking,
            "it is not set: a directory of /tmp stands in for it",
            "log in through PAM and systemd-logind",
        ),
    }
}

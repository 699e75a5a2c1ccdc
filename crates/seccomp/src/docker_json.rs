//! A profile file, as `--security-opt seccomp=FILE` takes it.
//!
//! Docker's format: an OCI section in which rules may depend on capabilities, architecture and kernel (`includes`,
//! `excludes`), in which `archMap` may stand for `architectures`, and a rule may have a `name` for its `names`. A plain
//! OCI section is one too. What has no meaning here is ignored, as by Docker. The file is a person's or a stranger's:
//! whatever is in it gives a section or an error.

use std::collections::HashSet;
use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::runtime::{
    Arch as OciArch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSyscall,
};
use serde::Deserialize;

use crate::{Arch, Error};

/// Docker's own default has 17 kB.
const MAX_LENGTH: usize = 4 << 20;

#[derive(Deserialize)]
// A key that we do not know could be a misspelt one, and what it forbids would be allowed.
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchEntry>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Rule>>,
    // Podman writes the name beside the number, for the reader.
    default_errno: Option<String>,
    // People explain themselves here.
    #[serde(rename = "comment")]
    _comment: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a profile file for a container with these capabilities in its bounding set, on a kernel of that version (its
/// first two numbers) and a machine of that native architecture.
///
/// A rule applies if its `includes` hold in full (every capability, one of the architectures, the kernel) and none of
/// its `excludes` does.
pub fn parse_docker_profile(
    json: &str,
    capabilities: &HashSet<Capability>,
    kernel: (u32, u32),
    arch: Arch,
) -> Result<LinuxSeccomp, Error> {
    if json.len() > MAX_LENGTH {
        return Err(Error::FileTooLarge { length: json.len(), limit: MAX_LENGTH });
    }
    let file: File = serde_json::from_str(json)?;
    if let (Some(name), None) = (&file.default_errno, file.default_errno_ret) {
        return Err(Error::ErrnoByName { name: name.clone() });
    }
    let host = Host { capabilities, kernel, arch };
    let architectures = architectures(&file, arch)?;
    let mut rules = Vec::new();
    for rule in file.syscalls.into_iter().flatten() {
        if let Some(rule) = host.applied(rule)? {
            rules.push(rule);
        }
    }
    let mut section = LinuxSeccomp::default();
    section
        .set_default_action(file.default_action)
        .set_default_errno_ret(file.default_errno_ret)
        .set_architectures(architectures)
        .set_flags(file.flags)
        .set_listener_path(file.listener_path)
        .set_listener_metadata(file.listener_metadata)
        .set_syscalls(Some(rules));
    Ok(section)
}

/// Only the map's entry for the native architecture counts, so the others may name what we have never heard of.
fn architectures(file: &File, native: Arch) -> Result<Option<Vec<OciArch>>, Error> {
    let listed = file.architectures.as_deref().unwrap_or_default();
    let map = file.arch_map.as_deref().unwrap_or_default();
    if !listed.is_empty() && !map.is_empty() {
        return Err(Error::BothGiven { one: "architectures", other: "archMap" });
    }
    let native = native.to_oci().to_string();
    let entry = map.iter().find(|entry| entry.architecture == native);
    let mapped = entry
        .into_iter()
        .flat_map(|entry| std::iter::once(&entry.architecture).chain(entry.sub_architectures.iter().flatten()));
    let known = |name: &String| OciArch::from_str(name).map_err(|_| Error::UnknownArch { name: name.clone() });
    let all = listed.iter().chain(mapped).map(known).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

struct Host<'a> {
    capabilities: &'a HashSet<Capability>,
    kernel: (u32, u32),
    arch: Arch,
}

impl Host<'_> {
    /// The rule as the runtime-spec knows it, `None` where its conditions leave it out.
    fn applied(&self, rule: Rule) -> Result<Option<LinuxSyscall>, Error> {
        let mut names = rule.names.unwrap_or_default();
        match rule.name.filter(|name| !name.is_empty()) {
            Some(_) if !names.is_empty() => return Err(Error::BothGiven { one: "name", other: "names" }),
            Some(name) => names.push(name),
            None => {}
        }
        let excluded = rule.excludes.map_or(Ok(false), |filter| self.excludes(&filter))?;
        let included = rule.includes.map_or(Ok(true), |filter| self.includes(&filter))?;
        if excluded || !included {
            return Ok(None);
        }
        let mut applied = LinuxSyscall::default();
        applied.set_names(names).set_action(rule.action).set_errno_ret(rule.errno_ret).set_args(rule.args);
        Ok(Some(applied))
    }

    fn excludes(&self, filter: &Filter) -> Result<bool, Error> {
        let kernel = self.reaches(filter)?.unwrap_or(false);
        let capability = filter.caps.iter().flatten().any(|name| self.has(name));
        let arch = filter.arches.iter().flatten().any(|name| self.is(name));
        Ok(kernel || capability || arch)
    }

    fn includes(&self, filter: &Filter) -> Result<bool, Error> {
        let kernel = self.reaches(filter)?.unwrap_or(true);
        let capabilities = filter.caps.iter().flatten().all(|name| self.has(name));
        let arch = filter.arches.as_ref().is_none_or(|all| all.is_empty() || all.iter().any(|name| self.is(name)));
        Ok(kernel && capabilities && arch)
    }

    /// A capability that we have never heard of is not had.
    fn has(&self, name: &str) -> bool {
        let known = name.strip_prefix("CAP_").and_then(|name| Capability::from_str(name).ok());
        known.is_some_and(|capability| self.capabilities.contains(&capability))
    }

    fn is(&self, name: &str) -> bool {
        name == self.arch.docker_name()
    }

    /// Whether the kernel is as new as `minKernel`, `None` if there is none. An empty one Docker reads as 0.0.
    fn reaches(&self, filter: &Filter) -> Result<Option<bool>, Error> {
        let Some(text) = filter.min_kernel.as_deref() else {
            return Ok(None);
        };
        if text.is_empty() {
            return Ok(Some(true));
        }
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let version = text.split_once('.').and_then(|(version, major)| Some((number(version)?, number(major)?)));
        match version {
            None | Some((0, 0)) => Err(Error::BadKernelVersion { text: text.to_owned() }),
            Some(version) => Ok(Some(self.kernel >= version)),
        }
    }
}

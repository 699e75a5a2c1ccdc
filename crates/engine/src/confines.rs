//! What holds for every process of a container, its first one and those that join it later.
//!
//! The container's record tells of it what is not as by default, so that `exec` gives its program no more than the
//! container has. What can change on the host meanwhile, a profile's file, is in the record itself.

use crate::default_capabilities::DEFAULT;
use crate::error::Error;
use crate::options::{RunOptions, SeccompChoice};
use crate::seccomp;
use crate::state::Id;
use crate::user::Identity;
use ::seccomp::Program;
use oci_spec::runtime::{Capability, LinuxCapabilities, PosixRlimit, PosixRlimitBuilder, Process, User};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What holds for every process of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Confines {
    /// Its host name; none is the one by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    /// None are the default ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<Capability>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_new_privileges: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<PosixRlimit>,
    /// None is the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    umask: Option<u32>,
    #[serde(skip_serializing_if = "Filter::is_default")]
    filter: Filter,
}

/// Which system call filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Filter {
    /// That of Docker's profile for the container's capabilities.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// That of a profile in Docker's format: its text.
    Profile(String),
}

impl Filter {
    fn of(choice: &SeccompChoice, privileged: bool) -> Result<Filter, Error> {
        match choice {
            SeccompChoice::Unconfined => Ok(Filter::Unconfined),
            // As Docker: --privileged lifts the default profile, but not one that was asked for.
            SeccompChoice::Default if privileged => Ok(Filter::Unconfined),
            SeccompChoice::Default => Ok(Filter::Default),
            SeccompChoice::File(path) => {
                let failed = |source| Error::File { what: "read the seccomp profile", path: path.clone(), source };
                std::fs::read_to_string(path).map(Filter::Profile).map_err(failed)
            }
        }
    }

    fn is_default(&self) -> bool {
        *self == Filter::Default
    }
}

/// A process that is to be described.
pub(crate) struct Wanted<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) words: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: &'a Path,
    pub(crate) tty: bool,
    /// With every capability, whatever the container has.
    pub(crate) privileged: bool,
}

impl Confines {
    /// Those that the flags ask for.
    pub(crate) fn of(options: &RunOptions) -> Result<Confines, Error> {
        let set = capabilities(options);
        let listed = || runtime::capabilities::ALL.into_iter().filter(|known| set.contains(known)).collect();
        let is_default = set.len() == DEFAULT.len() && DEFAULT.iter().all(|known| set.contains(known));
        let limits = options.ulimits.iter().map(|ulimit| {
            let limit = PosixRlimitBuilder::default().typ(ulimit.kind).soft(ulimit.soft).hard(ulimit.hard).build();
            limit.map_err(|e| Error::Conflict(format!("--ulimit: {e}")))
        });
        Ok(Confines {
            hostname: options.hostname.clone(),
            capabilities: (!is_default).then(listed),
            no_new_privileges: options.no_new_privileges,
            limits: limits.collect::<Result<_, _>>()?,
            umask: options.umask,
            filter: Filter::of(&options.seccomp, options.privileged)?,
        })
    }

    /// Its host name.
    pub(crate) fn hostname<'a>(&'a self, id: &'a Id) -> &'a str {
        self.hostname.as_deref().unwrap_or(id.host_name())
    }

    fn capabilities(&self) -> HashSet<Capability> {
        self.capabilities.as_deref().unwrap_or(&DEFAULT).iter().copied().collect()
    }

    /// The system call filter, if there is one.
    pub(crate) fn filter(&self) -> Result<Option<Program>, Error> {
        match &self.filter {
            Filter::Unconfined => Ok(None),
            Filter::Default if self.capabilities.is_none() => seccomp::embedded().map(Some),
            Filter::Default => seccomp::default(&self.capabilities()).map(Some),
            Filter::Profile(text) => seccomp::of_profile(text, &self.capabilities()).map(Some),
        }
    }

    /// A process of the container.
    pub(crate) fn process(&self, wanted: Wanted<'_>) -> Process {
        let Identity { uid, gid, groups, .. } = wanted.identity;
        let mut user = User::default();
        user.set_uid(*uid);
        user.set_gid(*gid);
        user.set_umask(self.umask);
        user.set_additional_gids((!groups.is_empty()).then(|| groups.clone()));
        let set = if wanted.privileged { everything() } else { self.capabilities() };
        let mut process = Process::default();
        process.set_terminal(Some(wanted.tty));
        process.set_user(user);
        process.set_args(Some(wanted.words));
        process.set_env(Some(wanted.env));
        process.set_cwd(wanted.cwd.to_owned());
        process.set_no_new_privileges(Some(self.no_new_privileges));
        process.set_capabilities(Some(capability_sets(set, *uid)));
        process.set_rlimits(Some(self.limits.clone()));
        process
    }
}

/// Docker's few variables, of which the container keeps what `is_kept`, then those that were asked for; the last with a
/// name wins.
pub(crate) fn environment<'a>(
    is_kept: impl Fn(&str) -> bool,
    hostname: &str,
    tty: bool,
    home: &str,
    wanted: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if tty {
        env.push("TERM=xterm".into());
    }
    env.push(format!("HOME={home}"));
    env.retain(|variable| is_kept(variable));
    env.extend(wanted.cloned());
    // From the end on, so that what an image has in tens of thousands is looked at once.
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut seen = BTreeSet::new();
    let mut last: Vec<String> = env.into_iter().rev().filter(|variable| seen.insert(name(variable))).collect();
    last.reverse();
    last
}

fn everything() -> HashSet<Capability> {
    runtime::capabilities::ALL.into_iter().collect()
}

/// The capabilities of a container: Docker's default, all for --privileged, changed by --cap-add and --cap-drop.
fn capabilities(options: &RunOptions) -> HashSet<Capability> {
    if options.privileged {
        return everything();
    }
    let drop_all = options.cap_drop.contains(&None);
    let mut set: HashSet<Capability> = if options.cap_add.contains(&None) {
        everything()
    } else if drop_all {
        HashSet::new()
    } else {
        DEFAULT.into_iter().collect()
    };
    for dropped in options.cap_drop.iter().flatten() {
        set.remove(dropped);
    }
    set.extend(options.cap_add.iter().flatten().filter(|added| !options.cap_drop.contains(&Some(**added))));
    set
}

/// Inheritable and ambient sets stay empty: file capabilities of the image give nothing more. (CVE-2022-24769)
fn capability_sets(set: HashSet<Capability>, uid: u32) -> LinuxCapabilities {
    // A user that is not root starts without any, and can gain those of the bounding set by set-uid programs only.
    let own = if uid == 0 { set.clone() } else { HashSet::new() };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(set));
    sets.set_effective(Some(own.clone()));
    sets.set_permitted(Some(own));
    sets.set_inheritable(None);
    sets.set_ambient(None);
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Ulimit;
    use oci_spec::runtime::PosixRlimitType;

    fn options(add: &[Option<Capability>], drop: &[Option<Capability>]) -> RunOptions {
        RunOptions { cap_add: add.into(), cap_drop: drop.into(), ..RunOptions::default() }
    }

    #[test]
    fn capabilities_add_up_as_dockers_do() {
        use Capability::{Chown, NetAdmin, SysAdmin};
        assert_eq!(capabilities(&options(&[], &[])).len(), 14);
        assert!(capabilities(&options(&[Some(NetAdmin)], &[])).contains(&NetAdmin));
        assert!(!capabilities(&options(&[], &[Some(Chown)])).contains(&Chown));
        assert_eq!(capabilities(&options(&[Some(Chown)], &[None])), [Chown].into());
        let all_but = capabilities(&options(&[None], &[Some(SysAdmin)]));
        assert!(all_but.len() == 40 && !all_but.contains(&SysAdmin));
        let privileged = RunOptions { privileged: true, ..RunOptions::default() };
        assert_eq!(capabilities(&privileged).len(), 41);
    }

    #[test]
    fn a_record_tells_what_is_not_as_by_default() {
        let json = |options: &RunOptions| serde_json::to_string(&Confines::of(options).unwrap()).unwrap();
        assert_eq!(json(&RunOptions::default()), "{}");
        let ulimits = vec![Ulimit { kind: PosixRlimitType::RlimitNofile, soft: 1, hard: u64::MAX }];
        let changed = [
            RunOptions { hostname: Some("h".into()), ..RunOptions::default() },
            options(&[Some(Capability::NetAdmin)], &[]),
            options(&[], &[None]),
            RunOptions { privileged: true, ..RunOptions::default() },
            RunOptions { no_new_privileges: true, ..RunOptions::default() },
            RunOptions { ulimits, ..RunOptions::default() },
            RunOptions { seccomp: SeccompChoice::Unconfined, ..RunOptions::default() },
            RunOptions { seccomp: SeccompChoice::File("/proc/version".into()), ..RunOptions::default() },
        ];
        for options in changed {
            let (confines, text) = (Confines::of(&options).unwrap(), json(&options));
            assert_ne!(text, "{}", "{options:?}");
            let read: Confines = serde_json::from_str(&text).unwrap();
            assert_eq!(read, confines, "{text}");
            assert_eq!(read.capabilities(), capabilities(&options), "{text}");
        }
    }
}

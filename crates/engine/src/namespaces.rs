//! `--network`, `--ipc`, `--pid`, `--uts` and `--cgroupns`: whose namespaces a container is in, and which flags that makes
//! senseless. Where those of others come from, see `containers::sharing`.

use crate::error::Error;
use crate::options::{NetworkMode, RunOptions};
use crate::parse::ParseError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose a namespace is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// The container's own.
    #[default]
    Private,
    /// Its own, which others may join. Of ipc.
    Shareable,
    /// Its own, without a /dev/shm. Of ipc.
    Bare,
    /// The host's.
    Host,
    /// Another container's: by its id, once the container is made.
    Container(String),
}

impl NamespaceMode {
    /// `--ipc`.
    pub fn of_ipc(text: &str) -> Result<NamespaceMode, ParseError> {
        match text {
            "shareable" => Ok(NamespaceMode::Shareable),
            "none" => Ok(NamespaceMode::Bare),
            _ => NamespaceMode::of_pid(text)
                .map_err(|_| ParseError::new(text, "it is private, shareable, none, host or container:NAME")),
        }
    }

    /// `--pid`, and `--uts`.
    pub fn of_pid(text: &str) -> Result<NamespaceMode, ParseError> {
        match text.strip_prefix("container:") {
            Some("") => {}
            Some(words) => return Ok(NamespaceMode::Container(words.to_owned())),
            None => {}
        }
        NamespaceMode::of_cgroups(text).map_err(|_| ParseError::new(text, "it is private, host or container:NAME"))
    }

    /// `--cgroupns`.
    pub fn of_cgroups(text: &str) -> Result<NamespaceMode, ParseError> {
        match text {
            "private" => Ok(NamespaceMode::Private),
            "host" => Ok(NamespaceMode::Host),
            _ => Err(ParseError::new(text, "it is private or host")),
        }
    }

    /// Whether it is the container's own.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, NamespaceMode::Private | NamespaceMode::Shareable | NamespaceMode::Bare)
    }

    /// The other container, if it is one's.
    pub(crate) fn other(&self) -> Option<&str> {
        match self {
            NamespaceMode::Container(other) => Some(other),
            _ => None,
        }
    }
}

impl fmt::Display for NamespaceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamespaceMode::Private => f.write_str("private"),
            NamespaceMode::Shareable => f.write_str("shareable"),
            NamespaceMode::Bare => f.write_str("none"),
            NamespaceMode::Host => f.write_str("host"),
            NamespaceMode::Container(other) => write!(f, "container:{other}"),
        }
    }
}

/// Whether what the flags say of namespaces can be meant. As they were typed: of a container that was made, what is the
/// other's stands beside it.
pub(crate) fn check(options: &RunOptions) -> Result<(), Error> {
    refuse(&of_network(options), &format!("--network {}", options.network))?;
    refuse(&of_ipc(options), &format!("--ipc {}", options.ipc))?;
    refuse(&[("--init", !options.pid.is_own() && options.init)], &format!("--pid {}", options.pid))?;
    let hostname = [
        ("--hostname", !options.uts.is_own() && options.hostname.is_some()),
        ("--domainname", !options.uts.is_own() && options.domainname.is_some()),
        ("--sysctl kernel.domainname", !options.uts.is_own() && sets(options, |name| name == "kernel.domainname")),
    ];
    refuse(&hostname, &format!("--uts {}", options.uts))
}

fn refuse(flags: &[(&str, bool)], beside: &str) -> Result<(), Error> {
    match flags.iter().find(|(_, is_said)| *is_said) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(Error::Conflict(format!("{flag} cannot be used with {beside}: it is not the container's own")))
        }
    }
}

/// Flags that say what an own network would have, and whether they are said in vain.
fn of_network(options: &RunOptions) -> Vec<(&'static str, bool)> {
    let is_own = !matches!(options.network, NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Namespace(_));
    let sysctl = ("--sysctl net.*", !is_own && sets(options, |name| name.starts_with("net.")));
    let publish = ("--publish", options.publishes());
    match options.network {
        NetworkMode::Namespace(_) => vec![sysctl, publish],
        NetworkMode::Container(_) => vec![
            sysctl,
            publish,
            ("--expose", !options.expose.is_empty()),
            ("--hostname", options.hostname.is_some()),
            ("--add-host", !options.add_hosts.is_empty()),
            ("--dns", !options.dns.is_empty()),
            ("--dns-search", !options.dns_search.is_empty()),
            ("--dns-option", !options.dns_options.is_empty()),
            ("--no-hosts", options.no_hosts),
        ],
        _ => vec![sysctl],
    }
}

fn of_ipc(options: &RunOptions) -> [(&'static str, bool); 2] {
    const PREFIXES: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
    let is_own = options.ipc.is_own();
    let sets_it = sets(options, |name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let has_shm = is_own && options.ipc != NamespaceMode::Bare;
    [("--sysctl kernel.shm*", !is_own && sets_it), ("--shm-size", !has_shm && options.shm_size.is_some())]
}

/// Whether a parameter of the kernel is set. Its name may be written with slashes.
fn sets(options: &RunOptions, is_it: impl Fn(&str) -> bool) -> bool {
    options.sysctls.iter().any(|(name, _)| is_it(&name.replace('/', ".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_written_as_it_is_typed() {
        type Parse = fn(&str) -> Result<NamespaceMode, ParseError>;
        let cases: [(Parse, &[&str], &[&str]); 3] = [
            (
                NamespaceMode::of_ipc,
                &["private", "shareable", "none", "host", "container:a"],
                &["", "container:", "ns:/x", "Private"],
            ),
            (NamespaceMode::of_pid, &["private", "host", "container:a"], &["none", "shareable", "container:", ""]),
            (NamespaceMode::of_cgroups, &["private", "host"], &["container:a", "none"]),
        ];
        for (parse, right, wrong) in cases {
            for text in right {
                assert_eq!(parse(text).unwrap().to_string(), *text);
            }
            wrong.iter().for_each(|text| assert!(parse(text).is_err(), "{text}"));
        }
    }

    #[test]
    fn what_is_said_of_anothers_is_refused() {
        let other = || NamespaceMode::Container("x".into());
        let sysctl = |name: &str| vec![(name.to_owned(), "1".to_owned())];
        let none = RunOptions::default;
        let of = |network: &str| {
            let mut options = none();
            options.add_network(network).unwrap();
            options
        };
        let hostname = Some("h".to_owned());
        let dns = vec!["10.0.0.1".parse().unwrap()];
        let cases = [
            (RunOptions { hostname: hostname.clone(), ..none() }, true),
            (RunOptions { publish_all: true, ..of("container:x") }, false),
            (RunOptions { publish_all: true, ..of("ns:/x") }, false),
            (RunOptions { publish_all: true, ..of("host") }, true),
            (RunOptions { hostname: hostname.clone(), ..of("container:x") }, false),
            (RunOptions { hostname: hostname.clone(), ..of("ns:/x") }, true),
            (RunOptions { dns: dns.clone(), ..of("container:x") }, false),
            (RunOptions { dns, ..of("ns:/x") }, true),
            (RunOptions { expose: vec!["80/tcp".into()], ..of("container:x") }, false),
            (RunOptions { add_hosts: vec![("a".into(), None)], ..of("container:x") }, false),
            (RunOptions { sysctls: sysctl("net.ipv4.ip_forward"), ..of("bridge") }, true),
            (RunOptions { sysctls: sysctl("net/ipv4/ip_forward"), ..of("host") }, false),
            (RunOptions { sysctls: sysctl("net.ipv4.ip_forward"), ..of("ns:/x") }, false),
            (RunOptions { sysctls: sysctl("kernel.shmmax"), ..of("host") }, true),
            (RunOptions { sysctls: sysctl("kernel.shmmax"), ipc: NamespaceMode::Host, ..none() }, false),
            (RunOptions { sysctls: sysctl("fs/mqueue/msg_max"), ipc: other(), ..none() }, false),
            (RunOptions { shm_size: Some(1), ipc: NamespaceMode::Shareable, ..none() }, true),
            (RunOptions { shm_size: Some(1), ipc: NamespaceMode::Bare, ..none() }, false),
            (RunOptions { shm_size: Some(1), ipc: other(), ..none() }, false),
            (RunOptions { hostname: hostname.clone(), uts: NamespaceMode::Host, ..none() }, false),
            (RunOptions { sysctls: sysctl("kernel.domainname"), uts: other(), ..none() }, false),
            (RunOptions { init: true, ..none() }, true),
            (RunOptions { init: true, pid: other(), ..none() }, false),
        ];
        for (options, is_right) in cases {
            assert_eq!(check(&options).is_ok(), is_right, "{options:?}");
        }
    }
}

//! The flags of `run`, each declared once: parser, help and the compatibility table come from here.

use crate::run::Request;
use engine::{NetworkMode, ParseError, RunOptions};
use step::Format;

/// One flag.
pub(crate) struct Flag {
    /// Without the dashes.
    pub(crate) long: &'static str,
    /// One letter, if it has one.
    pub(crate) short: Option<char>,
    /// Name of its value in the help; none for a switch. A value in brackets may be left out.
    pub(crate) value: Option<&'static str>,
    /// What it does, one line.
    pub(crate) help: &'static str,
    /// Heading in the help.
    pub(crate) group: Group,
    /// What it changes.
    pub(crate) apply: fn(&mut Request, &str) -> Result<(), ParseError>,
}

/// Headings of the help, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Container,
    Process,
    Files,
    Network,
    Limits,
    Security,
    Tool,
}

impl Group {
    /// In the order of the help.
    pub(crate) const ALL: [Group; 7] =
        [Group::Container, Group::Process, Group::Files, Group::Network, Group::Limits, Group::Security, Group::Tool];

    /// As the help shows it.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Group::Container => "Container",
            Group::Process => "Process",
            Group::Files => "Files",
            Group::Network => "Network",
            Group::Limits => "Limits",
            Group::Security => "Security",
            Group::Tool => "The tool itself",
        }
    }
}

const fn value(
    long: &'static str,
    short: Option<char>,
    name: &'static str,
    group: Group,
    help: &'static str,
    apply: fn(&mut Request, &str) -> Result<(), ParseError>,
) -> Flag {
    Flag { long, short, value: Some(name), help, group, apply }
}

const fn switch(
    long: &'static str,
    short: Option<char>,
    group: Group,
    help: &'static str,
    apply: fn(&mut Request, &str) -> Result<(), ParseError>,
) -> Flag {
    Flag { long, short, value: None, help, group, apply }
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, ParseError> {
    text.parse().map_err(|_| ParseError::new(text, what))
}

/// Every flag of `run`.
pub(crate) const RUN: &[Flag] = &[
    value("name", None, "NAME", Group::Container, "Name the container; no two have the same", |r, v| {
        r.options.name = Some(RunOptions::container_name(v)?);
        Ok(())
    }),
    value(
        "hostname",
        Some('h'),
        "NAME",
        Group::Container,
        "Host name (default: the first 8 digits of the id)",
        |r, v| {
            let plain = v.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
            if v.is_empty() || v.len() > 64 || !plain {
                return Err(ParseError::new(v, "a host name is 1 to 64 of a-z A-Z 0-9 - . _"));
            }
            r.options.hostname = Some(v.to_owned());
            Ok(())
        },
    ),
    value("label", Some('l'), "NAME=VALUE", Group::Container, "Write a label into the container's record", |r, v| {
        r.options.labels.push(RunOptions::pair(v));
        Ok(())
    }),
    switch("rm", None, Group::Container, "Remove the container when it ends: so far every one is", |_, _| Ok(())),
    switch("read-only", None, Group::Container, "Make the root file system read-only", |r, _| {
        r.options.read_only = true;
        Ok(())
    }),
    switch("ephemeral", None, Group::Container, "Keep a directory ROOT unchanged: what is written goes", |r, _| {
        r.options.ephemeral = true;
        Ok(())
    }),
    switch("interactive", Some('i'), Group::Process, "Connect standard input", |r, _| {
        r.options.interactive = true;
        Ok(())
    }),
    switch("tty", Some('t'), Group::Process, "Give it a terminal", |r, _| {
        r.options.tty = true;
        Ok(())
    }),
    switch("init", None, Group::Process, "Run an init as PID 1 that reaps orphans and passes signals on", |r, _| {
        r.options.init = true;
        Ok(())
    }),
    value("entrypoint", None, "PROGRAM", Group::Process, "Program to run; COMMAND becomes its arguments", |r, v| {
        r.options.entrypoint = (!v.is_empty()).then(|| v.to_owned());
        Ok(())
    }),
    value("env", Some('e'), "NAME[=VALUE]", Group::Process, "Set a variable, or pass on the tool's own", |r, v| {
        r.options.add_env(v)
    }),
    value("env-file", None, "FILE", Group::Process, "Set the variables of a file, one a line", |r, v| {
        r.options.add_env_file(v)
    }),
    value("workdir", Some('w'), "DIR", Group::Process, "Start in this directory; it is made when missing", |r, v| {
        if !v.starts_with('/') {
            return Err(ParseError::new(v, "it must be an absolute path in the container"));
        }
        r.options.workdir = Some(v.into());
        Ok(())
    }),
    value("user", Some('u'), "USER[:GROUP]", Group::Process, "Run as this user, by name or number", |r, v| {
        r.options.user = Some(v.to_owned());
        Ok(())
    }),
    value("ulimit", None, "NAME=SOFT[:HARD]", Group::Process, "Set a resource limit, as nofile=1024", |r, v| {
        r.options.add_ulimit(v)
    }),
    value("volume", Some('v'), "HOST:DIR[:ro]", Group::Files, "Show a path of the host in the container", |r, v| {
        r.options.add_volume(v)
    }),
    value(
        "mount",
        None,
        "KEY=VALUE,...",
        Group::Files,
        "Mount, as type=bind,src=/a,dst=/b,ro or type=tmpfs",
        |r, v| r.options.add_mount(v),
    ),
    value("tmpfs", None, "DIR[:OPTIONS]", Group::Files, "Mount a file system in memory", |r, v| r.options.add_tmpfs(v)),
    value("device", None, "HOST[:DIR][:rwm]", Group::Files, "Give it a device of the host", |r, v| {
        r.options.add_device(v)
    }),
    value("shm-size", None, "SIZE", Group::Files, "Size of /dev/shm (default: 64m)", |r, v| {
        r.options.shm_size = Some(RunOptions::size(v)?).filter(|size| *size > 0);
        Ok(())
    }),
    value("network", None, "MODE", Group::Network, "bridge (default), none, or host", |r, v| {
        r.options.network = NetworkMode::from_name(v)?;
        Ok(())
    }),
    value(
        "add-host",
        None,
        "NAME:IP",
        Group::Network,
        "Add a line to /etc/hosts; host-gateway is this host",
        |r, v| r.options.add_host(v),
    ),
    value("dns", None, "IP", Group::Network, "Ask this name server in place of the host's", |r, v| {
        r.options.dns.push(RunOptions::ip(v)?);
        Ok(())
    }),
    value("memory", Some('m'), "SIZE", Group::Limits, "Memory at most, as 64m or 2g", |r, v| {
        r.options.limits.memory = Some(RunOptions::size(v)?).filter(|size| *size > 0);
        Ok(())
    }),
    value(
        "memory-swap",
        None,
        "SIZE",
        Group::Limits,
        "Memory and swap together at most; -1: no limit of swap",
        |r, v| {
            r.options.limits.memory_swap = match v {
                "-1" => Some(None),
                "0" => None,
                size => Some(Some(RunOptions::size(size)?)),
            };
            Ok(())
        },
    ),
    value("cpus", None, "NUMBER", Group::Limits, "Processors at most, as 1.5", |r, v| {
        r.options.limits.nano_cpus = if v == "0" { None } else { Some(RunOptions::cpus(v)?) };
        Ok(())
    }),
    value(
        "cpu-shares",
        Some('c'),
        "NUMBER",
        Group::Limits,
        "Weight against other containers (default: 1024)",
        |r, v| {
            let shares = parsed(v, "it is no number from 2 to 262144")?;
            if !(2..=262_144).contains(&shares) {
                return Err(ParseError::new(v, "it is no number from 2 to 262144"));
            }
            r.options.limits.cpu_shares = Some(shares);
            Ok(())
        },
    ),
    value("cpuset-cpus", None, "LIST", Group::Limits, "Run on these processors only, as 0-2,5", |r, v| {
        r.options.limits.cpuset_cpus = Some(v.to_owned());
        Ok(())
    }),
    value("pids-limit", None, "NUMBER", Group::Limits, "Processes at most; -1: no limit", |r, v| {
        r.options.limits.pids = match parsed::<i64>(v, "it is no number")? {
            limit if limit <= 0 => Some(None),
            limit => Some(Some(limit.unsigned_abs())),
        };
        Ok(())
    }),
    value("cap-add", None, "CAPABILITY", Group::Security, "Add a capability, or ALL", |r, v| {
        r.options.cap_add.push(RunOptions::capability(v)?);
        Ok(())
    }),
    value("cap-drop", None, "CAPABILITY", Group::Security, "Drop a capability, or ALL", |r, v| {
        r.options.cap_drop.push(RunOptions::capability(v)?);
        Ok(())
    }),
    value(
        "security-opt",
        None,
        "OPTION",
        Group::Security,
        "no-new-privileges, seccomp=FILE or seccomp=unconfined",
        |r, v| r.options.add_security_option(v),
    ),
    switch(
        "privileged",
        None,
        Group::Security,
        "All capabilities and devices, no filter, no masks: root of the host",
        |r, _| {
            r.options.privileged = true;
            Ok(())
        },
    ),
    value("sysctl", None, "NAME=VALUE", Group::Security, "Set a kernel parameter of the container's own", |r, v| {
        if !v.contains('=') {
            return Err(ParseError::new(v, "write NAME=VALUE"));
        }
        r.options.sysctls.push(RunOptions::pair(v));
        Ok(())
    }),
    value("explain", None, "[FORMAT]", Group::Tool, "Tell every step on standard error; =json for programs", |r, v| {
        r.explain = Some(match v {
            "" | "text" => Format::Text,
            "json" => Format::Json,
            _ => return Err(ParseError::new(v, "the formats are text and json")),
        });
        Ok(())
    }),
    switch("help", None, Group::Tool, "Show this", |r, _| {
        r.help = true;
        Ok(())
    }),
];

/// Spellings of a flag that are not in the help: Docker's `--net`.
pub(crate) const ALIASES: &[(&str, &str)] = &[("net", "network")];

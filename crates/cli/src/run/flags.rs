//! The flags of `run`, each declared once.

use super::Request;
use crate::verb::{Flag, Group, also, switch, value};
use engine::{NetworkMode, ParseError, PullPolicy, RunOptions};

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, ParseError> {
    text.parse().map_err(|_| ParseError::new(text, what))
}

// Those of `run` and of `create`.

const NAME: Flag<Request> = value("name", None, "NAME", "Name the container; no two have the same", |r, v| {
    r.options.name = Some(RunOptions::container_name(v)?);
    Ok(())
});

const PULL: Flag<Request> =
    value("pull", None, "WHEN", "Ask the registry for the image: missing (default), always, or never", |r, v| {
        r.options.pull = PullPolicy::from_name(v)?;
        Ok(())
    });

const PLATFORM: Flag<Request> =
    value("platform", None, "OS/ARCH", "Take the image for this machine, as linux/arm64", |r, v| {
        r.options.platform = Some(RunOptions::platform(v)?);
        Ok(())
    });

const LABEL: Flag<Request> =
    value("label", Some('l'), "NAME=VALUE", "Write a label into the container's record", |r, v| {
        r.options.labels.push(RunOptions::pair(v));
        Ok(())
    });

const QUIET: Flag<Request> =
    switch("quiet", Some('q'), "Do not tell how far an image is that has to be fetched", |r| &mut r.quiet);

const ENTRYPOINT: Flag<Request> =
    value("entrypoint", None, "PROGRAM", "Program to run; COMMAND becomes its arguments", |r, v| {
        r.options.entrypoint = Some(v.to_owned());
        Ok(())
    });

const ENV: Flag<Request> =
    value("env", Some('e'), "NAME[=VALUE]", "Set a variable, or pass on the tool's own", |r, v| r.options.add_env(v));

const ENV_FILE: Flag<Request> =
    value("env-file", None, "FILE", "Set the variables of a file, one a line", |r, v| r.options.add_env_file(v));

const WORKDIR: Flag<Request> =
    value("workdir", Some('w'), "DIR", "Start in this directory; it is made when missing", |r, v| {
        if !v.starts_with('/') {
            return Err(ParseError::new(v, "it must be an absolute path in the container"));
        }
        r.options.workdir = Some(v.into());
        Ok(())
    });

const USER: Flag<Request> = value("user", Some('u'), "USER[:GROUP]", "Run as this user, by name or number", |r, v| {
    r.options.user = Some(v.to_owned());
    Ok(())
});

/// Every flag of `run`, in the order of the help.
pub(super) const FLAGS: &[Group<Request>] = &[
    Group {
        heading: "Container",
        flags: &[
            NAME,
            value("hostname", Some('h'), "NAME", "Host name (default: the first 8 digits of the id)", |r, v| {
                let plain = v.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
                if v.is_empty() || v.len() > 64 || !plain {
                    return Err(ParseError::new(v, "a host name is 1 to 64 of a-z A-Z 0-9 - . _"));
                }
                r.options.hostname = Some(v.to_owned());
                Ok(())
            }),
            PULL,
            PLATFORM,
            LABEL,
            QUIET,
            switch("rm", None, "Remove the container when it ends: so far every one is", |r| &mut r.rm),
            switch("read-only", None, "Make the root file system read-only", |r| &mut r.options.read_only),
            switch("ephemeral", None, "Keep a directory ROOT unchanged: what is written goes", |r| {
                &mut r.options.ephemeral
            }),
        ],
    },
    Group {
        heading: "Process",
        flags: &[
            switch("interactive", Some('i'), "Connect standard input", |r| &mut r.options.interactive),
            switch("tty", Some('t'), "Give it a terminal", |r| &mut r.options.tty),
            switch("init", None, "Run an init as PID 1 that reaps orphans and passes signals on", |r| {
                &mut r.options.init
            }),
            ENTRYPOINT,
            ENV,
            ENV_FILE,
            WORKDIR,
            USER,
            value("ulimit", None, "NAME=SOFT[:HARD]", "Set a resource limit, as nofile=1024", |r, v| {
                r.options.add_ulimit(v)
            }),
        ],
    },
    Group {
        heading: "Files",
        flags: &[
            value(
                "volume",
                Some('v'),
                "SOURCE:DIR[:ro]",
                "Show a path of the host, or a volume by its name",
                |r, v| r.options.add_volume(v),
            ),
            value("mount", None, "KEY=VALUE,...", "Mount, as type=bind,src=/a,dst=/b,ro; or volume, tmpfs", |r, v| {
                r.options.add_mount(v)
            }),
            value("tmpfs", None, "DIR[:OPTIONS]", "Mount a file system in memory", |r, v| r.options.add_tmpfs(v)),
            value("device", None, "HOST[:DIR][:rwm]", "Give it a device of the host", |r, v| r.options.add_device(v)),
            value("shm-size", None, "SIZE", "Size of /dev/shm (default: 64m)", |r, v| {
                r.options.shm_size = Some(RunOptions::size(v)?).filter(|size| *size > 0);
                Ok(())
            }),
        ],
    },
    Group {
        heading: "Network",
        flags: &[
            also(
                &["net"],
                value("network", None, "MODE", "bridge (default), none, or host", |r, v| {
                    r.options.network = NetworkMode::from_name(v)?;
                    Ok(())
                }),
            ),
            value("add-host", None, "NAME:IP", "Add a line to /etc/hosts; host-gateway is this host", |r, v| {
                r.options.add_host(v)
            }),
            value("dns", None, "IP", "Ask this name server in place of the host's", |r, v| {
                r.options.dns.push(RunOptions::ip(v)?);
                Ok(())
            }),
        ],
    },
    Group {
        heading: "Limits",
        flags: &[
            value("memory", Some('m'), "SIZE", "Memory at most, as 64m or 2g", |r, v| {
                r.options.limits.memory = Some(RunOptions::size(v)?).filter(|size| *size > 0);
                Ok(())
            }),
            value("memory-swap", None, "SIZE", "Memory and swap together at most; -1: no limit of swap", |r, v| {
                r.options.limits.memory_swap = match v {
                    "-1" => Some(None),
                    "0" => None,
                    size => Some(Some(RunOptions::size(size)?)),
                };
                Ok(())
            }),
            value("cpus", None, "NUMBER", "Processors at most, as 1.5", |r, v| {
                r.options.limits.nano_cpus = if v == "0" { None } else { Some(RunOptions::cpus(v)?) };
                Ok(())
            }),
            value("cpu-shares", Some('c'), "NUMBER", "Weight against other containers (default: 1024)", |r, v| {
                let shares = parsed(v, "it is no number from 2 to 262144")?;
                if !(2..=262_144).contains(&shares) {
                    return Err(ParseError::new(v, "it is no number from 2 to 262144"));
                }
                r.options.limits.cpu_shares = Some(shares);
                Ok(())
            }),
            value("cpuset-cpus", None, "LIST", "Run on these processors only, as 0-2,5", |r, v| {
                r.options.limits.cpuset_cpus = Some(v.to_owned());
                Ok(())
            }),
            value("pids-limit", None, "NUMBER", "Processes at most; -1: no limit", |r, v| {
                r.options.limits.pids = match parsed::<i64>(v, "it is no number")? {
                    limit if limit <= 0 => Some(None),
                    limit => Some(Some(limit.unsigned_abs())),
                };
                Ok(())
            }),
        ],
    },
    Group {
        heading: "Security",
        flags: &[
            value("cap-add", None, "CAPABILITY", "Add a capability, or ALL", |r, v| {
                r.options.cap_add.push(RunOptions::capability(v)?);
                Ok(())
            }),
            value("cap-drop", None, "CAPABILITY", "Drop a capability, or ALL", |r, v| {
                r.options.cap_drop.push(RunOptions::capability(v)?);
                Ok(())
            }),
            value("security-opt", None, "OPTION", "no-new-privileges, seccomp=FILE or seccomp=unconfined", |r, v| {
                r.options.add_security_option(v)
            }),
            switch("privileged", None, "All capabilities and devices, no filter, no masks: root of the host", |r| {
                &mut r.options.privileged
            }),
            value("sysctl", None, "NAME=VALUE", "Set a kernel parameter of the container's own", |r, v| {
                if !v.contains('=') {
                    return Err(ParseError::new(v, "write NAME=VALUE"));
                }
                r.options.sysctls.push(RunOptions::pair(v));
                Ok(())
            }),
        ],
    },
];

/// Every flag of `create`: those that say what the container is, and are written down with it.
pub(super) const OF_CREATE: &[Group<Request>] = &[
    Group {
        heading: "Container",
        flags: &[
            NAME,
            PULL,
            PLATFORM,
            LABEL,
            value("cidfile", None, "FILE", "Write the id to this file, which must not be there yet", |r, v| {
                r.cidfile = Some(v.into());
                Ok(())
            }),
            QUIET,
        ],
    },
    Group { heading: "Process", flags: &[ENTRYPOINT, ENV, ENV_FILE, WORKDIR, USER] },
];

//! The flags of `run`, each declared once.

use super::{Request, more};
use crate::verb::{Flag, Group, also, switch, value};
use engine::pods::PodPlace;
use engine::{
    AskedRange, DetachKeys, HealthFlags, NamespaceMode, ParseError, PullPolicy, RestartPolicy, RunOptions, UserMode,
};

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, ParseError> {
    text.parse().map_err(|_| ParseError::new(text, what))
}

/// A value that is left out is true.
pub(crate) fn boolean(text: &str) -> Result<bool, ParseError> {
    match text {
        "" | "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err(ParseError::new(text, "write true or false")),
    }
}

/// A host name.
pub(crate) fn host_name(text: &str) -> Result<String, ParseError> {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if text.is_empty() || text.len() > 64 || !is_plain {
        return Err(ParseError::new(text, "a host name is 1 to 64 of a-z A-Z 0-9 - . _"));
    }
    Ok(text.to_owned())
}

// Those of `run` and of `create`.

const NAME: Flag<Request> = value("name", None, "NAME", "Name the container; no two have the same", |r, v| {
    r.options.name = Some(RunOptions::container_name(v)?);
    Ok(())
});

const POD: Flag<Request> = value("pod", None, "NAME", "Put it into this pod; new:NAME makes one for it", |r, v| {
    r.options.pod = Some(PodPlace { pod: v.to_owned(), ..PodPlace::default() });
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

const LABEL_FILE: Flag<Request> =
    value("label-file", None, "FILE", "Write the labels of a file, one a line", |r, v| r.options.add_label_file(v));

const LOG_DRIVER: Flag<Request> = value(
    "log-driver",
    None,
    "DRIVER",
    "Keep the output in a json-file (default), k8s-file, journald, or none",
    |r, v| r.options.log.set_driver(v),
);

const LOG_OPT: Flag<Request> = value(
    "log-opt",
    None,
    "NAME=VALUE",
    "labels, env, -regex of both, tag; of files max-size, max-file, compress",
    |r, v| r.options.log.add_option(v),
);

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

const UNSETENV: Flag<Request> =
    value("unsetenv", None, "NAME", "Leave this variable of its image, or of the tool, away", |r, v| {
        r.options.add_unset_env(v)
    });

const UNSETENV_ALL: Flag<Request> =
    switch("unsetenv-all", None, "Leave all of these away", |r| &mut r.options.unset_env_all);

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

const HOSTNAME: Flag<Request> =
    value("hostname", Some('h'), "NAME", "Host name (default: the first 8 digits of the id)", |r, v| {
        r.options.hostname = Some(host_name(v)?);
        Ok(())
    });

const RM: Flag<Request> = switch("rm", None, "Remove the container when it ends", |r| &mut r.options.auto_remove);

const READ_ONLY: Flag<Request> =
    switch("read-only", None, "Make the root file system read-only", |r| &mut r.options.read_only);

const EPHEMERAL: Flag<Request> =
    switch("ephemeral", None, "Keep a directory ROOT unchanged: what is written goes", |r| &mut r.options.ephemeral);

const CIDFILE: Flag<Request> =
    value("cidfile", None, "FILE", "Write the id to this file, which must not be there yet", |r, v| {
        r.cidfile = Some(v.into());
        Ok(())
    });

const REPLACE: Flag<Request> =
    switch("replace", None, "Remove the container that has the name, if there is one", |r| &mut r.replace);

const PROCESS: Group<Request> = Group {
    heading: "Process",
    flags: &[
        switch("interactive", Some('i'), "Connect standard input", |r| &mut r.options.interactive),
        switch("tty", Some('t'), "Give it a terminal", |r| &mut r.options.tty),
        switch("init", None, "Run an init as PID 1 that reaps orphans and passes signals on", |r| &mut r.options.init),
        ENTRYPOINT,
        ENV,
        ENV_FILE,
        UNSETENV,
        UNSETENV_ALL,
        WORKDIR,
        USER,
        value("group-add", None, "GROUP", "Make its programs members of this group, too, by name or number", |r, v| {
            r.options.group_add.push(v.to_owned());
            Ok(())
        }),
        value("ulimit", None, "NAME=SOFT[:HARD]", "Set a resource limit, as nofile=1024", |r, v| {
            r.options.add_ulimit(v)
        }),
    ],
};

const FILES: Group<Request> = Group {
    heading: "Files",
    flags: &[
        value(
            "volume",
            Some('v'),
            "SOURCE:DIR[:OPTIONS]",
            "Show a path of the host, or a volume by its name",
            |r, v| r.options.add_volume(v),
        ),
        value("mount", None, "KEY=VALUE,...", "Mount, as type=bind,src=/a,dst=/b,ro; or volume, tmpfs", |r, v| {
            r.options.add_mount(v)
        }),
        value("volumes-from", None, "CONTAINER[:ro]", "Show the volumes and paths that a container shows", |r, v| {
            r.options.add_volumes_from(v)
        }),
        value("tmpfs", None, "DIR[:OPTIONS]", "Mount a file system in memory", |r, v| r.options.add_tmpfs(v)),
        value("device", None, "HOST[:DIR][:rwm]", "Give it a device of the host", |r, v| r.options.add_device(v)),
        value("shm-size", None, "SIZE", "Size of /dev/shm (default: 64m)", |r, v| {
            r.options.shm_size = Some(RunOptions::size(v)?).filter(|size| *size > 0);
            Ok(())
        }),
    ],
};

const NETWORK: Group<Request> = Group {
    heading: "Network",
    flags: &[
        also(
            &["net"],
            value(
                "network",
                None,
                "NETWORK",
                "bridge (default), none, host, container:NAME, ns:PATH, or a name",
                |r, v| {
                    r.says_network = true;
                    r.options.add_network(v)
                },
            ),
        ),
        value("ip", None, "ADDRESS", "Its address in the network that --network names", |r, v| {
            r.endpoint.set_address(v)
        }),
        value("ip6", None, "ADDRESS", "Its address of IPv6 there, and the one of IPv4 beside it", |r, v| {
            r.endpoint.set_address6(v)
        }),
        value("mac-address", None, "ADDRESS", "Its hardware address there, as 02:42:ac:12:00:05", |r, v| {
            r.endpoint.set_mac(v)
        }),
        also(
            &["net-alias"],
            value("network-alias", None, "NAME", "A name that it has there beside its own", |r, v| {
                r.endpoint.add_alias(v)
            }),
        ),
        value(
            "publish",
            Some('p'),
            "PORTS",
            "Publish its ports on the host, as [[IP:][HOSTPORT]:]PORT[/udp]",
            |r, v| r.options.add_publish(v),
        ),
        switch("publish-all", Some('P'), "Publish each port at which it listens, at any of the host", |r| {
            &mut r.options.publish_all
        }),
        value("expose", None, "PORT[/PROTOCOL]", "It listens at this port, beside those of the image", |r, v| {
            r.options.add_exposed(v)
        }),
        value("add-host", None, "NAME:IP", "Add a line to /etc/hosts; host-gateway is this host", |r, v| {
            r.options.add_host(v)
        }),
        value("dns", None, "IP", "Ask this name server in place of the host's", |r, v| {
            r.options.dns.push(RunOptions::ip(v)?);
            Ok(())
        }),
    ],
};

const NAMESPACES: Group<Request> = Group {
    heading: "Namespaces",
    flags: &[
        value("ipc", None, "MODE", "private (default), shareable, none, host, or container:NAME", |r, v| {
            r.options.ipc = NamespaceMode::of_ipc(v)?;
            Ok(())
        }),
        value("pid", None, "MODE", "private (default), host, or container:NAME, and see its processes", |r, v| {
            r.options.pid = NamespaceMode::of_pid(v)?;
            Ok(())
        }),
        value("uts", None, "MODE", "private (default), host, or container:NAME, and have its host name", |r, v| {
            r.options.uts = NamespaceMode::of_pid(v)?;
            Ok(())
        }),
        value("cgroupns", None, "MODE", "private (default), or host, and see the host's control groups", |r, v| {
            r.options.cgroupns = NamespaceMode::of_cgroups(v)?;
            Ok(())
        }),
        value(
            "userns",
            None,
            "MODE",
            "host, auto[:size=N], keep-id[:uid=N,gid=N], nomap, container:NAME, ns:PATH",
            |r, v| {
                r.options.userns = UserMode::parse(v)?;
                Ok(())
            },
        ),
        value(
            "uidmap",
            None,
            "C:FROM[:N]",
            "N users from C on are those from FROM on outside; @FROM: of the host",
            |r, v| {
                r.options.uid_map.push(AskedRange::parse(v)?);
                Ok(())
            },
        ),
        value("gidmap", None, "C:FROM[:N]", "The same of groups; with one of the two, both are so", |r, v| {
            r.options.gid_map.push(AskedRange::parse(v)?);
            Ok(())
        }),
    ],
};

const LIMITS: Group<Request> = Group {
    heading: "Limits",
    flags: &[
        value("memory", Some('m'), "SIZE", "Memory at most, as 64m or 2g", |r, v| r.options.limits.set_memory(v)),
        value("memory-swap", None, "SIZE", "Memory and swap together at most; -1: no limit of swap", |r, v| {
            r.options.limits.set_memory_swap(v)
        }),
        value("cpus", None, "NUMBER", "Processors at most, as 1.5", |r, v| r.options.limits.set_cpus(v)),
        value("cpu-shares", Some('c'), "NUMBER", "Weight against other containers (default: 1024)", |r, v| {
            r.options.limits.set_cpu_shares(v)
        }),
        value("cpuset-cpus", None, "LIST", "Run on these processors only, as 0-2,5", |r, v| {
            r.options.limits.set_cpuset_cpus(v)
        }),
        value("pids-limit", None, "NUMBER", "Processes at most; -1: no limit", |r, v| r.options.limits.set_pids(v)),
        value(
            "oom-score-adj",
            None,
            "NUMBER",
            "Kill it sooner, or later, when memory runs out: -1000 to 1000",
            |r, v| r.options.set_oom_score_adj(v),
        ),
    ],
};

const SECURITY: Group<Request> = Group {
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
};

const LIFE: Group<Request> = Group {
    heading: "Life",
    flags: &[
        value(
            "restart",
            None,
            "POLICY",
            "Start it again when it ends: no, on-failure[:N], always, unless-stopped",
            |r, v| {
                r.options.restart = RestartPolicy::parse(v)?;
                Ok(())
            },
        ),
        value(
            "stop-signal",
            None,
            "SIGNAL",
            "What `stop` sends first (default: what the image wants, or TERM)",
            |r, v| {
                if engine::signal_number(v).is_none_or(|number| number < 1) {
                    return Err(ParseError::new(v, "there is no such signal: write TERM, SIGTERM or 15"));
                }
                r.options.stop_signal = Some(v.to_owned());
                Ok(())
            },
        ),
        value(
            "stop-timeout",
            None,
            "SECONDS",
            "How long `stop` waits until SIGKILL (default: 10; -1: for ever)",
            |r, v| {
                r.options.stop_timeout = Some(parsed(v, "it is no number of seconds")?);
                Ok(())
            },
        ),
        LOG_DRIVER,
        LOG_OPT,
    ],
};

const HEALTH: Group<Request> = Group {
    heading: "Health",
    flags: &[
        value("health-cmd", None, "COMMAND", "See by this command whether it is well; none: do not look", |r, v| {
            r.options.health.set_command(v);
            Ok(())
        }),
        value("health-interval", None, "TIME", "Time between two checks (default: 30s)", |r, v| {
            r.options.health.check.interval = HealthFlags::time(v)?;
            Ok(())
        }),
        value("health-timeout", None, "TIME", "How long a check may take (default: 30s)", |r, v| {
            r.options.health.check.timeout = HealthFlags::time(v)?;
            Ok(())
        }),
        value("health-retries", None, "NUMBER", "So many failures in a row make it unhealthy (default: 3)", |r, v| {
            r.options.health.check.retries = HealthFlags::retries(v)?;
            Ok(())
        }),
        value(
            "health-start-period",
            None,
            "TIME",
            "How long failures do not count at its start (default: 0s)",
            |r, v| {
                r.options.health.check.start_period = HealthFlags::time(v)?;
                Ok(())
            },
        ),
        value("health-start-interval", None, "TIME", "Time between two checks at its start (default: 5s)", |r, v| {
            r.options.health.check.start_interval = HealthFlags::time(v)?;
            Ok(())
        }),
        switch("no-healthcheck", None, "Do not check, whatever the image says", |r| &mut r.options.health.is_off),
    ],
};

/// Every flag of `run`, in the order of the help.
pub(super) const FLAGS: &[Group<Request>] = &[
    Group {
        heading: "Container",
        flags: &[
            NAME,
            POD,
            HOSTNAME,
            PULL,
            PLATFORM,
            LABEL,
            LABEL_FILE,
            QUIET,
            RM,
            READ_ONLY,
            EPHEMERAL,
            CIDFILE,
            REPLACE,
            switch("detach", Some('d'), "Let it run in the background, and print its id", |r| &mut r.detach),
            value("pidfile", None, "FILE", "Write the number of its first process to this file", |r, v| {
                r.pid_file = Some(v.into());
                Ok(())
            }),
            value(
                "attach",
                Some('a'),
                "STREAM",
                "Connect only stdin, stdout or stderr; may stand several times",
                |r, v| {
                    match v.to_ascii_lowercase().as_str() {
                        "stdin" => r.attached[0] = true,
                        "stdout" => r.attached[1] = true,
                        "stderr" => r.attached[2] = true,
                        _ => return Err(ParseError::new(v, "it is one of stdin, stdout and stderr")),
                    }
                    Ok(())
                },
            ),
            value("detach-keys", None, "KEYS", "Leave it running with these (default: ctrl-p,ctrl-q)", |r, v| {
                r.detach_keys = Some(DetachKeys::parse(v)?);
                Ok(())
            }),
            value("sig-proxy", None, "[BOOL]", "Pass signals on to it (default: true)", |r, v| {
                r.keeps_signals = !boolean(v)?;
                Ok(())
            }),
        ],
    },
    LIFE,
    HEALTH,
    PROCESS,
    FILES,
    NETWORK,
    more::NETWORK,
    NAMESPACES,
    LIMITS,
    more::LIMITS,
    SECURITY,
    more::MORE,
];

/// Every flag of `create`: those of `run`, but for how a person is connected to it.
pub(super) const OF_CREATE: &[Group<Request>] = &[
    Group {
        heading: "Container",
        flags: &[
            NAME, POD, HOSTNAME, PULL, PLATFORM, LABEL, LABEL_FILE, QUIET, RM, READ_ONLY, EPHEMERAL, CIDFILE, REPLACE,
        ],
    },
    LIFE,
    HEALTH,
    PROCESS,
    FILES,
    NETWORK,
    more::NETWORK,
    NAMESPACES,
    LIMITS,
    more::LIMITS,
    SECURITY,
    more::MORE,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What every flag with a value can say; of one that knows several kinds, each.
    const VALUES: &[(&str, &[&str])] = &[
        ("name", &["web"]),
        ("hostname", &["box"]),
        ("pod", &["web", "new:web"]),
        ("pull", &["always", "never"]),
        ("platform", &["linux/arm64/v8"]),
        ("label", &["a=b", "c"]),
        ("log-driver", &["k8s-file", "journald", "none"]),
        ("log-opt", &["max-size=1m", "max-file=3", "compress=true", "tag={{.ID}}", "env-regex=^A", "labels-regex=^b"]),
        ("restart", &["always", "on-failure", "on-failure:3", "unless-stopped"]),
        ("stop-signal", &["RTMIN+3", "15"]),
        ("stop-timeout", &["3", "-1"]),
        ("health-cmd", &["test -e /x", "none", r#"["a","b"]"#]),
        ("health-interval", &["1m30s"]),
        ("health-timeout", &["500ms"]),
        ("health-retries", &["5"]),
        ("health-start-period", &["1h"]),
        ("health-start-interval", &["1ms"]),
        ("entrypoint", &["sh", ""]),
        ("env", &["A=b", "C=", "D=a\u{1f}\u{fffd}"]),
        ("workdir", &["/srv"]),
        ("user", &["ann:users"]),
        ("group-add", &["video", "44"]),
        ("oom-score-adj", &["-500", "1000"]),
        ("ulimit", &["nofile=1:2", "core=-1", "rttime=unlimited"]),
        ("volume", &["name:/v:ro,nocopy", "/a:/b:rslave,bind", "/anonymous", "/a:/c:U,z", "/a:/d:Z,idmap"]),
        ("volumes-from", &["one:ro", "other"]),
        (
            "mount",
            &[
                "type=bind,src=/a,dst=/b,ro,bind-propagation=shared,bind-nonrecursive",
                "src=name,dst=/v,volume-subpath=x/y,volume-nocopy,volume-label=a=b",
                "type=volume,dst=/anonymous",
                "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700",
            ],
        ),
        ("tmpfs", &["/t", "/t:size=1m,exec"]),
        ("device", &["/dev/null:/dev/x:rw"]),
        ("shm-size", &["1m"]),
        (
            "network",
            &["net", "name=other,ip=10.9.0.5,mac-address=02:42:0a:09:00:05,alias=db", "third:alias=db,alias=x"],
        ),
        ("ipc", &["shareable", "none", "host", "container:web"]),
        ("pid", &["host", "container:web"]),
        ("uts", &["host", "container:web"]),
        ("cgroupns", &["host"]),
        ("userns", &["auto", "auto:size=5", "keep-id:uid=5,gid=6", "nomap", "container:web", "ns:/x"]),
        ("uidmap", &["0:100000:65536", "5:@1000"]),
        ("gidmap", &["0:100000:65536"]),
        ("publish", &["80", "127.0.0.1::53/udp", "[::1]:8000-8002:80-82", "8000-8010:80/sctp"]),
        ("expose", &["80", "90-91/udp"]),
        ("add-host", &["a:10.0.0.1", "a:::1", "a:host-gateway"]),
        ("dns", &["10.0.0.1", "::1"]),
        ("dns-search", &["example.com", "."]),
        ("dns-option", &["ndots:2"]),
        ("domainname", &["nis"]),
        ("cgroup-parent", &["/web/a", "user-1000.slice"]),
        ("unsetenv", &["PATH"]),
        ("annotation", &["a=b", "c"]),
        ("umask", &["0077", "0"]),
        ("timeout", &["5"]),
        ("tz", &["Europe/Rome", "local"]),
        ("device-cgroup-rule", &["c 189:* rwm"]),
        ("cpu-quota", &["50000", "-1"]),
        ("cpu-period", &["50000"]),
        ("cpuset-mems", &["0"]),
        ("memory-reservation", &["1m"]),
        ("memory-swappiness", &["0"]),
        ("blkio-weight", &["10"]),
        ("device-read-bps", &["/dev/sda:1m"]),
        ("device-write-bps", &["/dev/sda:1m"]),
        ("device-read-iops", &["/dev/sda:7"]),
        ("device-write-iops", &["/dev/sda:7"]),
        ("memory", &["64m"]),
        ("memory-swap", &["128m", "-1"]),
        ("cpus", &["1.5"]),
        ("cpu-shares", &["2"]),
        ("cpuset-cpus", &["0-1"]),
        ("pids-limit", &["100", "-1"]),
        ("cap-add", &["ALL", "NET_ADMIN"]),
        ("cap-drop", &["ALL", "chown"]),
        ("security-opt", &["no-new-privileges", "seccomp=unconfined", "seccomp=/profile.json"]),
        ("sysctl", &["net.ipv4.ip_forward=1"]),
    ];
    /// What is for the one who makes the container, and no part of it as it is typed.
    const NOT_ITS_OWN: &[&str] = &[
        // These come to the network that it names.
        "ip",
        "ip6",
        "mac-address",
        "network-alias",
        "quiet",
        "cidfile",
        "replace",
        "detach",
        "pidfile",
        "attach",
        "detach-keys",
        "sig-proxy",
        "env-file",
        "label-file",
        "link",
    ];

    /// Every flag is written into a container's record, and read again when that is started.
    #[test]
    fn what_a_flag_says_survives_in_a_record() {
        let mut all = Request::default();
        for flag in FLAGS.iter().flat_map(|group| group.flags) {
            let long = flag.face.long;
            if NOT_ITS_OWN.contains(&long) {
                continue;
            }
            let known = VALUES.iter().find(|(name, _)| *name == long).map(|(_, values)| *values);
            let values = known.or(flag.face.value.is_none().then_some(&["true"][..]));
            for value in values.unwrap_or_else(|| panic!("VALUES needs one for --{long}")) {
                let mut one = Request::default();
                flag.apply(&mut one, value).unwrap();
                assert_ne!(one.options, RunOptions::default(), "--{long} {value}");
                flag.apply(&mut all, value).unwrap();
                for options in [&one.options, &all.options] {
                    let written = serde_json::to_string(options).unwrap();
                    let read: RunOptions = serde_json::from_str(&written).unwrap();
                    assert_eq!(read, *options, "--{long} {value}: {written}");
                }
            }
        }
    }

    #[test]
    fn so_does_what_stands_alone() {
        for mode in ["none", "host"] {
            let mut options = RunOptions::default();
            options.add_network(mode).unwrap();
            assert_ne!(options, RunOptions::default());
            assert_eq!(serde_json::from_str::<RunOptions>(&serde_json::to_string(&options).unwrap()).unwrap(), options);
        }
    }

    #[test]
    fn env_files_survive_too() {
        let options = RunOptions { env_of_files: vec!["A=b".into()], ..RunOptions::default() };
        assert_eq!(serde_json::from_str::<RunOptions>(&serde_json::to_string(&options).unwrap()).unwrap(), options);
    }
}

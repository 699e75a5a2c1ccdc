//! What can go wrong with a control group, a variant a step.

use rustix::io::Errno;
use std::path::PathBuf;

/// Why a control group could not be made, limited, entered, emptied or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list of this process's groups, or a file of a group, could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// Neither cgroup v2 nor any v1 controller is mounted at the usual places.
    #[error("no cgroup file system is mounted at or under /sys/fs/cgroup")]
    NotMounted,
    /// The location cannot be a group's, or a unit's.
    #[error("the cgroup {location:?} cannot be: {why}")]
    Location {
        /// What was asked for.
        location: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An annotation that is to be a property of the systemd unit.
    #[error("the annotation org.systemd.property.{name} cannot be {value:?}: {why}")]
    Property {
        /// What follows `org.systemd.property.`
        name: String,
        /// Its text.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// systemd could not be reached.
    #[error("cannot talk to systemd at {address}: {why}")]
    Bus {
        /// The socket, or the sockets that were tried.
        address: String,
        /// Why not.
        why: String,
    },
    /// systemd refused something, or did not do it in time.
    #[error("systemd cannot {act} {unit}: {why}")]
    Unit {
        /// Such as `start`.
        act: &'static str,
        /// The unit.
        unit: String,
        /// The bus's name for the refusal, such as `org.freedesktop.systemd1.UnitExists`; empty for another failure.
        name: String,
        /// What it said.
        why: String,
    },
    /// A part of the resources that is not acted on, here or on this version of cgroups.
    #[error("resource {resource} cannot be limited: {why}")]
    Unsupported {
        /// The field of the OCI `linux.resources`, such as `hugepageLimits`.
        resource: String,
        /// Why not.
        why: &'static str,
    },
    /// A value that no kernel would take, or that would be taken for another.
    #[error("cannot set {resource} to {value}: {why}")]
    Value {
        /// The field of the OCI `linux.resources`, such as `memory.limit`.
        resource: String,
        /// The value that was asked for.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// An ordinary user to whom no part of the tree belongs.
    #[error("no part of the tree of control groups is yours: {why}")]
    NotDelegated {
        /// What was tried last.
        why: String,
    },
    /// An ordinary user's tool is somewhere in the tree from where it may not reach the containers' part.
    #[error("from the cgroup /{own} no process can be put into /{path}, where the groups of your containers are")]
    Outside {
        /// This process's group.
        own: String,
        /// The containers' part.
        path: String,
    },
    /// The user has a part of the tree, and the controller that enforces this resource is not handed down to it.
    #[error("cannot set {resource} to {value}: the {controller} controller is not handed down to {}, which is yours", .place.0.display())]
    NotHandedDown {
        /// The field of the OCI `linux.resources`.
        resource: String,
        /// The value that was asked for.
        value: String,
        /// The controller's name.
        controller: String,
        /// The group's directory, and the group above that would have to do it.
        place: Box<(PathBuf, PathBuf)>,
    },
    /// The host lacks the controller that enforces this resource.
    #[error("cannot set {resource} to {value}: {why}")]
    NoController {
        /// The field of the OCI `linux.resources`.
        resource: String,
        /// The value that was asked for.
        value: String,
        /// The controller's name on this version of cgroups.
        controller: String,
        /// Where the controller is, or that it is nowhere.
        why: String,
    },
    /// The group could not be made.
    #[error("cannot make the cgroup {path}: {source}{}", explain_make(*.source))]
    Make {
        /// The group's directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The group is there, and somebody lives in it.
    #[error("the cgroup {path} is in use: process {pid} is in it")]
    InUse {
        /// The group's directory.
        path: PathBuf,
        /// One of its processes.
        pid: i32,
    },
    /// A directory or file of the group could not be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The controllers that the limits need could not be handed down to the group.
    #[error("cannot enable the controllers {controllers} through {path}: {source}{}", explain_enable(*.source))]
    Enable {
        /// Such as `+memory +pids`.
        controllers: String,
        /// `cgroup.subtree_control` of the group's parent.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The kernel refused a limit.
    #[error("cannot set {resource} to {value}: writing {path} failed: {source}{}", explain_write(.path, *.source))]
    Limit {
        /// The field of the OCI `linux.resources`.
        resource: String,
        /// What was written.
        value: String,
        /// The file of the group.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A device rule that is malformed, or that cgroup v1 has no way to express.
    #[error("device rule \"{rule}\" cannot be applied: {why}")]
    DeviceRule {
        /// The rule, as v1 writes it: `c 1:3 rwm`.
        rule: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The device program could not be loaded or attached.
    #[error("cannot {act} the device program of {path}: {source}{}", explain_bpf(*.source))]
    DeviceProgram {
        /// `load` or `attach`.
        act: &'static str,
        /// The group's directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// This process could not enter the group.
    #[error("cannot join the cgroup {path}: {source}{}", explain_join(.path, *.source))]
    Join {
        /// The group's directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The group's processes could not be ended.
    #[error("cannot kill the processes of the cgroup {path}: {source}")]
    Kill {
        /// The group's directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The group's processes could not be stopped, or not be let go on.
    #[error("cannot {act} the processes of the cgroup {path}: {why}")]
    Freeze {
        /// `freeze` or `thaw`.
        act: &'static str,
        /// The group's directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// No word could be had of the group's running out of memory.
    #[error("cannot watch {path} for running out of memory: {source}")]
    Watch {
        /// The group's directory, or the file.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The group could not be removed.
    #[error("cannot remove the cgroup {path}: {source}{}", explain_remove(*.source))]
    Remove {
        /// The group's directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
}

impl Error {
    /// What a person can do about it, where that is known: one line for the `hint:` of the command line.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotMounted => Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup".into()),
            Self::NoController { controller, why, .. } if why.ends_with("not mounted") => Some(format!(
                "mount it with `mount -t cgroup -o {controller} cgroup /sys/fs/cgroup/{controller}`, or boot with \
                 systemd.unified_cgroup_hierarchy=1"
            )),
            Self::NoController { controller, why, .. } if why.contains("cgroup v2 half") => {
                Some(format!("boot with systemd.unified_cgroup_hierarchy=1, or without cgroup_no_v1={controller}"))
            }
            Self::NoController { controller, .. } => {
                Some(format!("look for cgroup_disable={controller} in /proc/cmdline, or leave the limit out"))
            }
            Self::Limit { path, source: Errno::NOENT, .. } if ends(path, "memory.memsw.limit_in_bytes") => {
                Some("boot with swapaccount=1, or leave the swap limit out".into())
            }
            Self::Bus { .. } => Some("without systemd, use cgroupfs: leave --systemd-cgroup out".into()),
            Self::NotDelegated { why } if why.contains("cgroup v1") => {
                Some("boot with systemd.unified_cgroup_hierarchy=1, or run it as root".into())
            }
            Self::NotDelegated { .. } => Some(
                "have a systemd of yours: log in, or `sudo loginctl enable-linger $USER` and set \
                 XDG_RUNTIME_DIR=/run/user/$(id -u); or have root give you the group that your shell is in"
                    .into(),
            ),
            Self::Outside { .. } => Some("run it in the shell that started the first of your containers".into()),
            Self::NotHandedDown { place, controller, .. } => Some(hand_down(&place.0, &[controller], &place.1)),
            Self::InUse { .. } => Some("remove the container that uses it first, or choose another cgroupsPath".into()),
            Self::Make { source: Errno::ROFS | Errno::ACCESS | Errno::PERM, .. } => {
                Some("inside another container, give that one a writable /sys/fs/cgroup (--privileged)".into())
            }
            _ => None,
        }
    }
}

/// What root does so that a user gets a controller. [systemd.resource-control(5), `Delegate=`]
pub(crate) fn hand_down(path: &std::path::Path, controllers: &[&str], above: &std::path::Path) -> String {
    if path.components().any(|part| part.as_os_str().to_str().is_some_and(|name| name.starts_with("user@"))) {
        return format!(
            "put `[Service]` and `{DELEGATE}` into {DROP_IN}, then `sudo systemctl daemon-reload` and log in anew"
        );
    }
    format!("as root: echo +{} > {}/cgroup.subtree_control", controllers.join(" +"), above.display())
}

/// Where what a user's systemd may hand on is said.
const DROP_IN: &str = "/etc/systemd/system/user@.service.d/delegate.conf";
/// The line there that gives all that limits can need.
const DELEGATE: &str = "Delegate=cpu cpuset io memory pids";

fn ends(path: &std::path::Path, name: &str) -> bool {
    path.file_name().is_some_and(|last| last == name)
}

fn hugetlb(path: &std::path::Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("hugetlb."))
}

fn explain_make(source: Errno) -> &'static str {
    match source {
        Errno::NOTDIR => ": a part of that path is a control file",
        Errno::ROFS => ": the cgroup file system is mounted read-only here",
        Errno::ACCESS | Errno::PERM => ": only root, or a user to whom this part of the tree is delegated, may do this",
        Errno::AGAIN => ": cgroup.max.descendants or cgroup.max.depth of a parent is reached",
        Errno::NOSPC => ": the kernel holds as many control groups as it can, many of them perhaps still dying",
        _ => "",
    }
}

fn explain_enable(source: Errno) -> &'static str {
    match source {
        Errno::BUSY => {
            ": processes live in that group itself, as in a container inside a container; move them to a child of it"
        }
        Errno::ROFS => ": the cgroup file system is mounted read-only here",
        Errno::NOENT => ": the parent of that group does not hand them down",
        _ => "",
    }
}

fn explain_write(path: &std::path::Path, source: Errno) -> &'static str {
    match source {
        Errno::NOENT if ends(path, "memory.memsw.limit_in_bytes") => ": this kernel does not account swap",
        Errno::NOENT if ends(path, "memory.swap.max") => ": this kernel does not account swap",
        Errno::NOENT if ends(path, "blkio.bfq.weight") => ": weights need the bfq scheduler, which is not loaded",
        Errno::NOENT if ends(path, "blkio.bfq.weight_device") => {
            ": weights need the bfq scheduler, which is not loaded"
        }
        Errno::INVAL if ends(path, "cpu.rt_runtime_us") => ": the groups above have no real-time runtime to give",
        Errno::NOENT if ends(path, "cpu.rt_runtime_us") || ends(path, "cpu.rt_period_us") => {
            ": this kernel has no real-time group scheduling (CONFIG_RT_GROUP_SCHED)"
        }
        Errno::NOENT if hugetlb(path) => ": this kernel has no huge pages of that size",
        Errno::NODEV | Errno::INVAL if ends(path, "rdma.max") => ": there is no such RDMA device",
        Errno::NODEV if ends(path, "net_prio.ifpriomap") => ": there is no such network interface",
        Errno::NOENT if ends(path, "io.weight") => ": weights need the bfq scheduler or the kernel's iocost",
        Errno::BUSY => ": the group already uses more than that",
        Errno::INVAL => ": the kernel does not take this value, or not beside the other limits",
        Errno::RANGE => ": the value is outside of what the kernel takes",
        Errno::NODEV | Errno::NXIO => ": there is no such block device",
        Errno::ROFS => ": the cgroup file system is mounted read-only here",
        Errno::PERM | Errno::ACCESS => ": a parent group does not permit it",
        Errno::NOENT => ": this kernel does not offer it",
        _ => "",
    }
}

fn explain_bpf(source: Errno) -> &'static str {
    match source {
        Errno::PERM => ": it needs CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN, and parents that allow several programs",
        Errno::NOSYS | Errno::INVAL => ": the kernel needs CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF",
        _ => "",
    }
}

fn explain_join(path: &std::path::Path, source: Errno) -> &'static str {
    match source {
        Errno::NOSPC => ": its cpuset has no CPU or no memory node",
        Errno::INVAL if path.starts_with("/sys/fs/cgroup/cpu") => {
            ": the CPU controller takes no real-time process unless the group has real-time runtime"
        }
        Errno::BUSY => ": it hands controllers down to child groups, so no process may live in it",
        _ => "",
    }
}

fn explain_remove(source: Errno) -> &'static str {
    match source {
        Errno::BUSY => ": processes in it do not die (a hung disk or network file system can hold them)",
        Errno::LOOP => ": groups inside it are nested too deep",
        _ => "",
    }
}

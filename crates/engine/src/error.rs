//! What can go wrong in the engine, with what a person can do about it.

use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container itself.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// Its network.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// Its archive.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// Its seccomp profile.
    #[error(transparent)]
    Seccomp(#[from] seccomp::Error),
    /// An ordinary user's process.
    #[error("only root can run containers with this release")]
    NotRoot,
    /// An ordinary user's containers need a user namespace.
    #[error("cannot {what} the user namespace of your containers: {source}")]
    UserNamespace {
        /// The step.
        what: &'static str,
        /// The system's reason, or in words.
        source: io::Error,
    },
    /// Nothing leads from the network of an ordinary user's containers to the host's.
    #[error("cannot connect the network of your containers with this host's: {why}")]
    Uplink {
        /// In words.
        why: String,
    },
    /// What an ordinary user's containers cannot do where that user may make no control groups.
    #[error(
        "the container {container} has no control group, so its processes cannot be counted, limited or paused together"
    )]
    NoGroup {
        /// By which name it was found.
        container: String,
    },
    /// Another user or group than root where there is no other.
    #[error(
        "no program can run as user {uid} and group {gid} or with more groups: there are no subordinate ids for you, so root is all there is"
    )]
    OneId {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// A program's user or one of its groups, which the user namespace that it is to be in does not know.
    #[error("no program can run with the {kind} {id} there: its user namespace has {ids}, and no others")]
    NotMapped {
        /// `user` or `group`.
        kind: &'static str,
        /// Which.
        id: u32,
        /// Those that it has.
        ids: String,
        /// It is the container's own.
        is_containers: bool,
    },
    /// Limits without a group to set them on.
    #[error("limits need a control group, and you have none here: {0}")]
    NoLimits(cgroup::Error),
    /// A user namespace of a container's own, by a user who has but one id.
    #[error("no ids are set aside for you, and with your own alone there is no user namespace for one container")]
    NoRanges,
    /// `--userns auto`, and other containers have them all.
    #[error("there are no {size} ids left that no other container has")]
    NoFreeIds {
        /// How many were asked for.
        size: u32,
    },
    /// A directory whose owners no mount can map, used in place.
    #[error("the owners of {0} cannot be mapped here, and a directory that is used in place is not copied")]
    OwnersInPlace(PathBuf),
    /// A mount that nobody would see.
    #[error("what is mounted for you is seen where your containers are made, and not here")]
    NotUnshared,
    /// A container whose root is mounted by the host is to be started in a user namespace of its own.
    #[error("the root of {container} is mounted")]
    IsMounted {
        /// The container.
        container: String,
    },
    /// An ordinary user without a place for files.
    #[error(
        "there is no place for your containers: neither HOME nor XDG_DATA_HOME is set, and /etc/passwd does not know you"
    )]
    NoHome,
    /// The place for an ordinary user's files cannot be made.
    #[error("cannot make {path}, where your containers and images are kept: {source}")]
    DataDir {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A directory that should be the user's alone.
    #[error("{path} does not belong to you alone, so nothing is kept there")]
    NotOurs {
        /// Its path.
        path: PathBuf,
    },
    /// Root in name only, as in a container.
    #[error("cannot make mounts: this process is root, but lacks CAP_SYS_ADMIN")]
    NoAdmin,
    /// ROOT names nothing.
    #[error("there is no root file system at {0:?}")]
    NoSuchRoot(String),
    /// ROOT is neither a directory nor an archive.
    #[error("{path}: it is {what}, not a directory or an archive")]
    BadRoot {
        /// As typed.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file or directory of ours, or one that was named.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The memory limit did not even let the container be made.
    #[error("the container reached its memory limit before its program could start")]
    Starved,
    /// The overlay could not be mounted.
    #[error("cannot mount an overlay over {lower}: {source}")]
    Overlay {
        /// The shared layer.
        lower: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The kernel has no overlay file system.
    #[error("this kernel has no overlay file system, which {0} needs")]
    NoOverlay(PathBuf),
    /// There is no such volume.
    #[error("there is no volume {name:?}")]
    NoSuchVolume {
        /// As typed.
        name: String,
    },
    /// A volume that is to be removed is used.
    #[error("the volume {name:?} is used by container {container}")]
    VolumeInUse {
        /// Its name.
        name: String,
        /// Who uses it.
        container: String,
    },
    /// There is no such network.
    #[error("there is no network {words:?}")]
    NoSuchNetwork {
        /// As typed.
        words: String,
    },
    /// One that a container names was removed.
    #[error("there is no network {network:?} any more, and container {container} is to be on it")]
    NetworkGone {
        /// Which.
        network: String,
        /// Whose it is.
        container: String,
    },
    /// The beginning of an id is that of several.
    #[error("{words:?} is the beginning of more than one network's id")]
    AmbiguousNetwork {
        /// As typed.
        words: String,
    },
    /// The name is taken.
    #[error("there is a network {name:?}")]
    NetworkExists {
        /// Its name.
        name: String,
    },
    /// A network that is to be removed is used.
    #[error("the network {name:?} is used by container {container}")]
    NetworkInUse {
        /// Its name.
        name: String,
        /// Who uses it.
        container: String,
    },
    /// It is to be removed, and another command has it.
    #[error("a container is being started on the network {name:?}")]
    NetworkBusy {
        /// Its name.
        name: String,
    },
    /// It is there always.
    #[error("the network {name:?} is built in, and cannot be removed")]
    BuiltInNetwork {
        /// Its name.
        name: String,
    },
    /// A subnet that something else has.
    #[error("the subnet {subnet} overlaps {by}")]
    SubnetTaken {
        /// The subnet.
        subnet: String,
        /// What has it.
        by: String,
    },
    /// Every subnet that we would choose is in use.
    #[error(
        "no subnet is free: each of 172.18.0.0/16 to 172.31.0.0/16 and in 192.168.0.0/16 overlaps a network or a route"
    )]
    NoFreeSubnet,
    /// A name of an image that cannot be one, or not here.
    #[error("{name:?}: {reason}")]
    BadName {
        /// As typed.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The name is taken.
    #[error("the name {name:?} is in use by container {id}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// There is no such container.
    #[error("there is no container {words:?}")]
    NoSuchContainer {
        /// As typed.
        words: String,
    },
    /// Neither a container nor an image.
    #[error("there is no container and no image {words:?}")]
    NothingNamed {
        /// As typed.
        words: String,
    },
    /// The beginning of an id is that of several.
    #[error("{words:?} is the beginning of more than one container's id")]
    AmbiguousContainer {
        /// As typed.
        words: String,
    },
    /// It was created, and what was asked for is for one that runs.
    #[error("the container {container} is not running")]
    NotRunning {
        /// Name or id.
        container: String,
    },
    /// There is no such pod.
    #[error("there is no pod {words:?}")]
    NoSuchPod {
        /// As typed.
        words: String,
    },
    /// The beginning of an id is that of several pods.
    #[error("{words:?} is the beginning of more than one pod's id")]
    AmbiguousPod {
        /// As typed.
        words: String,
    },
    /// The pod's name is taken.
    #[error("there is a pod {name:?} already")]
    PodExists {
        /// The name.
        name: String,
    },
    /// It shall be removed, and a container in it runs.
    #[error("the container {container} of the pod {pod} is running")]
    PodRuns {
        /// The pod's name.
        pod: String,
        /// The first that runs.
        container: String,
    },
    /// An infra container goes with its pod.
    #[error("the container {container} holds the pod {pod} together")]
    HoldsPod {
        /// Name or id.
        container: String,
        /// The pod's id.
        pod: String,
    },
    /// What shall be shared belongs to one that does not run.
    #[error("cannot join the {what} namespace of the container {container}: it is not running")]
    OtherNotRunning {
        /// Which namespace.
        what: &'static str,
        /// Name or id.
        container: String,
    },
    /// Its ipc namespace is for itself.
    #[error("the container {container} does not share its ipc namespace and /dev/shm")]
    NotShareable {
        /// Name or id.
        container: String,
    },
    /// A port of it cannot be reached from outside.
    #[error("no public port {port:?} published for {container}")]
    NotPublished {
        /// With its protocol.
        port: String,
        /// Name or id.
        container: String,
    },
    /// It runs, and was to be removed without force.
    #[error("the container {container} is running")]
    IsRunning {
        /// Name or id.
        container: String,
    },
    /// Another command has it.
    #[error(
        "another command is at work on the container {container}: it is being started, removed, committed or exported"
    )]
    ContainerBusy {
        /// Name or id.
        container: String,
    },
    /// A killed container's tool does not end.
    #[error("the container {container} was killed, but the tool that runs it (process {tool}) has not removed it")]
    NotRemoved {
        /// Name or id.
        container: String,
        /// Its pid.
        tool: u32,
    },
    /// Its process cannot be found.
    #[error("the container {container} has no process: it is starting or ending")]
    NoProcess {
        /// Name or id.
        container: String,
    },
    /// There is nothing that its changes could be held against.
    #[error("the container {container} is made of no image, so nothing tells what it has changed")]
    NoImageOf {
        /// Name or id.
        container: String,
    },
    /// Nothing says how to see whether it is well.
    #[error("the container {container} has no health check")]
    NoCheck {
        /// Name or id.
        container: String,
    },
    /// Its processes stand still, and one that joined would, too.
    #[error("the container {container} is paused")]
    IsPaused {
        /// Name or id.
        container: String,
    },
    /// Its record does not say what its processes may.
    #[error(
        "the container {container} was started by another release, which did not write down what its processes may"
    )]
    OtherRelease {
        /// Name or id.
        container: String,
    },
    /// It does not stand still.
    #[error("the container {container} is not paused")]
    NotPaused {
        /// Name or id.
        container: String,
    },
    /// A process of a container, or its tool.
    #[error("cannot {what} {container}: {source}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// Name or id.
        container: String,
        /// The system's reason.
        source: io::Error,
    },
    /// What its monitor says of why it does not run.
    #[error("{text}")]
    NotStarted {
        /// As the monitor tells it.
        text: String,
        /// What to do about it.
        hint: Option<String>,
        /// The exit code for it.
        code: u8,
    },
    /// Its monitor ended without a word.
    #[error("the container's monitor was killed, and the container with it")]
    MonitorGone,
    /// It has no monitor, so nothing can be attached to it, and what it prints is not kept.
    #[error("the container {container} runs in the foreground of another command, and its streams are that one's")]
    InForeground {
        /// Name or id.
        container: String,
    },
    /// It goes when it ends, so it cannot be started again.
    #[error("the container {container} is removed when it ends (--rm), so it cannot be started again")]
    GoesAtItsEnd {
        /// Name or id.
        container: String,
    },
    /// Its tool was killed.
    #[error("nobody knows how the container {container} ended: the tool that ran it was killed")]
    NoExitCode {
        /// Name or id.
        container: String,
    },
    /// Its output is not kept.
    #[error(
        "cannot show what the container {container} has printed: its log driver, {driver}, does not support reading"
    )]
    LogUnreadable {
        /// Name or id.
        container: String,
        /// As it is typed.
        driver: &'static str,
    },
    /// systemd's journal, which keeps its output, cannot be read.
    #[error("cannot read the journal with journalctl: {0}")]
    Journal(String),
    /// A record that cannot be understood.
    #[error("cannot understand {path}: {source}")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A path that a record cannot hold.
    #[error("cannot write {path} down in a container's record: it is not UTF-8")]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// What a created container is made of is no more, or another thing by now.
    #[error("the container {container} was made of {what}, {gone}")]
    RootChanged {
        /// Name or id.
        container: String,
        /// The archive.
        what: PathBuf,
        /// What became of it.
        gone: &'static str,
    },
    /// Something cannot be copied.
    #[error(transparent)]
    Copy(#[from] crate::containers::CopyError),
    /// `--change` that cannot be made.
    #[error("--change: {0}")]
    BadChange(#[from] image::archive::BadChange),
    /// `-u` names nobody.
    #[error("there is no {kind} {name:?} in the container's {file}")]
    NoSuchUser {
        /// `user` or `group`.
        kind: &'static str,
        /// As typed.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A value that only shows to be wrong when it is used.
    #[error("{flag} {value}: {reason}")]
    BadValue {
        /// The flag.
        flag: &'static str,
        /// As typed.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// Flags that contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// The root has neither the command's default.
    #[error("the root has neither bash nor sh, and no command was given")]
    NoShell,
    /// `-t` without a terminal.
    #[error("the input device is not a TTY")]
    NotATerminal,
    /// A standard stream that must not get into a container.
    #[error("standard {0} is a directory: it would be a way out of the container")]
    StreamIsDirectory(&'static str),
    /// Terminal or stream handling broke.
    #[error("cannot {what}: {source}")]
    Terminal {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Error {
        let path = path.into();
        move |source| Error::File { what, path, source: source.into() }
    }

    pub(crate) fn process(what: &'static str, container: impl Into<String>) -> impl FnOnce(Errno) -> Error {
        let container = container.into();
        move |source| Error::Process { what, container, source: source.into() }
    }

    pub(crate) fn terminal(what: &'static str) -> impl FnOnce(Errno) -> Error {
        move |source| Error::Terminal { what, source: source.into() }
    }

    /// Docker's exit code for it: 126 for a program that cannot be executed, 127 for one that is not there, 125 for any
    /// failure of ours.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Runtime(runtime::Error::NotExecutable { .. }) => 126,
            Error::Runtime(runtime::Error::NotFound { .. }) => 127,
            Error::NotStarted { code, .. } => *code,
            _ => 125,
        }
    }

    /// What to do next, where we know.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Image(error) => return image_hint(error),
            Error::NotStarted { hint, .. } => return hint.clone(),
            Error::LogUnreadable { .. } => "nothing of it was kept: start it with another --log-driver",
            Error::Journal(_) => {
                "a container with `--log-driver journald` has its log there; root may read it, and who is in \
                                  the group systemd-journal"
            }
            Error::Copy(error) => return error.hint(),
            Error::Network(network::Error::PortTaken { .. }) => {
                "`ss -tulnp` and `mycontainer ps` show whose it is; -p PORT, without one of the host, takes any"
            }
            Error::NotRoot => "run it through sudo",
            Error::UserNamespace { .. } => {
                "`mycontainer info --check` shows what is missing for containers without root"
            }
            Error::Uplink { .. } => "`--network none` and `--network host` do without",
            Error::NoGroup { .. } => "`mycontainer info --check` shows what gives you control groups",
            Error::NoFreeIds { .. } => "ask for fewer with --userns auto:size=N, or remove containers that have some",
            Error::NotUnshared => "`mycontainer unshare` opens a shell there: mount it in that",
            Error::IsMounted { .. } => {
                "`mycontainer unmount` first: with a user namespace of its own it is mounted otherwise"
            }
            Error::OwnersInPlace(_) => "`mycontainer import` makes an image of it, or leave --userns away",
            Error::OneId { .. } | Error::NoRanges => {
                "`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER` sets some aside"
            }
            Error::NotMapped { is_containers: true, .. } => {
                "`--userns auto:size=N` gives it as many as that, `--uidmap` and `--gidmap` those that you name"
            }
            Error::NotMapped { .. } => {
                "`sudo usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST $USER` sets more aside for you; they are there \
                 when none of your containers has run for five seconds"
            }
            Error::NoLimits(error) => return error.hint(),
            Error::DataDir { .. } => {
                "set XDG_DATA_HOME to a directory that you can write to, or run it as root, through sudo"
            }
            Error::NoHome => "set HOME",
            Error::NotOurs { .. } => "set XDG_RUNTIME_DIR to a directory that belongs to you alone",
            Error::NoAdmin => "run it outside of the container or sandbox, or give that one CAP_SYS_ADMIN",
            Error::NoSuchRoot(_) => "ROOT is `host`, an image, a directory, or an archive from `docker export`",
            Error::NoOverlay(_) => "load it with `modprobe overlay`; a directory as ROOT runs without it",
            Error::Overlay { source: Errno::INVAL, .. } => {
                "/var/lib/mycontainer must be on a file system that can hold an overlay's upper layer \
                 (not on another overlay or NFS)"
            }
            Error::Starved => "give it more with --memory",
            Error::NoSuchVolume { .. } => "`mycontainer volume ls` shows those that are here",
            Error::VolumeInUse { .. } => "end or remove that container first",
            Error::NoSuchNetwork { .. } => {
                "`mycontainer network ls` shows those that are here, and `mycontainer network create NAME` makes one"
            }
            Error::NetworkGone { network, container } => {
                return Some(format!(
                    "`mycontainer network create {network}` makes it anew; `mycontainer network disconnect {network} \
                     {container}` takes the container off it"
                ));
            }
            Error::NetworkExists { .. } => "choose another name, or let it be with --ignore",
            Error::NetworkInUse { .. } => "end that container first",
            Error::SubnetTaken { .. } => "choose another --subnet, or none: then a free one is taken",
            Error::NoFreeSubnet => "choose one with --subnet",
            Error::NameTaken { .. } => "choose another --name, or end or remove that container first",
            Error::NoSuchContainer { .. } => "`mycontainer ps -a` shows those that are here",
            Error::NothingNamed { .. } => "`mycontainer ps -a` and `mycontainer images` show what is here",
            Error::IsRunning { .. } => "end it first, or kill and remove it with --force",
            Error::NoSuchPod { .. } => "`mycontainer pod ps` shows those that are here",
            Error::PodExists { .. } => "choose another --name, or remove that pod, as --replace does",
            Error::PodRuns { .. } => "`mycontainer pod stop` ends it, or remove the pod with --force",
            Error::HoldsPod { .. } => "`mycontainer pod rm` removes the pod with it",
            Error::OtherNotRunning { .. } => "`mycontainer start` starts that one, if it is here still",
            Error::NotShareable { .. } => "run that one with --ipc shareable",
            Error::NotRunning { .. } => "`mycontainer start` starts it",
            Error::InForeground { .. } => "run it with --detach",
            Error::NoCheck { .. } => "it is made with one by --health-cmd, or its image has one",
            Error::IsPaused { .. } => "`mycontainer unpause` lets it run on",
            Error::OtherRelease { .. } => "use the release that started it, or run it anew",
            Error::ContainerBusy { .. } | Error::NetworkBusy { .. } => "wait until that command has ended",
            Error::NotText { .. } => "rename it, or give it a symbolic link and use that",
            Error::NoShell => "name a command after ROOT",
            Error::NotATerminal => "leave -t away, or run it from a terminal",
            Error::Runtime(runtime::Error::Cgroup(error)) => return error.hint(),
            Error::File { what: "use the volume", source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "create it first: a missing source is not made for you"
            }
            Error::Runtime(runtime::Error::NotFound { .. }) => "check the spelling, or give the path in the container",
            Error::Runtime(runtime::Error::Clone(e)) if e.raw_os_error() == Some(1) => {
                "it needs CAP_SYS_ADMIN: run it through sudo, and not inside a container that lacks it"
            }
            Error::File { source, .. } if source.raw_os_error() == Some(28) => "free some space on that file system",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn image_hint(error: &image::Error) -> Option<String> {
    let hint = match error {
        image::Error::Registry(error) => return error.hint(),
        image::Error::OnePlatform { source, .. } => return image_hint(source),
        image::Error::Prepare { source, .. } | image::Error::Blob { source, .. } if is_forbidden(source) => {
            "run it through sudo: the store of images is root's"
        }
        image::Error::NoSuchImage { .. } => {
            "`mycontainer images` shows those that are here; `mycontainer pull` fetches"
        }
        image::Error::NoPlatform { .. } => "choose one of them with --platform",
        image::Error::AmbiguousId { .. } => "give more of its digits",
        image::Error::ImageInUse { .. } => "end that container first",
        error if error.is_disk_full() => "free some space there: `mycontainer image prune -a` may help",
        image::Error::Layer { source, .. } if matches!(**source, image::Fault::TooBig { .. }) => {
            "if it is meant to be so large, set MYCONTAINER_LAYER_MAX to the bytes that it may have"
        }
        image::Error::Blob { source, .. } if source.kind() == io::ErrorKind::NotFound => "pull the image again",
        image::Error::Index { .. } => {
            "move that file away, and pull or load the images again: until the next prune their layers are there"
        }
        image::Error::Damaged { .. } => "remove the image with `mycontainer rmi`, and pull it again",
        _ => return None,
    };
    Some(hint.to_owned())
}

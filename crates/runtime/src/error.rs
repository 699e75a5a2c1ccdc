//! What can go wrong while a container is made, one variant a step.

use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// Why a container could not be made or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A part of the configuration that this release does not act on. Nothing is silently ignored.
    #[error("{0} is not supported by this release")]
    Unsupported(String),
    /// The configuration contradicts itself or the specification.
    #[error("the container's configuration is not valid: {0}")]
    Invalid(String),
    /// The kernel's process file system is missing or is something else.
    #[error("cannot use /proc of this host: {0}")]
    Proc(Errno),
    /// The control group could not be made, joined or limited.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The seccomp section could not be compiled.
    #[error(transparent)]
    Seccomp(#[from] seccomp::Error),
    /// The process could not be cloned into its namespaces.
    #[error("cannot make the container's namespaces: {0}")]
    Clone(io::Error),
    /// As [`Error::Clone`], of somebody who may make no others.
    #[error("cannot make the container's namespaces: {0}: who is not root needs a user namespace with them")]
    CloneWithoutRoot(io::Error),
    /// A new namespace could not be entered by the child itself.
    #[error("cannot make a new {kind} namespace: {source}")]
    Unshare {
        /// Which namespace.
        kind: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A namespace that the configuration names by path could not be opened or entered.
    #[error("cannot join the {kind} namespace {path}: {source}")]
    Namespace {
        /// Which kind.
        kind: &'static str,
        /// Its path on the host.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The namespaces of a running container could not be entered.
    #[error("cannot enter the container's namespaces: {0}")]
    Join(io::Error),
    /// A socket of the caller's could not be used.
    #[error("cannot {what} {path}: {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The line between the tool and the container's first process broke.
    #[error("lost the container's first process while it was starting: {0}")]
    Channel(Errno),
    /// The container's first process ended before it ran the program, and could not say why.
    #[error("the container's first process ended before it could start the program")]
    Vanished,
    /// A mount's source on the host cannot be used.
    #[error("cannot use {path} as the source of a mount: {source}")]
    MountSource {
        /// The path on the host.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A mount option that the kernel or we do not know.
    #[error("cannot mount {fstype} on {target}: option {option:?} is refused: {source}")]
    MountOption {
        /// File system type, or `bind`.
        fstype: String,
        /// Path in the container.
        target: PathBuf,
        /// The option as given.
        option: String,
        /// The system's reason.
        source: Errno,
    },
    /// A mount failed.
    #[error("cannot mount {fstype} on {target} in the container: {source}")]
    Mount {
        /// File system type, or `bind`.
        fstype: String,
        /// Path in the container.
        target: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The place where something is to be mounted cannot be found or made inside the root.
    #[error("cannot make {path} in the container's root: {source}")]
    Target {
        /// Path in the container.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A directory was to be mounted on something else, or something else on a directory. Docker looks for the first words.
    #[error("cannot mount on {path} in the container: not a directory: either it or what is mounted there is one")]
    Kinds {
        /// Path in the container.
        path: PathBuf,
    },
    /// Something inside the root could not be opened.
    #[error("cannot open {path} in the container: {source}")]
    Open {
        /// Path in the container.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A step on the root as a whole failed.
    #[error("cannot {what}: {source}")]
    Root {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: Errno,
    },
    /// A device node could not be made.
    #[error("cannot make the device {path} in the container: {source}")]
    Device {
        /// Path in the container.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A path could not be masked or made read-only.
    #[error("cannot hide {path} in the container: {source}")]
    Mask {
        /// Path in the container.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A kernel parameter could not be set.
    #[error("cannot set the kernel parameter {name} to {value:?}: {source}")]
    Sysctl {
        /// Dotted name.
        name: String,
        /// The value.
        value: String,
        /// The system's reason.
        source: Errno,
    },
    /// A resource limit could not be set.
    #[error("cannot set the limit {name} to {soft}:{hard}: {source}")]
    Rlimit {
        /// The limit's name as in `--ulimit`.
        name: String,
        /// Soft value.
        soft: u64,
        /// Hard value.
        hard: u64,
        /// The system's reason.
        source: Errno,
    },
    /// One of the plain settings of a process failed.
    #[error("cannot {what} in the container: {source}")]
    Process {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The terminal could not be made.
    #[error("cannot make the container's terminal: {0}")]
    Terminal(Errno),
    /// The working directory is missing, no directory, or not inside the container.
    #[error("cannot use {path} as the working directory in the container: {source}")]
    WorkingDirectory {
        /// Path in the container.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// There is no such program in the container.
    #[error("{program}: {reason}")]
    NotFound {
        /// The program as asked for.
        program: String,
        /// Where it was looked for.
        reason: String,
    },
    /// The program is there but cannot be executed.
    #[error("cannot execute {program} in the container: {reason}")]
    NotExecutable {
        /// The program as asked for.
        program: String,
        /// The system's reason, or ours.
        reason: String,
    },
    /// No name for a container.
    #[error("{0:?} is no container id: letters, digits and _ + - . are, and it begins with another than a dot")]
    BadId(String),
    /// The id is in use.
    #[error("container with id {0:?} already exists")]
    IdTaken(String),
    /// There is no such container.
    #[error("container {0:?} does not exist")]
    NoSuchContainer(String),
    /// What was asked for needs the container in another state. Callers look for these words.
    #[error("{}", not_in_state(.what, .id, .status))]
    WrongStatus {
        /// What was to be done, such as `start`.
        what: &'static str,
        /// The container.
        id: String,
        /// Its state.
        status: crate::Status,
    },
    /// The record of a container could not be used.
    #[error("cannot {what} {path}: {source}")]
    Record {
        /// What was tried.
        what: &'static str,
        /// The record, or its directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// A file of the caller's could not be used.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A configuration that is no JSON, or not of the specification's shape.
    #[error("cannot read {path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        source: serde_json::Error,
    },
    /// A process did not end in time after it was told to.
    #[error("process {pid} of container {id:?} does not end")]
    DoesNotEnd {
        /// The container.
        id: String,
        /// The process.
        pid: i32,
    },
    /// The configuration asks for something that this host does not have.
    #[error("cannot {what}: this host {lacks}")]
    Host {
        /// What was to be done.
        what: String,
        /// What is missing, as the rest of "this host ...".
        lacks: String,
    },
    /// CRIU failed.
    #[error("criu cannot {what}: {reason}{}", after(.log))]
    Criu {
        /// What it was to do.
        what: &'static str,
        /// Why it did not.
        reason: String,
        /// The name of its log, and what it says at the end.
        log: String,
    },
    /// User and group ids could not be mapped.
    #[error("cannot map the container's ids: {what}: {source}")]
    IdMap {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A group of the resource control file system could not be made, joined or set.
    #[error("cannot {what} in the resource control file system: {path}: {source}")]
    Resctrl {
        /// What was tried.
        what: &'static str,
        /// The group or file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A network device of the host could not be given to the container.
    #[error("cannot give the network device {device} to the container: {what}: {reason}")]
    NetDevice {
        /// Its name on the host.
        device: String,
        /// What was tried.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// A hook could not be run, or failed.
    #[error("the {kind} hook {path} failed: {reason}")]
    Hook {
        /// Which kind of hook, as in the configuration.
        kind: &'static str,
        /// The hook's program.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A failure on the container's side, as it was told over the channel.
    #[error("{0}")]
    InContainer(String),
}

impl Error {
    /// Wraps one failed setting of a process.
    pub(crate) fn process(what: impl Into<String>) -> impl FnOnce(Errno) -> Error {
        |source| Error::Process { what: what.into(), source: source.into() }
    }
}

fn after(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; {log}") }
}

/// containerd takes "container not running" for "there is nothing left to do", and Docker with it.
fn not_in_state(what: &str, id: &str, status: &crate::Status) -> String {
    match status {
        crate::Status::Stopped if what != "start" => format!("cannot {what} container {id:?}: container not running"),
        _ => format!("cannot {what} container {id:?} in the {status} state"),
    }
}

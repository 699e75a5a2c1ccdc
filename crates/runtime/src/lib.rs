//! A bundle becomes an isolated process.
//!
//! What a container is can be read in two files that are twins: [`create`](mod@create) is the parent's side (control
//! group, clone into namespaces, start, wait) and `init` is the child's (mounts, root, user, capabilities, seccomp,
//! exec). Nearly everything else in this crate is one step of those stories.
//!
//! There are two ways in, and one way on. The engine hands a [`Bundle`] in memory to [`create()`]. A caller of the OCI
//! runtime hands a directory to [`Runtime::create`] or [`Runtime::run`] (`launch`), which keep a record on disk
//! (`record`) and call the same [`create()`]; every later verb finds the container by that record ([`Known`]). One more
//! process joins a container in the same two ways, [`join()`] and [`Known::exec`], and goes on by one.
//!
//! Always true here:
//! - This crate knows nothing of images or networks. What the network needs, its caller does between clone and start.
//! - The process that clones is single-threaded, and there is no async.
//! - A path inside a root is resolved in one place, `root`, through descriptors and `openat2`.
//! - A process is signalled through a pidfd, after a look at when it started (`pinned`).
//! - Nothing is left on the host but the control group and the record: every mount lives in the container's own mount
//!   namespace and goes with its last process.
//!
//! # Example
//!
//! `examples/run_bundle.rs` runs a bundle, waits for it and removes it:
//!
//! ```no_run
//! use runtime::{Error, Launch, Runtime};
//!
//! fn main() -> Result<(), Error> {
//!     let runtime = Runtime::new("/run/mycontainer-example");
//!     let running = runtime.run("hello", &Launch { bundle: "bundle".into(), ..Launch::default() })?;
//!     let exit = running.process().wait()?;
//!     running.delete()?;
//!     std::process::exit(exit.shell_status())
//! }
//! ```

pub mod bundle;
pub mod capabilities;
pub mod create;
pub mod error;
pub mod reaper;
pub mod seal;

mod channel;
mod checkpoint;
mod clock;
mod config;
mod copyup;
mod credentials;
mod criu;
mod devices;
mod exec;
mod external;
mod files;
mod hooks;
mod idmap;
mod init;
mod join;
mod known;
mod labels;
mod launch;
mod mask;
mod memory_policy;
mod more_mounts;
mod mountinfo;
mod mounts;
mod namespaces;
mod netdev;
mod netlink;
mod notify;
mod numbers;
mod options;
pub mod pause;
mod personality;
mod pinned;
mod plan;
mod process;
mod procfs;
mod protobuf;
mod record;
mod resctrl;
mod restore;
mod root;
mod scheduling;
mod status;
mod sysctl;
mod terminal;
#[cfg(test)]
mod testing;
mod time_offsets;

pub use bundle::{Bundle, Extras, File, Rootfs, Stdio, Tree};
pub use checkpoint::{CgroupMode, Checkpoint, Images};
pub use clock::now;
pub use config::process as parse_process;
pub use copyup::copy as copy_tree;
pub use create::{Container, Newborn, create};
pub use error::Error;
pub use idmap::{IdMap, map_ids, map_mount, maps_of_namespace, new_user_namespace as user_namespace};
pub use join::{First, Joining, Newcomer, join};
pub use known::Known;
pub use launch::{Launch, Running};
pub use process::{Exit, Process};
pub use restore::Restore;
pub use root::Root;
pub use status::{SPEC_VERSION, StateJson, Status};

use std::path::PathBuf;

/// Who makes the control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// This process, as directories.
    #[default]
    Cgroupfs,
    /// systemd, as transient units.
    Systemd,
    /// Nobody: containers stay in the caller's group, without limits.
    Disabled,
}

/// Containers of an OCI caller, and how they are made.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Directory of their records.
    pub root: PathBuf,
    /// Who makes their control groups.
    pub cgroups: CgroupManager,
    /// Goes without what only root of the host may have. None: decided by who calls.
    pub rootless: Option<bool>,
}

impl Runtime {
    /// The containers whose records are below `root`, with control groups of our own making.
    pub fn new(root: impl Into<PathBuf>) -> Runtime {
        Runtime { root: root.into(), cgroups: CgroupManager::default(), rootless: None }
    }

    /// True when this process is not root of the host.
    pub(crate) fn is_rootless(&self) -> bool {
        self.rootless.unwrap_or_else(|| !is_root_of_host())
    }
}

/// True when this process is root, and of the host: not of a user namespace, where the number is another user's.
pub fn is_root_of_host() -> bool {
    rustix::process::geteuid().is_root() && sys::namespace::is_first_user()
}

/// All of a start that comes before anything is made, of any bytes as configuration: for the fuzzer. With `systemd` its
/// control group is one of systemd's.
#[doc(hidden)]
pub fn consider(config: &[u8], systemd: bool) -> Result<(), Error> {
    let text = std::str::from_utf8(config).map_err(|e| Error::Invalid(e.to_string()))?;
    let invalid = |e: serde_json::Error| Error::Invalid(e.to_string());
    let _ = config::process(text);
    let mut config = config::read(text).map_err(invalid)?;
    let filter = config.filter(None);
    let spec = config.spec;
    let planned = plan::plan(&spec, std::path::Path::new("/bundle")).and_then(|plan| create::check_sysctls(&plan));
    let linux = spec.linux().as_ref();
    let state = create::state_of(&spec, "fuzz", std::path::Path::new("/bundle"));
    state.to_json();
    let agent = notify::Agent::of(&spec, state);
    let path = linux.and_then(|linux| linux.cgroups_path().as_ref()).and_then(|path| path.to_str());
    let notes = spec.annotations().iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
    let location = cgroup::Location::from_oci(path, "fuzz", systemd, notes);
    if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
        cgroup::consider(resources, &devices::default_rules())?;
    }
    planned.and(filter.map(drop)).and(agent.map(drop)).and(location.map(drop).map_err(Error::from))
}

/// Every mount option that has a meaning of its own here; others go to the file system.
pub fn mount_options() -> Vec<String> {
    options::known()
}

/// The architectures whose system calls can be filtered, by the specification's names.
pub fn seccomp_architectures() -> Vec<oci_spec::runtime::Arch> {
    seccomp::Arch::ALL.iter().map(|arch| arch.to_oci()).collect()
}

//! A bundle becomes an isolated process.
//!
//! What a container is can be read in two files that are twins: [`create`](mod@create) is the parent's side (control
//! group, clone into namespaces, start, wait) and `init` is the child's (mounts, root, user, capabilities, seccomp,
//! exec). Everything else in this crate is one step of those stories.
//!
//! Always true here:
//! - This crate knows nothing of images or networks. The caller hands in an OCI [`Spec`](oci_spec::runtime::Spec) and
//!   an open root; what the network needs, it does between clone and start.
//! - The process that clones is single-threaded, and there is no async.
//! - A path inside a root is resolved in one place, `root`, through descriptors and `openat2`.
//! - Nothing is left on the host but the control group: every mount lives in the container's own mount namespace and
//!   goes with its last process. The group is removed by [`Container::remove`], or after a crash by whoever calls
//!   [`cgroup::Cgroup::open`] with its name.

pub mod bundle;
pub mod capabilities;
pub mod create;
pub mod error;
pub mod reaper;

mod channel;
mod credentials;
mod devices;
mod exec;
mod files;
mod init;
mod mask;
mod mounts;
mod options;
mod plan;
mod procfs;
mod root;
mod sysctl;
mod terminal;

#[allow(dead_code)] // Called by `create` and `init` in the commits that follow.
mod hooks;
#[allow(dead_code)]
mod idmap;
#[allow(dead_code)]
mod labels;
#[allow(dead_code)]
mod memory_policy;
#[allow(dead_code)]
mod netdev;
#[allow(dead_code)]
mod netlink;
#[allow(dead_code)]
mod numbers;
#[allow(dead_code)]
mod personality;
#[allow(dead_code)]
mod resctrl;
#[allow(dead_code)]
mod scheduling;
#[cfg(test)]
mod testing;
#[allow(dead_code)]
mod time_offsets;

pub use bundle::{Bundle, File, Stdio, Tree};
pub use create::{Container, Exit, Newborn, create};
pub use error::Error;
pub use root::Root;

//! What a caller hands in to have a container made.

use crate::root::Root;
use oci_spec::runtime::Spec;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// One container to make.
#[derive(Debug)]
pub struct Bundle {
    /// Where the container's control group is.
    pub cgroup: cgroup::Location,
    /// The configuration, by the OCI runtime-spec. `root.path` is not used: [`Bundle::root`] is the root.
    pub spec: Spec,
    /// The root file system as a detached mount (`open_tree(OPEN_TREE_CLONE)` or `fsmount`): it is attached in the
    /// container's own mount namespace and nowhere else, so a crash leaves no mount behind.
    pub root: Root,
    /// Detached mounts that belong to the root: they are attached before the configuration's own mounts.
    pub trees: Vec<Tree>,
    /// Small files that exist only inside the container, mounted over whatever the root has there.
    pub files: Vec<File>,
    /// A compiled seccomp filter to use in place of the configuration's section.
    pub seccomp: Option<seccomp::Program>,
    /// Runs a tiny init as PID 1 that reaps orphans and forwards signals; the program becomes PID 2.
    pub init: bool,
    /// Standard input, output and error.
    pub stdio: Stdio,
}

/// A detached mount with its place in the root.
#[derive(Debug)]
pub struct Tree {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// The mount.
    pub mount: OwnedFd,
}

/// A file that exists only inside the container: /etc/hosts and its like.
#[derive(Clone, Debug)]
pub struct File {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

/// Where the container's standard streams go.
#[derive(Debug)]
pub enum Stdio {
    /// These descriptors become 0, 1 and 2.
    Fds([OwnedFd; 3]),
    /// A new pseudo terminal, whose other end is [`crate::Container::terminal`].
    Terminal {
        /// Columns and rows to start with, when known.
        size: Option<(u16, u16)>,
    },
}

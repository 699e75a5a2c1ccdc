//! What a caller hands in to have a container made.

use crate::root::Root;
use cgroup::Location;
use oci_spec::runtime::Spec;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// One container to make.
#[derive(Debug)]
pub struct Bundle {
    /// Name of the container, for hooks and for who answers its filter's questions.
    pub id: String,
    /// Directory that relative sources of mounts are below, and that hooks are told.
    pub dir: PathBuf,
    /// Where the container's control group is, in every hierarchy that it has one in.
    pub cgroup: Location,
    /// The configuration, by the OCI runtime-spec. `root.path` is not used: [`Bundle::root`] is the root.
    pub spec: Spec,
    /// The root file system.
    pub root: Rootfs,
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
    /// What is seldom asked for.
    pub extras: Extras,
}

/// Parts of a start that only callers of the OCI runtime ask for.
#[derive(Debug, Default)]
pub struct Extras {
    /// How many descriptors after standard error the program inherits.
    pub preserve_fds: u32,
    /// Changes the root without pivot_root, which an initramfs does not allow.
    pub no_pivot: bool,
    /// Keeps the caller's session keyring.
    pub keep_keyring: bool,
    /// Goes on without control group, device rules and OOM score where this user may not have them: a caller that is not
    /// root of the host. Limits that were asked for are an error all the same.
    pub rootless: bool,
    /// Where the start comes from when this process has ended: a listening socket.
    pub starter: Option<OwnedFd>,
    /// Where the container's first process writes that it starts its program.
    pub record: Option<Rc<OwnedFd>>,
    /// Detached mounts that come over the configuration's own: what another container has mounted, and this one shares.
    pub shared: Vec<Tree>,
    /// It has no program: its first process only holds the namespaces. [`crate::pause`]
    pub pause: bool,
}

/// The root file system, as far as it is opened.
#[derive(Debug)]
pub enum Rootfs {
    /// A detached mount (`open_tree(OPEN_TREE_CLONE)` or `fsmount`): it is attached in the container's own mount namespace
    /// and nowhere else, so a crash leaves no mount behind.
    Mount(Root),
    /// As [`Rootfs::Mount`], handed over by [`crate::Newborn::give_root`] once the first process is there: making the mount
    /// and entering the namespaces take their time side by side.
    Given,
    /// A directory that the container's first process opens: for a caller that may not clone mounts itself, and for a
    /// container in the mount namespace of others.
    Directory(PathBuf),
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
    /// It can be written also where the root is read-only.
    pub stays_writable: bool,
}

/// Where a process's standard streams go.
#[derive(Debug)]
pub enum Stdio {
    /// These descriptors become 0, 1 and 2.
    Fds([OwnedFd; 3]),
    /// A new pseudo terminal, whose other end is [`crate::Process::terminal`].
    Terminal {
        /// Columns and rows to start with, when known.
        size: Option<(u16, u16)>,
    },
}

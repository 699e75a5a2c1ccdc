//! What can go wrong with names, a variant a step.

use rustix::io::Errno;
use std::path::PathBuf;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory or file of names cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Files {
        /// open, make, read, write, list or remove.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The word cannot be the name of a network's directory.
    #[error(
        "cannot keep names of network {network:?}: a network is named here by the first 12 lower-case hex digits of its id"
    )]
    BadNetwork {
        /// What was given.
        network: String,
    },
    /// The word cannot be the name of a container's file.
    #[error("cannot keep names of {id:?}: a container's id is 64 lower-case hex digits")]
    BadId {
        /// What was given.
        id: String,
    },
    /// A name that cannot stand on a line of its own.
    #[error(
        "cannot keep the name {name:?} of container {id}: it is empty or has white space or control characters in it"
    )]
    BadName {
        /// The container.
        id: String,
        /// The name.
        name: String,
    },
    /// A container's file would be so long that no server reads it.
    #[error("cannot keep the {count} names of container {id}: they take more than {most} bytes")]
    TooManyNames {
        /// The container.
        id: String,
        /// How many there are.
        count: usize,
        /// How many bytes are read.
        most: usize,
    },
    /// The server's sockets cannot be used.
    #[error("cannot {action} of the names of network {network}: {source}")]
    Server {
        /// Which step: "poll the sockets", "make the sockets not block".
        action: &'static str,
        /// The network.
        network: String,
        /// The system's reason.
        source: Errno,
    },
}

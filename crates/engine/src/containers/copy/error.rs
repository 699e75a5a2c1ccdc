//! Why something cannot be copied, before anything is.

use rustix::io::Errno;
use std::path::PathBuf;

/// What is wrong with what `cp` is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Both sides are on the host.
    #[error("neither {from:?} nor {to:?} is in a container")]
    NoContainer {
        /// As typed.
        from: String,
        /// As typed.
        to: String,
    },
    /// A side without words.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// What is to be copied cannot be found.
    #[error("cannot find {shown}: {source}")]
    Source {
        /// Where.
        shown: String,
        /// The system's reason.
        source: Errno,
    },
    /// Where it is to go cannot be found.
    #[error("cannot find the place for {shown}: {source}")]
    Destination {
        /// Where.
        shown: String,
        /// The system's reason.
        source: Errno,
    },
    /// A directory that must be there is not.
    #[error("there is no directory {shown}")]
    NoDirectory {
        /// Where.
        shown: String,
    },
    /// A directory over a file.
    #[error("cannot copy the directory {from} to {to}, which is a file")]
    DirectoryToFile {
        /// Where from.
        from: String,
        /// Where to.
        to: String,
    },
    /// Nothing can be put there.
    #[error("{shown} must be {what}")]
    BadDestination {
        /// Where.
        shown: String,
        /// What it must be.
        what: &'static str,
    },
    /// What is copied would have itself in it.
    #[error("cannot copy {from} into itself, to {to}")]
    IntoItself {
        /// Where from.
        from: String,
        /// Where to.
        to: String,
    },
    /// What is mounted in a container is there while it runs.
    #[error("{shown} is in {mount}, which is mounted only while the container runs")]
    NotMounted {
        /// Where.
        shown: String,
        /// Where it is mounted.
        mount: PathBuf,
    },
}

impl CopyError {
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            CopyError::NoContainer { .. } => "say CONTAINER:PATH for a path in a container",
            CopyError::NoDirectory { .. } => "make it first: only the last part of a path is made",
            CopyError::NotMounted { .. } => "copy it while the container runs",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

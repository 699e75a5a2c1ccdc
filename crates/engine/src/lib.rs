//! Containers as people know them: `run` with its flags, from a root on this machine to an exit code.
//!
//! What a flag means is decided here (`spec` turns [`RunOptions`] into an OCI configuration), and the order in which the
//! parts come together stands in `run`. The isolated process itself is `runtime`'s, addresses are `network`'s, unpacked
//! archives are `image`'s.
//!
//! On the host, for each container: a record `/run/mycontainer/containers/ID`, locked by the tool while it lives; a
//! name `/run/mycontainer/names/NAME`; a writable layer `/var/lib/mycontainer/containers/ID` where the root is shared
//! or must not change; a control group `mycontainer-ID`; an address lease. The record is written before any of the others and
//! removed after them, and all are found by the id alone: a record that nobody holds locked is what a killed tool left,
//! and `sweep`, which every command runs, removes what belongs to it.

mod base;
mod confines;
pub mod containers;
mod created;
mod default_capabilities;
mod error;
mod files;
mod foreground;
mod given;
mod hostview;
mod image_config;
mod image_volumes;
pub mod images;
mod options;
mod overlay;
mod parse;
mod relay;
mod rootfs;
mod run;
mod seccomp;
mod signals;
mod spec;
mod state;
mod streams;
mod sweep;
mod tty;
mod user;
pub mod volumes;

pub use error::Error;
pub use foreground::{Foreground, window};
pub use hostview::{EMPTIED, HIDDEN, SHOWN_ONLY};
pub use options::{DeviceMap, NetworkMode, PullPolicy, RunOptions, SeccompChoice, Tmpfs, Ulimit, Volume};
pub use parse::ParseError;
pub use run::{Outcome, run};
pub use signals::signal_number;

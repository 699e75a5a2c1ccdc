//! Containers as people know them: `run` with its flags, from a root on this machine to an exit code.
//!
//! What a flag means is decided here (`spec` turns [`RunOptions`] into an OCI configuration), and the order in which the
//! parts come together stands in `run`. The isolated process itself is `runtime`'s, addresses are `network`'s, unpacked
//! archives are `image`'s.
//!
//! On the host, for each container: a record `/run/mycontainer/containers/ID`, locked by the tool while it lives; a
//! name `/run/mycontainer/names/NAME`; a writable layer `/var/lib/mycontainer/containers/ID` where the root is shared
//! or must not change; a control group `mycontainer-ID`; an address lease, and its published ports. The record is written before any of the others and
//! removed after them, and all are found by the id alone: a record that nobody holds locked is what a killed tool left,
//! and `sweep`, which every command runs, removes what belongs to it. A pod is a record `/var/lib/mycontainer/pods/NAME.json`,
//! and containers that name it (`pods`).

mod apart;
mod attach;
mod base;
mod begin;
mod confines;
pub mod containers;
mod created;
mod default_capabilities;
mod detach_keys;
mod endpoints;
mod error;
pub mod events;
mod files;
mod foreground;
mod given;
mod health;
mod hostview;
mod image_config;
mod image_volumes;
pub mod images;
pub mod info;
mod life;
mod limit;
mod log;
mod monitor;
mod more_limits;
mod names;
mod namespaces;
pub mod networks;
mod options;
mod overlay;
mod ownership;
mod parse;
mod passing;
pub mod pods;
pub mod prerequisites;
mod publish;
mod relay;
mod restart;
mod rootfs;
mod rootless;
mod run;
mod seccomp;
mod signals;
mod spare;
mod spec;
mod state;
mod streams;
mod sweep;
mod tty;
mod user;
mod userns;
pub mod volumes;
pub mod when;

pub use attach::{Attachment, Note};
pub use detach_keys::DetachKeys;
pub use error::Error;
pub use foreground::{Foreground, window};
pub use health::{Health, HealthFlags, Probed, Status};
pub use hostview::{EMPTIED, HIDDEN, SHOWN_ONLY};
pub use log::{LogDriver, LogOptions, LogQuery};
#[doc(hidden)]
pub use log::{texts_of_log, through_log};
pub use more_limits::{MoreLimits, Rate, RateOf};
pub use namespaces::NamespaceMode;
pub use options::{
    DeviceMap, Endpoint, Limits, NetworkMode, PullPolicy, Relabel, RunOptions, SeccompChoice, Tmpfs, Ulimit, Volume,
};
pub use parse::ParseError;
pub use parse::device_rule::DeviceRule;
pub use parse::publish::Publish;
pub use restart::RestartPolicy;
pub use rootless::{enter as enter_user_namespace, is_rootless};
pub use run::Outcome;
pub use signals::signal_number;
pub use state::data_dir;
pub use userns::{AskedRange, UserMode};

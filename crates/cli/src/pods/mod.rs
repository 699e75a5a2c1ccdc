//! The verbs of pods, as Podman's users type them. What they do stands in `engine::pods`; here are their words.

mod change;
mod create;
mod list;
mod watch;

pub(crate) use change::{KILL, PAUSE, PRUNE, RESTART, RM, START, STOP, UNPAUSE};
pub(crate) use create::CREATE;
pub(crate) use list::{EXISTS, INSPECT, PS};
pub(crate) use watch::{LOGS, STATS, TOP};

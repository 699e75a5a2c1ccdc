//! The verbs of containers, but for those that run a program: what they do stands in `engine::containers`.

mod commit;
mod cp;
mod diff;
mod end;
mod exec;
mod export;
mod healthcheck;
mod list;
mod logs;
mod pause;
mod port;
mod remove;
mod rename;
mod start;
mod stats;
mod top;
mod update;

pub(crate) use commit::COMMIT;
pub(crate) use cp::CP;
pub(crate) use diff::DIFF;
pub(crate) use end::{KILL, STOP, WAIT, signal};
pub(crate) use exec::EXEC;
pub(crate) use export::EXPORT;
pub(crate) use healthcheck::HEALTHCHECK;
pub(crate) use list::PS;
pub(crate) use logs::LOGS;
pub(crate) use pause::{PAUSE, UNPAUSE};
pub(crate) use port::PORT;
pub(crate) use remove::RM;
pub(crate) use rename::RENAME;
pub(crate) use start::{ATTACH, RESTART, START, patience};
pub(crate) use stats::STATS;
pub(crate) use top::TOP;
pub(crate) use update::UPDATE;

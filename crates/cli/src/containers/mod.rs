//! The verbs of containers, but for those that run a program: what they do stands in `engine::containers`.

mod commit;
mod diff;
mod end;
mod exec;
mod export;
mod list;
mod pause;
mod remove;
mod rename;
mod stats;
mod top;

pub(crate) use commit::COMMIT;
pub(crate) use diff::DIFF;
pub(crate) use end::{KILL, STOP, WAIT};
pub(crate) use exec::EXEC;
pub(crate) use export::EXPORT;
pub(crate) use list::PS;
pub(crate) use pause::{PAUSE, UNPAUSE};
pub(crate) use remove::RM;
pub(crate) use rename::RENAME;
pub(crate) use stats::STATS;
pub(crate) use top::TOP;

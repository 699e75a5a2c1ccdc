//! The verbs of the machine as a whole.

mod boot;
mod events;
mod info;
mod unshare;

pub(crate) use boot::BOOT;
pub(crate) use events::EVENTS;
pub(crate) use info::{INFO, VERSION};
pub(crate) use unshare::UNSHARE;

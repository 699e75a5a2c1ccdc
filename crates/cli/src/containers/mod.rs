//! The verbs of containers that do not run a program: what they do stands in `engine::containers`.

mod commit;
mod export;
mod remove;

pub(crate) use commit::COMMIT;
pub(crate) use export::EXPORT;
pub(crate) use remove::RM;

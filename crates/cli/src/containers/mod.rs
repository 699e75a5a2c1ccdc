//! The verbs of containers that there are: what they do stands in `engine::containers`.

mod commit;
mod exec;
mod export;
mod remove;

pub(crate) use commit::COMMIT;
pub(crate) use exec::EXEC;
pub(crate) use export::EXPORT;
pub(crate) use remove::RM;

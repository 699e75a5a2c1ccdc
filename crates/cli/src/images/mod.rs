//! The verbs of images, as Docker's users type them. What they do stands in `engine::images`; here are their words.
//!
//! Results go to standard output, and how far things are to standard error. A verb that takes several images goes on after
//! one that fails, and then ends with 1.

mod check;
mod copy;
mod history;
mod import;
mod list;
mod load;
mod prune;
mod pull;
mod push;
mod remove;
mod save;
pub(crate) mod shown;
mod tag;
mod usage;

pub(crate) use check::CHECK;
pub(crate) use copy::COPY;
pub(crate) use history::HISTORY;
pub(crate) use import::IMPORT;
pub(crate) use list::IMAGES;
pub(crate) use load::LOAD;
pub(crate) use prune::{PRUNE, SYSTEM_PRUNE, is_agreed};
pub(crate) use pull::PULL;
pub(crate) use push::PUSH;
pub(crate) use remove::RMI;
pub(crate) use save::SAVE;
pub(crate) use tag::TAG;
pub(crate) use usage::DF;

use crate::report::{self, Failure};
use std::io::Write;
use std::process::ExitCode;

/// Says something on standard output at once; a reader that has seen enough does not matter.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Does something for each word, also after a failure; a failure is told, and is the exit code in the end.
pub(crate) fn for_each(words: &[String], mut act: impl FnMut(&str) -> Result<(), Failure>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for word in words {
        if let Err(failure) = act(word) {
            code = report::failure(&failure);
        }
    }
    code
}

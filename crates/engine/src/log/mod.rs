//! What a container prints, kept: its log.
//!
//! ```text
//! DATA/containers/ID/
//!   log.json  log.json.1 ...    driver json-file: a record a line, as Docker writes it (`json`)
//!   log       log.1 ...         driver k8s-file: a record a line, as a kubelet reads it (`k8s`)
//!   log.json.1.gz ...           the same of a file that was compressed, in its place (`packed`)
//!   log.json.new                the file that is about to become log.json
//!   log.json.gz.new             what a file is being compressed into
//! ```
//!
//! The highest number is the oldest. What writes the log is the container's monitor, alone, with one write for all that
//! came at once (`writer`). A file has whole records only: what a full disk or a crash has cut is cut back to the last
//! whole one (`file`), and what reads it (`read`) passes over what is no record. A file that is full is never written to
//! again: it is renamed, or with one file only, replaced by rename; so who follows it reads it to its end and goes on
//! with the next.
//!
//! A disk that is full stops neither the container nor, for long, its log: what comes meanwhile is held, up to a bound,
//! and beyond it whole lines are dropped and counted; a line in the log says so when there is room again.

mod blocks;
mod file;
mod files;
mod fuzzing;
mod journal;
mod journald;
mod json;
mod k8s;
mod lines;
mod options;
mod output;
mod packed;
mod read;
mod record;
mod scan;
#[cfg(test)]
mod testing;
mod writer;

pub use fuzzing::{texts_of_log, through_log};
pub(crate) use journal::{JournalSource, read_journal};
pub(crate) use options::{Attributes, Subject};
pub use options::{LogDriver, LogOptions};
pub use read::LogQuery;
pub(crate) use read::{Source, read};
pub(crate) use writer::Writer;

const JSON_NAME: &str = "log.json";
const K8S_NAME: &str = "log";

/// One of the two streams of a program's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// Of two things, the one that belongs to it.
    fn of<T>(self, both: &mut [T; 2]) -> &mut T {
        match self {
            Stream::Stdout => &mut both[0],
            Stream::Stderr => &mut both[1],
        }
    }
}

/// What becomes one record: a line, or a piece of one that is very long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece<'a> {
    stream: Stream,
    /// Without its newline.
    text: &'a [u8],
    /// Its newline followed.
    ends: bool,
}

//! What the monitor writes a container's output with.
//!
//! Bytes become lines (`lines`), lines become records, and all the records that came of one call are written at once.
//! What cannot be written, mostly because the disk is full, is held and tried again a second later; beyond [`MOST`] whole
//! lines are dropped, and counted. When what was held is written, a line in the log says what was lost after it.
//!
//! Of a line so long that a piece of it is in the log already, the rest may be dropped: then what is there is ended, so
//! that no other line seems to go on with it.

use super::file::LogFile;
use super::journald::Journal;
use super::lines::Held;
use super::record::{self, Format};
use super::{Attributes, LogDriver, LogOptions, Piece, Stream, json, k8s};
use crate::error::Error;
use crate::when::{FIXED, Time};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// So many bytes of records are not held before they are written.
const BATCH: usize = 64 * 1024;
/// So many bytes of records are held at most while they cannot be written, and what two records more take.
const MOST: usize = 128 * 1024;
/// How long after a write that failed the next is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// The log of a container that runs.
#[derive(Debug)]
pub(crate) struct Writer {
    target: Target,
    streams: [State; 2],
    /// Records that are still to be written.
    records: Vec<u8>,
    /// What stands in every record of Docker's format.
    attributes: Vec<u8>,
    time: [u8; FIXED],
    /// When the last write failed, and why.
    failed: Option<(Instant, Errno)>,
    /// Something was dropped since: so all is, until there is room.
    is_dropping: bool,
    lost: Lost,
}

#[derive(Debug)]
enum Target {
    Json(LogFile),
    K8s(LogFile),
    Journal(Journal),
    Nowhere,
}

/// One stream.
#[derive(Debug, Default)]
struct State {
    held: Held,
    /// A piece of its line is among the records, and the line goes on.
    has_begun: bool,
    /// The rest of its line is dropped.
    is_skipped: bool,
}

/// What was dropped, with its newlines, and has not been told.
#[derive(Debug, Default)]
struct Lost {
    bytes: u64,
    /// Those of which anything was dropped.
    lines: u64,
    why: Option<Errno>,
}

impl Writer {
    /// Opens the log in the container's own directory, `dir`, or makes it; an earlier one is added to. Every record has
    /// the `attributes`.
    pub(crate) fn open(
        dir: BorrowedFd<'_>,
        options: &LogOptions,
        id: &str,
        name: &str,
        attributes: &Attributes,
    ) -> Result<Writer, Error> {
        let is_packed = options.compress == Some(true);
        let file = |name| LogFile::open(dir, name, options.max_size, options.max_file, is_packed);
        let target = match options.driver {
            LogDriver::JsonFile => Target::Json(file(super::JSON_NAME)?),
            LogDriver::K8sFile => Target::K8s(file(super::K8S_NAME)?),
            LogDriver::Journald => Target::Journal(Journal::open(options, id, name, attributes)?),
            LogDriver::None => Target::Nowhere,
        };
        let mut writer = Writer { attributes: json::attributes(attributes), ..Writer::to(target) };
        writer.end_of_before();
        Ok(writer)
    }

    /// Ends what an earlier start has printed without a newline: so that the first line of this one does not seem to go on
    /// with it.
    fn end_of_before(&mut self) {
        let (file, format) = match &self.target {
            Target::Json(file) => (file, Format::Json),
            Target::K8s(file) => (file, Format::K8s),
            Target::Journal(_) | Target::Nowhere => return,
        };
        let (mut backward, mut text, mut unended) = (file.last_records(), Vec::new(), Vec::new());
        // Of each stream the last record may be one.
        while let Ok(Some((line, _))) = backward.next()
            && let Some(record) = record::read(format, line, &mut text)
            && !record.ends
            && !unended.contains(&record.stream)
        {
            unended.push(record.stream);
        }
        unended.into_iter().for_each(|stream| self.frame(&Piece { stream, text: b"", ends: true }));
        self.write_out();
    }

    /// Can be read when there is something to be done for the files that are full: [`Writer::tend`].
    pub(crate) fn interest(&self) -> Option<BorrowedFd<'_>> {
        match &self.target {
            Target::Json(file) | Target::K8s(file) => file.interest(),
            Target::Journal(_) | Target::Nowhere => None,
        }
    }

    /// A file that was full has been compressed: it gets its name.
    pub(crate) fn tend(&mut self) {
        if let Target::Json(file) | Target::K8s(file) = &mut self.target {
            file.tend();
        }
    }

    fn to(target: Target) -> Writer {
        Writer {
            target,
            streams: [State::default(), State::default()],
            records: Vec::new(),
            attributes: Vec::new(),
            time: Time::now().fixed(),
            failed: None,
            is_dropping: false,
            lost: Lost::default(),
        }
    }

    /// Takes what the program has printed, however it was cut.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if matches!(self.target, Target::Nowhere) {
            return;
        }
        self.time = Time::now().fixed();
        if self.failed.is_some() {
            self.flush();
        }
        // Put aside while its pieces are taken.
        let mut held = std::mem::take(&mut stream.of(&mut self.streams).held);
        held.take(bytes, |text, ends| self.piece(&Piece { stream, text, ends }));
        stream.of(&mut self.streams).held = held;
        self.flush();
    }

    /// The container has ended: what is held without its newline is written, and all else that can be.
    pub(crate) fn finish(&mut self) {
        self.time = Time::now().fixed();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut held = std::mem::take(&mut stream.of(&mut self.streams).held);
            held.finish(|text, ends| self.piece(&Piece { stream, text, ends }));
        }
        if !self.is_dropping {
            self.tell_lost();
        }
        self.write_out();
    }

    /// When [`Writer::retry`] is to be called, if nothing is written before. None when all is well.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.failed.map(|(at, _)| at + PAUSE)
    }

    /// Tries to write what could not be written.
    pub(crate) fn retry(&mut self) {
        self.time = Time::now().fixed();
        self.write_out();
    }

    /// Takes a piece of a line, or drops it.
    fn piece(&mut self, piece: &Piece<'_>) {
        self.is_dropping |= self.failed.is_some() && self.records.len() >= MOST;
        if self.is_dropping || piece.stream.of(&mut self.streams).is_skipped {
            return self.drop_piece(piece);
        }
        piece.stream.of(&mut self.streams).has_begun = !piece.ends;
        self.frame(piece);
        if self.records.len() >= BATCH {
            self.flush();
        }
    }

    fn drop_piece(&mut self, piece: &Piece<'_>) {
        let state = piece.stream.of(&mut self.streams);
        self.lost.lines += u64::from(!state.is_skipped);
        self.lost.bytes += piece.text.len() as u64 + u64::from(piece.ends);
        self.lost.why = self.failed.map(|(_, why)| why).or(self.lost.why);
        state.is_skipped = !piece.ends;
        if std::mem::take(&mut state.has_begun) {
            self.frame(&Piece { text: b"", ends: true, ..*piece });
        }
        if piece.ends && !self.is_dropping {
            // There is room again, and this was the rest of a line that had begun to be dropped before.
            self.tell_lost();
        }
    }

    fn frame(&mut self, piece: &Piece<'_>) {
        match &self.target {
            Target::Json(_) => json::frame(piece, &self.attributes, &self.time, &mut self.records),
            Target::K8s(_) => k8s::frame(piece, &self.time, &mut self.records),
            Target::Journal(journal) => journal.frame(piece, &mut self.records),
            Target::Nowhere => {}
        }
    }

    /// Writes the records, unless it is too early to try that again.
    fn flush(&mut self) {
        if self.retry_at().is_none_or(|at| at <= Instant::now()) {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        if let Err(why) = self.add() {
            self.failed = Some((Instant::now(), why));
        } else if self.failed.take().is_some() {
            self.is_dropping = false;
            self.records.shrink_to(BATCH);
            if self.tell_lost() {
                self.write_out();
            }
        }
    }

    fn add(&mut self) -> Result<(), Errno> {
        match &mut self.target {
            Target::Json(file) | Target::K8s(file) => file.add(&mut self.records),
            Target::Journal(journal) => journal.add(&mut self.records),
            Target::Nowhere => Ok(()),
        }
    }

    /// Adds a line that says what was lost, if anything was.
    fn tell_lost(&mut self) -> bool {
        let Lost { bytes, lines, why } = std::mem::take(&mut self.lost);
        if bytes == 0 {
            return false;
        }
        let of = if lines == 0 { "more bytes of that line".to_owned() } else { format!("bytes of {lines} lines") };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let text = format!("mycontainer: {bytes} {of} are lost, for the log could not be written{why}");
        let stream = Stream::Stderr;
        if std::mem::take(&mut stream.of(&mut self.streams).has_begun) {
            self.frame(&Piece { stream, text: b"", ends: true });
        }
        self.frame(&Piece { stream, text: text.as_bytes(), ends: true });
        true
    }
}

#[cfg(test)]
mod tests;

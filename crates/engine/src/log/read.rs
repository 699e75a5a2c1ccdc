//! `logs`: a container's log, read file by file from the oldest on, or from the beginning of its last lines.
//!
//! Who follows it watches the directory: what is added, and the names that change, wake it. It reads a file to its end
//! before it goes on with the next, once more after it has seen that there is a next, since nothing is added to a file
//! that has lost its name. Without following, what is added after the beginning is not waited for.
//!
//! `tail` counts lines, not pieces of them, from the end. Should a very long line, of several pieces, be the first, and
//! the other stream have printed in the middle of it, its beginning may be missing.

use super::blocks::{Backward, Forward};
use super::files::{Files, Opened};
use super::output::{Output, Stop};
use super::record::{self, Format};
use super::{JSON_NAME, K8S_NAME, Stream};
use crate::error::Error;
use crate::when::{self, FIXED, Time};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, inotify, openat};
use rustix::io::{Errno, retry_on_intr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How often a log is looked at that cannot be watched.
const LOOK: Duration = Duration::from_millis(200);

/// What of a log is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Nothing from before.
    pub since: Option<Time>,
    /// Nothing from after; it is followed until then.
    pub until: Option<Time>,
    /// So many lines from the end; all, if none.
    pub tail: Option<u64>,
    /// What is yet to come, too, until the container has ended.
    pub follow: bool,
    /// Each line with its time before it.
    pub timestamps: bool,
    /// Each line with what its record has beside it.
    pub details: bool,
    /// What was printed to standard output.
    pub stdout: bool,
    /// What was printed to standard error.
    pub stderr: bool,
}

impl Default for LogQuery {
    fn default() -> LogQuery {
        LogQuery {
            since: None,
            until: None,
            tail: None,
            follow: false,
            timestamps: false,
            details: false,
            stdout: true,
            stderr: true,
        }
    }
}

impl LogQuery {
    pub(super) fn shows(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// Which log, and who writes it.
pub(crate) struct Source<'a> {
    /// The container's own directory.
    pub(crate) dir: &'a Path,
    /// Whether its format is that of k8s-file and not Docker's.
    pub(crate) is_k8s: bool,
    /// Can be read when its writer has ended. None when nobody writes it.
    pub(crate) ended: Option<BorrowedFd<'a>>,
}

/// Writes what a container has printed to these two; tells of what cannot be read.
pub(crate) fn read(
    source: &Source<'_>,
    query: &LogQuery,
    to: [BorrowedFd<'_>; 2],
    note: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = match openat(CWD, source.dir, flags, Mode::empty()) {
        Ok(dir) => dir,
        // Nothing of it is kept.
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::file("open", source.dir)(error)),
    };
    let (name, format) = if source.is_k8s { (K8S_NAME, Format::K8s) } else { (JSON_NAME, Format::Json) };
    let mut reading = Reading {
        path: source.dir,
        files: Files { dir, name },
        query,
        output: Output::new(to),
        lines: Lines {
            format,
            text: Vec::new(),
            before: Vec::new(),
            since: query.since.map(Time::fixed),
            until: query.until.map(Time::fixed),
            broken: 0,
        },
        forward: Forward::from(0),
        note,
    };
    match reading.all(source.ended) {
        Ok(()) => Ok(()),
        // Standard error may be read still.
        Err(Stop::Closed) => {
            let _ = reading.output.write_one(Stream::Stderr);
            Ok(())
        }
        Err(Stop::Failed(error)) => Err(error),
    }
}

struct Reading<'a> {
    path: &'a Path,
    files: Files,
    query: &'a LogQuery,
    output: Output<'a>,
    lines: Lines,
    forward: Forward,
    note: &'a mut dyn FnMut(&str),
}

/// What becomes of each record.
struct Lines {
    format: Format,
    text: Vec<u8>,
    /// What is shown before the text.
    before: Vec<u8>,
    since: Option<[u8; FIXED]>,
    until: Option<[u8; FIXED]>,
    /// How many are none.
    broken: u64,
}

impl Lines {
    /// Gives a record's text away, if it is one and wanted.
    fn take(&mut self, line: Option<&[u8]>, query: &LogQuery, output: &mut Output<'_>) -> Result<(), Stop> {
        let read = line.and_then(|line| Some((line, record::read(self.format, line, &mut self.text)?)));
        let Some((line, record)) = read else {
            self.broken += 1;
            return Ok(());
        };
        if !query.shows(record.stream) {
            return Ok(());
        }
        self.before.clear();
        if query.timestamps || self.since.is_some() || self.until.is_some() {
            let Some(time) = when::fixed(&record.time) else {
                self.broken += 1;
                return Ok(());
            };
            // Written so, the earlier is the smaller.
            if self.since.is_some_and(|since| time < since) || self.until.is_some_and(|until| time > until) {
                return Ok(());
            }
            if query.timestamps {
                self.before.extend_from_slice(&time);
                self.before.push(b' ');
            }
        }
        if query.details {
            self.before.extend_from_slice(record::details(self.format, line).as_bytes());
            self.before.push(b' ');
        }
        output.add(record.stream, &self.before, &self.text, record.ends)
    }
}

impl Reading<'_> {
    fn all(&mut self, ended: Option<BorrowedFd<'_>>) -> Result<(), Stop> {
        // Before anything is read: so nothing that comes later is missed.
        let watch = if self.query.follow { self.watch() } else { None };
        let mut is_last = !self.query.follow || ended.is_none();
        let last = self.files.newest().map_err(self.failed())?;
        let mut current = self.begin()?;
        loop {
            current = self.read_on(current, last.as_ref().filter(|_| !self.query.follow))?;
            // Of a log that is written this is the record that is being written.
            if is_last && (self.query.follow || ended.is_none()) {
                self.lines.broken += u64::from(self.forward.has_rest());
            }
            self.output.flush()?;
            self.tell_broken();
            let Some(ended) = ended.filter(|_| !is_last) else { return Ok(()) };
            is_last = self.wait(watch.as_ref(), ended)?;
        }
    }

    /// The first file that is read, with `forward` at the first record that is.
    fn begin(&mut self) -> Result<Option<Opened>, Stop> {
        let Some(count) = self.query.tail else { return Ok(self.files.oldest().map_err(self.failed())?) };
        let mut left = Tail { left: count, seen: [false; 2] };
        let mut at = self.files.newest().map_err(self.failed())?;
        while let Some(this) = at {
            if let Some(start) = left.start(&this, &mut self.lines, self.query).map_err(self.failed())? {
                self.forward = Forward::from(start);
                return Ok(Some(this));
            }
            at = self.files.before(&this).map_err(self.failed())?;
            if at.is_none() {
                return Ok(Some(this));
            }
        }
        Ok(None)
    }

    /// Reads all there is, from `current` on; where it has come to. `last` is how far at most.
    fn read_on(&mut self, current: Option<Opened>, last: Option<&Opened>) -> Result<Option<Opened>, Stop> {
        let first = match current {
            None => self.files.oldest().map_err(self.failed())?,
            current => current,
        };
        let Some(mut current) = first else { return Ok(None) };
        loop {
            let until = last.filter(|last| last.is(&current)).map(|last| last.size);
            self.drain(&current, until)?;
            if until.is_some() {
                return Ok(Some(current));
            }
            let Some(next) = self.files.after(&current).map_err(self.failed())? else { return Ok(Some(current)) };
            // What was added between the end of the file and its renaming.
            self.drain(&current, None)?;
            self.lines.broken += u64::from(self.forward.has_rest());
            self.forward.restart();
            current = next;
        }
    }

    /// Reads a file from where we are to its end, or at least so far.
    fn drain(&mut self, current: &Opened, until: Option<u64>) -> Result<(), Stop> {
        while until.is_none_or(|until| self.forward.given() < until)
            && self.forward.fill(current.file.as_fd()).map_err(self.failed())?
        {
            while let Some(line) = self.forward.next() {
                self.lines.take(line, self.query, &mut self.output)?;
            }
        }
        Ok(())
    }

    fn tell_broken(&mut self) {
        match std::mem::take(&mut self.lines.broken) {
            0 => {}
            1 => (self.note)("one record of the log cannot be read, and was passed over"),
            count => (self.note)(&format!("{count} records of the log cannot be read, and were passed over")),
        }
    }

    fn failed(&self) -> impl FnOnce(Errno) -> Error {
        Error::file("read the log in", self.path)
    }

    /// Watches the directory. None when this cannot be, as when there are too many that watch.
    fn watch(&self) -> Option<OwnedFd> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
        let path = format!("/proc/self/fd/{}", self.files.dir.as_raw_fd());
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, path, what).ok()?;
        Some(watch)
    }

    /// Waits for more. True when there will be none: what is there now is the rest.
    fn wait(&self, watch: Option<&OwnedFd>, ended: BorrowedFd<'_>) -> Result<bool, Stop> {
        // Asked for nothing, a pipe says when nobody reads it any more.
        let out = self.output.first();
        let mut watched =
            vec![PollFd::from_borrowed_fd(ended, PollFlags::IN), PollFd::from_borrowed_fd(out, PollFlags::empty())];
        watched.extend(watch.map(|watch| PollFd::new(watch, PollFlags::IN)));
        let until = self.query.until.map(|until| until.from_now().unwrap_or_default());
        let time = [until, watch.is_none().then_some(LOOK)].into_iter().flatten().min();
        let time = time.map(|time| Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() });
        retry_on_intr(|| poll(&mut watched, time.as_ref())).map_err(Error::terminal("wait for the log"))?;
        let happened = |n: usize| !watched[n].revents().is_empty();
        if happened(1) {
            return Err(Stop::Closed);
        }
        if let Some(watch) = watch {
            // What has changed is found out by looking.
            let mut events = [0u8; 4096];
            while rustix::io::read(watch, &mut events[..]).is_ok_and(|got| got > 0) {}
        }
        Ok(happened(0) || self.query.until.is_some_and(|until| until.from_now().is_none()))
    }
}

/// How many lines are still to be counted, from the end.
struct Tail {
    left: u64,
    /// A record of that stream was seen: what comes before it is another line, unless it goes on with it.
    seen: [bool; 2],
}

impl Tail {
    /// Counts in a file from its end. Where the first line begins that is wanted; none if that is in a file before.
    fn start(&mut self, file: &Opened, lines: &mut Lines, query: &LogQuery) -> Result<Option<u64>, Errno> {
        let mut backward = Backward::new(file.file.as_fd(), file.size);
        while let Some((line, end)) = backward.next()? {
            let Some(record) = record::read(lines.format, line, &mut lines.text) else { continue };
            if !query.shows(record.stream) {
                continue;
            }
            let is_first = !std::mem::replace(record.stream.of(&mut self.seen), true);
            if record.ends || is_first {
                if self.left == 0 {
                    return Ok(Some(end));
                }
                self.left -= 1;
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;

//! `logs` of what the journal keeps: what `journald` has sent there comes back through journalctl(1), for how a journal is
//! written is systemd's own affair, and its reader is wherever a journal is.
//!
//! An entry of its format `export` is a field a line, `NAME=text`, or `NAME`, a newline, the length and the text where that
//! may be anything; an empty line ends it. [systemd, Journal Export Formats]
//!
//! Anybody may send the journal what bears a container's id. Who has sent it the journal knows, and so only that counts
//! which came from the user whose container it is.
//!
//! Whoever follows has a journalctl that follows. It does not know when the container has ended; so another one reads then
//! what came after the last entry that was shown.

use super::output::{Output, Stop};
use super::read::LogQuery;
use super::record::in_query;
use super::{Stream, scan};
use crate::error::Error;
use crate::when::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, Command, Stdio};

/// So much is read at once.
const PIECE: usize = 64 * 1024;
/// What no entry of a container comes near to: a line has 16 KiB at most, and of labels and variables the command line has
/// not as much room.
const LONGEST: usize = 16 << 20;

/// What of the journal is a container's.
pub(crate) struct JournalSource<'a> {
    /// In full.
    pub(crate) id: &'a str,
    /// Can be read when its monitor has ended. None when there is none.
    pub(crate) ended: Option<BorrowedFd<'a>>,
}

/// Writes what a container has printed to these two.
pub(crate) fn read_journal(source: &JournalSource<'_>, query: &LogQuery, to: [BorrowedFd<'_>; 2]) -> Result<(), Error> {
    let mut reading = Reading { source, query, output: Output::new(to), cursor: None };
    match reading.all() {
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
    source: &'a JournalSource<'a>,
    query: &'a LogQuery,
    output: Output<'a>,
    /// Of the last entry that was read.
    cursor: Option<String>,
}

impl Reading<'_> {
    fn all(&mut self) -> Result<(), Stop> {
        if self.source.ended.is_none() {
            settle();
        }
        match self.query.tail {
            Some(count) => self.last_lines(count)?,
            None => self.rest()?,
        }
        let Some(ended) = self.source.ended.filter(|_| self.query.follow) else { return Ok(()) };
        self.follow(ended)?;
        settle();
        self.rest()
    }

    /// What there is, after the last entry that was read.
    fn rest(&mut self) -> Result<(), Stop> {
        let mut journal = self.start(&[])?;
        while let Some(entry) = journal.next()? {
            self.take(entry)?;
        }
        journal.finish()?;
        self.output.flush()
    }

    /// Counts lines from the end, as in a file; see there.
    fn last_lines(&mut self, mut left: u64) -> Result<(), Stop> {
        let mut journal = self.start(&["--reverse"])?;
        let (mut seen, mut wanted) = ([false; 2], Vec::new());
        let mut newest = None;
        let is_all = loop {
            let Some(entry) = journal.next()? else { break true };
            newest.get_or_insert_with(|| entry.cursor.clone());
            if !self.query.shows(entry.stream) {
                continue;
            }
            let is_first = !std::mem::replace(entry.stream.of(&mut seen), true);
            if entry.ends || is_first {
                if left == 0 {
                    break false;
                }
                left -= 1;
            }
            wanted.push(entry);
        };
        if is_all {
            journal.finish()?;
        }
        wanted.into_iter().rev().try_for_each(|entry| self.take(entry))?;
        self.cursor = newest;
        self.output.flush()
    }

    /// What comes, until the container has ended or what is wanted has.
    fn follow(&mut self, ended: BorrowedFd<'_>) -> Result<(), Stop> {
        let mut journal = self.start(&["--follow", "--no-tail"])?;
        loop {
            while let Some(entry) = journal.whole()? {
                self.take(entry)?;
            }
            self.output.flush()?;
            let until = self.query.until.map(|until| until.from_now().unwrap_or_default());
            let time = until.map(|time| Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() });
            let mut watched = [
                PollFd::new(&journal.out, PollFlags::IN),
                PollFd::from_borrowed_fd(ended, PollFlags::IN),
                // Asked for nothing, a pipe says when nobody reads it any more.
                PollFd::from_borrowed_fd(self.output.first(), PollFlags::empty()),
            ];
            retry_on_intr(|| poll(&mut watched, time.as_ref())).map_err(Error::terminal("wait for the log"))?;
            let happened = |n: usize| !watched[n].revents().is_empty();
            if happened(2) {
                return Err(Stop::Closed);
            }
            if happened(1) || self.query.until.is_some_and(|until| until.from_now().is_none()) {
                return Ok(());
            }
            if !journal.fill()? {
                return journal.finish();
            }
        }
    }

    /// Gives an entry's text away, if it is wanted.
    fn take(&mut self, entry: Entry) -> Result<(), Stop> {
        self.cursor = Some(entry.cursor);
        let query = self.query;
        let is_early = query.since.is_some_and(|since| entry.time < since);
        if is_early || query.until.is_some_and(|until| entry.time > until) || !query.shows(entry.stream) {
            return Ok(());
        }
        let mut before = Vec::new();
        if query.timestamps {
            before.extend_from_slice(&entry.time.fixed());
            before.push(b' ');
        }
        if query.details {
            before.extend_from_slice(entry.details.as_bytes());
            before.push(b' ');
        }
        self.output.add(entry.stream, &before, &entry.text, entry.ends)
    }

    /// Its entries after the last one that was read.
    fn start(&self, flags: &[&str]) -> Result<Journal, Error> {
        // As the journal sees it: of an ordinary user it is not 0.
        let user = sys::namespace::uid_outside().unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let mut command = Command::new("journalctl");
        command.args(["--output=export", "--quiet", "--no-pager", "--all"]).args(flags);
        if !self.query.details {
            command.arg("--output-fields=MESSAGE,PRIORITY,CONTAINER_PARTIAL_MESSAGE");
        }
        if let Some(cursor) = &self.cursor {
            command.arg(format!("--after-cursor={cursor}"));
        } else if let Some(since) = self.query.since.filter(|since| since.seconds >= 0) {
            command.arg(format!("--since=@{}", since.seconds));
        }
        command.args([format!("_UID={user}"), format!("CONTAINER_ID_FULL={}", self.source.id)]);
        let failed = |error: std::io::Error| Error::Journal(error.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let out = child.stdout.take().ok_or_else(|| Error::Journal("it has no output".into()))?;
        Ok(Journal { child, out, read: Vec::new(), used: 0 })
    }
}

/// Has the journal take in what was sent to it: what a container has printed last may be on the way still. Only root may
/// ask for that; who may not, may miss it.
fn settle() {
    let mut command = Command::new("journalctl");
    let _ = command.arg("--sync").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// A journalctl that runs. It goes with us.
struct Journal {
    child: Child,
    out: ChildStdout,
    read: Vec<u8>,
    /// So much of it was given away.
    used: usize,
}

impl Journal {
    fn next(&mut self) -> Result<Option<Entry>, Error> {
        loop {
            if let Some(entry) = self.whole()? {
                return Ok(Some(entry));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The next entry, if all of it has been read.
    fn whole(&mut self) -> Result<Option<Entry>, Error> {
        match parse(&self.read[self.used..]) {
            Parsed::Entry(entry, length) => {
                self.used += length;
                Ok(Some(entry))
            }
            Parsed::More if self.read.len() - self.used <= LONGEST => Ok(None),
            Parsed::More | Parsed::Broken => Err(Error::Journal("what it says is no journal".into())),
        }
    }

    /// Reads more. False at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        self.read.drain(..std::mem::take(&mut self.used));
        let start = self.read.len();
        self.read.resize(start + PIECE, 0);
        let got = retry_on_intr(|| rustix::io::read(self.out.as_fd(), &mut self.read[start..]));
        self.read.truncate(start + got.unwrap_or(0));
        got.map(|got| got > 0).map_err(|errno| Error::Journal(errno.to_string()))
    }

    /// It has said all, and how it ended tells whether that is so.
    fn finish(mut self) -> Result<(), Stop> {
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::Journal(format!("it ended with {status}")).into()),
            Err(error) => Err(Error::Journal(error.to_string()).into()),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A record of a container.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    cursor: String,
    time: Time,
    stream: Stream,
    /// The text is the end of a line, and has its newline.
    ends: bool,
    text: Vec<u8>,
    /// What `--log-opt labels` and `env` have put beside it, as `--details` shows that.
    details: String,
}

enum Parsed {
    /// And its length.
    Entry(Entry, usize),
    /// It is not whole.
    More,
    Broken,
}

/// What is no label and no variable; and what begins with `_` is the journal's own.
const KNOWN: [&str; 9] = [
    "MESSAGE",
    "PRIORITY",
    "CONTAINER_ID",
    "CONTAINER_ID_FULL",
    "CONTAINER_NAME",
    "CONTAINER_TAG",
    "CONTAINER_PARTIAL_MESSAGE",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_TIMESTAMP",
];

/// Reads the entry at the beginning.
fn parse(bytes: &[u8]) -> Parsed {
    let (mut cursor, mut micros, mut stream, mut is_partial) = (None, None, Stream::Stdout, false);
    let (mut text, mut details) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    loop {
        let Some(end) = scan::newline(rest) else { return Parsed::More };
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => {
                let Some((length, after)) = rest.split_first_chunk() else { return Parsed::More };
                let Ok(length) = usize::try_from(u64::from_le_bytes(*length)) else { return Parsed::Broken };
                if length > LONGEST {
                    return Parsed::Broken;
                }
                let Some((value, after)) = after.split_at_checked(length) else { return Parsed::More };
                rest = match after.split_first() {
                    Some((b'\n', after)) => after,
                    Some(_) => return Parsed::Broken,
                    None => return Parsed::More,
                };
                (line, value)
            }
        };
        let Ok(name) = std::str::from_utf8(name) else { return Parsed::Broken };
        let in_words = || String::from_utf8_lossy(value).into_owned();
        match name {
            "__CURSOR" => cursor = Some(in_words()),
            "__REALTIME_TIMESTAMP" => micros = in_words().parse::<u64>().ok(),
            "MESSAGE" => text = value.to_vec(),
            "PRIORITY" if value == b"3" => stream = Stream::Stderr,
            "CONTAINER_PARTIAL_MESSAGE" => is_partial = value == b"true",
            name if name.starts_with('_') || KNOWN.contains(&name) => {}
            name => details.push(format!("{}={}", in_query(name), in_query(&in_words()))),
        }
    }
    let (Some(cursor), Some(micros)) = (cursor, micros) else { return Parsed::Broken };
    if !is_partial {
        text.push(b'\n');
    }
    details.sort();
    let nanoseconds = (micros % 1_000_000) as u32 * 1000;
    let time = Time { seconds: (micros / 1_000_000).cast_signed(), nanoseconds };
    let entry = Entry { cursor, time, stream, ends: !is_partial, text, details: details.join(",") };
    Parsed::Entry(entry, bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1700000000000007\n__MONOTONIC_TIMESTAMP=5\n_UID=0\n";

    fn entry(text: &str, stream: Stream, ends: bool, details: &str) -> Entry {
        let time = Time { seconds: 1_700_000_000, nanoseconds: 7000 };
        Entry { cursor: "s=1;i=2".into(), time, stream, ends, text: text.into(), details: details.into() }
    }

    #[test]
    fn entries() {
        let length = |length: u64| length.to_le_bytes().map(char::from).iter().collect::<String>();
        for (fields, expected) in [
            ("MESSAGE=a=b\nPRIORITY=6\n".into(), entry("a=b\n", Stream::Stdout, true, "")),
            ("PRIORITY=3\nMESSAGE=\n".into(), entry("\n", Stream::Stderr, true, "")),
            ("MESSAGE=a\nCONTAINER_PARTIAL_MESSAGE=true\n".into(), entry("a", Stream::Stdout, false, "")),
            (format!("MESSAGE\n{}a\n\nb\n", length(4)), entry("a\n\nb\n", Stream::Stdout, true, "")),
            (
                format!("ROLE\n{}a b\nMESSAGE=x\nCONTAINER_NAME=n\nB=1\n", length(3)),
                entry("x\n", Stream::Stdout, true, "B=1,ROLE=a+b"),
            ),
        ] {
            let whole = format!("{HEAD}{fields}\n");
            let bytes = [whole.as_bytes(), b"next"].concat();
            match parse(&bytes) {
                Parsed::Entry(read, length) => assert_eq!((read, length), (expected, whole.len()), "{fields:?}"),
                Parsed::More | Parsed::Broken => panic!("{fields:?}"),
            }
            for cut in 0..whole.len() {
                assert!(matches!(parse(&whole.as_bytes()[..cut]), Parsed::More), "{fields:?} to {cut}");
            }
        }
    }

    #[test]
    fn what_is_none() {
        for bytes in [
            &b"MESSAGE=no cursor\n\n"[..],
            b"\n",
            b"__CURSOR=a\n__REALTIME_TIMESTAMP=x\nMESSAGE=a\n\n",
            b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff",
            b"MESSAGE\n\x01\0\0\0\0\0\0\0ab\n",
            b"\xff=a\n",
        ] {
            assert!(matches!(parse(bytes), Parsed::Broken), "{bytes:?}");
        }
    }
}

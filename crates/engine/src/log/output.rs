//! Where the lines of a log go: what was standard output to standard output, what was standard error to that.
//!
//! Both are collected and written in large pieces. Where both are the same file, pipe or terminal they are collected
//! together, so that the order of the lines is that of the log.

use crate::error::Error;
use crate::log::Stream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstat;
use rustix::io::{Errno, retry_on_intr, write};
use std::os::fd::BorrowedFd;

/// So much is written at once.
const PIECE: usize = 64 * 1024;

/// Why no more is read.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody takes the output.
    Closed,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

#[derive(Debug)]
pub(super) struct Output<'a> {
    fds: [BorrowedFd<'a>; 2],
    /// In the first is all, when both are the same.
    collected: [Vec<u8>; 2],
    is_one: bool,
    /// The line of that stream goes on.
    goes_on: [bool; 2],
}

impl<'a> Output<'a> {
    pub(super) fn new(fds: [BorrowedFd<'a>; 2]) -> Output<'a> {
        let file = |fd: BorrowedFd<'_>| fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let is_one = file(fds[0]).is_some() && file(fds[0]) == file(fds[1]);
        Output { fds, collected: [Vec::new(), Vec::new()], is_one, goes_on: [false; 2] }
    }

    /// Where standard output goes.
    pub(super) fn first(&self) -> BorrowedFd<'a> {
        self.fds[0]
    }

    /// Adds a text; `before` it, where a line begins, what is said of the line.
    pub(super) fn add(&mut self, stream: Stream, before: &[u8], text: &[u8], ends: bool) -> Result<(), Stop> {
        let to = if self.is_one { Stream::Stdout } else { stream };
        let collected = to.of(&mut self.collected);
        let goes_on = std::mem::replace(stream.of(&mut self.goes_on), !ends);
        if !goes_on {
            collected.extend_from_slice(before);
        }
        collected.extend_from_slice(text);
        if collected.len() >= PIECE { self.write_one(to) } else { Ok(()) }
    }

    /// Writes what was collected.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        self.write_one(Stream::Stdout)?;
        self.write_one(Stream::Stderr)
    }

    /// Writes what was collected of one.
    pub(super) fn write_one(&mut self, stream: Stream) -> Result<(), Stop> {
        let (fd, what) = match stream {
            Stream::Stdout => (self.fds[0], "write to standard output"),
            Stream::Stderr => (self.fds[1], "write to standard error"),
        };
        let collected = stream.of(&mut self.collected);
        let mut left = &collected[..];
        while !left.is_empty() {
            match retry_on_intr(|| write(fd, left)) {
                Ok(wrote) => left = &left[wrote..],
                // Somebody has told a terminal that we share not to wait.
                Err(Errno::AGAIN) => {
                    let _ = retry_on_intr(|| poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None));
                }
                Err(Errno::PIPE) => return Err(Stop::Closed),
                Err(error) => return Err(Error::terminal(what)(error).into()),
            }
        }
        collected.clear();
        Ok(())
    }
}

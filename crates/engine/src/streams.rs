//! Which descriptors a container's program gets as its standard streams.
//!
//! A pipe or a device is handed over as it is: nothing is copied, so nothing can be slow or torn. A terminal is never
//! handed over without `-t`: a program that holds one can read what is typed later, or type into it (TIOCSTI), so
//! it gets a pipe and the bytes are relayed. So it does for a file: by /proc/self/fd root in the container could open it
//! anew, read what it is to write, or write what it is to read. A directory would be a way out of the root and is refused.

use crate::error::Error;
use crate::relay::{Pump, Way};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The three streams for the container, and the relays that the tool has to run for them.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) fds: [OwnedFd; 3],
    pub(crate) pumps: Vec<Pump>,
}

/// Chooses the streams. Without `interactive` standard input is empty.
pub(crate) fn choose(interactive: bool) -> Result<Streams, Error> {
    let mut pumps = Vec::new();
    let input = if interactive { input_of(&mut pumps)? } else { null(OFlags::RDONLY)? };
    let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
    let output = output_of(stdout, "output", &mut pumps)?;
    // By one pipe where both go to one file, so that it has the order in which they were written.
    let error = if is_one_file(stdout, stderr)? {
        output.try_clone().map_err(|source| Error::Terminal { what: "duplicate a standard stream", source })?
    } else {
        output_of(stderr, "error", &mut pumps)?
    };
    Ok(Streams { fds: [input, output, error], pumps })
}

/// Streams that lead nowhere, for a program that nobody attends to.
pub(crate) fn nowhere() -> Result<[OwnedFd; 3], Error> {
    Ok([null(OFlags::RDONLY)?, null(OFlags::WRONLY)?, null(OFlags::WRONLY)?])
}

fn null(way: OFlags) -> Result<OwnedFd, Error> {
    rustix::fs::openat(CWD, c"/dev/null", way | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::file("open", "/dev/null"))
}

fn input_of(pumps: &mut Vec<Pump>) -> Result<OwnedFd, Error> {
    let stdin = rustix::stdio::stdin();
    if !is_relayed(stdin, "input")? {
        return duplicate(stdin);
    }
    let (reader, writer) = pipe()?;
    pumps.push(Pump::new(Way::Into, duplicate(stdin)?, writer));
    Ok(reader)
}

fn output_of(stream: BorrowedFd<'_>, name: &'static str, pumps: &mut Vec<Pump>) -> Result<OwnedFd, Error> {
    if !is_relayed(stream, name)? {
        return duplicate(stream);
    }
    let (reader, writer) = pipe()?;
    pumps.push(Pump::new(Way::OutOf, reader, writer_of(stream)?));
    Ok(writer)
}

/// Whether the container may not have it itself.
fn is_relayed(stream: BorrowedFd<'_>, name: &'static str) -> Result<bool, Error> {
    match FileType::from_raw_mode(look(stream)?.st_mode) {
        FileType::Directory => Err(Error::StreamIsDirectory(name)),
        FileType::RegularFile => Ok(true),
        FileType::CharacterDevice => Ok(rustix::termios::isatty(stream)),
        _ => Ok(false),
    }
}

fn is_one_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Error> {
    let (one, other) = (look(one)?, look(other)?);
    let is_file = FileType::from_raw_mode(one.st_mode) == FileType::RegularFile;
    Ok(is_file && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn look(stream: BorrowedFd<'_>) -> Result<Stat, Error> {
    rustix::fs::fstat(stream).map_err(Error::terminal("look at a standard stream"))
}

/// A descriptor for writing to one of our streams. A terminal is opened anew: so it can be told not to block without
/// telling the shell that shares ours the same.
pub(crate) fn writer_of(stream: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    if rustix::termios::isatty(stream) {
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(own) = rustix::fs::open(path, flags, Mode::empty()) {
            return Ok(own);
        }
    }
    duplicate(stream)
}

fn duplicate(stream: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    rustix::io::fcntl_dupfd_cloexec(stream.as_fd(), 3).map_err(Error::terminal("duplicate a standard stream"))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(Error::terminal("make a pipe"))
}

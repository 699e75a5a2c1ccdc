//! Which descriptors a container's program gets as its standard streams.
//!
//! A file or a pipe is handed over as it is: nothing is copied, so nothing can be slow or torn. A terminal is never
//! handed over without `-t`: a program that holds one can read what is typed later, or type into it (TIOCSTI), so
//! it gets a pipe and the bytes are relayed. A directory would be a way out of the root and is refused.

use crate::error::Error;
use crate::relay::{Pump, Way};
use rustix::fs::{CWD, FileType, Mode, OFlags};
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
    let output = output_of(rustix::stdio::stdout(), "output", &mut pumps)?;
    let error = output_of(rustix::stdio::stderr(), "error", &mut pumps)?;
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
    refuse_directory(stdin, "input")?;
    if !rustix::termios::isatty(stdin) {
        return duplicate(stdin);
    }
    let (reader, writer) = pipe()?;
    pumps.push(Pump::new(Way::Into, duplicate(stdin)?, writer));
    Ok(reader)
}

fn output_of(stream: BorrowedFd<'_>, name: &'static str, pumps: &mut Vec<Pump>) -> Result<OwnedFd, Error> {
    refuse_directory(stream, name)?;
    if !rustix::termios::isatty(stream) {
        return duplicate(stream);
    }
    let (reader, writer) = pipe()?;
    pumps.push(Pump::new(Way::OutOf, reader, writer_of(stream)?));
    Ok(writer)
}

fn refuse_directory(stream: BorrowedFd<'_>, name: &'static str) -> Result<(), Error> {
    let stat = rustix::fs::fstat(stream).map_err(Error::terminal("look at a standard stream"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Err(Error::StreamIsDirectory(name)),
        _ => Ok(()),
    }
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

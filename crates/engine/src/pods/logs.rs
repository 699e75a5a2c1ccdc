//! `pod logs`: what the containers of a pod have printed, each line with its container before it.
//!
//! Each log is read by a thread of its own, into two pipes; this one takes lines from all pipes as they come. The order of
//! one stream of a container is kept, and as with Podman no other.

use super::get;
use super::look::members;
use crate::containers::LogSource;
use crate::error::Error;
use crate::log::LogQuery;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// A line without an end is written when it is so long: its rest comes with the same words before it.
const LONGEST: usize = 1 << 20;

/// What `pod logs` is asked for.
#[derive(Clone, Debug, Default)]
pub struct PodLogs {
    /// What of each log.
    pub query: LogQuery,
    /// `--container`: only of this one.
    pub container: Option<String>,
    /// `--names`: the container's name before each line, in place of its id.
    pub names: bool,
}

/// Writes what the containers of a pod have printed to standard output and standard error; tells of what cannot be read.
pub fn logs(words: &str, wanted: &PodLogs, note: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let pod = get(words)?;
    let mut members = members(&pod)?;
    members.retain(|member| !member.is_infra);
    if let Some(container) = &wanted.container {
        members.retain(|member| member.name == *container || member.id.starts_with(container.as_str()));
        if members.is_empty() {
            return Err(Error::NoSuchContainer { words: container.clone() });
        }
    }
    // In the order in which they were made.
    members.reverse();
    let mut sources = Vec::new();
    for member in &members {
        match LogSource::of(&member.id) {
            Ok(source) => sources.push((if wanted.names { &member.name } else { &member.id[..12] }, source)),
            // One of several is no reason to be silent about the others.
            Err(error) if members.len() > 1 => note(&error.to_string()),
            Err(error) => return Err(error),
        }
    }
    std::thread::scope(|scope| {
        let (mut streams, mut readers) = (Vec::new(), Vec::new());
        for (name, source) in &sources {
            let (out, to_out) = pipe()?;
            let (err, to_err) = pipe()?;
            streams.push(Stream::new(name, out, false));
            streams.push(Stream::new(name, err, true));
            readers.push(scope.spawn(move || {
                let mut notes = Vec::new();
                let read = source
                    .read(&wanted.query, [to_out.as_fd(), to_err.as_fd()], &mut |text| notes.push(text.to_owned()));
                (read, notes)
            }));
        }
        let relayed = relay(streams);
        // Nobody reads the pipes any more: so each reader ends.
        let mut first = relayed;
        for reader in readers {
            let (read, notes) = reader.join().unwrap_or((Ok(()), Vec::new()));
            notes.iter().for_each(|text| note(text));
            first = first.and(read);
        }
        first
    })
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(Error::terminal("make a pipe"))
}

/// One stream of one container.
struct Stream<'a> {
    name: &'a str,
    from: OwnedFd,
    is_error: bool,
    held: Vec<u8>,
    has_ended: bool,
}

impl<'a> Stream<'a> {
    fn new(name: &'a str, from: OwnedFd, is_error: bool) -> Stream<'a> {
        Stream { name, from, is_error, held: Vec::new(), has_ended: false }
    }

    /// Reads what is there, and writes its whole lines. False when nobody takes them.
    fn go(&mut self) -> bool {
        let mut space = [0; 64 * 1024];
        match rustix::io::read(&self.from, &mut space) {
            Ok(got) if got > 0 => self.held.extend_from_slice(&space[..got]),
            Err(Errno::INTR | Errno::AGAIN) => return true,
            _ => self.has_ended = true,
        }
        let whole = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let is_rest = self.has_ended || self.held.len() - whole > LONGEST;
        let until = if is_rest { self.held.len() } else { whole };
        let mut text = Vec::new();
        for line in self.held[..until].split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(self.name.as_bytes());
            text.push(b' ');
            text.extend_from_slice(line);
            // What follows is another container's.
            text.extend_from_slice(if line.ends_with(b"\n") { b"" } else { b"\n" });
        }
        self.held.drain(..until);
        match self.is_error {
            true => std::io::stderr().write_all(&text).is_ok(),
            false => {
                let mut out = std::io::stdout().lock();
                out.write_all(&text).and_then(|()| out.flush()).is_ok()
            }
        }
    }
}

/// Takes from all, until all have ended or nobody reads.
fn relay(mut streams: Vec<Stream<'_>>) -> Result<(), Error> {
    while !streams.is_empty() {
        let stdout = rustix::stdio::stdout();
        let mut watched: Vec<PollFd<'_>> = streams.iter().map(|one| PollFd::new(&one.from, PollFlags::IN)).collect();
        // Asked for nothing, a pipe says when nobody reads it any more.
        watched.push(PollFd::new(&stdout, PollFlags::empty()));
        rustix::io::retry_on_intr(|| poll(&mut watched, None)).map_err(Error::terminal("wait for the logs"))?;
        let happened: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        if happened.last() == Some(&true) {
            return Ok(());
        }
        for (stream, _) in streams.iter_mut().zip(happened).filter(|(_, happened)| *happened) {
            if !stream.go() {
                return Ok(());
            }
        }
        streams.retain(|stream| !stream.has_ended);
    }
    Ok(())
}

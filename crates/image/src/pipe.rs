//! A pipe of buffers between two threads: a few large buffers go round, full ones one way and empty ones back, so that
//! a stream of any length takes the memory of these few, and no buffer is made, cleared or copied on the way.
//!
//! Dropped without [`PipeWriter::finish`], the writing end makes the reader fail: what was cut short is never taken for
//! a whole. A reader that is gone is told to the writer as [`Stopped`].

use crate::input::{CHUNK, read_buffered};
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Buffers of a pipe.
const COUNT: usize = 6;

/// The other end is gone; why, it says itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped;

/// The end that is written to.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    empty: Receiver<Buffer>,
    full: Sender<io::Result<Option<Buffer>>>,
}

/// The end that is read from.
#[derive(Debug)]
pub(crate) struct PipeReader {
    current: Buffer,
    at: usize,
    ended: bool,
    full: Receiver<io::Result<Option<Buffer>>>,
    empty: Sender<Buffer>,
}

/// Room for [`CHUNK`] bytes, of which the first `length` are in use. Made when it is first used.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

/// A new pipe.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (to_writer, empty) = channel();
    let (full, from_writer) = channel();
    for _ in 0..COUNT {
        // Made here, while the other end is at hand: it cannot fail.
        let _ = to_writer.send(Buffer::default());
    }
    let reader = PipeReader { current: Buffer::default(), at: 0, ended: false, full: from_writer, empty: to_writer };
    (PipeWriter { empty, full }, reader)
}

impl PipeWriter {
    /// Sends on what `fill` puts into an empty buffer of full length; how many bytes it says that it put. None ends
    /// nothing: it is only not sent.
    pub(crate) fn send<E>(
        &self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Stopped> {
        let mut buffer = self.empty.recv().map_err(|_| Stopped)?;
        buffer.bytes.resize(CHUNK, 0);
        let length = match fill(&mut buffer.bytes) {
            Ok(length) => length.min(CHUNK),
            Err(error) => return Ok(Err(error)),
        };
        buffer.length = length;
        self.full.send(Ok(Some(buffer))).map_err(|_| Stopped)?;
        Ok(Ok(length))
    }

    /// Says that this was all.
    pub(crate) fn finish(self) -> Result<(), Stopped> {
        self.full.send(Ok(None)).map_err(|_| Stopped)
    }

    /// Says why there is no more.
    pub(crate) fn fail(self, error: io::Error) {
        let _ = self.full.send(Err(error));
    }
}

impl PipeReader {
    fn next(&mut self) -> io::Result<()> {
        while self.at == self.current.length && !self.ended {
            match self.full.recv() {
                Ok(Ok(Some(buffer))) => {
                    let used = std::mem::replace(&mut self.current, buffer);
                    self.at = 0;
                    // The writer may have ended already.
                    let _ = self.empty.send(used);
                }
                Ok(Ok(None)) => self.ended = true,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("what it is made from ended early")),
            }
        }
        Ok(())
    }
}

impl Read for PipeReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.next()?;
        Ok(&self.current.bytes[self.at..self.current.length])
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.current.length.min(self.at.saturating_add(amount));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_whole_or_as_a_failure() {
        for finished in [true, false] {
            let (writer, mut reader) = pipe();
            let sender = std::thread::spawn(move || {
                for n in 0..100u8 {
                    writer
                        .send(|to| {
                            to[..1000].fill(n);
                            Ok::<_, ()>(1000)
                        })
                        .unwrap()
                        .unwrap();
                }
                if finished {
                    writer.finish().unwrap();
                }
            });
            let mut all = Vec::new();
            let read = reader.read_to_end(&mut all);
            sender.join().unwrap();
            assert_eq!(all.len(), 100_000);
            assert!((0..100).all(|n| all[n * 1000..][..1000].iter().all(|byte| usize::from(*byte) == n)));
            assert_eq!(read.is_ok(), finished);
        }
    }

    #[test]
    fn a_writer_hears_that_its_reader_is_gone() {
        let (writer, reader) = pipe();
        drop(reader);
        assert!((0..COUNT + 1).any(|_| writer.send(|_| Ok::<_, ()>(1)).is_err()));
    }
}

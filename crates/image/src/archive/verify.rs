//! Content held against its descriptor while it is read.

use super::Flaw;
use crate::input::CHUNK;
use registry::{Descriptor, Digest, Hasher};
use std::io::{self, Read, Write};

/// A reader that counts and hashes. It gives at most one byte more than it should have, whatever comes.
pub(crate) struct Verified<R> {
    input: R,
    hasher: Hasher,
    digest: Digest,
    expected: u64,
    got: u64,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(input: R, descriptor: &Descriptor) -> Verified<R> {
        let hasher = descriptor.digest.hasher();
        Verified { input, hasher, digest: descriptor.digest.clone(), expected: descriptor.size, got: 0 }
    }

    /// Reads what is left; whether it was what the descriptor says.
    pub(crate) fn finish(mut self) -> Result<(), Flaw> {
        pump(&mut self, &mut io::sink())?;
        if self.got != self.expected {
            let found = if self.got > self.expected { "more".into() } else { self.got.to_string() };
            return Err(Flaw::Size { digest: self.digest, expected: self.expected, found });
        }
        let found = self.hasher.finish();
        if found == self.digest { Ok(()) } else { Err(Flaw::Digest { expected: self.digest, found }) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = (self.expected + 1).saturating_sub(self.got);
        let length = usize::try_from(left).map_or(to.len(), |left| left.min(to.len()));
        let length = self.input.read(&mut to[..length])?;
        self.hasher.update(&to[..length]);
        self.got += length as u64;
        Ok(length)
    }
}

/// Copies all of `from`, telling whose failure it was; how many bytes there were.
pub(crate) fn pump(from: &mut dyn Read, to: &mut dyn Write) -> Result<u64, Flaw> {
    let mut buffer = vec![0; CHUNK];
    let mut sum = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(sum),
            Ok(length) => {
                to.write_all(&buffer[..length]).map_err(Flaw::Write)?;
                sum += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Flaw::Read(error)),
        }
    }
}

//! A layer from a tar that somebody else made: `import`.
//!
//! The archive goes into the layer as it is, but for its compression, and is read as a tar on the way: one that is
//! damaged, truncated or no tar at all is refused before anything is named. What is in it is looked at as in any layer.

use crate::archive::NewLayer;
use crate::error::{Error, Fault};
use crate::input::{CHUNK, decoded, read_buffered};
use crate::make::Making;
use crate::tar::Reader;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

impl Making<'_> {
    /// Makes a layer of an archive, plain or compressed. `shown` is what it is called.
    ///
    /// # Errors
    /// What is wrong with the archive; and what keeps the layer from being stored.
    pub fn import(&self, input: &mut (dyn Read + Send), shown: &Path) -> Result<NewLayer, Error> {
        let failed = |fault: Fault| Error::Archive { path: shown.to_owned(), source: Box::new(fault) };
        self.layer(|out| {
            let plain = decoded(BufReader::with_capacity(CHUNK, input)).map_err(|e| failed(Fault::read(0, e)))?;
            let mut copied = Copied { from: plain, to: out, broken: false };
            let mut reader = Reader::new(&mut copied);
            let mut is_empty = true;
            let read = loop {
                match reader.next() {
                    Ok(None) => break Ok(()),
                    Ok(Some(_)) => is_empty = false,
                    Err(fault) => break Err(fault),
                }
            };
            match read {
                // Whoever packs it says why.
                Err(_) if copied.broken => Err(Error::Interrupted),
                Err(fault) => Err(failed(fault)),
                Ok(()) if is_empty => Err(failed(Fault::NoEntries)),
                Ok(()) => Ok(()),
            }
        })
    }
}

/// What is read of the one is written to the other.
struct Copied<'a, R> {
    from: R,
    to: &'a mut dyn Write,
    /// The other end is gone.
    broken: bool,
}

impl<R: BufRead> Read for Copied<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

impl<R: BufRead> BufRead for Copied<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.from.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is in the buffer is there at once.
        if let Ok(piece) = self.from.fill_buf() {
            self.broken |= self.to.write_all(&piece[..amount.min(piece.len())]).is_err();
        }
        self.from.consume(amount);
    }
}

//! The image file while it is written: from block 1 to its end in large writes, block 0 last.

use super::format::BLOCK;
use crate::write_behind::WriteBehind;
use rustix::io::{Errno, pwrite, pwritev};
use std::fs::File;
use std::io::IoSlice;

/// What is gathered before it is written.
const BUFFER: usize = 1 << 20;
/// A piece of this size is written from where it is, together with what was gathered.
const LARGE: usize = 64 << 10;
/// Zeros more than this become a hole of the image file.
const GAP: u64 = 64 << 10;

pub(super) struct Output<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Where in the file the buffer goes: a block's start.
    start: u64,
    behind: WriteBehind,
}

impl<'a> Output<'a> {
    pub(super) fn new(file: &'a File) -> Output<'a> {
        Output { file, buffer: Vec::with_capacity(BUFFER), start: BLOCK as u64, behind: WriteBehind::default() }
    }

    pub(super) fn file(&self) -> &'a File {
        self.file
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// The block at the position, which must be a block's start. An image has less than 2^32 blocks.
    pub(super) fn block(&self) -> Result<u32, Errno> {
        u32::try_from(self.position() / BLOCK as u64).map_err(|_| Errno::FBIG)
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), Errno> {
        if piece.len() >= LARGE {
            return self.write_blocks(piece);
        }
        if self.buffer.len() + piece.len() > BUFFER {
            self.write_blocks(&[])?;
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// Zeros up to `position`, which is not behind.
    pub(super) fn zeros_to(&mut self, position: u64) -> Result<(), Errno> {
        if position.saturating_sub(self.position()) > GAP {
            self.fill_block()?;
            self.write_blocks(&[])?;
            self.start = position / BLOCK as u64 * BLOCK as u64;
        }
        let zeros = [0; BLOCK];
        let mut left = position.saturating_sub(self.position()) as usize;
        while left > 0 {
            let length = left.min(BLOCK);
            self.append(&zeros[..length])?;
            left -= length;
        }
        Ok(())
    }

    /// Zeros up to the next block's start.
    pub(super) fn fill_block(&mut self) -> Result<(), Errno> {
        self.zeros_to(self.position().next_multiple_of(BLOCK as u64))
    }

    /// Writes what was gathered, then block 0: with it the image is whole.
    pub(super) fn finish(mut self, first: &[u8; BLOCK]) -> Result<(), Errno> {
        self.fill_block()?;
        self.write_blocks(&[])?;
        // Where the end is a hole, the file is not yet as long as its blocks say.
        rustix::fs::ftruncate(self.file, self.start)?;
        let mut done = 0;
        while done < BLOCK {
            done += pwrite(self.file, &first[done..], done as u64)?;
        }
        Ok(())
    }

    /// Writes all whole blocks of what was gathered and of `piece`, and gathers the rest: a page of the file that is
    /// written in two goes costs more than one.
    fn write_blocks(&mut self, piece: &[u8]) -> Result<(), Errno> {
        let gathered = self.buffer.len();
        let whole = (gathered + piece.len()) / BLOCK * BLOCK;
        let (now, later) = piece.split_at(whole.saturating_sub(gathered));
        self.write(whole.min(gathered), now)?;
        self.buffer.extend_from_slice(later);
        Ok(())
    }

    /// Writes the first `length` bytes of what was gathered, and then `piece`.
    fn write(&mut self, length: usize, piece: &[u8]) -> Result<(), Errno> {
        let (mut first, mut second) = (&self.buffer[..length], piece);
        while !(first.is_empty() && second.is_empty()) {
            match pwritev(self.file, &[IoSlice::new(first), IoSlice::new(second)], self.start) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => {
                    let of_first = written.min(first.len());
                    first = &first[of_first..];
                    second = &second[written - of_first..];
                    self.start += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.drain(..length);
        self.behind.written(self.file, self.start);
        Ok(())
    }
}

//! The records of a file one by one, forward or backward, read by blocks.
//!
//! What is longer than any record is passed over, so that no file, whatever it holds, takes more memory than that.

use super::scan;
use rustix::io::{Errno, pread, retry_on_intr};
use std::os::fd::BorrowedFd;

/// So much is read at once.
const BLOCK: usize = 256 * 1024;
/// The same from the end: mostly not much is wanted of it, and the monitor looks there, too.
const BLOCK_BACK: usize = 64 * 1024;
/// Longer records are none: ours have 120 KiB at most.
const LONGEST: usize = 1024 * 1024;

/// From the beginning on.
#[derive(Debug)]
pub(super) struct Forward {
    space: Vec<u8>,
    /// What was read and not given yet.
    start: usize,
    end: usize,
    /// Where in the file the next block begins.
    at: u64,
    /// What comes first is the rest of something too long.
    is_too_long: bool,
}

impl Forward {
    /// Reads a file from `at` on.
    pub(super) fn from(at: u64) -> Forward {
        Forward { space: vec![0; LONGEST + BLOCK], start: 0, end: 0, at, is_too_long: false }
    }

    /// As before, of another file.
    pub(super) fn restart(&mut self) {
        (self.start, self.end, self.at, self.is_too_long) = (0, 0, 0, false);
    }

    /// How far in the file everything was given.
    pub(super) fn given(&self) -> u64 {
        self.at - (self.end - self.start) as u64
    }

    /// True when there is something without a newline.
    pub(super) fn has_rest(&self) -> bool {
        self.start < self.end || self.is_too_long
    }

    /// Reads a block. False at the end of the file.
    pub(super) fn fill(&mut self, file: BorrowedFd<'_>) -> Result<bool, Errno> {
        if self.end - self.start > LONGEST {
            self.is_too_long = true;
            self.start = self.end;
        }
        self.space.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let space = &mut self.space[self.end..self.end + BLOCK];
        let got = retry_on_intr(|| pread(file, &mut *space, self.at))?;
        self.end += got;
        self.at += got as u64;
        Ok(got > 0)
    }

    /// The next record of what was read, without its newline. Nothing in place of one that is too long.
    pub(super) fn next(&mut self) -> Option<Option<&[u8]>> {
        let line = &self.space[self.start..self.end];
        let length = scan::newline(line)?;
        self.start += length + 1;
        Some((!std::mem::take(&mut self.is_too_long)).then(|| &line[..length]))
    }
}

/// From the end on.
#[derive(Debug)]
pub(super) struct Backward<'a> {
    file: BorrowedFd<'a>,
    /// What was read, from `at` in the file on.
    held: Vec<u8>,
    at: u64,
    /// What is before is left alone.
    start: u64,
    /// So much of it was not given yet.
    left: usize,
    is_too_long: bool,
}

impl<'a> Backward<'a> {
    /// Reads what a file has before `end`.
    pub(super) fn new(file: BorrowedFd<'a>, end: u64) -> Backward<'a> {
        Backward::between(file, 0, end)
    }

    /// Reads what a file has from `start`, if that is before `end`, to `end`.
    pub(super) fn between(file: BorrowedFd<'a>, start: u64, end: u64) -> Backward<'a> {
        Backward { file, held: Vec::new(), at: end, start: start.min(end), left: 0, is_too_long: false }
    }

    /// The record before, without its newline, and where in the file the one after it begins.
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], u64)>, Errno> {
        loop {
            self.held.truncate(self.left);
            let newline = matches!(self.held.last(), Some(b'\n')) && !self.is_too_long;
            let length = self.held.len() - usize::from(newline);
            match scan::last_newline(&self.held[..length]) {
                Some(at) => self.left = at + 1,
                None if self.at == self.start => self.left = 0,
                None => {
                    self.more()?;
                    continue;
                }
            }
            if self.held.is_empty() {
                return Ok(None);
            }
            if std::mem::take(&mut self.is_too_long) {
                continue;
            }
            return Ok(Some((&self.held[self.left..length], self.at + self.held.len() as u64)));
        }
    }

    /// Reads the block before.
    fn more(&mut self) -> Result<(), Errno> {
        if self.held.len() > LONGEST {
            self.is_too_long = true;
            self.held.clear();
        }
        let size = usize::try_from(self.at - self.start).unwrap_or(usize::MAX).min(BLOCK_BACK);
        let mut block = Vec::with_capacity(size + self.held.len());
        block.resize(size, 0);
        let at = self.at - size as u64;
        let got = retry_on_intr(|| pread(self.file, &mut block[..], at))?;
        // Somebody has cut the file meanwhile: then there is nothing before.
        self.at = if got == size { at } else { self.start };
        block.truncate(if got == size { size } else { 0 });
        block.append(&mut self.held);
        (self.held, self.left) = (block, usize::MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::Dir;
    use std::os::fd::AsFd;

    fn forward(text: &[u8]) -> (Vec<Option<Vec<u8>>>, bool) {
        let dir = Dir::new();
        dir.write("log", text);
        let file = std::fs::File::open(dir.path().join("log")).unwrap();
        let (mut forward, mut all) = (Forward::from(0), Vec::new());
        while forward.fill(file.as_fd()).unwrap() {
            while let Some(line) = forward.next() {
                all.push(line.map(<[u8]>::to_vec));
            }
        }
        (all, forward.has_rest())
    }

    fn backward(text: &[u8]) -> Vec<Vec<u8>> {
        let dir = Dir::new();
        dir.write("log", text);
        let file = std::fs::File::open(dir.path().join("log")).unwrap();
        let mut backward = Backward::new(file.as_fd(), text.len() as u64);
        let mut all = Vec::new();
        while let Some((line, end)) = backward.next().unwrap() {
            let end = end as usize;
            let whole = &text[..end].strip_suffix(b"\n").unwrap_or(&text[..end]);
            assert!(whole.ends_with(line), "it ends at {end}");
            all.push(line.to_vec());
        }
        all.reverse();
        all
    }

    #[test]
    fn every_line_both_ways() {
        let long = |n| vec![b'x'; n];
        let many: Vec<Vec<u8>> = (0..50_000).map(|n: usize| vec![b'a'; n % 97]).collect();
        for lines in [
            vec![],
            vec![b"a".to_vec()],
            vec![b"".to_vec(), b"".to_vec(), b"a".to_vec(), b"".to_vec()],
            vec![long(BLOCK - 1), long(BLOCK), long(BLOCK + 1), b"a".to_vec()],
            vec![b"a".to_vec(), long(LONGEST), b"b".to_vec()],
            many,
        ] {
            let text: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            let expected: Vec<_> = lines.iter().cloned().map(Some).collect();
            assert!(forward(&text) == (expected, false), "{} lines forward", lines.len());
            assert!(backward(&text) == lines, "{} lines backward", lines.len());
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        for length in [LONGEST + BLOCK, LONGEST + BLOCK + 1, 3 * LONGEST, 3 * LONGEST + BLOCK] {
            let mut text = b"a\n".to_vec();
            text.resize(length + 2, b'x');
            assert!(forward(&text) == (vec![Some(b"a".to_vec())], true), "{length}");
            assert_eq!(backward(&text), [b"a"], "{length}");
            text.extend_from_slice(b"\nb\nc\n");
            let expected = [Some(b"a"), None, Some(b"b"), Some(b"c")].map(|line| line.map(|line| line.to_vec()));
            assert!(forward(&text) == (expected.to_vec(), false), "{length}");
            assert_eq!(backward(&text), [b"a", b"b", b"c"], "{length}");
            // And alone.
            assert_eq!(backward(&text[2..length]), [b""; 0], "{length}");
        }
    }

    #[test]
    fn what_has_no_newline() {
        assert_eq!(forward(b"a\nb"), (vec![Some(b"a".to_vec())], true));
        assert_eq!(backward(b"a\nb"), [b"a", b"b"]);
        assert_eq!(backward(b"b"), [b"b"]);
    }
}

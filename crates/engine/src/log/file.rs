//! The files of a log: opened, added to, and replaced by the next when they are full.
//!
//! A rotation makes the new file first, under another name: when that fails nothing has changed, and the old one is
//! written to no more. Then the others move up by a number, the highest first, and the new one gets its name last. A
//! crash between these leaves a number out, or no current file; both are looked over, and the next start makes it. A file
//! that was compressed goes the same way under its own name.

use super::blocks::Backward;
use super::{packed, scan};
use crate::error::Error;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, ftruncate, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, pread, retry_on_intr, write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How far back the beginning of the last record is looked for: further than any of ours is long.
const REACH: u64 = 256 * 1024;

/// The current file, and where the next goes.
#[derive(Debug)]
pub(super) struct LogFile {
    dir: OwnedFd,
    name: &'static str,
    file: OwnedFd,
    size: u64,
    max_size: u64,
    max_file: u32,
    /// It ends with half a record that could not be cut off.
    is_torn: bool,
    /// Files that are full are compressed.
    is_packed: bool,
    packing: Option<Packing>,
}

/// A file that is being compressed.
#[derive(Debug)]
struct Packing {
    /// Can be read when it is done.
    done: OwnedFd,
    file: OwnedFd,
}

impl LogFile {
    /// Opens or makes the current file. A last record that was not written to its end is cut off.
    pub(super) fn open(
        dir: BorrowedFd<'_>,
        name: &'static str,
        max_size: Option<u64>,
        max_file: Option<u32>,
        is_packed: bool,
    ) -> Result<LogFile, Error> {
        let open = || {
            let dir = rustix::io::fcntl_dupfd_cloexec(dir, 3)?;
            // Not to wait, should it be a pipe: that is found out with it open.
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NONBLOCK;
            let file = openat(&dir, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)?;
            let stat = fstat(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Errno::INVAL);
            }
            // What a rotation that was killed has left.
            remove(&dir, &draft_of(name))?;
            remove(&dir, &packed_draft_of(name))?;
            let whole = whole(file.as_fd(), stat.st_size.cast_unsigned())?;
            let is_torn = whole.is_none();
            let size = whole.unwrap_or(stat.st_size.cast_unsigned());
            if size < stat.st_size.cast_unsigned() {
                ftruncate(&file, size)?;
            }
            let (max_size, max_file) = (max_size.unwrap_or(u64::MAX), max_file.unwrap_or(1));
            let packing = None;
            let mut log = LogFile { dir, name, file, size, max_size, max_file, is_torn, is_packed, packing };
            log.finish_packing()?;
            log.pack_next();
            Ok(log)
        };
        open().map_err(|error| {
            let of_dir = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap_or_default();
            Error::file("open the log", of_dir.join(name))(error)
        })
    }

    /// The last records that it has, from the end on; not further back than a few are long, so that no start is slow.
    pub(super) fn last_records(&self) -> Backward<'_> {
        Backward::between(self.file.as_fd(), self.size.saturating_sub(REACH), self.size)
    }

    /// Writes records, all of them whole, and takes off `records` what is in the file.
    pub(super) fn add(&mut self, records: &mut Vec<u8>) -> Result<(), Errno> {
        let mut done = 0;
        let added = loop {
            if done == records.len() {
                break Ok(());
            }
            match self.add_some(&records[done..]) {
                Ok(count) => done += count,
                Err(error) => break Err(error),
            }
        };
        records.drain(..done);
        added
    }

    /// Writes as many as fit into the current file, or into the next. The bytes that are in the file.
    fn add_some(&mut self, records: &[u8]) -> Result<usize, Errno> {
        let fit = self.fit(records);
        if fit == 0 {
            self.rotate()?;
            return Ok(0);
        }
        if self.is_torn {
            // Half a record becomes a line of its own, which a reader passes over.
            write(&self.file, b"\n")?;
            self.is_torn = false;
        }
        let wrote = retry_on_intr(|| write(&self.file, &records[..fit]))?;
        self.size += wrote as u64;
        if wrote == fit {
            return Ok(wrote);
        }
        let whole = scan::last_newline(&records[..wrote]).map_or(0, |at| at + 1);
        self.cut_off(wrote - whole);
        if whole == 0 { Err(Errno::NOSPC) } else { Ok(whole) }
    }

    /// Half a record at the end of the file goes.
    fn cut_off(&mut self, count: usize) {
        // Somebody else may have cut it: so its size is asked for.
        let cut = fstat(&self.file).and_then(|stat| {
            let size = stat.st_size.cast_unsigned().saturating_sub(count as u64);
            ftruncate(&self.file, size).map(|()| size)
        });
        self.is_torn = count > 0 && cut.is_err();
        self.size = cut.unwrap_or(self.size);
    }

    /// How many bytes, all of whole records, go into the current file; 0 when the next has to begin.
    fn fit(&self, records: &[u8]) -> usize {
        let room = usize::try_from(self.max_size.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if records.len() <= room {
            return records.len();
        }
        match scan::last_newline(&records[..room]) {
            Some(at) => at + 1,
            // One that is larger than a file may be has one for itself.
            None if self.size == 0 => scan::newline(records).map_or(records.len(), |at| at + 1),
            None => 0,
        }
    }

    fn rotate(&mut self) -> Result<(), Errno> {
        let draft = draft_of(self.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::CLOEXEC;
        let file = openat(&self.dir, &draft, flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)?;
        if self.max_file > 1 {
            // The first number that is free, or the last that may be: what has that goes.
            let mut last = 1;
            while last < self.max_file - 1 && (self.is_there(&self.numbered(last)) || self.is_there(&self.packed(last)))
            {
                last += 1;
            }
            // By name: what comes in its place may be of the other kind.
            remove(&self.dir, &self.packed(last))?;
            remove(&self.dir, &self.numbered(last))?;
            for n in (1..last).rev() {
                self.rename(&self.packed(n), &self.packed(n + 1))?;
                self.rename(&self.numbered(n), &self.numbered(n + 1))?;
            }
            self.rename(self.name, &self.numbered(1))?;
        }
        renameat(&self.dir, &draft, &self.dir, self.name)?;
        (self.file, self.size, self.is_torn) = (file, 0, false);
        self.pack_next();
        Ok(())
    }

    /// Can be read when a file was compressed, or could not be.
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.packing.as_ref().map(|packing| packing.done.as_fd())
    }

    /// The file that was compressed is replaced, under the number that it has by now; and the next one's turn comes. What
    /// could not be done is tried again after the next rotation.
    pub(super) fn tend(&mut self) {
        let Some(Packing { done, file }) = self.packing.take() else { return };
        let is_done = packed::is_whole(&done) && self.replace(&file).is_ok();
        // Of one that could not be done, or whose file is gone.
        let _ = remove(&self.dir, &packed_draft_of(self.name));
        if is_done {
            self.pack_next();
        }
    }

    /// Its number may be used by no other by now: then it was the oldest, and is gone.
    fn replace(&self, file: &OwnedFd) -> Result<(), Errno> {
        let inode = fstat(file)?.st_ino;
        let is_it = |n: &u32| {
            statat(&self.dir, self.numbered(*n), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_ino == inode)
        };
        let Some(n) = self.numbers().find(is_it) else { return Ok(()) };
        renameat(&self.dir, packed_draft_of(self.name), &self.dir, self.packed(n))?;
        remove(&self.dir, &self.numbered(n))
    }

    /// Begins to compress the newest of the full files that is not. That it cannot be done is no reason to keep no log.
    fn pack_next(&mut self) {
        if !self.is_packed || self.packing.is_some() {
            return;
        }
        let Some(n) = self.numbers().find(|n| self.is_there(&self.numbered(*n))) else { return };
        let begin = || {
            let file = openat(
                &self.dir,
                self.numbered(n),
                OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let draft = openat(&self.dir, packed_draft_of(self.name), flags, Mode::RUSR | Mode::WUSR)?;
            let done = packed::begin(file.try_clone().map_err(|_| Errno::MFILE)?, draft)?;
            Ok::<Packing, Errno>(Packing { done, file })
        };
        self.packing = begin().ok();
        if self.packing.is_none() {
            let _ = remove(&self.dir, &packed_draft_of(self.name));
        }
    }

    /// A monitor that was killed between the two steps of a replacement has left both.
    fn finish_packing(&self) -> Result<(), Errno> {
        for n in self.numbers().filter(|n| self.is_there(&self.packed(*n))) {
            remove(&self.dir, &self.numbered(n))?;
        }
        Ok(())
    }

    /// The numbers in use, from the lowest on.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        (1..self.max_file).take_while(|n| self.is_there(&self.numbered(*n)) || self.is_there(&self.packed(*n)))
    }

    fn is_there(&self, name: &str) -> bool {
        statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn numbered(&self, n: u32) -> String {
        format!("{}.{n}", self.name)
    }

    fn packed(&self, n: u32) -> String {
        format!("{}.{n}{}", self.name, packed::ENDING)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        match renameat(&self.dir, from, &self.dir, to) {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if self.packing.is_some() {
            let _ = remove(&self.dir, &packed_draft_of(self.name));
        }
    }
}

fn draft_of(name: &str) -> String {
    format!("{name}.new")
}

fn packed_draft_of(name: &str) -> String {
    format!("{name}{}.new", packed::ENDING)
}

fn remove(dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How much of a file is whole records. None when it ends with no record, and none ends where it was looked for.
fn whole(file: BorrowedFd<'_>, size: u64) -> Result<Option<u64>, Errno> {
    let mut block = [0; 4096];
    let mut end = size;
    while end > 0 && size - end < REACH {
        // Mostly the last byte says it.
        let wanted = if end == size { 1 } else { end.min(block.len() as u64) };
        let start = end - wanted;
        let got = retry_on_intr(|| pread(file, &mut block[..wanted as usize], start))?;
        if let Some(at) = scan::last_newline(&block[..got]) {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok((end == 0).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::Dir;

    fn open(dir: &Dir, max_size: Option<u64>, max_file: Option<u32>) -> LogFile {
        LogFile::open(dir.fd(), "log", max_size, max_file, false).unwrap()
    }

    #[test]
    fn rotated_by_size_and_number() {
        // Five bytes a record.
        let records = |numbers: std::ops::Range<u32>| numbers.map(|n| format!("{n:04}\n")).collect::<String>();
        for (max_size, max_file, expected) in [
            (None, None, vec![("log", records(0..10))]),
            (Some(50), None, vec![("log", records(0..10))]),
            (Some(49), None, vec![("log", records(9..10))]),
            (Some(20), Some(1), vec![("log", records(8..10))]),
            (Some(20), Some(2), vec![("log", records(8..10)), ("log.1", records(4..8))]),
            (Some(20), Some(3), vec![("log", records(8..10)), ("log.1", records(4..8)), ("log.2", records(0..4))]),
            (Some(10), Some(3), vec![("log", records(8..10)), ("log.1", records(6..8)), ("log.2", records(4..6))]),
            (Some(1), Some(2), vec![("log", records(9..10)), ("log.1", records(8..9))]),
            (
                Some(20),
                Some(u32::MAX),
                vec![("log", records(8..10)), ("log.1", records(4..8)), ("log.2", records(0..4))],
            ),
        ] {
            // At once, and one by one, each with another that opens it.
            for step in [10, 1] {
                let dir = Dir::new();
                for first in (0..10).step_by(step) {
                    let mut more = records(first..first + step as u32).into_bytes();
                    open(&dir, max_size, max_file).add(&mut more).unwrap();
                    assert!(more.is_empty());
                }
                let expected: Vec<(String, String)> =
                    expected.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
                assert_eq!(dir.files(), expected, "{max_size:?} {max_file:?} by {step}");
            }
        }
    }

    #[test]
    fn what_is_compressed_moves_up_with_the_others() {
        let dir = Dir::new();
        let names = || {
            let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        };
        let mut log = open(&dir, Some(5), Some(4));
        for (record, packed, expected) in [
            ("0000\n", None, "log"),
            ("1111\n", Some("log.1"), "log log.1.gz"),
            ("2222\n", Some("log.1"), "log log.1.gz log.2.gz"),
            ("3333\n", None, "log log.1 log.2.gz log.3.gz"),
            ("4444\n", None, "log log.1 log.2 log.3.gz"),
            ("5555\n", Some("log.2"), "log log.1 log.2.gz log.3"),
            // What goes is of another kind than what comes, both ways.
            ("6666\n", Some("log.1"), "log log.1.gz log.2 log.3.gz"),
            ("7777\n", None, "log log.1 log.2.gz log.3"),
        ] {
            log.add(&mut record.as_bytes().to_vec()).unwrap();
            packed.iter().for_each(|name| dir.pack(name));
            assert_eq!(names(), expected, "{record}");
        }
        // A crash between the two steps of a replacement.
        dir.write("log.2", "half a replacement");
        drop(log);
        dir.write("log.gz.new", "a draft");
        open(&dir, Some(5), Some(4));
        assert_eq!(names(), "log log.1 log.2.gz log.3");
        assert_eq!((dir.read("log.1"), dir.read("log.3")), ("6666\n".into(), "4444\n".into()));
    }

    #[test]
    fn a_replacement_finds_the_number_of_its_file() {
        let dir = Dir::new();
        let mut log = open(&dir, Some(5), Some(3));
        let pack = |name: &str| {
            let file = std::fs::File::open(dir.path().join(name)).unwrap();
            packed::pack(&file, std::fs::File::create(dir.path().join("log.gz.new")).unwrap()).unwrap();
            let (done, tell) = rustix::pipe::pipe().unwrap();
            (Some(Packing { done, file: file.into() }), tell)
        };
        let names = || dir.path().read_dir().unwrap().count();
        let add = |log: &mut LogFile, n: u32| log.add(&mut format!("{n:04}\n").into_bytes()).unwrap();
        add(&mut log, 0);
        add(&mut log, 1);
        // It moves meanwhile.
        let tell;
        (log.packing, tell) = pack("log.1");
        add(&mut log, 2);
        rustix::io::write(&tell, &[1]).unwrap();
        log.tend();
        assert!(dir.path().join("log.2.gz").exists() && dir.read("log.1") == "0001\n" && names() == 3);
        // It could not be done.
        let tell;
        (log.packing, tell) = pack("log.1");
        drop(tell);
        log.tend();
        assert!(dir.path().join("log.2.gz").exists() && dir.read("log.1") == "0001\n" && names() == 3);
        // It is the oldest, and goes before it is done.
        let tell;
        (log.packing, tell) = pack("log.1");
        add(&mut log, 3);
        add(&mut log, 4);
        rustix::io::write(&tell, &[1]).unwrap();
        log.tend();
        let expected = [("log", "0004\n"), ("log.1", "0003\n"), ("log.2", "0002\n")];
        assert_eq!(dir.files(), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn what_a_crash_has_left_is_put_right() {
        let long = "x".repeat(5000);
        let endless = "x".repeat(300_000);
        for (before, expected) in [
            ("", "new\n".to_owned()),
            ("whole\n", "whole\nnew\n".to_owned()),
            ("whole\nhal", "whole\nnew\n".to_owned()),
            ("hal", "new\n".to_owned()),
            ("whole\n\0\0\0\0", "whole\nnew\n".to_owned()),
            (&format!("whole\n{long}"), "whole\nnew\n".to_owned()),
            (&long, "new\n".to_owned()),
            (&format!("whole\n{endless}"), format!("whole\n{endless}\nnew\n")),
        ] {
            let dir = Dir::new();
            dir.write("log", before);
            let mut log = open(&dir, None, None);
            log.add(&mut b"new\n".to_vec()).unwrap();
            assert!(dir.read("log") == expected, "{} bytes", before.len());
            log.add(&mut b"more\n".to_vec()).unwrap();
            assert!(dir.read("log") == expected + "more\n", "{} bytes", before.len());
        }
    }

    #[test]
    fn a_rotation_that_was_killed_is_no_hindrance() {
        let dir = Dir::new();
        for (name, text) in [("log", "0000\n"), ("log.2", "2\n"), ("log.new", "draft\n")] {
            dir.write(name, text);
        }
        let mut log = open(&dir, Some(5), Some(4));
        assert!(!dir.path().join("log.new").exists());
        log.add(&mut b"1111\n".to_vec()).unwrap();
        let expected = [("log", "1111\n"), ("log.1", "0000\n"), ("log.2", "2\n")];
        assert_eq!(dir.files(), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn no_other_kind_of_file_is_written_to() {
        let dir = Dir::new();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("log")).unwrap();
        LogFile::open(dir.fd(), "log", None, None, false).unwrap_err();
        std::fs::remove_file(dir.path().join("log")).unwrap();
        rustix::fs::mkfifoat(dir.fd(), "log", Mode::RUSR | Mode::WUSR).unwrap();
        LogFile::open(dir.fd(), "log", None, None, false).unwrap_err();
    }
}

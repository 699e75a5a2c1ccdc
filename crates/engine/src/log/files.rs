//! The files of a log for who reads it, while another may be renaming them.
//!
//! A file is known by its inode, not by its name. Names only ever move up by one, the highest number first, and the current
//! name is given last. A directory that is read meanwhile may leave files out, so what it says is only a guess: two files
//! are neighbours when the first still has its number after the second was opened, and there is none between them.
//!
//! A file may be compressed while it is read: then it has its number still, as another file that says whose text it has.

use super::packed;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How often a rotation may come between, and how long it has then.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// The directory of a log.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: OwnedFd,
    pub(super) name: &'static str,
}

/// One of its files.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: OwnedFd,
    pub(super) size: u64,
    /// Of what has its name.
    inode: Inode,
    /// What it was made of, if that is compressed.
    packed: Option<Packed>,
}

/// A compressed file, and what it says of the one that it was made of.
#[derive(Debug)]
struct Packed {
    file: File,
    origin: Option<String>,
}

/// Device and number.
type Inode = (u64, u64);

fn inode(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

impl Opened {
    pub(super) fn is(&self, other: &Opened) -> bool {
        let is_same = || self.identity().is_some_and(|this| other.identity() == Some(this));
        self.inode == other.inode || (self.packed.is_some() != other.packed.is_some() && is_same())
    }

    /// Which of all files that there were it is, also when it was compressed meanwhile.
    fn identity(&self) -> Option<String> {
        match &self.packed {
            Some(packed) => packed.origin.clone(),
            None => fstat(&self.file).ok().map(|stat| packed::identity(&stat)),
        }
    }

    fn has_no_name(&self) -> Result<bool, Errno> {
        let stat = self.packed.as_ref().map_or_else(|| fstat(&self.file), |packed| fstat(&packed.file))?;
        Ok(stat.st_nlink == 0)
    }
}

impl Files {
    /// The file that is written.
    pub(super) fn newest(&self) -> Result<Option<Opened>, Errno> {
        self.try_often(|| {
            let numbers = self.numbers()?;
            match (self.open(0)?, numbers.is_empty()) {
                (None, false) => Ok(None),
                (found, _) => Ok(Some(found)),
            }
        })?
        // A rotation was killed.
        .map_or_else(|| self.guess(<[u32]>::first), Ok)
    }

    /// The file with the highest number.
    pub(super) fn oldest(&self) -> Result<Option<Opened>, Errno> {
        let Some(mut oldest) = self.guess(<[u32]>::last)? else { return Ok(None) };
        while let Some(before) = self.before(&oldest)? {
            oldest = before;
        }
        Ok(Some(oldest))
    }

    /// The one that was begun after this one; when this one is gone, the oldest there is.
    pub(super) fn after(&self, this: &Opened) -> Result<Option<Opened>, Errno> {
        let found = self.try_often(|| {
            if self.is(0, this) {
                return Ok(Some(None));
            }
            let Some((numbers, at)) = self.place(this)? else {
                return if this.has_no_name()? { self.guess(<[u32]>::last).map(Some) } else { Ok(None) };
            };
            let Some(at_next) = at.checked_sub(1) else { return Ok(None) };
            let (number, wanted) = (numbers[at], numbers[at_next]);
            let next = self.open(wanted)?;
            let is_next = self.is(number, this) && (wanted + 1 == number || !self.exists(wanted + 1));
            Ok((next.is_some() && is_next).then_some(next))
        })?;
        Ok(found.flatten())
    }

    /// The one that was begun before this one; none when this one is gone.
    pub(super) fn before(&self, this: &Opened) -> Result<Option<Opened>, Errno> {
        let found = self.try_often(|| {
            let Some((numbers, at)) = self.place(this)? else { return Ok(this.has_no_name()?.then_some(None)) };
            let number = numbers[at];
            let before = match numbers.get(at + 1) {
                Some(wanted) => self.open(*wanted)?,
                None => None,
            };
            let is_beside = before.is_some() && numbers[at + 1] == number + 1;
            let is_before = self.is(number, this) && (is_beside || !self.exists(number.saturating_add(1)));
            Ok(is_before.then_some(before))
        })?;
        Ok(found.flatten())
    }

    /// Tries until something is certain.
    fn try_often<T>(&self, mut attempt: impl FnMut() -> Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
        for n in 0..TRIES {
            let found = attempt()?;
            if found.is_some() {
                return Ok(found);
            }
            if n > 2 {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(None)
    }

    /// The first or the last file of those that are there.
    fn guess(&self, which: impl Fn(&[u32]) -> Option<&u32>) -> Result<Option<Opened>, Errno> {
        which(&self.numbers()?).map_or(Ok(None), |n| self.open(*n))
    }

    /// All numbers, and which of them is this one's, if that can be said.
    fn place(&self, this: &Opened) -> Result<Option<(Vec<u32>, usize)>, Errno> {
        let numbers = self.numbers()?;
        let at = numbers.iter().position(|n| self.is(*n, this));
        Ok(at.map(|at| (numbers, at)))
    }

    fn exists(&self, n: u32) -> bool {
        let is_there = |name: String| statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        is_there(self.name_of(n)) || is_there(self.packed_name_of(n))
    }

    fn is(&self, n: u32, this: &Opened) -> bool {
        let found = |name: String| statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| inode(&stat));
        if let Some(found) = found(self.name_of(n)) {
            return found == this.inode;
        }
        let Some(found) = found(self.packed_name_of(n)) else { return false };
        let is_made_of_it = || {
            let packed = self.open_file(&self.packed_name_of(n)).ok()??;
            Some(packed::origin(&packed.0.into())? == this.identity()?)
        };
        found == this.inode || (this.packed.is_none() && is_made_of_it() == Some(true))
    }

    fn name_of(&self, n: u32) -> String {
        if n == 0 { self.name.to_owned() } else { format!("{}.{n}", self.name) }
    }

    fn packed_name_of(&self, n: u32) -> String {
        format!("{}{}", self.name_of(n), packed::ENDING)
    }

    /// None when it is gone, or no file.
    fn open(&self, n: u32) -> Result<Option<Opened>, Errno> {
        if let Some((file, stat)) = self.open_file(&self.name_of(n))? {
            let size = stat.st_size.cast_unsigned();
            return Ok(Some(Opened { file, size, inode: inode(&stat), packed: None }));
        }
        let Some((file, stat)) = self.open_file(&self.packed_name_of(n))? else { return Ok(None) };
        let packed = File::from(file);
        let origin = packed::origin(&packed);
        let (file, size) = packed::unpack(self.dir.as_fd(), &packed)?;
        Ok(Some(Opened { file, size, inode: inode(&stat), packed: Some(Packed { file: packed, origin }) }))
    }

    fn open_file(&self, name: &str) -> Result<Option<(OwnedFd, Stat)>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = fstat(&file)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file.then_some((file, stat)))
    }

    /// The numbers that are there, the current file's, which has none, as 0.
    fn numbers(&self) -> Result<Vec<u32>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match openat(&self.dir, c".", flags, Mode::empty()) {
            Ok(dir) => dir,
            // It was removed.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut space = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(dir.as_fd(), &mut space);
        let mut numbers = Vec::new();
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => numbers.extend(self.number(entry.file_name().to_bytes())),
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error),
            }
        }
        numbers.sort_unstable();
        // One that was compressed a moment ago has both.
        numbers.dedup();
        Ok(numbers)
    }

    fn number(&self, name: &[u8]) -> Option<u32> {
        let rest = name.strip_prefix(self.name.as_bytes())?;
        if rest.is_empty() {
            return Some(0);
        }
        let digits = rest.strip_prefix(b".")?;
        let digits = std::str::from_utf8(digits.strip_suffix(packed::ENDING.as_bytes()).unwrap_or(digits)).ok()?;
        let number: u32 = digits.parse().ok()?;
        // Only as we write it: no +1, no 01.
        (number > 0 && number.to_string() == digits).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::Dir;

    fn files(dir: &Dir) -> Files {
        Files { dir: dir.fd().try_clone_to_owned().unwrap(), name: "log" }
    }

    fn text(opened: &Opened) -> String {
        let mut file = std::fs::File::from(opened.file.try_clone().unwrap());
        std::io::Seek::rewind(&mut file).unwrap();
        std::io::read_to_string(file).unwrap()
    }

    #[test]
    fn in_the_order_of_their_numbers() {
        let dir = Dir::new();
        for name in ["log", "log.1", "log.2", "log.10", "log.new", "log.01", "log.+3", "log.", "log.json", "logs", "x"]
        {
            dir.write(name, name);
        }
        let files = files(&dir);
        assert_eq!(files.numbers().unwrap(), [0, 1, 2, 10]);
        let mut seen = Vec::new();
        let mut next = files.oldest().unwrap();
        while let Some(this) = next {
            seen.push(text(&this));
            next = files.after(&this).unwrap();
        }
        assert_eq!(seen, ["log.10", "log.2", "log.1", "log"]);
        let newest = files.newest().unwrap().unwrap();
        let before = files.before(&newest).unwrap().unwrap();
        assert_eq!((text(&newest), text(&before)), ("log".into(), "log.1".into()));
    }

    #[test]
    fn compressed_while_it_is_read() {
        let dir = Dir::new();
        for name in ["log", "log.1", "log.2", "log.3"] {
            dir.write(name, name);
        }
        dir.pack("log.3");
        let files = files(&dir);
        let third = files.oldest().unwrap().unwrap();
        assert_eq!((text(&third), third.size), ("log.3".into(), 5));
        let second = files.after(&third).unwrap().unwrap();
        let first = files.after(&second).unwrap().unwrap();
        dir.pack("log.2");
        dir.pack("log.1");
        assert!(second.has_no_name().unwrap() && first.has_no_name().unwrap());
        // They are where they were, both ways.
        let again = files.after(&second).unwrap().unwrap();
        assert!(again.is(&first) && first.is(&again) && !again.is(&second) && !again.is(&third));
        assert_eq!(text(&files.after(&first).unwrap().unwrap()), "log");
        assert!(files.before(&second).unwrap().unwrap().is(&third));
        assert!(files.before(&first).unwrap().unwrap().is(&second));
        // One that is gone is gone.
        std::fs::remove_file(dir.path().join("log.3.gz")).unwrap();
        assert_eq!(text(&files.after(&third).unwrap().unwrap()), "log.2");
        assert!(files.before(&second).unwrap().is_none());
    }

    #[test]
    fn one_that_is_damaged_tells_by_half_a_record() {
        let dir = Dir::new();
        let lines: String = (0..20_000).map(|n: u32| format!("{n} {}\n", n.wrapping_mul(2_654_435_761))).collect();
        dir.write("log", "");
        dir.write("log.1", &lines);
        dir.pack("log.1");
        let whole = std::fs::read(dir.path().join("log.1.gz")).unwrap();
        for (length, is_any) in [(0, false), (20, false), (whole.len() / 2, true), (whole.len() - 1, true)] {
            dir.write("log.1.gz", &whole[..length]);
            let read = text(&files(&dir).oldest().unwrap().unwrap());
            let shown = read.strip_suffix('?').unwrap();
            assert!(lines.starts_with(shown) && shown.is_empty() != is_any, "{length}: {} bytes", shown.len());
        }
    }

    #[test]
    fn a_file_is_known_when_it_has_moved() {
        let dir = Dir::new();
        let rename = |from: &str, to: &str| std::fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
        dir.write("log", "first");
        let files = files(&dir);
        let first = files.newest().unwrap().unwrap();
        assert!(files.after(&first).unwrap().is_none() && files.before(&first).unwrap().is_none());
        rename("log", "log.1");
        // In the middle of a rotation.
        assert!(files.after(&first).unwrap().is_none());
        dir.write("log", "second");
        rename("log.1", "log.2");
        // A number is missing for a moment.
        assert_eq!(text(&files.after(&first).unwrap().unwrap()), "second");
        rename("log", "log.1");
        dir.write("log", "third");
        let second = files.after(&first).unwrap().unwrap();
        assert_eq!(text(&second), "second");
        // The oldest goes.
        rename("log.1", "log.2");
        assert_eq!(text(&files.after(&first).unwrap().unwrap()), "second");
        assert_eq!(text(&files.after(&second).unwrap().unwrap()), "third");
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert!(files.after(&second).unwrap().is_none());
    }

    #[test]
    fn no_other_kind_of_file_is_read() {
        let dir = Dir::new();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("log")).unwrap();
        rustix::fs::mkfifoat(dir.fd(), "log.1", Mode::RUSR).unwrap();
        std::fs::create_dir(dir.path().join("log.2")).unwrap();
        let files = files(&dir);
        assert!(files.oldest().unwrap().is_none() && files.newest().unwrap().is_none());
    }
}

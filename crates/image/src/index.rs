//! Which digest an archive had when it was last read: so that running the same big file again does not read it again.
//!
//! One text file, `index`, a line an archive: `DEV INO SIZE MTIME_NS CTIME_NS sha256:HEX`. A file is believed unchanged
//! when all five numbers are the same (what git and make rely on, and ctime cannot be set back by a program). The index
//! is only a memory: it is replaced by rename under a lock; a line that is not whole, or that the store has no tree
//! for, is as good as none, and losing the file costs one more reading of each archive. `index.new`, which is both the
//! lock and the next index, stays behind when its writer is killed; the next writer overwrites it.

use rustix::fd::BorrowedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, Stat, flock, openat, renameat};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The most lines that are kept: the oldest go first.
const LINES_MAX: usize = 500;

/// More than the longest possible line.
const LINE_MAX: usize = 200;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    dev: u64,
    ino: u64,
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

impl State {
    pub(crate) fn of(stat: &Stat) -> State {
        let ns = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the fields' types differ by platform")]
        State {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// False when the file was changed so lately that another change could leave it the same time: the kernel's file
    /// times advance in ticks of up to 10 ms.
    pub(crate) fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as i128;
        now - self.ctime_ns.max(self.mtime_ns) > 50_000_000
    }
}

/// The lines of the index, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Index(Vec<(State, String)>);

impl Index {
    /// Reads the index in the store's directory `roots`. Whatever is wrong with it, the rest is used.
    pub(crate) fn read(roots: BorrowedFd<'_>) -> Index {
        let mut text = Vec::new();
        if let Ok(file) = openat(roots, "index", OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            let _ = File::from(file).take((LINES_MAX * LINE_MAX) as u64).read_to_end(&mut text);
        }
        Index::parse(&text)
    }

    fn parse(text: &[u8]) -> Index {
        let whole = text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
        Index(whole.filter_map(parse_line).collect())
    }

    /// The digest (64 hexadecimal digits) that the file had in this state.
    pub(crate) fn digest(&self, state: &State) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == state).map(|(_, digest)| digest.as_str())
    }

    /// True when some file of this size is known: then this one may be a copy, worth reading before it is unpacked.
    pub(crate) fn knows_size(&self, state: &State) -> bool {
        self.0.iter().any(|(known, _)| known.size == state.size)
    }

    /// Adds what is known of one file now.
    pub(crate) fn note(roots: BorrowedFd<'_>, state: State, digest: &str) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // This file is the lock, and becomes the index. Whoever waited for it finds it renamed: it tries again.
        let file = loop {
            let file = openat(roots, "index.new", flags, Mode::RUSR | Mode::WUSR)?;
            flock(&file, FlockOperation::LockExclusive)?;
            let ours = rustix::fs::fstat(&file)?;
            match rustix::fs::statat(roots, "index.new", rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if named.st_ino == ours.st_ino => break file,
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        };
        let Index(mut lines) = Index::read(roots);
        lines.retain(|(known, _)| (known.dev, known.ino) != (state.dev, state.ino));
        lines.drain(..lines.len().saturating_sub(LINES_MAX - 1));
        lines.push((state, digest.to_owned()));
        let mut text = String::new();
        for (State { dev, ino, size, mtime_ns, ctime_ns }, digest) in &lines {
            let _ = writeln!(text, "{dev} {ino} {size} {mtime_ns} {ctime_ns} sha256:{digest}");
        }
        rustix::fs::ftruncate(&file, 0)?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        renameat(roots, "index.new", roots, "index")?;
        // Only now may the lock go.
        drop(file);
        Ok(())
    }
}

fn parse_line(line: &[u8]) -> Option<(State, String)> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let state = State {
        dev: words.next()?.parse().ok()?,
        ino: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        mtime_ns: words.next()?.parse().ok()?,
        ctime_ns: words.next()?.parse().ok()?,
    };
    let digest = words.next()?.strip_prefix("sha256:")?;
    // It becomes part of a path.
    let is_digest = digest.len() == 64 && digest.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    (is_digest && words.next().is_none()).then(|| (state, digest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_believed() {
        let digest = "0123456789abcdef".repeat(4);
        let line = format!("1 2 3 4 5 sha256:{digest}\n");
        let state = State { dev: 1, ino: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
        assert_eq!(Index::parse(line.as_bytes()).digest(&state), Some(digest.as_str()));
        let upper = line.replace("abcdef", "ABCDEF");
        let longer = line.replace('\n', " more\n");
        let climbing = format!("1 2 3 4 5 sha256:{}\n", "../".repeat(21) + "x");
        for bad in [&line[..line.len() - 1], &line[2..], &line[..30], upper.as_str(), &longer, &climbing, "\n", "\0\n"]
        {
            assert_eq!(Index::parse(bad.as_bytes()).digest(&state), None, "{bad:?}");
            let and_good = [bad.as_bytes(), b"\n", line.as_bytes()].concat();
            assert!(Index::parse(&and_good).digest(&state).is_some(), "{bad:?} hides a good line after it");
        }
        assert_eq!(Index::parse(b"\xff\xfe\n").0.len(), 0);
        for changed in [State { mtime_ns: 5, ..state }, State { ctime_ns: 6, ..state }, State { size: 4, ..state }] {
            assert_eq!(Index::parse(line.as_bytes()).digest(&changed), None);
        }
    }
}

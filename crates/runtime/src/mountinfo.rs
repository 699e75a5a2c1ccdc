//! The kernel's table of a mount namespace. [proc_pid_mountinfo(5)]
//!
//! A hint where things are, never a proof: who may mount in there decides what it says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    /// `MAJOR:MINOR` of its file system.
    pub(crate) device: String,
    /// What of the file system is mounted.
    pub(crate) root: PathBuf,
    /// Where, as the process sees it whose table this is.
    pub(crate) place: PathBuf,
    pub(crate) fstype: String,
}

/// Reads a table; lines that make no sense are left out.
pub(crate) fn parse(table: &str) -> Vec<Entry> {
    table.lines().filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let (before, after) = line.split_once(" - ")?;
    let mut words = before.split(' ');
    Some(Entry {
        id: words.next()?.parse().ok()?,
        parent: words.next()?.parse().ok()?,
        device: words.next()?.to_owned(),
        root: unescaped(words.next()?),
        place: unescaped(words.next()?),
        fstype: after.split(' ').next()?.to_owned(),
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescaped(word: &str) -> PathBuf {
    let bytes = word.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let table = "57 40 0:30 /b/root\\040fs / ro,relatime master:1 - tmpfs tmp rw\n\
                     58 57 0:34 / /a\\134b\\011\\9 rw - proc proc rw\n\
                     nonsense\n\
                     x 57 0:34 / / rw - proc proc rw\n";
        let entries = parse(table);
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].id, entries[0].parent, entries[0].device.as_str()), (57, 40, "0:30"));
        assert_eq!((entries[0].root.to_str(), entries[0].fstype.as_str()), (Some("/b/root fs"), "tmpfs"));
        assert_eq!(entries[1].place.to_str(), Some("/a\\b\t\\9"));
        assert!(parse("").is_empty());
    }

    #[test]
    fn this_process_has_a_root() {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(parse(&table).iter().any(|entry| entry.place.to_str() == Some("/")));
        assert_eq!(parse(&table).len(), table.lines().count());
    }
}

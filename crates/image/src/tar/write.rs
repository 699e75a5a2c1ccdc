//! A writer of tar archives: ustar, with a PAX header before an entry for what ustar cannot say of it.
//!
//! The same entries give the same bytes: nothing comes from the clock, the process or the users of this machine. Records
//! are written for names that do not fit, sizes from 8 GiB, ids from 2 Mi, times before 1970 or with nanoseconds, and
//! extended attributes; a name goes into the ustar fields as its bytes are. Files with holes are written out in full:
//! every reader takes that.

use super::header::BLOCK;
use super::{Entry, Kind, META_MAX, Time};
use std::io::{self, ErrorKind, Read, Write};

/// The most that 11 octal digits say, and 7.
const SIZE_MAX: u64 = 0o77_777_777_777;
const ID_MAX: u32 = 0o7_777_777;

/// Writes entries one after the other.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Bytes of data that the current entry still wants.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// A writer to `out`, which should be buffered unless entries are large.
    pub fn new(out: W) -> Writer<W> {
        Writer { out, left: 0, padding: 0 }
    }

    /// Begins an entry. The data of a file follows, by [`Write`]: as many bytes as its kind says.
    ///
    /// # Errors
    /// Besides those of the stream: `InvalidInput` for what no tar can say.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_entry()?;
        let mut records = Vec::new();
        let header = header_of(entry, &mut records)?;
        if !records.is_empty() {
            if records.len() as u64 > META_MAX {
                return Err(invalid("its names and attributes are too long for a tar"));
            }
            self.out.write_all(&header_of_records(&entry.name, records.len() as u64))?;
            self.out.write_all(&records)?;
            self.out.write_all(zeros(padding(records.len() as u64)))?;
        }
        self.out.write_all(&header)?;
        if let Kind::File { size } = entry.kind {
            (self.left, self.padding) = (size, padding(size));
        }
        Ok(())
    }

    /// A whole file: an entry, and its data from `content`, which may have more.
    pub fn file(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.entry(entry)?;
        let mut content = content.take(self.left);
        io::copy(&mut content, self).map(drop)
    }

    /// A regular file of `root`'s that anyone may read, of 1970: what image archives are made of.
    pub fn plain_file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.file(&Entry::plain(name, Kind::File { size: content.len() as u64 }), &mut &*content)
    }

    /// Writes the end-of-archive marker and gives the stream back.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_entry()?;
        self.out.write_all(zeros(BLOCK))?;
        self.out.write_all(zeros(BLOCK))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn end_entry(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "a file was shorter than its size"));
        }
        self.out.write_all(zeros(std::mem::take(&mut self.padding)))
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).map_or(data.len(), |left| left.min(data.len()));
        let written = self.out.write(&data[..length])?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Entry {
    /// Of `root`, of 1970, readable by anyone.
    pub fn plain(name: &str, kind: Kind) -> Entry {
        let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
        let name = name.as_bytes().to_vec();
        Entry { name, kind, mode, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() }
    }
}

/// The header of an entry; what it cannot say is added to `records`.
fn header_of(entry: &Entry, records: &mut Vec<u8>) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    let mut name = entry.name.clone();
    // Readers tell a directory by this, too.
    if entry.kind == Kind::Directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    if name.is_empty() || name.contains(&0) {
        return Err(invalid("its name cannot be in a tar"));
    }
    match ustar_name(&name) {
        Some((prefix, rest)) => {
            block[345..345 + prefix.len()].copy_from_slice(prefix);
            block[..rest.len()].copy_from_slice(rest);
        }
        None => {
            record(records, b"path", &name);
            cut_into(&mut block[..100], &name);
        }
    }
    let (typeflag, link, size, device) = match &entry.kind {
        Kind::File { size } => (b'0', None, *size, None),
        Kind::Hardlink(target) => (b'1', Some(target), 0, None),
        Kind::Symlink(target) => (b'2', Some(target), 0, None),
        Kind::Char { major, minor } => (b'3', None, 0, Some((*major, *minor))),
        Kind::Block { major, minor } => (b'4', None, 0, Some((*major, *minor))),
        Kind::Directory => (b'5', None, 0, None),
        Kind::Fifo => (b'6', None, 0, None),
    };
    if let Some(target) = link {
        if target.is_empty() || target.contains(&0) {
            return Err(invalid("the target of its link cannot be in a tar"));
        }
        if target.len() > 100 {
            record(records, b"linkpath", target);
        }
        cut_into(&mut block[157..257], target);
    }
    octal(&mut block[100..108], (entry.mode & 0o7777).into());
    octal(&mut block[108..116], id_or_record(records, b"uid", entry.uid));
    octal(&mut block[116..124], id_or_record(records, b"gid", entry.gid));
    octal(&mut block[124..136], if size > SIZE_MAX { 0 } else { size });
    if size > SIZE_MAX {
        record(records, b"size", size.to_string().as_bytes());
    }
    octal(&mut block[136..148], time_or_record(records, entry.mtime));
    block[156] = typeflag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (major, minor) = device.unwrap_or_default();
    octal(&mut block[329..337], major.into());
    octal(&mut block[337..345], minor.into());
    for (name, value) in &entry.xattrs {
        // A record's key ends at the first `=`.
        if name.contains(&b'=') || name.contains(&0) {
            return Err(invalid("the name of an attribute of it cannot be in a tar"));
        }
        record(records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    Ok(sealed(block))
}

/// The header of a PAX header, named after the entry that it is for, which matters to nobody but is customary.
fn header_of_records(name: &[u8], size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let base = if base.is_empty() { b"entry" } else { base };
    cut_into(&mut block[..100], &[b"PaxHeaders.0/", base].concat());
    octal(&mut block[100..108], 0o644);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], 0);
    block[156] = b'x';
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    sealed(block)
}

/// Prefix and name, the slash between them left out, when the two fields can say it.
fn ustar_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The first slash that leaves no more than 100 bytes after it, and something: a directory's own slash is its last.
    let from = name.len().checked_sub(101)?;
    let slash = from + name[from..name.len() - 1].iter().position(|byte| *byte == b'/')?;
    (1..=155).contains(&slash).then(|| (&name[..slash], &name[slash + 1..]))
}

fn id_or_record(records: &mut Vec<u8>, key: &[u8], id: u32) -> u64 {
    if id <= ID_MAX {
        return id.into();
    }
    record(records, key, id.to_string().as_bytes());
    0
}

fn time_or_record(records: &mut Vec<u8>, time: Time) -> u64 {
    let whole = u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= SIZE_MAX);
    match whole {
        Some(seconds) if time.nanoseconds == 0 => seconds,
        whole => {
            record(records, b"mtime", decimal(time).as_bytes());
            whole.unwrap_or(0)
        }
    }
}

/// Seconds and their fraction: half a second before 1970 is -0.5, which `time` has as one before and a half on.
fn decimal(time: Time) -> String {
    let (sign, seconds, nanoseconds) = match (time.seconds, time.nanoseconds) {
        (seconds, nanoseconds @ 1..) if seconds < 0 => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        (seconds, nanoseconds) => (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs(), nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `LENGTH KEY=VALUE\n`, the length counting its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[..digits]);
}

fn cut_into(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn padding(size: u64) -> usize {
    super::padding(size) as usize
}

fn zeros(length: usize) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    &ZEROS[..length.min(BLOCK)]
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn entry(name: &[u8], kind: Kind) -> Entry {
        Entry { name: name.to_vec(), ..Entry::plain("", kind) }
    }

    /// Each of these is read again as it was, with and without a PAX header.
    #[test]
    fn what_is_written_is_what_is_read() {
        let long = |length: usize| [b"d/".as_slice(), &vec![b'n'; length]].concat();
        let deep = [b"0123456789/".repeat(12), b"file".to_vec()].concat();
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let with = |change: &dyn Fn(&mut Entry)| {
            let mut made = entry(b"x", Kind::Fifo);
            change(&mut made);
            made
        };
        let table: Vec<(&str, bool, Entry)> = vec![
            ("file", false, entry(b"a", Kind::File { size: 700 })),
            ("empty", false, entry(b"a", Kind::File { size: 0 })),
            ("block", false, entry(b"a", Kind::File { size: 512 })),
            ("directory", false, entry(b"dir/", Kind::Directory)),
            ("98 + 2", false, entry(&long(98), Kind::Fifo)),
            ("a name too long", true, entry(&long(101), Kind::Fifo)),
            ("in prefix and name", false, entry(&deep, Kind::Fifo)),
            ("longest", true, entry(&long(4093), Kind::Fifo)),
            ("a directory of 101", false, entry(&[long(98).as_slice(), b"/"].concat(), Kind::Directory)),
            ("a directory of 103", true, entry(&[long(100).as_slice(), b"/"].concat(), Kind::Directory)),
            ("bytes", false, entry(b"\xff\n\x01", Kind::Fifo)),
            ("symlink", false, entry(b"l", Kind::Symlink(vec![b't'; 100]))),
            ("long symlink", true, entry(b"l", Kind::Symlink(vec![b't'; 101]))),
            ("hard link", false, entry(b"l", Kind::Hardlink(b"a".to_vec()))),
            ("devices", false, entry(b"c", Kind::Char { major: 4095, minor: 1_048_575 })),
            ("disk", false, entry(b"b", Kind::Block { major: 8, minor: 0 })),
            ("ids", false, with(&|e| (e.uid, e.gid) = (ID_MAX, 5))),
            ("big ids", true, with(&|e| (e.uid, e.gid) = (ID_MAX + 1, u32::MAX - 1))),
            ("mode", false, with(&|e| e.mode = 0o7777)),
            ("nanoseconds", true, with(&|e| e.mtime = time(1_700_000_000, 120_000_000))),
            ("before 1970", true, with(&|e| e.mtime = time(-3, 0))),
            ("a quarter second before", true, with(&|e| e.mtime = time(-1, 750_000_000))),
            ("far future", true, with(&|e| e.mtime = time(0o100_000_000_000, 0))),
            (
                "attributes",
                true,
                with(&|e| e.xattrs = vec![(b"user.a".to_vec(), b"\n=\0".to_vec()), (b"user.b".to_vec(), vec![])]),
            ),
        ];
        for (name, extended, expected) in &table {
            let mut writer = Writer::new(Vec::new());
            writer.file(expected, &mut io::repeat(7)).unwrap();
            let bytes = writer.finish().unwrap();
            assert_eq!(bytes.get(156) == Some(&b'x'), *extended, "{name}");
            assert!(bytes.len().is_multiple_of(BLOCK), "{name}");
            let mut reader = Reader::new(bytes.as_slice());
            assert_eq!(reader.next().unwrap().as_ref(), Some(expected), "{name}");
            assert!(reader.next().unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn sizes_that_octal_cannot_say() {
        let mut writer = Writer::new(Vec::new());
        writer.entry(&entry(b"a", Kind::File { size: 8 << 30 })).unwrap();
        let mut reader = Reader::new(writer.out.as_slice());
        assert_eq!(reader.next().unwrap().unwrap().kind, Kind::File { size: 8 << 30 });
    }

    #[test]
    fn what_no_tar_can_say() {
        let attribute = Entry { xattrs: vec![(b"user.a=b".to_vec(), vec![])], ..entry(b"a", Kind::Fifo) };
        let huge = Entry { xattrs: vec![(b"user.a".to_vec(), vec![0; 2 << 20])], ..entry(b"a", Kind::Fifo) };
        for bad in
            [entry(b"", Kind::Fifo), entry(b"a\0", Kind::Fifo), entry(b"a", Kind::Symlink(vec![])), attribute, huge]
        {
            assert_eq!(Writer::new(Vec::new()).entry(&bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
        let mut short = Writer::new(Vec::new());
        short.entry(&entry(b"a", Kind::File { size: 3 })).unwrap();
        assert_eq!(short.finish().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn lengths_that_count_themselves() {
        for length in 0..1200 {
            let mut records = Vec::new();
            record(&mut records, b"k", &vec![b'v'; length]);
            let told: usize = std::str::from_utf8(&records).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, records.len());
        }
    }
}

//! What the tests share: a scratch directory, a builder of archives that checks nothing, and pictures of trees.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("image-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    /// Writes `bytes` to a file and unpacks it into a store of its own.
    pub(crate) fn unpack(&self, bytes: &[u8]) -> Result<image::Unpacked, image::Error> {
        let tar = self.0.join("archive");
        std::fs::write(&tar, bytes).unwrap();
        self.store().archive(&tar)
    }

    pub(crate) fn store(&self) -> image::Store {
        image::Store::open(&self.0.join("data")).unwrap()
    }

    /// The names in the store's `roots`.
    pub(crate) fn roots(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join("data/roots")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The trees in `roots`, whole or half made.
    pub(crate) fn trees(&self) -> Vec<String> {
        self.roots().into_iter().filter(|name| !name.starts_with("index")).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::process::Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

/// xorshift64: the same numbers on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// One header, all fields free.
#[derive(Clone)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) typeflag: u8,
    pub(crate) size: u64,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: (u32, u32),
}

impl Header {
    pub(crate) fn new(name: impl AsRef<[u8]>, typeflag: u8) -> Header {
        let (name, link) = (name.as_ref().to_vec(), Vec::new());
        let mode = if typeflag == b'5' { 0o755 } else { 0o644 };
        Header { name, typeflag, size: 0, link, mode, uid: 0, gid: 0, device: (0, 0) }
    }

    pub(crate) fn bytes(&self) -> [u8; 512] {
        let mut block = [0; 512];
        block[..self.name.len()].copy_from_slice(&self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.uid.into());
        octal(&mut block[116..124], self.gid.into());
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], 1_600_000_000);
        block[156] = self.typeflag;
        block[157..157 + self.link.len()].copy_from_slice(&self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        sealed(block)
    }
}

pub(crate) fn octal(field: &mut [u8], value: u64) {
    let text = format!("{value:0width$o}", width = field.len() - 1);
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// The header with its checksum made right.
pub(crate) fn sealed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// An archive being written.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Tar {
        Tar::default()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Tar {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A header and its data, filled up to whole blocks.
    pub(crate) fn entry(self, header: Header, data: &[u8]) -> Tar {
        let padding = data.len().wrapping_neg() % 512;
        self.raw(&header.bytes()).raw(data).raw(&vec![0; padding])
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, data: &[u8]) -> Tar {
        self.entry(Header { size: data.len() as u64, ..Header::new(name, b'0') }, data)
    }

    pub(crate) fn directory(self, name: impl AsRef<[u8]>) -> Tar {
        self.entry(Header::new(name, b'5'), b"")
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: &str) -> Tar {
        self.entry(Header { link: target.into(), ..Header::new(name, b'2') }, b"")
    }

    pub(crate) fn hardlink(self, name: impl AsRef<[u8]>, target: &str) -> Tar {
        self.entry(Header { link: target.into(), ..Header::new(name, b'1') }, b"")
    }

    /// Only a header or a header with data, of type `typeflag`, as `x`, `g`, `L` and `K` are.
    pub(crate) fn meta(self, typeflag: u8, data: &[u8]) -> Tar {
        self.entry(Header { size: data.len() as u64, ..Header::new("meta", typeflag) }, data)
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        self.meta(b'x', &pax_records(records))
    }

    /// The archive with its end marker.
    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

pub(crate) fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
        all.extend_from_slice(format!("{length} {key}=").as_bytes());
        all.extend_from_slice(value);
        all.push(b'\n');
    }
    all
}

/// Everything that can be seen of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    pub(crate) links: u64,
    /// The first name, in order, of the same inode.
    pub(crate) same_as: PathBuf,
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// All files below (and with) `root`.
pub(crate) fn picture(root: &Path) -> BTreeMap<PathBuf, Picture> {
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = root.join(&path);
        let meta = match std::fs::symlink_metadata(&full) {
            // Overlayfs lists whiteouts of what is not there anyway, though it does not find them.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            found => found.unwrap(),
        };
        let kind = meta.file_type();
        let (kind, content) = if kind.is_dir() {
            let mut below: Vec<_> =
                std::fs::read_dir(&full).unwrap().map(|e| path.join(e.unwrap().file_name())).collect();
            below.sort();
            left.extend(below.into_iter().rev());
            ("directory", Vec::new())
        } else if kind.is_symlink() {
            ("symlink", std::fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec())
        } else if kind.is_file() {
            ("file", content(&full, meta.len()))
        } else if kind.is_fifo() {
            ("fifo", Vec::new())
        } else if kind.is_char_device() {
            ("char", Vec::new())
        } else {
            ("block", Vec::new())
        };
        let is_directory = kind == "directory";
        let picture = Picture {
            kind,
            mode: meta.permissions().mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            size: if is_directory { 0 } else { meta.size() },
            mtime: (meta.mtime(), meta.mtime_nsec()),
            device: meta.rdev(),
            links: if is_directory { 0 } else { meta.nlink() },
            same_as: inodes.entry(meta.ino()).or_insert(path.clone()).clone(),
            content,
            xattrs: xattrs(&full),
        };
        all.insert(path, picture);
    }
    all
}

/// The content, or of a very large (sparse) file its ends.
fn content(path: &Path, size: u64) -> Vec<u8> {
    if size < 64 << 20 {
        return std::fs::read(path).unwrap();
    }
    let file = std::fs::File::open(path).unwrap();
    let mut ends = vec![0; 2 << 20];
    file.read_exact_at(&mut ends[..1 << 20], 0).unwrap();
    file.read_exact_at(&mut ends[1 << 20..], size - (1 << 20)).unwrap();
    ends
}

pub(crate) fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (String::from_utf8(name.to_vec()).unwrap(), value(name))).collect()
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&OsStr]) {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}, which this test needs: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// As [`run`], by the shell, in a directory.
pub(crate) fn shell(directory: &Path, script: &str) {
    let output = std::process::Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

//! A reader of tar archives: ustar, GNU and PAX, from a stream, in bounded memory. ([`Writer`] is in `write.rs`.)
//!
//! What comes in is hostile. These hold at all times:
//! - No header is believed before its checksum is. No size, length or count from the archive sizes an allocation beyond
//!   [`META_MAX`] and [`sparse::EXTENTS_MAX`].
//! - How many bytes of data follow a header is decided in one place ([`Reader::next`]): the PAX `size` when there is
//!   one, else the header's field, for every kind of entry alike. Readers that disagree on this see different archives
//!   in the same bytes (CVE-2025-62518); so a kind that has no data but claims some is refused, not guessed at, as are
//!   a second `x`, `L` or `K` header for one entry and a global header that speaks of names, sizes or attributes.
//! - The archive ends with two blocks of zeros. One that ends without them is truncated, even at a block's border:
//!   nothing else tells a whole archive from half of one, and every writer we know of writes them. One block of zeros
//!   and then the end of the stream is let pass, as GNU tar does. After the marker only zeros may follow.
//! - A layer's digest tells whether it is whole. There the marker, and the padding before it, may be missing
//!   ([`Reader::of_layer`]): `umoci insert` leaves them away, and Go's reader does not mind.
//!
//! Precedence of names: PAX `GNU.sparse.name`, PAX `path`, GNU `L`, ustar prefix and name. Access control lists
//! (`SCHILY.acl.*`), SELinux labels (`RHT.*`) and `LIBARCHIVE.xattr.*` (which bsdtar writes beside `SCHILY.xattr.*`)
//! are not read. [POSIX pax(1); GNU tar manual, "Basic Tar Format", "Storing Sparse Files"]

mod header;
mod pax;
mod sparse;
mod write;

use crate::error::Fault;
use header::{BLOCK, Header};
use pax::Records;
use sparse::Extent;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub use write::Writer;

/// The most bytes that one extended header (`x g L K`), or all global ones together, may have.
pub const META_MAX: u64 = 1 << 20;

/// The longest name or link target, in bytes: what one system call takes (`PATH_MAX` less the final NUL).
pub const NAME_MAX: usize = 4095;

/// A point in time as the archive tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds to add to `seconds`, 0 to 999 999 999.
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of this many bytes, holes included. [`Reader::data`] gives its content.
    File {
        /// Apparent size in bytes.
        size: u64,
    },
    /// Another name of the file that an earlier entry made.
    Hardlink(Vec<u8>),
    /// A symbolic link and where it points.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// One entry of an archive, all headers that speak of it put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive: any bytes but NUL, perhaps absolute, perhaps with `..`. Never empty.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The lower twelve mode bits.
    pub mode: u32,
    /// Owner. Never `u32::MAX`, which means "nobody" to the kernel.
    pub uid: u32,
    /// Group. Never `u32::MAX`.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Extended attributes (`SCHILY.xattr.*`), in the archive's order, names as they stand there.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads entries one after the other from an uncompressed archive.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes read from `input`.
    offset: u64,
    global: Records,
    global_bytes: u64,
    /// The entry whose data is being read, for messages.
    current: PathBuf,
    /// Where the data of the current entry goes, the next extent last.
    extents: Vec<Extent>,
    /// Bytes of data of the current entry not read yet, without padding.
    stored: u64,
    padding: u64,
    ended: bool,
    /// Whether something else tells that it is whole.
    is_layer: bool,
}

/// The headers that precede an entry's own.
#[derive(Default)]
struct Extra {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Records>,
}

impl<R: BufRead> Reader<R> {
    /// A reader of the archive that `input` yields.
    pub fn new(input: R) -> Reader<R> {
        Reader {
            input,
            offset: 0,
            global: Records::default(),
            global_bytes: 0,
            current: PathBuf::new(),
            extents: Vec::new(),
            stored: 0,
            padding: 0,
            ended: false,
            is_layer: false,
        }
    }

    /// A reader of the archive of a layer, which the caller holds against its digest.
    pub fn of_layer(input: R) -> Reader<R> {
        Reader { is_layer: true, ..Reader::new(input) }
    }

    /// The next entry, or `None` after the end-of-archive marker. What is left of the last entry's data is skipped.
    #[expect(clippy::should_implement_trait, reason = "an error ends it, and entries' data is read between calls")]
    pub fn next(&mut self) -> Result<Option<Entry>, Fault> {
        if self.ended {
            return Ok(None);
        }
        self.skip_data()?;
        let mut extra = Extra::default();
        loop {
            let mut block = [0; BLOCK];
            // One that is not there reads as one of zeros.
            self.header_block(&mut block)?;
            let header = Header::new(&block);
            if header.is_zero() {
                if extra.name.is_some() || extra.link.is_some() || extra.pax.is_some() {
                    return Err(Fault::Orphan { offset: self.offset });
                }
                return self.end().map(|()| None);
            }
            if !header.checksum_matches() {
                let offset = self.offset - BLOCK as u64;
                return Err(match offset {
                    0 => Fault::NotTar { looks_like: crate::sniff::looks_like(&block) },
                    _ => Fault::Checksum { offset },
                });
            }
            match header.typeflag() {
                b'x' | b'X' => self.once(extra.pax.is_some())?.local_header(&header, &mut extra)?,
                b'L' => extra.name = Some(self.once(extra.name.is_some())?.long_string(&header)?),
                b'K' => extra.link = Some(self.once(extra.link.is_some())?.long_string(&header)?),
                b'g' => self.global_header(&header)?,
                // The archive's own label, which GNU tar writes with --label: not a file.
                b'V' => self.meta(&header).map(drop)?,
                _ => return self.entry(&header, extra).map(Some),
            }
        }
    }

    /// Gives the current entry's data to `sink`, piece by piece: where in the file, and the bytes. Holes of sparse
    /// files are left out. Does nothing for an entry that is not a file.
    pub fn data<E: From<Fault>>(&mut self, mut sink: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(extent) = self.extents.last_mut() {
            if extent.length == 0 {
                self.extents.pop();
                continue;
            }
            let piece = match self.input.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::read(self.offset, error).into()),
            };
            if piece.is_empty() {
                return Err(self.truncated().into());
            }
            let length = usize::try_from(extent.length).map_or(piece.len(), |left| left.min(piece.len()));
            sink(extent.offset, &piece[..length])?;
            self.input.consume(length);
            let length = length as u64;
            extent.offset += length;
            extent.length -= length;
            self.offset += length;
            self.stored -= length;
        }
        Ok(())
    }

    /// Bytes of data that the archive still holds for the current entry: its size without holes, before it is read.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Where in the archive the next byte is that will be read: after [`Reader::next`], the current entry's data.
    pub fn position(&self) -> u64 {
        self.offset
    }

    fn skip_data(&mut self) -> Result<(), Fault> {
        self.extents.clear();
        let mut left = u128::from(self.stored) + u128::from(self.padding);
        while left > 0 {
            let length = match self.input.fill_buf() {
                Ok([]) if self.is_layer && left <= u128::from(self.padding) => break,
                Ok([]) => return Err(self.truncated()),
                Ok(piece) => usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len())),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::read(self.offset, error)),
            };
            self.input.consume(length);
            left -= length as u128;
            self.offset += length as u64;
        }
        (self.stored, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads one block; how much of it there was.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<usize, Fault> {
        self.fill(block)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::read(self.offset + filled as u64, error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn header_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), Fault> {
        let first = self.offset == 0;
        match self.block(block)? {
            BLOCK => Ok(()),
            0 if first => Err(Fault::NoBytes),
            some if first => Err(Fault::NotTar { looks_like: crate::sniff::looks_like(&block[..some]) }),
            0 if self.is_layer => Ok(()),
            0 => Err(Fault::NoEnd { offset: self.offset }),
            _ => Err(self.truncated()),
        }
    }

    /// One block of zeros was read: the other must follow, and then nothing but zeros.
    fn end(&mut self) -> Result<(), Fault> {
        loop {
            let length = match self.input.fill_buf() {
                Ok([]) => break,
                Ok(piece) if piece.iter().all(|byte| *byte == 0) => piece.len(),
                Ok(_) => return Err(Fault::Trailing { offset: self.offset }),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::read(self.offset, error)),
            };
            self.input.consume(length);
            self.offset += length as u64;
        }
        self.ended = true;
        Ok(())
    }

    fn once(&mut self, seen: bool) -> Result<&mut Self, Fault> {
        if seen { Err(Fault::Twice { offset: self.offset - BLOCK as u64 }) } else { Ok(self) }
    }

    /// The content of an extended header: its own size field counts, whatever a PAX header before it says of the entry.
    fn meta(&mut self, header: &Header<'_>) -> Result<Vec<u8>, Fault> {
        let offset = self.offset - BLOCK as u64;
        let size = header.size().ok_or(Fault::Number { field: "size", offset })?;
        if size > META_MAX {
            return Err(Fault::MetaTooBig { offset, size });
        }
        let mut content = vec![0; size as usize];
        if self.fill(&mut content)? < content.len() {
            return Err(self.truncated());
        }
        self.padding = padding(size);
        self.skip_data()?;
        Ok(content)
    }

    fn long_string(&mut self, header: &Header<'_>) -> Result<Vec<u8>, Fault> {
        let content = self.meta(header)?;
        Ok(header::until_nul(&content).to_vec())
    }

    fn local_header(&mut self, header: &Header<'_>, extra: &mut Extra) -> Result<(), Fault> {
        let offset = self.offset - BLOCK as u64;
        let content = self.meta(header)?;
        extra.pax = Some(Records::parse(&content).map_err(|reason| Fault::Pax { offset, reason })?);
        Ok(())
    }

    fn global_header(&mut self, header: &Header<'_>) -> Result<(), Fault> {
        let offset = self.offset - BLOCK as u64;
        let content = self.meta(header)?;
        self.global_bytes += content.len() as u64;
        if self.global_bytes > META_MAX {
            return Err(Fault::MetaTooBig { offset, size: self.global_bytes });
        }
        let records = Records::parse(&content).map_err(|reason| Fault::Pax { offset, reason })?;
        if records.names_one_entry() {
            return Err(Fault::Pax { offset, reason: "a global header sets names, links, sizes, holes or attributes" });
        }
        self.global = std::mem::take(&mut self.global).overridden_by(records);
        Ok(())
    }

    /// Puts an entry together from its header and those before it, and gets ready to read its data.
    fn entry(&mut self, header: &Header<'_>, extra: Extra) -> Result<Entry, Fault> {
        let offset = self.offset - BLOCK as u64;
        let pax = match extra.pax {
            Some(local) => self.global.clone().overridden_by(local),
            None => self.global.clone(),
        };
        let name = pax.sparse_name.or(pax.path).or(extra.name).unwrap_or_else(|| header.name());
        let link = pax.linkpath.or(extra.link).unwrap_or_else(|| header.link());
        self.current = PathBuf::from(OsStr::from_bytes(&name));
        check_name(&self.current, &name)?;

        let number = |field, value: Option<u64>| value.ok_or(Fault::Number { field, offset });
        let size = match pax.size {
            Some(size) => size,
            None => number("size", header.size())?,
        };
        let is_directory = name.ends_with(b"/");
        let kind = match header.typeflag() {
            // Before ustar a directory was a file whose name ends in a slash.
            b'0' | 0 | b'7' | b'S' if !is_directory => Kind::File { size },
            b'0' | 0 | b'5' => Kind::Directory,
            b'1' => Kind::Hardlink(link),
            b'2' => Kind::Symlink(link),
            b'3' => device(header, offset).map(|(major, minor)| Kind::Char { major, minor })?,
            b'4' => device(header, offset).map(|(major, minor)| Kind::Block { major, minor })?,
            b'6' => Kind::Fifo,
            other => {
                return Err(Fault::Type { entry: self.current.clone(), typeflag: other.escape_ascii().to_string() });
            }
        };
        if let Kind::Hardlink(target) | Kind::Symlink(target) = &kind {
            check_target(&self.current, target)?;
        }
        let kind = self.plan_data(header, kind, size, pax.sparse)?;
        Ok(Entry {
            name,
            kind,
            mode: number("mode", header.mode())? as u32,
            uid: id(pax.uid, header.uid()).ok_or(Fault::Number { field: "uid", offset })?,
            gid: id(pax.gid, header.gid()).ok_or(Fault::Number { field: "gid", offset })?,
            mtime: pax.mtime.or(header.mtime()).ok_or(Fault::Number { field: "mtime", offset })?,
            xattrs: pax.xattrs,
        })
    }

    /// Decides what the bytes after the header are: the one place that does.
    fn plan_data(&mut self, header: &Header<'_>, kind: Kind, size: u64, holes: sparse::Pax) -> Result<Kind, Fault> {
        let entry = || self.current.clone();
        let Kind::File { .. } = kind else {
            if size != 0 {
                return Err(Fault::Size { entry: entry(), size });
            }
            if !holes.is_none() {
                return Err(Fault::Sparse { entry: entry(), reason: "only a file can have holes" });
            }
            (self.stored, self.padding) = (0, 0);
            return Ok(kind);
        };
        let bad = |entry: PathBuf| move |reason| Fault::Sparse { entry, reason };
        self.padding = padding(size);
        self.stored = size;
        let map = if header.typeflag() == b'S' {
            if !holes.is_none() {
                return Err(Fault::Sparse { entry: entry(), reason: "two ways of telling holes at once" });
            }
            Some(self.old_gnu_map(header)?)
        } else if holes.is_version_1() {
            Some(self.version_1_map(&holes)?)
        } else {
            holes.version_0_map().map_err(bad(entry()))?
        };
        let Some(mut map) = map else {
            self.extents = vec![Extent { offset: 0, length: size }];
            return Ok(kind);
        };
        map.check(self.stored).map_err(bad(self.current.clone()))?;
        map.extents.reverse();
        self.extents = map.extents;
        Ok(Kind::File { size: map.size })
    }

    /// The map of a `S` entry: in its header and in blocks after it, which its size does not count.
    fn old_gnu_map(&mut self, header: &Header<'_>) -> Result<sparse::Map, Fault> {
        let bad = |entry: &PathBuf, reason| Fault::Sparse { entry: entry.clone(), reason };
        let (mut map, mut more) = sparse::Map::of_header(header).map_err(|reason| bad(&self.current, reason))?;
        while more {
            let mut block = [0; BLOCK];
            if self.block(&mut block)? < BLOCK {
                return Err(self.truncated());
            }
            more = map.extend(&block).map_err(|reason| bad(&self.current, reason))?;
        }
        Ok(map)
    }

    /// The map of a version 1.0 entry: lines at the start of the data, filled up to whole blocks.
    fn version_1_map(&mut self, holes: &sparse::Pax) -> Result<sparse::Map, Fault> {
        let bad = |entry: &PathBuf, reason| Fault::Sparse { entry: entry.clone(), reason };
        let mut lines = sparse::Lines::default();
        loop {
            if self.stored < BLOCK as u64 {
                return Err(bad(&self.current, "its map is longer than its data"));
            }
            let mut block = [0; BLOCK];
            if self.block(&mut block)? < BLOCK {
                return Err(self.truncated());
            }
            self.stored -= BLOCK as u64;
            if lines.take(&block).map_err(|reason| bad(&self.current, reason))? {
                return lines.map(holes).map_err(|reason| bad(&self.current, reason));
            }
        }
    }

    fn truncated(&self) -> Fault {
        Fault::Truncated { offset: self.offset, entry: self.current.clone() }
    }
}

impl<R: Read + Seek> Reader<BufReader<R>> {
    /// Passes over the current entry's data without reading it. That the archive ends within it shows at the next entry,
    /// which is not there then.
    pub fn pass_data(&mut self) -> Result<(), Fault> {
        self.extents.clear();
        let left = self.stored.checked_add(self.padding).and_then(|left| i64::try_from(left).ok());
        let left = left.ok_or_else(|| self.truncated())?;
        self.input.seek_relative(left).map_err(|error| Fault::read(self.offset, error))?;
        self.offset = self.offset.saturating_add(left.unsigned_abs());
        (self.stored, self.padding) = (0, 0);
        Ok(())
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn id(pax: Option<u64>, header: Option<u64>) -> Option<u32> {
    pax.or(header).and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX)
}

fn device(header: &Header<'_>, offset: u64) -> Result<(u32, u32), Fault> {
    let (major, minor) = header.device().ok_or(Fault::Number { field: "device", offset })?;
    // What the kernel can hold: 12 bits of major number and 20 of minor number.
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(Fault::Number { field: "device", offset });
    }
    Ok((major as u32, minor as u32))
}

fn check_name(entry: &std::path::Path, name: &[u8]) -> Result<(), Fault> {
    let reason = match name {
        [] => "it is empty",
        name if name.len() > NAME_MAX => "it is longer than 4095 bytes",
        name if name.contains(&0) => "it has a NUL byte",
        _ => return Ok(()),
    };
    Err(Fault::Name { entry: shortened(entry), reason })
}

fn check_target(entry: &std::path::Path, target: &[u8]) -> Result<(), Fault> {
    let reason = match target {
        [] => "it is empty",
        target if target.len() > NAME_MAX => "it is longer than 4095 bytes",
        target if target.contains(&0) => "it has a NUL byte",
        _ => return Ok(()),
    };
    Err(Fault::Target { entry: entry.to_owned(), reason })
}

/// A name fit for a message.
fn shortened(name: &std::path::Path) -> PathBuf {
    let bytes = name.as_os_str().as_bytes();
    PathBuf::from(OsStr::from_bytes(&bytes[..bytes.len().min(100)]))
}

//! A layer's tar becomes an image.
//!
//! Content goes to the image as it comes; the tree is in memory until the archive ends. Names mean what they mean in
//! [`crate::unpack`], see there for each trick that an archive may try; here the tree in memory is all there is.
//!
//! On top of that come the marks of a layer, which are files by their names only [image-spec, layer.md]:
//! - `.wh.NAME` takes `NAME` of lower layers away: it becomes a character device 0/0, overlayfs's own mark. What this
//!   very layer has of that name stays, before or after it; a directory that stays is opaque.
//! - `.wh..wh..opq` in a directory hides all that lower layers have in it.
//! - Other names with `.wh..wh.` were aufs's own. They are ignored, with what is below them.
//!
//! A hard link must go to a file of this layer: what a lower one has is not here to be linked to.

use super::chunks;
use super::format::{BLOCK, Label, device_number, kind};
use super::metadata::Plan;
use super::output::Output;
use super::tree::{Attributes, Body, Content, Id, Place, Run, Tree};
use super::{Layer, Limits, xattrs};
use crate::error::Fault;
use crate::room::{ENTRY_COST, Room, shown};
use crate::tar::{Entry, Kind, Reader};
use crate::unpack::marks::{Mark, mark};
use crate::unpack::place::{normal, split};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::fs::File;
use std::io::BufRead;

pub(super) fn write<R: BufRead>(tar: R, out: &File, limits: &Limits) -> Result<Layer, Fault> {
    let mut reader = Reader::of_layer(tar);
    let mut writer = Writer {
        tree: Tree::new(),
        out: Output::new(out),
        room: Room::default(),
        // Nodes are told apart by 32 bits.
        limits: Limits { entries: limits.entries.min(1 << 31), ..*limits },
        last: None,
        entries: 0,
        names: 0,
    };
    while let Some(entry) = reader.next()? {
        writer.add(entry, &mut reader)?;
    }
    writer.finish()
}

struct Writer<'a> {
    tree: Tree,
    out: Output<'a>,
    room: Room,
    limits: Limits,
    /// The directory last entered, by its name in the archive: entries of one mostly come together.
    last: Option<(Vec<u8>, Id)>,
    entries: u64,
    /// Bytes held in memory for names and the like.
    names: u64,
}

impl Writer<'_> {
    fn add<R: BufRead>(&mut self, entry: Entry, reader: &mut Reader<R>) -> Result<(), Fault> {
        self.entries += 1;
        let label = &entry.name;
        let bad = |reason| Fault::Name { entry: shown(label), reason };
        let path = normal(label).map_err(bad)?;
        self.hold(label, label.len())?;
        if path.is_empty() {
            if entry.kind != Kind::Directory {
                return Err(bad("it is the root's, but the entry is no directory"));
            }
            let attributes = self.attributes(&entry)?;
            let root = self.tree.get_mut(Id::ROOT);
            root.attributes = attributes;
            if let Body::Directory(directory) = &mut root.body {
                directory.implied = false;
            }
            return Ok(());
        }
        let what = mark(&path).map_err(bad)?;
        if what == Mark::Ignored {
            return Ok(());
        }
        self.room.take(self.out.file().as_fd(), ENTRY_COST, label)?;
        let (parent, name) = split(&path);
        let parent = self.enter(parent, label)?;
        match what {
            Mark::Opaque => {
                if let Body::Directory(directory) = &mut self.tree.get_mut(parent).body {
                    directory.opaque = true;
                }
            }
            Mark::Whiteout(name) => self.whiteout(parent, name, label)?,
            _ => self.put(parent, name, &entry, reader)?,
        }
        if self.tree.len() as u64 > self.limits.entries || self.entries > self.limits.entries {
            return Err(Fault::TooMany { entry: shown(label), limit: self.limits.entries });
        }
        Ok(())
    }

    fn enter(&mut self, parent: &[u8], label: &[u8]) -> Result<Id, Fault> {
        if let Some((path, id)) = &self.last
            && path == parent
        {
            return Ok(*id);
        }
        let id = self.tree.enter(parent);
        let id = id.map_err(|error| self.room.fault("find the directory of", label, error))?;
        self.last = Some((parent.to_vec(), id));
        Ok(id)
    }

    fn put<R: BufRead>(&mut self, parent: Id, name: &[u8], entry: &Entry, reader: &mut Reader<R>) -> Result<(), Fault> {
        let label = &entry.name;
        let body = match &entry.kind {
            Kind::Directory => {
                let attributes = self.attributes(entry)?;
                // Another directory may take the name of what was no directory, so what was entered may be gone.
                self.last = None;
                let made = self.tree.make_directory(parent, name, attributes, false);
                return made.map(drop).map_err(|error| self.room.fault("make", label, error));
            }
            Kind::Hardlink(target) => {
                let id = self.link_target(target, label)?;
                if self.tree.named(parent, name) == Some(id) {
                    return Ok(());
                }
                if let Body::Directory(_) = self.tree.get(id).body {
                    let (entry, target) = (shown(label), shown(target));
                    return Err(Fault::Link { entry, target, source: Errno::PERM });
                }
                return self.link(parent, name, id, label);
            }
            Kind::File { size } => Body::File(self.content(*size, label, reader)?),
            Kind::Symlink(target) => {
                self.hold(label, target.len())?;
                Body::Symlink(target.as_slice().into())
            }
            Kind::Fifo => Body::Special(kind::FIFO, 0),
            Kind::Char { major: 0, minor: 0 } => return Err(Fault::Whiteout { entry: shown(label) }),
            Kind::Char { major, minor } => Body::Special(kind::CHAR, device_number(*major, *minor)),
            Kind::Block { major, minor } => Body::Special(kind::BLOCK, device_number(*major, *minor)),
        };
        let mut attributes = self.attributes(entry)?;
        if let Body::Symlink(_) = body {
            // A symlink has no mode.
            attributes.mode = 0o777;
        }
        let id = self.tree.add(attributes, body);
        self.link(parent, name, id, label)
    }

    fn link(&mut self, parent: Id, name: &[u8], id: Id, label: &[u8]) -> Result<(), Fault> {
        // What had the name may be the directory last entered, or lie above it.
        if self.tree.named(parent, name).is_some() {
            self.last = None;
        }
        self.tree.link(parent, name, id).map_err(|error| self.room.fault("make", label, error))
    }

    fn link_target(&self, target: &[u8], label: &[u8]) -> Result<Id, Fault> {
        let bad = |reason| Fault::Target { entry: shown(label), reason };
        let failed = |source| match source {
            Errno::NOENT => Fault::LinkBelow { entry: shown(label), target: shown(target) },
            source => Fault::Link { entry: shown(label), target: shown(target), source },
        };
        let path = normal(target).map_err(bad)?;
        let (directory, name) = split(&path);
        if name.is_empty() {
            return Err(bad("it is the root itself"));
        }
        let directory = self.tree.find_directory(directory).map_err(failed)?;
        self.tree.child(directory, name).ok_or_else(|| failed(Errno::NOENT))
    }

    fn whiteout(&mut self, parent: Id, name: &[u8], label: &[u8]) -> Result<(), Fault> {
        match self.tree.named(parent, name).map(|id| &mut self.tree.get_mut(id).body) {
            Some(Body::Directory(directory)) => directory.opaque = true,
            Some(_) => {}
            None => {
                let id = self.tree.add(Attributes::default(), Body::Whiteout);
                self.link(parent, name, id, label)?;
            }
        }
        Ok(())
    }

    fn attributes(&mut self, entry: &Entry) -> Result<Attributes, Fault> {
        let kept = xattrs::of_entry(&entry.xattrs, &entry.kind).map_err(|(name, source)| Fault::Xattr {
            entry: shown(&entry.name),
            name: shown(&name),
            source,
        })?;
        self.hold(&entry.name, kept.xattrs.as_ref().map_or(0, |xattrs| xattrs.len()))?;
        let mode = (entry.mode & 0o7777) as u16;
        Ok(Attributes {
            mode: kept.permissions.map_or(mode, |permissions| mode & 0o7000 | permissions),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: kept.xattrs,
        })
    }

    /// Appends a file's content to the image, whole blocks that have nothing left out.
    fn content<R: BufRead>(&mut self, size: u64, label: &[u8], reader: &mut Reader<R>) -> Result<Content, Fault> {
        let stored = reader.stored();
        self.fits(stored, label)?;
        self.room.take(self.out.file().as_fd(), stored.saturating_add(BLOCK as u64), label)?;
        let mut placer = Placer::new(size);
        let (out, room) = (&mut self.out, &self.room);
        reader
            .data(|offset, piece| placer.take(offset, piece, out).map_err(|error| room.fault("write", label, error)))?;
        let place = placer.finish(size, out).map_err(|error| room.fault("write", label, error))?;
        if let Place::Runs(runs) = &place {
            self.hold(label, size_of_val::<[Run]>(runs))?;
        }
        self.fits(0, label)?;
        Ok(Content { size, device: 0, place })
    }

    /// That the image may have this many bytes more.
    fn fits(&self, bytes: u64, label: &[u8]) -> Result<(), Fault> {
        let limit = self.limits.bytes;
        if self.out.position().saturating_add(bytes) > limit {
            return Err(Fault::TooBig { entry: shown(label), limit });
        }
        Ok(())
    }

    /// That memory may hold this many bytes more.
    fn hold(&mut self, label: &[u8], bytes: usize) -> Result<(), Fault> {
        self.names = self.names.saturating_add(bytes as u64);
        let limit = self.limits.names;
        if self.names > limit { Err(Fault::TooMuch { entry: shown(label), limit }) } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Layer, Fault> {
        self.tree.write_marks();
        let content = self.out.position() - BLOCK as u64;
        let plan = Plan::of(&self.tree);
        self.fits(plan.bytes(), b"/")?;
        self.room.take(self.out.file().as_fd(), plan.bytes(), b"/")?;
        let label = if plan.marked { Label::Marked } else { Label::Layer };
        let bytes = plan.write(&self.tree, label, 0, self.out);
        let bytes = bytes.map_err(|error| self.room.fault("write the inode of", b"/", error))?;
        Ok(Layer { bytes, content, entries: self.entries, needs_merge: plan.marked })
    }
}

/// Puts one file's pieces into the image, in whole units that leave holes out.
struct Placer {
    /// Bytes that have data or are a hole together.
    unit: u64,
    runs: Vec<Run>,
    /// Where in the file the last piece ended.
    end: u64,
}

impl Placer {
    fn new(size: u64) -> Placer {
        Placer { unit: (BLOCK as u64) << chunks::least_bits(size), runs: Vec::new(), end: 0 }
    }

    fn take(&mut self, offset: u64, piece: &[u8], out: &mut Output<'_>) -> Result<(), Errno> {
        if self.runs.is_empty() || offset > self.end {
            let unit = offset / self.unit * self.unit;
            if self.runs.is_empty() || unit > self.end.next_multiple_of(self.unit) {
                self.close(self.end.next_multiple_of(self.unit), out)?;
                self.runs.push(Run { at: unit / BLOCK as u64, blocks: 0, from: out.block()? });
                self.end = unit;
            }
            // In a unit that has data already, or right behind one: zeros.
            out.zeros_to(out.position() + (offset - self.end))?;
        }
        self.end = offset + piece.len() as u64;
        out.append(piece)
    }

    /// Ends the last run where the file has come to `end`, a block's border.
    fn close(&mut self, end: u64, out: &mut Output<'_>) -> Result<(), Errno> {
        if let Some(run) = self.runs.last_mut() {
            run.blocks = u32::try_from(end / BLOCK as u64 - run.at).map_err(|_| Errno::FBIG)?;
            out.zeros_to(out.position() + (end - self.end))?;
        }
        Ok(())
    }

    fn finish(mut self, size: u64, out: &mut Output<'_>) -> Result<Place, Errno> {
        let last = size.next_multiple_of(BLOCK as u64);
        self.close(self.end.next_multiple_of(self.unit).min(last), out)?;
        let place = match self.runs[..] {
            [] if size == 0 => Place::From(0),
            [Run { at: 0, blocks, from }] if u64::from(blocks) == chunks::blocks(size) => Place::From(from),
            _ => Place::Runs(self.runs.into_boxed_slice()),
        };
        // The number of the image's last block must be one, too.
        out.block().map(|_| place)
    }
}

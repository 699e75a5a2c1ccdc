//! `cp`: files into a container, out of it, or from one to another.
//!
//! ```text
//! words      which side is a container's, and how its path ends
//! trees      the container's files as one tree, whether it runs or not
//! place      SRC and DEST become descriptors in these trees
//! rules      what the copy is called, and where it goes
//! ```
//!
//! The files themselves are `image`'s: it shows a tree as the entries of a tar, and puts such entries into a tree, from a
//! tar or from another tree. Nothing of the container is executed or loaded (CVE-2019-14271), no name leads out of the tree
//! that it is in (CVE-2018-15664), and nothing is kept in between: a copy that is killed leaves what it has come to.

mod error;
mod place;
mod rules;
mod trees;
mod words;

pub use error::CopyError;

use super::{Found, get};
use crate::error::Error;
use crate::rootless;
use image::archive::{Met, TarOut, each_entry};
use image::tar::{Entry, Kind};
use image::{Inserted, Inserter, Links};
use place::{Source, Tree, inode};
use rules::{From, There, To, Wrong, decide};
use rustix::fs::FlockOperation;
use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use step::step;
use trees::Use;
use words::Side;

/// What `cp` is asked for.
#[derive(Clone, Debug, Default)]
pub struct CopyOrder {
    /// SRC, as typed.
    pub from: String,
    /// DEST, as typed.
    pub to: String,
    /// `-a`: everything belongs to whom it belonged to.
    pub archive: bool,
    /// `-L`: a symlink SRC is followed.
    pub follow: bool,
}

impl CopyOrder {
    /// Whether DEST is a stream.
    pub fn is_to_stream(&self) -> bool {
        Side::of(&self.to) == Side::Stream
    }
}

/// What was copied.
#[derive(Clone, Debug, Default)]
pub struct Copied {
    /// Bytes of files.
    pub bytes: u64,
    /// What was left out.
    pub left: Vec<String>,
}

/// Copies, from `input` or to `output` where the order says `-`. For a process of one thread.
pub fn copy(order: &CopyOrder, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<Copied, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    for (what, words) in [("source", &order.from), ("destination", &order.to)] {
        if words.is_empty() {
            return Err(CopyError::Empty(what).into());
        }
    }
    let (from, to) = (Side::of(&order.from), Side::of(&order.to));
    let in_container = |side: &Side<'_>| matches!(side, Side::Container(..));
    let no_container = || CopyError::NoContainer { from: order.from.clone(), to: order.to.clone() };
    if !in_container(&from) && !in_container(&to) {
        return Err(no_container().into());
    }
    let trees = Trees::open(&from, &to)?;
    let what = || format!("copy {} to {}", order.from, order.to);
    step("copy-files", "by descriptors below both roots, nothing kept in between", what, || match (&from, &to) {
        (Side::Container(_, from), Side::Stream) => to_stream(order, trees.source(), from, output),
        (Side::Stream, Side::Container(_, to)) => from_stream(trees.target(), to, input),
        (Side::Host(from) | Side::Container(_, from), Side::Host(to) | Side::Container(_, to)) => {
            between(order, trees.source().source(from, order.follow)?, &trees, to)
        }
        (Side::Stream, _) | (_, Side::Stream) => Err(no_container().into()),
    })
}

/// The trees of both sides.
struct Trees {
    /// The host's, and those of containers.
    all: Vec<Tree>,
    from: usize,
    to: usize,
    _locks: Vec<OwnedFd>,
}

impl Trees {
    fn open(from: &Side<'_>, to: &Side<'_>) -> Result<Trees, Error> {
        let mut found: Vec<(Found, Use)> = Vec::new();
        let mut place = |side: &Side<'_>, what_for| {
            let Side::Container(words, _) = side else { return Ok::<_, Error>(0) };
            let container = get(words)?;
            // A container to itself: once, to be written to.
            let at = found.iter().position(|(known, _)| known.id == container.id).unwrap_or(found.len());
            if at == found.len() {
                found.push((container, what_for));
            }
            Ok(at + 1)
        };
        let (to, from) = (place(to, Use::Write)?, place(from, Use::Read)?);
        let mut by_id: Vec<&(Found, Use)> = found.iter().collect();
        // In the same order for everybody, so that no two wait for each other.
        by_id.sort_by(|(a, _), (b, _)| a.id.as_str().cmp(b.id.as_str()));
        let lock = |(found, what_for): &(Found, Use)| match (found.is_running, what_for) {
            (false, Use::Write) => found.lock(FlockOperation::LockExclusive),
            _ => found.lock(FlockOperation::LockShared),
        };
        let locks = by_id.into_iter().map(lock).collect::<Result<Vec<_>, _>>()?;
        let mut all = vec![Tree::host()];
        for (found, what_for) in &found {
            let unmounted = trees::unmounted(found, found.facts()?);
            all.push(Tree::of_container(trees::open(found, *what_for)?, found.shown(), unmounted));
        }
        Ok(Trees { all, from, to, _locks: locks })
    }

    fn source(&self) -> &Tree {
        &self.all[self.from]
    }

    fn target(&self) -> &Tree {
        &self.all[self.to]
    }
}

/// A tar of what is found, called as Docker calls it.
fn to_stream(order: &CopyOrder, tree: &Tree, path: &str, output: &mut dyn Write) -> Result<Copied, Error> {
    let source = tree.source(path, order.follow)?;
    let prefix = source.name.as_deref().unwrap_or_default().as_bytes().to_vec();
    let (mut tar, mut copied) = (TarOut::new(output), Copied::default());
    each_entry(source.thing.as_fd(), &mut |met| match met {
        Met::Entry { mut entry, file, .. } => {
            rename(&mut entry, &prefix);
            (entry.uid, entry.gid) = tree.inside(entry.uid, entry.gid);
            copied.bytes += size(&entry);
            tar.add(&entry, file)
        }
        Met::Left(path) => {
            copied.left.push(left(path));
            Ok(())
        }
    })?;
    tar.finish()?;
    Ok(copied)
}

/// What a tar says, below a directory that is there. Owners are those of the tar.
fn from_stream(tree: &Tree, path: &str, input: &mut dyn BufRead) -> Result<Copied, Error> {
    let place = tree.destination(path)?;
    if place.there != There::Directory {
        return Err(CopyError::BadDestination { shown: tree.shown(path), what: "a directory" }.into());
    }
    // In the root, symlinks mean what they mean in the container. Elsewhere none leads out of the directory.
    let links = if tree.is_root(place.dir.as_fd()) { Links::InRoot } else { Links::Beneath };
    let on_disk = |uid, gid| tree.on_disk(uid, gid);
    let mut inserter = Inserter::new(place.dir.as_fd(), links, only_owner()).with_owners(&on_disk);
    inserter.archive(input)?;
    Ok(told(inserter.finish()?, Vec::new()))
}

/// To whom all files belong, where a user has no ids but their own: as those of images do.
fn only_owner() -> Option<(u32, u32)> {
    rootless::is_single_id().then_some((0, 0))
}

/// From a tree to a tree.
fn between(order: &CopyOrder, source: Source, trees: &Trees, path: &str) -> Result<Copied, Error> {
    let tree = trees.target();
    let place = tree.destination(path)?;
    let to = decide(source.what(), place.there).map_err(|wrong| match wrong {
        Wrong::DirectoryToFile => CopyError::DirectoryToFile { from: order.from.clone(), to: order.to.clone() },
        Wrong::NoDirectory => CopyError::NoDirectory { shown: tree.shown(path) },
    })?;
    let prefix = match to {
        To::Inside => source.name.as_deref().unwrap_or_default().as_bytes(),
        To::Merged => b"",
        To::Itself => place.name.as_deref().map_or(&b""[..], OsStr::as_bytes),
    };
    let owner = match (order.archive, tree.is_host()) {
        (true, _) => only_owner(),
        (false, false) => Some((0, 0)),
        (false, true) => Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())),
    };
    let mut copied = Copied::default();
    // Everything is made here, or was a directory before: a symlink on the way is somebody's trick.
    let on_disk = |uid, gid| tree.on_disk(uid, gid);
    let mut inserter = Inserter::new(place.dir.as_fd(), Links::Refused, owner).with_owners(&on_disk);
    // What is merged into itself would have the directory that it goes to in it.
    let merged_into = if prefix.is_empty() { inode(place.dir.as_fd()).ok() } else { None };
    if merged_into.is_some() && merged_into == inode(source.thing.as_fd()).ok() {
        return Err(CopyError::IntoItself { from: order.from.clone(), to: order.to.clone() }.into());
    }
    let mut is_itself = false;
    let done = each_entry(source.thing.as_fd(), &mut |met| match met {
        Met::Entry { mut entry, file, inode } => {
            let goal = merged_into.or_else(|| inserter.first_directory());
            is_itself = entry.kind == Kind::Directory && !entry.name.is_empty() && goal == Some(inode);
            rename(&mut entry, prefix);
            (entry.uid, entry.gid) = trees.source().inside(entry.uid, entry.gid);
            if is_itself { Err(image::Error::Interrupted) } else { inserter.add(&entry, file) }
        }
        Met::Left(path) => {
            copied.left.push(left(path));
            Ok(())
        }
    });
    if is_itself {
        return Err(CopyError::IntoItself { from: order.from.clone(), to: order.to.clone() }.into());
    }
    done?;
    Ok(told(inserter.finish()?, copied.left))
}

impl Source {
    fn what(&self) -> From {
        match (self.is_directory, &self.name) {
            (false, _) => From::File,
            (true, Some(_)) => From::Directory,
            (true, None) => From::Contents,
        }
    }
}

/// Puts an entry that is named from the top below `prefix`: a name, or nothing.
fn rename(entry: &mut Entry, prefix: &[u8]) {
    let whole = |name: &[u8]| match (prefix.is_empty(), name.is_empty()) {
        (true, true) => b"./".to_vec(),
        (true, false) => name.to_vec(),
        (false, true) => prefix.to_vec(),
        (false, false) => [prefix, b"/", name].concat(),
    };
    if let Kind::Hardlink(target) = &mut entry.kind {
        *target = whole(target);
    }
    entry.name = whole(&entry.name);
}

fn size(entry: &Entry) -> u64 {
    if let Kind::File { size } = entry.kind { size } else { 0 }
}

/// What came of it, with what was left out on the way.
fn told(inserted: Inserted, mut left: Vec<String>) -> Copied {
    let device = |path: &Vec<u8>| {
        format!("{:?} was left out: without root nobody can make a device node", String::from_utf8_lossy(path))
    };
    left.extend(inserted.devices.iter().map(device));
    Copied { bytes: inserted.bytes, left }
}

fn left(path: &[u8]) -> String {
    format!("{:?} was left out: it is a socket, or is gone", String::from_utf8_lossy(path))
}

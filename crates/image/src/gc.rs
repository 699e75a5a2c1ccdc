//! What nobody needs is removed: blobs, layers and merged trees.
//!
//! Needed is what the index names, what running commands have leased (`lease`), and what the caller says that containers
//! need. Marking and removing happen under the store's exclusive lock, and nobody begins to need something without the
//! shared one, so nothing goes between the two. A layer or merged tree that is mounted may go, and its mount goes with it
//! (`kept`); a container that runs holds the files for as long as it lives. A directory is locked by its users, and stays.

use crate::draft;
use crate::error::Error;
use crate::layout::{Images, names_in, open_directory};
use crate::lease;
use crate::remove::remove_tree;
use registry::{Descriptor, Digest, Manifest};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, FlockOperation, flock, statat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and directories.
    pub things: u64,
}

/// What the store takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs: manifests, configurations, layers as they were fetched.
    pub blobs: u64,
    /// Layers and merged trees.
    pub trees: u64,
    /// Blobs that were begun.
    pub partial: u64,
    /// Of all that, what [`Images::collect`] would remove.
    pub unneeded: u64,
}

/// The directories that are swept, and whether they hold blobs that were only begun.
const SWEPT: [(&str, bool); 5] =
    [("blobs/sha256", false), ("blobs/sha512", false), ("layers", false), ("merged", false), ("partial", true)];

/// What has lost its name and still takes room on the disk.
#[derive(Debug, Default)]
pub struct Later {
    /// Files, which are gone when they are closed.
    files: Vec<File>,
    /// Trees, under `new/`: their names, and their locks, without which the next command removes them.
    trees: Vec<(String, File)>,
}

impl Later {
    /// Sees to it that this goes, without the caller waiting for it: in a process of its own. If that is killed nothing
    /// is lost, for the kernel closes its files, and a tree that is not locked is removed by the next command. For a
    /// process of one thread.
    pub fn remove(self, images: &Images) {
        if self.files.is_empty() && self.trees.is_empty() {
            return;
        }
        let spawned = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from).and_then(|(wait, ours)| {
            let held = self.files.iter().chain(self.trees.iter().map(|(_, lock)| lock)).map(AsFd::as_fd);
            let keep: Vec<_> = held.chain([images.dir.as_fd(), wait.as_fd()]).collect();
            sys::detach::spawn_detached(c"mc-remove", &keep, || {
                self.remove_trees(images);
                // Until its maker has closed the files: whoever does so last has the work.
                let _ = rustix::io::read(&wait, &mut [0]);
            })?;
            Ok(ours)
        });
        if spawned.is_err() {
            self.remove_trees(images);
        }
        drop(self);
        drop(spawned);
    }

    fn remove_trees(&self, images: &Images) {
        for (name, _) in &self.trees {
            // What cannot be removed is told by the sweep of the next command.
            let _ = draft::remove(images, name);
        }
    }
}

impl Images {
    /// Removes what nobody needs; `containers` tells the manifests of images that containers are made of. What was begun
    /// to be fetched goes only with `partial`. Goes on after an error and returns them all.
    ///
    /// With `later` the files and trees have lost their names when it returns, and what takes its time is in there: the
    /// kernel frees some gigabytes of a file in a second.
    pub fn collect(
        &self,
        containers: &dyn Fn() -> Vec<Digest>,
        partial: bool,
        mut later: Option<&mut Later>,
    ) -> Result<(Freed, Vec<Error>), Error> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let needed = self.needed(containers)?;
        let mut freed = Freed::default();
        let mut errors = self.drop_kept_but(|hex| needed.contains(hex))?;
        for (directory, begun) in SWEPT {
            if begun && !partial {
                continue;
            }
            for name in names_in(self, directory)? {
                if needed.contains(name.strip_suffix(".erofs").unwrap_or(&name)) {
                    continue;
                }
                match self.remove_unused(directory, &name, begun, later.as_deref_mut()) {
                    Ok(Some(bytes)) => {
                        freed.bytes += bytes;
                        freed.things += 1;
                    }
                    Ok(None) => {}
                    Err(error) => errors.push(error),
                }
            }
        }
        Ok((freed, errors))
    }

    /// What the store takes.
    pub fn usage(&self, containers: &dyn Fn() -> Vec<Digest>) -> Result<Usage, Error> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let needed = self.needed(containers)?;
        let mut usage = Usage::default();
        for (directory, begun) in SWEPT {
            for name in names_in(self, directory)? {
                let bytes = self.bytes_of(&format!("{directory}/{name}"));
                match directory {
                    "layers" | "merged" => usage.trees += bytes,
                    _ if begun => usage.partial += bytes,
                    _ => usage.blobs += bytes,
                }
                if !needed.contains(name.strip_suffix(".erofs").unwrap_or(&name)) {
                    usage.unneeded += bytes;
                }
            }
        }
        Ok(usage)
    }

    /// Bytes on disk of one layer's tree; 0 when it is not there.
    pub fn tree_bytes(&self, diff_id: &Digest) -> u64 {
        let name = |form| crate::layer::layer_name(diff_id, form);
        self.bytes_of(&name(crate::layer::Form::Erofs)) + self.bytes_of(&name(crate::layer::Form::Directory))
    }

    fn bytes_of(&self, name: &str) -> u64 {
        match statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                directory_bytes(&self.path.join(name))
            }
            Ok(stat) => stat.st_blocks as u64 * 512,
            Err(_) => 0,
        }
    }

    /// The hexadecimal digits of all that is needed.
    fn needed(&self, containers: &dyn Fn() -> Vec<Digest>) -> Result<HashSet<String>, Error> {
        let mut needed = lease::needed(self)?;
        let index = self.index()?;
        // Asked after the leases: who makes a container has one of these until the container can be found.
        let containers = containers().into_iter().map(|digest| Descriptor::new("", digest, 0));
        let mut ahead: Vec<Descriptor> = index.manifests.iter().cloned().chain(containers).collect();
        for entry in &index.manifests {
            // The index under whose digest it was fetched: a copy of the image starts from it.
            let fetched_as = entry.annotations.get(crate::layout::FETCHED_AS);
            needed.extend(fetched_as.and_then(|name| name.rsplit_once(':')).map(|(_, hex)| hex.to_owned()));
        }
        while let Some(entry) = ahead.pop() {
            if needed.insert(entry.digest.hex().to_owned()) || !self.is_marked(&entry, &needed) {
                self.mark(&entry, &mut needed, &mut ahead)?;
            }
        }
        Ok(needed)
    }

    /// False when a manifest is needed, but what it names may not be marked as yet: a lease names manifests, too.
    fn is_marked(&self, entry: &Descriptor, needed: &HashSet<String>) -> bool {
        self.manifest_of(entry).is_ok_and(|(_, manifest)| needed.contains(manifest.config.digest.hex()))
    }

    /// Marks what a manifest or an index names. What is missing or damaged names nothing; what cannot be read for another
    /// reason (there are too many open files) may name anything.
    fn mark(&self, entry: &Descriptor, needed: &mut HashSet<String>, ahead: &mut Vec<Descriptor>) -> Result<(), Error> {
        let bytes = match self.read_blob(&entry.digest) {
            Err(error) if error.is_of_a_damaged_store() => return Ok(()),
            read => read?,
        };
        match Manifest::parse(&bytes, &entry.media_type) {
            Ok(Manifest::Index(index)) => {
                ahead.extend(index.manifests.into_iter().filter(|child| !needed.contains(child.digest.hex())));
            }
            Ok(Manifest::Image(manifest)) => {
                let blobs = manifest.layers.iter().chain([&manifest.config]);
                needed.extend(blobs.map(|blob| blob.digest.hex().to_owned()));
                let config = match self.config_of(&manifest) {
                    Err(error) if error.is_of_a_damaged_store() => return Ok(()),
                    read => read?,
                };
                needed.extend(config.rootfs.diff_ids.iter().map(|layer| layer.hex().to_owned()));
                needed.extend(config.chain_id(usize::MAX).map(|chain| chain.hex().to_owned()));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Removes one thing, unless somebody has it locked; how many bytes that frees.
    fn remove_unused(
        &self,
        directory: &str,
        name: &str,
        begun: bool,
        later: Option<&mut Later>,
    ) -> Result<Option<u64>, Error> {
        let full = format!("{directory}/{name}");
        let path = || self.path.join(&full);
        let failed = |source| Error::Remove { path: path(), source };
        let stat = statat(&self.dir, full.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // Held until it is gone.
        let held = self.open_file(&full).map_err(failed)?;
        if is_directory || begun {
            match flock(held.as_fd(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
        let bytes = self.bytes_of(&full);
        match later {
            Some(later) if is_directory => {
                later.trees.push((draft::rename_into_new(self, &full).map_err(failed)?, held));
                return Ok(Some(bytes));
            }
            Some(later) => later.files.push(held),
            None => {}
        }
        let dir = open_directory(self.dir.as_fd(), Path::new(directory)).map_err(failed)?;
        remove_tree(dir.as_fd(), OsStr::new(name))?;
        Ok(Some(bytes))
    }
}

/// Bytes on disk of all that is in a directory; what cannot be read counts nothing.
pub fn directory_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut ahead = vec![path.to_owned()];
    while let Some(path) = ahead.pop() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if let Ok(metadata) = std::fs::symlink_metadata(entry.path()) {
                bytes += metadata.blocks() * 512;
                if metadata.is_dir() {
                    ahead.push(entry.path());
                }
            }
        }
    }
    bytes
}

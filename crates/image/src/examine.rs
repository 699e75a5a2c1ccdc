//! The store held against itself: `system check`.
//!
//! A blob has the digest that it is named by. What is made of blobs is made once more, beside, and compared: the same tar
//! makes the same layer, and the same layers make the same merged tree, byte by byte. So nothing is written down when an
//! image comes in, a pull costs no more for it, and no flipped byte is overlooked. It takes the room of the largest layer
//! for as long as it lasts. Layers that are directories are not looked into.
//!
//! To repair is to put what was made anew in the place of what is damaged, where the next container mounts it, and to
//! remove a damaged blob, so that the next pull fetches it. An image of which nobody can tell any more what it is loses
//! its names. What is looked at is kept from removal by a lease meanwhile.

use crate::config::ImageConfig;
use crate::draft::Draft;
use crate::erofs;
use crate::error::Error;
use crate::images::remove_damaged;
use crate::input::CHUNK;
use crate::layer::{Fetch, Form, Wanted, layer_name};
use crate::layout::{Images, REF_NAME, blob_name};
use crate::lease::Lease;
use crate::progress::Silent;
use crate::receive::{Missing, check_layers, merged_name, wanted};
use registry::{Descriptor, Digest, ImageIndex, ImageManifest};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;

/// How the store is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Examine {
    /// Only whether all is there in its full length.
    pub quick: bool,
    /// Mend what is damaged, or remove it.
    pub repair: bool,
}

/// Something that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it is: `the blob sha256:...`.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
    /// Which images and containers need it.
    pub of: String,
    /// What became of it.
    pub repair: Repair,
}

/// What became of something damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing: it was not asked for, or there is nothing to be done here.
    None,
    /// It was made anew of what it is made of.
    Made,
    /// It is gone: the next pull brings it.
    Removed,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Images, those of containers counted.
    pub images: usize,
    /// Layers as they were fetched.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Layers and merged trees, ready to be mounted.
    pub trees: usize,
}

impl Images {
    /// Looks at all that images and containers need, and tells what is damaged. `containers` are the manifests that
    /// containers are made of, and how these are called.
    ///
    /// # Errors
    /// What keeps it from being looked at; not that it is damaged.
    pub fn examine(
        &self,
        order: Examine,
        containers: &[(Digest, String)],
        tell: &mut dyn FnMut(Damage),
    ) -> Result<Examined, Error> {
        let lease = Lease::new(self)?;
        let index = self.index()?;
        let fetch =
            Fetch { images: self, source: &Missing, form: Form::Erofs, events: &Silent, stop: AtomicBool::new(false) };
        let (examined, seen, bad, replaced) = Default::default();
        let mut it = Examination { images: self, lease, fetch, order, tell, examined, seen, bad, replaced };
        for entry in &index.manifests {
            it.image(&index, entry, containers)?;
        }
        for (digest, _) in containers {
            it.image(&index, &Descriptor::new("", digest.clone(), 0), containers)?;
        }
        Ok(it.examined)
    }
}

struct Examination<'a, 't> {
    images: &'a Images,
    lease: Lease<'a>,
    fetch: Fetch<'a>,
    order: Examine,
    tell: &'t mut dyn FnMut(Damage),
    examined: Examined,
    /// What was looked at already, by its name in the store.
    seen: HashSet<String>,
    /// Trees of layers that are damaged and stay so.
    bad: HashSet<String>,
    /// Trees that are others now.
    replaced: HashSet<String>,
}

impl Examination<'_, '_> {
    fn image(&mut self, index: &ImageIndex, entry: &Descriptor, containers: &[(Digest, String)]) -> Result<(), Error> {
        if !self.seen.insert(entry.digest.to_string()) {
            return Ok(());
        }
        self.examined.images += 1;
        let of = needed_by(index, entry, containers);
        self.lease.need([&entry.digest].into_iter())?;
        let (manifest, config) = match self.parts(entry) {
            Ok(Some(parts)) => parts,
            Ok(None) => return Ok(()),
            Err(error) if error.is_of_a_damaged_store() => return self.lost(entry, &error, of),
            Err(error) => return Err(error),
        };
        for wanted in wanted(&manifest, &config) {
            if self.seen.insert(wanted.descriptor.digest.to_string()) {
                self.layer(&wanted, &of)?;
            }
        }
        self.merged(&config, &of)?;
        let trees = config.rootfs.diff_ids.iter().map(|layer| layer_name(layer, Form::Erofs));
        if trees.chain([merged_name(&config)]).any(|tree| self.replaced.contains(&tree)) {
            // What is mounted is the damaged one.
            self.images.drop_kept(manifest.config.digest.hex())?;
        }
        Ok(())
    }

    /// What an entry of the index leads to; nothing when that is not for this machine, or no image that can be run.
    fn parts(&self, entry: &Descriptor) -> Result<Option<(ImageManifest, ImageConfig)>, Error> {
        let manifest = match self.images.manifest_of(entry) {
            Ok((_, manifest)) => manifest,
            // What has its digest is not damaged: another tool may have put it there, for its own ends.
            Err(Error::NoPlatform { .. } | Error::Nested { .. } | Error::Manifest { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.lease.need(manifest.layers.iter().chain([&manifest.config]).map(|blob| &blob.digest))?;
        let config = match self.images.config_of(&manifest) {
            Ok(config) => config,
            Err(Error::Config { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.lease.need(config.rootfs.diff_ids.iter().chain(&config.chain_id(usize::MAX)))?;
        Ok(check_layers(&manifest, &config).is_ok().then_some((manifest, config)))
    }

    /// Nobody can tell what the image is.
    fn lost(&mut self, entry: &Descriptor, error: &Error, of: String) -> Result<(), Error> {
        let mut repair = Repair::None;
        if self.order.repair {
            let removed = self.images.change_index(|index| {
                let before = index.manifests.len();
                remove_damaged(index, entry);
                Ok(before > index.manifests.len())
            })?;
            repair = if removed { Repair::Removed } else { Repair::None };
        }
        (self.tell)(Damage { what: format!("the image {}", entry.digest), why: error.to_string(), of, repair });
        Ok(())
    }

    /// A layer: its blob, and what was made of it.
    fn layer(&mut self, wanted: &Wanted<'_>, of: &str) -> Result<(), Error> {
        let (blob, tree) = (blob_name(&wanted.descriptor.digest), layer_name(wanted.diff_id, Form::Erofs));
        let has_tree = self.images.size_of(&tree).is_some();
        self.examined.blobs += 1;
        self.examined.bytes += wanted.descriptor.size;
        let mut made = None;
        let wrong = match self.images.size_of(&blob) {
            None => Some(("it is not there".to_owned(), false)),
            Some(size) if size != wanted.descriptor.size => {
                Some((format!("it has {size} bytes in place of {}", wanted.descriptor.size), true))
            }
            Some(_) if self.order.quick => None,
            Some(_) if has_tree => match self.fetch.remade(wanted) {
                Ok(draft) => {
                    made = Some(draft);
                    None
                }
                Err(error) if error.is_of_the_content() => Some(self.why(wanted, &error)?),
                Err(error) => return Err(error),
            },
            Some(_) => self.images.is_damaged(wanted.descriptor)?.then(|| (OTHER_DIGEST.to_owned(), true)),
        };
        if let Some((why, may_go)) = &wrong {
            let goes = self.order.repair && *may_go;
            if goes {
                self.remove(&blob)?;
            }
            let repair = if goes { Repair::Removed } else { Repair::None };
            let what = format!("the blob {}", wanted.descriptor.digest);
            (self.tell)(Damage { what, why: why.clone(), of: of.to_owned(), repair });
        }
        if has_tree && self.seen.insert(tree.clone()) {
            let remade = |it: &Self| if wrong.is_some() { Ok(None) } else { it.fetch.remade(wanted).map(Some) };
            self.tree(&tree, format!("the layer {}", wanted.diff_id), made, of, remade)?;
        }
        Ok(())
    }

    /// Why a blob cannot be unpacked, and whether it may go: what has its digest is as the registry has it.
    fn why(&self, wanted: &Wanted<'_>, error: &Error) -> Result<(String, bool), Error> {
        let is_damaged = self.images.is_damaged(wanted.descriptor)?;
        Ok(if is_damaged { (OTHER_DIGEST.to_owned(), true) } else { (error.to_string(), false) })
    }

    /// The tree of all layers of an image.
    fn merged(&mut self, config: &ImageConfig, of: &str) -> Result<(), Error> {
        let name = merged_name(config);
        if self.images.size_of(&name).is_none() || !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let layers: Vec<String> = config.rootfs.diff_ids.iter().map(|id| layer_name(id, Form::Erofs)).collect();
        // Of damaged layers nothing is made that it could be held against.
        let can_be_made = layers.iter().all(|layer| self.images.size_of(layer).is_some() && !self.bad.contains(layer));
        let remake = |it: &Self| {
            if !can_be_made {
                return Ok(None);
            }
            let open = |layer: &String| it.images.open_file(layer).map_err(|error| it.unreadable(layer, error.into()));
            let files = layers.iter().map(open).collect::<Result<Vec<File>, Error>>()?;
            let draft = Draft::file(it.images)?;
            erofs::merge(&files.iter().collect::<Vec<_>>(), &draft.file)
                .map_err(|source| Error::Merge { path: it.images.path.join(&name), source })?;
            Ok(Some(draft))
        };
        let made = if self.order.quick { None } else { remake(self)? };
        self.tree(&name, format!("the merged layers {name}"), made, of, remake)
    }

    /// A tree: whole, and as it was made again, if it was. `remake` makes it for the repair.
    fn tree<'d>(
        &mut self,
        name: &str,
        what: String,
        made: Option<Draft<'d>>,
        of: &str,
        remake: impl FnOnce(&Self) -> Result<Option<Draft<'d>>, Error>,
    ) -> Result<(), Error> {
        self.examined.trees += 1;
        let file = self.images.open_file(name).map_err(|error| self.unreadable(name, error.into()))?;
        let same = |draft: &Draft<'_>| is_same(&draft.file, &file).map_err(|error| self.unreadable(name, error));
        let why = if !erofs::is_whole(&file) {
            "it is cut short, or its superblock is damaged"
        } else if !made.as_ref().map_or(Ok(true), same)? {
            "it is not what its blob makes"
        } else {
            return Ok(());
        };
        let mut repair = Repair::None;
        if self.order.repair {
            let made = if made.is_some() { made } else { remake(self)? };
            repair = match made {
                Some(draft) => draft.keep(name).map(|()| Repair::Made)?,
                None => self.remove(name).map(|()| Repair::Removed)?,
            };
            self.replaced.insert(name.to_owned());
        } else {
            self.bad.insert(name.to_owned());
        }
        (self.tell)(Damage { what, why: why.to_owned(), of: of.to_owned(), repair });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.images.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(Error::Remove { path: self.images.path.join(name), source }),
        }
    }

    fn unreadable(&self, name: &str, source: io::Error) -> Error {
        Error::Blob { path: self.images.path.join(name), source }
    }
}

const OTHER_DIGEST: &str = "its content does not have the digest that it is named by";

/// The images and containers that an entry is of.
fn needed_by(index: &ImageIndex, entry: &Descriptor, containers: &[(Digest, String)]) -> String {
    let entries = index.manifests.iter().filter(|other| other.digest == entry.digest);
    let names = entries.filter_map(|entry| entry.annotations.get(REF_NAME).cloned());
    let made = containers.iter().filter(|(digest, _)| *digest == entry.digest);
    let all: Vec<String> = names.chain(made.map(|(_, name)| format!("the container {name}"))).collect();
    if all.is_empty() { "an image without a name".to_owned() } else { all.join(", ") }
}

/// Whether two files have the same content.
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let length = one.metadata()?.len();
    if length != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < length {
        let piece = ours.len().min((length - at) as usize);
        one.read_exact_at(&mut ours[..piece], at)?;
        other.read_exact_at(&mut theirs[..piece], at)?;
        if ours[..piece] != theirs[..piece] {
            return Ok(false);
        }
        at += piece as u64;
    }
    Ok(true)
}

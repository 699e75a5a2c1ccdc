//! The images of the store: found, listed, named, unnamed.
//!
//! `index.json` has an entry for each name, and one without a name for an image that lost its last one to another image
//! (`<none>`, which `prune` removes). An image's id is the digest of its configuration, as with Docker and Podman.

use crate::config::ImageConfig;
use crate::error::Error;
use crate::layout::{FETCHED_AS, Images, REF_NAME};
use registry::{Descriptor, Digest, ImageIndex, ImageManifest, Manifest, Platform, Reference};

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of its configuration.
    pub id: Digest,
    /// Names its manifest.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: ImageManifest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its names, in full: `docker.io/library/alpine:latest`.
    pub names: Vec<String>,
    /// Under which digests registries have it: `docker.io/library/alpine@sha256:...`.
    pub fetched_as: Vec<String>,
}

impl Image {
    /// The machine that it is for.
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// All that it is made of: layers, configuration, manifest.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.layers.iter().chain([&self.manifest.config, &self.descriptor])
    }

    /// Bytes of its layers as they are kept compressed, configuration and manifest counted.
    pub fn size(&self) -> u64 {
        let layers: u64 = self.manifest.layers.iter().map(|layer| layer.size).sum();
        layers + self.manifest.config.size + self.descriptor.size
    }
}

/// What became of a name that was taken from an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// This name is gone.
    Untagged(String),
    /// The image with this id is gone, with all names.
    Deleted(Digest),
}

impl Images {
    /// The image that these words mean: a name, `NAME@DIGEST`, an id, or the beginning of one.
    pub fn find(&self, words: &str) -> Result<Option<Image>, Error> {
        let index = self.index()?;
        let found = find_entry(self, &index, words)?.map(|entry| self.load(&index, &entry)).transpose();
        // That it is damaged is the better reason.
        if found.is_err() {
            self.check()?;
        }
        found
    }

    /// As [`Images::find`]; that there is none is an error.
    pub fn get(&self, words: &str) -> Result<Image, Error> {
        self.find(words)?.ok_or_else(|| Error::NoSuchImage { words: words.to_owned() })
    }

    /// The image of a manifest that need not be in the index: a container is made of it.
    pub fn of_manifest(&self, digest: &Digest) -> Result<Image, Error> {
        let index = self.index()?;
        let entry = index.manifests.iter().find(|entry| entry.digest == *digest);
        match entry {
            Some(entry) => self.load(&index, &entry.clone()),
            None => self.load(&index, &Descriptor::new("", digest.clone(), 0)),
        }
    }

    /// All images, one for each manifest, in the order of the index. What cannot be read is told beside it.
    pub fn list(&self) -> Result<(Vec<Image>, Vec<Error>), Error> {
        let index = self.index()?;
        let (mut images, mut errors) = (Vec::<Image>::new(), Vec::new());
        for entry in &index.manifests {
            match self.manifest_of(entry) {
                Ok((descriptor, _)) if images.iter().any(|image| image.descriptor.digest == descriptor.digest) => {}
                Ok(found) => match self.assemble(&index, entry, found) {
                    Ok(image) => images.push(image),
                    Err(error) => errors.push(error),
                },
                Err(error) => errors.push(error),
            }
        }
        Ok((images, errors))
    }

    /// The image of an entry, with the names of all entries that lead to it.
    fn load(&self, index: &ImageIndex, entry: &Descriptor) -> Result<Image, Error> {
        self.assemble(index, entry, self.manifest_of(entry)?)
    }

    fn assemble(
        &self,
        index: &ImageIndex,
        entry: &Descriptor,
        (descriptor, manifest): (Descriptor, ImageManifest),
    ) -> Result<Image, Error> {
        let config = self.config_of(&manifest)?;
        let same = |other: &&Descriptor| other.digest == entry.digest || other.digest == descriptor.digest;
        let annotations = |key: &str| {
            let mut values: Vec<String> =
                index.manifests.iter().filter(same).filter_map(|d| d.annotations.get(key).cloned()).collect();
            values.sort();
            values.dedup();
            values
        };
        let (names, fetched_as) = (annotations(REF_NAME), annotations(FETCHED_AS));
        Ok(Image { id: manifest.config.digest.clone(), descriptor, manifest, config, names, fetched_as })
    }

    /// The manifest that an entry leads to: another tool may have put an index there, of which this machine's is taken.
    pub(crate) fn manifest_of(&self, entry: &Descriptor) -> Result<(Descriptor, ImageManifest), Error> {
        let mut entry = entry.clone();
        for _ in 0..crate::receive::DEPTH_MAX {
            let bytes = self.read_blob(&entry.digest)?;
            let what = || entry.digest.to_string();
            match Manifest::parse(&bytes, &entry.media_type)
                .map_err(|source| Error::Manifest { what: what(), source })?
            {
                Manifest::Image(manifest) => {
                    let descriptor = Descriptor { size: bytes.len() as u64, ..entry };
                    return Ok((descriptor, *manifest));
                }
                Manifest::Index(index) => {
                    let platform = Platform::here();
                    let chosen = index.choose(&platform).cloned();
                    entry = chosen.ok_or_else(|| Error::no_platform(what(), &platform, &index))?;
                }
            }
        }
        Err(Error::Nested { what: entry.digest.to_string() })
    }

    pub(crate) fn config_of(&self, manifest: &ImageManifest) -> Result<ImageConfig, Error> {
        let digest = &manifest.config.digest;
        let failed = |source| Error::Config { what: digest.to_string(), source };
        ImageConfig::parse(&self.read_blob(digest)?).map_err(failed)
    }

    /// Enters an image whose parts are all there, under these names, or without one; whether that changed anything.
    pub(crate) fn enter(&self, image: &Descriptor, names: &[String], fetched_as: Option<&str>) -> Result<bool, Error> {
        self.change_index(|index| {
            let before = index.clone();
            names.iter().for_each(|name| name_entry(index, image, name, fetched_as));
            if !index.manifests.iter().any(|entry| entry.digest == image.digest) {
                index.manifests.push(image.clone());
            }
            Ok(*index != before)
        })
    }

    /// Gives an image one more name; another image that had it loses it.
    pub fn tag(&self, image: &Image, name: &Reference) -> Result<(), Error> {
        self.change_index(|index| {
            // It may have been removed since it was looked up; under the lock it no longer can.
            if !index.manifests.iter().any(|entry| entry.digest == image.descriptor.digest)
                && let Some(gone) = image.blobs().find(|blob| !self.has_blob(blob))
            {
                return Err(Error::BlobMissing { digest: gone.digest.clone() });
            }
            let fetched_as = image.fetched_as.iter().find(|known| known.starts_with(&format!("{}@", name.name())));
            name_entry(index, &image.descriptor, &name.to_string(), fetched_as.map(String::as_str));
            Ok(())
        })
    }

    /// Takes the names in `words` from images, and removes an image with its last one: as `rmi` does. By its id an image
    /// goes with all its names, of which there may be several only with `force`. `used` tells which images a container
    /// needs: these are not removed, and lose no last name.
    pub fn remove(
        &self,
        words: &str,
        force: bool,
        used: &dyn Fn(&Image) -> Option<String>,
    ) -> Result<Vec<Removed>, Error> {
        self.change_index(|index| {
            let missing = || Error::NoSuchImage { words: words.to_owned() };
            let entry = find_entry(self, index, words)?.ok_or_else(missing)?;
            let image = match self.load(index, &entry) {
                // What it was nobody can tell any more: it can only go.
                Err(error) if error.is_of_a_damaged_store() => return Ok(remove_damaged(index, &entry)),
                loaded => loaded?,
            };
            let name = Reference::parse(words).ok().map(|name| name.to_string());
            let by_name = name.filter(|name| image.names.contains(name));
            let mut removed = Vec::new();
            match by_name {
                Some(name) if image.names.len() > 1 => {
                    index.manifests.retain(|entry| entry.annotations.get(REF_NAME) != Some(&name));
                    removed.push(Removed::Untagged(name));
                }
                by_name => {
                    let repositories = image.names.iter().map(|name| name.rsplit_once(':').map_or(&**name, |(n, _)| n));
                    let repositories: std::collections::BTreeSet<&str> = repositories.collect();
                    if by_name.is_none() && repositories.len() > 1 && !force {
                        return Err(Error::SeveralNames { words: words.to_owned(), names: image.names.join(", ") });
                    }
                    if let Some(container) = used(&image) {
                        return Err(Error::ImageInUse { words: words.to_owned(), container });
                    }
                    removed.extend(image.names.iter().cloned().map(Removed::Untagged));
                    removed.push(Removed::Deleted(image.id.clone()));
                    let digest = image.descriptor.digest.clone();
                    index.manifests.retain(|other| other.digest != digest && other.digest != entry.digest);
                }
            }
            Ok(removed)
        })
    }
}

/// Takes away all entries of a manifest that cannot be read.
pub(crate) fn remove_damaged(index: &mut ImageIndex, entry: &Descriptor) -> Vec<Removed> {
    let (gone, rest) = std::mem::take(&mut index.manifests).into_iter().partition(|other| other.digest == entry.digest);
    index.manifests = rest;
    let names = Vec::into_iter(gone).filter_map(|mut gone: Descriptor| gone.annotations.remove(REF_NAME));
    names.map(Removed::Untagged).chain([Removed::Deleted(entry.digest.clone())]).collect()
}

/// Names an image in the index: the entry of that name, which another image may have had, is this one's now. An image
/// that loses its last name so stays, without one.
fn name_entry(index: &mut ImageIndex, image: &Descriptor, name: &str, fetched_as: Option<&str>) {
    let named = |entry: &Descriptor| entry.annotations.get(REF_NAME).map(String::as_str) == Some(name);
    let (lost, mut others): (Vec<_>, Vec<_>) = std::mem::take(&mut index.manifests).into_iter().partition(named);
    for mut old in lost {
        let has_other_entry = others.iter().any(|other| other.digest == old.digest);
        if old.digest != image.digest && !has_other_entry {
            old.annotations.remove(REF_NAME);
            others.push(old);
        }
    }
    // An entry without a name is for images that have none.
    others.retain(|other| other.digest != image.digest || other.annotations.contains_key(REF_NAME));
    let mut entry = image.clone();
    entry.annotations = [(REF_NAME.to_owned(), name.to_owned())].into();
    entry.annotations.extend(fetched_as.map(|fetched_as| (FETCHED_AS.to_owned(), fetched_as.to_owned())));
    others.push(entry);
    index.manifests = others;
}

/// The entry that these words mean.
fn find_entry(images: &Images, index: &ImageIndex, words: &str) -> Result<Option<Descriptor>, Error> {
    let entries = || index.manifests.iter();
    if let Ok(name) = Reference::parse(words) {
        let full = name.to_string();
        if let Some(entry) = entries().find(|entry| entry.annotations.get(REF_NAME) == Some(&full)) {
            return Ok(Some(entry.clone()));
        }
        if let Some(digest) = name.digest() {
            let fetched_as = format!("{}@{digest}", name.name());
            let here = |entry: &&Descriptor| {
                let of_name = entry.annotations.get(REF_NAME).is_some_and(|other| of_repository(other, &name.name()));
                entry.annotations.get(FETCHED_AS) == Some(&fetched_as) || of_name && entry.digest == *digest
            };
            return Ok(entries().find(here).cloned());
        }
    }
    // skopeo and umoci name the images that they put into the store as they like.
    if let Some(entry) = entries().find(|entry| entry.annotations.get(REF_NAME).is_some_and(|name| name == words)) {
        return Ok(Some(entry.clone()));
    }
    by_id(images, index, words)
}

fn of_repository(name: &str, repository: &str) -> bool {
    name.strip_prefix(repository).is_some_and(|rest| rest.starts_with([':', '@']))
}

fn by_id(images: &Images, index: &ImageIndex, words: &str) -> Result<Option<Descriptor>, Error> {
    let prefix = words.strip_prefix("sha256:").unwrap_or(words);
    let is_id =
        !prefix.is_empty() && prefix.len() <= 64 && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        return Ok(None);
    }
    let mut found: Option<(Digest, Descriptor)> = None;
    for entry in &index.manifests {
        let Ok((_, manifest)) = images.manifest_of(entry) else { continue };
        let id = manifest.config.digest;
        // A manifest's own digest is taken as well, in full.
        if !id.hex().starts_with(prefix) && entry.digest.hex() != prefix {
            continue;
        }
        match &found {
            Some((other, _)) if *other != id => return Err(Error::AmbiguousId { words: words.to_owned() }),
            Some(_) => {}
            None => found = Some((id, entry.clone())),
        }
    }
    Ok(found.map(|(_, entry)| entry))
}

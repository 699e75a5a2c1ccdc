//! Archives as of `docker save`, written: what Docker of any age, Podman and skopeo load.
//!
//! ```text
//! HEX.json         each configuration as it is
//! HEX.tar          each layer once, uncompressed, named by its diff id
//! manifest.json    which of them are an image, and what it is called
//! repositories     the names again, in the old way, which `docker save` still writes
//! ```
//!
//! A tar wants a file's size and name before its content, and both are known of a compressed layer only when it is
//! decompressed: it goes through an unlinked file, one layer at a time.

use super::Flaw;
use super::spool::temporary;
use super::verify::{Verified, pump};
use crate::config::ImageConfig;
use crate::error::Error;
use crate::input::{CHUNK, decoded};
use crate::tar::{Entry, Kind, Writer};
use crate::transfer::{Content, Raw, Sink};
use registry::{Descriptor, Digest, Hasher, ImageManifest, MANIFEST_MAX, Manifest, Reference, media};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An archive as of `docker save` that is being written.
pub struct DockerArchive {
    stream: Mutex<Stream>,
    place: String,
}

struct Stream {
    tar: Writer<Box<dyn Write + Send>>,
    scratch: PathBuf,
    /// The diff ids of layers by the digests of what came.
    layers: HashMap<Digest, Digest>,
    /// What is in the archive.
    written: HashSet<String>,
    /// Configurations, and what else is no layer and small enough to be one.
    configs: HashMap<Digest, Vec<u8>>,
    images: Vec<Value>,
    repositories: Map<String, Value>,
    spoiled: bool,
}

impl DockerArchive {
    /// Begins an archive. `shown` is its name in messages; `scratch` is where layers are decompressed, in files without
    /// a name.
    pub fn new(out: Box<dyn Write + Send>, shown: &str, scratch: &Path) -> DockerArchive {
        let stream = Stream {
            tar: Writer::new(out),
            scratch: scratch.to_owned(),
            layers: HashMap::new(),
            written: HashSet::new(),
            configs: HashMap::new(),
            images: Vec::new(),
            repositories: Map::new(),
            spoiled: false,
        };
        DockerArchive { stream: Mutex::new(stream), place: shown.to_owned() }
    }

    /// A sink for one image of one platform, which gets these names, whole references. An archive takes any number of
    /// images, one after the other.
    pub fn image(&self, names: &[String]) -> Box<dyn Sink + '_> {
        Box::new(OneImage { archive: self, names: names.to_vec() })
    }

    /// Ends the archive, and gives back what it was written to. Without this it is no archive.
    ///
    /// # Errors
    /// [`Error::WriteImage`], also when an image was begun that could not be finished.
    pub fn finish(self) -> Result<Box<dyn Write + Send>, Error> {
        let stream = self.stream.into_inner().unwrap_or_else(PoisonError::into_inner);
        stream.finish().map_err(|flaw| flaw.writing(&self.place))
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn put(&mut self, descriptor: &Descriptor, content: Content) -> Result<(), Flaw> {
        if self.spoiled {
            return Err(Flaw::Spoiled);
        }
        match descriptor.media_type.as_str() {
            media::OCI_LAYER | media::DOCKER_LAYER => self.put_plain(descriptor, content),
            kind if media::is_layer(kind) => self.put_compressed(descriptor, content),
            _ if descriptor.size <= MANIFEST_MAX => {
                let mut bytes = Vec::new();
                let mut content = Verified::new(content, descriptor);
                pump(&mut content, &mut bytes)?;
                content.finish()?;
                self.configs.insert(descriptor.digest.clone(), bytes);
                Ok(())
            }
            kind => Err(Flaw::NotALayer { digest: descriptor.digest.clone(), media_type: super::flaw::cut(kind) }),
        }
    }

    /// A tar as it is: its size and its name are known.
    fn put_plain(&mut self, descriptor: &Descriptor, content: Content) -> Result<(), Flaw> {
        let mut content = Verified::new(content, descriptor);
        self.write_layer(&descriptor.digest, descriptor.size, &mut content)?;
        if let Err(flaw) = content.finish() {
            self.spoiled = true;
            return Err(flaw);
        }
        self.layers.insert(descriptor.digest.clone(), descriptor.digest.clone());
        Ok(())
    }

    fn put_compressed(&mut self, descriptor: &Descriptor, content: Content) -> Result<(), Flaw> {
        let mut content = Verified::new(content, descriptor);
        let mut file = Hashed { file: temporary(&self.scratch)?, hasher: Hasher::sha256() };
        let size = {
            let mut plain = decoded(BufReader::with_capacity(CHUNK, &mut content)).map_err(Flaw::Read)?;
            pump(&mut plain, &mut file)?
        };
        content.finish()?;
        let diff_id = file.hasher.finish();
        file.file.seek(SeekFrom::Start(0)).map_err(Flaw::Write)?;
        self.write_layer(&diff_id, size, &mut file.file)?;
        self.layers.insert(descriptor.digest.clone(), diff_id);
        Ok(())
    }

    fn write_layer(&mut self, diff_id: &Digest, size: u64, content: &mut dyn Read) -> Result<(), Flaw> {
        let name = format!("{}.tar", diff_id.hex());
        if !self.written.insert(name.clone()) {
            return Ok(());
        }
        self.spoiled = true;
        self.tar.entry(&Entry::plain(&name, Kind::File { size })).map_err(Flaw::Write)?;
        let written = pump(&mut content.take(size), &mut self.tar)?;
        if written < size {
            let found = written.to_string();
            return Err(Flaw::Size { digest: diff_id.clone(), expected: size, found });
        }
        self.spoiled = false;
        Ok(())
    }

    /// The layers and the configuration are here: the image is, when they belong together.
    fn put_image(&mut self, raw: &Raw, names: &[String]) -> Result<(), Flaw> {
        let digest = Digest::of(&raw.bytes);
        let parsed = Manifest::parse(&raw.bytes, &raw.media_type);
        let manifest = match parsed.map_err(|source| Flaw::Manifest { digest, source })? {
            Manifest::Image(manifest) => *manifest,
            Manifest::Index(_) => return Err(Flaw::Index),
        };
        let layers = self.checked_layers(&manifest)?;
        let files: Vec<String> = layers.iter().map(|diff_id| format!("{}.tar", diff_id.hex())).collect();
        let config = &manifest.config.digest;
        let config_file = format!("{}.json", config.hex());
        if self.written.insert(config_file.clone()) {
            let bytes = self.configs.get(config).ok_or_else(|| Flaw::missing(config.as_str()))?;
            self.tar.plain_file(&config_file, bytes).map_err(Flaw::Write)?;
        }
        let tags: Vec<String> = names.iter().map(|name| whole(name)).collect();
        for tag in &tags {
            let Some((repository, tag)) = tag.rsplit_once(':') else { continue };
            let top = layers.last().map_or("", Digest::hex);
            let tags = self.repositories.entry(repository).or_insert_with(|| json!({}));
            tags[tag] = top.into();
        }
        let same = self.images.iter_mut().find(|image| image["Config"] == config_file.as_str());
        match same.and_then(|image| image["RepoTags"].as_array_mut()) {
            Some(known) => known.extend(tags.into_iter().map(Value::from)),
            None => self.images.push(json!({"Config": config_file, "RepoTags": tags, "Layers": files})),
        }
        Ok(())
    }

    /// The diff ids of an image, which the configuration must have in the same order.
    fn checked_layers(&self, manifest: &ImageManifest) -> Result<Vec<Digest>, Flaw> {
        let digest = &manifest.config.digest;
        let config = self.configs.get(digest).ok_or_else(|| Flaw::missing(digest.as_str()))?;
        let config = ImageConfig::parse(config).map_err(|source| Flaw::Config { digest: digest.clone(), source })?;
        let told = &config.rootfs.diff_ids;
        if told.len() != manifest.layers.len() {
            return Err(Flaw::DiffIds { diff_ids: told.len(), layers: manifest.layers.len() });
        }
        let mut layers = Vec::with_capacity(told.len());
        for (number, (layer, expected)) in manifest.layers.iter().zip(told).enumerate() {
            let found = self.layers.get(&layer.digest).ok_or_else(|| Flaw::missing(layer.digest.as_str()))?;
            if found != expected {
                let (expected, found) = (expected.clone(), found.clone());
                return Err(Flaw::DiffId { number: number + 1, expected, found });
            }
            layers.push(found.clone());
        }
        Ok(layers)
    }

    fn finish(mut self) -> Result<Box<dyn Write + Send>, Flaw> {
        if self.spoiled {
            return Err(Flaw::Spoiled);
        }
        let text = |value: Value| value.to_string().into_bytes();
        self.tar.plain_file("manifest.json", &text(self.images.into())).map_err(Flaw::Write)?;
        self.tar.plain_file("repositories", &text(self.repositories.into())).map_err(Flaw::Write)?;
        self.tar.finish().map_err(Flaw::Write)
    }
}

/// A name in full. Docker reads it with and without `docker.io/library/`; Podman would take what is without for its own.
fn whole(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.to_string())
}

struct Hashed {
    file: std::fs::File,
    hasher: Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One image on its way into the archive.
struct OneImage<'a> {
    archive: &'a DockerArchive,
    names: Vec<String>,
}

impl OneImage<'_> {
    fn failed(&self) -> impl Fn(Flaw) -> Error {
        |flaw| flaw.writing(&self.archive.place)
    }
}

impl Sink for OneImage<'_> {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let stream = self.archive.stream();
        Ok(stream.layers.contains_key(&descriptor.digest) || stream.configs.contains_key(&descriptor.digest))
    }

    fn put_blob(&self, descriptor: &Descriptor, open: &dyn Fn() -> Result<Content, Error>) -> Result<(), Error> {
        let mut stream = self.archive.stream();
        let content = open()?;
        stream.put(descriptor, content).map_err(self.failed())
    }

    fn one_at_a_time(&self) -> bool {
        true
    }

    fn put_manifest(&self, _descriptor: &Descriptor, _raw: &Raw) -> Result<(), Error> {
        Err(self.failed()(Flaw::Index))
    }

    fn put_top(&self, raw: &Raw) -> Result<(), Error> {
        self.archive.stream().put_image(raw, &self.names).map_err(self.failed())
    }

    fn shown(&self) -> String {
        self.archive.place.clone()
    }
}

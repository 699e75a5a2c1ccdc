//! Archives of `docker save` and `podman save`, read. [moby image/spec/v1.2.md, "Combined Image JSON + Filesystem
//! Changeset Format"; github.com/moby/moby/image/tarexport]
//!
//! ```text
//! manifest.json    [{"Config": "HEX.json", "RepoTags": ["alpine:3"], "Layers": ["HEX/layer.tar", ...]}, ...]
//! HEX.json         a configuration (since Docker 25: blobs/sha256/HEX)
//! HEX/layer.tar    a layer, or a symlink to the same layer of another image; Podman: HEX.tar
//! ```
//!
//! Such an image has no manifest, so one is made: OCI's, whose layers are the tars as they are. The digest of a plain
//! tar is the configuration's diff id, which is not checked here but by whoever reads the layer, like every digest; a
//! compressed one (old Podman and kaniko wrote such) is hashed when its image is asked for.

use super::Flaw;
use super::files::{Files, Piece};
use super::flaw::cut;
use super::verify::pump;
use crate::config::ImageConfig;
use crate::error::Error;
use crate::sniff::{Compression, compression};
use crate::transfer::{Content, Raw, Source};
use registry::{Descriptor, Digest, Hasher, INDEX_MAX, ImageManifest, LAYERS_MAX, MANIFEST_MAX, media};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const MANIFEST: &str = "manifest.json";

/// One image, as `manifest.json` tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Item {
    pub(super) fn names(&self) -> Vec<String> {
        self.repo_tags.clone().unwrap_or_default()
    }

    /// The digest of its configuration, when its name has it: always, but for hand-made archives.
    pub(super) fn config_digest(&self) -> Option<Digest> {
        let file = self.config.rsplit('/').next().unwrap_or_default();
        Digest::sha256(file.strip_suffix(".json").unwrap_or(file)).ok()
    }
}

/// The images that `manifest.json` names.
pub(super) fn items(files: &Files) -> Result<Vec<Item>, Flaw> {
    let text = files.read(MANIFEST, MANIFEST_MAX)?;
    let items: Vec<Item> = serde_json::from_slice(&text).map_err(|source| Flaw::json(MANIFEST, source))?;
    if items.len() > INDEX_MAX {
        return Err(Flaw::Images(items.len()));
    }
    match items.iter().filter_map(|item| item.layers.as_ref()).map(Vec::len).max() {
        Some(count) if count > LAYERS_MAX => Err(Flaw::Layers(count)),
        _ => Ok(items),
    }
}

/// An image in an archive of `docker save`.
pub(super) struct DockerSource {
    files: Arc<Files>,
    item: Item,
    place: Arc<str>,
    made: Mutex<Option<Arc<Made>>>,
}

/// The manifest that was made, and where what it names is.
struct Made {
    raw: Raw,
    blobs: HashMap<Digest, Piece>,
}

impl DockerSource {
    pub(super) fn new(files: Arc<Files>, item: Item, place: Arc<str>) -> DockerSource {
        DockerSource { files, item, place, made: Mutex::new(None) }
    }

    fn made(&self) -> Result<Arc<Made>, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(Arc::clone(made));
        }
        let new = Arc::new(self.make().map_err(|flaw| flaw.reading(&self.place))?);
        *made = Some(Arc::clone(&new));
        Ok(new)
    }

    fn make(&self) -> Result<Made, Flaw> {
        let bytes = self.files.read(&self.item.config, MANIFEST_MAX)?;
        let descriptor = Descriptor::of(media::OCI_CONFIG, &bytes);
        if let Some(expected) = self.item.config_digest().filter(|expected| *expected != descriptor.digest) {
            return Err(Flaw::Digest { expected, found: descriptor.digest });
        }
        let bad = |source| Flaw::Config { digest: descriptor.digest.clone(), source };
        let config = ImageConfig::parse(&bytes).map_err(bad)?;
        let layers = self.item.layers.as_deref().unwrap_or_default();
        if layers.len() != config.rootfs.diff_ids.len() {
            return Err(Flaw::DiffIds { diff_ids: config.rootfs.diff_ids.len(), layers: layers.len() });
        }
        let mut blobs = HashMap::from([(descriptor.digest.clone(), self.files.open(&self.item.config)?)]);
        let mut manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: descriptor,
            layers: Vec::with_capacity(layers.len()),
            subject: None,
            annotations: BTreeMap::new(),
        };
        for (name, diff_id) in layers.iter().zip(&config.rootfs.diff_ids) {
            let piece = self.files.open(name)?;
            let layer = layer_of(&piece, diff_id)?;
            blobs.insert(layer.digest.clone(), piece);
            manifest.layers.push(layer);
        }
        let bytes = serde_json::to_vec(&manifest).map_err(|source| Flaw::json(MANIFEST, source))?;
        Ok(Made { raw: Raw { bytes, media_type: media::OCI_MANIFEST.to_owned() }, blobs })
    }
}

/// The layer that these bytes are.
fn layer_of(piece: &Piece, diff_id: &Digest) -> Result<Descriptor, Flaw> {
    let mut start = [0; 4];
    let length = piece.start(&mut start).map_err(Flaw::Read)?;
    let media_type = match compression(&start[..length]) {
        Compression::None => return Ok(Descriptor::new(media::OCI_LAYER, diff_id.clone(), piece.left)),
        Compression::Gzip => media::OCI_LAYER_GZIP,
        Compression::Zstd => media::OCI_LAYER_ZSTD,
    };
    let mut hasher = Hasher::sha256();
    pump(&mut piece.clone(), &mut hasher)?;
    Ok(Descriptor::new(media_type, hasher.finish(), piece.left))
}

impl Source for DockerSource {
    fn top(&self) -> Result<Raw, Error> {
        Ok(self.made()?.raw.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Raw, Error> {
        let made = self.made()?;
        if Digest::of(&made.raw.bytes) == descriptor.digest {
            return Ok(made.raw.clone());
        }
        Err(Flaw::missing(descriptor.digest.as_str()).reading(&self.place))
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Error> {
        match self.made()?.blobs.get(&descriptor.digest) {
            Some(piece) => Ok(Box::new(piece.clone().from(offset))),
            None => Err(Flaw::missing(descriptor.digest.as_str()).reading(&self.place)),
        }
    }

    fn shown(&self) -> String {
        match self.item.repo_tags.as_ref().and_then(|tags| tags.first()) {
            Some(tag) => format!("{} ({})", self.place, cut(tag)),
            None => self.place.to_string(),
        }
    }
}

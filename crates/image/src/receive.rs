//! An image comes into the store, from wherever: what `pull`, `load` and `import` share.
//!
//! First manifest and configuration, which say what all else is; then the layers, several at a time (`layer`); then one
//! tree of all of them (`merge`); last the entry of `index.json`, before which the image is not there. What is fetched
//! meanwhile is kept from removal by a lease.

use crate::config::ImageConfig;
use crate::draft::Draft;
use crate::error::Error;
use crate::layer::{Fetch, Form, Wanted, layer_name, setting};
use crate::layout::Images;
use crate::lease::Lease;
use crate::progress::Events;
use crate::transfer::{Raw, Source};
use crate::{erofs, mount};
use registry::{Descriptor, Digest, ImageManifest, MANIFEST_MAX, Manifest, Platform, media};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How deep an index may lie in an index.
pub(crate) const DEPTH_MAX: usize = 4;
/// How many layers are fetched at once.
const AT_ONCE: usize = 4;

/// What is asked for beside the image itself.
pub struct Order<'a> {
    /// For which machine.
    pub platform: &'a Platform,
    /// The names that it gets, in full.
    pub names: &'a [String],
    /// Whose repository it is from, to remember under which digest that has it.
    pub repository: Option<&'a str>,
    /// Who is told meanwhile.
    pub events: &'a dyn Events,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Digest of the configuration.
    pub id: Digest,
    /// Digest of what the source has at the top.
    pub top: Digest,
    /// Digest of the image's manifest.
    pub manifest: Digest,
    /// True when a name or the image is new.
    pub changed: bool,
    /// The machine that it is for, when that is not what was asked for.
    pub other_platform: Option<String>,
}

/// The parts of an image that say what all else is.
struct Parts {
    top: Raw,
    top_digest: Digest,
    descriptor: Descriptor,
    manifest: ImageManifest,
    manifest_bytes: Vec<u8>,
    config: ImageConfig,
    config_bytes: Vec<u8>,
}

impl Images {
    /// Brings an image into the store.
    pub fn receive(&self, source: &dyn Source, order: &Order<'_>) -> Result<Received, Error> {
        self.receive_leased(source, order).map(|(received, _)| received)
    }

    /// The same, for a container that nobody knows of yet: nobody removes the image for as long as this store is open.
    pub fn receive_and_hold(&self, source: &dyn Source, order: &Order<'_>) -> Result<Received, Error> {
        let (received, lease) = self.receive_leased(source, order)?;
        lease.hold()?;
        Ok(received)
    }

    fn receive_leased(&self, source: &dyn Source, order: &Order<'_>) -> Result<(Received, Lease<'_>), Error> {
        let lease = Lease::new(self)?;
        let parts = read_parts(source, order.platform)?;
        lease.need(parts.digests().iter())?;
        let wanted = parts.wanted();
        let fetch = Fetch { images: self, source, form: form()?, events: order.events, stop: AtomicBool::new(false) };
        let is_repaired = wanted.iter().any(|layer| !self.has_tree(layer.diff_id, fetch.form));
        fetch_all(&fetch, &wanted)?;
        self.merge_layers(&parts.config, fetch.form)?;
        if is_repaired {
            // What is mounted may be the damaged one.
            self.drop_kept(parts.manifest.config.digest.hex())?;
        }
        self.keep_small(&parts.manifest.config.digest, &parts.config_bytes)?;
        self.keep_small(&parts.descriptor.digest, &parts.manifest_bytes)?;
        if parts.top_digest != parts.descriptor.digest {
            self.keep_small(&parts.top_digest, &parts.top.bytes)?;
        }
        let fetched_as = order.repository.map(|name| format!("{name}@{}", parts.top_digest));
        let changed = self.enter(&parts.descriptor, order.names, fetched_as.as_deref())?;
        Ok((parts.received(order.platform, changed), lease))
    }

    /// True when the tree of a layer is there; one that is cut short is none.
    pub(crate) fn has_tree(&self, diff_id: &Digest, form: Form) -> bool {
        let name = layer_name(diff_id, form);
        match form {
            Form::Erofs => self.open_file(&name).is_ok_and(|file| erofs::is_whole(&file)),
            Form::Directory => rustix::fs::statat(&self.dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok(),
        }
    }

    /// Sees to it that there is one EROFS image of all layers, where there is more than one, or one that cannot be
    /// mounted as it is. Directories are stacked by overlay instead.
    fn merge_layers(&self, config: &ImageConfig, form: Form) -> Result<(), Error> {
        let layers = &config.rootfs.diff_ids;
        if form == Form::Directory {
            return Ok(());
        }
        let name = merged_name(config);
        if self.open_file(&name).is_ok_and(|file| erofs::is_whole(&file)) {
            return Ok(());
        }
        let failed = |layer: &Digest, source| Error::Blob { path: self.path.join(layer_name(layer, form)), source };
        let files: Vec<File> = layers
            .iter()
            .map(|layer| self.open_file(&layer_name(layer, form)).map_err(|e| failed(layer, e.into())))
            .collect::<Result<_, _>>()?;
        let what = |source| Error::Merge { path: self.path.join(&name), source };
        if let [only] = files.as_slice()
            && !erofs::needs_merge(only).map_err(what)?
        {
            return Ok(());
        }
        let draft = Draft::file(self)?;
        erofs::merge(&files.iter().collect::<Vec<_>>(), &draft.file).map_err(what)?;
        draft.keep(&name)
    }

    /// Sees to it that the trees of an image that is in the store are there, too: another tool may have put it there, or
    /// somebody removed them.
    pub(crate) fn make_trees(&self, manifest: &ImageManifest, config: &ImageConfig, form: Form) -> Result<(), Error> {
        let lease = Lease::new(self)?;
        check_layers(manifest, config)?;
        lease.need(config.rootfs.diff_ids.iter().chain(config.chain_id(usize::MAX).iter()))?;
        let source = Missing;
        let events = &crate::progress::Silent;
        let fetch = Fetch { images: self, source: &source, form, events, stop: AtomicBool::new(false) };
        fetch_all(&fetch, &wanted(manifest, config))?;
        self.merge_layers(config, form)
    }
}

/// Where the merged tree of an image is.
pub(crate) fn merged_name(config: &ImageConfig) -> String {
    let chain = config.chain_id(usize::MAX);
    format!("merged/{}.erofs", chain.as_ref().map_or("empty", Digest::hex))
}

/// How layers are kept here: as EROFS images where the kernel has EROFS, unless `MYCONTAINER_LAYERS` says otherwise.
pub(crate) fn form() -> Result<Form, Error> {
    let by_kernel = || if mount::has_erofs() { Form::Erofs } else { Form::Directory };
    Ok(form_asked_for()?.unwrap_or_else(by_kernel))
}

/// What `MYCONTAINER_LAYERS` says, if it says something.
pub(crate) fn form_asked_for() -> Result<Option<Form>, Error> {
    const NAME: &str = "MYCONTAINER_LAYERS";
    let Some(value) = setting(NAME) else { return Ok(None) };
    match value.as_str() {
        "directories" => Ok(Some(Form::Directory)),
        "erofs" => Ok(Some(Form::Erofs)),
        _ => Err(Error::Setting { name: NAME, value, expected: "erofs or directories" }),
    }
}

impl Parts {
    fn digests(&self) -> Vec<Digest> {
        let blobs = self.manifest.layers.iter().map(|layer| &layer.digest);
        let own = [&self.top_digest, &self.descriptor.digest, &self.manifest.config.digest];
        let chain = self.config.chain_id(usize::MAX);
        blobs.chain(own).chain(&self.config.rootfs.diff_ids).chain(&chain).cloned().collect()
    }

    fn wanted(&self) -> Vec<Wanted<'_>> {
        wanted(&self.manifest, &self.config)
    }

    fn received(&self, asked: &Platform, changed: bool) -> Received {
        let is = self.config.platform();
        let other = !is.architecture.is_empty() && asked.fit(&is).is_none();
        Received {
            id: self.manifest.config.digest.clone(),
            top: self.top_digest.clone(),
            manifest: self.descriptor.digest.clone(),
            changed,
            other_platform: other.then(|| is.to_string()),
        }
    }
}

/// The layers, each digest once: an image may have the same layer twice.
pub(crate) fn wanted<'a>(manifest: &'a ImageManifest, config: &'a ImageConfig) -> Vec<Wanted<'a>> {
    let mut wanted: Vec<Wanted<'a>> = Vec::new();
    for (index, (descriptor, diff_id)) in manifest.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        if !wanted.iter().any(|known| known.descriptor.digest == descriptor.digest) {
            wanted.push(Wanted { index, descriptor, diff_id });
        }
    }
    wanted
}

/// Reads what says what all else is, and holds it against the digests that led there.
fn read_parts(source: &dyn Source, platform: &Platform) -> Result<Parts, Error> {
    let top = source.top()?;
    let top_digest = Digest::of(&top.bytes);
    let mut raw = top.clone();
    let mut descriptor = Descriptor::new(&top.media_type, top_digest.clone(), top.bytes.len() as u64);
    for _ in 0..DEPTH_MAX {
        let what = || format!("{} of {}", descriptor.digest, source.shown());
        let parsed = Manifest::parse(&raw.bytes, &raw.media_type);
        match parsed.map_err(|source| Error::Manifest { what: what(), source })? {
            Manifest::Index(index) => {
                let chosen = index.choose(platform).cloned();
                descriptor = chosen.ok_or_else(|| Error::no_platform(source.shown(), platform, &index))?;
                raw = source.manifest(&descriptor)?;
                check(&descriptor, &raw.bytes, &source.shown())?;
            }
            Manifest::Image(manifest) => {
                let media_type = manifest.media_type.clone().unwrap_or(raw.media_type);
                // What says nothing of itself is OCI's: Docker's always does.
                let typed = if media_type.ends_with("json") && media_type.contains("vnd.") {
                    media_type
                } else {
                    media::OCI_MANIFEST.into()
                };
                let config_bytes = read_config(source, &manifest.config)?;
                let what = || format!("{} of {}", manifest.config.digest, source.shown());
                let config =
                    ImageConfig::parse(&config_bytes).map_err(|error| Error::Config { what: what(), source: error })?;
                check_layers(&manifest, &config)?;
                let descriptor = Descriptor {
                    platform: Some(config.platform()),
                    ..Descriptor::new(&typed, descriptor.digest, raw.bytes.len() as u64)
                };
                let manifest_bytes = raw.bytes;
                return Ok(Parts {
                    top,
                    top_digest,
                    descriptor,
                    manifest: *manifest,
                    manifest_bytes,
                    config,
                    config_bytes,
                });
            }
        }
    }
    Err(Error::Nested { what: source.shown() })
}

fn read_config(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let what = || format!("{} of {}", descriptor.digest, source.shown());
    if descriptor.size > MANIFEST_MAX {
        let source = serde::de::Error::custom(format_args!("it has more than {MANIFEST_MAX} bytes"));
        return Err(Error::Config { what: what(), source });
    }
    let mut bytes = Vec::new();
    let read = source.blob(descriptor, 0)?.take(descriptor.size + 1).read_to_end(&mut bytes);
    read.map_err(|source| Error::Content { what: what(), source })?;
    check(descriptor, &bytes, &source.shown())?;
    Ok(bytes)
}

pub(crate) fn check(descriptor: &Descriptor, bytes: &[u8], from: &str) -> Result<(), Error> {
    let what = || format!("{} of {from}", descriptor.digest);
    if bytes.len() as u64 != descriptor.size {
        return Err(Error::Length { what: what(), got: bytes.len() as u64, size: descriptor.size });
    }
    if !descriptor.digest.is_of(bytes) {
        let got = Digest::of(bytes);
        return Err(Error::Mismatch { what: from.to_owned(), wanted: descriptor.digest.clone(), got });
    }
    Ok(())
}

pub(crate) fn check_layers(manifest: &ImageManifest, config: &ImageConfig) -> Result<(), Error> {
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if let Some(layer) = manifest.layers.iter().find(|layer| !media::is_layer(&layer.media_type)) {
        return Err(Error::NoLayer { media_type: layer.media_type.clone() });
    }
    if layers != diff_ids {
        return Err(Error::LayerCount { layers, diff_ids });
    }
    let mut known = HashMap::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let first = known.entry(&layer.digest).or_insert(diff_id);
        // One blob cannot be two trees, and only one of them would be held against it.
        if *first != diff_id {
            let (layer, got) = (layer.digest.clone(), (*first).clone());
            return Err(Error::DiffId { layer, wanted: diff_id.clone(), got });
        }
    }
    Ok(())
}

/// Fetches layers, some at a time; the first failure stops them all.
fn fetch_all(fetch: &Fetch<'_>, wanted: &[Wanted<'_>]) -> Result<(), Error> {
    for layer in wanted {
        fetch.events.layer_found(layer.index, layer.descriptor.digest.as_str(), layer.descriptor.size);
    }
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(layer) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            if fetch.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = fetch.layer(layer) {
                let mut failure = failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                // What another failure stopped is not worth telling.
                failure.get_or_insert(error);
                fetch.stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..wanted.len().min(AT_ONCE) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
}

/// No source: for what must be in the store.
pub(crate) struct Missing;

impl Source for Missing {
    fn top(&self) -> Result<Raw, Error> {
        Err(Error::Interrupted)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Raw, Error> {
        Err(Error::BlobMissing { digest: descriptor.digest.clone() })
    }

    fn blob(&self, descriptor: &Descriptor, _: u64) -> Result<crate::Content, Error> {
        Err(Error::BlobMissing { digest: descriptor.digest.clone() })
    }

    fn shown(&self) -> String {
        "the store".into()
    }
}

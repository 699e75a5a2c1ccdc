//! `commit`: what a container has become, as an image.
//!
//! Of a container that was made of an image, what it wrote is one more layer over that image's; of any other, its whole
//! root is the only layer.

use super::{Found, get, pause, tree};
use crate::error::Error;
use crate::events;
use crate::images;
use crate::overlay;
use crate::state::{self, RootKind};
use crate::userns::{self, Maps};
use image::archive::{Change, Commit, NewLayer, diff_layer, export_tree, timestamp};
use image::{Image, ImageConfig, Images, Making, RootfsConfig};
use registry::{Descriptor, ImageManifest, Platform, media};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;
use step::step;

/// What `commit` is asked for.
#[derive(Clone, Debug)]
pub struct CommitOrder {
    /// The container.
    pub container: String,
    /// The image's name, as typed.
    pub name: Option<String>,
    /// `-a`
    pub author: String,
    /// `-m`
    pub message: String,
    /// `-c`
    pub changes: Vec<Change>,
    /// `-p`: the container stands still meanwhile.
    pub pause: bool,
}

/// Makes the image.
pub fn commit(order: &CommitOrder) -> Result<Image, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let names: Vec<String> = match &order.name {
        Some(words) => vec![images::name_to_give(words)?.to_string()],
        None => Vec::new(),
    };
    let found = get(&order.container)?;
    let facts = found.facts()?;
    if facts.kind == RootKind::Host {
        return Err(Error::Conflict(format!(
            "{} cannot become an image: its root is a view of this machine's own /",
            found.shown()
        )));
    }
    // Only one at a time stops it and lets it run on.
    let alone = found.is_running && order.pause;
    let lock = found.lock(if alone { FlockOperation::LockExclusive } else { FlockOperation::LockShared })?;
    let base = if facts.kind == RootKind::Image { Some(tree::image_of(facts)?) } else { None };
    let images = images::store()?;
    let making = images.make()?;
    if let Some((_, image)) = &base {
        making.base(image)?;
    }
    let source = Source::open(&found, base.as_ref())?;
    let layer = {
        let _paused = if alone { pause::pause(found.open_cgroup()?, &lock)? } else { None };
        let what = || format!("pack what {} wrote", found.shown());
        step("make-layer-blob", "in one pass: two digests, compressed, stored", what, || source.layer(&making))?
    };
    drop((source, lock));
    let (mut config, manifest) = base.map_or_else(nothing, |(_, image)| (image.config, image.manifest));
    config.config = facts.config.clone();
    let made = image::archive::commit(&Commit {
        base: Some((&config, &manifest)),
        layer: Some(&layer),
        platform: Platform::here(),
        changes: &order.changes,
        author: &order.author,
        message: &order.message,
        created_by: &facts.command.join(" "),
        created: &timestamp(SystemTime::now()),
    })?;
    let image = step("add-image", "only now it is there", || "name the image".into(), || making.add(&made, &names))?;
    let more = [("comment", order.message.as_str()), ("imageID", image.id.as_str())];
    events::container("commit", found.facts()?, &more);
    Ok(image)
}

/// An image without a layer.
fn nothing() -> (ImageConfig, ImageManifest) {
    let here = Platform::here();
    let config = ImageConfig {
        architecture: here.architecture,
        variant: here.variant,
        os: here.os,
        rootfs: RootfsConfig { kind: "layers".into(), diff_ids: Vec::new() },
        ..ImageConfig::default()
    };
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.into()),
        artifact_type: None,
        config: Descriptor::of(media::OCI_CONFIG, b"{}"),
        layers: Vec::new(),
        subject: None,
        annotations: Default::default(),
    };
    (config, manifest)
}

/// What the layer is made of.
enum Source {
    /// An upper directory, and the tree that it lies on.
    Upper(OwnedFd, tree::OpenTree, Option<Maps>),
    /// A whole tree.
    Tree(tree::OpenTree),
}

impl Source {
    fn open(found: &Found, base: Option<&(Images, Image)>) -> Result<Source, Error> {
        let Some((images, image)) = base else { return tree::of_container(found).map(Source::Tree) };
        let path = state::layer_path(&found.id).join("upper");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let upper = rustix::fs::open(&path, flags, Mode::empty()).map_err(Error::file("open", &path))?;
        // On disk it has the container's own numbers, unless its root was copied for it.
        let maps = found.facts()?.maps.clone().filter(|maps| maps.is_copied);
        Ok(Source::Upper(upper, tree::of_image(images, image)?, maps))
    }

    fn layer(&self, making: &Making<'_>) -> Result<NewLayer, image::Error> {
        making.layer(|out| match self {
            Source::Upper(upper, lower, maps) => {
                let inside = |uid, gid| userns::seen_by(maps.as_ref(), uid, gid);
                diff_layer(upper.as_fd(), Some(lower.top.as_fd()), overlay::marks(), &inside, out)
            }
            Source::Tree(tree) => export_tree(tree.top.as_fd(), &|uid, gid| tree.inside(uid, gid), out),
        })
    }
}

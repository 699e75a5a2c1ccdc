//! `diff`: what a container has changed of its image.

use super::{get, tree};
use crate::error::Error;
use crate::overlay;
use crate::state::{self, RootKind};
use image::archive::{Changed, changes};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// The names that a container, running or created, has changed, from the root without a slash before them.
pub fn diff(words: &str) -> Result<BTreeMap<Vec<u8>, Changed>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    let facts = found.facts()?;
    if facts.kind != RootKind::Image {
        let container = found.shown().to_owned();
        return Err(Error::NoImageOf { container });
    }
    let _lock = found.lock(FlockOperation::LockShared)?;
    let (images, image) = tree::image_of(facts)?;
    let lower = tree::of_image(&images, &image)?;
    let path = state::layer_path(&found.id).join("upper");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = rustix::fs::open(&path, flags, Mode::empty()).map_err(Error::file("open", &path))?;
    Ok(changes(upper.as_fd(), lower.top.as_fd(), overlay::marks())?)
}

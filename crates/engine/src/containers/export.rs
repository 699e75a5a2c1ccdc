//! `export`: a container's root, or an image's, as a tar.

use super::{find, tree};
use crate::error::Error;
use image::Images;
use rustix::fs::FlockOperation;
use std::io::Write;
use std::os::fd::AsFd;
use step::step;

/// Writes the tree of the container that `words` mean, or else of the image, as a tar.
pub fn export(words: &str, out: &mut dyn Write) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let (tree, _lock) = match find(words)? {
        Some(found) => {
            let lock = found.lock(FlockOperation::LockShared)?;
            (tree::of_container(&found)?, Some(lock))
        }
        None => {
            let nothing = || Error::NothingNamed { words: words.to_owned() };
            let images = Images::existing(crate::state::data_dir())?.ok_or_else(nothing)?;
            let image = images.find(words)?.ok_or_else(nothing)?;
            (tree::of_image(&images, &image)?, None)
        }
    };
    let what = || format!("write the tar of {words}");
    step("export-tree", "straight from the tree, without a copy", what, || {
        image::archive::export_tree(tree.top.as_fd(), &|uid, gid| tree.inside(uid, gid), out).map_err(Error::from)
    })
}

//! `system check`: the store held against itself. What that means stands in `image::examine`.

use crate::error::Error;
use crate::state;
use image::{Damage, Examine, Examined, Images};
use registry::Digest;

/// Looks at all that images and containers need, and tells what is damaged as it is found.
pub fn check(images: &Images, order: Examine, tell: &mut dyn FnMut(Damage)) -> Result<Examined, Error> {
    let in_use = state::images_in_use().into_iter();
    let containers: Vec<(Digest, String)> =
        in_use.filter_map(|used| Some((Digest::parse(&used.manifest).ok()?, used.container))).collect();
    Ok(images.examine(order, &containers, tell)?)
}

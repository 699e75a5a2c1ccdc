//! What the verbs of images do.

use super::remote;
use crate::error::Error;
use image::{Events, Images, Order, Received};
use registry::{Platform, Reference};

/// What is asked of `pull` beside the image.
#[derive(Clone, Debug, Default)]
pub struct PullOrder {
    /// `--platform`.
    pub platform: Option<Platform>,
}

/// Fetches an image from its registry.
pub fn pull_one(images: &Images, words: &str, order: &PullOrder, events: &dyn Events) -> Result<Received, Error> {
    let reference = Reference::parse(words).map_err(|e| Error::Conflict(e.to_string()))?;
    let platform = order.platform.clone().unwrap_or_else(Platform::here);
    let name = reference.to_string();
    let repository = reference.name();
    let source = remote::source(&reference)?;
    let order = Order { platform: &platform, names: &[name], repository: Some(&repository), events };
    Ok(images.receive(&*source, &order)?)
}

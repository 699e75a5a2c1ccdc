//! What the verbs of images do.

use super::remote;
use crate::error::Error;
use image::{Events, Images, Order, Received};
use registry::Platform;

/// What is asked of `pull` beside the image.
#[derive(Clone, Debug, Default)]
pub struct PullOrder {
    /// `--platform`.
    pub platform: Option<Platform>,
}

/// Fetches an image from its registry: from the first one that has it, where a short name may be one in several.
pub fn pull_one(images: &Images, words: &str, order: &PullOrder, events: &dyn Events) -> Result<Received, Error> {
    let registries = remote::registries()?;
    let candidates = registries.candidates(words).map_err(image::Error::from)?;
    let platform = order.platform.clone().unwrap_or_else(Platform::here);
    let mut failure = None;
    for reference in candidates {
        let source = remote::source(&registries, &reference)?;
        let (name, repository) = (reference.to_string(), reference.name());
        let order = Order { platform: &platform, names: &[name], repository: Some(&repository), events };
        match images.receive(&source, &order) {
            Err(error) if is_elsewhere(&error) => failure = failure.or(Some(error)),
            done => return Ok(done?),
        }
    }
    Err(failure.unwrap_or(image::Error::NoSuchImage { words: words.to_owned() }).into())
}

/// True when another registry may have the image that this one has not.
fn is_elsewhere(error: &image::Error) -> bool {
    matches!(error, image::Error::Registry(error) if error.is_not_found() || error.is_unauthorized())
}

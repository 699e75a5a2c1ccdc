//! Images: found in the store, brought there, sent from there; for `run` and for their own verbs.

mod check;
mod import;
mod inspect;
mod login;
mod place;
mod remote;
mod verbs;

pub use check::check;
pub use import::{ImportFrom, ImportOrder, import};
pub use inspect::{Row, Share, Shown, Step, history, inspect, rows, shares, size};
pub(crate) use inspect::{ShownConfig, shown_config};
pub use login::{logged_in_as, login, logout};
pub use place::{CopyOrder, Format, Loaded, NewFile, Place, copy, load, push, save};
pub use registry::Platform;
pub use remote::registries;
pub use verbs::{
    DiskUsage, PruneOrder, Pruned, PullOrder, Pulled, disk_usage, name_to_give, prune, pull, pull_all_tags, reference,
    remove, tag, tags_here,
};

use crate::error::Error;
use crate::options::{PullPolicy, RunOptions};
use crate::state::data_dir;
use image::{Events, Image, Images, Order};
use std::path::Path;

/// The store of this machine; made when it is missing, and cleared of what killed commands left half done.
pub fn store() -> Result<Images, Error> {
    let images = Images::open(data_dir())?;
    // What cannot be removed is in nobody's way; the sweep after a container tells it.
    drop(images.sweep());
    Ok(images)
}

/// The store of this machine, if there is one.
pub fn existing() -> Result<Option<Images>, Error> {
    Ok(Images::existing(data_dir())?)
}

/// The image that ROOT names, if the store has it, or `--pull always` asks the registry for it first. Whoever runs it has
/// to call [`Images::check`].
pub(crate) fn wanted(options: &RunOptions, events: &dyn Events) -> Result<Option<(Images, Image)>, Error> {
    if options.pull == PullPolicy::Always {
        return missing(options, events).map(Some);
    }
    let Some(images) = Images::existing(data_dir())?.map(Images::checked_later) else { return Ok(None) };
    let found = images.find(&options.root)?;
    Ok(found.filter(|image| fits(options, image)).map(|image| (images, image)))
}

/// Whether an image is for the machine that was asked for; without a wish every one is.
fn fits(options: &RunOptions, image: &Image) -> bool {
    options.platform.as_ref().is_none_or(|wanted| wanted.fit(&image.platform()).is_some())
}

/// The image that ROOT names, from its registry.
pub(crate) fn missing(options: &RunOptions, events: &dyn Events) -> Result<(Images, Image), Error> {
    if options.pull == PullPolicy::Never {
        return Err(image::Error::NoSuchImage { words: options.root.clone() }.into());
    }
    if options.pull == PullPolicy::Missing {
        events.not_here(&inspect::familiar(&options.root));
    }
    let images = store()?;
    let order = PullOrder { platform: options.platform.clone(), hold: true };
    let pulled = pull(&images, &options.root, &order, events)?;
    let image = images.get(pulled.received.manifest.as_str())?;
    Ok((images, image))
}

/// The image in an OCI layout, `DIRECTORY` or `DIRECTORY:NAME`.
pub(crate) fn of_layout(path: &Path, options: &RunOptions, events: &dyn Events) -> Result<(Images, Image), Error> {
    let images = store()?;
    let found = image::archive::pick(image::archive::open(path, images.path())?, None, &path.to_string_lossy())?;
    let platform = options.platform.clone().unwrap_or_else(Platform::here);
    let order = Order { platform: &platform, names: &[], repository: None, events };
    let received = verbs::or_freed(&images, images.receive_and_hold(&*found.source, &order))?;
    let image = images.get(received.manifest.as_str())?;
    Ok((images, image))
}

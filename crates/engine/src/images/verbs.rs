//! What the verbs of images do in the store: pull, tag, rmi, prune, df.

use super::{inspect, remote};
use crate::created;
use crate::error::Error;
use crate::events;
use crate::spare;
use crate::state;
use image::{Events, Freed, Image, Images, Later, Order, Received, Removed, Usage};
use registry::{Digest, Platform, Reference};
use std::collections::BTreeSet;

/// What is asked of `pull` beside the image.
#[derive(Clone, Debug, Default)]
pub struct PullOrder {
    /// `--platform`.
    pub platform: Option<Platform>,
    /// It is for a container: nobody removes the image for as long as the store is open.
    pub hold: bool,
}

/// What was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The name that it has now, in full.
    pub name: Reference,
    /// What came.
    pub received: Received,
}

/// Fetches an image from its registry: from the first one that has it, where a short name may be one in several.
pub fn pull(images: &Images, words: &str, order: &PullOrder, events: &dyn Events) -> Result<Pulled, Error> {
    let registries = remote::registries()?;
    let candidates = registries.candidates(words).map_err(image::Error::from)?;
    let (platform, hold) = (order.platform.clone().unwrap_or_else(Platform::here), order.hold);
    let mut failure = None;
    for name in candidates {
        let source = remote::source(&registries, &name)?;
        let (full, repository) = (name.to_string(), name.name());
        let order = Order { platform: &platform, names: &[full], repository: Some(&repository), events };
        let came = if hold { images.receive_and_hold(&source, &order) } else { images.receive(&source, &order) };
        match or_freed(images, came) {
            Err(error) if is_elsewhere(&error) => failure = failure.or(Some(error)),
            done => {
                let received = done?;
                told_of(images, "pull", received.manifest.as_str(), Some(&name));
                return Ok(Pulled { name, received });
            }
        }
    }
    Err(failure.unwrap_or(image::Error::NoSuchImage { words: words.to_owned() }).into())
}

/// Tells who watches of an image, which goes by a name where it comes from or goes to a registry.
pub(super) fn told_of(images: &Images, action: &str, words: &str, name: Option<&Reference>) {
    let Ok(Some(image)) = images.find(words) else { return };
    let labels = &image.config.config.labels;
    match name {
        Some(name) => events::image(action, &name.familiar(), &name.familiar_name(), labels),
        None => events::image(action, image.id.as_str(), image.id.as_str(), labels),
    }
}

/// Fetches every tag of a repository.
pub fn pull_all_tags(
    images: &Images,
    words: &str,
    order: &PullOrder,
    events: &dyn Fn(&Reference) -> Box<dyn Events>,
) -> Result<Vec<Pulled>, Error> {
    let name = reference(words)?;
    let registries = remote::registries()?;
    let mut pulled = Vec::new();
    for tag in remote::tags(&registries, &name)? {
        let tagged = name.with_tag(&tag).map_err(|error| bad_reference(words, &error))?;
        pulled.push(pull(images, &tagged.to_string(), order, &*events(&tagged))?);
    }
    Ok(pulled)
}

/// The names that the store has in a repository: `push --all-tags`.
pub fn tags_here(images: &Images, words: &str) -> Result<Vec<Reference>, Error> {
    let name = reference(words)?;
    let (list, _) = images.list()?;
    let names = list.iter().flat_map(|image| &image.names).filter_map(|name| Reference::parse(name).ok());
    let mut names: Vec<Reference> =
        names.filter(|other| other.name() == name.name() && other.tag().is_some()).collect();
    names.sort_by(|a, b| a.tag().cmp(&b.tag()));
    if names.is_empty() { Err(image::Error::NoSuchImage { words: words.to_owned() }.into()) } else { Ok(names) }
}

/// True when another registry may have the image that this one has not.
fn is_elsewhere(error: &image::Error) -> bool {
    matches!(error, image::Error::Registry(error) if error.is_not_found() || error.is_unauthorized())
}

/// A name from the words of a person.
pub fn reference(words: &str) -> Result<Reference, Error> {
    Reference::parse(words).map_err(|error| bad_reference(words, &error))
}

pub(super) fn bad_reference(words: &str, error: &dyn std::fmt::Display) -> Error {
    Error::BadName { name: words.to_owned(), reason: error.to_string() }
}

/// Gives an image another name: `tag SOURCE TARGET`.
pub fn tag(images: &Images, source: &str, target: &str) -> Result<(), Error> {
    let name = name_to_give(target)?;
    let image = images.get(source)?;
    images.tag(&image, &name)?;
    events::image("tag", image.id.as_str(), &name.familiar(), &image.config.config.labels);
    Ok(())
}

/// A name that an image can be given.
pub fn name_to_give(words: &str) -> Result<Reference, Error> {
    let name = reference(words)?;
    if name.digest().is_some() {
        return Err(bad_reference(words, &"a digest is not a name to give"));
    }
    Ok(name)
}

/// Takes a name from an image, and removes the image with its last one: `rmi`.
pub fn remove(images: &Images, words: &str, force: bool) -> Result<Vec<Removed>, Error> {
    let before = images.find(words).ok().flatten();
    let removed = images.remove(words, force, &container_of)?;
    told_of_removed(before.as_ref(), &removed);
    if removed.iter().any(|removed| matches!(removed, Removed::Deleted(_))) {
        let mut later = Later::default();
        let collected = images.collect(&needed, false, Some(&mut later));
        let cleared = spare::clear(images);
        later.remove(images);
        collected?;
        cleared?;
    }
    Ok(removed)
}

/// Tells who watches what a removal did.
fn told_of_removed(image: Option<&Image>, removed: &[Removed]) {
    let Some(image) = image else { return };
    for removed in removed {
        let action = if matches!(removed, Removed::Untagged(_)) { "untag" } else { "delete" };
        events::image(action, image.id.as_str(), image.id.as_str(), &image.config.config.labels);
    }
}

/// What `image prune` is asked for.
#[derive(Clone, Debug, Default)]
pub struct PruneOrder {
    /// `-a`: images that no container is made of, too, and not only those without a name.
    pub all: bool,
}

/// What `prune` removed.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Names and ids.
    pub removed: Vec<Removed>,
    /// Bytes and files.
    pub freed: Freed,
    /// What could not be removed.
    pub errors: Vec<String>,
}

/// Removes images that nobody names, and whatever else in the store nobody needs. `keep` can spare an image.
pub fn prune(images: &Images, order: &PruneOrder, keep: &dyn Fn(&Image) -> bool) -> Result<Pruned, Error> {
    let stays = |image: &Image| {
        let is_named = !order.all && !image.names.is_empty();
        if is_named || keep(image) { Some(String::new()) } else { container_of(image) }
    };
    let mut pruned = Pruned::default();
    let (list, _) = images.list()?;
    for image in list.iter().filter(|image| stays(image).is_none()) {
        // Asked again under the lock: a pull may have named it since.
        match images.remove(image.descriptor.digest.as_str(), true, &stays) {
            Ok(removed) => {
                told_of_removed(Some(image), &removed);
                pruned.removed.extend(removed);
            }
            Err(image::Error::ImageInUse { .. } | image::Error::NoSuchImage { .. }) => {}
            Err(error) => pruned.errors.push(error.to_string()),
        }
    }
    let (freed, errors) = collect(images, true)?;
    pruned.freed = freed;
    pruned.errors.extend(errors.iter().map(ToString::to_string));
    let (bytes, errors) = remove_unpacked()?;
    pruned.freed.bytes += bytes;
    pruned.errors.extend(errors.iter().map(ToString::to_string));
    Ok(pruned)
}

/// Removes the trees of archives of which no container is made, and the copies that were made for the users of containers:
/// each is made again when it is needed.
fn remove_unpacked() -> Result<(u64, Vec<image::Error>), Error> {
    // Nobody holds what lies below one that is mounted.
    if crate::containers::mount::is_any() {
        return Ok((0, Vec::new()));
    }
    let created = created::all().into_iter().filter_map(|(_, facts)| facts.ok()?.archive);
    let needed: BTreeSet<String> = created.collect();
    Ok(image::Store::open(state::data_dir())?.remove_unused(&|digest| needed.contains(digest)))
}

/// A container that is made of the image, if there is one.
fn container_of(image: &Image) -> Option<String> {
    let of_image = |used: &state::Use| used.manifest == image.descriptor.digest.as_str();
    state::images_in_use().into_iter().find(of_image).map(|used| used.container)
}

/// What was to come and found no room takes none: what had come of it goes, with whatever else nobody needs.
pub(super) fn or_freed<T>(images: &Images, came: Result<T, image::Error>) -> Result<T, image::Error> {
    if came.as_ref().is_err_and(image::Error::is_disk_full) {
        // That it is full is what a person has to know, whatever this says.
        let _ = collect(images, true);
    }
    came
}

fn collect(images: &Images, partial: bool) -> Result<(Freed, Vec<image::Error>), Error> {
    let collected = images.collect(&needed, partial, None);
    let cleared = spare::clear(images);
    let collected = collected?;
    cleared.map(|()| collected)
}

/// The manifests that containers are made of.
fn needed() -> Vec<Digest> {
    state::images_in_use().iter().filter_map(|used| Digest::parse(&used.manifest).ok()).collect()
}

/// What `system df` shows of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images, and how many of them a container is made of.
    pub images: usize,
    /// Those.
    pub active: usize,
    /// Bytes.
    pub usage: Usage,
    /// Bytes that `image prune -a` would free.
    pub reclaimable: u64,
}

/// What images take on disk.
pub fn disk_usage(images: &Images) -> Result<DiskUsage, Error> {
    let in_use = state::images_in_use();
    let usage = images.usage(&needed)?;
    let (list, _) = images.list()?;
    let active = |image: &&Image| in_use.iter().any(|used| used.manifest == image.descriptor.digest.as_str());
    let active_size: u64 = list.iter().filter(active).map(|image| inspect::size(images, image) + image.size()).sum();
    Ok(DiskUsage {
        images: list.len(),
        active: list.iter().filter(active).count(),
        usage,
        reclaimable: (usage.blobs + usage.trees + usage.partial).saturating_sub(active_size),
    })
}

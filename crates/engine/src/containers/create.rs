//! `create`: a container that stays, and does not run yet. What is on disk, and in which order, see `created`.

use super::{facts, sharing};
use crate::confines::Confines;
use crate::created;
use crate::error::Error;
use crate::events;
use crate::options::{RunOptions, Volume};
use crate::overlay::Layer;
use crate::pods;
use crate::rootfs::{self, Meant};
use crate::state::{self, Facts, Id, MadeBy, data_dir};
use crate::{image_config, names, networks, publish, run, userns, volumes};
use image::{Events, Making};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use step::step;

/// What `create` is asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// What it shall be.
    pub run: RunOptions,
    /// `--cidfile`: the id is written there.
    pub cidfile: Option<PathBuf>,
    /// `--replace`: a container that has the name goes.
    pub replace: bool,
    /// Something was said of its network.
    pub says_network: bool,
    /// The words after the tool's name, as typed: written down with it.
    pub made_by: Vec<String>,
}

/// Makes a container; its id, and what went wrong beside it.
pub fn create(options: &CreateOptions, events: &dyn Events) -> Result<(String, Vec<String>), Error> {
    let named = with_ports_of_pod(options, events)?;
    let options = named.as_ref().unwrap_or(options);
    let resolved = resolved(options)?;
    let options = resolved.as_ref().unwrap_or(options);
    let made = create_resolved(options, events).inspect_err(|_| pods::unmake(&options.run))?;
    let Made { id, lock, .. } = made;
    drop(lock);
    let errors = crate::sweep::sweep(None);
    Ok((id.as_str().to_owned(), errors.iter().map(|error| format!("cannot clean up: {error}")).collect()))
}

fn create_resolved(options: &CreateOptions, events: &dyn Events) -> Result<Made, Error> {
    let meant = resolve(options, events)?;
    if matches!(meant, Meant::Host) {
        return Err(host_cannot_stay());
    }
    let making = hold_image(&meant)?;
    let pod = pods::hold(&options.run)?;
    let made = make(options, &meant)?;
    created::sync(&made.id)?;
    drop((making, pod));
    Ok(made)
}

/// What is made, with `--publish-all` read for a pod that is made with it: its ports are the pod's, which has no image to
/// say which these are. None where there is nothing to be read.
pub(super) fn with_ports_of_pod(options: &CreateOptions, events: &dyn Events) -> Result<Option<CreateOptions>, Error> {
    let is_of_new = options.run.pod.as_ref().is_some_and(|place| place.pod.starts_with("new:"));
    if !is_of_new || !options.run.publish_all {
        return Ok(None);
    }
    run::check(&options.run)?;
    let image = match rootfs::resolve(&options.run, events)? {
        Meant::Image(_, image) => Some(image),
        _ => None,
    };
    let config = image_config::of_container(&options.run, image.as_ref().map(|image| &image.config));
    let mut all = options.clone();
    all.run.publish_all = false;
    all.run.publish.extend(publish::others(&options.run, &config));
    Ok(Some(all))
}

/// What is made, with what it names of others looked up: namespaces and volumes of containers, pods, and networks. None if it names nothing.
pub(crate) fn resolved(options: &CreateOptions) -> Result<Option<CreateOptions>, Error> {
    let shared = sharing::resolved(options)?;
    let shared = userns::resolved(shared.as_ref().unwrap_or(options))?.or(shared);
    let mode = &shared.as_ref().unwrap_or(options).run.network;
    let Some(network) = networks::resolved(mode)? else { return Ok(shared) };
    let mut all = shared.unwrap_or_else(|| options.clone());
    all.run.network = network;
    Ok(Some(all))
}

/// A container that was made, locked still.
pub(crate) struct Made {
    pub(crate) id: Id,
    pub(super) facts: Facts,
    pub(super) lock: OwnedFd,
}

/// Finds out what it is made of. Makes room for its name, if that is wanted.
pub(super) fn resolve(options: &CreateOptions, events: &dyn Events) -> Result<Meant, Error> {
    run::check(&options.run)?;
    check_cidfile(options)?;
    let meant = rootfs::resolve(&options.run, events)?;
    if matches!(meant, Meant::Host) && !options.run.auto_remove {
        return Err(host_cannot_stay());
    }
    if let (true, Some(name)) = (options.replace, &options.run.name) {
        super::remove::remove_called(name)?;
    }
    Ok(meant)
}

fn host_cannot_stay() -> Error {
    let why = "a container of host cannot stay: it is a view of this machine's / as it is while the container runs";
    Error::Conflict(why.into())
}

fn check_cidfile(options: &CreateOptions) -> Result<(), Error> {
    match options.cidfile.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => {
            let source = std::io::ErrorKind::AlreadyExists.into();
            Err(Error::File { what: "write the id to", path: path.into(), source })
        }
    }
}

/// Until a record says that the image is needed, the result does.
pub(super) fn hold_image(meant: &Meant) -> Result<Option<Making<'_>>, Error> {
    let Meant::Image(images, image) = meant else { return Ok(None) };
    images.check()?;
    let making = images.make()?;
    making.base(image)?;
    Ok(Some(making))
}

/// Makes a container that stays. It may not outlive a failure of power before it is [synced](created::sync).
pub(super) fn make(options: &CreateOptions, meant: &Meant) -> Result<Made, Error> {
    make_as(Id::random()?, options, meant)
}

/// As [`make`], of one whose id is known before.
pub(crate) fn make_as(id: Id, options: &CreateOptions, meant: &Meant) -> Result<Made, Error> {
    let mut run = options.run.clone();
    let nameless = anonymous(&run, meant)?;
    run.volumes.extend(nameless.iter().cloned());
    run.anonymous_volumes.clear();
    let mut facts = facts(&run, meant, &id, Confines::of(&run)?);
    let chosen = userns::choose(&run, meant)?;
    facts.maps = chosen.maps;
    (facts.tool_pid, facts.made_by) = (None, Some(MadeBy::here(&options.made_by)));
    let what = || format!("make {}", state::layer_path(&id).display());
    let lock = step("make-directory", "what is not whole, and nobody's, goes with the next command", what, || {
        created::make(&id)
    })?;
    let take = |name: &str| state::take_name(name, &id).map(|()| name.to_owned());
    let named = facts.name.as_deref().map_or_else(|| names::with_any(take), take);
    let name = named.as_ref().ok().cloned();
    let made = named.and_then(|name| {
        facts.name = Some(name);
        write(meant, &mut facts, &id)?;
        // After the record, which names them: whatever is killed here, no volume is without its container.
        nameless.iter().try_for_each(volumes::make_of_container)?;
        options.cidfile.as_deref().map_or(Ok(()), |path| write_cidfile(path, id.as_str()))
    });
    if let Err(error) = made {
        // That it is gone is seen to by the sweep, if not here.
        let _ = created::remove(&id, name.as_deref());
        let _ = volumes::remove_unused(&nameless);
        return Err(error);
    }
    drop(chosen.held);
    events::container("create", &facts, &[]);
    Ok(Made { id, facts, lock })
}

/// Volumes for the places that the image wants them at, and the flags want without a name: each gets a name of its own.
fn anonymous(options: &RunOptions, meant: &Meant) -> Result<Vec<Volume>, Error> {
    let mut places: BTreeSet<PathBuf> = options.anonymous_volumes.iter().cloned().collect();
    if let Meant::Image(_, image) = meant {
        places.extend(image.config.config.volumes.iter().map(|place| Path::new("/").join(place)));
    }
    let of_files = options.volumes.iter().map(|volume| &volume.target).chain(options.tmpfs.iter().map(|t| &t.target));
    let taken: BTreeSet<&PathBuf> = of_files.collect();
    places.retain(|place| !taken.contains(place) && place != Path::new("/"));
    let volume = |target| {
        let name = Id::random()?.as_str().to_owned();
        Ok(Volume { name: Some(name), target, is_anonymous: true, ..Volume::default() })
    };
    places.into_iter().map(volume).collect()
}

/// Everything between the directory and the record in it.
fn write(meant: &Meant, facts: &mut Facts, id: &Id) -> Result<(), Error> {
    let layer = Layer::of_kept(id)?;
    let root = PathBuf::from(&facts.root);
    let is_ephemeral = facts.options.as_deref().is_some_and(|options| options.ephemeral);
    let top = match meant {
        Meant::Image(images, image) => images.root(image)?.pop(),
        Meant::Archive => {
            let unpacked = image::Store::open(data_dir())?.archive(&root)?;
            facts.archive = Some(unpacked.digest);
            Some(unpacked.dir)
        }
        Meant::Unpacked(unpacked) => {
            facts.archive = Some(unpacked.digest.clone());
            None
        }
        Meant::Directory if is_ephemeral => Some(rootfs::directory(&root)?),
        Meant::Directory | Meant::Host | Meant::Empty => None,
    };
    if matches!(meant, Meant::Directory | Meant::Archive) {
        facts.root = in_full(&root)?;
    }
    if let Some(top) = top {
        layer.upper_like(&top, facts.maps.as_ref()).map_err(Error::file("make the container's layer", layer.path()))?;
    }
    let what = || format!("write {}/created.json", layer.path().display());
    step("write-created", "from here on it stays", what, || created::write(id, facts))
}

/// The path of a root, wherever it is looked at from.
pub(super) fn in_full(root: &Path) -> Result<String, Error> {
    let full =
        root.canonicalize().map_err(|source| Error::File { what: "open the root", path: root.into(), source })?;
    full.into_os_string().into_string().map_err(|path| Error::NotText { path: path.into() })
}

pub(crate) fn write_cidfile(path: &Path, id: &str) -> Result<(), Error> {
    let failed = Error::file("write the id to", path);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644));
    file.and_then(|file| rustix::io::write(&file, id.as_bytes())).map(drop).map_err(failed)
}

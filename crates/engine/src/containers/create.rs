//! `create`: a container that does not run yet. What is on disk, and in which order, see `created`.

use super::facts;
use crate::confines::Confines;
use crate::created;
use crate::error::Error;
use crate::options::RunOptions;
use crate::overlay::Layer;
use crate::rootfs::{self, Meant};
use crate::state::{DATA_DIR, Facts, Id, Record};
use image::Events;
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use step::step;

/// What `create` is asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// What it shall be.
    pub run: RunOptions,
    /// `--cidfile`: the id is written there.
    pub cidfile: Option<PathBuf>,
}

/// Makes a container; its id, and what went wrong beside it.
pub fn create(options: &CreateOptions, events: &dyn Events) -> Result<(String, Vec<String>), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let cidfile = options.cidfile.as_deref();
    if let Some(path) = cidfile.filter(|path| path.symlink_metadata().is_ok()) {
        return Err(Error::File {
            what: "write the id to",
            path: path.into(),
            source: std::io::ErrorKind::AlreadyExists.into(),
        });
    }
    let meant = rootfs::resolve(&options.run, events)?;
    if matches!(meant, Meant::Host) {
        return Err(Error::Conflict(
            "host cannot be created: it is a view of this machine's / as it is while a container runs".into(),
        ));
    }
    // Until the record says that the image is needed, this does.
    let making = match &meant {
        Meant::Image(images, image) => {
            images.check()?;
            let making = images.make()?;
            making.base(image)?;
            Some(making)
        }
        _ => None,
    };
    let id = Id::random()?;
    let mut facts = facts(&options.run, &meant, &id, Confines::of(&options.run)?);
    facts.being_created = true;
    let what = || format!("record container {}", id.host_name());
    let record = step("write-record", "the next command finds what a killed tool leaves", what, || {
        Record::claim(id.clone(), &facts)
    })?;
    (facts.being_created, facts.tool_pid) = (false, None);
    let made = make(&meant, &mut facts, &id).and_then(|()| cidfile.map_or(Ok(()), |path| write_cidfile(path, &id)));
    if made.is_err() {
        // That it is gone is seen to by the sweep, if not here.
        let _ = created::remove(&id);
    }
    let mut errors = record.remove();
    drop(making);
    made?;
    errors.extend(crate::sweep::sweep_all());
    Ok((id.as_str().to_owned(), errors.iter().map(|error| format!("cannot clean up: {error}")).collect()))
}

/// Everything between the record in /run and the one that stays.
fn make(meant: &Meant, facts: &mut Facts, id: &Id) -> Result<(), Error> {
    let layer = Layer::make(id)?;
    let root = PathBuf::from(&facts.root);
    let top = match meant {
        Meant::Image(images, image) => images.root(image)?.pop(),
        Meant::Archive => {
            let unpacked = image::Store::open(Path::new(DATA_DIR))?.archive(&root)?;
            facts.archive = Some(unpacked.digest);
            Some(unpacked.dir)
        }
        Meant::Directory | Meant::Host => None,
    };
    if matches!(meant, Meant::Directory | Meant::Archive) {
        let full = root.canonicalize().map_err(|source| Error::File { what: "open the root", path: root, source })?;
        facts.root = full.to_string_lossy().into_owned();
    }
    if let Some(top) = top {
        layer.upper_like(&top).map_err(Error::file("make the container's layer", layer.path()))?;
    }
    let what = || format!("write {}/created.json", layer.path().display());
    step("write-created", "from here on it stays", what, || created::write(id, facts))
}

fn write_cidfile(path: &Path, id: &Id) -> Result<(), Error> {
    let failed = Error::file("write the id to", path);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644));
    file.and_then(|file| rustix::io::write(&file, id.as_str().as_bytes())).map(drop).map_err(failed)
}

//! `--volumes-from`: a container is made with what another one shows, its paths of the host and its volumes, also those
//! that nobody named. They are looked up as it is made and written down with it, so that the other may go afterwards.

use super::start::options_of;
use super::{CreateOptions, Found, get};
use crate::error::Error;
use crate::options::{RunOptions, Volume};
use crate::parse;
use std::path::{Path, PathBuf};

/// What is made, with the volumes of the others. None if there are no others.
pub(super) fn resolved(options: &CreateOptions) -> Result<Option<CreateOptions>, Error> {
    if options.run.volumes_from.is_empty() {
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let mut all = options.clone();
    let shown = of_others(&all.run)?;
    all.run.volumes.extend(shown);
    Ok(Some(all))
}

/// Of two at one place the later one's is taken, and what the person puts there wins over both, as with Docker.
fn of_others(options: &RunOptions) -> Result<Vec<Volume>, Error> {
    let mut all: Vec<Volume> = Vec::new();
    for text in &options.volumes_from {
        let (words, read_only) = parse::volumes_from(text)
            .map_err(|error| Error::BadName { name: text.clone(), reason: error.to_string() })?;
        let found = get(&words)?;
        refuse_passing(&found)?;
        for volume in &options_of(&found)?.volumes {
            all.retain(|earlier| earlier.target != volume.target);
            // What it begins with, whose it is and what label it has the other has seen to.
            let read_only = volume.read_only || read_only;
            all.push(Volume { read_only, chown: false, relabel: None, ..volume.clone() });
        }
    }
    let own = |target: &PathBuf| {
        options.volumes.iter().any(|volume| volume.target == *target)
            || options.tmpfs.iter().any(|tmpfs| tmpfs.target == *target)
    };
    all.retain(|volume| !own(&volume.target));
    Ok(all)
}

/// The volumes without a name of one that goes when it ends are its own directories, and go with it.
fn refuse_passing(found: &Found) -> Result<(), Error> {
    let facts = found.facts()?;
    let options = options_of(found)?;
    let has = |place: &Path| options.volumes.iter().any(|volume| volume.target == place);
    let of_image = facts.config.volumes.iter().map(|place| Path::new("/").join(place));
    let mut nameless = of_image.chain(options.anonymous_volumes.iter().cloned());
    if !found.stays
        && let Some(place) = nameless.find(|place| !has(place))
    {
        return Err(Error::Conflict(format!(
            "--volumes-from {0}: its volume at {1} has no name, and goes when {0} ends (--rm)",
            found.shown(),
            place.display()
        )));
    }
    Ok(())
}

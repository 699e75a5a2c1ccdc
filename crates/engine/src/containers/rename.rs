//! `rename`: another name for a container.
//!
//! The new name is taken first and the old one given up last. Of a container that stays what is on disk is written anew;
//! into the record of one that goes when it ends, which is its tool's, a line is written that says so. A command that is
//! killed in between leaves a name that leads to a container of another name: it goes with the container, or when the
//! container is renamed once more. On networks that tell names the new one is told then; of a killed command the old one
//! is told until the next start, or the next name. What the container's own /etc/hosts says of it stays, as with Docker.

use super::{Found, locked};
use crate::created;
use crate::endpoints::{self, Asking};
use crate::error::Error;
use crate::events;
use crate::files;
use crate::state::{self, Facts};
use rustix::fs::FlockOperation;
use step::step;

/// Gives a container another name.
pub fn rename(words: &str, name: &str) -> Result<(), Error> {
    let (found, _lock) = locked(words, FlockOperation::LockExclusive)?;
    let what = || format!("name {} {name}", found.shown());
    step("rename-container", "it was asked for", what, || take(&found, name))?;
    let facts = found.facts()?;
    if found.is_running
        && let Some(options) = &facts.options
    {
        let asking = Asking { id: &found.id, options, name: Some(name), host: &files::host_resolver() };
        endpoints::rename(&crate::sweep::network(), &asking)?;
    }
    // Docker's names have a slash before them there.
    let old = format!("/{}", facts.shown());
    events::container("rename", &Facts { name: Some(name.to_owned()), ..facts.clone() }, &[("oldName", &old)]);
    Ok(())
}

fn take(found: &Found, name: &str) -> Result<(), Error> {
    let facts = found.facts()?;
    let old = facts.name.as_deref();
    if old == Some(name) && state::holder_of(name).as_ref() == Some(&found.id) {
        return Err(Error::NameTaken { name: name.to_owned(), id: found.id.host_name().to_owned() });
    }
    state::take_name(name, &found.id)?;
    let renamed = if found.stays {
        let mut facts = Facts { name: Some(name.to_owned()), tool_pid: None, ..facts.clone() };
        // By which its own /etc/hosts knows it, from the next start on.
        if let Some(options) = &mut facts.options {
            options.name = Some(name.to_owned());
        }
        let written = created::write(&found.id, &facts).and_then(|()| created::sync(&found.id));
        written.and_then(|()| old.map_or(Ok(()), |old| state::give_up_name(old, &found.id)))
    } else {
        state::rename(&found.id, old, name)
    };
    if renamed.is_err() {
        state::give_up_name(name, &found.id)?;
    }
    renamed
}

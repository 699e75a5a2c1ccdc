//! `rename`: another name for a container.
//!
//! The new name is taken first and the old one given up last. Of a container that was created the record is written anew;
//! meanwhile the new name is held as by one that is being created, by a record in /run. Into the record of one that runs,
//! which is its tool's, a line is written that says so. A command that is killed in between leaves a name that leads to no
//! container of that name: the container's tool removes it in the end, and the next sweep or whoever wants it before.

use super::{Found, get};
use crate::created;
use crate::error::Error;
use crate::state::{self, Facts, Id, Record};
use rustix::fs::FlockOperation;
use step::step;

/// Gives a container another name.
pub fn rename(words: &str, name: &str) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    let _lock = found.lock(FlockOperation::LockExclusive)?;
    // Read again, now that nobody else can rename it.
    let found = get(found.id.as_str())?;
    let what = || format!("name {} {name}", found.shown());
    step("rename-container", "it was asked for", what, || match found.is_running {
        true => of_running(&found, name),
        false => of_created(&found, name),
    })
}

fn of_running(found: &Found, name: &str) -> Result<(), Error> {
    state::take_name(name, &found.id)?;
    let renamed = match created::holder_of(name) {
        Some(holder) => Err(Error::NameTaken { name: name.to_owned(), id: holder.host_name().to_owned() }),
        None => state::rename(&found.id, found.facts()?.name.as_deref(), name),
    };
    if renamed.is_err() {
        state::give_up_name(name, &found.id)?;
    }
    renamed
}

fn of_created(found: &Found, name: &str) -> Result<(), Error> {
    let facts = Facts { name: Some(name.to_owned()), ..found.facts()?.clone() };
    let id = Id::random()?;
    let claim = Facts { id: id.as_str().to_owned(), being_created: true, tool_pid: Some(std::process::id()), ..facts };
    let record = Record::claim(id, &claim)?;
    let facts = Facts { id: found.id.as_str().to_owned(), being_created: false, tool_pid: None, ..claim };
    let written = created::write(&found.id, &facts);
    let errors = record.remove();
    written.and(errors.into_iter().next().map_or(Ok(()), Err))
}

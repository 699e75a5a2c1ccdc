//! What a killed tool left behind, found and removed by the next command.
//!
//! A record that can be locked belongs to nobody alive. Its container's processes are killed through its control group,
//! then group, lease, writable layer, name and record go, in the order in which a crash in the middle leaves the rest
//! findable: the record last. Layers without a record are older than the last boot, and go as
//! well, but for those of containers that were created to stay (`created`).

use crate::created;
use crate::error::Error;
use crate::state::{self, Held, Id};
use rustix::fs::FlockOperation;
use std::path::Path;
use step::step;

/// Removes every dead container. `own` is this process's, which is not looked at. Goes on after an error and returns
/// them all.
pub(crate) fn sweep(own: &Id) -> Vec<Error> {
    sweep_but(Some(own))
}

/// As [`sweep`], of a command that has no container of its own.
pub(crate) fn sweep_all() -> Vec<Error> {
    sweep_but(None)
}

fn sweep_but(own: Option<&Id>) -> Vec<Error> {
    let mut errors = Vec::new();
    for id in state::all().into_iter().filter(|id| Some(id) != own) {
        match state::try_hold(&id) {
            Ok(Held::Dead(_lock)) => errors.extend(remove_container(&id)),
            Ok(Held::Alive | Held::Gone) => {}
            Err(error) => errors.push(error),
        }
    }
    errors.extend(sweep_layers(own));
    errors.extend(network().sweep().into_iter().map(Error::from));
    match image::Images::existing(Path::new(state::DATA_DIR)) {
        Ok(Some(images)) => errors.extend(images.sweep().into_iter().map(Error::from)),
        Ok(None) => {}
        Err(error) => errors.push(error.into()),
    }
    match image::Store::open(Path::new(state::DATA_DIR)) {
        Ok(store) => errors.extend(store.sweep().into_iter().map(Error::from)),
        Err(error) => errors.push(error.into()),
    }
    errors
}

/// The default network.
pub(crate) fn network() -> network::Network {
    network::Network::open(&Path::new(state::RUN_DIR).join("network"))
}

/// Removes all that a dead container left. The caller holds its record.
pub(crate) fn remove_container(id: &Id) -> Vec<Error> {
    let mut errors = Vec::new();
    let what = || format!("remove what is left of container {}", id.host_name());
    let _ = step("sweep-container", "its tool was killed", what, || {
        errors.extend(remove_parts(id));
        Ok::<(), Error>(())
    });
    errors
}

fn remove_parts(id: &Id) -> Vec<Error> {
    let mut errors = remove_cgroup(id);
    errors.extend(network().release(id.as_str()).into_iter().map(Error::from));
    // Whoever made it was killed when it was whole: it stays.
    if !created::exists(id) {
        errors.extend(crate::overlay::remove_layer(id).err());
    }
    errors.extend(state::forget(id));
    errors
}

/// Kills every process of a container that has any.
pub(crate) fn kill_processes(id: &Id) -> Result<(), Error> {
    let wrap = |error| Error::from(runtime::Error::from(error));
    let group = id.open_cgroup()?;
    if group.exists() { group.kill().map_err(wrap) } else { Ok(()) }
}

fn remove_cgroup(id: &Id) -> Vec<Error> {
    let wrap = |error| Error::from(runtime::Error::from(error));
    match id.open_cgroup() {
        Ok(group) if group.exists() => {
            let mut errors: Vec<Error> = group.kill().err().into_iter().map(wrap).collect();
            errors.extend(group.remove().into_iter().map(wrap));
            errors
        }
        Ok(_) => Vec::new(),
        Err(error) => vec![error],
    }
}

/// Layers whose record is gone: the machine was started anew, and /run with it; or a removal was cut short. In this
/// order: a container that is being created is whole before it gives its record up.
fn sweep_layers(own: Option<&Id>) -> Vec<Error> {
    let names = state::file_names(&state::layers_dir());
    let ids = names.iter().filter_map(|name| Id::from_file_name(name.as_encoded_bytes()));
    ids.filter(|id| Some(id) != own && matches!(state::try_hold(id), Ok(Held::Gone)) && !created::exists(id))
        .filter_map(|id| match created::lock(&id, FlockOperation::NonBlockingLockExclusive) {
            Ok(Some(_lock)) => crate::overlay::remove_layer(&id).err(),
            // It is being removed by another.
            Ok(None) => None,
            Err(error) => Some(error),
        })
        .collect()
}

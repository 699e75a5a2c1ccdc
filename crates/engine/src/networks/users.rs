//! Which containers name which networks.

use crate::created;
use crate::options::NetworkMode;
use crate::state::{self, Facts, Held, Id};
use std::collections::{BTreeMap, BTreeSet};

/// A container, and the networks that it names.
#[derive(Debug)]
pub(super) struct User {
    pub(super) id: String,
    /// Its name, or the first digits of its id.
    pub(super) shown: String,
    pub(super) is_running: bool,
    pub(super) networks: Vec<String>,
    /// The hardware addresses that it was given, by network.
    pub(super) macs: BTreeMap<String, [u8; 6]>,
}

/// Every container. For a process that has none of its own: to look at a record ends the lock on it.
pub(super) fn users() -> Vec<User> {
    // First the records: so none is missed on its way from one to the other.
    let is_alive = |id: &Id| matches!(state::try_hold(id), Ok(Held::Alive));
    let running: BTreeSet<Id> = state::all().into_iter().filter(is_alive).collect();
    let created = created::all().into_iter().filter_map(|(id, facts)| Some((id, facts.ok()?)));
    // One that stays has a record that does not say what it is.
    let passing = running.iter().filter_map(|id| Some((id.clone(), state::facts(id)?)));
    created.chain(passing).filter_map(|(id, facts)| user(&id, &facts, running.contains(&id))).collect()
}

fn user(id: &Id, facts: &Facts, is_running: bool) -> Option<User> {
    let mode = &facts.options.as_deref()?.network;
    let endpoints = if let NetworkMode::Named(endpoints) = mode { &endpoints[..] } else { &[] };
    let macs = endpoints.iter().filter_map(|one| Some((one.network.clone(), one.mac?))).collect();
    Some(User { id: id.as_str().to_owned(), shown: facts.shown().to_owned(), is_running, networks: mode.names(), macs })
}

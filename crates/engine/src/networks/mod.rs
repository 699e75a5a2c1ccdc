//! Networks by their names: the default one, and those that people make.
//!
//! ```text
//! DATA/networks/      0700
//!   NAME.json         a network that was made: what `network::Config` says. There whole, or not at all
//!   .new              one that is being made; of a killed command it goes with the next one that makes or prunes
//!   .lock             see below
//! ```
//!
//! `.lock` (flock) is held while one is made or removed, so that no two get one name, one subnet or one bridge; who only
//! looks takes no lock. Whoever starts a container on a network holds that one's file shared ([`hold`]) until it runs, and
//! who removes it holds the file alone: so of a start and a removal one comes first, and the other is told. A container
//! says in its record which networks it names before it looks for them. What is on the host of a network, while
//! containers are on it, is the network crate's matter; here is only what lasts.

mod asked;
mod create;
mod driver_options;
mod plan;
mod store;
mod users;

pub(crate) use asked::{resolved, settled};
pub use create::{CreateOrder, create};
pub use network::doctor::{Finding, State};
pub use network::{Config, Driver};

use crate::error::Error;
use crate::options::Endpoint;
use network::Cidr;
use network::doctor::Patient;
use rustix::fs::FlockOperation;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use store::Store;

/// The network of a container that says nothing of it.
pub const DEFAULT: &str = "bridge";

/// Networks that are there without having been made: name, driver as Docker calls it, and an id that is the same on every
/// host: SHA-256 of `mycontainer network NAME`.
const BUILT_IN: [(&str, &str, &str); 3] = [
    (DEFAULT, "bridge", "ad2047d2cfa2dada973f7d1e52b75cd8434944b6dcb221886eada73571782727"),
    ("host", "host", "377b4ac80396cb537762ab52396cc8f7d859773e39588d63e25c093c25f41e82"),
    ("none", "null", "07cb3b0476165952e6be114c74664b14fd3d63c745a17bdea7bb2fcec79970f5"),
];

/// A network, with who names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// What it is.
    pub config: Config,
    /// Its driver's name: of those that are built in also `host` and `null`.
    pub driver: &'static str,
    /// Nobody made it, and nobody removes it.
    pub is_built_in: bool,
    /// Containers that name it, running or not: by name or the first digits of the id.
    pub containers: Vec<String>,
}

impl Listed {
    /// Whether it has addresses to give.
    pub fn has_addresses(&self) -> bool {
        !self.is_built_in || self.config.name == DEFAULT
    }
}

/// A container that is on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The container's id.
    pub id: String,
    /// Its name, or the first digits of its id.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// Address with the bits of the mask; empty when it has none.
    pub ipv4: String,
    /// As that.
    pub ipv6: String,
}

/// Puts the rules of the network in place anew, with all that is published, and the bridges that are gone: for when somebody
/// flushed or changed the host's. What may still not work, for the person to read.
pub fn reload() -> Result<Option<String>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    Ok(crate::sweep::network().reload(&all()?)?)
}

/// What on this host breaks the containers' networks, or may. Nothing is changed.
pub fn doctor() -> Result<Vec<Finding>, Error> {
    root()?;
    let (networks, resolver) = (all()?, crate::files::host_resolver());
    let patient = Patient { run_dir: &crate::sweep::network_dir(), networks: &networks, resolver: &resolver };
    Ok(crate::rootless::on_host(|| network::doctor::examine(patient))?)
}

/// The network that words mean: a name, an id, or the beginning of one. It has addresses: `host` and `none` are none.
pub fn find(words: &str) -> Result<Config, Error> {
    let none = || Error::NoSuchNetwork { words: words.to_owned() };
    if words == DEFAULT {
        return Ok(default_config());
    }
    if is_name(words)
        && let Some(config) = Store::existing()?.map_or(Ok(None), |store| store.read(words))?
    {
        return Ok(config);
    }
    let is_meant = |config: &Config| is_beginning(words, &config.id);
    let mut meant = all()?.into_iter().filter(is_meant).chain(Some(default_config()).filter(is_meant));
    match (meant.next(), meant.next()) {
        (Some(config), None) => Ok(config),
        (Some(_), Some(_)) => Err(Error::AmbiguousNetwork { words: words.to_owned() }),
        (None, _) => Err(none()),
    }
}

/// Those that were made, by name. One whose file cannot be understood is an error: its subnet could be given twice.
pub fn all() -> Result<Vec<Config>, Error> {
    let Some(store) = Store::existing()? else { return Ok(Vec::new()) };
    store.names().iter().filter_map(|name| store.read(name).transpose()).collect()
}

/// The subnets of those that were made. Of one whose file cannot be understood none is known.
pub(crate) fn subnets() -> Vec<Cidr> {
    let Ok(Some(store)) = Store::existing() else { return Vec::new() };
    let of = |config: Config| Cidr::new(config.ipv4.subnet.into(), config.ipv4.prefix);
    store.names().iter().filter_map(|name| store.read(name).ok().flatten().map(of)).collect()
}

/// The default network, as it is now or would be now.
pub fn default_config() -> Config {
    let options =
        [("com.docker.network.bridge.default_bridge", "true"), ("com.docker.network.bridge.name", network::BRIDGE)];
    Config {
        // Where the host's links cannot be listed a start will say so.
        ipv4: crate::rootless::on_host(|| network::default_pool(subnets)).unwrap_or_default(),
        bridge: Some(network::BRIDGE.to_owned()),
        options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..built_in(DEFAULT)
    }
}

/// Keeps a network from being removed until the result is dropped; the built-in ones nobody removes. That it is gone by
/// now, or another one has its name, is an error.
pub fn hold(config: &Config) -> Result<Option<OwnedFd>, Error> {
    if is_built_in(&config.name) {
        return Ok(None);
    }
    let gone = || Error::NoSuchNetwork { words: config.name.clone() };
    let store = Store::existing()?.ok_or_else(gone)?;
    let held = store.hold(&config.name, FlockOperation::LockShared)?.ok_or_else(gone)?;
    let is_still = store.read(&config.name)?.is_some_and(|now| now.id == config.id);
    if is_still { Ok(Some(held)) } else { Err(gone()) }
}

/// The networks that a container is to be started on, each held.
pub(crate) fn held(endpoints: &[Endpoint]) -> Result<Vec<(Config, Option<OwnedFd>)>, Error> {
    let held = |endpoint: &Endpoint| {
        let config = find(&endpoint.network)?;
        let hold = hold(&config)?;
        Ok((config, hold))
    };
    endpoints.iter().map(held).collect()
}

/// Every network, by name, and what could not be read.
pub fn list() -> Result<(Vec<Listed>, Vec<Error>), Error> {
    let uses = uses();
    let (mut listed, mut errors) = (Vec::new(), Vec::new());
    for (name, ..) in BUILT_IN {
        listed.push(built_in_listed(name, &uses));
    }
    let store = Store::existing()?;
    let names = store.as_ref().map(Store::names).unwrap_or_default();
    for read in names.iter().filter_map(|name| store.as_ref()?.read(name).transpose()) {
        match read {
            Ok(config) => listed.push(made(config, &uses)),
            Err(error) => errors.push(error),
        }
    }
    listed.sort_by(|a, b| a.config.name.cmp(&b.config.name));
    Ok((listed, errors))
}

/// As [`find`], with who names it; also of the built-in ones without addresses.
pub fn get(words: &str) -> Result<Listed, Error> {
    root()?;
    if is_built_in(words) {
        return Ok(built_in_listed(words, &uses()));
    }
    match find(words) {
        Ok(config) if is_built_in(&config.name) => Ok(built_in_listed(&config.name, &uses())),
        Ok(config) => Ok(made(config, &uses())),
        Err(Error::NoSuchNetwork { words }) => match BUILT_IN.iter().find(|(.., id)| is_beginning(&words, id)) {
            Some((name, ..)) => Ok(built_in_listed(name, &uses())),
            None => Err(Error::NoSuchNetwork { words }),
        },
        Err(error) => Err(error),
    }
}

/// The containers that are on it at this moment.
pub fn members(config: &Config) -> Vec<Member> {
    let on_it = |user: &users::User| user.is_running && user.networks.contains(&config.name);
    let member = |user: users::User| {
        let member = Member { name: user.shown.clone(), id: user.id.clone(), ..Member::default() };
        let lease = crate::sweep::network().lease_of(&member.id, config).ok().flatten();
        let Some(at) = lease else { return member };
        let mac = user.macs.get(&config.name).copied().unwrap_or(at.mac).map(|byte| format!("{byte:02x}")).join(":");
        let ipv6 = at.six.map_or_else(String::new, |(address, pool)| format!("{address}/{}", pool.prefix));
        Member { mac, ipv4: format!("{}/{}", at.address, at.prefix), ipv6, ..member }
    };
    users::users().into_iter().filter(on_it).map(member).collect()
}

/// Removes a network that no container is on. One that does not run may name it still, and will not start. With `force`
/// that there is none is no error.
pub fn remove(words: &str, force: bool) -> Result<(), Error> {
    let gone = || if force { Ok(()) } else { Err(Error::NoSuchNetwork { words: words.to_owned() }) };
    root()?;
    if is_built_in(words) {
        return Err(Error::BuiltInNetwork { name: words.to_owned() });
    }
    let Some(store) = Store::existing()? else { return gone() };
    let _lock = store.lock()?;
    // By its name also one that cannot be understood.
    let name = if is_name(words) && store.names().iter().any(|name| name == words) {
        words.to_owned()
    } else {
        match find(words) {
            Ok(config) if is_built_in(&config.name) => return Err(Error::BuiltInNetwork { name: config.name }),
            Ok(config) => config.name,
            Err(Error::NoSuchNetwork { .. }) => return gone(),
            Err(error) => return Err(error),
        }
    };
    remove_from(&store, &name, |user| user.is_running)
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Names.
    pub removed: Vec<String>,
    /// What could not be removed.
    pub errors: Vec<Error>,
}

/// Removes the networks that no container names, running or not, and `goes` tells of.
pub fn prune(goes: &dyn Fn(&Config) -> bool) -> Result<Pruned, Error> {
    let mut pruned = Pruned::default();
    let Some(store) = Store::existing()? else { return Ok(pruned) };
    let _lock = store.lock()?;
    store.sweep()?;
    // What is not known of one container may be that it names a network.
    if let Some(error) = crate::created::all().into_iter().find_map(|(_, facts)| facts.err()) {
        pruned.errors.push(error);
        return Ok(pruned);
    }
    // Looked at again for each that seems to be nobody's, when nobody can come to it any more.
    let named: BTreeSet<String> = users::users().into_iter().flat_map(|user| user.networks).collect();
    for name in store.names().into_iter().filter(|name| !named.contains(name)) {
        match store.read(&name) {
            Ok(Some(config)) if goes(&config) => {}
            Ok(_) => continue,
            Err(error) => {
                pruned.errors.push(error);
                continue;
            }
        }
        match remove_from(&store, &name, |_| true) {
            Ok(()) => pruned.removed.push(name),
            // That is no failure: it is used.
            Err(Error::NetworkInUse { .. } | Error::NetworkBusy { .. }) => {}
            Err(error) => pruned.errors.push(error),
        }
    }
    Ok(pruned)
}

/// Removes one, unless one of those that `counts` names it, or a container is being started on it. The caller has the
/// lock.
fn remove_from(store: &Store, name: &str, counts: impl Fn(&users::User) -> bool) -> Result<(), Error> {
    let Some(held) = store.hold(name, FlockOperation::NonBlockingLockExclusive)? else { return Ok(()) };
    // Only now: who has come to it runs, and is seen to, and who comes is told that it is gone.
    let mut users = users::users().into_iter();
    if let Some(user) = users.find(|user| counts(user) && user.networks.iter().any(|network| network == name)) {
        return Err(Error::NetworkInUse { name: name.to_owned(), container: user.shown });
    }
    // Of one that cannot be understood the janitor removes what there is.
    if let Ok(Some(config)) = store.read(name)
        && !crate::sweep::network().remove_idle(&config)?
    {
        return Err(Error::NetworkBusy { name: name.to_owned() });
    }
    store.remove(name, held)
}

fn root() -> Result<(), Error> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

fn is_name(words: &str) -> bool {
    crate::parse::network_name(words).is_ok()
}

fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(known, ..)| *known == name)
}

fn is_beginning(words: &str, id: &str) -> bool {
    !words.is_empty() && id.starts_with(words)
}

fn built_in(name: &str) -> Config {
    let id = BUILT_IN.iter().find(|(known, ..)| *known == name).map_or("", |(.., id)| id);
    // Nobody made it: Go's beginning of time, which programs that read it understand.
    Config { id: id.to_owned(), name: name.to_owned(), created: "0001-01-01T00:00:00Z".to_owned(), ..Config::default() }
}

fn built_in_listed(name: &str, uses: &BTreeMap<String, Vec<String>>) -> Listed {
    let config = if name == DEFAULT { default_config() } else { built_in(name) };
    let driver = BUILT_IN.iter().find(|(known, ..)| *known == name).map_or("", |(_, driver, _)| driver);
    Listed { driver, is_built_in: true, containers: uses.get(name).cloned().unwrap_or_default(), config }
}

fn made(config: Config, uses: &BTreeMap<String, Vec<String>>) -> Listed {
    let containers = uses.get(&config.name).cloned().unwrap_or_default();
    Listed { driver: config.driver.name(), is_built_in: false, containers, config }
}

/// Who names which network.
fn uses() -> BTreeMap<String, Vec<String>> {
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for user in users::users() {
        for network in user.networks {
            uses.entry(network).or_default().push(user.shown.clone());
        }
    }
    uses
}

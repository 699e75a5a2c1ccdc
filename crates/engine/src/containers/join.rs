//! `network connect` and `network disconnect`: other networks for a container, whether it runs or not.
//!
//! What is written of the container comes first, then what it has: so a command that was killed between the two has left
//! one that is on a network by its record and has no address there, or an address and no link. The same command once more
//! does what is left to do, and so does the next start. The container's own files come last: of them alone the next start
//! has to say what a killed command did not. To leave a network is the other way round: link, names and lease go, then the
//! record.

use super::{Found, alive, locked, process};
use crate::created;
use crate::endpoints::{self, Asking, Place};
use crate::error::Error;
use crate::events;
use crate::files;
use crate::networks;
use crate::options::{Endpoint, NetworkMode, RunOptions};
use crate::rootless;
use crate::state::{self, Facts};
use network::{Lease, Network, Owner};
use runtime::Root;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags, fstatfs, ftruncate, openat,
    statx,
};
use rustix::io::Errno;
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use step::step;

/// Puts a container on a network. What it was not told of that, for the person to read.
pub fn connect(words: &str, endpoint: &Endpoint) -> Result<Vec<String>, Error> {
    let (found, _lock) = locked(words, FlockOperation::LockExclusive)?;
    let facts = found.facts()?;
    let before = super::start::options_of(&found)?;
    let mut endpoints = named(&found, before)?;
    let network = crate::sweep::network();
    let config = networks::find(&endpoint.network)?;
    let endpoint = Endpoint { network: config.name.clone(), ..endpoint.clone() };
    endpoints::check(&endpoint)?;
    let endpoint = networks::settled(&endpoint, &config)?;
    let is_named = endpoints.iter().any(|one| one.network == endpoint.network);
    let has_process = has_process(&found);
    if is_named && (!has_process || is_joined(&found, &network, &config)?) {
        if has_process {
            finish(&found, before, &network, &config.name)?;
        }
        let (container, network) = (found.shown().to_owned(), endpoint.network);
        return Err(Error::Conflict(format!("{container} is on the network {network} already")));
    }
    endpoints.retain(|one| one.network != endpoint.network);
    endpoints.push(endpoint);
    let options = RunOptions { network: NetworkMode::Named(endpoints), ..before.clone() };
    write(&found, facts, &options)?;
    let mut notes = Vec::new();
    if has_process {
        let joined = join(&found, &options, &network, &config.name);
        if joined.is_err() {
            // The first failure is the one to tell.
            let _ = write(&found, facts, before);
        }
        notes = joined?;
    }
    events::joined("connect", &config, &found.id);
    Ok(notes)
}

/// Takes a container off a network. By `force` it is no failure that it is not there.
pub fn disconnect(words: &str, network_words: &str, force: bool) -> Result<Vec<String>, Error> {
    let (found, _lock) = locked(words, FlockOperation::LockExclusive)?;
    let facts = found.facts()?;
    let before = super::start::options_of(&found)?;
    let mut endpoints = named(&found, before)?;
    // One that was removed by force is still in the container's record.
    let config = match networks::find(network_words) {
        Err(Error::NoSuchNetwork { .. }) => None,
        found => Some(found?),
    };
    let name = config.as_ref().map_or(network_words, |config| &config.name).to_owned();
    if !endpoints.iter().any(|one| one.network == name) {
        if force {
            return Ok(Vec::new());
        }
        return Err(Error::Conflict(format!("{} is not on the network {name}", found.shown())));
    }
    endpoints.retain(|one| one.network != name);
    let options = RunOptions { network: NetworkMode::Named(endpoints), ..before.clone() };
    let mut notes = Vec::new();
    if let (true, Some(config)) = (has_process(&found), &config) {
        notes = leave(&found, before, &options, config)?;
    }
    write(&found, facts, &options)?;
    if let Some(config) = &config {
        events::joined("disconnect", config, &found.id);
    }
    Ok(notes)
}

/// Whether there is something to put on a network now. What its policy starts again in a moment reads its record then.
fn has_process(found: &Found) -> bool {
    found.is_running && found.news.restarting != Some(true)
}

/// The networks that a container names; one that shares another's network, or has none, can be on none of ours.
fn named(found: &Found, options: &RunOptions) -> Result<Vec<Endpoint>, Error> {
    let other = |what: &str| Error::Conflict(format!("{} has {what}: it can be on no other", found.shown()));
    match &options.network {
        NetworkMode::Named(endpoints) => Ok(endpoints.clone()),
        NetworkMode::Bridge => Ok(vec![Endpoint { network: networks::DEFAULT.to_owned(), ..Endpoint::default() }]),
        NetworkMode::None => Err(other("no network by its own wish")),
        NetworkMode::Host => Err(other("the host's network")),
        NetworkMode::Container(_) | NetworkMode::Namespace(_) => Err(other("the network of another")),
    }
}

fn write(found: &Found, facts: &Facts, options: &RunOptions) -> Result<(), Error> {
    if !found.stays {
        return state::renetwork(&found.id, options.network.clone());
    }
    let facts = Facts { options: Some(Box::new(options.clone())), tool_pid: None, ..facts.clone() };
    created::write(&found.id, &facts)?;
    created::sync(&found.id)
}

/// What of a running container is needed here.
struct Running {
    netns: OwnedFd,
    root: Root,
    owner: Owner,
}

impl Running {
    fn of(found: &Found) -> Result<Running, Error> {
        let facts = found.facts()?;
        let first = process::first(&found.id, &found.open_cgroup()?, facts)?;
        let path = format!("/proc/{}/ns/net", first.pid);
        let netns = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let netns = netns.map_err(Error::file("open", &path))?;
        let root = Root::of_process(first.pid)?;
        let tool = facts.tool_pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let owner = Owner::of(tool)?;
        // Were they gone by now, all this might be of others with their numbers.
        alive::tool(found)?;
        if !process::is_alive(&first.pidfd) {
            return Err(Error::NotRunning { container: found.shown().to_owned() });
        }
        Ok(Running { netns, root, owner })
    }
}

/// Whether a container that runs has an address on a network, and a link there that has it.
fn is_joined(found: &Found, network: &Network, config: &network::Config) -> Result<bool, Error> {
    let Some(lease) = network.lease_of(found.id.as_str(), config)? else { return Ok(false) };
    Ok({
        let running = Running::of(found)?;
        rootless::on_host(|| network::is_connected(&lease, running.netns.as_fd()))?
    })
}

/// What a killed `connect` has not done of a network on which the container is.
fn finish(found: &Found, options: &RunOptions, network: &Network, name: &str) -> Result<(), Error> {
    let running = Running::of(found)?;
    let host = files::host_resolver();
    let asking = Asking { id: &found.id, options, name: found.facts()?.name.as_deref(), host: &host };
    let places = endpoints::places(&asking)?;
    let before = leases(network, found, places.iter().filter(|one| one.config.name != name))?;
    let all = leases(network, found, places.iter())?;
    network.lead_to(found.id.as_str(), &all)?;
    // That somebody has changed a file is no news here.
    let _ = tell(found, &running, options, &before, &all);
    Ok(())
}

/// A lease, a link and a name on one network for a container that runs.
fn join(found: &Found, options: &RunOptions, network: &Network, name: &str) -> Result<Vec<String>, Error> {
    let running = Running::of(found)?;
    let host = files::host_resolver();
    let asking = Asking { id: &found.id, options, name: found.facts()?.name.as_deref(), host: &host };
    let places = endpoints::places_there(&asking)?;
    let Some(place) = places.iter().find(|place| place.config.name == name) else { return Ok(Vec::new()) };
    let before = leases(network, found, places.iter().filter(|one| one.config.name != name))?;
    let netns = running.netns.as_fd();
    let nth = rootless::on_host(|| network::free_number(netns))?;
    let is_way_out = !rootless::on_host(|| network::has_way_out(netns))?;
    let joined = || -> Result<(Lease, Vec<Lease>), network::Error> {
        let lease = network.lease(&endpoints::request(&asking, place, running.owner, nth, is_way_out))?;
        network.connect(&lease, netns)?;
        let all: Vec<Lease> = before.iter().chain([&lease]).cloned().collect();
        network.lead_to(found.id.as_str(), &all)?;
        Ok((lease, all))
    };
    let joined = joined();
    if joined.is_err()
        && let Ok(Some(lease)) = network.lease_of(found.id.as_str(), &place.config)
    {
        // The first failure is the one to tell, and what is left here goes with the container.
        let _ = network.disconnect(&lease, &before, netns);
    }
    let (lease, all) = joined?;
    let mut notes: Vec<String> = lease.warning.clone().into_iter().collect();
    notes.extend(tell(found, &running, options, &before, &all));
    Ok(notes)
}

fn leave(
    found: &Found,
    before: &RunOptions,
    options: &RunOptions,
    config: &network::Config,
) -> Result<Vec<String>, Error> {
    let running = Running::of(found)?;
    let network = crate::sweep::network();
    // None where a killed command has taken it off that network: what comes after that is left to do.
    let lease = network.lease_of(found.id.as_str(), config)?;
    let host = files::host_resolver();
    let asking = |options| Asking { id: &found.id, options, name: None, host: &host };
    let all = leases(&network, found, endpoints::places_there(&asking(before))?.iter())?;
    let left = leases(&network, found, endpoints::places_there(&asking(options))?.iter())?;
    if let Some(lease) = &lease {
        network.disconnect(lease, &left, running.netns.as_fd())?;
    }
    if let Some(out) = left.iter().find(|lease| !lease.internal)
        && !rootless::on_host(|| network::has_way_out(running.netns.as_fd()))?
    {
        rootless::on_host(|| network::lead_out(out, running.netns.as_fd()))?;
    }
    Ok(tell(found, &running, options, &all, &left))
}

fn leases<'a>(network: &Network, found: &Found, places: impl Iterator<Item = &'a Place>) -> Result<Vec<Lease>, Error> {
    let mut leases = Vec::new();
    for place in places {
        leases.extend(network.lease_of(found.id.as_str(), &place.config)?);
    }
    Ok(leases)
}

/// Writes the container's addresses and resolvers into its own files. What could not be written, for the person to read.
fn tell(found: &Found, running: &Running, options: &RunOptions, before: &[Lease], after: &[Lease]) -> Vec<String> {
    let host = files::host_resolver();
    let confines = found.facts.as_ref().and_then(|facts| facts.confines.as_ref());
    let hostname = confines.map_or(found.id.host_name(), |confines| confines.hostname(&found.id));
    let hosts = |text: &str| Some(files::hosts_with(text, hostname, options, before, after));
    let was = files::resolver(options, before, &host);
    let now = files::resolver(options, after, &host);
    // Who has written it anew means it; and where the host's own has changed since the start, nobody knows.
    let is_changed = Cell::new(false);
    let resolver = |text: &str| {
        is_changed.set(text != was && text != now && was != now);
        (text == was).then(|| now.clone())
    };
    let changes: [(&str, &Change<'_>); 2] = [(files::HOSTS, &hosts), (files::RESOLVER, &resolver)];
    let mut notes = Vec::new();
    for (path, change) in changes.into_iter().filter(|(path, _)| files::is_ours(options, Path::new(path))) {
        let rewritten = step(
            "rewrite-file",
            "it is on other networks now",
            || path.to_owned(),
            || rewrite(&running.root, Path::new(path), change),
        );
        if let Err(errno) = rewritten {
            notes.push(format!("{path} in the container is as it was: {errno}"));
        }
    }
    if is_changed.get() {
        notes.push(format!(
            "{} in the container is as it was: it, or this host's, was changed since the start",
            files::RESOLVER
        ));
    }
    notes
}

/// What becomes of a file's text; nothing, when it stays as it is.
type Change<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The longest of such files that is read: what is longer was not written by us.
const LONGEST: usize = 1 << 20;
/// `TMPFS_MAGIC`. [statfs(2)]
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// Changes a file of a container in its place. The container may have made anything of it: a link, a device, or, with the
/// right to unmount, the one below it, which may be the host's. Ours is a mount of its own, of a file in memory: it is
/// opened by its path alone until it is known to be one.
fn rewrite(root: &Root, path: &Path, change: &Change<'_>) -> Result<(), Errno> {
    let found = root.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let stat = statx(&found, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE | StatxFlags::SIZE)?;
    let size = usize::try_from(stat.stx_size).unwrap_or(usize::MAX);
    let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    let is_mount = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) && fstatfs(&found)?.f_type == TMPFS;
    if !is_file || !is_mount || size > LONGEST {
        return Err(Errno::INVAL);
    }
    let same = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = openat(CWD, same, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = vec![0; size];
    let length = rustix::io::pread(&file, &mut text, 0)?;
    text.truncate(length);
    let Some(changed) = change(&String::from_utf8_lossy(&text)) else { return Ok(()) };
    // Written before it is cut, so that who reads meanwhile finds no empty file.
    let mut at = 0;
    while let Some(rest) = changed.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
        at += rustix::io::pwrite(&file, rest, at as u64)?;
    }
    ftruncate(&file, changed.len() as u64)
}

//! `pod create`, and a container's way into a pod.

use super::look::members;
use super::{Pod, PodPlace, Share, get, store};
use crate::containers::{self, CreateOptions};
use crate::created;
use crate::error::Error;
use crate::log::{LogDriver, LogOptions};
use crate::names;
use crate::namespaces::{self, NamespaceMode};
use crate::options::{NetworkMode, RunOptions};
use crate::parse;
use crate::publish;
use crate::rootfs::Meant;
use crate::state::Id;
use crate::userns::{self, UserMode};
use image::archive::timestamp;
use rustix::fs::FlockOperation;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// What `pod create` is asked for.
#[derive(Clone, Debug, Default)]
pub struct PodOrder {
    /// `--name`; without one it gets two words.
    pub name: Option<String>,
    /// `--infra-name`.
    pub infra_name: Option<String>,
    /// `--infra=false`: nothing holds namespaces, and none is shared.
    pub no_infra: bool,
    /// `--share`; by default [`Share::DEFAULT`].
    pub share: Option<Vec<Share>>,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// `--replace`: a pod that has the name goes.
    pub replace: bool,
    /// `--pod-id-file`.
    pub id_file: Option<PathBuf>,
    /// What the infra container has: network, ports, host name, names of hosts and servers.
    pub infra: RunOptions,
    /// The words after the tool's name, as typed.
    pub made_by: Vec<String>,
}

/// How long who starts a container waits for another who is just starting its infra container.
const STARTING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Makes a pod; its id.
pub fn create(order: &PodOrder) -> Result<String, Error> {
    check(order)?;
    if let (true, Some(name)) = (order.replace, &order.name) {
        // What stands in the way of the new one shall not cost the old one.
        if !order.no_infra {
            infra(order, &new(order, name)?)?;
        }
        if let Some(path) = order.id_file.as_ref().filter(|path| path.symlink_metadata().is_ok()) {
            let source = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::File { what: "write the id to", path: path.clone(), source });
        }
        super::change::remove_called(name)?;
    }
    let (pod, lock) = match &order.name {
        Some(name) => claim(order, name)?,
        None => names::with_any(|name| {
            claim(order, name).map_err(|error| match error {
                Error::PodExists { name } => Error::NameTaken { name, id: String::new() },
                error => error,
            })
        })?,
    };
    let infra = if order.no_infra { Ok(()) } else { make_infra(order, &pod) };
    let made = infra.and_then(|()| match &order.id_file {
        Some(path) => containers::write_id(path, &pod.id),
        None => Ok(()),
    });
    if let Err(error) = made {
        // What is left of it a sweep sees to.
        let _ = pod.infra_id().map(|infra| containers::remove_infra(&infra));
        let _ = store::remove(&pod);
        return Err(error);
    }
    drop(lock);
    let _ = crate::sweep::sweep(None);
    Ok(pod.id)
}

/// Whether it can be meant.
fn check(order: &PodOrder) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    namespaces::check(&order.infra)?;
    publish::check(&order.infra)?;
    userns::check(&order.infra)?;
    let own_network = [
        ("--publish", order.infra.publishes()),
        ("--network", order.infra.network != NetworkMode::Bridge),
        ("--add-host", !order.infra.add_hosts.is_empty()),
        ("--dns", !order.infra.dns.is_empty()),
    ];
    if order.no_infra {
        let of_infra = [
            ("--share", order.share.as_ref().is_some_and(|share| !share.is_empty())),
            ("--infra-name", order.infra_name.is_some()),
            ("--hostname", order.infra.hostname.is_some()),
            ("--userns", userns::is_asked_for(&order.infra)),
        ];
        return match own_network.iter().chain(&of_infra).find(|(_, is_said)| *is_said) {
            Some((flag, _)) => {
                Err(Error::Conflict(format!("{flag} cannot be used with --infra=false: nothing is shared")))
            }
            None => Ok(()),
        };
    }
    match own_network.iter().find(|(_, is_said)| *is_said && !order.shares(Share::Net)) {
        Some((flag, _)) => Err(Error::Conflict(format!("{flag} says something of a network that is not shared"))),
        None => Ok(()),
    }
}

impl PodOrder {
    fn share(&self) -> Vec<Share> {
        match &self.share {
            _ if self.no_infra => Vec::new(),
            Some(share) => share.clone(),
            None => Share::DEFAULT.into(),
        }
    }

    fn shares(&self, share: Share) -> bool {
        self.share().contains(&share)
    }
}

fn new(order: &PodOrder, name: &str) -> Result<Pod, Error> {
    Ok(Pod {
        id: Id::random()?.as_str().to_owned(),
        name: name.to_owned(),
        created: timestamp(SystemTime::now()),
        labels: order.labels.iter().cloned().collect(),
        share: order.share(),
        infra: if order.no_infra { String::new() } else { Id::random()?.as_str().to_owned() },
        made_by: order.made_by.clone(),
    })
}

fn claim(order: &PodOrder, name: &str) -> Result<(Pod, OwnedFd), Error> {
    let pod = new(order, name)?;
    let lock = store::claim(&pod)?;
    Ok((pod, lock))
}

/// As much of a pod's name as a host's may have. [sethostname(2)]
fn host_name(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The container that holds the pod's namespaces, as it is to be made.
fn infra(order: &PodOrder, pod: &Pod) -> Result<CreateOptions, Error> {
    let has = |share| order.shares(share);
    // With the network of another go its host's name and files.
    let has_own_name = !matches!(order.infra.network, NetworkMode::Container(_));
    let run = RunOptions {
        root: "pause".into(),
        command: vec!["pause".into()],
        name: Some(order.infra_name.clone().unwrap_or_else(|| format!("{}-infra", &pod.id[..12]))),
        hostname: order.infra.hostname.clone().or_else(|| has_own_name.then(|| host_name(&pod.name))),
        read_only: true,
        cap_drop: vec![None],
        no_new_privileges: true,
        network: if has(Share::Net) { order.infra.network.clone() } else { NetworkMode::None },
        ipc: if has(Share::Ipc) { NamespaceMode::Shareable } else { NamespaceMode::Private },
        pod: Some(PodPlace { pod: pod.id.clone(), is_infra: true, ..PodPlace::default() }),
        log: LogOptions { driver: LogDriver::None, ..LogOptions::default() },
        ..order.infra.clone()
    };
    let options = CreateOptions { run, made_by: order.made_by.clone(), ..CreateOptions::default() };
    Ok(containers::resolve_others(&options)?.unwrap_or(options))
}

fn make_infra(order: &PodOrder, pod: &Pod) -> Result<(), Error> {
    let id = pod.infra_id().unwrap_or_else(Id::nobody);
    let made = containers::make_as(id, &infra(order, pod)?, &Meant::Empty)?;
    created::sync(&made.id)
}

/// Puts a container that is to be made into the pod that it names: it gets the pod's namespaces. A pod `new:NAME` is made,
/// and what is said of network and host name is said of that.
pub(crate) fn join(making: &mut CreateOptions) -> Result<(), Error> {
    let options = &mut making.run;
    let Some(place) = options.pod.clone().filter(|place| !place.is_infra) else { return Ok(()) };
    let is_new = place.pod.starts_with("new:");
    let pod = match place.pod.strip_prefix("new:") {
        Some(name) => {
            making.says_network = false;
            let order = order_of(name, options, &making.made_by)?;
            let pod = get(&create(&order)?)?;
            options.pod = Some(PodPlace { pod: pod.id.clone(), is_new: true, ..PodPlace::default() });
            pod
        }
        None => get(&place.pod)?,
    };
    let has = |share| pod.share.contains(&share);
    let refuse = |flag: &str| Err(Error::Conflict(format!("{flag} is the pod's: say it to `pod create`")));
    if has(Share::Net) && (making.says_network || options.network != NetworkMode::Bridge) {
        return refuse("--network");
    }
    if has(Share::Net) && options.publishes() {
        return refuse("--publish");
    }
    if (has(Share::Net) || has(Share::Uts)) && options.hostname.is_some() {
        return refuse("--hostname");
    }
    if userns::is_asked_for(options) {
        return refuse("--userns");
    }
    let infra = || pod.infra.clone();
    // What is shared belongs to it.
    if pod.infra_id().is_some() && containers::users_of(&pod.infra)?.0.is_some() {
        options.userns = UserMode::Container(infra());
    }
    if has(Share::Net) {
        options.network = NetworkMode::Container(infra());
    }
    let modes = [
        (Share::Ipc, &mut options.ipc, "--ipc"),
        (Share::Pid, &mut options.pid, "--pid"),
        (Share::Uts, &mut options.uts, "--uts"),
        (Share::Cgroup, &mut options.cgroupns, "--cgroupns"),
    ];
    for (share, mode, flag) in modes {
        match (has(share), mode.clone()) {
            (true, NamespaceMode::Private) => *mode = NamespaceMode::Container(infra()),
            (true, _) => return refuse(flag),
            (false, _) => {}
        }
    }
    options.pod = Some(PodPlace { pod: pod.id, is_new, ..PodPlace::default() });
    Ok(())
}

/// Removes the pod that was made for a container which could not be made; one that was made stays with it.
pub(crate) fn unmake(options: &RunOptions) {
    let Some(place) = options.pod.as_ref().filter(|place| place.is_new) else { return };
    let members = get(&place.pod).and_then(|pod| members(&pod)).unwrap_or_default();
    if members.iter().all(|member| member.is_infra) {
        // The failure of the container is the one to tell.
        let _ = super::remove(&place.pod, true, None);
    }
}

/// The order for `--pod new:NAME`, with what is the pod's taken out of the container's options.
fn order_of(name: &str, options: &mut RunOptions, made_by: &[String]) -> Result<PodOrder, Error> {
    let name = parse::name(name)
        .map_err(|reason| Error::BadName { name: format!("new:{name}"), reason: reason.to_string() })?;
    let infra = RunOptions {
        network: std::mem::take(&mut options.network),
        publish: std::mem::take(&mut options.publish),
        expose: std::mem::take(&mut options.expose),
        hostname: options.hostname.take(),
        add_hosts: std::mem::take(&mut options.add_hosts),
        dns: std::mem::take(&mut options.dns),
        dns_search: std::mem::take(&mut options.dns_search),
        dns_options: std::mem::take(&mut options.dns_options),
        userns: std::mem::take(&mut options.userns),
        uid_map: std::mem::take(&mut options.uid_map),
        gid_map: std::mem::take(&mut options.gid_map),
        ..RunOptions::default()
    };
    Ok(PodOrder { name: Some(name), infra, made_by: made_by.to_vec(), ..PodOrder::default() })
}

/// Keeps the pod of a container that is being made, until the result is dropped.
pub(crate) fn hold(options: &RunOptions) -> Result<Option<OwnedFd>, Error> {
    let Some(place) = options.pod.as_ref().filter(|place| !place.is_infra) else { return Ok(None) };
    let gone = || Error::NoSuchPod { words: place.pod.clone() };
    let lock = store::lock(&get(&place.pod)?, FlockOperation::LockShared)?;
    lock.map(Some).ok_or_else(gone)
}

/// Starts the infra container of a container's pod, if it does not run.
pub(crate) fn start_infra(options: &RunOptions) -> Result<(), Error> {
    let Some(place) = options.pod.as_ref().filter(|place| !place.is_infra) else { return Ok(()) };
    let pod = get(&place.pod)?;
    if pod.infra_id().is_none() {
        return Ok(());
    }
    let until = Instant::now() + STARTING;
    loop {
        match containers::start(&pod.infra, &containers::StartOrder::default(), &mut |_| {}) {
            Err(Error::ContainerBusy { .. }) if Instant::now() < until => std::thread::sleep(PAUSE),
            done => return done.map(drop),
        }
    }
}

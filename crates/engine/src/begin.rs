//! A container begins to run: its root, volumes, address, files and configuration come together, and its first process is
//! made and started. Who holds it then is another's matter: `run` in the foreground, or its monitor.

use crate::confines::Confines;
use crate::containers::{self, Shared};
use crate::endpoints::{self, Asking};
use crate::error::Error;
use crate::files;
use crate::image_volumes;
use crate::options::{RunOptions, Volume};
use crate::overlay::Layer;
use crate::ownership;
use crate::rootfs::{self, Meant, OpenRoot, Opened};
use crate::rootless;
use crate::run;
use crate::spec::{self, Parts};
use crate::state::{self, Id};
use crate::userns::{self, Maps, UserMode};
use crate::{spare, user, volumes};
use network::{Lease, Network, Wish};
use oci_spec::runtime::Spec;
use runtime::{Bundle, Container, Extras, Root, Rootfs, Stdio, Tree};
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a container is, as far as its start needs it.
pub(crate) struct Beginning<'a> {
    pub(crate) id: &'a Id,
    /// By which it is known.
    pub(crate) name: Option<&'a str>,
    /// What the person asked for, with the image's words where the person is silent.
    pub(crate) options: &'a RunOptions,
    pub(crate) confines: &'a Confines,
    pub(crate) meant: &'a Meant,
    pub(crate) network: &'a Network,
    /// Its ports that shall be reached through the host.
    pub(crate) ports: &'a [Wish],
    /// Its layer outlives it.
    pub(crate) stays: bool,
    /// The ids of its user namespace, if it has one of its own.
    pub(crate) maps: Option<&'a Maps>,
}

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) container: Container,
    /// What did not stop it.
    pub(crate) notes: Vec<String>,
    /// What its root is made of, held so that nobody removes it.
    pub(crate) held: Vec<OwnedFd>,
}

/// Makes and starts it. What was made is taken back when something fails, but for what [`end`] removes.
pub(crate) fn begin(beginning: &Beginning<'_>, stdio: Stdio) -> Result<Begun, Error> {
    let Beginning { id, name, options, confines, meant, network, ports, stays, maps } = *beginning;
    let layer = || if stays { Layer::of_kept(id) } else { Layer::make(id) };
    let OpenRoot { root, mut trees, is_host, held } = match if stays { containers::mount::copy(id)? } else { None } {
        Some(_) if maps.is_some() => {
            return Err(Error::IsMounted { container: name.unwrap_or(id.host_name()).to_owned() });
        }
        Some(mounted) if rootfs::has_layer(meant, options) => OpenRoot::plain(Root::new(mounted)),
        _ => match spare(beginning)? {
            Some(ready) => OpenRoot::plain(Root::new(ready)),
            None => rootfs::open(meant, options, &layer, maps)?,
        },
    };
    let with_volumes = with_volumes(beginning, root.tree(), &mut trees)?;
    let options = with_volumes.as_ref().unwrap_or(options);
    let mut shared = containers::open_shared(options)?;
    if let UserMode::Namespace(path) = &options.userns {
        userns::check_joined(path, maps)?;
    }
    let host_resolver = files::resolver_for(options);
    let asking = Asking { id, options, name, host: &host_resolver };
    let leases = endpoints::lease(network, &asking)?;
    if !leases.is_empty() {
        rootless::ports::pass_on(network, id, &network.publish(&leases, ports)?)?;
    }
    let hostname = confines.hostname(id);
    let mut files = files::files(options, hostname, &leases, &host_resolver)?;
    files.retain(|file| !shared.has(&file.path));
    // A view of the host that is made piece by piece has its programs and users in none of the pieces alone.
    let host = if is_host && rootless::is_rootless() { Some(rootfs::host()?) } else { None };
    let looked_in = host.as_ref().unwrap_or(root.tree());
    files.extend(userns::accounts::files(options, looked_in)?);
    let spec = configuration(options, confines, looked_in, is_host, hostname, &shared, maps)?;
    let cgroup = match rootless::groups::enter() {
        Ok(()) => id.cgroup(options.cgroup_parent.as_deref())?,
        Err(error) if run::needs_group(options) => return Err(rootless::groups::refused(error)),
        Err(_) => cgroup::Location::None,
    };
    let (root, layers) = match root {
        Opened::Ready(root) => (Rootfs::Mount(root), None),
        Opened::Layers(layers) => (Rootfs::Given, Some(layers)),
    };
    let bundle = Bundle {
        id: id.as_str().to_owned(),
        dir: "/".into(),
        cgroup,
        spec,
        root,
        trees,
        files,
        seccomp: confines.filter()?,
        init: options.init,
        stdio,
        extras: Extras { shared: std::mem::take(&mut shared.trees), pause: options.is_infra(), ..Extras::default() },
    };
    let mut container = runtime::create(bundle, |newborn| {
        if let Some(layers) = &layers {
            newborn.give_root(layers.stack()?)?;
        }
        if let Meant::Image(images, _) = meant {
            images.check()?;
        }
        connect(network, &leases, newborn)
    })?;
    if let Err(error) = container.start() {
        // Before it says what it died of it may have been killed for want of memory.
        let starved = matches!(error, runtime::Error::Vanished) && container.oom_killed().unwrap_or(false);
        container.abandon();
        return Err(if starved { Error::Starved } else { error.into() });
    }
    let warnings: BTreeSet<&String> = leases.iter().filter_map(|lease| lease.warning.as_ref()).collect();
    let mut notes: Vec<String> = warnings.into_iter().cloned().collect();
    if files::is_without_resolver(options, &leases, &host_resolver) {
        let why = "this host asks a server on its loopback for names, which the container does not reach by its network: name \
                   one with --dns";
        notes.push(why.to_owned());
    }
    Ok(Begun { container, notes, held })
}

/// The overlay of a layer that another container of the image has left ready.
fn spare(beginning: &Beginning<'_>) -> Result<Option<OwnedFd>, Error> {
    match beginning.meant {
        Meant::Image(images, image) if beginning.takes_spare() && images.mounted(image).is_some() => {
            spare::take(image, beginning.id)
        }
        _ => Ok(None),
    }
}

impl Beginning<'_> {
    /// Whether a layer does that was made for any container of its image.
    pub(crate) fn takes_spare(&self) -> bool {
        !self.stays && self.maps.is_none() && matches!(self.meant, Meant::Image(..))
    }
}

/// What a damaged image makes impossible is not the reason to tell.
pub(crate) fn or_damaged(error: Error, meant: &Meant) -> Error {
    match meant {
        Meant::Image(images, _) => images.check().map_or_else(Error::from, |()| error),
        _ => error,
    }
}

/// Gives back what a container has of the host while it runs, beside its processes.
pub(crate) fn end(id: &Id, options: &RunOptions, network: &Network) -> Vec<Error> {
    if !endpoints::has_addresses(options) {
        return Vec::new();
    }
    let withdrawn = if options.publishes() { network.withdraw(id.as_str()) } else { Vec::new() };
    let mut errors = give_back(network, id, withdrawn);
    errors.extend(rootless::ports::withdraw());
    errors
}

/// Gives the address back, unless withdrawing its ports has failed: by the lease a sweep finds them.
pub(crate) fn give_back(network: &Network, id: &Id, withdrawn: Vec<network::Error>) -> Vec<Error> {
    let errors = if withdrawn.is_empty() { network.release(id.as_str()) } else { withdrawn };
    errors.into_iter().map(Error::from).collect()
}

/// The options with all volumes found and made, if there are any but paths of the host; parts of volumes come to `trees`.
fn with_volumes(beginning: &Beginning<'_>, root: &Root, trees: &mut Vec<Tree>) -> Result<Option<RunOptions>, Error> {
    let Beginning { options, meant, id, maps, .. } = *beginning;
    let mut places: BTreeSet<PathBuf> = options.anonymous_volumes.iter().cloned().collect();
    if let Meant::Image(_, image) = meant {
        places.extend(image.config.config.volumes.iter().map(PathBuf::from));
    }
    let is_plain = |volume: &Volume| volume.name.is_none() && !ownership::is_wanted(volume);
    if places.is_empty() && options.volumes.iter().all(is_plain) {
        return Ok(None);
    }
    let mut options = options.clone();
    trees.extend(volumes::resolve(&mut options.volumes, root, maps)?);
    for volume in options.volumes.iter().filter(|volume| ownership::is_wanted(volume)) {
        let identity = user::resolve(root, options.user.as_deref())?;
        let owner = ownership::on_disk((identity.uid, identity.gid), volume, maps);
        ownership::prepare(volume, owner, id)?;
    }
    if !places.is_empty() {
        state::make_private_directory(&state::layer_path(id)).map_err(Error::file("make", state::layer_path(id)))?;
        let made = image_volumes::make(&places, &options, root, id)?;
        options.volumes.extend(made.into_iter().map(|volume| Volume { idmap: maps.is_some(), ..volume }));
    }
    if let Some(maps) = maps.filter(|maps| maps.is_copied) {
        let identity = user::resolve(root, options.user.as_deref())?;
        let owner = maps.outside(identity.uid, identity.gid);
        let mut ours = options.volumes.iter().filter(|volume| volume.name.is_some() || volume.idmap);
        ours.try_for_each(|volume| ownership::give_if_new(volume, owner))?;
    }
    Ok(Some(options))
}

fn connect(network: &Network, leases: &[Lease], newborn: &runtime::Newborn) -> Result<(), Error> {
    if leases.is_empty() {
        return Ok(());
    }
    let namespace = newborn.network_namespace()?;
    leases.iter().try_for_each(|lease| network.connect(lease, namespace.as_fd())).map_err(Error::from)
}

/// The OCI configuration, with what has to be looked up in the root.
fn configuration(
    options: &RunOptions,
    confines: &Confines,
    root: &Root,
    is_host_view: bool,
    hostname: &str,
    shared: &Shared,
    maps: Option<&Maps>,
) -> Result<Spec, Error> {
    let identity = user::resolve(root, options.user.as_deref())?;
    let identity = user::with_groups(identity, root, &options.group_add)?;
    userns::check_identity(&identity, maps)?;
    spec::spec(Parts {
        options,
        confines,
        hostname,
        identity: &identity,
        command: command(options, root)?,
        is_host_view,
        shared,
        maps,
        has_swap_limit: options.limits.memory.is_some() && has_swap_limit(),
    })
}

/// The words of the program: `--entrypoint` and COMMAND, else the root's best shell.
fn command(options: &RunOptions, root: &Root) -> Result<Vec<String>, Error> {
    let entrypoint = options.entrypoint.iter().filter(|program| !program.is_empty());
    let words: Vec<String> = entrypoint.chain(&options.command).cloned().collect();
    if !words.is_empty() {
        return Ok(words);
    }
    let shells = ["bash", "sh"];
    let places = ["bin", "usr/bin", "usr/local/bin"];
    let has = |shell: &&&str| places.iter().any(|dir| root.open(&Path::new(dir).join(shell), OFlags::PATH).is_ok());
    shells.iter().find(has).map(|shell| vec![(*shell).to_owned()]).ok_or(Error::NoShell)
}

/// Whether memory and swap together can be limited here: on v1 only where swap is accounted.
pub(crate) fn has_swap_limit() -> bool {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    if v1.exists() { v1.join("memory.memsw.limit_in_bytes").exists() } else { Path::new("/proc/swaps").exists() }
}

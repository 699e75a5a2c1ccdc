//! Files become a running container: the OCI verb `restore`, by CRIU (`criu`).
//!
//! The twin of [`crate::create`] for a container that has run before. The id is claimed and the control group made as
//! for any other; then a child in that group, with a mount namespace of its own, prepares the root file system for criu
//! (`external`), leaves criu's request in the socket, and becomes criu. criu makes the processes as children of this
//! one, and tells when their namespaces are there (hooks run) and when they are (the record gets the first one).
//!
//! What `kill -9` of this process leaves: criu waits for an answer at each of these points and takes everything back
//! when nobody gives one; and it does not let a process go on before the record names it. So either the record has a
//! first process, or there will be none; the group and the record are `delete`'s to remove, which also ends a criu that
//! is still in the group. On the host there is no mount more than before; places to mount
//! something on are made in the root file system, and beside the records an empty directory, `.stage`.

use crate::checkpoint::{self, Directories, Images, OUTSIDE};
use crate::create::{self, Container};
use crate::criu::{self, Criu, Kind, Options};
use crate::error::Error;
use crate::external;
use crate::hooks;
use crate::launch::{self, End, Running};
use crate::pinned::Pinned;
use crate::plan::{self, Plan};
use crate::process::Process;
use crate::procfs::Procfs;
use crate::record::{Facts, Record, Records};
use crate::resctrl::{self, Resctrl};
use crate::status::{StateJson, Status};
use crate::{Runtime, config};
use cgroup::{Cgroup, Location};
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;

/// No list of descriptors is longer.
const LONGEST_DESCRIPTORS: u64 = 64 * 1024;

/// Beside the records: an empty directory, over which criu's mount namespace has other things. No id begins with a dot.
const STAGE: &str = ".stage";

/// What `restore` is asked for, beside the id.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// Where from, and how.
    pub images: Images,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Where the terminal's controlling side is sent.
    pub console_socket: Option<PathBuf>,
    /// Where the first process's id is written.
    pub pid_file: Option<PathBuf>,
    /// This process ends before the container does.
    pub detach: bool,
    /// Connections come back closed.
    pub tcp_close: bool,
    /// Another security profile than the images have, as `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// Another SELinux context of mounts than the images have.
    pub lsm_mount_context: Option<String>,
}

impl Runtime {
    /// Makes a container from what [`crate::Known::checkpoint`] wrote. The caller must be single-threaded.
    pub fn restore(&self, id: &str, asked: &Restore) -> Result<Running, Error> {
        crate::record::check_id(id)?;
        checkpoint::need_root()?;
        let dir = std::fs::canonicalize(&asked.bundle).map_err(launch::file("use the bundle", &asked.bundle))?;
        let config = dir.join("config.json");
        let text = launch::read_config(&config, launch::open_regular(&config))?;
        // Without its filter, which is in the images.
        let mut spec = config::read(&text).map_err(|source| Error::Config { path: config.clone(), source })?.spec;
        let rootfs = launch::rootfs(&spec, &dir)?;
        launch::pass_sockets(&mut spec, None);
        let plan = plan::plan(&spec, &dir)?;
        checkpoint::check_namespaces(&plan)?;
        external::check(&plan)?;
        check_terminal(&spec, asked)?;
        let dirs = Directories::open(&asked.images)?;
        let streams = read_descriptors(&dirs.descriptors())?;
        criu::check_version()?;
        let (namespaces, mut options) = joined(&plan, options(&dirs, &spec, &rootfs, asked)?)?;
        let fds = 0..streams.len().min(3) as i32;
        let handed_on = fds.zip(&streams).filter(|(_, key)| key.starts_with("pipe:") || key.starts_with("file["));
        options.inherited.extend(handed_on.map(|(fd, key)| (key.clone(), fd)));
        check_streams(&streams)?;
        let facts = self.facts(id, &dir, &rootfs, &spec, with_time_namespace(text)?)?;
        let (state, end) = (facts.state(&spec, Status::Creating, 0), End::of(&spec, &facts)?);
        let record = step(
            "claim-id",
            "no two have the same",
            || format!("record container {id}"),
            || Records::open(&self.root)?.claim(facts),
        )?;
        let stage = self.root.join(STAGE);
        let mut work = Work {
            plan: &plan,
            images: &asked.images,
            stage: &stage,
            options,
            namespaces,
            state,
            record,
            restored: None,
            shares: None,
            terminal: None,
        };
        let made = work.make(&spec, self.is_rootless());
        match made.and_then(|container| work.finish(container, asked)) {
            Ok(container) => Ok(Running::of(container, work.record, end)),
            Err(error) => {
                let _ = work.record.remove();
                Err(dirs.explain(error, "restore the container", "restore.log"))
            }
        }
    }
}

/// A restore under way.
struct Work<'a> {
    plan: &'a Plan,
    images: &'a Images,
    stage: &'a Path,
    options: Options,
    /// Namespaces of others, which criu inherits.
    namespaces: Vec<OwnedFd>,
    state: StateJson,
    record: Record,
    restored: Option<(Pinned, OwnedFd)>,
    shares: Option<resctrl::Group>,
    terminal: Option<OwnedFd>,
}

impl Work<'_> {
    /// On failure nothing is left but the record.
    fn make(&mut self, spec: &Spec, rootless: bool) -> Result<Container, Error> {
        let facts: &Facts = self.record.facts.as_ref().ok_or(Error::Vanished)?;
        let (rootfs, location) = (facts.rootfs.clone(), facts.cgroup.clone());
        let host = cgroup::Host::detect()?;
        let mut cgroup = create::make_cgroup(&host, spec, &location, rootless)?;
        let id = self.state.id.clone();
        let what = || format!("have criu make the processes of {id}");
        let restored = step("restore", "they go on where they were", what, || self.restore(&rootfs, &mut cgroup));
        match (restored, self.restored.take()) {
            (Ok(()), Some((init, pidfd))) => {
                let process = Process::running(init.pid, pidfd, self.terminal.take())?;
                Ok(Container::of(process, cgroup, self.shares.take()))
            }
            (failed, restored) => {
                if let Some((_, pidfd)) = restored {
                    let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
                }
                let _ = cgroup.kill();
                cgroup.remove();
                let _ = self.shares.take().map(|shares| shares.remove());
                Err(failed.err().unwrap_or(Error::Vanished))
            }
        }
    }

    fn restore(&mut self, rootfs: &Path, cgroup: &mut Cgroup) -> Result<(), Error> {
        let inherited: Vec<_> = self.namespaces.iter().map(AsFd::as_fd).collect();
        let options = &self.options;
        let (plan, images, stage) = (self.plan, self.images, self.stage);
        let stage = make_stage(stage)?;
        let criu = Criu::start(Some(cgroup), &inherited, |ahead| {
            let mut options = options.clone();
            options.cgroup_roots = own_groups()?;
            options.mounts = external::prepare(rootfs, &stage, plan, ahead.cgroup.ok_or(Error::Vanished)?)?;
            // Once more: those that are open are of the tool's mount namespace, and criu mounts things in its work directory.
            let dirs = Directories::open(images)?;
            dirs.put_into(&mut options);
            ahead.send(&criu::request(Kind::Restore, Some(&options)))?;
            Ok(dirs.into_fds())
        })?;
        let answer = criu.converse(|script, pid, fd| self.notified(script, pid, fd, cgroup.location()));
        // When it was refused an answer it ends all that it made.
        criu.wait()?;
        match answer? {
            answer if answer.success => Ok(()),
            answer => Err(Error::Criu { what: "", reason: answer.reason(), log: String::new() }),
        }
    }

    fn notified(&mut self, script: &str, pid: i32, fd: Option<OwnedFd>, cgroup: &Location) -> Result<(), Error> {
        match script {
            "setup-namespaces" => {
                let state = StateJson { pid, ..self.state.clone() };
                let hooks = &self.plan.hooks.create_runtime;
                hooks::run(hooks, "createRuntime", &state.to_json(), Some(&self.state.bundle.clone()))
            }
            "orphan-pts-master" => {
                self.terminal = fd;
                Ok(())
            }
            "post-restore" => {
                let proc = Procfs::host()?;
                let init = Pinned::of(&proc, pid)?.ok_or(Error::Vanished)?;
                let pidfd = init.open(&proc)?.ok_or(Error::Vanished)?;
                self.restored = Some((init, pidfd));
                if let Some(wanted) = &self.plan.resctrl {
                    let resctrl = Resctrl::mounted()?;
                    let shares = self.shares.insert(resctrl.make(wanted, &self.state.id)?);
                    shares.join(&resctrl, pid)?;
                }
                step(
                    "record-init",
                    "who comes later finds it",
                    || format!("record pid {pid}"),
                    || self.record.add_restored(init, cgroup),
                )
            }
            _ => Ok(()),
        }
    }

    /// Tells the caller who it is.
    fn finish(&mut self, container: Container, asked: &Restore) -> Result<Container, Error> {
        let tell = || -> Result<(), Error> {
            if let Some(path) = &asked.console_socket {
                launch::send_terminal(path, container.process())?;
            }
            asked.pid_file.as_ref().map_or(Ok(()), |path| launch::write_pid(path, container.pid()))
        };
        match tell() {
            Ok(()) => Ok(container),
            Err(error) => {
                container.abandon();
                Err(error)
            }
        }
    }
}

fn options(dirs: &Directories, spec: &Spec, rootfs: &Path, asked: &Restore) -> Result<Options, Error> {
    let mut options = dirs.options("restore.log", &asked.images, spec)?;
    options.root = Some(checkpoint::utf8(rootfs)?);
    options.as_sibling = true;
    options.evasive_devices = true;
    options.tcp_close = asked.tcp_close;
    options.lsm_profile = asked.lsm_profile.clone();
    options.lsm_mount_context = asked.lsm_mount_context.clone();
    Ok(options)
}

/// Stays, like the other directories beside the records.
fn make_stage(path: &Path) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(launch::file("make the directory", path)(error))
        }
        _ => std::fs::canonicalize(path).map_err(launch::file("use the directory", path)),
    }
}

/// Namespaces of others: some criu inherits, the others it opens itself.
fn joined(plan: &Plan, mut options: Options) -> Result<(Vec<OwnedFd>, Options), Error> {
    let mut held = Vec::new();
    for (kind, name, path) in plan.namespaces.joined() {
        match OUTSIDE.iter().find(|(outside, ..)| *outside == kind) {
            None => options.joined.push((name, checkpoint::utf8(path)?)),
            Some((_, _, key)) => {
                let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|errno| Error::Namespace { kind: name, path: path.to_owned(), source: errno.into() })?;
                options.inherited.push(((*key).to_owned(), fd.as_raw_fd()));
                held.push(fd);
            }
        }
    }
    Ok((held, options))
}

/// In the container's group: its path in each hierarchy, by controller, which takes the place of the old one.
fn own_groups() -> Result<Vec<(String, String)>, Error> {
    let proc = Procfs::host()?;
    let own = proc.own().map_err(Error::Proc)?;
    Ok(groups_of(&proc.read(&format!("{own}/cgroup")).map_err(Error::Proc)?))
}

/// `NUMBER:CONTROLLERS:PATH`, without controllers on v2. [cgroups(7)]
fn groups_of(table: &str) -> Vec<(String, String)> {
    let mut groups = Vec::new();
    for line in table.lines() {
        let mut words = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (words.next(), words.next()) {
            groups.extend(controllers.split(',').map(|controller| (controller.to_owned(), path.to_owned())));
        }
    }
    groups
}

fn check_terminal(spec: &Spec, asked: &Restore) -> Result<(), Error> {
    let wanted = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    match (wanted, &asked.console_socket) {
        (false, Some(_)) => Err(Error::Invalid("a console socket is given, and process.terminal is not set".into())),
        (true, None) if asked.detach && !asked.images.shell_job => {
            Err(Error::Invalid("process.terminal is set, and no console socket is given to send it to".into()))
        }
        _ => Ok(()),
    }
}

/// A file outside of the container, criu wants to find as it was: same kind, same size.
fn check_streams(streams: &[String]) -> Result<(), Error> {
    use rustix::stdio::{stderr, stdin, stdout};
    let own = [("input", stdin()), ("output", stdout()), ("error", stderr())];
    let is_file =
        |fd| rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let wrong = own.iter().zip(streams).find(|((_, fd), key)| key.starts_with("file[") && !is_file(*fd));
    match wrong {
        None => Ok(()),
        Some(((name, _), _)) => Err(Error::Invalid(format!(
            "standard {name} was a file of the host when it was checkpointed: it needs that file again, opened to append"
        ))),
    }
}

fn read_descriptors(path: &Path) -> Result<Vec<String>, Error> {
    use std::io::Read;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(launch::file("open", path))?;
    file.take(LONGEST_DESCRIPTORS).read_to_end(&mut text).map_err(launch::file("read", path))?;
    serde_json::from_slice(&text).map_err(|source| Error::Config { path: path.to_owned(), source })
}

/// The configuration as the container is from now on: criu restores into a new time namespace, so that the clocks go on
/// where they were, and a process that joins has to enter it.
fn with_time_namespace(text: String) -> Result<String, Error> {
    if std::fs::symlink_metadata("/proc/self/ns/time").is_err() {
        return Ok(text);
    }
    let mut config: serde_json::Value = serde_json::from_str(&text).map_err(|e| Error::Invalid(e.to_string()))?;
    let Some(list) = config.pointer_mut("/linux/namespaces").and_then(serde_json::Value::as_array_mut) else {
        return Ok(text);
    };
    if list.iter().any(|namespace| namespace["type"] == "time") {
        return Ok(text);
    }
    list.push(serde_json::json!({ "type": "time" }));
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_by_controller() {
        let table = "12:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\nnonsense\n";
        let expected = [("cpu", "/a"), ("cpuacct", "/a"), ("name=systemd", "/b:c"), ("", "/d")];
        assert_eq!(groups_of(table), expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    }

    #[test]
    fn a_time_namespace_is_added_once() {
        let added = with_time_namespace(r#"{"linux":{"namespaces":[{"type":"pid"}]},"z":1}"#.into()).unwrap();
        assert_eq!(added.matches(r#""time""#).count(), 1);
        assert_eq!(with_time_namespace(added.clone()).unwrap(), added);
        assert_eq!(with_time_namespace("{}".into()).unwrap(), "{}");
    }
}

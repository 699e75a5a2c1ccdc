//! A running container becomes files: the OCI verb `checkpoint`, by CRIU (`criu`).
//!
//! In the images' directory, beside what criu writes: `descriptors.json`, what standard input, output and error were
//! when the container was made, so that a restore can put its own in their place. The same file and shape as runc's and
//! crun's. In the work directory (default: the images'), `dump.log`.
//!
//! A container whose dump fails runs on as before. One that was dumped is gone, and its caller deletes it; with
//! `leave_running` and of a `pre_dump`, which writes memory only, it runs on. If this process is killed, criu notices,
//! lets the container run on and ends; what it has written so far stays.

use crate::criu::{self, Criu, Kind, Options};
use crate::error::Error;
use crate::external;
use crate::known::Known;
use crate::pinned::Pinned;
use crate::plan::{self, Plan};
use crate::procfs::Procfs;
use crate::status::Status;
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;
use sys::fork::Namespaces;

/// In the images' directory.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";
/// The annotation that names a configuration file of criu's, and the file without it. [runc, crun]
const CONFIG_ANNOTATION: &str = "org.criu.config";
const CONFIG: &str = "/etc/criu/runc.conf";
/// How much of a log is looked at for what went wrong, and how many lines of it are told.
const LONGEST_LOG: u64 = 64 * 1024;
const TOLD_LINES: usize = 5;

/// What becomes of control groups that criu finds or makes. [criu(8), --manage-cgroups]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// What criu makes gets its old properties, what is there stays.
    #[default]
    Soft,
    /// As if nothing were there: properties are always restored.
    Full,
    /// Nothing may be there.
    Strict,
    /// Neither dumped nor restored.
    Ignore,
}

impl CgroupMode {
    /// By criu's `enum criu_cg_mode`.
    pub(crate) fn number(self) -> u64 {
        match self {
            CgroupMode::Ignore => 0,
            CgroupMode::Soft => 3,
            CgroupMode::Full => 4,
            CgroupMode::Strict => 5,
        }
    }
}

/// What both directions take.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Directory of the images.
    pub dir: PathBuf,
    /// Where criu writes its log and other files of its own; the images' directory without one.
    pub work_dir: Option<PathBuf>,
    /// Established TCP connections, too.
    pub tcp_established: bool,
    /// Sockets whose other end is outside, too.
    pub external_sockets: bool,
    /// A container whose session or terminal is its caller's.
    pub shell_job: bool,
    /// File locks, too.
    pub file_locks: bool,
    /// Memory is moved when it is first used.
    pub lazy_pages: bool,
    /// Takes pages out of the parent's images that are written anew.
    pub auto_dedup: bool,
    /// Of a network namespace, only that there is one.
    pub empty_network: bool,
    /// What becomes of control groups.
    pub cgroups: CgroupMode,
}

/// What `checkpoint` is asked for.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Where to, and what.
    pub images: Images,
    /// Images of an earlier `pre_dump`, relative to the directory of these.
    pub parent: Option<PathBuf>,
    /// Writes memory only, and goes on tracking it.
    pub pre_dump: bool,
    /// The container runs on.
    pub leave_running: bool,
    /// Leaves connections out that are not yet accepted.
    pub tcp_skip_in_flight: bool,
    /// Allows files that have been unlinked and have another name.
    pub link_remap: bool,
    /// Memory goes there in place of a file.
    pub page_server: Option<(String, u16)>,
    /// Gets a zero byte when memory can be asked for, with `lazy_pages`.
    pub ready: Option<File>,
}

impl Known {
    /// Writes the container's state to files. Afterwards it has ended, unless it was asked to run on. The caller must be
    /// single-threaded.
    pub fn checkpoint(&mut self, asked: &mut Checkpoint) -> Result<(), Error> {
        need_root()?;
        self.lock()?;
        let status = self.status()?;
        let init = match (status, self.init()) {
            (Status::Running | Status::Paused, Some(init)) => init,
            _ => return Err(Error::WrongStatus { what: "checkpoint", id: self.id().to_owned(), status }),
        };
        let spec = self.spec()?;
        let plan = plan::plan(&spec, &self.bundle()?)?;
        check_namespaces(&plan)?;
        external::check(&plan)?;
        criu::check_version()?;
        let images = Directories::make(&asked.images)?;
        check_parent(&images, asked.parent.as_deref())?;
        let mut options = images.options("dump.log", &asked.images, &spec)?;
        let parent = asked.parent.as_ref().map(|parent| utf8(parent)).transpose()?;
        options.pid = Some(init.pid);
        options.root = Some(utf8(self.rootfs()?)?);
        options.track_memory = parent.is_some() || asked.pre_dump;
        options.parent_images = parent;
        options.page_server = asked.page_server.clone();
        options.leave_running = asked.leave_running;
        options.tcp_skip_in_flight = asked.tcp_skip_in_flight;
        options.link_remap = asked.link_remap;
        // Standing still by the freezer, not one by one, so that no new process escapes it.
        let paths = self.cgroup()?.paths();
        let freezer = paths.get("").or_else(|| paths.get("freezer"));
        options.freezer = freezer.map(|path| utf8(path)).transpose()?;
        check_features(&images, &asked.images, options.track_memory)?;
        let proc = Procfs::host()?;
        options.external = outside_namespaces(&proc, init, &plan)?;
        if !asked.pre_dump {
            options.mounts = external::of_running(&proc, init.pid, &plan)?;
            let streams = self.write_descriptors(&proc, init, &images)?;
            options.external.extend(streams.into_iter().filter(|stream| stream.starts_with("file[")));
        }
        let kind = if asked.pre_dump { Kind::PreDump } else { Kind::Dump };
        let what = || format!("have criu write process {} to {}", init.pid, asked.images.dir.display());
        step("dump", "its state goes to disk", what, || dump(kind, &options, &images, &mut asked.ready))
            .map_err(|error| images.explain(error, "checkpoint the container", "dump.log"))
    }

    /// Tells a restore what the standard streams were. Returns it, too.
    fn write_descriptors(&self, proc: &Procfs, init: Pinned, images: &Directories) -> Result<Vec<String>, Error> {
        let mut streams = self.streams()?;
        for (number, stream) in streams.iter_mut().enumerate() {
            if let Some(key) = outside_file(proc, init, number, stream) {
                *stream = key;
            }
        }
        let path = images.dir.join(DESCRIPTORS);
        let text = serde_json::to_vec(&streams).map_err(|e| Error::Invalid(e.to_string()))?;
        let what = || format!("write {}", path.display());
        step("write-descriptors", "a restore has streams of its own", what, || std::fs::write(&path, text))
            .map_err(crate::launch::file("write", &path))?;
        Ok(streams)
    }
}

/// The key of a stream that is a file of the host, which no mount of the container leads to: the mount that it was
/// opened through and the inode's number, both in hexadecimal. [criu(8), --external file]
fn outside_file(proc: &Procfs, init: Pinned, number: usize, stream: &str) -> Option<String> {
    if !stream.starts_with('/') || stream == "/dev/null" {
        return None;
    }
    let dir = proc.open(&format!("{}/fd", init.pid), OFlags::PATH | OFlags::DIRECTORY).ok()?;
    let number = number.to_string();
    let still = rustix::fs::readlinkat(&dir, number.as_str(), Vec::new()).ok()?;
    let stat = rustix::fs::statat(&dir, number.as_str(), rustix::fs::AtFlags::empty()).ok()?;
    if still.to_bytes() != stream.as_bytes() || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let info = proc.read(&format!("{}/fdinfo/{number}", init.pid)).ok()?;
    let mount: u32 = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()?;
    Some(format!("file[{mount:x}:{:x}]", stat.st_ino))
}

fn dump(kind: Kind, options: &Options, images: &Directories, ready: &mut Option<File>) -> Result<(), Error> {
    let criu = Criu::start(None, &images.fds(), |_| Ok(Vec::new()))?;
    let answer = criu.send(&criu::request(kind, Some(options))).and_then(|()| {
        criu.converse(|script, _, _| {
            // Closed after it, so that who waits for its end waits no longer.
            match ready.take_if(|_| script == "status-ready") {
                Some(mut ready) => {
                    ready.write_all(&[0]).map_err(crate::launch::file("write to", Path::new("--status-fd")))
                }
                None => Ok(()),
            }
        })
    });
    // After a pre-dump criu waits for the dump, which another criu will be asked for.
    criu.wait()?;
    match answer? {
        answer if answer.success => Ok(()),
        answer => Err(Error::Criu { what: "", reason: answer.reason(), log: String::new() }),
    }
}

/// Those that criu is not to dump but to find there.
fn outside_namespaces(proc: &Procfs, init: Pinned, plan: &Plan) -> Result<Vec<String>, Error> {
    let outside = OUTSIDE.iter().filter(|(kind, ..)| plan.namespaces.joins(*kind));
    let named = |(_, name, key): &(Namespaces, &str, &str)| {
        let namespace = proc.namespace(init.pid, name).map_err(Error::Proc)?;
        let inode = rustix::fs::fstat(&namespace).map_err(Error::Proc)?.st_ino;
        Ok(format!("{name}[{inode}]:{key}"))
    };
    outside.map(named).collect()
}

/// Namespaces of others that criu finds by a descriptor: kind, name and key. [runc, crun: the same keys]
pub(crate) const OUTSIDE: &[(Namespaces, &str, &str)] =
    &[(Namespaces::NETWORK, "net", "extRootNetNS"), (Namespaces::PID, "pid", "extRootPidNS")];

/// Refuses what criu has no way to restore.
pub(crate) fn check_namespaces(plan: &Plan) -> Result<(), Error> {
    if plan.has_user_namespace() {
        // Its root would have to get at the images and at what is mounted, which are root's of the host. Refused before a
        // dump, for that ends the container.
        return Err(Error::Unsupported("a checkpoint of a container with a user namespace".into()));
    }
    let refused = [(Namespaces::MOUNT, "mount"), (Namespaces::CGROUP, "cgroup")];
    match refused.iter().find(|(kind, _)| plan.namespaces.joins(*kind)) {
        None => Ok(()),
        Some((_, name)) => {
            Err(Error::Unsupported(format!("a checkpoint of a container that joined a {name} namespace")))
        }
    }
}

pub(crate) fn need_root() -> Result<(), Error> {
    if crate::is_root_of_host() {
        return Ok(());
    }
    Err(Error::Host {
        what: "checkpoint or restore a container".into(),
        lacks: "lets only root of the host do that".into(),
    })
}

fn check_parent(images: &Directories, parent: Option<&Path>) -> Result<(), Error> {
    let Some(parent) = parent else { return Ok(()) };
    if parent.is_absolute() {
        return Err(Error::Invalid(format!("--parent-path is relative to the images' directory, not {parent:?}")));
    }
    let path = images.dir.join(parent);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(crate::launch::file("use the parent's images at", &path)(Errno::NOTDIR.into())),
        Err(error) => Err(crate::launch::file("use the parent's images at", &path)(error)),
    }
}

/// What this kernel must have beside what every checkpoint needs.
fn check_features(dirs: &Directories, images: &Images, track_memory: bool) -> Result<(), Error> {
    if !track_memory && !images.lazy_pages {
        return Ok(());
    }
    let answer = criu::ask(Kind::FeatureCheck, None, &[])?;
    let lacks = match () {
        () if !answer.success => return Err(dirs.explain_check()),
        () if track_memory && !answer.tracks_memory => "has no memory tracking (CONFIG_MEM_SOFT_DIRTY)",
        () if images.lazy_pages && !answer.lazy_pages => "has no userfaultfd(2) that lazy pages could use",
        () => return Ok(()),
    };
    Err(Error::Host { what: "checkpoint the container so".into(), lacks: lacks.into() })
}

pub(crate) fn utf8(path: &Path) -> Result<String, Error> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::Invalid(format!("{path:?} is not UTF-8, and criu wants text")))
}

/// The directories that criu works in, open.
#[derive(Debug)]
pub(crate) struct Directories {
    dir: PathBuf,
    images: OwnedFd,
    work: Option<(PathBuf, OwnedFd)>,
}

impl Directories {
    /// Opens them, after making what is missing.
    fn make(images: &Images) -> Result<Directories, Error> {
        make_directory(&images.dir)?;
        Directories::open(images)
    }

    /// Opens them; the images must be there.
    pub(crate) fn open(images: &Images) -> Result<Directories, Error> {
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(CWD, path, flags, Mode::empty());
            opened.map_err(|errno| crate::launch::file("use the directory", path)(errno.into()))
        };
        let work = match &images.work_dir {
            Some(path) => {
                make_directory(path)?;
                Some((path.clone(), open(path)?))
            }
            None => None,
        };
        Ok(Directories { dir: images.dir.clone(), images: open(&images.dir)?, work })
    }

    /// The descriptors that [`Directories::options`] names.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(self.images.as_fd()).chain(self.work.iter().map(|(_, fd)| fd.as_fd())).collect()
    }

    /// As [`Directories::fds`], to keep them.
    pub(crate) fn into_fds(self) -> Vec<OwnedFd> {
        std::iter::once(self.images).chain(self.work.map(|(_, fd)| fd)).collect()
    }

    /// The file that tells what standard streams were.
    pub(crate) fn descriptors(&self) -> PathBuf {
        self.dir.join(DESCRIPTORS)
    }

    fn numbers(&self) -> Options {
        let work = self.work.as_ref().map(|(_, fd)| fd.as_raw_fd());
        Options { images: self.images.as_raw_fd(), work, ..Options::default() }
    }

    /// Has `options` name these directories in place of others.
    pub(crate) fn put_into(&self, options: &mut Options) {
        let numbers = self.numbers();
        (options.images, options.work) = (numbers.images, numbers.work);
    }

    /// What criu is told in either direction.
    pub(crate) fn options(&self, log: &'static str, images: &Images, spec: &Spec) -> Result<Options, Error> {
        let annotation = spec.annotations().as_ref().and_then(|all| all.get(CONFIG_ANNOTATION));
        Ok(Options {
            log,
            config: annotation
                .map_or(Some(CONFIG), |file| Some(file.as_str()))
                .filter(|file| !file.is_empty())
                .map(str::to_owned),
            cgroup_mode: Some(images.cgroups.number()),
            empty_namespaces: if images.empty_network { Namespaces::NETWORK.0 } else { 0 },
            tcp_established: images.tcp_established,
            external_sockets: images.external_sockets,
            shell_job: images.shell_job,
            file_locks: images.file_locks,
            lazy_pages: images.lazy_pages,
            auto_dedup: images.auto_dedup,
            ..self.numbers()
        })
    }

    /// A failure of criu's with what its log says; when criu finds that it lacks something here, with that, too.
    pub(crate) fn explain(&self, error: Error, what: &'static str, log: &str) -> Error {
        let Error::Criu { reason, .. } = error else { return error };
        let told = self.log(log);
        let check = self.check().map(|check| format!("; criu's own check of this kernel fails, too: {check}"));
        Error::Criu { what, reason, log: told + &check.unwrap_or_default() }
    }

    fn explain_check(&self) -> Error {
        let reason = "its own check of this kernel fails".to_owned();
        Error::Criu { what: "be used", reason, log: self.check().unwrap_or_default() }
    }

    /// What criu's own check finds wrong, if it finds something.
    fn check(&self) -> Option<String> {
        const LOG: &str = "check.log";
        let options = Options { log: LOG, ..self.numbers() };
        let answer = criu::ask(Kind::Check, Some(&options), &self.fds());
        let told = self.log(LOG);
        let _ = std::fs::remove_file(self.work_path().join(LOG));
        (!answer.is_ok_and(|answer| answer.success)).then_some(told)
    }

    fn work_path(&self) -> &Path {
        self.work.as_ref().map_or(&self.dir, |(path, _)| path)
    }

    /// The log's name, and those of its last lines that are about errors, on one line; its very last when none is.
    fn log(&self, name: &str) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let path = self.work_path().join(name);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LOG)))?;
            file.take(LONGEST_LOG).read_to_end(&mut text)
        });
        if read.is_err() {
            return String::new();
        }
        format!("{} ends in: {}", path.display(), said(&String::from_utf8_lossy(&text)))
    }
}

fn said(log: &str) -> String {
    let last = |lines: Vec<&str>| {
        let from = lines.len().saturating_sub(TOLD_LINES);
        lines[from..].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" | ")
    };
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("Error")).collect();
    last(if errors.is_empty() { log.lines().collect() } else { errors })
}

fn make_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(crate::launch::file("make the directory", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_errors_are_told() {
        let log = "(0.1) a\n(0.2) Error (x.c:1): no\n(0.3) b\n(0.4) Error (x.c:2): gave up\n(0.5) c\n";
        assert_eq!(said(log), "(0.2) Error (x.c:1): no | (0.4) Error (x.c:2): gave up");
        assert_eq!(said("a\n\tb\n"), "a | b");
        assert_eq!(said(&"Error\n".repeat(100)).split(" | ").count(), TOLD_LINES);
        assert_eq!(said(""), "");
    }
}

//! CRIU, by its remote procedure calls: `criu swrk FD` and one socket. [criu.org/RPC; criu's images/rpc.proto]
//!
//! One run of criu serves one request. It is asked once, tells of what it is at by notifications, each of which it wants
//! answered before it goes on, and gives one last answer. Its options name descriptors by number: it inherits them.
//!
//! When this process is killed, the socket closes: criu then fails at its next notification and takes back what it was
//! at (tasks that it stopped go on, tasks that it was restoring are killed). So it is not killed along with this process.

use crate::channel::{self, Channel, Order, Told};
use crate::error::Error;
use crate::protobuf::{Fields, Malformed, Message, Value};
use cgroup::Cgroup;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use step::step;
use sys::exec::Strings;
use sys::fork::{Namespaces, Side, clone_into};

/// The oldest version that is used: freezes v2 groups, restores into pid namespaces of others, says when pages can be
/// asked for. Two digits each of minor version and sublevel.
const OLDEST: u32 = 31_500;
/// No answer of criu's is longer.
const LONGEST: usize = 64 * 1024;
/// Where system programs are, whatever the caller's PATH.
const SYSTEM: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// What criu is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dump = 1,
    Restore = 2,
    Check = 3,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// How criu is to do it; what is unset is left to criu.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) images: i32,
    pub(crate) work: Option<i32>,
    pub(crate) log: &'static str,
    pub(crate) pid: Option<i32>,
    pub(crate) root: Option<String>,
    pub(crate) parent_images: Option<String>,
    pub(crate) page_server: Option<(String, u16)>,
    pub(crate) freezer: Option<String>,
    pub(crate) config: Option<String>,
    pub(crate) cgroup_mode: Option<u64>,
    pub(crate) cgroup_roots: Vec<(String, String)>,
    /// Key and value; which is which depends on the direction.
    pub(crate) mounts: Vec<(String, String)>,
    pub(crate) external: Vec<String>,
    /// Key, and the number of a descriptor that criu inherits.
    pub(crate) inherited: Vec<(String, i32)>,
    /// Kind and path.
    pub(crate) joined: Vec<(&'static str, String)>,
    pub(crate) empty_namespaces: u64,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
    pub(crate) leave_running: bool,
    pub(crate) tcp_established: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) tcp_close: bool,
    pub(crate) link_remap: bool,
    pub(crate) external_sockets: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    pub(crate) track_memory: bool,
    pub(crate) auto_dedup: bool,
    pub(crate) lazy_pages: bool,
    /// The restored process becomes a child of this one, not of criu.
    pub(crate) as_sibling: bool,
    /// A device that is not at its old path is opened by its number.
    pub(crate) evasive_devices: bool,
}

impl Options {
    /// Field numbers are those of `message criu_opts`.
    fn message(&self) -> Message {
        let mut to = Message::default();
        to.int(1, self.images);
        let switches = [
            (3, self.leave_running),
            (4, self.external_sockets),
            (5, self.tcp_established),
            (6, self.evasive_devices),
            (7, self.shell_job),
            (8, self.file_locks),
            (15, self.track_memory),
            (16, self.auto_dedup),
            (18, self.link_remap),
            (26, self.as_sibling),
            // Volumes that are slaves or peers of the host's own mounts.
            (29, true),
            (30, true),
            (46, self.tcp_skip_in_flight),
            (48, self.lazy_pages),
            (52, self.tcp_close),
        ];
        switches.iter().filter(|(_, on)| *on).for_each(|(field, _)| to.bool(*field, true));
        let texts = [
            (13, &self.root),
            (14, &self.parent_images),
            (44, &self.freezer),
            (51, &self.config),
            (53, &self.lsm_profile),
            (63, &self.lsm_mount_context),
        ];
        for (field, text) in texts {
            text.iter().for_each(|text| to.text(field, text));
        }
        self.pid.iter().for_each(|pid| to.int(2, *pid));
        self.work.iter().for_each(|dir| to.int(17, *dir));
        // All that it does, without what its developers look at: a log of the highest level is megabytes.
        to.int(9, 4);
        to.text(10, self.log);
        to.bool(12, true);
        // A terminal's controlling side, which nobody in the container has, comes to us.
        to.bool(50, true);
        if let Some((address, port)) = &self.page_server {
            let mut server = Message::default();
            server.text(1, address);
            server.int(2, (*port).into());
            to.message(11, &server);
        }
        if let Some(mode) = self.cgroup_mode {
            to.bool(24, true);
            to.number(34, mode);
        }
        self.mounts.iter().for_each(|(key, value)| to.message(23, &pair(key, value)));
        self.cgroup_roots.iter().for_each(|(controller, path)| to.message(25, &pair(controller, path)));
        for (key, fd) in &self.inherited {
            let mut inherited = Message::default();
            inherited.text(1, key);
            inherited.int(2, *fd);
            to.message(27, &inherited);
        }
        self.external.iter().for_each(|key| to.text(37, key));
        if self.empty_namespaces != 0 {
            to.number(38, self.empty_namespaces);
        }
        self.joined.iter().for_each(|(kind, path)| to.message(39, &pair(kind, path)));
        to
    }
}

fn pair(first: &str, second: &str) -> Message {
    let mut to = Message::default();
    to.text(1, first);
    to.text(2, second);
    to
}

/// A request of `message criu_req`.
pub(crate) fn request(kind: Kind, options: Option<&Options>) -> Message {
    let mut to = Message::default();
    to.number(1, kind as u64);
    options.iter().for_each(|options| to.message(2, &options.message()));
    match kind {
        Kind::Notify => to.bool(3, true),
        Kind::FeatureCheck => {
            let mut features = Message::default();
            features.bool(1, true);
            features.bool(2, true);
            to.message(5, &features);
        }
        _ => {}
    }
    to
}

/// An answer, or a notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    kind: u64,
    pub(crate) success: bool,
    errno: i32,
    message: String,
    /// What criu is at, and a process that this is about.
    pub(crate) notification: Option<(String, i32)>,
    version: (i32, i32, i32),
    pub(crate) tracks_memory: bool,
    pub(crate) lazy_pages: bool,
}

impl Answer {
    /// Reads a `message criu_resp`.
    fn read(bytes: &[u8]) -> Result<Answer, Malformed> {
        let mut answer = Answer::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Number(kind)) => answer.kind = kind,
                (2, value) => answer.success = value.as_bool(),
                (5, Value::Bytes(bytes)) => {
                    let (mut script, mut pid) = (String::new(), 0);
                    for field in Fields::of(bytes) {
                        match field? {
                            (1, value) => script = value.as_text(),
                            (2, value) => pid = value.as_int().ok_or(Malformed)?,
                            _ => {}
                        }
                    }
                    answer.notification = Some((script, pid));
                }
                (7, value) => answer.errno = value.as_int().ok_or(Malformed)?,
                (8, Value::Bytes(bytes)) => {
                    for field in Fields::of(bytes) {
                        match field? {
                            (1, value) => answer.tracks_memory = value.as_bool(),
                            (2, value) => answer.lazy_pages = value.as_bool(),
                            _ => {}
                        }
                    }
                }
                (9, value) => answer.message = value.as_text(),
                (10, Value::Bytes(bytes)) => {
                    for field in Fields::of(bytes) {
                        match field? {
                            (1, value) => answer.version.0 = value.as_int().ok_or(Malformed)?,
                            (2, value) => answer.version.1 = value.as_int().ok_or(Malformed)?,
                            (4, value) => answer.version.2 = value.as_int().ok_or(Malformed)?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(answer)
    }

    /// As one number, two digits each of minor version and sublevel.
    fn version(&self) -> Option<u32> {
        let (major, minor, sublevel) = self.version;
        let digits = |n: i32| u32::try_from(n).ok().filter(|n| *n < 100);
        Some(digits(major)? * 10_000 + digits(minor)? * 100 + digits(sublevel)?)
    }

    /// Why it was no success.
    pub(crate) fn reason(&self) -> String {
        match (self.message.trim(), self.errno) {
            ("", 0) => "it failed and gave no reason".into(),
            ("", errno) => Errno::from_raw_os_error(errno.saturating_abs()).to_string(),
            (message, _) => message.into(),
        }
    }
}

/// A criu that waits for its request, or is at it.
#[derive(Debug)]
pub(crate) struct Criu {
    pidfd: OwnedFd,
    socket: OwnedFd,
}

/// What the process that becomes criu finds before it does.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    ours: &'a OwnedFd,
    /// The control group that it is in.
    pub(crate) cgroup: Option<&'a Cgroup>,
}

impl Ahead<'_> {
    /// Puts criu's request where criu will find it.
    pub(crate) fn send(&self, request: &Message) -> Result<(), Error> {
        send(self.ours, request)
    }
}

impl Criu {
    /// Starts criu in a control group, with descriptors that it hands on. `prepare` runs in the new process before it
    /// becomes criu, and returns more that it is to have. The caller must be single-threaded.
    pub(crate) fn start(
        mut cgroup: Option<&mut Cgroup>,
        inherited: &[BorrowedFd<'_>],
        prepare: impl FnOnce(&Ahead<'_>) -> Result<Vec<OwnedFd>, Error>,
    ) -> Result<Criu, Error> {
        let program = find()?;
        let (line, child_line) = channel::pair()?;
        let mut line = Some(line);
        let clone = || clone_into(Namespaces::default(), cgroup.as_deref().and_then(Cgroup::clone_into));
        let what = || format!("run {} swrk", program.display());
        match step("start-criu", "it can take a process apart", what, clone).map_err(Error::Clone)? {
            Side::Parent { pid, pidfd } => {
                drop(child_line);
                let line = line.take().ok_or(Error::Vanished)?;
                // A scope of systemd's takes a process that is there already.
                let placed = cgroup.as_mut().map_or(Ok(()), |cgroup| cgroup.adopt(pid)).map_err(Error::from);
                let socket = placed.and_then(|()| greet(line));
                if socket.is_err() {
                    reap(&pidfd)?;
                }
                Ok(Criu { pidfd, socket: socket? })
            }
            Side::Child => {
                drop(line.take());
                let Err(error) = become_criu(&program, cgroup.as_deref(), inherited, &child_line, prepare);
                child_line.send_failure(&error);
                sys::fork::exit_now(1)
            }
        }
    }

    /// Sends the request, or the answer to a notification.
    pub(crate) fn send(&self, request: &Message) -> Result<(), Error> {
        send(&self.socket, request)
    }

    /// The next that it says, and a descriptor that came with it.
    pub(crate) fn receive(&self) -> Result<(Answer, Option<OwnedFd>), Error> {
        let failed = |reason: String| Error::Criu { what: "answer", reason, log: String::new() };
        let mut bytes = vec![0u8; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                // It ended with something of ours unread. The kernel says so once, before what criu sent as its last word.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(errno) => return Err(failed(errno.to_string())),
                Ok(got) => break got.bytes,
            }
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match got {
            0 => Err(failed("it ended before it was done".into())),
            LONGEST => Err(failed(format!("its answer is longer than {LONGEST} bytes"))),
            got => match Answer::read(&bytes[..got]) {
                Ok(answer) => Ok((answer, fd)),
                Err(Malformed) => Err(failed("its answer makes no sense".into())),
            },
        }
    }

    /// Goes through one request: answers each notification when `notified` is done with it, and returns the last answer.
    pub(crate) fn converse(
        &self,
        mut notified: impl FnMut(&str, i32, Option<OwnedFd>) -> Result<(), Error>,
    ) -> Result<Answer, Error> {
        loop {
            let (answer, fd) = self.receive()?;
            match &answer.notification {
                Some((script, pid)) if answer.kind == Kind::Notify as u64 => notified(script, *pid, fd)?,
                _ => return Ok(answer),
            }
            self.send(&request(Kind::Notify, None))?;
        }
    }

    /// Hangs up, and waits for its end.
    pub(crate) fn wait(self) -> Result<(), Error> {
        drop(self.socket);
        reap(&self.pidfd)
    }
}

fn reap(pidfd: &OwnedFd) -> Result<(), Error> {
    rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED))
        .map(drop)
        .map_err(Error::process("wait for criu"))
}

/// Lets the new process go on, and takes its socket. When the line closes after that, it is criu.
fn greet(line: Channel) -> Result<OwnedFd, Error> {
    line.send(Order::Placed).map_err(Error::Channel)?;
    let mut socket = None;
    loop {
        match line.receive()? {
            Told::Socket(fd) => socket = Some(fd),
            Told::Failed(failure) => return Err(failure.into()),
            _ => return socket.ok_or(Error::Vanished),
        }
    }
}

/// Becomes criu, which serves one request.
///
/// Its socket is made here: criu opens the descriptors that its options name below /proc of whoever made it, and they
/// have to be of the mount namespace that criu is in.
fn become_criu(
    program: &Path,
    cgroup: Option<&Cgroup>,
    inherited: &[BorrowedFd<'_>],
    line: &Channel,
    prepare: impl FnOnce(&Ahead<'_>) -> Result<Vec<OwnedFd>, Error>,
) -> Result<Infallible, Error> {
    cgroup.map_or(Ok(()), Cgroup::join)?;
    if line.next_order() != Some(Order::Placed) {
        return Err(Error::Vanished);
    }
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(Error::process("make a socket for criu"))?;
    let more = prepare(&Ahead { ours: &ours, cgroup })?;
    line.send_socket(&ours).map_err(Error::Channel)?;
    let more = more.iter().map(AsFd::as_fd);
    let inherited: Vec<BorrowedFd<'_>> = inherited.iter().copied().chain(more).collect();
    exec(program, &theirs, &inherited)
}

/// Asks one thing that has no notifications. What criu prints meanwhile is for people who typed `criu`.
pub(crate) fn ask(kind: Kind, options: Option<&Options>, inherited: &[BorrowedFd<'_>]) -> Result<Answer, Error> {
    let quiet = || -> Result<(), Errno> {
        let null = rustix::fs::openat(rustix::fs::CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)
    };
    let prepare = |_: &Ahead<'_>| quiet().map(|()| Vec::new()).map_err(Error::process("keep criu quiet"));
    let criu = Criu::start(None, inherited, prepare)?;
    let asked = criu.send(&request(kind, options)).and_then(|()| criu.receive());
    criu.wait()?;
    asked.map(|(answer, _)| answer)
}

/// Refuses to go on without a criu that is new enough.
pub(crate) fn check_version() -> Result<u32, Error> {
    let answer = ask(Kind::Version, None, &[])?;
    let failed = |reason: String| Error::Criu { what: "be used", reason, log: String::new() };
    match answer.version().filter(|_| answer.success) {
        None => Err(failed("it does not say which version it is".into())),
        Some(version) if version < OLDEST => {
            let (major, minor) = (version / 10_000, version / 100 % 100);
            Err(failed(format!("it is version {major}.{minor}, and 3.15 or later is needed")))
        }
        Some(version) => Ok(version),
    }
}

fn send(socket: &OwnedFd, message: &Message) -> Result<(), Error> {
    match rustix::net::send(socket, message.bytes(), SendFlags::NOSIGNAL) {
        // It died: what it said before is read next.
        Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        sent => sent.map(drop).map_err(Error::process("send criu its request")),
    }
}

/// The criu of this host.
fn find() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(std::env::split_paths(OsStr::new(SYSTEM)));
    let found = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join("criu")).find(|program| program.is_file());
    found.ok_or_else(|| Error::Host {
        what: "checkpoint or restore a container".into(),
        lacks: "has no criu: install CRIU 3.15 or later, from criu.org or the package criu".into(),
    })
}

fn exec(program: &Path, socket: &OwnedFd, inherited: &[BorrowedFd<'_>]) -> Result<Infallible, Error> {
    let wrap = |source| Error::Process { what: format!("run {}", program.display()), source };
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| wrap(error.into()));
    sys::signal::reset_all();
    sys::exec::close_on_exec_from(3).map_err(wrap)?;
    for fd in inherited.iter().copied().chain([socket.as_fd()]) {
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).map_err(|errno| wrap(errno.into()))?;
    }
    let words = [b"criu".to_vec(), b"swrk".to_vec(), socket.as_raw_fd().to_string().into_bytes()];
    // It calls tar, ip and iptables, which a service's PATH may lack.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let separator = if path.is_empty() { "" } else { ":" };
    let path = [b"PATH=", path.as_bytes(), separator.as_bytes(), SYSTEM.as_bytes()].concat();
    let variables = std::env::vars_os().filter(|(name, _)| name != "PATH");
    let variables = variables.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let words = words.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    let variables = variables.chain([path]).map(|variable| text(&variable)).collect::<Result<Vec<_>, _>>()?;
    let program = text(program.as_os_str().as_bytes())?;
    let Err(source) = sys::exec::execve(&program, &Strings::new(words), &Strings::new(variables));
    Err(wrap(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let mut notification = Message::default();
        notification.text(1, "post-restore");
        notification.int(2, 4711);
        let mut message = Message::default();
        message.number(1, 6);
        message.bool(2, true);
        message.message(5, &notification);
        message.text(77, "of a later version");
        let answer = Answer::read(message.bytes()).unwrap();
        assert_eq!(answer.notification, Some(("post-restore".into(), 4711)));
        assert!(answer.success && answer.kind == Kind::Notify as u64);
        // What criu 3.17.1 says to VERSION and to a failed CHECK.
        let version = Answer::read(b"\x08\n\x10\x01R\x06\x08\x03\x10\x11 \x01").unwrap();
        assert_eq!(version.version(), Some(31_701));
        let failed = Answer::read(b"\x08\x03\x10\x00").unwrap();
        assert!(!failed.success && failed.version() == Some(0));
        assert_eq!(failed.reason(), "it failed and gave no reason");
    }

    #[test]
    fn hostile_answers_are_an_error() {
        let cases: &[(&str, &[u8])] = &[
            ("a notification that is cut off", b"\x08\x06\x10\x01\x2a\x04\x0a\x09ab"),
            ("a process id that is a text", b"\x2a\x04\x12\x02ab"),
            ("an error number that is a text", b"\x3a\x02ab"),
            ("a version that is cut off", b"\x52\x02\x08\xff"),
            ("nothing but a length", b"\x2a\xff\xff\xff\xff\x0f"),
        ];
        for (name, bytes) in cases {
            assert_eq!(Answer::read(bytes), Err(Malformed), "{name}");
        }
        // Well-formed, and with nonsense in it.
        let odd = Answer::read(b"\x0a\x01x\x10\x07\x2a\x00\x52\x02\x08\x7f").unwrap();
        assert_eq!((odd.kind, odd.notification.clone(), odd.version()), (0, Some((String::new(), 0)), None));
    }

    /// The field numbers, by the definition that is installed with criu, where it is.
    #[test]
    fn fields_have_criu_names() {
        let Ok(definition) = std::fs::read_to_string("/usr/include/criu/rpc.proto") else { return };
        let fields = definition.split("message criu_opts {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
        let name = |number: u32| {
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let number = number.to_string();
            let of_number = |words: &Vec<String>| words.get(4).is_some_and(|word| word.trim_end_matches(';') == number);
            fields.lines().map(words).find(of_number).map(|words| words[2].clone())
        };
        let text = || Some("x".to_owned());
        let options = Options {
            images: 3,
            work: Some(4),
            log: "x.log",
            pid: Some(1),
            root: text(),
            parent_images: text(),
            page_server: Some(("x".into(), 1)),
            freezer: text(),
            config: text(),
            cgroup_mode: Some(3),
            cgroup_roots: vec![("x".into(), "/".into())],
            mounts: vec![("x".into(), "/".into())],
            external: vec!["x".into()],
            inherited: vec![("x".into(), 0)],
            joined: vec![("ipc", "/".into())],
            empty_namespaces: 1,
            lsm_profile: text(),
            lsm_mount_context: text(),
            leave_running: true,
            tcp_established: true,
            tcp_skip_in_flight: true,
            tcp_close: true,
            link_remap: true,
            external_sockets: true,
            shell_job: true,
            file_locks: true,
            track_memory: true,
            auto_dedup: true,
            lazy_pages: true,
            as_sibling: true,
            evasive_devices: true,
        };
        let message = options.message();
        let mut found: Vec<String> = Fields::of(message.bytes()).map(|field| name(field.unwrap().0).unwrap()).collect();
        found.sort();
        let expected = "auto_dedup cg_root config_file empty_ns evasive_devices ext_masters ext_mnt ext_sharing \
                        ext_unix_sk external file_locks freeze_cgroup images_dir_fd inherit_fd join_ns lazy_pages \
                        leave_running link_remap log_file log_level lsm_mount_context lsm_profile manage_cgroups \
                        manage_cgroups_mode notify_scripts orphan_pts_master parent_img pid ps root rst_sibling \
                        shell_job tcp_close tcp_established tcp_skip_in_flight track_mem work_dir_fd";
        assert_eq!(found.join(" "), expected);
    }
}

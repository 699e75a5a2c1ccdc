//! The line between the tool and the container's first process: one small enum each way.
//!
//! A socket pair of records, close-on-exec on both sides. The child's end closes when it execs or dies, and the parent
//! tells the two apart by whether a failure was told before. The parent's end closes when the tool dies, and a child
//! that has not been told to start then leaves.

use crate::error::Error;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// The longest message: an error text is cut to this many bytes.
const LONGEST: usize = 4096;

/// What the container's first process tells the tool.
#[derive(Debug)]
pub(crate) enum Told {
    /// From a stage: the container's first process, by pid and pidfd.
    Born(i32, OwnedFd),
    /// The root is built and not yet entered: hooks may look at it.
    Built,
    /// The controlling side of the container's terminal.
    Terminal(OwnedFd),
    /// From a process that becomes criu: where it takes its request.
    Socket(OwnedFd),
    /// Only the start is missing.
    Created,
    /// What its system call filter asks is to be answered here.
    Listener(OwnedFd),
    /// All is done but the confinement and the exec.
    Ready,
    /// A step failed; the process ends.
    Failed(Failure),
    /// The line is closed: the program runs, or the process died.
    Closed,
}

/// A failure of the child, with what the exit code depends on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) program: String,
    pub(crate) text: String,
}

/// Docker's exit codes tell these apart: 125, 127 and 126.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Setup,
    NotFound,
    NotExecutable,
}

/// One end of the line.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What the container's first process is told to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Its ids are mapped and it is in its control group: what others do for it is done.
    Placed = b'P' as isize,
    /// The hooks that look at the built root have run.
    Hooked = b'H' as isize,
    /// The tool ends now, and this is no reason to end; the start comes from another.
    LiveOn = b'L' as isize,
    /// Run the program as soon as everything is ready.
    Start = b'S' as isize,
}

impl Order {
    const ALL: [Order; 4] = [Order::Placed, Order::Hooked, Order::LiveOn, Order::Start];
}

const ROOT: u8 = b'R';
const BORN: u8 = b'B';
const BUILT: u8 = b'M';
const TERMINAL: u8 = b'T';
const CREATED: u8 = b'C';
const SOCKET: u8 = b'S';
const LISTENER: u8 = b'L';
const READY: u8 = b'R';

/// A connected pair: the tool's end and the child's.
pub(crate) fn pair() -> Result<(Channel, Channel), Error> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(Error::Channel)?;
    Ok((Channel(ours), Channel(theirs)))
}

impl Channel {
    /// One more descriptor of this end.
    pub(crate) fn try_clone(&self) -> Result<Channel, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.0, 3).map(Channel)
    }

    /// The tool's or the child's end, from a connection that another made.
    pub(crate) fn from_connection(connection: OwnedFd) -> Channel {
        Channel(connection)
    }

    /// Parent to child: go on.
    pub(crate) fn send(&self, order: Order) -> Result<(), Errno> {
        rustix::net::send(&self.0, &[order as u8], SendFlags::NOSIGNAL).map(drop)
    }

    /// Parent to child: the root file system's mount.
    pub(crate) fn send_root(&self, root: &OwnedFd) -> Result<(), Errno> {
        self.send_with(&[ROOT], root)
    }

    /// Child: waits for its root. None when the parent is gone, or says something else.
    pub(crate) fn receive_root(&self) -> Option<OwnedFd> {
        let mut byte = [0u8; 1];
        match self.receive_with(&mut byte) {
            Ok((1, Some(root))) if byte[0] == ROOT => Some(root),
            _ => None,
        }
    }

    /// Child: waits for the next order. None when the parent is gone, or says what nobody knows.
    pub(crate) fn next_order(&self) -> Option<Order> {
        let mut byte = [0u8; 1];
        loop {
            match rustix::net::recv(&self.0, &mut byte, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Ok((1, _)) => return Order::ALL.into_iter().find(|order| *order as u8 == byte[0]),
                _ => return None,
            }
        }
    }

    /// Child: says no more and listens no more, which the parent sees at once.
    pub(crate) fn hang_up(&self) {
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }

    /// Child: true when the parent is gone, whatever it sent before.
    pub(crate) fn is_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut watched = [PollFd::new(&self.0, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut watched, Some(&now)).is_ok_and(|n| n > 0) && watched[0].revents().contains(PollFlags::HUP)
    }

    /// Stage to parent: who the container's first process is.
    pub(crate) fn send_born(&self, pid: i32, pidfd: &OwnedFd) -> Result<(), Errno> {
        let [a, b, c, d] = pid.to_le_bytes();
        self.send_with(&[BORN, a, b, c, d], pidfd)
    }

    /// Child to parent: the root is built.
    pub(crate) fn send_built(&self) -> Result<(), Errno> {
        rustix::net::send(&self.0, &[BUILT], SendFlags::NOSIGNAL).map(drop)
    }

    /// Child to parent: the terminal's controlling side.
    pub(crate) fn send_terminal(&self, terminal: &OwnedFd) -> Result<(), Errno> {
        self.send_with(&[TERMINAL], terminal)
    }

    /// Child to parent: the other end of the socket at which it will serve a request.
    pub(crate) fn send_socket(&self, socket: &OwnedFd) -> Result<(), Errno> {
        self.send_with(&[SOCKET], socket)
    }

    /// Child to parent: only the start is missing.
    pub(crate) fn send_created(&self) -> Result<(), Errno> {
        rustix::net::send(&self.0, &[CREATED], SendFlags::NOSIGNAL).map(drop)
    }

    /// Child to parent: where its filter's questions come out. The one call that is made behind the filter beside the
    /// last ones before the exec, so a filter must let `sendmsg` pass.
    pub(crate) fn send_listener(&self, listener: &OwnedFd) -> Result<(), Errno> {
        self.send_with(&[LISTENER], listener)
    }

    fn send_with(&self, bytes: &[u8], fd: &OwnedFd) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// Child to parent: what can still fail is told, or is the program's own end. Said before the system call filter is
    /// loaded, which may forbid to say anything.
    pub(crate) fn send_ready(&self) -> Result<(), Errno> {
        rustix::net::send(&self.0, &[READY], SendFlags::NOSIGNAL).map(drop)
    }

    /// Child to parent: why it ends.
    pub(crate) fn send_failure(&self, error: &Error) {
        let mut bytes = Failure::of(error).to_bytes();
        bytes.truncate(LONGEST);
        // If the parent is gone there is nobody left to tell.
        let _ = rustix::net::send(&self.0, &bytes, SendFlags::NOSIGNAL);
    }

    /// The next record: its length, and the descriptor that came with it.
    fn receive_with(&self, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut slices = [IoSliceMut::new(bytes)];
            match rustix::net::recvmsg(&self.0, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                // The child ended with our start unread. The kernel says so once, before what the child sent as its last
                // word, which comes next. [net/core/datagram.c: the socket's error first, then its queue]
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(errno) => return Err(errno),
                Ok(got) => break got.bytes,
            }
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((got, fd))
    }

    /// Parent: the next thing that the child tells.
    pub(crate) fn receive(&self) -> Result<Told, Error> {
        let mut bytes = [0u8; LONGEST];
        let (got, fd) = self.receive_with(&mut bytes).map_err(Error::Channel)?;
        match (bytes[..got].split_first(), fd) {
            (None, _) => Ok(Told::Closed),
            (Some((&BORN, &[a, b, c, d])), Some(fd)) => Ok(Told::Born(i32::from_le_bytes([a, b, c, d]), fd)),
            (Some((&BUILT, [])), None) => Ok(Told::Built),
            (Some((&TERMINAL, _)), Some(fd)) => Ok(Told::Terminal(fd)),
            (Some((&CREATED, [])), None) => Ok(Told::Created),
            (Some((&SOCKET, [])), Some(fd)) => Ok(Told::Socket(fd)),
            (Some((&LISTENER, _)), Some(fd)) => Ok(Told::Listener(fd)),
            (Some((&READY, [])), None) => Ok(Told::Ready),
            _ => Ok(Told::Failed(Failure::from_bytes(&bytes[..got]))),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Failure {
    fn of(error: &Error) -> Failure {
        let (kind, program) = match error {
            Error::NotFound { program, .. } => (FailureKind::NotFound, program.clone()),
            Error::NotExecutable { program, .. } => (FailureKind::NotExecutable, program.clone()),
            _ => (FailureKind::Setup, String::new()),
        };
        let text = match error {
            Error::NotFound { reason, .. } | Error::NotExecutable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        Failure { kind, program, text }
    }

    /// A program's name is cut, for the reason has to find place after it.
    fn to_bytes(&self) -> Vec<u8> {
        let kind = match self.kind {
            FailureKind::Setup => b'F',
            FailureKind::NotFound => b'N',
            FailureKind::NotExecutable => b'X',
        };
        let program = &self.program.as_bytes()[..self.program.len().min(LONGEST / 2)];
        [&[kind], program, b"\0", self.text.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Failure {
        let kind = match bytes.first() {
            Some(b'N') => FailureKind::NotFound,
            Some(b'X') => FailureKind::NotExecutable,
            _ => FailureKind::Setup,
        };
        let rest = bytes.get(1..).unwrap_or_default();
        let split = rest.iter().position(|b| *b == 0).unwrap_or(0);
        let text = rest.get(split + 1..).unwrap_or_default();
        Failure {
            kind,
            program: String::from_utf8_lossy(&rest[..split]).into_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let Failure { kind, program, text } = failure;
        match kind {
            FailureKind::NotFound => Error::NotFound { program, reason: text },
            FailureKind::NotExecutable => Error::NotExecutable { program, reason: text },
            FailureKind::Setup => Error::InContainer(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_arrive_as_they_were_sent() {
        let errors = [
            Error::NotFound { program: "sh".into(), reason: "not in PATH".into() },
            Error::NotExecutable { program: "/etc/passwd".into(), reason: "permission denied".into() },
            Error::Terminal(Errno::NOENT),
        ];
        for error in errors {
            let (ours, theirs) = pair().unwrap();
            theirs.send_failure(&error);
            drop(theirs);
            let Told::Failed(failure) = ours.receive().unwrap() else { panic!("{error}") };
            assert_eq!(Error::from(failure).to_string(), error.to_string());
            assert!(matches!(ours.receive().unwrap(), Told::Closed));
        }
    }

    #[test]
    fn a_child_whose_parent_is_gone_does_not_start() {
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert_eq!(theirs.next_order(), None);
    }

    #[test]
    fn a_failure_arrives_though_the_start_was_sent_before() {
        let (ours, theirs) = pair().unwrap();
        ours.send(Order::Start).unwrap();
        theirs.send_failure(&Error::Terminal(Errno::NOENT));
        drop(theirs);
        assert!(matches!(ours.receive().unwrap(), Told::Failed(_)));
        assert!(matches!(ours.receive().unwrap(), Told::Closed));
    }

    #[test]
    fn what_is_sent_is_what_is_told() {
        let (ours, theirs) = pair().unwrap();
        let fd = rustix::io::fcntl_dupfd_cloexec(&theirs, 3).unwrap();
        theirs.send_born(70_000, &fd).unwrap();
        theirs.send_built().unwrap();
        theirs.send_terminal(&fd).unwrap();
        theirs.send_created().unwrap();
        theirs.send_socket(&fd).unwrap();
        theirs.send_listener(&fd).unwrap();
        theirs.send_ready().unwrap();
        assert!(matches!(ours.receive().unwrap(), Told::Born(70_000, _)));
        assert!(matches!(ours.receive().unwrap(), Told::Built));
        assert!(matches!(ours.receive().unwrap(), Told::Terminal(_)));
        assert!(matches!(ours.receive().unwrap(), Told::Created));
        assert!(matches!(ours.receive().unwrap(), Told::Socket(_)));
        assert!(matches!(ours.receive().unwrap(), Told::Listener(_)));
        assert!(matches!(ours.receive().unwrap(), Told::Ready));
        ours.send_root(&fd).unwrap();
        assert!(theirs.receive_root().is_some());
        ours.send(Order::Start).unwrap();
        assert!(theirs.receive_root().is_none(), "not what was waited for");
        for order in Order::ALL {
            ours.send(order).unwrap();
            assert_eq!(theirs.next_order(), Some(order));
        }
    }

    #[test]
    fn any_bytes_make_a_failure() {
        for bytes in [&b""[..], b"F", b"N", b"X\0", b"Nsh", b"F\xff\xfe\0\xff"] {
            let _ = Failure::from_bytes(bytes);
        }
    }
}

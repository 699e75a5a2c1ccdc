//! The other end of the sockets to which the runtime sends descriptors.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// Accepts one connection: what is said there, and the descriptor that comes with it.
pub fn fd(listener: &UnixListener) -> (Vec<u8>, OwnedFd) {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience)), Ok(1), "nobody connects");
    let (connection, _) = listener.accept().unwrap();
    let mut text = vec![0; 65_536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(&connection, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    text.truncate(got.bytes);
    let mut fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let fd = fds.next().expect("a descriptor");
    assert!(fds.next().is_none(), "and no other");
    (text, fd)
}

/// Whose pidfd it is.
pub fn pid_of(pidfd: &OwnedFd) -> i64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd");
    pid.trim().parse().unwrap()
}

/// The controlling side of a container's terminal.
pub struct Terminal {
    master: OwnedFd,
    seen: String,
}

impl Terminal {
    pub fn new(master: OwnedFd) -> Terminal {
        Terminal { master, seen: String::new() }
    }

    /// Types.
    pub fn send(&self, text: &str) {
        rustix::io::write(&self.master, text.as_bytes()).unwrap();
    }

    /// Waits until this was printed.
    pub fn expect(&mut self, text: &str) {
        let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
        while !self.seen.contains(text) {
            let ready = poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&patience)).unwrap();
            let mut space = [0u8; 4096];
            let got = rustix::io::read(&self.master, &mut space).unwrap_or(0);
            assert!(ready > 0 && got > 0, "no {text:?}, but {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&space[..got]));
        }
    }
}

//! Who answers the questions of a system call filter (`SCMP_ACT_NOTIFY`).
//!
//! The program's filter has a listener, a descriptor. It goes to the socket that `linux.seccomp.listenerPath` names, with
//! the container's state as JSON before it. [runtime-spec config-linux.md "seccomp", "The Container Process State"]

use crate::error::Error;
use crate::status::{StateJson, Status};
use oci_spec::runtime::Spec;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use serde::Serialize;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;

/// The socket and what is told there.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    path: PathBuf,
    metadata: Option<String>,
    state: StateJson,
}

/// What an agent is told. `fds` names the descriptors that come with it, in their order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a StateJson,
}

/// The name of the listener among the descriptors. [runtime-spec]
const LISTENER: &str = "seccompFd";

impl Agent {
    /// The agent that the configuration names. A filter with questions and no agent, or the other way round, is refused.
    pub(crate) fn of(spec: &Spec, state: StateJson) -> Result<Option<Agent>, Error> {
        use oci_spec::runtime::LinuxSeccompAction::ScmpActNotify;
        let Some(section) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
        let asks = section.syscalls().iter().flatten().any(|rule| rule.action() == ScmpActNotify);
        let path = section.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
        match (asks, path) {
            (true, Some(path)) => Ok(Some(Agent { path, metadata: section.listener_metadata().clone(), state })),
            (true, None) => Err(Error::Invalid("SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath".into())),
            // The specification has both ignored without a rule that notifies. [config-linux.md "listenerPath"]
            (false, _) => Ok(None),
        }
    }

    /// Hands the listener over.
    pub(crate) fn take(&self, listener: BorrowedFd<'_>, pid: i32) -> Result<(), Error> {
        let state = StateJson { pid, status: Status::Creating, ..self.state.clone() };
        let told = ContainerProcessState {
            oci_version: &self.state.oci_version,
            fds: [LISTENER],
            pid,
            metadata: self.metadata.as_deref(),
            state: &state,
        };
        let text = serde_json::to_vec(&told).map_err(|e| Error::Invalid(e.to_string()))?;
        let what = || format!("send the filter's listener to {}", self.path.display());
        step("hand-over-listener", "it asks before some system calls", what, || send_fd(&self.path, &text, listener))
            .map_err(|source| Error::Socket { what: "hand the seccomp listener to", path: self.path.clone(), source })
    }
}

/// Connects to the stream socket at `path` and sends `text` with a descriptor.
pub(crate) fn send_fd(path: &Path, text: &[u8], fd: BorrowedFd<'_>) -> Result<(), rustix::io::Errno> {
    let socket = connect(path)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = rustix::net::sendmsg(&socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    let mut rest = &text[sent..];
    while !rest.is_empty() {
        let sent = rustix::net::send(&socket, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// A connection to the stream socket at `path`, which may be longer than a socket's address takes.
pub(crate) fn connect(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let held = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held.as_fd())))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

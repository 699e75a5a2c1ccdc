//! How an ordinary user's bridges reach the world: by pasta, or by slirp4netns where there is no pasta.
//!
//! The bridges are in a network namespace that has no link of the host's, and an ordinary user can give it none. The
//! program pasta (of the package passt) stands in for one: to the namespace it looks like a link with the host's own
//! address and routes, and what is sent there it sends once more from the host, as any program of the user does. The
//! bridges' own rules (NAT, isolation) are the same as root's. One pasta serves all containers of a user. [pasta(1)]
//!
//! The older slirp4netns does the same with a TCP of its own, and so slower, and the namespace has an address of its choice
//! instead of the host's: link-local, so that no network of the world is hidden by it. Containers see no difference, and
//! published ports go through neither of them (`ports`). [slirp4netns(1)]
//!
//! It belongs to a process `mc-uplink`, which ends it when the holder of the namespaces has ended, and ends with it. While
//! that lives it has the lock of the file `uplink`; a lock that is free means that there is none, and the next container
//! that needs one starts it.

use super::{ENTERED, Entered, holder};
use crate::error::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use step::step;

/// Who asks this address for a name asks the host's first name server. Link-local, so that it is nobody's in the world; and
/// the third of a network, for that is where slirp4netns has it.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 3);
/// The network of slirp4netns. Its own choice, 10.0.2.0/24, is also that of QEMU, and so of many a host.
const SLIRPS: &str = "169.254.1.0/24";
/// Where pasta writes its number.
pub(super) const PID_FILE: &str = "pasta.pid";
/// How long the end of one is waited for.
const ENDING: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The link that it makes.
const SLIRPS_LINK: &str = "tap0";

/// Makes sure that there is a way out. Nothing is to do for root, whose bridges are on the host.
pub(crate) fn ensure() -> Result<(), Error> {
    let Some(entered) = ENTERED.get() else { return Ok(()) };
    let file = holder::open(&entered.run, "uplink")?;
    if !try_lock(&file)? {
        return Ok(());
    }
    let what = || "start pasta or slirp4netns, which stands in for a link of the host".to_owned();
    step("start-uplink", "an ordinary user cannot join the host's network and a container's", what, || {
        start(entered, file).map_err(|why| Error::Uplink { why })
    })
}

fn try_lock(file: &OwnedFd) -> Result<bool, Error> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(Error::Uplink { why: format!("cannot lock its file: {errno}") }),
    }
}

/// Starts the process that pasta belongs to, which has the lock from here on, and waits until packets can pass.
fn start(entered: &Entered, lock: OwnedFd) -> Result<(), String> {
    let pid = Pid::from_raw(entered.holder).ok_or("the holder of the namespaces has no number")?;
    let of_holder = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| format!("the holder of the namespaces: {e}"))?;
    let (from, to) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| e.to_string())?;
    let pid_file = holder::directory(&entered.run).join(PID_FILE);
    let netns = holder::directory(&entered.run).join(holder::NETWORK);
    let kept = vec![lock, of_holder, to];
    sys::detach::spawn_detached_with(c"mc-uplink", kept, &[], |kept| {
        let [lock, of_holder, to] = <[OwnedFd; 3]>::try_from(kept).unwrap_or_else(|_| sys::fork::exit_now(1));
        // Else the holder would never be without a user.
        let _ = sys::detach::let_go_of(entered.used.as_fd());
        attend(&netns, &of_holder, to, &pid_file);
        drop(lock);
    })
    .map_err(|e| e.to_string())?;
    let mut said = String::new();
    std::fs::File::from(from).read_to_string(&mut said).map_err(|e| e.to_string())?;
    if said == READY { Ok(()) } else { Err(said) }
}

const READY: &str = "ready";

fn attend(netns: &Path, of_holder: &OwnedFd, to: OwnedFd, pid_file: &Path) {
    let mut to = std::fs::File::from(to);
    let program = match begin(netns, pid_file) {
        Ok(program) => program,
        Err(why) => {
            let _ = to.write_all(why.as_bytes());
            return;
        }
    };
    let _ = to.write_all(READY.as_bytes());
    drop(to);
    let mut ends = [PollFd::new(of_holder, PollFlags::IN), PollFd::new(&program.process, PollFlags::IN)];
    while let Err(Errno::INTR) = poll(&mut ends, None) {}
    let _ = pidfd_send_signal(&program.process, Signal::TERM);
}

/// A program that stands in for a link.
struct Program {
    process: OwnedFd,
    /// It ends when this is closed, and so with this process, however that ends.
    _held: Option<ChildStdin>,
}

fn begin(netns: &Path, pid_file: &Path) -> Result<Program, String> {
    if let Some(pasta) = begin_pasta(netns, pid_file)? {
        return Ok(pasta);
    }
    let neither = "there is no program pasta in PATH (it comes with the package passt), and no slirp4netns (of the \
                   package slirp4netns)";
    begin_slirp(netns)?.ok_or_else(|| neither.to_owned())
}

/// Starts pasta, which goes into the background when it is ready. None where there is none.
fn begin_pasta(netns: &Path, pid_file: &Path) -> Result<Option<Program>, String> {
    end_left(pid_file);
    let resolver = RESOLVER.to_string();
    let mut command = Command::new("pasta");
    command.args(["--config-net", "--quiet", "--no-map-gw", "--dns-forward", &resolver, "--netns-only"]);
    // Ports of the host that lead to containers are published by us, and none of the host's own lead in here.
    command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
    command.arg("--pid").arg(pid_file).arg("--netns").arg(netns);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("run pasta: {error}")),
    };
    if !output.status.success() {
        let said = said(&output.stderr);
        return Err(format!("pasta: {}", if said.is_empty() { output.status.to_string() } else { said }));
    }
    let number = std::fs::read_to_string(pid_file).map_err(|e| format!("pasta's number: {e}"))?;
    let pid = number.trim().parse().ok().and_then(Pid::from_raw).ok_or("pasta told no number")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| format!("pasta ended: {e}"))?;
    Ok(Some(Program { process, _held: None }))
}

/// Ends a pasta that lost the process which it belongs to: in the background it does not end with that, and no other can
/// have its link. slirp4netns ends by itself.
pub(super) fn end_left(pid_file: &Path) {
    let number = std::fs::read_to_string(pid_file).unwrap_or_default();
    let _ = std::fs::remove_file(pid_file);
    let Some(pid) = number.trim().parse().ok().and_then(Pid::from_raw) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // The number may be another's by now: ours was given this very file.
    let words = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    if words.split(|byte| *byte == 0).any(|word| word == pid_file.as_os_str().as_encoded_bytes()) {
        let _ = pidfd_send_signal(&process, Signal::KILL);
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&ENDING));
    }
}

/// Starts slirp4netns, and waits until it is ready. None where there is none.
fn begin_slirp(netns: &Path) -> Result<Option<Program>, String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what} slirp4netns: {error}");
    let (ready, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| e.to_string())?;
    // By its number: this process has one thread, and starts nothing else.
    rustix::io::fcntl_setfd(&tell, FdFlags::empty()).map_err(|e| e.to_string())?;
    let mut command = Command::new("slirp4netns");
    command.args(["--configure", "--disable-host-loopback", "--enable-ipv6", "--enable-sandbox", "--enable-seccomp"]);
    command.args(["--cidr", SLIRPS, "--exit-fd=0"]).arg(format!("--ready-fd={}", tell.as_raw_fd()));
    command.arg("--netns-type=path").arg(netns).arg(SLIRPS_LINK);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("run")(error)),
    };
    drop(tell);
    let mut is_ready = Vec::new();
    std::fs::File::from(ready).read_to_end(&mut is_ready).map_err(failed("wait for"))?;
    let mut errors = child.stderr.take().ok_or("slirp4netns has no standard error")?;
    if is_ready.is_empty() {
        let mut text = Vec::new();
        let _ = errors.read_to_end(&mut text);
        let status = child.wait().map_err(failed("wait for"))?;
        let said = said(&text);
        return Err(format!("slirp4netns: {}", if said.is_empty() { status.to_string() } else { said }));
    }
    // What it says from here on is for nobody; were there nobody to take it, it would end.
    let _ = std::thread::Builder::new().spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("slirp4netns has no number")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| format!("slirp4netns ended: {e}"))?;
    Ok(Some(Program { process, _held: child.stdin.take() }))
}

/// Why it ended, on one line. Where there is no syslog it says that as well, once for each other line.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.ends_with("bytes to syslog"));
    lines.collect::<Vec<_>>().join("; ")
}

/// What the host says of name servers, as it is to be understood behind it: a server on the host's loopback is reached
/// by an address that leads to it; and so is one where none is named, which means that.
pub(crate) fn resolver(text: &[u8]) -> Vec<u8> {
    let is_on_loopback = |line: &str| {
        let address = line.strip_prefix("nameserver").map(str::trim).and_then(|at| at.parse::<IpAddr>().ok());
        address.is_some_and(|address| address.is_loopback())
    };
    let text = String::from_utf8_lossy(text);
    let mut out = String::new();
    let mut told = false;
    for line in text.lines() {
        if !is_on_loopback(line.trim()) {
            out.push_str(line);
            out.push('\n');
        } else if !told {
            out.push_str(&format!("nameserver {RESOLVER}\n"));
            told = true;
        }
    }
    if !text.lines().any(|line| line.trim_start().starts_with("nameserver")) {
        out.push_str(&format!("nameserver {RESOLVER}\n"));
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_on_loopback_is_asked_through_pasta() {
        for (host, behind) in [
            ("nameserver 10.0.0.1\nsearch a.b\n", "nameserver 10.0.0.1\nsearch a.b\n"),
            ("search a\nnameserver 127.0.0.53\nnameserver ::1\n", "search a\nnameserver 169.254.1.3\n"),
            ("search a", "search a\nnameserver 169.254.1.3\n"),
        ] {
            assert_eq!(String::from_utf8(resolver(host.as_bytes())).unwrap(), behind);
        }
    }
}

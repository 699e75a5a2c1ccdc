//! Running the hooks of a configuration, one after the other.
//!
//! A hook is a program of whoever made the configuration: it runs with our rights, gets the container's state on its
//! standard input and must end with 0. The same function serves both sides: the tool (prestart, createRuntime,
//! poststart, poststop) and the container's first process (createContainer, startContainer), where no /proc, /dev or
//! PATH can be counted on; so nothing here looks at any.
//!
//! - The state is a memfd and no pipe: a hook that does not read it, or not to its end, is no case to handle, and no
//!   size of it can make us wait for each other.
//! - Its output, both streams in one, is read to keep it going, and its last part is told when it fails.
//! - It is waited for by pidfd, whatever the caller does with SIGCHLD. What it leaves running goes on by itself, even
//!   when it has our pipe still open; a hook that is out of time is killed with its whole process group.
//! - Its environment is what the configuration gives it and no more.
//!
//! Nothing is left on the host by us. [config.md, "POSIX-platform Hooks"; runc runs them in the bundle]

use crate::error::Error;
use oci_spec::runtime::{Hook, Hooks};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use step::step;

/// How much of a hook's output an error tells: its end, where the reason is.
const TOLD: usize = 2048;

/// Refuses what the specification does, of all six kinds.
pub(crate) fn check(hooks: &Hooks) -> Result<(), Error> {
    #[allow(deprecated)] // By the specification, and still what the network plugins of many callers use.
    let prestart = hooks.prestart();
    for (kind, hooks) in [
        ("prestart", prestart),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ] {
        hooks.iter().flatten().try_for_each(|hook| check_one(hook, kind))?;
    }
    Ok(())
}

fn check_one(hook: &Hook, kind: &'static str) -> Result<(), Error> {
    let path = hook.path();
    let invalid = |why: String| Err(Error::Invalid(format!("the {kind} hook {}: {why}", path.display())));
    if !path.is_absolute() {
        return invalid("its path is not absolute".into());
    }
    if let Some(timeout) = hook.timeout().filter(|seconds| *seconds <= 0) {
        return invalid(format!("its timeout is {timeout}, and it must be greater than zero"));
    }
    let words = hook.args().iter().flatten().chain(hook.env().iter().flatten());
    if let Some(word) = words.into_iter().find(|word| word.contains('\0')) {
        return invalid(format!("{word:?} contains a NUL byte"));
    }
    match hook.env().iter().flatten().find(|entry| entry.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
        Some(entry) => invalid(format!("{entry:?} is no variable, NAME=VALUE")),
        None => Ok(()),
    }
}

/// Runs the hooks in order, and stops at the first that fails. `dir`: where they start, or where we are.
pub(crate) fn run(hooks: &[Hook], kind: &'static str, state_json: &[u8], dir: Option<&Path>) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| {
        check_one(hook, kind)?;
        let what = || format!("run the {kind} hook {}", hook.path().display());
        step("run-hook", "asked for by the configuration", what, || run_one(hook, state_json, dir))
            .map_err(|reason| Error::Hook { kind, path: hook.path().clone(), reason })
    })
}

fn run_one(hook: &Hook, state: &[u8], dir: Option<&Path>) -> Result<(), String> {
    let set_up = || -> io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
        // Close-on-exec; what the hook gets of them it gets as 0, 1 and 2.
        let (output, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&output, true)?;
        Ok((in_memory(state)?, output, theirs))
    };
    let (input, output, theirs) = set_up().map_err(|e| format!("cannot prepare its streams: {e}"))?;
    let started = Instant::now();
    let child = {
        let mut command = command(hook, dir);
        let both = theirs.try_clone().map_err(|e| format!("cannot prepare its streams: {e}"))?;
        command.stdin(input).stdout(both).stderr(theirs);
        // The command and with it our copies of the pipe's writing end go here.
        command.spawn().map_err(|e| format!("cannot start it: {e}"))?
    };
    let pid = Pid::from_child(&child);
    let limit = hook.timeout().map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    let mut said = Tail::default();
    let ended = pidfd_open(pid, PidfdFlags::empty())
        .and_then(|pidfd| follow(&pidfd, &output, &mut said, limit.and_then(|limit| started.checked_add(limit))));
    if !matches!(ended, Ok(true)) {
        // Not reaped yet, so the number is still its own.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = reap(pid);
    said.take_what_is_there(&output);
    match (ended, status) {
        (Ok(true), Ok(Ended::Code(0))) => Ok(()),
        (Ok(true), Ok(Ended::Code(code))) => Err(format!("it ended with status {code}{}", said.text())),
        (Ok(true), Ok(Ended::Signal(signal))) => Err(format!("it was ended by signal {signal}{}", said.text())),
        (Ok(false), _) => {
            let seconds = limit.unwrap_or_default().as_secs();
            Err(format!("it did not end within its timeout of {seconds} s and was killed{}", said.text()))
        }
        (Err(errno), _) | (_, Err(errno)) => Err(format!("cannot wait for it: {errno}")),
    }
}

fn command(hook: &Hook, dir: Option<&Path>) -> Command {
    let mut command = Command::new(hook.path());
    if let Some([name, words @ ..]) = hook.args().as_deref() {
        command.arg0(name).args(words);
    }
    command.env_clear().envs(hook.env().iter().flatten().filter_map(|entry| entry.split_once('=')));
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    // Its own group, by which it can be killed with all that it has started.
    command.process_group(0);
    command
}

/// A file that is nowhere, to be read from its beginning.
fn in_memory(content: &[u8]) -> io::Result<OwnedFd> {
    let file = match memfd_create(c"state", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => memfd_create(c"state", MemfdFlags::CLOEXEC)?,
        made => made?,
    };
    let mut rest = content;
    while !rest.is_empty() {
        let wrote = rustix::io::write(&file, rest)?;
        rest = &rest[wrote..];
    }
    seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}

/// Reads the output until the process has ended (true), or until its time is over (false).
fn follow(pidfd: &OwnedFd, output: &OwnedFd, said: &mut Tail, until: Option<Instant>) -> Result<bool, Errno> {
    let mut is_open = true;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        // Rounded up, or the last fraction would be waited for by polling without a pause.
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let mut watched = vec![PollFd::new(pidfd, PollFlags::IN)];
        if is_open {
            watched.push(PollFd::new(output, PollFlags::IN));
        }
        match poll(&mut watched, left.as_ref()) {
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
        if !watched[0].revents().is_empty() {
            return Ok(true);
        }
        if watched.get(1).is_some_and(|output| !output.revents().is_empty()) {
            is_open = said.take_some(output) != Some(0);
        }
    }
}

enum Ended {
    Code(i32),
    Signal(i32),
}

fn reap(pid: Pid) -> Result<Ended, Errno> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
            Err(Errno::INTR) | Ok(None) => {}
            Err(errno) => return Err(errno),
            Ok(Some(status)) => {
                return Ok(match status.terminating_signal() {
                    Some(signal) => Ended::Signal(signal),
                    None => Ended::Code(status.exit_status().unwrap_or(1)),
                });
            }
        }
    }
}

/// The end of what was read.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    /// Reads once: the number of bytes, 0 at the end, `None` when there is nothing now.
    fn take_some(&mut self, from: &OwnedFd) -> Option<usize> {
        let mut bytes = [0u8; 4096];
        let got = match rustix::io::read(from.as_fd(), &mut bytes) {
            Ok(got) => got,
            Err(Errno::INTR | Errno::AGAIN) => return None,
            Err(_) => 0,
        };
        self.0.extend(&bytes[..got]);
        let too_many = self.0.len().saturating_sub(TOLD);
        self.0.drain(..too_many);
        Some(got)
    }

    /// Reads what an ended process has left; not for ever, for what it has started may go on to write.
    fn take_what_is_there(&mut self, from: &OwnedFd) {
        for _ in 0..32 {
            if matches!(self.take_some(from), None | Some(0)) {
                return;
            }
        }
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        match text.trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_child, is_root};
    use std::path::PathBuf;

    fn hook(json: &str) -> Hook {
        serde_json::from_str(json).unwrap()
    }

    fn sh(script: &str) -> Hook {
        let mut hook = Hook::default();
        hook.set_path("/bin/sh".into()).set_args(Some(vec!["sh".into(), "-c".into(), script.into()]));
        hook
    }

    fn said(hook: Hook, state: &[u8]) -> String {
        run(&[hook], "poststart", state, None).map_or_else(|e| e.to_string(), |()| "it ran".into())
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mycontainer-hooks-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn what_is_refused_before_anything_runs() {
        for (json, word) in [
            (r#"{"path": "bin/sh"}"#, "not absolute"),
            (r#"{"path": "/bin/true", "timeout": 0}"#, "greater than zero"),
            (r#"{"path": "/bin/true", "timeout": -3}"#, "timeout is -3"),
            (r#"{"path": "/bin/true", "env": ["A"]}"#, "\"A\" is no variable"),
            (r#"{"path": "/bin/true", "env": ["=x"]}"#, "no variable"),
            (r#"{"path": "/bin/true", "args": ["a\u0000b"]}"#, "NUL"),
        ] {
            let mut hooks = Hooks::default();
            hooks.set_poststop(Some(vec![hook(json)]));
            let error = check(&hooks).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("poststop"), "{json}: {error}");
            assert!(said(hook(json), b"").contains(word), "{json}");
        }
        let mut hooks = Hooks::default();
        hooks.set_create_runtime(Some(vec![hook(r#"{"path": "/x", "timeout": 1, "env": ["A=", "B==x"]}"#)]));
        check(&hooks).unwrap();
    }

    #[test]
    fn how_a_hook_ends() {
        for (script, expected) in [
            ("exit 0", "it ran"),
            ("exit 3", "the poststart hook /bin/sh failed: it ended with status 3"),
            ("echo to stdout; echo no luck >&2; exit 1", "status 1: to stdout\nno luck"),
            ("kill -9 $$", "it was ended by signal 9"),
            ("head -c 1000000 /dev/zero; exit 0", "it ran"),
            ("head -c 1000000 /dev/zero | tr '\\0' x; echo the end >&2; exit 1", "xxxthe end"),
            // What it leaves in the background holds the pipe open, and is not waited for.
            ("sleep 60 & exit 0", "it ran"),
        ] {
            let started = Instant::now();
            let said = said(sh(script), b"{}");
            assert!(said.contains(expected), "{script}: {said}");
            assert!(said.len() < TOLD + 200, "{script}: {} bytes", said.len());
            assert!(started.elapsed() < Duration::from_secs(20), "{script}");
        }
        let missing = said(hook(r#"{"path": "/no/such/hook"}"#), b"");
        assert!(missing.contains("/no/such/hook failed: cannot start it: No such file"), "{missing}");
    }

    #[test]
    fn the_state_is_read_whole_or_not_at_all() {
        let large = vec![b'x'; 3_000_000];
        assert_eq!(said(sh("test $(wc -c) = 3000000"), &large), "it ran");
        assert_eq!(said(sh("exec 0<&-; exit 0"), &large), "it ran");
        assert_eq!(said(sh("head -c 5 >/dev/null"), &large), "it ran");
        assert_eq!(said(sh("test \"$(cat /dev/stdin)\" = state"), b"state"), "it ran");
        // The next one gets it from its beginning.
        let twice = [sh("test $(wc -c) = 5"), sh("test $(wc -c) = 5")];
        run(&twice, "poststart", b"state", None).unwrap();
    }

    #[test]
    fn words_environment_and_directory_are_those_given() {
        let listed = scratch("env");
        let script =
            format!("/usr/bin/env -u PWD -u SHLVL -u _ -u OLDPWD /usr/bin/env > {}; pwd >> {0}", listed.display());
        let mut print = sh(&script);
        print.set_env(Some(vec!["ONE=1".into(), "TWO=a=b".into()]));
        run(&[print], "poststart", b"", Some(Path::new("/usr"))).unwrap();
        let text = std::fs::read_to_string(&listed).unwrap();
        std::fs::remove_file(&listed).unwrap();
        assert_eq!(text, "ONE=1\nTWO=a=b\n/usr\n");
        let mut named = Hook::default();
        named.set_path("/bin/sh".into()).set_args(Some(["other", "-c", "test $0 = other"].map(String::from).to_vec()));
        assert_eq!(said(named, b""), "it ran");
        let gone = run(&[sh("exit 0")], "poststart", b"", Some(Path::new("/no/such"))).unwrap_err().to_string();
        assert!(gone.contains("cannot start it"), "{gone}");
    }

    #[test]
    fn a_hook_out_of_time_is_killed_with_all_it_started() {
        let mark = scratch("alive");
        let mut slow = sh(&format!("(sleep 3; echo > {}) & echo waiting; sleep 60", mark.display()));
        slow.set_timeout(Some(1));
        let started = Instant::now();
        let said = said(slow, b"");
        assert!(said.contains("timeout of 1 s and was killed: waiting"), "{said}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(3200).saturating_sub(started.elapsed()));
        assert!(!mark.exists(), "what it started lives on");
    }

    #[test]
    fn the_first_failure_ends_the_row() {
        let mark = scratch("second");
        let row = [sh("exit 1"), sh(&format!("echo > {}", mark.display()))];
        assert!(run(&row, "createRuntime", b"", None).is_err());
        assert!(!mark.exists());
    }

    #[test]
    fn it_runs_without_proc_and_with_sigchld_blocked() {
        if !is_root("it_runs_without_proc_and_with_sigchld_blocked") {
            return;
        }
        in_child(|| {
            sys::fork::unshare(sys::fork::Namespaces::MOUNT).unwrap();
            let private = sys::mount::Attributes { propagation: 1 << 18, ..Default::default() };
            sys::mount::set_attributes(rustix::fs::CWD, c"/", true, private).unwrap();
            rustix::mount::mount("none", "/proc", "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
            sys::signal::block(sys::signal::SignalSet::of(&[17])).unwrap();
            assert_eq!(said(sh("test ! -e /proc/self || exit 9; cat >/dev/null"), b"state"), "it ran");
            assert!(said(sh("exit 4"), b"").contains("status 4"));
        });
    }
}

//! A worker: a copy of this program that runs commands one at a time and times each of them.
//!
//! Every timed command is started by a worker, because some need another view of the machine than ours: crun refuses
//! a hybrid host, so its worker lives in a mount namespace in which the v2 half is not mounted. The host's own mounts
//! are never touched. Requests and answers are JSON lines on the worker's stdin and stdout, outside of what is timed.
//!
//! The time is from just before the spawn to the moment the kernel says that the process has ended, both on the
//! monotonic clock; or to the first byte that it writes. The commands' standard streams are /dev/null, but for the
//! output that is waited for.

use crate::images;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What a worker sees of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum View {
    /// The machine as it is.
    Host,
    /// Its own mount namespace without a hybrid host's cgroup v2 mount. What is mounted there goes with the worker.
    Private,
    /// Its own mount namespace with cgroup v2 alone, of whatever controllers the host's other hierarchies leave it.
    Unified,
    /// Its own mount namespace with so many mounts more than this machine has.
    Mounted(u16),
    /// As an ordinary user (see `user.rs`).
    User,
    /// A host of its own, with nothing on it (see [`Worker::start_apart`]).
    Own,
    /// A host of its own with Docker's daemon (see `networks/host.rs`).
    Docker,
    /// A place for images whose stores are emptied again and again (see `images/place.rs`).
    Cold,
    /// One whose stores are filled once.
    Warm,
}

impl View {
    const NAMES: [(View, &'static str); 3] =
        [(View::Host, "host"), (View::Private, "private"), (View::Unified, "unified")];

    fn as_arg(self) -> String {
        if let View::Mounted(count) = self {
            return count.to_string();
        }
        View::NAMES.iter().find(|(view, _)| *view == self).map_or("host", |(_, name)| name).to_owned()
    }

    /// The view that [`View::as_arg`] named.
    pub(crate) fn from_arg(word: &str) -> View {
        if let Ok(count) = word.parse() {
            return View::Mounted(count);
        }
        View::NAMES.iter().find(|(_, name)| *name == word).map_or(View::Host, |(view, _)| *view)
    }
}

/// One command to run and time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The program by its absolute path, and its arguments.
    pub(crate) argv: Vec<String>,
    /// After this many seconds the command and its process group are killed.
    pub(crate) timeout_s: u16,
    /// Where its stderr goes instead of /dev/null.
    pub(crate) stderr: Option<PathBuf>,
    /// A shell script that runs before, untimed; nothing when empty.
    pub(crate) setup: String,
    /// What is timed.
    pub(crate) until: Until,
    /// How often, if more than once.
    pub(crate) crowd: Option<Crowd>,
}

/// A command that is run many times, so many at once. In its words `{}` is the number of the run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Crowd {
    /// Runs in all.
    pub(crate) runs: usize,
    /// Runs at a time: one that ends makes room for the next.
    pub(crate) at_once: usize,
}

impl Request {
    /// Only a command, to its end.
    pub(crate) fn of(argv: Vec<String>, timeout_s: u16) -> Request {
        Request { argv, timeout_s, stderr: None, setup: String::new(), until: Until::End, crowd: None }
    }
}

/// To which moment a command is timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Until {
    /// Its end.
    #[default]
    End,
    /// The first byte that it writes: a container's program that runs.
    Output,
}

/// How one run went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timing {
    /// Wall-clock time of the whole run.
    pub(crate) micros: u64,
    /// Why this run is not a time, if it is not one.
    pub(crate) failure: Option<String>,
}

/// The harness's end of a worker.
pub(crate) struct Worker {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one with `view`.
    pub(crate) fn start(view: View) -> Result<Worker> {
        Worker::spawn(Command::new(myself()?).args(["worker", &view.as_arg()]))
    }

    /// Starts one in a place for images.
    pub(crate) fn start_in(place: &Path) -> Result<Worker> {
        let environment = images::place::environment(place);
        Worker::spawn(Command::new(myself()?).args(["worker", "place"]).arg(place).envs(environment))
    }

    /// Starts one in a place and in namespaces of its own for processes and the network. All that it starts there ends
    /// with it, and it with us; what is typed at our terminal does not reach it.
    pub(crate) fn start_apart(place: &Path) -> Result<Worker> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--net"]);
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        // A shell as the first process reaps whoever lost his parent.
        command.args(["sh", "-c", "\"$@\"; exit $?", "sh"]).arg(myself()?).args(["worker", "place"]).arg(place);
        Worker::spawn(command.envs(images::place::environment(place)).process_group(0))
    }

    pub(crate) fn spawn(command: &mut Command) -> Result<Worker> {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a worker")?;
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("the worker has no stdout")?);
        Ok(Worker { process, requests, answers })
    }

    /// Has the worker run and time one command.
    pub(crate) fn time(&mut self, request: &Request) -> Result<Timing> {
        let requests = self.requests.as_mut().context("the worker has no stdin")?;
        requests
            .write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())
            .context("the worker is gone")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("cannot read the worker's answer")?;
        serde_json::from_str(&answer).context("the worker did not answer; its own error is above")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.requests.take()); // the end of its input ends it
        let _ = self.process.wait();
    }
}

/// This program's file, to be run again.
pub(crate) fn myself() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}

/// Gives this process a view of the machine. (A place for images has its directory: see `images/place.rs`.)
pub(crate) fn enter(view: View) -> Result<()> {
    match view {
        View::Host | View::User | View::Own | View::Docker | View::Cold | View::Warm => Ok(()),
        View::Private => hide_unified(),
        View::Mounted(count) => mount_more(count),
        View::Unified => show_unified(),
    }
}

/// What a worker does: answers requests until there are no more.
pub(crate) fn serve() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?).context("cannot read a request")?;
        let timing = run(&request)?;
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("{}\n", serde_json::to_string(&timing)?).as_bytes())?;
        stdout.flush()?;
    }
    Ok(())
}

/// Moves this process into a mount namespace of its own, from which nothing is seen outside.
pub(crate) fn own_mounts() -> Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    sys::fork::unshare(sys::fork::Namespaces::MOUNT).context("cannot make a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot make the mounts private")
}

/// Each mount is a directory of one tmpfs on itself.
fn mount_more(count: u16) -> Result<()> {
    use rustix::mount::{MountFlags, mount, mount_bind};
    hide_unified()?;
    // Nobody else's: a directory that every machine has, and that no container's program needs.
    let dir = Path::new("/mnt");
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), None).context("cannot mount a tmpfs")?;
    for number in 1..count {
        let dir = dir.join(number.to_string());
        std::fs::create_dir(&dir).context("cannot make a directory to mount on")?;
        mount_bind(&dir, &dir).context("cannot mount a directory on itself")?;
    }
    Ok(())
}

fn show_unified() -> Result<()> {
    use rustix::mount::{MountFlags, mount};
    own_mounts()?;
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None).context("cannot mount cgroup v2")
}

fn hide_unified() -> Result<()> {
    use rustix::mount::{UnmountFlags, unmount};
    own_mounts()?;
    let unified = Path::new("/sys/fs/cgroup/unified");
    if unified.is_dir() {
        unmount(unified, UnmountFlags::DETACH).context("cannot unmount the v2 half of a hybrid host's cgroups")?;
    }
    Ok(())
}

fn run(request: &Request) -> Result<Timing> {
    if let Some(crowd) = request.crowd {
        return run_crowd(request, crowd);
    }
    let [program, arguments @ ..] = request.argv.as_slice() else { bail!("a request without a command") };
    let stderr = request.stderr.as_ref().map(File::create).transpose().context("cannot make a file for stderr")?;
    if let Err(failure) = set_up(&request.setup, stderr.as_ref())? {
        return Ok(Timing { micros: 0, failure: Some(failure) });
    }
    let mut command = Command::new(program);
    let stdout = if request.until == Until::Output { Stdio::piped() } else { Stdio::null() };
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).process_group(0);
    command.stderr(stderr.map_or_else(Stdio::null, Stdio::from));

    let start = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Ok(Timing { micros: 0, failure: Some(format!("cannot start {program}: {e}")) }),
    };
    let pid = child.id() as i32;
    // The end of the output comes with the end of who could write, so that there is nothing to wait for without one.
    let output = child.stdout.take().map(|mut output| std::io::Read::read(&mut output, &mut [0]).map(|_| output));
    let spoke = start.elapsed();
    let in_time = ends_within(pid, Duration::from_secs(request.timeout_s.into()))?;
    let took = match output.transpose().context("cannot read a command's output")? {
        Some(_) => spoke,
        None => start.elapsed(),
    };
    if !in_time && let Some(group) = Pid::from_raw(pid) {
        kill_process_group(group, Signal::KILL).context("cannot kill a command that took too long")?;
    }
    let status = child.wait().context("cannot wait for a command")?;
    let failure = match (in_time, status.success()) {
        (false, _) => Some(format!("killed after {} s", request.timeout_s)),
        (true, false) => Some(status.to_string()),
        (true, true) => None,
    };
    Ok(Timing { micros: took.as_micros() as u64, failure })
}

/// Runs what comes before, to its end.
fn set_up(script: &str, stderr: Option<&File>) -> Result<Result<(), String>> {
    if script.is_empty() {
        return Ok(Ok(()));
    }
    let mut command = Command::new("sh");
    command.args(["-ec", script]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(stderr.map(File::try_clone).transpose()?.map_or_else(Stdio::null, Stdio::from));
    let status = command.status().context("cannot run sh")?;
    Ok(if status.success() { Ok(()) } else { Err(format!("its preparation failed: {status}")) })
}

/// Waits until the child has ended, without reaping it; false when the time ran out first.
fn ends_within(pid: i32, limit: Duration) -> Result<bool> {
    let pid = Pid::from_raw(pid).context("a child without a pid")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot open a pidfd")?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            ready => return Ok(ready.context("cannot wait for a command's end")? > 0),
        }
    }
}

/// Runs a command many times. It is a failure when one run is; those that hang are killed.
fn run_crowd(request: &Request, crowd: Crowd) -> Result<Timing> {
    let deadline = Duration::from_secs(request.timeout_s.into());
    let (mut under_way, mut failures, mut next) = (Vec::<(Child, OwnedFd)>::new(), Vec::new(), 0);
    let start = Instant::now();
    while next < crowd.runs || !under_way.is_empty() {
        while next < crowd.runs && under_way.len() < crowd.at_once {
            let words: Vec<String> = request.argv.iter().map(|word| word.replace("{}", &next.to_string())).collect();
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            let child = command.spawn().with_context(|| format!("cannot start {}", words[0]))?;
            let pid = Pid::from_raw(child.id() as i32).context("a process without a pid")?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot open a pidfd of a command")?;
            under_way.push((child, pidfd));
            next += 1;
        }
        let left = deadline.saturating_sub(start.elapsed());
        if left.is_zero() {
            for (child, _) in &mut under_way {
                if let Some(group) = Pid::from_raw(child.id() as i32) {
                    kill_process_group(group, Signal::KILL).context("cannot kill a command that took too long")?;
                }
                child.wait().context("cannot wait for a command")?;
            }
            failures.push(format!("killed after {} s", request.timeout_s));
            break;
        }
        let mut fds: Vec<PollFd<'_>> = under_way.iter().map(|(_, pidfd)| PollFd::new(pidfd, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            polled => polled.context("cannot wait for commands")?,
        };
        let ended: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for index in (0..ended.len()).rev().filter(|index| ended[*index]) {
            let status = under_way.swap_remove(index).0.wait().context("cannot wait for a command")?;
            if !status.success() {
                failures.push(status.to_string());
            }
        }
    }
    let micros = start.elapsed().as_micros() as u64;
    let failure = failures.last().map(|last| format!("{} of {} failed: {last}", failures.len(), crowd.runs));
    Ok(Timing { micros, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(script: &str, timeout_s: u16) -> Timing {
        run(&request(&["/bin/sh", "-c", script], timeout_s, "")).unwrap()
    }

    fn request(words: &[&str], timeout_s: u16, setup: &str) -> Request {
        let argv = words.iter().map(|word| (*word).to_owned()).collect();
        Request { setup: setup.to_owned(), ..Request::of(argv, timeout_s) }
    }

    #[test]
    fn a_time_is_the_whole_run() {
        let timing = timed("sleep 0.1", 10);
        assert_eq!(timing.failure, None);
        assert!((100_000..2_000_000).contains(&timing.micros), "{timing:?}");
    }

    #[test]
    fn a_command_that_fails_is_not_a_time() {
        assert_eq!(timed("exit 3", 10).failure.as_deref(), Some("exit status: 3"));
        let missing = run(&request(&["/nonexistent/x"], 1, "")).unwrap();
        assert!(missing.failure.unwrap().starts_with("cannot start /nonexistent/x"));
    }

    #[test]
    fn what_comes_before_is_not_in_the_time() {
        let timing = run(&request(&["/bin/true"], 10, "sleep 0.5")).unwrap();
        assert!(timing.failure.is_none() && timing.micros < 400_000, "{timing:?}");
        let failure = run(&request(&["/bin/true"], 10, "exit 3")).unwrap().failure;
        assert_eq!(failure.as_deref(), Some("its preparation failed: exit status: 3"));
    }

    #[test]
    fn a_time_can_end_with_the_first_output() {
        let request = Request { until: Until::Output, ..request(&["/bin/sh", "-c", "echo; sleep 0.5"], 10, "") };
        let timing = run(&request).unwrap();
        assert!(timing.failure.is_none() && timing.micros < 400_000, "{timing:?}");
    }

    #[test]
    fn a_crowd_is_at_work_at_once() {
        let crowd = |script: &str, runs, at_once| {
            let crowd = Some(Crowd { runs, at_once });
            run(&Request { crowd, ..request(&["/bin/sh", "-c", script], 2, "") }).unwrap()
        };
        let timing = crowd("sleep 0.2", 6, 3);
        assert!(timing.failure.is_none() && (400_000..900_000).contains(&timing.micros), "{timing:?}");
        assert_eq!(crowd("[ {} != 2 ]", 4, 2).failure.as_deref(), Some("1 of 4 failed: exit status: 1"));
        assert_eq!(crowd("sleep 60", 4, 2).failure.as_deref(), Some("1 of 4 failed: killed after 2 s"));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let timing = timed("sleep 60 & sleep 60", 1);
        assert_eq!(timing.failure.as_deref(), Some("killed after 1 s"));
        assert!(timing.micros < 10_000_000, "{timing:?}");
    }
}

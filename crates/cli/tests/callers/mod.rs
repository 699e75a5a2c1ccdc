//! What the tests with real callers share: a place to run a caller in, and the runtime that it is to call.
//!
//! The runtime is the binary under test, by a link called `mycontainer-runtime`. MYCONTAINER_TEST_RUNTIME=/usr/sbin/runc
//! puts another in its place: a test here asks nothing that runc does not give, so that it judges a drop-in.

#![allow(dead_code, unreachable_pub)] // Each test file is a program of its own and uses a part of it.

pub mod containerd;
pub mod kubelet;

use crate::common::pty::Session;
use crate::common::{can_run, code, in_vm, make_busybox_root, need, stderr, stdout, tool, unique, wait_until};
use std::fmt::{Debug, Display};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a caller may take for one call before a test gives up, in seconds.
const PATIENCE: u32 = 60;

/// Whether all these programs are here, beside root and what [`Place`] needs.
pub fn has_callers(test: &str, programs: &[&str]) -> bool {
    let missing = |program: &&&str| !on_path(program);
    let missing: Vec<_> = programs.iter().filter(missing).copied().collect();
    let why = format!("it needs {} (scripts/setup-callers)", missing.join(", "));
    can_run(test) && need(test, missing.is_empty(), &why)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|dir| Path::new(dir).join(program).is_file())
}

/// What all tests of a file use at the same time, made by the first and ended with the last that holds it.
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// One that is not made yet.
    pub const fn new() -> Shared<T> {
        Shared(Mutex::new(Weak::new()))
    }

    /// What the others hold, or a new one.
    pub fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.upgrade().unwrap_or_else(|| {
            let made = Arc::new(make());
            *known = Arc::downgrade(&made);
            made
        })
    }
}

/// Processes, mounts, a network and control groups of a test's own: see `place.sh`. It ends with the test.
pub struct Place {
    keeper: Child,
    pid: u32,
    name: String,
    /// A directory in memory that only the place sees, under this path.
    pub dir: PathBuf,
}

impl Place {
    /// A new one, with a busybox root file system in `root` and the runtime under test in `bin`.
    pub fn new(word: &str) -> Place {
        let name = unique(word);
        let dir = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new("sh");
        command.arg(script()).arg(&name).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: what is typed at the test's terminal does not reach it.
        let mut keeper = command.process_group(0).spawn().expect("there is sh");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim_end().strip_prefix("ready ").and_then(|pid| pid.parse().ok());
        let place = Place { keeper, pid: pid.unwrap_or_else(|| panic!("no place: {line:?}")), name, dir };
        make_busybox_root(&place.seen_from_here(&place.path("root")));
        let runtime = std::env::var("MYCONTAINER_TEST_RUNTIME").unwrap_or_else(|_| tool().to_owned());
        place.sh(&format!("mkdir bin && ln -s {runtime} bin/mycontainer-runtime && chmod 1777 root/tmp"));
        place
    }

    /// `NAME` in the place's directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The runtime under test.
    pub fn runtime(&self) -> String {
        self.path("bin/mycontainer-runtime")
    }

    /// Where this process sees a path of the place.
    pub fn seen_from_here(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    /// Writes a file in the place's directory: its path there.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.seen_from_here(&self.path(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.path(name)
    }

    /// Reads a file of the place; empty when there is none.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.seen_from_here(path)).unwrap_or_default()
    }

    /// The words of a command that runs a program inside. Its HOME and directory for temporary files are the place's.
    pub fn words(&self, words: &[&str], before: &[&str]) -> Vec<String> {
        let (pid, home, tmp) = (self.pid.to_string(), self.path(""), self.path("tmp"));
        let script = script().display().to_string();
        let enter = ["sh", &script, "enter", &self.name, &pid];
        let (home, tmp) = (format!("HOME={home}"), format!("TMPDIR={tmp}"));
        let env = ["env", "-C", &self.path(""), &home, &tmp];
        enter.iter().chain(&env).chain(before).chain(words).map(|word| (*word).to_owned()).collect()
    }

    /// A program inside, with empty standard input and a limited time.
    pub fn command(&self, words: &[&str]) -> Command {
        let seconds = (PATIENCE * if in_vm() { 10 } else { 1 }).to_string();
        let words = self.words(words, &["timeout", "-k", "2", &seconds]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Runs a program inside to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("nsenter (util-linux) is there")
    }

    /// As [`Place::run`], and it must end with 0: its standard output.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}\n{}{}", output.status, stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// A shell script inside, which must end with 0: its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.ok(&["sh", "-ec", script])
    }

    /// A program inside as a foreground job on a terminal of 24 rows and 80 columns.
    pub fn on_terminal(&self, words: &[&str]) -> Session {
        let words = self.words(words, &[]);
        Session::of(&words.iter().map(String::as_str).collect::<Vec<_>>(), (24, 80), "")
    }

    /// Starts a daemon, which writes to `NAME.log`, and waits until a script succeeds.
    pub fn serve(&self, name: &str, words: &[&str], ready: &str) {
        let log = std::fs::File::create(self.seen_from_here(&self.path(&format!("{name}.log")))).unwrap();
        let words = self.words(words, &[]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let mut daemon = command.spawn().expect("nsenter (util-linux) is there");
        let mut ended = None;
        let up = wait_until(30, || {
            ended = daemon.try_wait().unwrap();
            ended.is_some() || self.run(&["sh", "-c", ready]).status.success()
        });
        let log = || self.read(&self.path(&format!("{name}.log")));
        assert!(up && ended.is_none(), "{name} is not ready ({ended:?}):\n{}", log());
        // It ends with the place, and is reaped then.
        std::thread::spawn(move || daemon.wait());
    }

    /// What matches a shell pattern inside, one path a line; nothing when nothing does.
    pub fn list(&self, pattern: &str) -> String {
        self.sh(&format!("for path in {pattern}; do [ ! -e \"$path\" ] || echo \"$path\"; done"))
    }

    /// Control groups inside whose path has a word: one path a line.
    pub fn groups(&self, word: &str) -> String {
        self.sh(&format!("find /sys/fs/cgroup -type d -path '*{word}*'"))
    }

    /// The value of a control group's file: `v1` or, under cgroup v2, `v2`, in the first group whose path ends in `group`.
    pub fn limit(&self, group: &str, v1: &str, v2: &str) -> String {
        let find = "find /sys/fs/cgroup -path";
        let file = if self.is_v2() { v2 } else { v1 };
        self.sh(&format!("cat $({find} '*{group}/{file}' | head -1)")).trim_end().to_owned()
    }

    /// Whether control groups here are of version 2.
    pub fn is_v2(&self) -> bool {
        Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
    }

    /// Waits until a script prints nothing, as it must when all is cleared away.
    #[track_caller]
    pub fn until_none(&self, what: &str, script: &str) {
        let mut left = String::new();
        let none = wait_until(10, || {
            left = self.sh(script);
            left.is_empty()
        });
        assert!(none, "left: {what}:\n{left}");
    }

    /// The control groups of this name on the host.
    fn on_host(&self) -> Vec<PathBuf> {
        let tops = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let groups = tops.chain(["/sys/fs/cgroup".into()]).map(|top: PathBuf| top.join(&self.name));
        groups.chain([self.dir.clone()]).filter(|path| path.exists()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        if !std::thread::panicking() {
            assert!(self.on_host().is_empty(), "left on the host: {:?}", self.on_host());
            let pid = Path::new("/proc").join(self.pid.to_string());
            assert!(!pid.exists(), "{} outlives its place", pid.display());
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(&self.name), "mounted on the host: {mounts}");
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/callers/place.sh")
}

/// The rows of a table that were not as expected: all are told when it goes out of scope, not the first only.
#[derive(Default)]
pub struct Rows(Vec<String>);

impl Rows {
    /// Compares.
    pub fn same<T: PartialEq<E> + Debug, E: Debug>(&mut self, row: impl Display, is: T, expected: E) {
        if is != expected {
            self.0.push(format!("{row}\n      is {is:?}\n  not as {expected:?}"));
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

/// Standard output; when it did not end with 0, with the code and standard error.
pub fn said(output: &Output) -> String {
    let failed = || format!("[{}] {}", code(output.status), stderr(output));
    stdout(output) + &if output.status.success() { String::new() } else { failed() }
}

/// Exit code, standard output and standard error together, to compare with what is expected.
pub fn outcome(output: &Output) -> (i32, String, String) {
    (code(output.status), stdout(output), stderr(output))
}

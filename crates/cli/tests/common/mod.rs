//! What the black-box tests share: the built binary, a small root file system, and a look at what is left on the host.
//!
//! These tests need root. Without it, or without a tool that they judge by, a test says so in one line and is skipped;
//! in CI (CI=true) nothing is skipped: it fails.

#![allow(dead_code, unreachable_pub)] // Each test file is a program of its own and uses a part of it.

pub mod faulty;
pub mod host;
pub mod life;
pub mod pty;
pub mod soak;
pub mod traces;
pub mod user;

use rustix::fs::inotify;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The binary under test; where the tests are tried without root (tests/rootless/run), a program that becomes it as an
/// ordinary user.
pub fn tool() -> &'static str {
    static TOOL: OnceLock<Option<String>> = OnceLock::new();
    let as_user = TOOL.get_or_init(|| std::env::var("MYCONTAINER_TEST_TOOL").ok());
    as_user.as_deref().unwrap_or(env!("CARGO_BIN_EXE_mycontainer"))
}

/// The ordinary user that the tool is run as, if it is.
pub fn user_of_tool() -> Option<&'static str> {
    static USER: OnceLock<Option<String>> = OnceLock::new();
    USER.get_or_init(|| std::env::var("MYCONTAINER_TEST_USER").ok()).as_deref()
}

/// Whether that user has one id only, and programs of its containers can be nobody's but root's.
pub fn has_one_id() -> bool {
    let set_aside = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    user_of_tool().is_some_and(|user| !set_aside.lines().any(|line| line.split(':').next() == Some(user)))
}

/// Gives what is root's, with all that is below, to the user that the tool is run as, if it is.
pub fn give(path: &Path) {
    if user_of_tool().is_some() {
        let words = ["-Rh", "--from=0", &owner_of_root()];
        let status = Command::new("chown").args(words).arg(path).status().expect("chown is there");
        assert!(status.success(), "chown {words:?} {}", path.display());
    }
}

/// Whose on the host the files of a container's root are: `0:0`, or `UID:GID` of the user that the tool is run as.
pub fn owner_of_root() -> String {
    std::env::var("MYCONTAINER_TEST_OWNER").unwrap_or_else(|_| "0:0".into())
}

/// The user namespace that a bundle must have where the tool is run as an ordinary user, as its callers have it: root is
/// the user, and the other ids are those set aside, if there are any. A bundle that has one already keeps it.
pub fn add_user_namespace(config: &mut serde_json::Value) {
    let Some(user) = user_of_tool() else { return };
    let Some(namespaces) = config.pointer_mut("/linux/namespaces").and_then(|list| list.as_array_mut()) else { return };
    if namespaces.iter().any(|namespace| namespace["type"] == "user") {
        return;
    }
    namespaces.push(serde_json::json!({ "type": "user" }));
    let owner = owner_of_root();
    let (uid, gid) = owner.split_once(':').expect("UID:GID");
    for (key, own, file) in [("uidMappings", uid, "/etc/subuid"), ("gidMappings", gid, "/etc/subgid")] {
        let map = |inside: u32, outside: &str, size: &str| {
            let number = |text: &str| text.parse::<u32>().expect("a number");
            serde_json::json!({ "containerID": inside, "hostID": number(outside), "size": number(size) })
        };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let others = text.lines().filter_map(|line| {
            let [name, first, size] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            (name == user).then(|| map(1, first, size))
        });
        config["linux"][key] = [map(0, own, "1")].into_iter().chain(others.take(1)).collect();
    }
}

/// Whether this test can run here: it needs root.
pub fn can_run(test: &str) -> bool {
    need(test, rustix_is_root(), "it needs root")
}

/// Says why a test is skipped, or fails in CI.
pub fn need(test: &str, met: bool, why: &str) -> bool {
    if !met {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: {why}, and in CI nothing is skipped");
        eprintln!("skipped {test}: {why}");
    }
    met
}

fn rustix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// `mycontainer run --rm WORDS...`, to its end, with empty standard input.
pub fn run(words: &[&str]) -> Output {
    Command::new(tool()).args(["run", "--rm"]).args(words).stdin(Stdio::null()).output().expect("the binary starts")
}

/// As [`run`], and it must end with 0: its standard output.
pub fn run_ok(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "run {words:?}: {}\n{}", output.status, stderr(&output));
    stdout(&output)
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A root file system with busybox and the usual directories, made once for each file of tests: what a file's containers
/// leave in it, the mount points of volumes above all, the others do not see.
#[track_caller]
pub fn busybox_root() -> &'static Path {
    static ROOTS: Mutex<BTreeMap<&str, &Path>> = Mutex::new(BTreeMap::new());
    let mut roots = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if roots.is_empty() {
        remove_roots_of_the_dead();
    }
    let number = roots.len();
    roots.entry(std::panic::Location::caller().file()).or_insert_with(|| {
        let root = std::env::temp_dir().join(format!("{ROOT_PREFIX}{}-{number}", std::process::id()));
        make_busybox_root(&root);
        Box::leak(root.into_boxed_path())
    })
}

const ROOT_PREFIX: &str = "mycontainer-test-root-";

/// A test program has no end at which it could remove its roots; the next one does it.
fn remove_roots_of_the_dead() {
    for root in names_in(&std::env::temp_dir().display().to_string(), ROOT_PREFIX) {
        let pid = last(&root)[ROOT_PREFIX.len()..].split('-').next().unwrap_or_default().to_owned();
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(root);
        }
    }
}

/// Makes such a root at `root`.
pub fn make_busybox_root(root: &Path) {
    let _ = std::fs::remove_dir_all(root);
    for dir in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr/bin", "var"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed (scripts/setup-tests)");
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(applet));
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\n")
        .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nusers:x:100:\nvideo:x:44:ann\n").unwrap();
    give(root);
}

/// What containers that are no more can leave on the host. Two snapshots are compared, so what was there before does
/// not matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers(pub Vec<String>);

/// Looks for what the containers of this host have left: records, names, sockets, layers, control groups, veths, leases
/// and mounts. What belongs to a container that is alive (its record is locked), or is being made (its directory is), is
/// not counted: other tests run at the same time.
pub fn leftovers() -> Leftovers {
    made_since();
    let mut alive = live_containers();
    let mut found = Vec::new();
    for dir in ["/run/mycontainer/containers", "/run/mycontainer/attach", "/var/lib/mycontainer/containers"] {
        found.extend(names_in(dir, "").into_iter().map(|path| (last(&path), path)));
    }
    for path in names_in("/var/lib/mycontainer/names", "") {
        let id = std::fs::read_link(&path).unwrap_or_default().display().to_string();
        found.push((id, path));
    }
    for dir in names_in("/sys/fs/cgroup", "").into_iter().filter(|d| Path::new(d).is_dir()) {
        found.extend(names_in(&dir, "mycontainer-").into_iter().map(|path| (last(&path)[12..].to_owned(), path)));
    }
    found.extend(
        names_in("/sys/fs/cgroup", "mycontainer-").into_iter().map(|path| (last(&path)[12..].to_owned(), path)),
    );
    // Ours end in the first digits of the id.
    let veths = names_in("/sys/class/net", "mc").into_iter().filter(|path| last(path).len() == 14);
    found.extend(veths.map(|path| (last(&path)[2..].to_owned(), path)));
    let leases = std::fs::read_to_string("/run/mycontainer/network/leases").unwrap_or_default();
    let leases = leases.lines().filter_map(|line| Some((line.split_whitespace().nth(1)?, line)));
    found.extend(leases.filter(|(id, _)| id.len() == 64).map(|(id, line)| (id.to_owned(), format!("lease {line}"))));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts.lines().filter(|line| line.contains("mycontainer"));
    found.extend(mounts.map(|line| ("a mount".to_owned(), line.to_owned())));
    alive.extend(live_containers());
    let made = made_since();
    let is_alive = |id: &str| !id.is_empty() && alive.iter().any(|known| known.starts_with(id));
    let is_made = |id: &str| made.iter().any(|known| known.starts_with(id));
    found.retain(|(id, what)| !is_alive(id) && (!what.starts_with("/sys/") || is_made(id)));
    let mut left: Vec<String> = found.into_iter().map(|(_, what)| what).collect();
    left.sort();
    left.dedup();
    Leftovers(left)
}

/// The ids of all records that were made since this was first asked. A control group or a veth of another id belongs to
/// a container of a test that has a /run of its own, and is that test's to look after.
fn made_since() -> BTreeSet<String> {
    static MADE: Mutex<Option<(OwnedFd, BTreeSet<String>)>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let (watch, ids) = made.get_or_insert_with(|| {
        let dir = "/run/mycontainer/containers";
        let _ = std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(dir);
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, dir, inotify::WatchFlags::CREATE).unwrap();
        (watch, BTreeSet::new())
    });
    let mut space = [const { MaybeUninit::uninit() }; 16_384];
    let mut events = inotify::Reader::new(watch, &mut space);
    while let Ok(event) = events.next() {
        ids.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    ids.clone()
}

/// The ids of records, and of containers' directories, that some process holds locked. Asked of the kernel's list of
/// locks: to try the lock ourselves could disturb a tool that is about to take it.
fn live_containers() -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let locked: Vec<u64> = locks
        .lines()
        .filter_map(|line| {
            line.split_whitespace().find(|word| word.matches(':').count() == 2)?.rsplit(':').next()?.parse().ok()
        })
        .collect();
    let mut records = names_in("/run/mycontainer/containers", "");
    records.extend(names_in("/var/lib/mycontainer/containers", ""));
    let held = |path: &String| std::fs::metadata(path).is_ok_and(|record| locked.contains(&record.ino()));
    records.into_iter().filter(held).map(|path| last(&path)).collect()
}

/// Asserts, when it goes out of scope, that the test has left nothing on the host. What the kernel takes away by itself
/// a moment later (a veth) has three seconds.
#[must_use]
pub struct Clean(Leftovers);

impl Clean {
    /// Remembers what is there now.
    pub fn watch() -> Clean {
        Clean(leftovers())
    }

    /// Asserts it now.
    pub fn check(&self, what: &str) {
        let more = || leftovers().0.into_iter().filter(|left| !self.0.0.contains(left)).collect::<Vec<_>>();
        let gone = wait_until(3, || more().is_empty());
        assert!(gone, "{what}: left on the host: {:#?}", more());
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check("at its end");
        }
    }
}

/// Asks again and again, for some seconds, whether something is so.
pub fn wait_until(seconds: u64, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds * if in_vm() { 10 } else { 1 });
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// True in the virtual machine of tests/vm, where everything takes 10 to 20 times as long.
pub fn in_vm() -> bool {
    std::env::var_os("MYCONTAINER_VM").is_some()
}

/// `--network none`, where the flags say nothing of it: two that exclude each other are an error.
pub fn without_network(flags: &[&str]) -> &'static [&'static str] {
    if flags.contains(&"--network") { &[] } else { &["--network", "none"] }
}

/// `mycontainer run --rm --network none FLAGS... ROOT sh -c SCRIPT` with a busybox root, to its end.
#[track_caller]
pub fn sh(flags: &[&str], script: &str) -> Output {
    let root = busybox_root().to_str().unwrap();
    run(&[without_network(flags), flags, &[root, "sh", "-c", script]].concat())
}

/// As [`sh`], and it must end with 0: its standard output.
#[track_caller]
pub fn sh_ok(flags: &[&str], script: &str) -> String {
    let output = sh(flags, script);
    assert!(output.status.success(), "{flags:?} {script:?}: {}\n{}", output.status, stderr(&output));
    stdout(&output)
}

/// As [`sh_ok`], in a view of this machine's `/`.
pub fn host_ok(flags: &[&str], script: &str) -> String {
    run_ok(&[without_network(flags), flags, &["host", "sh", "-c", script]].concat())
}

/// A container that runs while the test looks at it: killed, if it must be, with the test.
pub struct Running {
    /// The tool.
    pub tool: Child,
    /// What the container prints.
    pub output: BufReader<ChildStdout>,
    /// `--name` of the container.
    pub name: String,
}

impl Running {
    /// Starts `mycontainer run --rm --network none --name NAME FLAGS... ROOT sh -c SCRIPT` and waits for the script's first
    /// line, which must be `ready`.
    #[track_caller]
    pub fn start(flags: &[&str], script: &str) -> Running {
        Running::start_in(busybox_root().to_str().unwrap(), flags, script)
    }

    /// As [`Running::start`], in another root.
    pub fn start_in(root: &str, flags: &[&str], script: &str) -> Running {
        let name = unique("running");
        let words =
            [&["run", "--rm", "--name", &name], without_network(flags), flags, &[root, "sh", "-c", script]].concat();
        let mut command = Command::new(tool());
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tool = command.spawn().expect("the binary starts");
        let mut output = BufReader::new(tool.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let mut running = Running { tool, output, name };
        if line != "ready\n" {
            panic!("{flags:?} {script:?} did not get ready: {line:?} {:?}", running.end());
        }
        running
    }

    /// The container's id.
    pub fn id(&self) -> String {
        let link = std::fs::read_link(format!("/var/lib/mycontainer/names/{}", self.name)).expect("it has its name");
        link.display().to_string()
    }

    /// The container's record.
    pub fn record(&self) -> String {
        std::fs::read_to_string(format!("/run/mycontainer/containers/{}", self.id())).expect("it has a record")
    }

    /// The container's first process, as the host sees it.
    pub fn first_process(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.tool.id());
        let children = std::fs::read_to_string(children).unwrap();
        let is_first = |pid: &&str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
        };
        children.split_whitespace().find(is_first).expect("the tool has a child that is PID 1").parse().unwrap()
    }

    /// Sends the tool a signal.
    pub fn signal(&self, signal: &str) {
        kill(signal, self.tool.id());
    }

    /// Waits for its end: exit code (128 and the signal if the tool died by one), rest of the output, standard error.
    pub fn end(&mut self) -> (i32, String, String) {
        drop(self.tool.stdin.take());
        let ended = wait_until(20, || self.tool.try_wait().unwrap().is_some());
        if !ended {
            let _ = self.tool.kill();
        }
        let (mut rest, mut error) = (String::new(), String::new());
        self.output.read_to_string(&mut rest).unwrap();
        if let Some(mut stream) = self.tool.stderr.take() {
            stream.read_to_string(&mut error).unwrap();
        }
        assert!(ended, "{} does not end; it printed {rest:?} {error:?}", self.name);
        (code(self.tool.wait().unwrap()), rest, error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.tool.try_wait(), Ok(Some(_))) {
            let _ = self.tool.kill();
            let _ = self.tool.wait();
            // The next command clears away what a killed tool leaves: here it is.
            run(&["--network", "none", busybox_root().to_str().unwrap(), "true"]);
        }
    }
}

/// Sends a signal by kill(1).
pub fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success(), "kill -{signal} {pid}");
}

/// An exit code as a shell has it.
pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Whether criu works on this kernel. Where it does not, a test is skipped also in CI: the virtual machine has one that it
/// works on, and there it must.
pub fn criu_works(test: &str) -> bool {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY_NOT.get_or_init(|| match Command::new("criu").arg("check").output() {
        Err(error) => Some(format!("there is no criu to run: {error} (scripts/setup-tests installs it)")),
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = stderr(&output) + &stdout(&output);
            let error = said.lines().find(|line| line.contains("Error")).unwrap_or("it says nothing").to_owned();
            Some(format!("criu does not work on this kernel: {error}"))
        }
    });
    match why {
        None => can_run(test),
        Some(why) if in_vm() => need(test, false, why),
        Some(why) => {
            eprintln!("skipped {test}: {why}");
            false
        }
    }
}

/// A name that nothing else on this host has, and that is not the beginning of another.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("mctest-{what}-{}-{:03}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A directory of the test's own, removed with it.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty one in the directory for temporary files.
    pub fn new(what: &str) -> Scratch {
        Scratch::under(&std::env::temp_dir(), what)
    }

    /// An empty one in `parent`.
    pub fn under(parent: &Path, what: &str) -> Scratch {
        let path = parent.join(unique(what));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// `NAME` in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file with a mode into it and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a script with sh as root in a mount namespace of its own, in which nothing that it mounts reaches the host. `$0`
/// is the tool, `$1` and so on are `words`.
pub fn in_private_mounts(script: &str, words: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-ec", script, tool()]).args(words);
    command.stdin(Stdio::null()).output().expect("unshare (util-linux) is there")
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn names_in(dir: &str, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().display().to_string())
        .collect()
}

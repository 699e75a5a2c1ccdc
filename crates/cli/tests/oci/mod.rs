//! What the tests of the OCI verbs share: a configuration to change, a bundle on a busybox root, and the runtime with
//! records of its own. When a [`Runtime`] goes out of scope it asserts that nothing of its containers is left: no
//! record, mount, control group or process.

#![allow(dead_code, unreachable_pub)] // Each test file is a program of its own and uses a part of it.

pub mod receive;

use crate::common::traces::processes_with;
use crate::common::{Scratch, add_user_namespace, busybox_root, can_run, stderr, stdout, tool, wait_until};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a command may take before a test gives up on it.
const PATIENCE: u64 = 30;

/// A `config.json` in the making.
#[derive(Clone, Debug)]
pub struct Config(pub Value);

impl Config {
    /// `sh -c SCRIPT` in new namespaces of the usual kinds, with /proc, /sys and a /dev, and no capabilities taken away.
    pub fn sh(script: &str) -> Config {
        Config::args(&["sh", "-c", script])
    }

    /// As [`Config::sh`], another program.
    pub fn args(words: &[&str]) -> Config {
        let kinds = ["pid", "ipc", "uts", "mount", "network", "cgroup"].map(|kind| json!({ "type": kind }));
        let caps =
            ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_ADMIN"];
        Config(json!({
            "ociVersion": "1.3.0",
            "process": {
                "args": words,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "user": { "uid": 0, "gid": 0 },
                "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            },
            "root": { "path": "rootfs" },
            "mounts": [],
            "linux": { "namespaces": kinds },
        }))
        .mount("/proc", "proc", "proc", "nosuid,noexec,nodev")
        .mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k")
        .mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5")
        .mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro")
    }

    /// Sets what a JSON pointer names, and makes the objects on the way to it.
    pub fn set(mut self, pointer: &str, value: Value) -> Config {
        *self.place(pointer) = value;
        self
    }

    /// Adds to the list that a JSON pointer names.
    pub fn push(mut self, pointer: &str, value: Value) -> Config {
        let place = self.place(pointer);
        if place.is_null() {
            *place = json!([]);
        }
        place.as_array_mut().expect("a list").push(value);
        self
    }

    /// Adds a mount. Options are parted by commas.
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &str) -> Config {
        let options: Vec<&str> = options.split(',').filter(|option| !option.is_empty()).collect();
        let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
        self.push("/mounts", mount)
    }

    /// Has a new namespace of this kind, or with a path another's.
    pub fn namespace(self, kind: &str, path: Option<&str>) -> Config {
        let entry = match path {
            Some(path) => json!({ "type": kind, "path": path }),
            None => json!({ "type": kind }),
        };
        self.without_namespace(kind).push("/linux/namespaces", entry)
    }

    /// Has the caller's namespace of this kind.
    pub fn without_namespace(mut self, kind: &str) -> Config {
        let list = self.0.pointer_mut("/linux/namespaces").unwrap().as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// A user namespace in which root is the host's user 100000.
    pub fn user_namespace(self) -> Config {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// The sets of capabilities that a process usually has: bounding, effective, permitted.
    pub fn capabilities(self, names: &[&str]) -> Config {
        self.set("/process/capabilities", json!({ "bounding": names, "effective": names, "permitted": names }))
    }

    fn place(&mut self, pointer: &str) -> &mut Value {
        pointer.trim_start_matches('/').split('/').fold(&mut self.0, |value, key| match value {
            Value::Array(list) => &mut list[key.parse::<usize>().expect("a number")],
            other => {
                if other.is_null() {
                    *other = json!({});
                }
                &mut other[key]
            }
        })
    }
}

/// The runtime with a directory of records of its own, and bundles beside it.
pub struct Runtime {
    pub scratch: Scratch,
    /// A word in every id, path and environment of it.
    pub tag: String,
}

impl Runtime {
    /// None when this test cannot run here.
    pub fn new(test: &str) -> Option<Runtime> {
        if !can_run(test) {
            return None;
        }
        let scratch = Scratch::new("oci");
        let tag = scratch.0.file_name().unwrap().to_string_lossy().into_owned();
        Some(Runtime { scratch, tag })
    }

    /// An id that no other container has.
    pub fn id(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("{}.{}", self.tag, COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// `mycontainer runtime --root ROOT WORDS...`, with empty standard input.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(tool());
        command.args(["runtime", "--root", &self.scratch.path("records")]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn output(&self, words: &[&str]) -> Output {
        finish(self.command(words), &words.join(" "))
    }

    /// Runs it, and it must end with 0: its standard output.
    pub fn ok(&self, words: &[&str]) -> String {
        succeeded(&self.output(words), &words.join(" "))
    }

    /// Runs it, and it must fail with 1 and say why: what it says.
    pub fn fails(&self, words: &[&str]) -> String {
        failed(&self.output(words), &words.join(" "))
    }

    /// Writes a bundle with a busybox root of its own: its directory.
    pub fn bundle(&self, config: &Config) -> PathBuf {
        let dir = self.scratch.0.join(self.id());
        make_root(&dir.join("rootfs"));
        write_config(&dir, config, &self.tag);
        dir
    }

    /// `run` of a new bundle, to its end.
    pub fn run(&self, config: &Config) -> Output {
        self.run_bundle(&self.bundle(config), &[])
    }

    /// As [`Runtime::run`], of a bundle that was made before, with flags.
    pub fn run_bundle(&self, bundle: &Path, flags: &[&str]) -> Output {
        let id = self.id();
        self.output(&[&["run", "--bundle", bundle.to_str().unwrap()], flags, &[id.as_str()]].concat())
    }

    /// As [`Runtime::run`], and it must end with 0: its standard output.
    pub fn run_ok(&self, config: &Config) -> String {
        succeeded(&self.run(config), &config.0.to_string())
    }

    /// As [`Runtime::run`], and it must be refused: what is said.
    pub fn run_fails(&self, config: &Config) -> String {
        failed(&self.run(config), &config.0.to_string())
    }

    /// `create` of a new bundle, which must succeed.
    pub fn create(&self, config: &Config) -> Container<'_> {
        self.create_with(&self.bundle(config), &[])
    }

    /// `create` and `start`.
    pub fn start(&self, config: &Config) -> Container<'_> {
        let container = self.create(config);
        container.start();
        container
    }

    /// `create` of a bundle that was made before, with flags, which must succeed.
    pub fn create_with(&self, bundle: &Path, flags: &[&str]) -> Container<'_> {
        let id = self.id();
        let mut command =
            self.command(&[&["create", "--bundle", bundle.to_str().unwrap()], flags, &[id.as_str()]].concat());
        self.attach(&mut command, bundle);
        let status = command.status().unwrap();
        let said = std::fs::read_to_string(bundle.join("err")).unwrap();
        assert!(status.success(), "create: {status}: {said}");
        Container { runtime: self, id, bundle: bundle.to_owned() }
    }

    /// Gives a command files in the bundle as output and error: a container that lives on holds them open.
    pub fn attach(&self, command: &mut Command, bundle: &Path) {
        command.stdout(File::create(bundle.join("out")).unwrap()).stderr(File::create(bundle.join("err")).unwrap());
    }

    /// What is left on the host of its containers.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let records = self.scratch.0.join("records");
        left.extend(
            names(&records).into_iter().filter(|name| !name.starts_with('.')).map(|name| format!("record {name}")),
        );
        left.extend(names(&records.join(".start")).into_iter().map(|name| format!("socket {name}")));
        groups(Path::new("/sys/fs/cgroup"), &self.tag, 4, &mut left);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&self.tag)).map(str::to_owned));
        left.extend(processes_with(&self.tag).into_iter().map(|pid| format!("process {pid}")));
        left
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whatever the test left alive.
            let _ = self.command(&["delete", "--force", "--regex", "."]).output();
            return;
        }
        let clean = wait_until(3, || self.left().is_empty());
        assert!(clean, "left on the host: {:#?}", self.left());
    }
}

/// A container by its id; deleted by force when it goes out of scope.
pub struct Container<'a> {
    runtime: &'a Runtime,
    pub id: String,
    pub bundle: PathBuf,
}

impl Container<'_> {
    /// `VERB FLAGS... ID WORDS...`
    pub fn output(&self, verb: &[&str], words: &[&str]) -> Output {
        self.runtime.output(&[verb, &[self.id.as_str()], words].concat())
    }

    /// As [`Container::output`], and it must end with 0: its standard output.
    pub fn ok(&self, verb: &[&str], words: &[&str]) -> String {
        succeeded(&self.output(verb, words), &format!("{verb:?} {words:?}"))
    }

    /// As [`Container::output`], and it must fail: what it says.
    pub fn fails(&self, verb: &[&str], words: &[&str]) -> String {
        failed(&self.output(verb, words), &format!("{verb:?} {words:?}"))
    }

    pub fn start(&self) {
        self.ok(&["start"], &[]);
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state"], &[])).unwrap()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&self) {
        assert!(wait_until(20, || self.status() == "stopped"), "it does not stop: {} {}", self.out(), self.err());
    }

    /// What it has printed so far.
    pub fn out(&self) -> String {
        std::fs::read_to_string(self.bundle.join("out")).unwrap()
    }

    /// What it has said on standard error so far.
    pub fn err(&self) -> String {
        std::fs::read_to_string(self.bundle.join("err")).unwrap()
    }

    /// Waits until it has printed this.
    pub fn expect(&self, text: &str) {
        assert!(wait_until(20, || self.out().contains(text)), "no {text:?}, but {:?} {:?}", self.out(), self.err());
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.runtime.command(&["delete", "--force", &self.id]).output();
    }
}

/// Waits for a command's end, not for ever.
pub fn finish(mut command: Command, what: &str) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    wait_for_output(child, what)
}

/// As [`finish`], of one that was started before. A container that it leaves, and should not have, holds its output open:
/// that is a failure, and no reason to wait.
pub fn wait_for_output(mut child: Child, what: &str) -> Output {
    let (out, err) = (drained(child.stdout.take()), drained(child.stderr.take()));
    let ended = wait_until(PATIENCE, || child.try_wait().unwrap().is_some());
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    let read = |stream: Receiver<Vec<u8>>| {
        stream
            .recv_timeout(Duration::from_secs(5))
            .unwrap_or_else(|_| panic!("{what}: {status}, and something lives on"))
    };
    let output = Output { status, stdout: read(out), stderr: read(err) };
    assert!(ended, "{what}: does not end: {}{}", stdout(&output), stderr(&output));
    output
}

/// All that comes from a stream, when it ends.
fn drained(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (to, from) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        let _ = to.send(bytes);
    });
    from
}

fn succeeded(output: &Output, what: &str) -> String {
    assert!(output.status.success(), "{what}: {}\n{}{}", output.status, stdout(output), stderr(output));
    stdout(output)
}

fn failed(output: &Output, what: &str) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{what}: {said}{}", stdout(output));
    assert!(said.starts_with("mycontainer-runtime: ") && said.lines().count() == 1, "{what}: {said}");
    said
}

/// A root file system of its own: the same busybox, by hard link.
pub fn make_root(root: &Path) {
    let model = busybox_root();
    for dir in ["bin", "dev", "etc", "home", "mnt", "proc", "root", "sys", "tmp", "var"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::hard_link(model.join("bin/busybox"), root.join("bin/busybox")).unwrap();
    for name in names(&model.join("bin")).iter().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::copy(model.join("etc/passwd"), root.join("etc/passwd")).unwrap();
}

/// Writes the configuration, with a word in the environment by which its processes are known.
pub fn write_config(dir: &Path, config: &Config, tag: &str) {
    let mut config = match config.0["process"]["env"].is_array() {
        true => config.clone().push("/process/env", json!(format!("MCTEST={tag}"))),
        false => config.clone(),
    };
    add_user_namespace(&mut config.0);
    std::fs::write(dir.join("config.json"), format!("{:#}", config.0)).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn groups(dir: &Path, tag: &str, depth: u32, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(tag) {
            found.push(path.display().to_string());
        } else if depth > 0 {
            groups(&path, tag, depth - 1, found);
        }
    }
}

/// The control groups of a process that have this word in their path.
pub fn group_dirs(pid: i64, word: &str) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let lines = text.lines().filter_map(|line| {
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { return None };
        path.contains(word).then(|| (controllers.to_owned(), path.to_owned()))
    });
    let dir = |(controllers, path): (String, String)| {
        let name = controllers.strip_prefix("name=").unwrap_or(&controllers);
        let top = Path::new("/sys/fs/cgroup");
        let top = if name.is_empty() && top.join("unified").is_dir() { top.join("unified") } else { top.join(name) };
        top.join(path.trim_start_matches('/'))
    };
    lines.map(dir).collect()
}

/// Removes the empty groups that `cgroupsPath` has named above the container's own: they are the caller's to remove.
pub fn remove_parents(name: &str) {
    let mut found = Vec::new();
    groups(Path::new("/sys/fs/cgroup"), name, 2, &mut found);
    for dir in found {
        let _ = std::fs::remove_dir(dir);
    }
}

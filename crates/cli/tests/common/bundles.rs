//! Bundles, the runtime's verbs on them, and a look at what a container has left: what the tests with hostile input share.
//!
//! A [`Place`] is a directory of the test's own with a `--root` in it. Each container has a unique id, and carries it in
//! its environment, so that what is left of it is told from what others have at the same time.

#![allow(dead_code, unreachable_pub)] // Each test file is a program of its own and uses a part of it.

use crate::common::traces::{comm, processes_with};
use crate::common::{Scratch, add_user_namespace, busybox_root, give, tool, unique, wait_until};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a verb may take before it counts as hanging: these machines are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a verb ended.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Done {
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// Standard output, after a success.
    #[track_caller]
    pub fn good(self) -> String {
        assert!(self.ok(), "{}: {}{}", self.status, self.out, self.err);
        self.out
    }

    /// The one line that says why it failed.
    #[track_caller]
    pub fn bad(self) -> String {
        assert_eq!(self.status.code(), Some(1), "it was to fail with 1: {}: {}{}", self.status, self.out, self.err);
        assert_one_line(&self.err);
        self.err
    }
}

/// A failure is told in one line that is no stack trace and says more than a number.
#[track_caller]
pub fn assert_one_line(error: &str) {
    assert!(error.ends_with('\n') && error.matches('\n').count() == 1, "not one line: {error:?}");
    assert!(!error.contains("panicked") && !error.contains("RUST_BACKTRACE"), "{error}");
    assert!(error.len() < 10_000, "{} bytes: {}", error.len(), &error[..200]);
    assert!(!error.trim_end().chars().any(char::is_control), "{error:?}");
    let text = error.trim().strip_prefix("mycontainer-runtime: ").unwrap_or_default();
    assert!(text.split_whitespace().count() > 3, "it says nothing: {error}");
}

/// A verb under way.
pub struct Call {
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
    what: String,
}

impl Call {
    /// Its end; a test fails when it hangs.
    #[track_caller]
    pub fn end(mut self) -> Done {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("{} hangs: {}", self.what, read(&self.err));
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let done = Done { status, out: read(&self.out), err: read(&self.err) };
        let _ = (std::fs::remove_file(&self.out), std::fs::remove_file(&self.err));
        done
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A directory with records, bundles and whatever a test needs; removed with all containers at the end.
pub struct Place {
    pub dir: Scratch,
    /// The binary under test.
    pub tool: PathBuf,
}

impl Place {
    pub fn new(name: &str) -> Place {
        Place::with_tool(name, tool())
    }

    pub fn with_tool(name: &str, tool: impl Into<PathBuf>) -> Place {
        let dir = Scratch::new(name);
        std::fs::create_dir(dir.0.join("outside")).unwrap();
        std::fs::write(dir.0.join("outside/secret"), "the host's\n").unwrap();
        give(&dir.0);
        Place { dir, tool: tool.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    pub fn records(&self) -> PathBuf {
        self.path("records")
    }

    /// A bundle with the shared busybox root, which is mounted read-only, and this configuration.
    pub fn bundle(&self, name: &str, config: &Value) -> PathBuf {
        self.raw_bundle(name, config.to_string().as_bytes())
    }

    /// As [`Place::bundle`], with any bytes as configuration.
    pub fn raw_bundle(&self, name: &str, config: &[u8]) -> PathBuf {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), config).unwrap();
        dir
    }

    /// A command of the runtime, with the records of this place.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.tool);
        command.args(["runtime", "--root"]).arg(self.records()).args(words).stdin(Stdio::null());
        command
    }

    /// Starts a verb. Its streams are files, for a container that was made would hold a pipe open.
    pub fn spawn(&self, words: &[&str]) -> Call {
        self.spawn_command(self.command(words), &format!("{words:?}"))
    }

    /// As [`Place::spawn`], of a command that was prepared.
    pub fn spawn_command(&self, mut command: Command, what: &str) -> Call {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("out-{number}")), self.path(&format!("err-{number}")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Call { child: command.spawn().expect("the binary starts"), out, err, what: what.to_owned() }
    }

    /// A verb to its end.
    #[track_caller]
    pub fn call(&self, words: &[&str]) -> Done {
        self.spawn(words).end()
    }

    /// `create` of a bundle.
    #[track_caller]
    pub fn create(&self, bundle: &Path, id: &str) -> Done {
        self.call(&["create", "--bundle", bundle.to_str().unwrap(), id])
    }

    /// `run` of a configuration, to its end; the container is deleted by it.
    #[track_caller]
    pub fn run(&self, config: &Value) -> Done {
        let id = id_of(config);
        let bundle = self.bundle(&format!("bundle-{id}"), config);
        let done = self.call(&["run", "--bundle", bundle.to_str().unwrap(), &id]);
        self.assert_nothing_left(&id);
        done
    }

    /// The status that `state` tells, if there is such a container.
    #[track_caller]
    pub fn status(&self, id: &str) -> Option<String> {
        let done = self.call(&["state", id]);
        if !done.ok() {
            assert!(done.err.contains("does not exist"), "{}", done.err);
            return None;
        }
        let state: Value = serde_json::from_str(&done.out).expect("state is JSON");
        assert_eq!(state["id"], id);
        Some(state["status"].as_str().expect("a status").to_owned())
    }

    /// Everything that a container has on this host.
    pub fn left(&self, id: &str) -> Vec<String> {
        let mut found: Vec<String> =
            processes_with(id).into_iter().map(|pid| format!("process {pid} {}", comm(pid))).collect();
        found.extend(groups(id));
        let record = self.records().join(id);
        found.extend(record.exists().then(|| record.display().to_string()));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        found.extend(mounts.lines().filter(|line| line.contains(id)).map(str::to_owned));
        found
    }

    /// The sockets of containers that wait for their start.
    pub fn sockets(&self) -> usize {
        std::fs::read_dir(self.records().join(".start")).map_or(0, Iterator::count)
    }

    #[track_caller]
    pub fn assert_nothing_left(&self, id: &str) {
        assert!(wait_until(5, || self.left(id).is_empty()), "left of {id}: {:#?}", self.left(id));
    }

    /// `delete --force`, after which nothing is left.
    #[track_caller]
    pub fn delete(&self, id: &str) {
        self.call(&["delete", "--force", id]).good();
        self.assert_nothing_left(id);
    }

    /// The host's directory that nothing may reach, as it is now.
    pub fn outside(&self) -> PathBuf {
        self.path("outside")
    }

    /// Every file outside, with what would change if somebody touched it, and what is mounted there.
    pub fn outside_now(&self) -> Vec<String> {
        use std::os::unix::fs::MetadataExt;
        let mut found = Vec::new();
        let mut ahead = vec![self.outside()];
        while let Some(path) = ahead.pop() {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let (mode, owner, changed) = (meta.mode(), meta.uid(), (meta.ctime(), meta.ctime_nsec()));
            found.push(format!("{} {mode:o} {owner} {changed:?} {}", path.display(), meta.dev()));
            if meta.is_dir() {
                ahead.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        found.sort();
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for id in self.command(&["list", "-q"]).output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).iter()
        {
            for id in id.lines() {
                let _ = self.command(&["delete", "--force", id]).output();
            }
        }
    }
}

/// Control groups with the id in their name.
pub fn groups(id: &str) -> Vec<String> {
    let entries = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect()
    };
    let mut all = entries("/sys/fs/cgroup");
    all.extend(all.clone().iter().flat_map(|dir| entries(dir)));
    all.retain(|path| path.contains(id));
    all
}

/// The id that a configuration is for.
pub fn id_of(config: &Value) -> String {
    config["annotations"]["id"].as_str().expect("made by config()").to_owned()
}

/// A good configuration, as callers send it, for a program in the shared busybox root.
#[track_caller]
pub fn config(args: &[&str]) -> Value {
    config_in(busybox_root(), args)
}

/// As [`config`], with another root.
pub fn config_in(root: &Path, args: &[&str]) -> Value {
    let id = unique("hostile");
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_SYS_CHROOT",
        "CAP_KILL"
    ]);
    let mut config = json!({
        "ociVersion": "1.0.2",
        "annotations": { "id": id },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/local/bin:/usr/bin:/bin", format!("MARK={id}")],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
        },
        "root": { "path": root },
        "hostname": "hostile",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" }],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger"],
        },
    });
    add_user_namespace(&mut config);
    config
}

/// Adds to a list of a configuration, such as `/mounts`.
pub fn push(config: &mut Value, list: &str, value: Value) {
    config.pointer_mut(list).and_then(Value::as_array_mut).expect("a list").push(value);
}

/// Gives every capability.
pub fn all_capabilities(config: &mut Value) {
    let all: Vec<&str> = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
        NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE \
        SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE"
        .split_whitespace()
        .collect();
    let all: Vec<String> = all.iter().map(|name| format!("CAP_{name}")).collect();
    config["process"]["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
}

/// Does something for each of 0 to `count`, so many at a time; what came of it, in no order.
pub fn in_parallel<T: Send>(count: usize, at_a_time: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < count));
        numbers.map(&act).collect::<Vec<T>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    })
}

//! containerd with our runtime, by `ctr run --runc-binary`: tasks, as all that stands on containerd has them.

use crate::callers::containerd::{SOCKET, assert_empty, end, serve, start};
use crate::callers::{Place, Rows, Shared, has_callers, outcome, said};

use crate::common::{code, criu_works, stderr, stdout, unique, wait_until};
use std::process::Output;
use std::sync::Arc;

static CONTAINERD: Shared<Containerd> = Shared::new();

/// A containerd in a place of its own.
struct Containerd {
    place: Place,
    runtime: String,
}

impl Containerd {
    /// That which all tests of this file share; `None` where this test cannot run.
    fn get(test: &str) -> Option<Arc<Containerd>> {
        Containerd::can_run(test).then(|| CONTAINERD.get(Containerd::start))
    }

    fn can_run(test: &str) -> bool {
        has_callers(test, &["containerd", "ctr", "containerd-shim-runc-v2"])
    }

    fn start() -> Containerd {
        let place = Place::new("containerd");
        start(&place);
        let runtime = place.runtime();
        Containerd { place, runtime }
    }

    fn run(&self, words: &[&str]) -> Output {
        self.place.run(&[&["ctr", "-a", SOCKET], words].concat())
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        self.place.ok(&[&["ctr", "-a", SOCKET], words].concat())
    }

    /// The words of `ctr run FLAGS... IMAGE NAME WORDS...`.
    fn run_words<'a>(&'a self, flags: &[&'a str], name: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        [&["run", "--runc-binary", &self.runtime], flags, &["localhost/box:1", name], words].concat()
    }

    /// `ctr run --rm FLAGS... IMAGE NAME WORDS...`, to its end.
    fn run_once(&self, flags: &[&str], words: &[&str]) -> Output {
        self.run(&self.run_words(&[&["--rm"], flags].concat(), &unique("task"), words))
    }

    /// As [`Containerd::run_once`] with a script, which must end with 0.
    #[track_caller]
    fn sh(&self, flags: &[&str], script: &str) -> String {
        let output = self.run_once(flags, &["sh", "-c", script]);
        assert!(output.status.success(), "{flags:?} {script:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// A task that runs a script in the background.
    #[track_caller]
    fn detach(&self, flags: &[&str], script: &str) -> Task<'_> {
        let name = unique("task");
        let flags = [&["-d"], flags].concat();
        self.ok(&self.run_words(&flags, &name, &["sh", "-c", script]));
        Task { containerd: self, name }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_empty(&self.place, "default", "default");
        }
    }
}

struct Task<'a> {
    containerd: &'a Containerd,
    name: String,
}

impl Task<'_> {
    /// `ctr task VERB FLAGS... NAME WORDS...`.
    #[track_caller]
    fn ctr(&self, verb: &str, flags: &[&str], words: &[&str]) -> String {
        self.containerd.ok(&self.words(verb, flags, words))
    }

    fn words<'a>(&'a self, verb: &'a str, flags: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        [&["task", verb], flags, &[self.name.as_str()], words].concat()
    }

    fn exec(&self, flags: &[&str], words: &[&str]) -> Output {
        let id = unique("exec");
        self.containerd.run(&self.words("exec", &[&["--exec-id", &id], flags].concat(), words))
    }

    /// RUNNING, PAUSED, STOPPED.
    fn status(&self) -> String {
        let list = self.containerd.ok(&["task", "ls"]);
        let line = list.lines().find(|line| line.starts_with(&format!("{} ", self.name))).unwrap_or_default();
        line.split_whitespace().nth(2).unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn until(&self, status: &str) {
        assert!(wait_until(10, || self.status() == status), "{} is {} and not {status}", self.name, self.status());
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.containerd.run(&["task", "delete", "-f", &self.name]);
        let removed = self.containerd.run(&["container", "delete", &self.name]);
        if !std::thread::panicking() {
            assert!(removed.status.success(), "{}", stderr(&removed));
            let groups = format!("find /sys/fs/cgroup -type d -name {}", self.name);
            self.containerd.place.until_none("control groups", &groups);
        }
    }
}

#[test]
fn runs_and_tells_the_exit_code() {
    let Some(containerd) = Containerd::get("runs_and_tells_the_exit_code") else { return };
    let said = containerd.run_once(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(outcome(&said), (7, "out\n".into(), "err\n".into()));
    for (name, words, text) in [
        ("not in PATH", &["nonesuch"][..], "not found"),
        ("no such file", &["/bin/nonesuch"], "no such file"),
        ("not executable", &["/etc/passwd"], "permission denied"),
    ] {
        let output = containerd.run_once(&[], words);
        let said = stderr(&output).to_lowercase();
        assert!(!output.status.success() && said.contains(text), "{name}: {said}");
        // What containerd found in the runtime's log; without one it says so.
        assert!(said.contains("oci runtime create failed") && !said.contains("unable to retrieve"), "{name}: {said}");
    }
}

#[test]
fn runs_on_a_terminal() {
    let Some(containerd) = Containerd::get("runs_on_a_terminal") else { return };
    let name = unique("task");
    let words = containerd.run_words(&["--rm", "-t"], &name, &["sh"]);
    let mut session = containerd.place.on_terminal(&[&["ctr", "-a", SOCKET], &words[..]].concat());
    session.expect("# ");
    session.send("tty; echo size $(stty size)\r");
    session.expect("/dev/pts/0\r");
    session.expect("size 24 80\r");
    session.resize(33, 111);
    session.send("until [ \"$(stty size)\" = '33 111' ]; do sleep 0.1; done; echo new-size-$((6*7))\r");
    session.expect("new-size-42");
    session.send("exit 5\r");
    assert_eq!(session.status(), 5);
}

#[test]
fn is_as_the_flags_say() {
    let Some(containerd) = Containerd::get("is_as_the_flags_say") else { return };
    let place = &containerd.place;
    place.file("mounted/file", "from outside\n");
    let mount = format!("type=bind,src={},dst=/mounted,options=rbind:ro", place.path("mounted"));
    let mut rows = Rows::default();
    for (flags, script, expected) in [
        (&["--env", "A=b c", "--cwd", "/usr"][..], "echo $A; pwd", "b c\n/usr\n"),
        (&["--read-only"], "touch /x 2>&1 || true", "touch: /x: Read-only file system\n"),
        (&["--mount", &mount], "cat /mounted/file; touch /mounted/x 2>/dev/null || echo no", "from outside\nno\n"),
        (&["--cap-drop", "CAP_CHOWN"], "chown 1 /etc/group 2>/dev/null || echo no", "no\n"),
        (&["--device", "/dev/null"], "test -c /dev/null; echo $?", "0\n"),
        (&["--seccomp"], "unshare -m true 2>/dev/null || echo may not", "may not\n"),
        (&["--privileged"], "mount -t tmpfs none /home && echo mounted", "mounted\n"),
        (
            &["--privileged"],
            "grep CapEff /proc/self/status",
            &place.sh("grep CapBnd /proc/self/status | sed s/Bnd/Eff/"),
        ),
        (&[], "ls /sys/class/net; hostname -s >/dev/null; grep NoNewPrivs /proc/self/status", "lo\nNoNewPrivs:\t1\n"),
        (&["--allow-new-privs"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0\n"),
        (&["--rootfs-propagation", "private"], "true", ""),
        (
            &["--uidmap", "0:3000000:65536", "--gidmap", "0:3000000:65536"],
            "tr -s ' ' </proc/self/uid_map",
            " 0 3000000 65536\n",
        ),
    ] {
        rows.same(format!("{flags:?} {script}"), said(&containerd.run_once(flags, &["sh", "-c", script])), expected);
    }
    assert!(containerd.sh(&["--net-host"], "ip -4 -o addr show lo").contains("127.0.0.1"));

    let limits = ["--memory-limit", "67108864", "--cpus", "0.5"];
    let task = containerd.detach(&limits, "sleep 1000");
    assert_eq!(place.limit(&task.name, "memory.limit_in_bytes", "memory.max"), "67108864");
    let quota = if place.is_v2() { "50000 100000" } else { "50000" };
    assert_eq!(place.limit(&task.name, "cpu.cfs_quota_us", "cpu.max"), quota);
}

#[test]
fn has_tasks() {
    let Some(containerd) = Containerd::get("has_tasks") else { return };
    let pid_file = containerd.place.path("task.pid");
    let task =
        containerd.detach(&["--pid-file", &pid_file], "n=0; while :; do n=$((n+1)); echo $n >/n; sleep 0.02; done");
    assert_eq!(task.status(), "RUNNING");
    let pid = containerd.place.read(&pid_file);
    assert!(task.ctr("ps", &[], &[]).lines().any(|line| line.starts_with(pid.trim())), "{pid}");

    let said = task.exec(&["--cwd", "/tmp", "--user", "1000"], &["sh", "-c", "id -u; pwd; echo err >&2; exit 9"]);
    assert_eq!(outcome(&said), (9, "1000\n/tmp\n".into(), "err\n".into()));
    let said = task.exec(&[], &["nonesuch"]);
    assert!(stderr(&said).contains("not found"), "{}", stderr(&said));
    let id = unique("exec");
    let words = [&["ctr", "-a", SOCKET][..], &task.words("exec", &["-t", "--exec-id", &id], &["sh"])].concat();
    let mut session = containerd.place.on_terminal(&words);
    session.expect("# ");
    session.send("tty; echo size $(stty size)\r");
    session.expect("/dev/pts/0\r");
    session.expect("size 24 80\r");
    session.send("exit 3\r");
    assert_eq!(session.status(), 3);

    let metrics = task.ctr("metrics", &[], &[]);
    assert!(metrics.contains("memory.usage") && metrics.contains("pids"), "{metrics}");

    let count = || stdout(&containerd.place.run(&["sh", "-c", &format!("cat /proc/{}/root/n", pid.trim())]));
    task.ctr("pause", &[], &[]);
    assert_eq!(task.status(), "PAUSED");
    let before = count();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(count(), before);
    task.ctr("resume", &[], &[]);
    assert_eq!(task.status(), "RUNNING");
    assert!(wait_until(10, || count() != before));

    task.ctr("kill", &["-s", "KILL"], &[]);
    task.until("STOPPED");
    let deleted = containerd.run(&["task", "delete", &task.name]);
    assert!(stderr(&deleted).contains("exit code 137") || code(deleted.status) == 137, "{deleted:?}");
}

#[test]
fn kills_all_of_a_task() {
    let Some(containerd) = Containerd::get("kills_all_of_a_task") else { return };
    // With the host's PID namespace nothing but the runtime ends the first one's children.
    let namespace = "pid:/proc/1/ns/pid";
    let task = containerd.detach(&["--with-ns", namespace], "sleep 4321 & sleep 4321 & wait");
    let sleepers = "pgrep -f '^sleep 4321' || true";
    assert!(wait_until(10, || containerd.place.sh(sleepers).lines().count() == 2));
    task.ctr("kill", &["-a", "-s", "KILL"], &[]);
    containerd.place.until_none("children", sleepers);
    task.until("STOPPED");
}

#[test]
fn tells_events() {
    let Some(containerd) = Containerd::get("tells_events") else { return };
    let place = &containerd.place;
    let events = place.path("events.log");
    place.serve("events", &["ctr", "-a", SOCKET, "events"], "sleep 0.3");
    let task = containerd.detach(&[], "sleep 1000");
    task.exec(&[], &["true"]);
    task.ctr("pause", &[], &[]);
    task.ctr("resume", &[], &[]);
    task.ctr("kill", &["-s", "KILL"], &[]);
    task.until("STOPPED");
    let name = task.name.clone();
    drop(task);
    let mut expected =
        ["create", "start", "exec-added", "exec-started", "paused", "resumed", "exit", "delete"].to_vec();
    expected.retain(|topic| {
        let has = |line: &str| line.contains(&name) && line.contains(&format!("/tasks/{topic} "));
        !wait_until(5, || place.read(&events).lines().any(has))
    });
    assert!(expected.is_empty(), "no event of {expected:?} in {}", place.read(&events));

    let greedy = containerd.detach(&["--memory-limit", "16777216"], "exec tail /dev/zero");
    let killed = |line: &str| line.contains(&greedy.name) && line.contains("/tasks/oom ");
    assert!(wait_until(10, || place.read(&events).lines().any(killed)), "{}", place.read(&events));
}

#[test]
fn outlives_its_daemon() {
    if !Containerd::can_run("outlives_its_daemon") {
        return;
    }
    let containerd = Containerd::start();
    let task = containerd.detach(&[], "sleep 1000");
    end(&containerd.place, "KILL");
    serve(&containerd.place);
    assert_eq!(task.status(), "RUNNING");
    assert_eq!(outcome(&task.exec(&[], &["echo", "still here"])).1, "still here\n");
}

#[test]
fn checkpointed_tasks_go_on() {
    let test = "checkpointed_tasks_go_on";
    if !criu_works(test) {
        return;
    }
    let Some(containerd) = Containerd::get(test) else { return };
    let count = |task: &Task<'_>| stdout(&task.exec(&[], &["cat", "/dev/shm/count"]));
    let goes_on = |task: &Task<'_>, from: usize| {
        let is_on = || count(task).lines().count() > from + 2;
        assert!(wait_until(10, is_on), "it does not count on from {from}: {:?}", count(task));
        let numbers = count(task);
        let expected: String = (1..=numbers.lines().count()).map(|n| format!("{n}\n")).collect();
        assert_eq!(numbers, expected);
        numbers.lines().count()
    };
    let script = "i=0; while :; do i=$((i+1)); echo $i >>/dev/shm/count; sleep 0.1; done";
    let task = containerd.detach(&[], script);
    let at = goes_on(&task, 0);
    let image = unique("checkpoint");
    containerd.ok(&["container", "checkpoint", "--task", "--image", &task.name, &image]);
    goes_on(&task, at);
    // What comes next has its control group.
    drop(task);
    let copy = Task { containerd: &containerd, name: unique("restored") };
    containerd.ok(&["container", "restore", "--live", &copy.name, &image]);
    goes_on(&copy, at);
}

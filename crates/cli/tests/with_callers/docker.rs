//! Docker with our runtime: a daemon of the test's own, and what a person does with `docker`.

use crate::callers::{Place, Rows, Shared, has_callers, outcome, said};
use crate::common::{code, stderr, stdout, unique, wait_until};
use std::io::Write;
use std::process::{Output, Stdio};
use std::sync::Arc;

static DOCKER: Shared<Docker> = Shared::new();

/// A Docker daemon in a place of its own, with an image called `box`.
struct Docker {
    place: Place,
    client: &'static str,
}

impl Docker {
    /// The daemon that all tests of this file share; `None` where this test cannot run.
    fn get(test: &str) -> Option<Arc<Docker>> {
        has_callers(test, &["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "iptables"])
            .then(|| DOCKER.get(Docker::start))
    }

    fn start() -> Docker {
        let place = Place::new("docker");
        // The distribution's client, should there be a newer one that its daemon is too old for.
        let client = if std::path::Path::new("/usr/bin/docker").exists() { "/usr/bin/docker" } else { "docker" };
        let (root, runtime) = (place.path("docker"), format!("mycontainer={}", place.runtime()));
        let daemon =
            ["dockerd", "-H", "unix:///run/docker.sock", "--data-root", &root, "--pidfile", "/run/dockerd.pid"];
        let runtimes =
            ["--add-runtime", &runtime, "--default-runtime", "mycontainer", "--init-path", "/usr/bin/tini-static"];
        place.serve("dockerd", &[&daemon[..], &runtimes].concat(), "[ -S /run/docker.sock ]");
        let docker = Docker { place, client };
        docker.place.sh("tar -C root -c . | /usr/bin/docker import -c 'CMD [\"sh\"]' - box");
        docker
    }

    /// Whether this machine's root may do all that the kernel knows of: containers and sandboxes often lack some.
    fn has_all_capabilities(&self) -> bool {
        self.missing_capabilities().is_empty()
    }

    /// The capabilities that this machine's root lacks.
    fn missing_capabilities(&self) -> Vec<String> {
        let bounding = self.place.sh("grep CapBnd /proc/self/status | cut -f2");
        let bounding = u64::from_str_radix(bounding.trim(), 16).unwrap();
        // In the order of their numbers.
        let names = self.place.sh("setpriv --list-caps | tr a-z A-Z");
        let missing = names.lines().enumerate().filter(|(number, _)| bounding & (1 << number) == 0);
        missing.map(|(_, name)| name.to_owned()).collect()
    }

    fn words<'a>(&self, words: &[&'a str]) -> Vec<&'a str> {
        [&[self.client], words].concat()
    }

    /// `docker WORDS...`, to its end.
    fn run(&self, words: &[&str]) -> Output {
        self.place.run(&self.words(words))
    }

    /// As [`Docker::run`], and it must end with 0: its standard output.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        self.place.ok(&self.words(words))
    }

    /// `docker run --rm FLAGS... box sh -c SCRIPT`, which must end with 0.
    #[track_caller]
    fn sh(&self, flags: &[&str], script: &str) -> String {
        self.ok(&[&["run", "--rm"], flags, &["box", "sh", "-c", script]].concat())
    }

    /// A container that runs a script in the background.
    #[track_caller]
    fn detach(&self, flags: &[&str], script: &str) -> Detached<'_> {
        let name = unique("docker");
        let id = self.ok(&[&["run", "-d", "--name", &name], flags, &["box", "sh", "-c", script]].concat());
        Detached { docker: self, name, id: id.trim_end().to_owned() }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.place.until_none("containers", &format!("{} ps -aq", self.client));
            self.place.until_none(
                "states of the runtime",
                "find /run/docker/runtime-*/moby -mindepth 1 ! -name .start ! -path '*/.seccomp*' 2>/dev/null || true",
            );
            self.place.until_none("control groups", "find /sys/fs/cgroup -type d -path '*/docker/*'");
            self.place.until_none("shims", "ps -eo args | grep [c]ontainerd-shim || true");
            self.place.until_none(
                "mounts",
                "grep -e /docker/overlay2/ -e shm /run/docker /proc/self/mounts | grep merged || true",
            );
        }
    }
}

/// A container in the background, removed with the test.
struct Detached<'a> {
    docker: &'a Docker,
    name: String,
    id: String,
}

impl Detached<'_> {
    #[track_caller]
    fn inspect(&self, format: &str) -> String {
        self.docker.ok(&["inspect", "-f", format, &self.name]).trim_end().to_owned()
    }

    #[track_caller]
    fn exec(&self, flags: &[&str], words: &[&str]) -> String {
        self.docker.ok(&[&["exec"], flags, &[self.name.as_str()], words].concat())
    }

    #[track_caller]
    fn until(&self, format: &str, value: &str) {
        let mut is = String::new();
        let so = wait_until(15, || {
            is = self.inspect(format);
            is == value
        });
        assert!(so, "{format} is {is:?} and not {value:?}");
    }

    fn logs(&self) -> String {
        stdout(&self.docker.run(&["logs", &self.name]))
    }

    #[track_caller]
    fn until_logged(&self, text: &str) {
        assert!(wait_until(15, || self.logs().contains(text)), "{text:?} is not in the log: {:?}", self.logs());
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let removed = self.docker.run(&["rm", "-f", "-v", &self.name]);
        if !std::thread::panicking() {
            assert!(removed.status.success(), "{}", stderr(&removed));
            self.docker.place.until_none("control groups", &format!("find /sys/fs/cgroup -name '*{}*'", self.id));
        }
    }
}

#[test]
fn runs_and_tells_the_exit_code() {
    let Some(docker) = Docker::get("runs_and_tells_the_exit_code") else { return };
    let said = docker.run(&["run", "--rm", "box", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(outcome(&said), (7, "out\n".into(), "err\n".into()));

    let mut command = docker.place.command(&docker.words(&["run", "--rm", "-i", "box", "tr", "a-z", "A-Z"]));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through standard input\n").unwrap();
    assert_eq!(stdout(&child.wait_with_output().unwrap()), "THROUGH STANDARD INPUT\n");

    // Docker makes these codes of the runtime's error text.
    let mut rows = Rows::default();
    for (name, words, expected, text) in [
        ("not in PATH", &["box", "nonesuch"][..], 127, "not found"),
        ("no such file", &["box", "/bin/nonesuch"], 127, "no such file"),
        ("not executable", &["box", "/etc/passwd"], 126, "permission denied"),
        ("a directory", &["box", "/etc"], 126, ""),
        ("no such image", &["nonesuch.invalid/image"], 125, ""),
        ("no such flag", &["--nonesuch", "box", "true"], 125, "unknown flag"),
        (
            "a mount of another kind",
            &["-v", "/dev/null:/etc", "box", "true"],
            125,
            "are you trying to mount a directory",
        ),
        ("killed by itself", &["--init", "box", "sh", "-c", "kill -9 $$"], 137, ""),
        ("terminated", &["--init", "box", "sh", "-c", "kill -TERM $$"], 143, ""),
    ] {
        let output = docker.run(&[&["run", "--rm"], words].concat());
        let said = stderr(&output).to_lowercase();
        rows.same(format!("{name}: {said}"), (code(output.status), said.contains(text)), (expected, true));
    }
}

#[test]
fn runs_on_a_terminal() {
    let Some(docker) = Docker::get("runs_on_a_terminal") else { return };
    let mut session = docker.place.on_terminal(&docker.words(&["run", "--rm", "-it", "box"]));
    session.expect("/ # ");
    session.send("tty; stty size\r");
    session.expect("/dev/pts/0\r\n");
    session.expect("24 80\r\n");
    session.expect("/ # ");
    // The new size takes its way through client, daemon and shim.
    session.send("until [ \"$(stty size)\" = '33 111' ]; do sleep 0.1; done; echo new-size-$((6*7))\r");
    // Docker's client begins to watch for new sizes at some time after the shell's first prompt: one before that is lost.
    for _ in 0..10 {
        session.resize(33, 110);
        session.resize(33, 111);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    session.expect("new-size-42");
    session.expect("/ # ");
    session.send("sleep 100\r");
    std::thread::sleep(std::time::Duration::from_millis(300));
    session.send("\x03");
    session.expect("/ # ");
    session.send("exit 5\r");
    assert_eq!(session.status(), 5);
}

#[test]
fn executes_in_a_running_container() {
    let Some(docker) = Docker::get("executes_in_a_running_container") else { return };
    let container = docker.detach(&["-e", "FROM=run"], "sleep 1000");
    assert_eq!(container.exec(&[], &["sh", "-c", "echo $FROM"]), "run\n");
    let words = ["-u", "ann:video", "-w", "/tmp", "-e", "MORE=exec"];
    assert_eq!(
        container.exec(&words, &["sh", "-c", "id -u; id -g; pwd; echo $MORE $FROM"]),
        "1000\n44\n/tmp\nexec run\n"
    );
    assert_eq!(
        container.exec(&[], &["sh", "-c", "grep -c . /proc/self/cgroup"]),
        container.exec(&[], &["sh", "-c", "grep -c . /proc/1/cgroup"])
    );
    assert_eq!(container.exec(&[], &["cat", "/proc/self/cgroup"]), container.exec(&[], &["cat", "/proc/1/cgroup"]));
    if docker.has_all_capabilities() {
        // The lower 36: Docker 20 knows no more than 38.
        let own = "grep CapEff /proc/self/status | tail -c 10";
        assert_eq!(container.exec(&["--privileged"], &["sh", "-c", own]), "fffffffff\n");
    }
    let mut rows = Rows::default();
    for (name, words, expected, text) in [
        ("its own code", &["sh", "-c", "exit 9"][..], 9, ""),
        ("by a signal", &["sh", "-c", "kill -9 $$"], 137, ""),
        ("not in PATH", &["nonesuch"], 126, "not found"),
        ("not executable", &["/etc/passwd"], 126, "permission denied"),
    ] {
        let output = docker.run(&[&["exec", container.name.as_str()], words].concat());
        let said = (stderr(&output) + &stdout(&output)).to_lowercase();
        let code = code(output.status);
        // Newer daemons give 127 for what is not there.
        let code = if text == "not found" && code == 127 { 126 } else { code };
        rows.same(format!("{name}: {said}"), (code, said.contains(text)), (expected, true));
    }
    container.exec(&["-d"], &["touch", "/tmp/by-exec"]);
    assert!(wait_until(10, || docker.run(&["exec", &container.name, "test", "-e", "/tmp/by-exec"]).status.success()));

    let mut session = docker.place.on_terminal(&docker.words(&["exec", "-it", &container.name, "sh"]));
    session.expect("/ # ");
    session.send("tty; echo size $(stty size)\r");
    session.expect("/dev/pts/0\r\n");
    session.expect("size 24 80\r\n");
    session.send("exit 3\r");
    assert_eq!(session.status(), 3);
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
}

#[test]
fn stops_kills_restarts_and_logs() {
    let Some(docker) = Docker::get("stops_kills_restarts_and_logs") else { return };
    let container = docker.detach(&[], "trap 'echo got TERM; exit 4' TERM; echo started; while :; do sleep 0.1; done");
    container.until_logged("started");
    let top = docker.ok(&["top", &container.name]);
    assert!(top.contains("sh -c trap"), "{top}");
    let top = docker.ok(&["top", &container.name, "-o", "pid,comm"]);
    assert!(top.contains("PID") && top.contains("sh"), "{top}");
    docker.ok(&["stop", &container.name]);
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    assert_eq!(container.logs(), "started\ngot TERM\n");
    docker.ok(&["start", &container.name]);
    assert!(wait_until(10, || container.logs().matches("started").count() == 2));
    docker.ok(&["restart", "-t", "5", &container.name]);
    assert!(wait_until(10, || container.logs().matches("started").count() == 3));
    docker.ok(&["kill", &container.name]);
    assert_eq!(docker.ok(&["wait", &container.name]).trim(), "137");
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"), "exited 137 false");

    // Deaf to SIGTERM: killed when the time is over.
    let deaf = docker.detach(&[], "trap '' TERM; echo started; while :; do sleep 0.1; done");
    deaf.until_logged("started");
    docker.ok(&["stop", "-t", "1", &deaf.name]);
    assert_eq!(deaf.inspect("{{.State.ExitCode}}"), "137");

    let signalled = docker.detach(&[], "trap 'echo got USR1' USR1; echo started; while :; do sleep 0.1; done");
    signalled.until_logged("started");
    docker.ok(&["kill", "-s", "USR1", &signalled.name]);
    signalled.until_logged("got USR1");
    docker.ok(&["kill", "-s", "SIGTERM", &signalled.name]);
    // The first process of a PID namespace does not hear what it has not asked for.
    assert_eq!(signalled.inspect("{{.State.Running}}"), "true");

    let suicide = docker.detach(&["--init"], "kill -SEGV $$");
    suicide.until("{{.State.Status}} {{.State.ExitCode}}", "exited 139");

    let restarted = docker.detach(&["--restart", "on-failure:2"], "exit 6");
    restarted.until("{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "2 exited 6");
}

#[test]
fn created_and_not_started() {
    let Some(docker) = Docker::get("created_and_not_started") else { return };
    let name = unique("docker");
    docker.ok(&["create", "--name", &name, "box", "sh", "-c", "cat /from-outside"]);
    let file = docker.place.file("from-outside", "copied in\n");
    docker.ok(&["cp", &file, &format!("{name}:/from-outside")]);
    assert_eq!(docker.ok(&["start", "-a", &name]), "copied in\n");
    docker.ok(&["rm", &name]);
}

#[test]
fn copies_while_it_runs() {
    let Some(docker) = Docker::get("copies_while_it_runs") else { return };
    let container = docker.detach(&[], "sleep 1000");
    let file = docker.place.file("copied", "by docker cp\n");
    docker.ok(&["cp", &file, &format!("{}:/tmp/there", container.name)]);
    assert_eq!(container.exec(&[], &["cat", "/tmp/there"]), "by docker cp\n");
    container.exec(&[], &["sh", "-c", "echo back > /tmp/back"]);
    docker.ok(&["cp", &format!("{}:/tmp/back", container.name), &docker.place.path("back")]);
    assert_eq!(docker.place.read(&docker.place.path("back")), "back\n");
    assert!(docker.ok(&["diff", &container.name]).contains("A /tmp/there"));
}

#[test]
fn pauses() {
    let Some(docker) = Docker::get("pauses") else { return };
    let container = docker.detach(&[], "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done");
    container.until_logged("3\n");
    docker.ok(&["pause", &container.name]);
    assert_eq!(container.inspect("{{.State.Status}}"), "paused");
    let before = container.logs();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(container.logs(), before);
    assert!(!docker.run(&["exec", &container.name, "true"]).status.success());
    docker.ok(&["unpause", &container.name]);
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    assert!(wait_until(10, || container.logs().len() > before.len()));
    // A paused one can be removed.
    docker.ok(&["pause", &container.name]);
}

#[test]
fn limits_updates_and_counts() {
    let Some(docker) = Docker::get("limits_updates_and_counts") else { return };
    let flags = [
        "-m",
        "64m",
        "--memory-swap",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "--cpuset-cpus",
        "0",
        "--cpu-shares",
        "512",
    ];
    let container = docker.detach(&flags, "echo up; sleep 1000");
    container.until_logged("up");
    let limit = |v1: &str, v2: &str| docker.place.limit(&container.id, v1, v2);
    assert_eq!(limit("memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(limit("pids.max", "pids.max"), "50");
    assert_eq!(limit("cpuset.cpus", "cpuset.cpus"), "0");
    let quota = |v1: &str, v2: &str| {
        assert_eq!(limit("cpu.cfs_quota_us", "cpu.max"), if docker.place.is_v2() { v2 } else { v1 })
    };
    quota("50000", "50000 100000");
    docker.ok(&[
        "update",
        "-m",
        "128m",
        "--memory-swap",
        "256m",
        "--cpus",
        "1.5",
        "--pids-limit",
        "70",
        &container.name,
    ]);
    assert_eq!(limit("memory.limit_in_bytes", "memory.max"), "134217728");
    assert_eq!(limit("pids.max", "pids.max"), "70");
    quota("150000", "150000 100000");
    docker.ok(&[
        "update",
        "--cpu-shares",
        "256",
        "--cpuset-cpus",
        "0-1",
        "--memory-reservation",
        "32m",
        &container.name,
    ]);
    assert_eq!(limit("memory.limit_in_bytes", "memory.max"), "134217728");
    assert_eq!(limit("memory.soft_limit_in_bytes", "memory.low"), "33554432");
    assert_eq!(limit("cpuset.cpus", "cpuset.cpus"), "0-1");

    let stats = docker.ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", &container.name]);
    assert!(stats.starts_with(&container.name) && stats.contains("/ 128MiB 1"), "{stats}");
}

#[test]
fn is_killed_for_want_of_memory() {
    let Some(docker) = Docker::get("is_killed_for_want_of_memory") else { return };
    let container = docker.detach(&["-m", "16m", "--memory-swap", "16m"], "tail /dev/zero; exec tail /dev/zero");
    container.until("{{.State.Status}}", "exited");
    assert_eq!(container.inspect("{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
}

#[test]
fn becomes_healthy() {
    let Some(docker) = Docker::get("becomes_healthy") else { return };
    let check = ["--health-cmd", "test -e /tmp/well", "--health-interval", "300ms", "--health-retries", "2"];
    let container = docker.detach(&check, "sleep 1000");
    assert_eq!(container.inspect("{{.State.Health.Status}}"), "starting");
    container.exec(&[], &["touch", "/tmp/well"]);
    container.until("{{.State.Health.Status}}", "healthy");
    container.exec(&[], &["rm", "/tmp/well"]);
    container.until("{{.State.Health.Status}}", "unhealthy");
}

#[test]
fn is_as_the_flags_say() {
    let Some(docker) = Docker::get("is_as_the_flags_say") else { return };
    let status = |name: &str| format!("grep {name} /proc/self/status | cut -f2");
    let (cap_eff, cap_bnd, no_new_privs) = (status("CapEff"), status("CapBnd"), status("NoNewPrivs"));
    let mut rows = Rows::default();
    for (flags, script, expected) in [
        (&["-u", "1000"][..], "id", "uid=1000(ann) gid=100(users) groups=44(video),100(users)\n"),
        (&["-u", "12:34", "--group-add", "56"], "id", "uid=12 gid=34 groups=34,56\n"),
        (&["-w", "/made/for/it"], "pwd", "/made/for/it\n"),
        (&["-h", "its-name"], "hostname", "its-name\n"),
        (&["-e", "A=b c"], "echo \"$A\"", "b c\n"),
        (
            &["--read-only", "--tmpfs", "/scratch:size=1m,mode=1777"],
            "touch /x 2>&1; touch /scratch/x; stat -c %a /scratch",
            "touch: /x: Read-only file system\n1777\n",
        ),
        (&[], cap_eff.as_str(), "00000000a80425fb\n"),
        (&["-u", "1000"], cap_eff.as_str(), "0000000000000000\n"),
        (&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], cap_bnd.as_str(), "0000000000001000\n"),
        (&["--cap-add", "SYS_PTRACE", "--cap-drop", "CHOWN"], cap_eff.as_str(), "00000000a80c25fa\n"),
        (&["--security-opt", "no-new-privileges"], no_new_privs.as_str(), "1\n"),
        (&["--ulimit", "nofile=123:456"], "ulimit -n; ulimit -Hn", "123\n456\n"),
        (&["--device", "/dev/zero:/dev/nought:rw"], "head -c 3 /dev/nought | od -An -tx1", " 00 00 00\n"),
        (&["--sysctl", "net.ipv4.ip_forward=0"], "cat /proc/sys/net/ipv4/ip_forward", "0\n"),
        (&["--shm-size", "7m"], "df -m /dev/shm | tail -1 | awk '{print $2}'", "7\n"),
        (&["--oom-score-adj", "300"], "cat /proc/self/oom_score_adj", "300\n"),
        (&["--init"], "tr '\\0' ' ' < /proc/1/cmdline | cut -c1-17", "/sbin/docker-init\n"),
        (
            &["--network", "none"],
            "ls /sys/class/net | tr '\\n' ' '; ip -4 -o addr show lo | grep -c 127.0.0.1",
            "lo 1\n",
        ),
        (
            &["--dns", "192.0.2.1", "--add-host", "far:192.0.2.2"],
            "grep -c 192.0.2.1 /etc/resolv.conf; grep far /etc/hosts | cut -f1",
            "1\n192.0.2.2\n",
        ),
        (&["--cgroupns", "private"], "sed -n 's/^.*:memory:\\|^0:://p' /proc/self/cgroup | sort -u", "/\n"),
        (&[], "umask; echo $$; read -r name < /proc/1/comm; echo $name", "0022\n1\nsh\n"),
        (
            &[],
            "cat /proc/keys 2>/dev/null | wc -c; ls -A /proc/acpi /sys/firmware | grep -v -e : -e ^$; echo 1 2>/dev/null >/proc/sys/kernel/printk || echo masked",
            "0\nmasked\n",
        ),
        (&["--cap-add", "SYS_ADMIN"], "unshare -m true && echo may", "may\n"),
        (&[], "unshare -m true 2>/dev/null || echo may not", "may not\n"),
    ] {
        let output = docker.run(&[&["run", "--rm"], flags, &["box", "sh", "-c", script]].concat());
        rows.same(format!("{flags:?} {script}"), said(&output), expected);
    }
    // A profile of one's own.
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#;
    let profile = format!("seccomp={}", docker.place.file("profile.json", profile));
    // EOPNOTSUPP, in the words of one libc or the other.
    let said = docker.sh(&["--security-opt", &profile], "mkdir /x 2>&1 || true; rm -f /etc/group");
    assert!(said.to_lowercase().contains("not supported"), "{said}");
}

#[test]
fn has_many_mounts() {
    let Some(docker) = Docker::get("has_many_mounts") else { return };
    let dirs: Vec<_> = (0..20).map(|n| docker.place.file(&format!("mounts/{n}/file"), format!("{n}\n"))).collect();
    let read_only = |n: usize| if n.is_multiple_of(2) { ":ro" } else { "" };
    let mounts: Vec<_> = dirs
        .iter()
        .enumerate()
        .map(|(n, file)| format!("{}:/deep/{n}/into/it{}", file.trim_end_matches("/file"), read_only(n)))
        .collect();
    let mut flags: Vec<&str> = mounts.iter().flat_map(|mount| ["-v", mount]).collect();
    // A file, a named volume with the image's content, an anonymous one, and one in another.
    let file = format!("{}:/one-file", dirs[7]);
    let volume = unique("volume");
    let (named, inner) =
        (format!("{volume}:/etc"), format!("{}:/deep/3/into/it/again", dirs[5].trim_end_matches("/file")));
    flags.extend([
        "-v",
        &file,
        "-v",
        &named,
        "-v",
        "/anonymous",
        "-v",
        &inner,
        "--mount",
        "type=tmpfs,dst=/memory,tmpfs-size=1m",
    ]);
    let script = "cat /deep/*/into/it/file | sort -n | tr '\\n' ' '; cat /one-file /deep/3/into/it/again/file
        touch /deep/2/into/it/x 2>/dev/null || echo read-only; touch /deep/1/into/it/x; grep -c root: /etc/passwd; stat -f -c %T /memory";
    let said = docker.sh(&flags, script);
    assert_eq!(said, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 7\n5\nread-only\n1\ntmpfs\n");
    docker.ok(&["volume", "rm", &volume]);

    // What is mounted on the host later comes in, if the mount says so.
    let dir = dirs[9].trim_end_matches("/file");
    docker.place.sh(&format!("mount --bind {dir} {dir}; mount --make-shared {dir}; mkdir -p {dir}/later"));
    let container =
        docker.detach(&["-v", &format!("{dir}:/there:rslave"), "-v", &format!("{dir}:/private")], "sleep 1000");
    docker.place.sh(&format!("mount -t tmpfs none {dir}/later; touch {dir}/later/came"));
    assert_eq!(container.exec(&[], &["ls", "/there/later"]), "came\n");
    assert_eq!(container.exec(&[], &["ls", "/private/later"]), "");
    docker.place.sh(&format!("umount {dir}/later"));
    drop(container);
    docker.place.sh(&format!("umount {dir}"));
}

#[test]
fn shares_namespaces() {
    let Some(docker) = Docker::get("shares_namespaces") else { return };
    let first = docker.detach(&["--ipc", "shareable"], "echo shared > /dev/shm/file; echo up; exec sleep 1234");
    first.until_logged("up");
    let of = |kind: &str| format!("{kind}=container:{}", first.name);
    assert!(docker.sh(&[&of("--pid")], "ps -o args").contains("sleep 1234"));
    assert_eq!(docker.sh(&[&of("--ipc")], "cat /dev/shm/file"), "shared\n");
    let address = first.inspect("{{.NetworkSettings.IPAddress}}");
    assert!(docker.sh(&[&of("--network")], "ip -4 -o addr show eth0").contains(&format!("inet {address}/")));
    // A second container reaches it over the bridge.
    docker.sh(&[], &format!("ping -c 1 -w 5 {address}"));
    assert!(docker.sh(&["--pid", "host"], "ps -o args").contains("dockerd"));
    assert!(docker.sh(&["--network", "host"], "ls /sys/class/net").contains("docker0"));
    let host = docker.place.sh("hostname");
    assert_eq!(docker.sh(&["--uts", "host"], "hostname"), host);
    assert_eq!(
        docker.sh(&["--ipc", "host"], "readlink /proc/self/ns/ipc"),
        docker.place.sh("readlink /proc/self/ns/ipc")
    );
}

#[test]
fn is_privileged() {
    let Some(docker) = Docker::get("is_privileged") else { return };
    let script = "mkdir /mnt; mount -t tmpfs none /mnt && touch /mnt/x && umount /mnt && echo mounted
        test -c /dev/kmsg && echo devices; sysctl -q -w net.ipv4.ip_forward=1 && echo sysctl
        mknod /x c 1 5 && head -c 1 /x | wc -c; grep Seccomp: /proc/self/status | cut -f2
        grep CapEff /proc/self/status | cut -f2 | tail -c 10";
    // The lower 36: Docker 20 knows no more than 38.
    let capabilities = docker.place.sh("grep CapBnd /proc/self/status | cut -f2 | tail -c 10");
    let expected = |start: &str| format!("{start}sysctl\n1\n0\n{capabilities}");
    if docker.has_all_capabilities() {
        assert_eq!(docker.sh(&["--privileged"], script), expected("mounted\ndevices\n"));
        return;
    }
    // On a machine that has not all of them Docker still asks for all, and is refused: so all that there are.
    let refused = docker.run(&["run", "--rm", "--privileged", "box", "true"]);
    assert!(code(refused.status) == 0 || stderr(&refused).contains("cap"), "{}", stderr(&refused));
    let missing = docker.missing_capabilities();
    let drop = missing.iter().flat_map(|name| ["--cap-drop", name]);
    let open = ["seccomp=unconfined", "systempaths=unconfined", "apparmor=unconfined"];
    let open = open.iter().flat_map(|option| ["--security-opt", option]);
    let flags = ["--cap-add", "ALL", "--device-cgroup-rule", "a *:* rwm", "--sysctl", "net.ipv4.ip_forward=0"];
    let flags: Vec<&str> = flags.into_iter().chain(drop).chain(open).collect();
    let said = docker.sh(&flags, script);
    assert_eq!(said, expected("mounted\n"));
}

#[test]
fn builds() {
    let Some(docker) = Docker::get("builds") else { return };
    let tag = unique("built");
    docker.place.file("context/hello", "from the context\n");
    docker.place.file(
        "context/Dockerfile",
        "FROM box\nENV A=b\nRUN echo $A > /made && ln -s made /link\nWORKDIR /work\nRUN chown ann .\nCOPY hello .\nUSER ann\n\
         RUN id -un > /work/who && [ \"$(pwd)\" = /work ]\nRUN [\"/bin/sh\", \"-c\", \"cat /link /work/who > /work/all\"]\n\
         CMD [\"cat\", \"/work/all\", \"hello\"]\n",
    );
    let client = docker.client;
    let build = format!("DOCKER_BUILDKIT=0 {client} build -t {tag} context 2>&1");
    let said = docker.place.sh(&build);
    assert!(said.contains("Successfully built"), "{said}");
    assert_eq!(docker.ok(&["run", "--rm", &tag]), "b\nann\nfrom the context\n");

    docker.place.file("failing/Dockerfile", "FROM box\nRUN exit 42\n");
    let failed = docker.place.sh(&format!("DOCKER_BUILDKIT=0 {client} build --force-rm failing 2>&1 || true"));
    assert!(failed.contains("returned a non-zero code: 42"), "{failed}");
    docker.ok(&["rmi", "-f", &tag]);
}

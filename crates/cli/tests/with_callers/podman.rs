//! Podman with our runtime, as root and as a user: what a person does with `podman`.

use crate::callers::{Place, Rows, Shared, has_callers, outcome, said};
use crate::common::pty::Session;
use crate::common::{code, criu_works, need, stderr, stdout, unique, wait_until};
use std::process::Output;
use std::sync::Arc;

static ROOT: Shared<Podman> = Shared::new();
static USER: Shared<Podman> = Shared::new();

/// Podman in a place of its own, with an image called `box`.
struct Podman {
    place: Place,
    /// `podman` with its flags, and before it what makes the caller a user.
    program: Vec<String>,
}

/// Cgroups without systemd, and what Podman cannot know of a runtime; nothing of this machine's settings.
const SETTINGS: &str = r#"
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["mycontainer-runtime"]
# The manual has the second name, Podman 4.3 reads the first.
runtime_supports_nocgroup = ["mycontainer-runtime"]
runtime_supports_nocgroups = ["mycontainer-runtime"]
[network]
default_rootless_network_cmd = "slirp4netns"
"#;

impl Podman {
    /// That of root, which all tests of this file share; `None` where this test cannot run.
    fn as_root(test: &str) -> Option<Arc<Podman>> {
        has_callers(test, &["podman", "conmon", "iptables"]).then(|| {
            ROOT.get(|| {
                let place = Place::new("podman");
                let runtime = place.runtime();
                // For --userns=auto.
                place.sh("echo containers:2000000:1000000 | tee -a /etc/subuid >>/etc/subgid");
                Podman::start(place, vec![], &runtime)
            })
        })
    }

    /// That of a user without privileges.
    fn as_user(test: &str) -> Option<Arc<Podman>> {
        let needed = ["podman", "conmon", "newuidmap", "slirp4netns", "useradd"];
        if !has_callers(test, &needed) {
            return None;
        }
        Some(USER.get(|| {
            let place = Place::new("podman-user");
            let home = place.path("ruth");
            place.sh(&format!(
                "useradd -m -d {home} ruth; grep -q ^ruth: /etc/subuid; mkdir -m 700 /run/ruth; chown ruth /run/ruth
                 # What udev does for users, where there is one.
                 mkdir dev; mknod -m 666 dev/tun c 10 200; [ ! -e /dev/net/tun ] || mount --bind dev/tun /dev/net/tun
                 # The checkout may be where no other user comes.
                 mkdir bin/copy; cp -L bin/mycontainer-runtime bin/copy; mkdir -m 755 data; chown ruth data"
            ));
            let home = format!("HOME={home}");
            let user = ["setpriv", "--reuid=ruth", "--regid=ruth", "--init-groups", "--inh-caps=-all", "env", &home];
            let user = user.iter().chain(&["XDG_RUNTIME_DIR=/run/ruth"]).map(|word| (*word).to_owned()).collect();
            let runtime = place.path("bin/copy/mycontainer-runtime");
            Podman::start(place, user, &runtime)
        }))
    }

    fn start(place: Place, mut program: Vec<String>, runtime: &str) -> Podman {
        let (root, is_root) = (place.path("data/podman"), program.is_empty());
        let run = if is_root { "/run/podman-test" } else { "/run/ruth/podman-test" };
        let storage = format!("[storage]\ndriver = \"overlay\"\ngraphroot = {root:?}\nrunroot = \"{run}/graph\"\n");
        let (settings, storage) = (place.file("containers.conf", SETTINGS), place.file("storage.conf", storage));
        program.extend([
            "env".into(),
            format!("CONTAINERS_CONF={settings}"),
            format!("CONTAINERS_STORAGE_CONF={storage}"),
        ]);
        let (graph, tmp) = (format!("{run}/graph"), format!("{run}/tmp"));
        let flags = ["podman", "--root", &root, "--runroot", &graph, "--tmpdir", &tmp, "--runtime", runtime];
        program.extend(flags.iter().map(|word| (*word).to_owned()));
        let podman = Podman { place, program };
        podman.place.sh("mkdir -p data; tar -C root -cf image.tar .; chmod 755 . data; chmod 644 image.tar");
        podman.ok(&["import", "-q", "-c", "CMD [\"sh\"]", &podman.place.path("image.tar"), "box"]);
        podman
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        self.program.iter().map(String::as_str).chain(words.iter().copied()).collect()
    }

    /// `podman WORDS...`, to its end.
    fn run(&self, words: &[&str]) -> Output {
        self.place.run(&self.words(words))
    }

    /// As [`Podman::run`], and it must end with 0: its standard output.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        self.place.ok(&self.words(words))
    }

    /// `podman run --rm FLAGS... box sh -c SCRIPT`, which must end with 0.
    #[track_caller]
    fn sh(&self, flags: &[&str], script: &str) -> String {
        self.ok(&[&["run", "--rm"], flags, &["box", "sh", "-c", script]].concat())
    }

    fn on_terminal(&self, words: &[&str]) -> Session {
        self.place.on_terminal(&self.words(words))
    }

    /// A container that runs a script in the background.
    #[track_caller]
    fn detach(&self, flags: &[&str], script: &str) -> Detached<'_> {
        let name = unique("podman");
        let id = self.ok(&[&["run", "-d", "--name", &name], flags, &["box", "sh", "-c", script]].concat());
        Detached { podman: self, name, id: id.trim_end().to_owned() }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.place.until_none("control groups", "find /sys/fs/cgroup -type d -name '*libpod-*'");
            self.place.until_none(
                "states",
                "find /run -regextype posix-extended -type d -regex '.*/[0-9a-f]{64}' -not -path '/run/*podman-test/*'",
            );
            self.place.until_none("processes", "ps -eo args | grep -e [c]onmon || true");
            self.place.until_none("mounts", "grep -e /merged -e /userdata/shm /proc/self/mounts || true");
        }
    }
}

/// A container in the background, removed with the test.
struct Detached<'a> {
    podman: &'a Podman,
    name: String,
    id: String,
}

impl Detached<'_> {
    #[track_caller]
    fn inspect(&self, format: &str) -> String {
        self.podman.ok(&["inspect", "-f", format, &self.name]).trim_end().to_owned()
    }

    #[track_caller]
    fn exec(&self, flags: &[&str], words: &[&str]) -> String {
        self.podman.ok(&[&["exec"], flags, &[self.name.as_str()], words].concat())
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
        stdout(&self.podman.run(&["logs", &self.name]))
    }

    #[track_caller]
    fn until_logged(&self, text: &str) {
        assert!(wait_until(15, || self.logs().contains(text)), "{text:?} is not in the log: {:?}", self.logs());
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let removed = self.podman.run(&["rm", "-f", "-t", "0", "-v", &self.name]);
        if !std::thread::panicking() {
            assert!(removed.status.success(), "{}", stderr(&removed));
            self.podman.place.until_none("control groups", &format!("find /sys/fs/cgroup -name '*{}*'", self.id));
        }
    }
}

/// What is the same for root and for a user: output, exit codes, terminals, exec, signals.
fn runs(podman: &Podman) {
    let said = podman.run(&["run", "--rm", "box", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    let (code_, out, err) = outcome(&said);
    assert_eq!((code_, out.as_str()), (7, "out\n"));
    assert!(err.ends_with("err\n"), "{err}");
    let mut rows = Rows::default();
    for (name, words, expected, text) in [
        ("not in PATH", &["box", "nonesuch"][..], 127, "not found"),
        ("no such file", &["box", "/bin/nonesuch"], 127, "no such file"),
        ("not executable", &["box", "/etc/passwd"], 126, "permission denied"),
        ("no such flag", &["--nonesuch", "box", "true"], 125, "unknown flag"),
        ("no such directory", &["-v", "/nonesuch:/x", "box", "true"], 125, "no such file"),
        ("killed by itself", &["--init", "box", "sh", "-c", "kill -9 $$"], 137, ""),
    ] {
        if name == "killed by itself"
            && !podman.place.sh("ls /usr/libexec/podman/catatonit || true").contains("catatonit")
        {
            continue;
        }
        let output = podman.run(&[&["run", "--rm"], words].concat());
        let said = stderr(&output).to_lowercase();
        rows.same(format!("{name}: {said}"), (code(output.status), said.contains(text)), (expected, true));
    }

    let mut session = podman.on_terminal(&["run", "--rm", "-it", "box"]);
    session.expect("/ # ");
    session.send("tty; echo size $(stty size)\r");
    session.expect("/dev/pts/0\r\n");
    session.expect("size 24 80\r\n");
    session.resize(33, 111);
    session.send("until [ \"$(stty size)\" = '33 111' ]; do sleep 0.1; done; echo new-size-$((6*7))\r");
    session.expect("new-size-42");
    session.send("exit 5\r");
    assert_eq!(session.status(), 5);
}

fn executes(podman: &Podman) {
    let container = podman.detach(&["-e", "FROM=run"], "sleep 1000");
    let words = ["-u", "ann:video", "-w", "/tmp", "-e", "MORE=exec"];
    let script = "id -u; id -g; pwd; echo $MORE $FROM";
    assert_eq!(container.exec(&words, &["sh", "-c", script]), "1000\n44\n/tmp\nexec run\n");
    assert_eq!(container.exec(&[], &["cat", "/proc/self/cgroup"]), container.exec(&[], &["cat", "/proc/1/cgroup"]));
    let mut rows = Rows::default();
    for (name, words, expected, text) in [
        ("its own code", &["sh", "-c", "exit 9"][..], 9, ""),
        ("by a signal", &["sh", "-c", "kill -9 $$"], 137, ""),
        ("not in PATH", &["nonesuch"], 127, "not found"),
        ("not executable", &["/etc/passwd"], 126, "permission denied"),
    ] {
        let output = podman.run(&[&["exec", container.name.as_str()], words].concat());
        let said = stderr(&output).to_lowercase();
        rows.same(format!("{name}: {said}"), (code(output.status), said.contains(text)), (expected, true));
    }
    container.exec(&["-d"], &["touch", "/tmp/by-exec"]);
    assert!(wait_until(10, || podman.run(&["exec", &container.name, "test", "-e", "/tmp/by-exec"]).status.success()));

    execs_on_a_terminal(podman, &container.name);
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
}

fn execs_on_a_terminal(podman: &Podman, name: &str) {
    let mut session = podman.on_terminal(&["exec", "-it", name, "sh"]);
    session.expect("/ # ");
    session.send("tty; echo size $(stty size)\r");
    session.expect("/dev/pts/0\r\n");
    session.expect("size 24 80\r\n");
    session.send("exit 3\r");
    assert_eq!(session.status(), 3);
}

fn stops_and_kills(podman: &Podman) {
    let container = podman.detach(&[], "trap 'echo got TERM; exit 4' TERM; echo started; while :; do sleep 0.1; done");
    container.until_logged("started");
    let top = podman.ok(&["top", &container.name, "pid", "args"]);
    assert!(top.contains("sh -c trap"), "{top}");
    podman.ok(&["stop", &container.name]);
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    assert_eq!(container.logs(), "started\ngot TERM\n");
    podman.ok(&["start", &container.name]);
    assert!(wait_until(10, || container.logs().matches("started").count() == 2));
    podman.ok(&["restart", "-t", "5", &container.name]);
    assert!(wait_until(10, || container.logs().matches("started").count() == 3));
    podman.ok(&["kill", &container.name]);
    assert_eq!(podman.ok(&["wait", &container.name]).trim(), "137");

    let deaf = podman.detach(&[], "trap '' TERM; echo started; while :; do sleep 0.1; done");
    deaf.until_logged("started");
    podman.run(&["stop", "-t", "1", &deaf.name]);
    assert_eq!(deaf.inspect("{{.State.ExitCode}}"), "137");
}

fn builds(podman: &Podman, isolation: &str) {
    podman.place.file("context/hello", "from the context\n");
    podman.place.file(
        "context/Dockerfile",
        "FROM box\nENV A=b\nRUN echo $A > /made && ln -s made /link\nWORKDIR /work\nRUN chown ann .\nCOPY hello .\nUSER ann\n\
         RUN id -un > who && [ \"$(pwd)\" = /work ]\nRUN [\"/bin/sh\", \"-c\", \"cat /link who > all\"]\n\
         CMD [\"cat\", \"/work/all\", \"hello\"]\n",
    );
    podman.place.file("failing/Dockerfile", "FROM box\nRUN exit 42\n");
    podman.place.sh("chmod -R a+rX context failing");
    let tag = unique("built");
    podman.ok(&["build", "--isolation", isolation, "-q", "-t", &tag, &podman.place.path("context")]);
    assert_eq!(podman.ok(&["run", "--rm", &tag]), "b\nann\nfrom the context\n");
    let failed = podman.run(&["build", "--isolation", isolation, &podman.place.path("failing")]);
    assert!(!failed.status.success() && stderr(&failed).contains("exit status 42"), "{}", stderr(&failed));
    podman.ok(&["rmi", "-f", &tag]);
}

fn has_pods(podman: &Podman) {
    let pod = unique("pod");
    podman.ok(&["pod", "create", "--name", &pod, "--share", "net,ipc,uts,pid"]);
    let server = podman.detach(&["--pod", &pod], "echo in the pod > /index.html; exec httpd -f -p 8000 -h /");
    let client = podman.detach(&["--pod", &pod], "sleep 1000");
    let answers = || podman.run(&["exec", &client.name, "wget", "-q", "-O-", "http://127.0.0.1:8000/"]);
    assert!(wait_until(10, || stdout(&answers()) == "in the pod\n"), "{:?}", answers());
    assert!(client.exec(&[], &["ps", "-o", "args"]).contains("httpd"));
    assert_eq!(server.exec(&[], &["hostname"]), client.exec(&[], &["hostname"]));
    let states = podman.ok(&["pod", "ps", "--format", "{{.Name}} {{.Status}} {{.NumberOfContainers}}"]);
    assert!(states.contains(&format!("{pod} Running 3")), "{states}");
    podman.ok(&["pod", "stop", "-t", "1", &pod]);
    server.until("{{.State.Running}}", "false");
    drop((server, client));
    podman.ok(&["pod", "rm", "-f", "-t", "0", &pod]);
}

#[test]
fn root_runs() {
    let Some(podman) = Podman::as_root("root_runs") else { return };
    runs(&podman);
    let name = unique("gone");
    podman.ok(&["run", "-d", "--rm", "--name", &name, "box", "true"]);
    assert!(wait_until(10, || !podman.run(&["container", "exists", &name]).status.success()));
}

#[test]
fn root_executes() {
    let Some(podman) = Podman::as_root("root_executes") else { return };
    executes(&podman);
}

#[test]
fn root_stops_and_kills() {
    let Some(podman) = Podman::as_root("root_stops_and_kills") else { return };
    stops_and_kills(&podman);
    let container = podman.detach(&[], "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done");
    container.until_logged("3\n");
    podman.ok(&["pause", &container.name]);
    assert_eq!(container.inspect("{{.State.Status}}"), "paused");
    let before = container.logs();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(container.logs(), before);
    podman.ok(&["unpause", &container.name]);
    assert!(wait_until(10, || container.logs().len() > before.len()));
}

#[test]
fn root_builds() {
    let Some(podman) = Podman::as_root("root_builds") else { return };
    builds(&podman, "oci");
}

#[test]
fn root_has_pods() {
    let Some(podman) = Podman::as_root("root_has_pods") else { return };
    has_pods(&podman);
}

#[test]
fn root_limits() {
    let Some(podman) = Podman::as_root("root_limits") else { return };
    let flags = ["-m", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0"];
    let container = podman.detach(&flags, "sleep 1000");
    let limit = |v1: &str, v2: &str| podman.place.limit(&format!("libpod-{}", container.id), v1, v2);
    let quota = |v1: &str, v2: &str| {
        assert_eq!(limit("cpu.cfs_quota_us", "cpu.max"), if podman.place.is_v2() { v2 } else { v1 });
    };
    assert_eq!(limit("memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(limit("pids.max", "pids.max"), "50");
    assert_eq!(limit("cpuset.cpus", "cpuset.cpus"), "0");
    quota("50000", "50000 100000");
    if podman.run(&["update", "--help"]).status.success() {
        podman.ok(&["update", "--memory", "128m", "--memory-swap", "256m", "--cpus", "1.5", &container.name]);
        assert_eq!(limit("memory.limit_in_bytes", "memory.max"), "134217728");
        quota("150000", "150000 100000");
    }
    let stats = podman.ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", &container.name]);
    assert_eq!(stats, format!("{} 1\n", container.name));

    let greedy = podman.detach(&["-m", "16m", "--memory-swap", "16m"], "exec tail /dev/zero");
    greedy.until("{{.State.Status}} {{.State.ExitCode}}", "exited 137");
}

#[test]
fn root_checks_health() {
    let Some(podman) = Podman::as_root("root_checks_health") else { return };
    // No timers without systemd: the check is run by hand.
    let flags = ["--health-cmd", "test -e /tmp/well", "--health-interval", "disable", "--health-retries", "1"];
    let container = podman.detach(&flags, "sleep 1000");
    assert_eq!(code(podman.run(&["healthcheck", "run", &container.name]).status), 1);
    container.exec(&[], &["touch", "/tmp/well"]);
    podman.ok(&["healthcheck", "run", &container.name]);
    container.until("{{.State.Health.Status}}", "healthy");
}

#[test]
fn root_is_as_the_flags_say() {
    let Some(podman) = Podman::as_root("root_is_as_the_flags_say") else { return };
    let status = |name: &str| format!("grep {name} /proc/self/status | cut -f2");
    let (cap_eff, cap_bnd, no_new_privs) = (status("CapEff"), status("CapBnd"), status("NoNewPrivs"));
    podman.ok(&["secret", "create", "hush", &podman.place.file("hush", "a secret\n")]);
    let mut rows = Rows::default();
    for (flags, script, expected) in [
        (&["-u", "12:34", "--group-add", "56"][..], "id -u; id -g; id -G", "12\n34\n34 56\n"),
        (&["-w", "/usr/bin"], "pwd", "/usr/bin\n"),
        (&["-h", "its-name"], "hostname", "its-name\n"),
        (&["--secret", "hush"], "cat /run/secrets/hush", "a secret\n"),
        (&["--secret", "hush,type=env,target=HUSH"], "echo $HUSH", "a secret\n"),
        (
            &["-v", "data:/data", "--mount", "type=tmpfs,dst=/memory,tmpfs-size=1m"],
            "touch /data/x; stat -f -c %T /memory",
            "tmpfs\n",
        ),
        (
            &["-v", "data:/data:ro"],
            "ls /data; touch /data/y 2>&1 || true",
            "x\ntouch: /data/y: Read-only file system\n",
        ),
        (&["--read-only"], "touch /x 2>&1; touch /tmp/x /run/x", "touch: /x: Read-only file system\n"),
        (&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], cap_bnd.as_str(), "0000000000001000\n"),
        (&["-u", "1000"], cap_eff.as_str(), "0000000000000000\n"),
        (&["-u", "1000", "--cap-add", "NET_ADMIN"], cap_eff.as_str(), "0000000000001000\n"),
        (&["--security-opt", "no-new-privileges"], no_new_privs.as_str(), "1\n"),
        // Podman asks for more processes than a root without CAP_SYS_RESOURCE may have, unless told.
        (&["--ulimit", "nofile=123:456", "--ulimit", "nproc=999:999"], "ulimit -n; ulimit -Hn", "123\n456\n"),
        (&["--device", "/dev/zero:/dev/nought:rw"], "head -c 3 /dev/nought | od -An -tx1", " 00 00 00\n"),
        (&["--sysctl", "net.ipv4.ip_forward=0"], "cat /proc/sys/net/ipv4/ip_forward", "0\n"),
        (&["--umask", "0027"], "umask", "0027\n"),
        (&["--security-opt", "mask=/etc/passwd"], "wc -c < /etc/passwd", "0\n"),
        (&["--cgroupns", "private"], "sed -n 's/^.*:memory:\\|^0:://p' /proc/self/cgroup | sort -u", "/\n"),
        (
            &["--uidmap", "0:3000000:1000", "--gidmap", "0:4000000:1000"],
            "cat /proc/self/uid_map | tr -s ' '; id -u",
            " 0 3000000 1000\n0\n",
        ),
        (
            &["--userns", "auto:size=2048"],
            "cat /proc/self/uid_map | tr -s ' ' | cut -d' ' -f2,4; touch /x; stat -c %u /x",
            "0 2048\n0\n",
        ),
        (&["--privileged"], "mount -t tmpfs none /home && touch /home/x && echo mounted", "mounted\n"),
        (&["--privileged"], cap_eff.as_str(), &podman.place.sh(&cap_bnd)),
        (&["--annotation", "one=two", "--tz", "local"], "true", ""),
    ] {
        let output = podman.run(&[&["run", "--rm"], flags, &["box", "sh", "-c", script]].concat());
        rows.same(format!("{flags:?} {script}"), said(&output), expected);
    }
    podman.ok(&["secret", "rm", "hush"]);
    podman.ok(&["volume", "rm", "data"]);
}

#[test]
fn root_shares_namespaces() {
    let Some(podman) = Podman::as_root("root_shares_namespaces") else { return };
    let first = podman.detach(&["--ipc", "shareable"], "echo shared > /dev/shm/file; echo up; exec sleep 1234");
    first.until_logged("up");
    let of = |kind: &str| format!("{kind}=container:{}", first.name);
    assert!(podman.sh(&[&of("--pid")], "ps -o args").contains("sleep 1234"));
    assert_eq!(podman.sh(&[&of("--ipc")], "cat /dev/shm/file"), "shared\n");
    let address = first.inspect("{{.NetworkSettings.IPAddress}}");
    assert!(podman.sh(&[&of("--network")], "ip -4 -o addr show eth0").contains(&format!("inet {address}/")));
    podman.sh(&[], &format!("ping -c 1 -w 5 {address}"));
    assert!(podman.sh(&["--pid", "host"], "ps -o args").contains("conmon"));
    assert!(podman.sh(&["--network", "host"], "ls /sys/class/net").contains("lo"));
    assert_eq!(podman.sh(&["--uts", "host"], "hostname"), podman.place.sh("hostname"));
    podman.ok(&["cp", &podman.place.file("copied", "by podman cp\n"), &format!("{}:/tmp/there", first.name)]);
    assert_eq!(first.exec(&[], &["cat", "/tmp/there"]), "by podman cp\n");
}

#[test]
fn root_calls_hooks() {
    let Some(podman) = Podman::as_root("root_calls_hooks") else { return };
    let log = podman.place.path("hooks.log");
    let hook = podman.place.file("hook.sh", format!("#!/bin/sh\necho \"$1 $(tr -d ' \\n\\t')\" >>{log}\n"));
    podman.place.sh("chmod 755 hook.sh");
    for stage in ["prestart", "createRuntime", "poststart", "poststop"] {
        let text = format!(
            r#"{{"version":"1.0.0","hook":{{"path":"{hook}","args":["hook","{stage}"]}},"when":{{"annotations":{{"^hook-me$":"yes"}}}},"stages":["{stage}"]}}"#
        );
        podman.place.file(&format!("hooks/{stage}.json"), text);
    }
    let hooks = podman.place.path("hooks");
    podman.ok(&["--hooks-dir", &hooks, "run", "--rm", "--annotation", "hook-me=yes", "box", "true"]);
    assert!(wait_until(10, || podman.place.read(&log).contains("poststop")), "{}", podman.place.read(&log));
    let log = podman.place.read(&log);
    let stages: Vec<_> = log.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let names: Vec<_> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["prestart", "createRuntime", "poststart", "poststop"], "{log}");
    for (name, state) in stages {
        let state: serde_json::Value = serde_json::from_str(state).unwrap();
        assert_eq!(state["annotations"]["hook-me"], "yes", "{name}");
        assert!(
            state["ociVersion"].is_string() && state["bundle"].is_string() && state["id"].is_string(),
            "{name}: {state}"
        );
        let statuses: &[&str] = match name {
            "poststop" => &["stopped"],
            // runc 1.1 looks before the program has begun.
            "poststart" => &["running", "created"],
            // The specification leaves it open.
            _ => &["creating", "created"],
        };
        assert!(statuses.contains(&state["status"].as_str().unwrap()), "{name}: {state}");
        assert!(name == "poststop" || state["pid"].as_i64().unwrap() > 1, "{name}: {state}");
    }
}

#[test]
fn user_runs() {
    let Some(podman) = Podman::as_user("user_runs") else { return };
    runs(&podman);
}

#[test]
fn user_executes() {
    let Some(podman) = Podman::as_user("user_executes") else { return };
    executes(&podman);
}

#[test]
fn user_stops_and_kills() {
    let Some(podman) = Podman::as_user("user_stops_and_kills") else { return };
    stops_and_kills(&podman);
}

#[test]
fn user_builds() {
    let Some(podman) = Podman::as_user("user_builds") else { return };
    builds(&podman, "rootless");
}

#[test]
fn user_has_pods() {
    let Some(podman) = Podman::as_user("user_has_pods") else { return };
    has_pods(&podman);
}

#[test]
fn user_is_as_the_flags_say() {
    let Some(podman) = Podman::as_user("user_is_as_the_flags_say") else { return };
    let id = podman.place.sh("id -u ruth").trim().to_owned();
    let first = podman.place.sh("sed -n 's/^ruth:\\([0-9]*\\):.*/\\1/p' /etc/subuid").trim().to_owned();
    let seen = podman.place.sh("[ ! -e /dev/net/tun ] || echo tap0");
    let mut rows = Rows::default();
    for (flags, script, expected) in [
        (&[][..], "id -u; cat /proc/self/uid_map | tr -s ' '", format!("0\n 0 {id} 1\n 1 {first} 65536\n").as_str()),
        (&["--userns", "keep-id"], "id -u", &format!("{id}\n")),
        (&["-u", "1000"], "id -u; touch /tmp/x; stat -c %u /tmp/x", "1000\n1000\n"),
        (&["--network", "none"], "ls /sys/class/net", "lo\n"),
        (&["-v", "data:/data:U", "-u", "1000"], "touch /data/x; ls /data", "x\n"),
        (&["--read-only", "--cap-drop", "ALL"], "grep CapBnd /proc/self/status | cut -f2", "0000000000000000\n"),
        (&["--privileged"], "mount -t tmpfs none /home && echo mounted", "mounted\n"),
        (&["--pid", "host"], "ps -o args | grep -c '^conmon\\|/conmon' >/dev/null && echo seen", "seen\n"),
        (&["--network", "slirp4netns"], "ls /sys/class/net | grep tap || true", &seen),
        (&["-m", "64m"], "echo limits that cannot be had are left out", "limits that cannot be had are left out\n"),
    ] {
        let output = podman.run(&[&["run", "--rm"], flags, &["box", "sh", "-c", script]].concat());
        rows.same(format!("{flags:?} {script}"), said(&output), expected);
    }
    podman.ok(&["volume", "rm", "data"]);
    // Without control groups: crun has it, runc has not.
    let help = stdout(&podman.place.run(&[&podman.place.runtime(), "--help"]));
    if need("user_is_as_the_flags_say", help.contains("cgroup-manager"), "its last part needs --cgroup-manager") {
        assert_eq!(podman.sh(&["--cgroups", "disabled"], "echo none"), "none\n");
    }
}

/// What a day has, with control groups that are not there and with none asked for.
#[test]
fn user_serves_a_port_with_groups_and_without() {
    let test = "user_serves_a_port_with_groups_and_without";
    let Some(podman) = Podman::as_user(test) else { return };
    let tun = podman.place.sh("[ ! -e /dev/net/tun ] || echo there");
    if !need(test, tun == "there\n", "slirp4netns needs /dev/net/tun") {
        return;
    }
    let server =
        "trap 'echo hung up' HUP; echo up; echo page > /tmp/page; httpd -p 80 -h /tmp; while :; do sleep 0.1; done";
    // crun has it, runc has not.
    let help = stdout(&podman.place.run(&[&podman.place.runtime(), "--help"]));
    let has_none = need(test, help.contains("cgroup-manager"), "its second part needs --cgroup-manager");
    let ways = [(&[][..], "8080"), (&["--cgroups", "disabled"], "8081")];
    for (flags, port) in ways.into_iter().take(if has_none { 2 } else { 1 }) {
        let ports = format!("{port}:80");
        let container = podman.detach(&[flags, &["-p", &ports]].concat(), server);
        container.until_logged("up\n");
        assert_eq!(podman.ok(&["port", &container.name]), format!("80/tcp -> 0.0.0.0:{port}\n"));
        let page = || {
            let asked = format!("busybox wget -q -O - http://127.0.0.1:{port}/page || true");
            wait_until(10, || podman.place.sh(&asked) == "page\n")
        };
        assert!(page(), "{flags:?}: {}", container.logs());
        podman.ok(&["kill", "-s", "HUP", &container.name]);
        container.until_logged("hung up\n");
        // The port and the log are there again with the second start.
        podman.ok(&["restart", "-t", "0", &container.name]);
        assert!(page(), "{flags:?}: {}", container.logs());
        assert!(wait_until(10, || container.logs() == "up\nhung up\nup\n"), "{:?}", container.logs());
        assert_eq!(container.exec(&["-u", "1000"], &["id", "-u"]), "1000\n");
        execs_on_a_terminal(&podman, &container.name);
        podman.ok(&["stop", "-t", "0", &container.name]);
        assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    }
}

/// Counts into a file in memory, which is in the images.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i >>/dev/shm/count; sleep 0.1; done";

#[test]
fn checkpointed_containers_go_on() {
    let test = "checkpointed_containers_go_on";
    if !criu_works(test) {
        return;
    }
    let Some(podman) = Podman::as_root(test) else { return };
    let name = unique("counter");
    let file = podman.place.path("checkpoint.tar");
    let count = |name: &str| -> Vec<u64> {
        let text = podman.ok(&["exec", name, "cat", "/dev/shm/count"]);
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    // It went on: no number is missing, and none is there twice.
    let goes_on = |name: &str, from: usize| {
        assert!(wait_until(10, || count(name).len() > from + 2), "{name} does not count on from {from}");
        let numbers = count(name);
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
        numbers.len()
    };
    podman.place.file("volume/file", "kept\n");
    let volume = format!("{}:/volume:ro", podman.place.path("volume"));
    podman.ok(&["run", "-d", "--name", &name, "-v", &volume, "--memory", "64m", "box", "sh", "-c", COUNTER]);
    let mut at = goes_on(&name, 0);
    podman.ok(&["container", "checkpoint", "--leave-running", &name]);
    at = goes_on(&name, at);
    podman.ok(&["container", "checkpoint", &name]);
    assert_eq!(podman.ok(&["inspect", "-f", "{{.State.Status}} {{.State.Checkpointed}}", &name]), "exited true\n");
    podman.ok(&["container", "restore", &name]);
    at = goes_on(&name, at);
    // Elsewhere, and under another name.
    podman.ok(&["container", "checkpoint", "--export", &file, &name]);
    podman.ok(&["rm", "-f", "-t", "0", &name]);
    let copy = unique("counter");
    podman.ok(&["container", "restore", "--import", &file, "--name", &copy]);
    goes_on(&copy, at);
    assert_eq!(podman.ok(&["exec", &copy, "cat", "/volume/file"]), "kept\n");
    let output = podman.run(&["exec", &copy, "touch", "/volume/x"]);
    assert!(stderr(&output).contains("Read-only file system"), "{}", stderr(&output));
    podman.ok(&["kill", &copy]);
    assert_eq!(podman.ok(&["wait", &copy]), "137\n");
    podman.ok(&["rm", "-f", &copy]);
}

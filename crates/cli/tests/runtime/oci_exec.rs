//! The OCI runtime's verb exec: one more process in a container.

use crate::common::{code, pty, stderr, stdout, wait_until};
use crate::oci::{Config, Runtime};
use serde_json::{Value, json};
use std::os::unix::net::UnixListener;

const SLEEP: &str = "echo ready; while :; do sleep 0.05; done";

/// A process as `--process` takes it.
fn process(script: &str) -> Value {
    json!({ "args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/", "user": { "uid": 0, "gid": 0 } })
}

#[test]
fn it_runs_in_the_container_and_ends_as_its_program_does() {
    let Some(runtime) = Runtime::new("exec") else { return };
    let container = runtime.start(&Config::sh(SLEEP).set("/hostname", json!("inside")));
    assert_eq!(container.ok(&["exec"], &["hostname"]), "inside\n");
    assert_eq!(container.ok(&["exec"], &["--", "echo", "-n", "--tty"]), "--tty");
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let output = container.output(&["exec"], &["sh", "-c", script]);
        assert_eq!(code(output.status), expected, "{script}: {}", stderr(&output));
    }
    let output = container.output(&["exec"], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", "err\n"));
    // Its input is ours.
    let mut command = runtime.command(&["exec", &container.id, "cat"]);
    command.stdin(std::fs::File::open(container.bundle.join("rootfs/etc/passwd")).unwrap());
    assert!(stdout(&crate::oci::finish(command, "cat")).starts_with("root:"));
}

#[test]
fn it_is_in_every_namespace_and_group_of_the_container() {
    let Some(runtime) = Runtime::new("exec namespaces") else { return };
    for config in [Config::sh(SLEEP).namespace("time", None), Config::sh(SLEEP).user_namespace()] {
        let container = runtime.start(&config);
        let kinds = "cgroup ipc mnt net pid time user uts";
        let list = format!("for k in {kinds}; do readlink /proc/self/ns/$k; done; cat /proc/self/cgroup");
        let inside = container.ok(&["exec"], &["sh", "-c", &list]);
        let pid = container.pid();
        let links = kinds.split(' ').map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap());
        let expected: Vec<String> = links.map(|link| link.display().to_string()).collect();
        let lines: Vec<&str> = inside.lines().collect();
        assert_eq!(lines[..8], expected[..]);
        // Seen from the container's own cgroup namespace, it is at the top of every hierarchy that has a group for it.
        assert!(lines[8..].iter().any(|line| line.ends_with(":/")), "{inside}");
        let pids = container.ok(&["ps", "--format", "json"], &[]);
        assert_eq!(serde_json::from_str::<Vec<i64>>(&pids).unwrap()[0], pid);
    }
}

#[test]
fn its_flags_change_what_the_container_has() {
    let Some(runtime) = Runtime::new("exec flags") else { return };
    let config = Config::sh(SLEEP)
        .push("/process/env", json!("OWN=container"))
        .set("/process/cwd", json!("/tmp"))
        .set("/process/user/umask", json!(0o027))
        .capabilities(&["CAP_CHOWN"]);
    let container = runtime.start(&config);
    let exec = |flags: &[&str], script: &str| {
        container.ok(&[&["exec"], flags].concat(), &["sh", "-c", script]).trim_end().to_owned()
    };
    let caps = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '";
    let chown = "0000000000000000 0000000000000001 0000000000000001 0000000000000001 0000000000000000";
    let both = "0000000000000000 0000000000001001 0000000000001001 0000000000001001 0000000000000000";
    for (flags, script, expected) in [
        (&[][..], "echo $OWN; pwd; umask", "container\n/tmp\n0027"),
        (&["--cwd", "/etc"], "pwd", "/etc"),
        (&["--env", "OWN=exec", "-e", "MORE=a=b"], "echo $OWN $MORE", "exec a=b"),
        (&["--user", "7"], "id -u; id -g; umask", "7\n0\n0027"),
        (&["-u", "7:8"], "id -u; id -g", "7\n8"),
        (&["--additional-gids", "44", "-g", "45"], "id -G", "0 44 45"),
        (&[], caps, chown),
        (&["--cap", "NET_ADMIN"], caps, both),
        (&["-c", "cap_net_admin"], caps, both),
        (&[], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0"),
        (&["--no-new-privs"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
        (&["--tty=false"], "tty", "not a tty"),
    ] {
        let script = if script == "tty" { "tty; :" } else { script };
        assert_eq!(exec(flags, script), expected, "{flags:?} {script}");
    }
    // Flags after the id, too, up to the command.
    assert_eq!(container.ok(&["exec"], &["--cwd", "/etc", "--user", "3", "sh", "-c", "pwd; id -u"]), "/etc\n3\n");
    for (flags, expected) in [
        (&["--user", "root"][..], "no user or group id"),
        (&["--user", "1:"], "no user or group id"),
        (&["--additional-gids", "x"], "no user or group id"),
        (&["--cap", "FLY"], "FLY"),
        (&["--cwd", "/nowhere"], "/nowhere"),
        (&["--cwd", "relative"], "not absolute"),
        (&["--process-label", "a:b:c:d"], "SELinux"),
        (&["--apparmor", "some-profile"], "AppArmor"),
        (&["--preserve-fds", "9"], "descriptor"),
        (&["--console-socket", "/none"], "no terminal"),
        (&["--cgroup", "../.."], "cgroup"),
    ] {
        let said = container.fails(&[&["exec"], flags].concat(), &["true"]);
        assert!(said.contains(expected), "{flags:?}: {said}");
    }
}

#[test]
fn a_process_is_described_by_a_file() {
    let Some(runtime) = Runtime::new("exec process") else { return };
    let container = runtime.start(&Config::sh(SLEEP).push("/process/env", json!("OWN=container")));
    let exec = |value: Value| {
        let file = runtime.scratch.file("process.json", value.to_string(), 0o600);
        container.ok(&["exec", "--process", &file], &[]).trim_end().to_owned()
    };
    let with = |script: &str, key: &str, value: Value| {
        let mut all = process(script);
        all[key] = value;
        all
    };
    let cases = [
        (process("echo \"$OWN-$PATH\"; pwd"), "-/bin\n/"),
        (with("pwd", "cwd", json!("/etc")), "/etc"),
        (
            with(
                "id -u; id -g; id -G; umask",
                "user",
                json!({ "uid": 5, "gid": 6, "additionalGids": [9], "umask": 0o77 }),
            ),
            "5\n6\n6 9\n0077",
        ),
        (
            with("ulimit -n; ulimit -Hn", "rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 50, "hard": 60 }])),
            "50\n60",
        ),
        (with("cat /proc/self/oom_score_adj", "oomScoreAdj", json!(321)), "321"),
        (with("grep NoNewPrivs /proc/self/status", "noNewPrivileges", json!(true)), "NoNewPrivs:\t1"),
        (process("grep CapEff /proc/self/status"), "CapEff:\t0000000000000000"),
        (
            with(
                "grep CapEff /proc/self/status",
                "capabilities",
                json!({ "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "bounding": ["CAP_KILL"] }),
            ),
            "CapEff:\t0000000000000020",
        ),
        (with("cut -d' ' -f19 /proc/self/stat", "scheduler", json!({ "policy": "SCHED_OTHER", "nice": 4 })), "4"),
        (
            with("ionice -p $$", "ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 })),
            "best-effort: prio 6",
        ),
        (
            with("grep Cpus_allowed_list /proc/self/status", "execCPUAffinity", json!({ "final": "0" })),
            "Cpus_allowed_list:\t0",
        ),
        (
            with("grep Cpus_allowed_list /proc/self/status", "execCPUAffinity", json!({ "initial": "0" })),
            "Cpus_allowed_list:\t0",
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(exec(value.clone()), expected, "{value}");
    }
    for (text, expected) in
        [("{", "EOF"), ("{}", "missing field"), (r#"{"args":[],"cwd":"/","user":{"uid":0,"gid":0}}"#, "no program")]
    {
        let file = runtime.scratch.file("bad.json", text, 0o600);
        let said = container.fails(&["exec", "--process", &file], &[]);
        assert!(said.contains(expected), "{text}: {said}");
    }
    assert!(container.fails(&["exec", "--process", "/none"], &[]).contains("/none"));
    assert!(container.fails(&["exec", "--process", "/none"], &["true"]).contains("--process"));
    assert!(container.fails(&["exec"], &[]).contains("a command, or --process"));
}

#[test]
fn detached_it_goes_on_and_says_who_it_is() {
    let Some(runtime) = Runtime::new("exec detach") else { return };
    let container = runtime.start(&Config::sh(SLEEP));
    let [pid_file, socket] = ["pid", "socket"].map(|name| runtime.scratch.path(name));
    let listener = UnixListener::bind(&socket).unwrap();
    let script = "echo from exec >/tmp/here; exec sleep 1000";
    container.ok(
        &["exec", "--detach", "--pid-file", &pid_file, "--pidfd-socket", &socket],
        &["sh", "-c", &format!("{script} >/dev/null 2>&1")],
    );
    let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let (_, pidfd) = crate::oci::receive::fd(&listener);
    assert_eq!(crate::oci::receive::pid_of(&pidfd), pid);
    let cmdline = || std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(wait_until(5, || cmdline() == b"sleep\x001000\0"), "{:?}", cmdline());
    let here = container.bundle.join("rootfs/tmp/here");
    assert_eq!(std::fs::read_to_string(here).unwrap(), "from exec\n");
    let listed = container.ok(&["ps", "-f", "json"], &[]);
    assert!(serde_json::from_str::<Vec<i64>>(&listed).unwrap().contains(&pid), "{listed}");
    // It ends with the container.
    container.ok(&["delete", "--force"], &[]);
    assert!(cmdline().is_empty());
}

#[test]
fn a_terminal_is_ours_or_goes_to_a_socket() {
    let Some(runtime) = Runtime::new("exec tty") else { return };
    let container = runtime.start(&Config::sh(SLEEP));
    let records = runtime.scratch.path("records");
    let words = [crate::common::tool(), "runtime", "--root", &records, "exec", "--tty", &container.id];
    let script = "tty; stty size; read line; echo got $line; exit 5";
    let mut session = pty::Session::of(&[&words[..], &["sh", "-c", script]].concat(), (33, 99), "");
    session.expect("/dev/pts/");
    session.expect("33 99");
    session.send("typed\r");
    session.expect("got typed");
    assert_eq!(session.status(), 5);

    let socket = runtime.scratch.path("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut described = process("tty; stty size; read line; echo got $line");
    described["terminal"] = json!(true);
    described["consoleSize"] = json!({ "height": 11, "width": 22 });
    let file = runtime.scratch.file("tty.json", described.to_string(), 0o600);
    container.ok(&["exec", "--detach", "--process", &file, "--console-socket", &socket], &[]);
    let (_, master) = crate::oci::receive::fd(&listener);
    let mut terminal = crate::oci::receive::Terminal::new(master);
    terminal.expect("/dev/pts/");
    terminal.expect("11 22");
    terminal.send("typed\r");
    terminal.expect("got typed");
    let said = container.fails(&["exec", "--detach", "--tty"], &["true"]);
    assert!(said.contains("console socket"), "{said}");
}

#[test]
fn what_the_container_is_at_decides_whether_a_process_may_join() {
    let Some(runtime) = Runtime::new("exec status") else { return };
    let container = runtime.create(&Config::sh(SLEEP));
    // Also before its program runs.
    assert_eq!(container.ok(&["exec"], &["echo", "early"]), "early\n");
    container.start();
    container.ok(&["pause"], &[]);
    assert!(container.fails(&["exec"], &["true"]).contains("paused"));
    let mut command = runtime.command(&["exec", "--ignore-paused", &container.id, "echo", "thawed"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it waits until the container goes on");
    container.ok(&["resume"], &[]);
    assert_eq!(stdout(&crate::oci::wait_for_output(child, "exec --ignore-paused")), "thawed\n");
}

#[test]
fn a_program_that_cannot_run_is_told_in_the_words_that_callers_look_for() {
    let Some(runtime) = Runtime::new("exec words") else { return };
    let container = runtime.start(&Config::sh(SLEEP));
    std::fs::write(container.bundle.join("rootfs/tmp/text"), "text").unwrap();
    for (program, expected) in [
        ("nothing", "exec: \"nothing\": executable file not found in $PATH"),
        ("/bin/nothing", "exec: \"/bin/nothing\": stat /bin/nothing: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/etc", "exec: \"/etc\": permission denied"),
    ] {
        let said = container.fails(&["exec"], &[program]);
        assert!(said.contains(expected), "{program}: {said}");
    }
}

#[test]
fn the_containers_filter_and_limits_hold_for_it_too() {
    let Some(runtime) = Runtime::new("exec filter") else { return };
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
    });
    let config = Config::sh(SLEEP).set("/linux/seccomp", seccomp).set("/linux/resources/pids/limit", json!(6));
    let container = runtime.start(&config);
    let output = container.output(&["exec"], &["mkdir", "/tmp/x"]);
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
    let output = container.output(&["exec"], &["sh", "-c", "for i in 1 2 3 4 5 6; do sleep 1 & done; wait"]);
    assert!(stderr(&output).contains("can't fork"), "{}", stderr(&output));
}

#[test]
fn it_can_run_in_a_group_inside_the_containers() {
    let Some(runtime) = Runtime::new("exec group") else { return };
    let path = format!("/{}/group", runtime.tag);
    let container =
        runtime.start(&Config::sh(SLEEP).set("/linux/cgroupsPath", json!(path)).without_namespace("cgroup"));
    let dirs = crate::oci::group_dirs(container.pid(), &runtime.tag);
    assert!(!dirs.is_empty());
    for dir in &dirs {
        std::fs::create_dir(dir.join("sub")).unwrap();
    }
    let inside = container.ok(&["exec", "--cgroup", "sub"], &["cat", "/proc/self/cgroup"]);
    let ours: Vec<&str> = inside.lines().filter(|line| line.contains(&runtime.tag)).collect();
    assert!(!ours.is_empty() && ours.iter().all(|line| line.ends_with("/group/sub")), "{inside}");
    container.ok(&["delete", "--force"], &[]);
    crate::oci::remove_parents(&runtime.tag);
}

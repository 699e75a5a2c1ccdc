//! The OCI runtime's verbs of a container's life: create, start, run, state, list, kill, delete, pause, resume.

use crate::common::{add_user_namespace, code, stderr, stdout, wait_until};
use crate::oci::{Config, Runtime};
use serde_json::{Value, json};

/// Runs until it is told to end.
const SLEEP: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";

fn is_alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn a_container_goes_through_its_life() {
    let Some(runtime) = Runtime::new("life") else { return };
    let container = runtime.create(&Config::sh(SLEEP));
    let (status, pid) = (container.status(), container.pid());
    assert_eq!(status, "created");
    assert!(is_alive(pid));
    assert_eq!(container.out(), "", "its program does not run yet");
    container.start();
    assert_eq!((container.status().as_str(), container.pid()), ("running", pid));
    container.expect("ready");
    assert_eq!(runtime.ok(&["list", "-q"]), format!("{}\n", container.id));
    container.ok(&["kill"], &["TERM"]);
    container.wait();
    assert_eq!(container.pid(), 0);
    assert!(!is_alive(pid));
    container.ok(&["delete"], &[]);
    assert!(container.fails(&["state"], &[]).contains("does not exist"));
    assert_eq!(runtime.left(), Vec::<String>::new());
}

#[test]
fn a_verb_at_the_wrong_time_is_refused_and_changes_nothing() {
    let Some(runtime) = Runtime::new("wrong time") else { return };
    let container = runtime.create(&Config::sh(SLEEP));
    let refused = |status: &str, cases: &[(&[&str], &[&str], &str)]| {
        for (verb, words, expected) in cases {
            let said = container.fails(verb, words);
            assert!(said.contains(expected), "{verb:?} while {status}: {said}");
            assert_eq!(container.status(), status, "after {verb:?}");
        }
    };
    refused(
        "created",
        &[
            (&["delete"], &[], "in the created state"),
            (&["resume"], &[], "in the created state"),
            (&["create", "-b", "."], &[], ""),
        ],
    );
    container.start();
    refused(
        "running",
        &[
            (&["start"], &[], "in the running state"),
            (&["delete"], &[], "in the running state"),
            (&["resume"], &[], "in the running state"),
        ],
    );
    container.ok(&["pause"], &[]);
    refused(
        "paused",
        &[
            (&["start"], &[], "in the paused state"),
            (&["pause"], &[], "in the paused state"),
            (&["delete"], &[], "in the paused state"),
            (&["exec"], &["true"], "paused"),
        ],
    );
    container.ok(&["resume"], &[]);
    container.ok(&["kill"], &["KILL"]);
    container.wait();
    refused(
        "stopped",
        &[
            (&["start"], &[], "stopped"),
            (&["kill"], &["TERM"], "container not running"),
            (&["kill"], &["0"], "container not running"),
            (&["pause"], &[], "not running"),
            (&["resume"], &[], "not"),
            (&["exec"], &["true"], "not running"),
            (&["ps"], &[], "not running"),
            (&["update", "--pids-limit", "9"], &[], "not running"),
            (&["events", "--stats"], &[], "not running"),
        ],
    );
}

#[test]
fn a_container_that_is_not_there_is_an_error_of_every_verb() {
    let Some(runtime) = Runtime::new("no container") else { return };
    let file = runtime.scratch.file("mounts.json", "[]", 0o600);
    for words in [
        &["start", "none"][..],
        &["state", "none"],
        &["kill", "none", "TERM"],
        &["kill", "--all", "none", "KILL"],
        &["delete", "none"],
        &["pause", "none"],
        &["resume", "none"],
        &["exec", "none", "true"],
        &["ps", "none"],
        &["events", "--stats", "none"],
        &["update", "--memory", "1", "none"],
        &["mounts", "add", "none", &file],
    ] {
        let said = runtime.fails(words);
        assert!(said.contains("does not exist"), "{words:?}: {said}");
    }
    for verb in
        ["create", "start", "run", "state", "kill", "delete", "pause", "resume", "exec", "ps", "events", "update"]
    {
        assert!(runtime.fails(&[verb]).contains("id"), "{verb} without an id");
    }
    // What is to be gone is gone.
    assert_eq!(runtime.ok(&["delete", "--force", "none"]), "");
    assert_eq!(runtime.ok(&["list", "-q"]), "");
}

#[test]
fn ids_are_checked_and_belong_to_one_container() {
    let Some(runtime) = Runtime::new("ids") else { return };
    let bundle = runtime.bundle(&Config::sh("echo ran"));
    let run = |id: &str| runtime.output(&["run", "-b", bundle.to_str().unwrap(), "--", id]);
    for id in ["a", "A-b_c+d.e", "-x", "+", "_", "0", "a..b"] {
        let output = run(id);
        assert_eq!(stdout(&output), "ran\n", "{id}: {}", stderr(&output));
    }
    for id in ["", ".", "..", ".a", "a/b", "/a", "a b", "a\nb", "ä", &"x".repeat(256)] {
        let said = stderr(&run(id));
        assert!(said.contains("is no container id"), "{id:?}: {said}");
    }
    let first = runtime.create(&Config::sh(SLEEP));
    let said = runtime.fails(&["create", "-b", bundle.to_str().unwrap(), &first.id]);
    assert!(said.contains("already exists"), "{said}");
    assert_eq!(first.status(), "created", "the first one is untouched");
    // The id is free again after its deletion.
    first.ok(&["delete", "--force"], &[]);
    assert_eq!(runtime.ok(&["run", "-b", bundle.to_str().unwrap(), &first.id]), "ran\n");
}

#[test]
fn what_changes_in_the_bundle_after_create_has_no_effect() {
    let Some(runtime) = Runtime::new("later changes") else { return };
    let container = runtime.create(&Config::sh("echo first; hostname").set("/hostname", json!("first")));
    crate::oci::write_config(
        &container.bundle,
        &Config::sh("echo second").set("/hostname", json!("second")),
        &runtime.tag,
    );
    container.start();
    container.wait();
    assert_eq!(container.out(), "first\nfirst\n");
    std::fs::remove_file(container.bundle.join("config.json")).unwrap();
    assert_eq!(container.status(), "stopped");
    container.ok(&["delete"], &[]);
}

#[test]
fn state_and_list_tell_what_callers_read() {
    let Some(runtime) = Runtime::new("state") else { return };
    assert_eq!(runtime.ok(&["list", "--format", "json"]), "null\n");
    let annotations = json!({ "com.example.key": "value", "empty": "" });
    let config = Config::sh(SLEEP).set("/ociVersion", json!("1.0.2")).set("/annotations", annotations.clone());
    let container = runtime.create(&config);
    let state = container.state();
    let bundle = container.bundle.canonicalize().unwrap();
    assert_eq!(state["ociVersion"], "1.0.2", "that of the configuration");
    assert_eq!(state["id"], container.id.as_str());
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], bundle.to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.join("rootfs").to_str().unwrap());
    assert_eq!(state["annotations"], annotations);
    assert_eq!(state["owner"], "root");
    let created = state["created"].as_str().unwrap();
    assert!(created.len() > 20 && created.ends_with('Z') && created.contains('T'), "{created}");
    let list: Value = serde_json::from_str(&runtime.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(list, json!([state]));
    let table = runtime.ok(&["list"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let pid = state["pid"].to_string();
    assert_eq!(rows[1], [&container.id, &pid, "created", bundle.to_str().unwrap(), created, "root"]);
    // One without annotations has no such key.
    assert!(runtime.create(&Config::sh(SLEEP)).state().get("annotations").is_none());
}

#[test]
fn run_ends_as_the_program_does_and_leaves_nothing() {
    let Some(runtime) = Runtime::new("run") else { return };
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$; sleep 9", 143)] {
        // A pid namespace's first process does not die by its own signal.
        let output = runtime.run(&Config::sh(&format!("sh -c '{script}'; exit $?")));
        assert_eq!(code(output.status), expected, "{script}: {}", stderr(&output));
        assert_eq!(runtime.left(), Vec::<String>::new(), "{script}");
    }
    assert_eq!(runtime.run_ok(&Config::sh("echo out; echo err >&2")), "out\n");
    let bundle = runtime.bundle(&Config::sh("cat"));
    let id = runtime.id();
    let mut command = runtime.command(&["run", "-b", bundle.to_str().unwrap(), &id]);
    command.stdin(std::fs::File::open(bundle.join("rootfs/etc/passwd")).unwrap());
    assert!(stdout(&crate::oci::finish(command, "cat")).starts_with("root:x:0:0:"), "its input is ours");
}

#[test]
fn run_keeps_a_container_or_leaves_it_alone_as_it_is_told() {
    let Some(runtime) = Runtime::new("run flags") else { return };
    let bundle = runtime.bundle(&Config::sh("echo kept; exit 3"));
    let id = runtime.id();
    let output = runtime.output(&["run", "--keep", "-b", bundle.to_str().unwrap(), &id]);
    assert_eq!((code(output.status), stdout(&output).as_str()), (3, "kept\n"));
    let state: Value = serde_json::from_str(&runtime.ok(&["state", &id])).unwrap();
    assert_eq!(state["status"], "stopped");
    runtime.ok(&["delete", &id]);

    let bundle = runtime.bundle(&Config::sh(SLEEP));
    let id = runtime.id();
    let mut command = runtime.command(&["run", "--detach", "-b", bundle.to_str().unwrap(), &id]);
    runtime.attach(&mut command, &bundle);
    assert!(command.status().unwrap().success());
    let state: Value = serde_json::from_str(&runtime.ok(&["state", &id])).unwrap();
    assert_eq!(state["status"], "running");
    runtime.ok(&["kill", &id]);
    assert!(wait_until(10, || runtime.ok(&["state", &id]).contains("stopped")), "SIGTERM is the default");
    runtime.ok(&["delete", &id]);

    // A program that cannot run is told by --detach too, and leaves nothing.
    let bundle = runtime.bundle(&Config::args(&["/no/such/program"]));
    let said = runtime.fails(&["run", "--detach", "-b", bundle.to_str().unwrap(), &runtime.id()]);
    assert!(said.contains("no such file or directory"), "{said}");
    assert_eq!(runtime.left(), Vec::<String>::new());
}

#[test]
fn orphans_in_a_shared_pid_namespace_go_to_run_unless_it_does_not_want_them() {
    let Some(runtime) = Runtime::new("subreaper") else { return };
    // The shell between ends at once; what it has started is looked at a moment later.
    let orphan = "sleep 0.2; exec grep PPid /proc/self/status >/tmp/parent";
    let config = Config::sh(&format!("sh -c \"sh -c '{orphan}' &\"; sleep 0.5")).without_namespace("pid");
    let parent = |flags: &[&str]| {
        let bundle = runtime.bundle(&config);
        let id = runtime.id();
        let words = [&["run", "-b", bundle.to_str().unwrap()], flags, &[id.as_str()]].concat();
        let child = runtime.command(&words).spawn().unwrap();
        let tool = child.id();
        crate::oci::wait_for_output(child, "run");
        let text = std::fs::read_to_string(bundle.join("rootfs/tmp/parent")).unwrap();
        (text.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap(), tool)
    };
    let (adopted, tool) = parent(&[]);
    assert_eq!(adopted, tool);
    let (adopted, tool) = parent(&["--no-subreaper"]);
    assert_ne!(adopted, tool);
}

#[test]
fn files_and_directories_that_the_caller_names() {
    let Some(runtime) = Runtime::new("named files") else { return };
    let pid_file = runtime.scratch.path("pid");
    let bundle = runtime.bundle(&Config::sh(SLEEP));
    let container = runtime.create_with(&bundle, &["--pid-file", &pid_file]);
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), container.pid().to_string());
    // A configuration elsewhere, with a root that is relative to the bundle.
    let mut other = Config::sh("echo other").0;
    add_user_namespace(&mut other);
    let other = runtime.scratch.file("other.json", other.to_string(), 0o600);
    let output = runtime.run_bundle(&bundle, &["--config", &other]);
    assert_eq!(stdout(&output), "other\n", "{}", stderr(&output));
    // The bundle is the current directory, when none is named.
    let here = runtime.bundle(&Config::sh("echo here"));
    let id = runtime.id();
    let mut command = runtime.command(&["run", &id]);
    command.current_dir(&here);
    assert_eq!(stdout(&crate::oci::finish(command, "run")), "here\n");
    // A pid file that cannot be written ends what was begun.
    let said =
        runtime.fails(&["create", "-b", here.to_str().unwrap(), "--pid-file", "/no/such/dir/pid", &runtime.id()]);
    assert!(said.contains("/no/such/dir/pid"), "{said}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_and_leaves_nothing() {
    let Some(runtime) = Runtime::new("bad configurations") else { return };
    let config = || Config::sh("echo it ran");
    let twice = |kind| json!([{ "type": "mount" }, { "type": kind }, { "type": kind }]);
    for (name, config, expected) in [
        ("a version of another major", config().set("/ociVersion", json!("2.0.0")), "2.0.0"),
        ("no version", config().set("/ociVersion", json!("")), "version"),
        ("no process", config().set("/process", Value::Null), "process"),
        ("no program", config().set("/process/args", json!([])), "no program"),
        ("a relative cwd", config().set("/process/cwd", json!("tmp")), "not absolute"),
        ("a NUL in an argument", Config::args(&["echo", "a\0b"]), "NUL"),
        ("no root", config().set("/root", Value::Null), "root"),
        ("a root that is not there", config().set("/root/path", json!("nowhere")), "nowhere"),
        ("the host's root", config().set("/root/path", json!("/")), "host's own"),
        ("a namespace twice", config().set("/linux/namespaces", twice("uts")), "twice"),
        ("an unknown namespace", config().set("/linux/namespaces", json!([{ "type": "flat" }])), "flat"),
        ("an unknown capability", config().capabilities(&["CAP_FLY"]), "CAP_FLY"),
        (
            "an unknown rlimit",
            config().push("/process/rlimits", json!({ "type": "RLIMIT_X", "soft": 1, "hard": 1 })),
            "RLIMIT_X",
        ),
        ("an unknown file system", config().mount("/mnt", "nofs", "x", ""), "nofs"),
        ("an unknown mount option", config().mount("/mnt", "tmpfs", "x", "nooption"), "nooption"),
        ("a bind of nothing", config().mount("/mnt", "bind", "/no/such/source", "bind"), "/no/such/source"),
        ("a hostname of the host", config().without_namespace("uts").set("/hostname", json!("x")), "hostname"),
        ("a sysctl of the host", config().set("/linux/sysctl", json!({ "vm.swappiness": "1" })), "vm.swappiness"),
        ("a section for another system", config().set("/windows", json!({ "layerFolders": ["x"] })), "windows"),
        (
            "a device over a file",
            config().push("/linux/devices", json!({ "path": "/etc/passwd", "type": "c", "major": 1, "minor": 3 })),
            "/etc/passwd",
        ),
        ("a working directory that is a file", config().set("/process/cwd", json!("/etc/passwd")), "/etc/passwd"),
        ("a program that is not there", Config::args(&["nothing"]), "executable file not found in $PATH"),
        ("a program that is none", Config::args(&["/etc/passwd"]), "permission denied"),
    ] {
        for verb in ["create", "run"] {
            let bundle = runtime.bundle(&config);
            let said = runtime.fails(&[verb, "-b", bundle.to_str().unwrap(), &runtime.id()]);
            assert!(said.contains(expected), "{name}, {verb}: {said}");
            assert_eq!(runtime.left(), Vec::<String>::new(), "{name}, {verb}");
        }
    }
    for (text, expected) in
        [("", "EOF"), ("{", "EOF"), ("[]", "expected a JSON object"), (r#"{"ociVersion": 1}"#, "invalid type")]
    {
        let bundle = runtime.bundle(&config());
        std::fs::write(bundle.join("config.json"), text).unwrap();
        let said = runtime.fails(&["create", "-b", bundle.to_str().unwrap(), &runtime.id()]);
        assert!(said.contains(expected), "{text:?}: {said}");
    }
    let said = runtime.fails(&["create", "-b", "/no/such/bundle", &runtime.id()]);
    assert!(said.contains("/no/such/bundle"), "{said}");
}

#[test]
fn kill_sends_the_signal_that_is_named() {
    let Some(runtime) = Runtime::new("signals") else { return };
    let script = "for s in HUP USR1 USR2 WINCH RTMIN+1; do trap \"echo got $s\" $s 2>/dev/null; done
                  trap 'echo got 35' 35; echo ready; while :; do sleep 0.02; done";
    let container = runtime.start(&Config::sh(script));
    container.expect("ready");
    for (signal, expected) in
        [("1", "got HUP"), ("SIGUSR1", "got USR1"), ("usr2", "got USR2"), ("WINCH", "got WINCH"), ("RTMIN+1", "got 35")]
    {
        container.ok(&["kill"], &[signal]);
        container.expect(expected);
    }
    for signal in ["NOPE", "-1", "65", "SIG", ""] {
        let said = container.fails(&["kill"], &["--", signal]);
        assert!(said.contains("signal"), "{signal:?}: {said}");
    }
    container.ok(&["kill"], &["0"]);
    assert_eq!(container.status(), "running");
}

#[test]
fn kill_all_reaches_every_process_also_when_the_first_has_ended() {
    let Some(runtime) = Runtime::new("kill all") else { return };
    let config = Config::sh("sleep 1000 & sleep 1000 & echo ready").without_namespace("pid");
    let container = runtime.start(&config);
    container.wait();
    let alive = || crate::common::traces::processes_with(&runtime.tag).len();
    assert_eq!(alive(), 2, "in a pid namespace that is shared, the others live on");
    assert!(container.fails(&["kill"], &["KILL"]).contains("not running"));
    container.ok(&["kill", "--all"], &["KILL"]);
    assert!(wait_until(5, || alive() == 0));

    let container = runtime.start(&Config::sh(
        "sh -c 'trap \"echo got it\" USR1; echo ready; while :; do sleep 0.02; done' & trap : USR1; wait; wait; wait",
    ));
    container.expect("ready");
    container.ok(&["kill", "-a"], &["USR1"]);
    container.expect("got it");
}

#[test]
fn delete_takes_all_away_whatever_the_container_is_at() {
    let Some(runtime) = Runtime::new("delete") else { return };
    for (name, pause, start) in [("created", false, false), ("running", false, true), ("paused", true, true)] {
        let container = runtime.create(&Config::sh(SLEEP));
        if start {
            container.start();
        }
        if pause {
            container.ok(&["pause"], &[]);
        }
        assert_eq!(container.status(), name);
        assert_eq!(container.ok(&["delete", "--force"], &[]), "");
        assert_eq!(runtime.left(), Vec::<String>::new(), "{name}");
    }
    // With those that it left in a pid namespace that is shared.
    let container = runtime.start(&Config::sh("sleep 1000 & :").without_namespace("pid"));
    container.wait();
    container.ok(&["delete"], &[]);
    assert_eq!(runtime.left(), Vec::<String>::new());
}

#[test]
fn a_regular_expression_names_several_containers() {
    let Some(runtime) = Runtime::new("regex") else { return };
    let containers = [(), (), ()].map(|()| runtime.start(&Config::sh(SLEEP)));
    let [first, second, third] = &containers;
    containers.iter().for_each(|container| container.expect("ready"));
    let two = format!("^({}|{})$", first.id.replace('.', "\\."), second.id.replace('.', "\\."));
    runtime.ok(&["kill", "--regex", &two, "TERM"]);
    first.wait();
    second.wait();
    assert_eq!(third.status(), "running");
    runtime.ok(&["delete", "--regex", &two]);
    assert_eq!(runtime.ok(&["list", "-q"]), format!("{}\n", third.id));
    assert!(runtime.fails(&["delete", "--regex", "("]).contains('('));
    // One that cannot be deleted is told, the others are deleted all the same.
    assert!(runtime.fails(&["delete", "--regex", "."]).contains("running"));
    runtime.ok(&["delete", "--force", "--regex", "."]);
    assert_eq!(runtime.ok(&["list", "-q"]), "");
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let Some(runtime) = Runtime::new("pause") else { return };
    let container = runtime.start(&Config::sh("while :; do echo tick; sleep 0.01; done"));
    container.expect("tick");
    container.ok(&["pause"], &[]);
    assert_eq!(container.status(), "paused");
    let before = container.out().len();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(container.out().len(), before, "it stands still");
    container.ok(&["resume"], &[]);
    assert_eq!(container.status(), "running");
    assert!(wait_until(5, || container.out().len() > before), "it goes on");
    // SIGKILL ends a paused one, too.
    container.ok(&["pause"], &[]);
    container.ok(&["kill"], &["KILL"]);
    container.wait();
    // A container whose program does not run yet can be paused.
    let container = runtime.create(&Config::sh("echo started"));
    container.ok(&["pause"], &[]);
    container.ok(&["resume"], &[]);
    container.start();
    container.expect("started");
}

/// Runs a command with a key in its session keyring that only who is in that session sees.
const WITH_A_KEY: &str = r#"
import ctypes, os, platform, sys
call = ctypes.CDLL(None, use_errno=True).syscall
add_key, keyctl = (248, 250) if platform.machine() == "x86_64" else (217, 219)
call(keyctl, 1, None)
key = call(add_key, b"user", b"mctest-secret", b"x", 1, -3)
call(keyctl, 5, key, 0x3f000000)
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn the_callers_keys_stay_with_the_caller_unless_it_says_otherwise() {
    let Some(runtime) = Runtime::new("keyring") else { return };
    let bundle = runtime.bundle(&Config::sh("grep -c mctest-secret /proc/keys; :"));
    let run = |flags: &[&str]| {
        let mut command = std::process::Command::new("python3");
        command.args([
            "-c",
            WITH_A_KEY,
            crate::common::tool(),
            "runtime",
            "--root",
            &runtime.scratch.path("records"),
            "run",
        ]);
        command.args(flags).args(["-b", bundle.to_str().unwrap(), &runtime.id()]);
        stdout(&crate::oci::finish(command, "run with a key"))
    };
    assert_eq!(run(&[]), "0\n");
    assert_eq!(run(&["--no-new-keyring"]), "1\n");
}

#[test]
fn without_pivot_root_the_container_sees_its_root_all_the_same() {
    let Some(runtime) = Runtime::new("no pivot") else { return };
    let bundle = runtime.bundle(&Config::sh("ls / | head -2; cat /proc/self/mountinfo | wc -l; cd ..; ls -d bin"));
    let [with, without] = [&[][..], &["--no-pivot"]].map(|flags| stdout(&runtime.run_bundle(&bundle, flags)));
    assert!(with.starts_with("bin\ndev\n"), "{with}");
    assert_eq!(with, without);
}

#[test]
fn descriptors_are_inherited_as_many_as_are_named() {
    let Some(runtime) = Runtime::new("preserve-fds") else { return };
    let bundle = runtime.bundle(&Config::sh("cat <&3; cat <&4; ls /proc/self/fd | wc -l"));
    let [one, two] = ["one", "two"].map(|text| runtime.scratch.file(text, format!("{text}\n"), 0o600));
    let run = |count: &str| {
        let mut command = std::process::Command::new("sh");
        command.args([
            "-c",
            r#"exec 3<"$1" 4<"$2"; shift 2; exec "$@""#,
            "sh",
            &one,
            &two,
            crate::common::tool(),
            "runtime",
        ]);
        command.args(["--root", &runtime.scratch.path("records"), "run", "--preserve-fds", count]);
        command.args(["-b", bundle.to_str().unwrap(), &runtime.id()]);
        crate::oci::finish(command, "preserve")
    };
    // Beside them: three streams, and the directory that ls reads.
    assert_eq!(stdout(&run("2")), "one\ntwo\n6\n", "{}", stderr(&run("2")));
    assert_eq!(stdout(&run("0")), "4\n", "{}", stderr(&run("0")));
    let said = stderr(&run("3"));
    assert!(said.contains("descriptor 5"), "{said}");
    assert!(runtime.fails(&["run", "--preserve-fds", "many", "x"]).contains("many"));
}

#[test]
fn a_pidfd_goes_to_the_socket_that_is_named() {
    let Some(runtime) = Runtime::new("pidfd-socket") else { return };
    let path = runtime.scratch.path("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let bundle = runtime.bundle(&Config::sh(SLEEP));
    let container = runtime.create_with(&bundle, &["--pidfd-socket", &path]);
    let pidfd = crate::oci::receive::fd(&listener).1;
    assert_eq!(crate::oci::receive::pid_of(&pidfd), container.pid());
    let said = runtime.fails(&["create", "-b", bundle.to_str().unwrap(), "--pidfd-socket", "/none", &runtime.id()]);
    assert!(said.contains("/none"), "{said}");
}

//! Programs and sockets of others: the six kinds of hooks, service managers, and agents of a system call filter.

use crate::common::{need, stderr, stdout, wait_until};
use crate::oci::{Config, Runtime};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SLEEP: &str = "echo ready; while :; do sleep 0.05; done";
const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn sh(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] })
}

#[test]
fn hooks_run_at_their_time_and_place_with_the_state_on_their_input() {
    let Some(runtime) = Runtime::new("hooks") else { return };
    let log = runtime.scratch.path("log");
    let mut config =
        Config::sh("echo program >> /tmp/log; exec sleep 1000").set("/annotations", json!({ "a.key": "value" }));
    for kind in KINDS {
        // The one that runs in the container writes there.
        let log = if kind == "startContainer" { "/tmp/log" } else { &log };
        for count in [1, 2] {
            let script = format!("echo {kind} {count} $(readlink /proc/self/ns/mnt) $(pwd) $(tr -d '\\n') >> {log}");
            config = config.push(&format!("/hooks/{kind}"), sh(&script));
        }
    }
    let bundle = runtime.bundle(&config);
    let read = |path: &std::path::Path| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.splitn(5, ' ').map(str::to_owned).collect()).collect()
    };
    let outside = || read(log.as_ref());
    let inside = || read(&bundle.join("rootfs/tmp/log"));
    let order =
        |lines: &[Vec<String>]| lines.iter().map(|line| line[..line.len().min(2)].join(" ")).collect::<Vec<_>>();
    let twice =
        |kinds: &[&str]| kinds.iter().flat_map(|kind| [format!("{kind} 1"), format!("{kind} 2")]).collect::<Vec<_>>();

    let container = runtime.create_with(&bundle, &[]);
    assert_eq!(order(&outside()), twice(&["prestart", "createRuntime", "createContainer"]));
    assert_eq!(order(&inside()), Vec::<String>::new());
    let pid = container.pid();
    container.start();
    assert!(wait_until(5, || inside().len() == 3));
    assert_eq!(order(&inside()), [twice(&["startContainer"]), vec!["program".to_owned()]].concat());
    assert_eq!(order(&outside())[6..], twice(&["poststart"]));
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap().display().to_string();
    container.ok(&["kill"], &["KILL"]);
    container.wait();
    container.ok(&["delete"], &[]);
    assert_eq!(order(&outside())[8..], twice(&["poststop"]));

    let real = bundle.canonicalize().unwrap().display().to_string();
    for line in outside().iter().chain(&inside()[..2]) {
        let [kind, _, namespace, directory, state] = &line[..] else { panic!("{line:?}") };
        let state: Value = serde_json::from_str(state).unwrap();
        let (status, in_container) = match kind.as_str() {
            "prestart" | "createRuntime" => ("creating", false),
            "createContainer" => ("creating", true),
            "startContainer" => ("created", true),
            "poststart" => ("running", false),
            _ => ("stopped", false),
        };
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(*namespace, if in_container { theirs.clone() } else { own.clone() }, "{kind}");
        assert_eq!(state["id"], container.id.as_str(), "{kind}");
        assert_eq!(state["bundle"], real.as_str(), "{kind}");
        assert_eq!(state["ociVersion"], "1.3.0", "{kind}");
        assert_eq!(state["annotations"], json!({ "a.key": "value" }), "{kind}");
        if !in_container && kind != "poststop" {
            assert_eq!(state["pid"], pid, "{kind}");
        }
        assert_eq!(*directory, if kind == "startContainer" { "/".to_owned() } else { real.clone() }, "{kind}");
    }
}

#[test]
fn a_hook_has_the_words_and_variables_that_it_is_given() {
    let Some(runtime) = Runtime::new("hook words") else { return };
    let log = runtime.scratch.path("log");
    let script = format!("echo \"$0|$1|$ONE|$HOME\" > {log}");
    let hook =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "a b"], "env": ["ONE=1"], "timeout": 20 });
    runtime.run_ok(&Config::sh("true").set("/hooks/createRuntime", json!([hook])));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "zero|a b|1|\n");
    for (hook, expected) in [
        (json!({ "path": "bin/sh" }), "not absolute"),
        (json!({ "path": "/bin/sh", "timeout": 0 }), "timeout"),
        (json!({ "path": "/bin/sh", "timeout": -1 }), "timeout"),
        (json!({ "path": "/no/such/hook" }), "/no/such/hook"),
        (json!({ "args": ["sh"] }), "path"),
    ] {
        for kind in ["prestart", "createContainer"] {
            let said = runtime.run_fails(&Config::sh("true").set(&format!("/hooks/{kind}"), json!([hook.clone()])));
            assert!(said.contains(expected), "{kind} {hook}: {said}");
        }
    }
}

#[test]
fn a_hook_that_fails_ends_the_container_or_is_a_warning() {
    let Some(runtime) = Runtime::new("failing hooks") else { return };
    let log = runtime.scratch.path("log");
    let config = |kind: &str, script: &str| {
        Config::sh(SLEEP).set(&format!("/hooks/{kind}"), json!([sh(script), sh(&format!("echo {kind} 2 >> {log}"))]))
    };
    let script = "echo no luck >&2; exit 3";
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = runtime.bundle(&config(kind, script));
        for verb in ["create", "run"] {
            let said = runtime.fails(&[verb, "-b", bundle.to_str().unwrap(), &runtime.id()]);
            let reported = if kind == "prestart" { "createRuntime" } else { kind };
            assert!(
                said.contains(&format!("the {reported} hook /bin/sh failed: it ended with status 3: no luck")),
                "{said}"
            );
            assert_eq!(runtime.left(), Vec::<String>::new(), "{kind}");
        }
    }
    for kind in ["startContainer", "poststart"] {
        let container = runtime.create(&config(kind, script));
        let said = container.fails(&["start"], &[]);
        assert!(said.contains(&format!("the {kind} hook")) && said.contains("no luck"), "{said}");
        assert!(wait_until(5, || container.status() == "stopped"), "{kind}");
        if kind == "startContainer" {
            assert_eq!(container.out(), "", "its program did not run");
        }
        container.ok(&["delete"], &[]);
    }
    assert!(!std::path::Path::new(&log).exists(), "what comes after a hook that failed is not run");
    // At the end it is a warning, and the next hook runs.
    let container = runtime.start(&config("poststop", script));
    let output = container.output(&["delete", "--force"], &[]);
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("the poststop hook") && stderr(&output).contains("no luck"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "poststop 2\n");
    assert_eq!(runtime.left(), Vec::<String>::new());
}

#[test]
fn a_hook_that_takes_too_long_is_ended_with_all_that_it_has_started() {
    let Some(runtime) = Runtime::new("hook timeout") else { return };
    let mut hook = sh(&format!("sleep 1000 & echo {}; sleep 1000", runtime.tag));
    hook["timeout"] = json!(1);
    hook["env"] = json!(["PATH=/usr/bin:/bin", format!("MCTEST={}", runtime.tag)]);
    let begun = Instant::now();
    let said = runtime.run_fails(&Config::sh("true").set("/hooks/createRuntime", json!([hook])));
    assert!(said.contains("timeout of 1 s") && said.contains("was killed"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_service_manager_is_reached_from_inside() {
    let Some(runtime) = Runtime::new("sd_notify") else { return };
    let path = runtime.scratch.path("notify.sock");
    let _socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let bundle = runtime.bundle(&Config::sh("echo $NOTIFY_SOCKET; stat -c '%F %i' $NOTIFY_SOCKET"));
    let id = runtime.id();
    let mut command = runtime.command(&["run", "-b", bundle.to_str().unwrap(), &id]);
    command.env("NOTIFY_SOCKET", &path);
    let output = crate::oci::finish(command, "run");
    let expected = format!("/run/notify/notify.sock\nsocket {inode}\n");
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    assert_eq!(stdout(&runtime.run_bundle(&bundle, &[])).lines().next(), Some(""), "and only then");
}

#[test]
fn sockets_of_a_service_manager_are_passed_on() {
    let Some(runtime) = Runtime::new("LISTEN_FDS") else { return };
    let [one, two] = ["one", "two"].map(|name| runtime.scratch.file(name, format!("{name}\n"), 0o600));
    let bundle = runtime.bundle(&Config::sh("echo $LISTEN_FDS $LISTEN_PID; { cat <&3; cat <&4; } 2>/dev/null; :"));
    let run = |listen_pid: &str| {
        let id = runtime.id();
        let script = format!(r#"exec 3<"$1" 4<"$2"; shift 2; export LISTEN_FDS=2 LISTEN_PID={listen_pid}; exec "$@""#);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", &one, &two, crate::common::tool(), "runtime", "--root"]);
        command.args([&runtime.scratch.path("records"), "run", "-b", bundle.to_str().unwrap(), &id]);
        let output = crate::oci::finish(command, "run");
        stdout(&output) + &stderr(&output)
    };
    assert_eq!(run("$$"), "2 1\none\ntwo\n");
    assert_eq!(run("1"), "\n", "they are meant for another process");
}

/// A process that is killed when it goes out of scope.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_answers_the_questions_of_a_filter() {
    let Some(runtime) = Runtime::new("seccomp notify") else { return };
    let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oci/agent.py");
    let path = runtime.scratch.path("agent.sock");
    let started = Command::new("python3").args([agent, &path, "2"]).stdout(Stdio::piped()).spawn();
    if !need("seccomp notify", started.is_ok(), "python3 is not there") {
        return;
    }
    let mut python = Ended(started.unwrap());
    assert!(wait_until(10, || std::path::Path::new(&path).exists()));
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "some metadata",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
    });
    let config = Config::sh("mkdir /tmp/x 2>&1; echo ready; exec sleep 1000").set("/linux/seccomp", seccomp);
    let container = runtime.start(&config.clone().set("/annotations", json!({ "a.key": "value" })));
    container.expect("ready");
    assert_eq!(container.out(), "mkdir: can't create directory '/tmp/x': No medium found\nready\n");
    // A process that joins has a filter, and so a listener, of its own.
    let output = container.output(&["exec"], &["mkdir", "/tmp/y"]);
    assert!(stderr(&output).contains("No medium found"), "{}", stderr(&output));
    let mut lines = BufReader::new(python.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let [first, second] = [(); 2].map(|()| serde_json::from_str::<Value>(&lines.next().unwrap()).unwrap());
    drop(python);
    let pid = container.pid();
    assert_eq!(first["ociVersion"], "1.3.0");
    assert_eq!(first["fds"], json!(["seccompFd"]));
    assert_eq!(first["pid"], pid);
    assert_eq!(first["metadata"], "some metadata");
    assert_eq!(first["state"]["id"], container.id.as_str());
    assert_eq!(first["state"]["pid"], pid);
    assert_eq!(first["state"]["annotations"], json!({ "a.key": "value" }));
    assert_eq!(second["state"]["id"], container.id.as_str());
    assert_ne!(second["pid"], pid, "it is another process");
    // Nobody there: an error, and nothing is left.
    let said = runtime.run_fails(&config.set("/linux/seccomp/listenerPath", json!("/no/such/agent")));
    assert!(said.contains("/no/such/agent"), "{said}");
    // Without a rule that asks, the listener is not looked at.
    let quiet = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/agent" });
    assert_eq!(runtime.run_ok(&Config::sh("echo ran").set("/linux/seccomp", quiet)), "ran\n");
}

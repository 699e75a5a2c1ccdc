//! `--explain`: every step told, in order, as text or as JSON, and nothing paid for it when it is off.

use crate::common::{busybox_root, can_run, need, run, run_ok, stderr, tool};
use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// What the container's side always does, in this order: the order that its safety rests on.
const INSIDE: &[&str] = &[
    "join-cgroup",
    "cgroup-namespace",
    "private-mounts",
    "attach-root",
    "mount-proc",
    "mask-paths",
    "seal-paths",
    "pivot-root",
    "become-user",
    "find-program",
    "wait-for-start",
    "load-seccomp",
    "drop-capabilities",
];

/// What it does as well, in whatever order is quickest.
const INSIDE_TOO: &[&str] = &[
    "set-hostname",
    "raise-loopback",
    "write-files",
    "mount-devpts",
    "mount-sys",
    "mount-cgroup",
    "mount-mqueue",
    "mount-tmpfs",
    "make-devices",
    "put-files",
    "forget-keys",
    "drop-bounding-set",
    "change-directory",
    "seal-descriptors",
];

/// What the tool's side does for a copy-on-write container with a network, in this order.
const OUTSIDE: &[&str] = &[
    "write-record",
    "make-layer",
    "mount-overlay",
    "ensure-bridge",
    "ensure-nat",
    "lease-address",
    "make-cgroup",
    "clone-namespaces",
    "make-veth",
    "configure-link",
    "start",
    "remove-cgroup",
    "release-address",
    "remove-layer",
    "remove-record",
];

/// Steps that one container takes several times, or that concern others: what was left by killed tools.
const REPEATED: &[&str] =
    &["mount-tmpfs", "mount-overlay", "attach-tree", "open-source", "bind-volume", "sweep-container", "sweep-lease"];

fn steps(output: &Output) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
    stderr(output).lines().map(parse).collect()
}

fn names(steps: &[Value], side: &str) -> Vec<String> {
    let of_side = steps.iter().filter(|step| step["side"] == side);
    of_side.map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

fn assert_in_order(told: &[String], expected: &[&str]) {
    let mut rest = told.iter();
    for name in expected {
        assert!(rest.any(|told| told == name), "{name} is missing or out of order in {told:?}");
    }
}

#[test]
fn json_tells_every_step_once_and_in_order() {
    if !can_run("json_tells_every_step_once_and_in_order") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let output = run(&["--explain=json", "--ephemeral", root, "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    let steps = steps(&output);
    for step in &steps {
        let object = step.as_object().unwrap();
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(keys, ["at_us", "error", "side", "step", "took_us", "what", "why"], "{step}");
        assert!(step["took_us"].is_u64() && step["at_us"].is_u64() && step["error"].is_null(), "{step}");
        for text in ["step", "what", "why"] {
            assert!(!step[text].as_str().unwrap().is_empty(), "{step}");
        }
        let name = step["step"].as_str().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
    }
    assert_in_order(&names(&steps, "tool"), OUTSIDE);
    let inside = names(&steps, "container");
    // On cgroup v2 the first process is born into its group.
    let joins = std::path::Path::new("/sys/fs/cgroup/memory").exists();
    assert_in_order(&inside, if joins { INSIDE } else { &INSIDE[1..] });
    for name in INSIDE_TOO {
        assert!(inside.iter().any(|told| told == name), "{name} is missing in {inside:?}");
    }
    for side in ["tool", "container"] {
        let mut told = names(&steps, side);
        told.retain(|name| !REPEATED.contains(&name.as_str()));
        let mut once = told.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), told.len(), "a step is told twice: {told:?}");
        let times: Vec<u64> =
            steps.iter().filter(|s| s["side"] == side).map(|s| s["at_us"].as_u64().unwrap()).collect();
        assert!(times.is_sorted(), "{side}: {times:?}");
    }
}

#[test]
fn what_was_asked_for_is_told() {
    if !can_run("what_was_asked_for_is_told") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let flags = "--network none --read-only --memory 64m --pids-limit 50 --cpus 0.5 --ulimit nofile=99 -v /etc:/mnt -w /tmp \
                 --sysctl kernel.msgmax=9000 --security-opt no-new-privileges -u 1000";
    let mut words: Vec<&str> = flags.split_whitespace().collect();
    words.extend(["--explain=json", root, "true"]);
    let output = run(&words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let steps = steps(&output);
    let expected = [
        ("open-root", root),
        ("limit-memory", "67108864"),
        ("limit-pids", "50"),
        ("limit-cpu", "50000"),
        ("set-ulimit", "99"),
        ("open-source", "/etc"),
        ("bind-volume", "/mnt"),
        ("set-sysctl", "kernel.msgmax"),
        ("change-directory", "/tmp"),
        ("readonly-root", "read-only"),
        ("no-new-privs", "no_new_privs"),
        ("become-user", "uid 1000"),
    ];
    for (name, word) in expected {
        let step = steps.iter().find(|step| step["step"] == name);
        let step = step.unwrap_or_else(|| panic!("{name} is missing in {:?}", names(&steps, "tool")));
        assert!(step["what"].as_str().unwrap().contains(word), "{step}");
    }
    for absent in ["lease-address", "make-veth", "make-layer", "remove-layer", "open-terminal"] {
        assert!(!steps.iter().any(|step| step["step"] == absent), "{absent}");
    }
}

#[test]
fn text_is_a_line_a_step() {
    if !can_run("text_is_a_line_a_step") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    for flag in ["--explain", "--explain=text"] {
        let output = run(&[flag, "--network", "none", root, "true"]);
        assert_eq!(output.status.code(), Some(0));
        let text = stderr(&output);
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [at, "us", took, "us", side, _step, _what, ..] = words[..] else { panic!("{line:?}") };
            assert!(at.parse::<u64>().is_ok() && took.parse::<u64>().is_ok(), "{line:?}");
            assert!(matches!(side, "tool" | "container"), "{line:?}");
            assert!(line.ends_with(')'), "no reason in {line:?}");
        }
        for name in ["clone-namespaces", "mount-proc", "pivot-root", "remove-record"] {
            assert_eq!(text.lines().filter(|line| line.contains(&format!("  {name} "))).count(), 1, "{name}");
        }
    }
}

#[test]
fn a_failed_step_says_why() {
    if !can_run("a_failed_step_says_why") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let output = run(&["--explain=json", "--network", "none", root, "no-such-program"]);
    assert_eq!(output.status.code(), Some(127));
    let text = stderr(&output);
    let told: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let failed: Vec<&Value> = told.iter().filter(|step| !step["error"].is_null()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["step"], "find-program");
    assert!(failed[0]["error"].as_str().unwrap().contains("no-such-program"));
    assert!(told.iter().any(|step| step["step"] == "remove-record"), "what was made is removed all the same");
    let output = run(&["--explain", "--network", "none", "-v", "/etc:/bin/busybox", root, "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("FAILED: "), "{}", stderr(&output));
}

#[test]
fn an_unknown_format_is_refused() {
    let output = run(&["--explain=yaml", "host", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("text and json"), "{}", stderr(&output));
}

#[test]
fn the_program_has_no_part_in_it() {
    if !can_run("the_program_has_no_part_in_it") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let text = run_ok(&["--explain", "--network", "none", root, "ls", "/proc/self/fd"]);
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "3 is what ls reads");
}

#[test]
fn off_it_costs_nothing() {
    if !can_run("off_it_costs_nothing") {
        return;
    }
    if !need("off_it_costs_nothing", Command::new("strace").arg("-V").output().is_ok(), "it needs strace") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let plain = ["--network", "none", root, "true"];
    assert_eq!(stderr(&run(&plain)), "");
    // The sweep of what other tests have left adds some, to one run or another.
    let fewest = |words: &[&str]| (0..5).map(|_| writes(words)).min_by_key(|(writes, _)| *writes).unwrap();
    let (off, _) = fewest(&plain);
    let (on, output) = fewest(&[&["--explain=json"][..], &plain].concat());
    let told = steps(&output).len();
    assert!(told > 30, "{told}");
    let besides = on.saturating_sub(told);
    assert!(off <= besides + 3, "{off} writes without, {on} with {told} steps told");
    assert!(besides <= off + 3, "more than one write a step: {off} writes without, {on} with {told} steps told");
}

/// How many writes the tool and the container's side of it make.
fn writes(words: &[&str]) -> (usize, Output) {
    let file = std::env::temp_dir().join(format!("{}.strace", crate::common::traces::unique("explain")));
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=write", "-o"])
        .arg(&file)
        .args([tool(), "run", "--rm"])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    (text.lines().filter(|line| line.contains("write(")).count(), output)
}

//! `pod create`, `pod start` and `pod rm`, killed before and after each step that `--explain` names: the next command finds a
//! pod that is whole, or none, and nothing else of it.

use crate::common::faulty::fault_tool;
use crate::common::life::Life;
use crate::common::{Scratch, busybox_root, code, stderr, stdout, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Output, Stdio};

/// A verb, with what is there before it.
struct Case {
    verb: &'static [&'static str],
    /// A pod with a container that is only made; or nothing.
    has_pod: bool,
    /// What a pod that is there has afterwards.
    containers: &'static [usize],
}

fn prepare(life: &Life, case: &Case) {
    if case.has_pod {
        life.ok(&["pod", "create", "web"]);
        let root = busybox_root().to_str().unwrap();
        life.note(life.ok(&["create", "--pod", "web", "--name", "one", "--ephemeral", root, "sleep", "1000"]));
    }
}

fn run(life: &Life, words: &[&str], fault: &str) -> Output {
    life.host.command(fault_tool().to_str().unwrap(), words).env("MYCONTAINER_FAULT", fault).output().unwrap()
}

/// The steps of a verb, and whether the container's side takes them.
fn steps(life: &Life, case: &Case) -> BTreeSet<String> {
    prepare(life, case);
    let scratch = Scratch::new("steps");
    let file = std::fs::File::create(scratch.path("steps")).unwrap();
    let words = [&case.verb[..2], &["--explain=json"], &case.verb[2..]].concat();
    let mut command = life.host.command(fault_tool().to_str().unwrap(), &words);
    assert!(command.stdout(Stdio::null()).stderr(file).status().unwrap().success());
    let text = std::fs::read_to_string(scratch.path("steps")).unwrap();
    let steps = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a step is JSON"));
    let steps = steps.map(|step| step["step"].as_str().unwrap().to_owned()).collect();
    clear(life);
    steps
}

fn clear(life: &Life) {
    life.ok(&["pod", "rm", "-f", "-i", "web"]);
    life.tool(&["rm", "-f", "one"]);
}

/// What is wrong after it.
fn complaints(life: &Life, case: &Case, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    let listed = life.tool(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"]);
    // The next command, which clears away; and what it says.
    for words in [&["pod", "ps"][..], &["ps", "-a"]] {
        let next = life.tool(words);
        if !next.status.success() || !next.stderr.is_empty() {
            found.push(format!("{what}: {words:?}: {}", stderr(&next)));
        }
    }
    let shown = life.tool(&["pod", "inspect", "-f", "{{.NumContainers}}", "web"]);
    let count: Option<usize> = stdout(&shown).trim().parse().ok();
    let all = stdout(&life.tool(&["ps", "-aq"])).lines().count();
    match count {
        Some(count) if case.containers.contains(&count) && all == count => {}
        // A pod that is gone has no containers.
        None if all == 0 => {}
        _ => found.push(format!("{what}: the pod has {count:?} containers, and there are {all}: {}", stdout(&listed))),
    }
    // A command that sweeps.
    let probe = life.tool(&["create", busybox_root().to_str().unwrap()]);
    let removed = life.tool(&["rm", stdout(&probe).trim()]);
    if !probe.stderr.is_empty() || !removed.stderr.is_empty() {
        found.push(format!("{what}: a command that sweeps: {}{}", stderr(&probe), stderr(&removed)));
    }
    let records = life.names("/var/lib/mycontainer/pods");
    if records.len() != usize::from(count.is_some()) {
        found.push(format!("{what}: of {count:?} containers there is {records:?}"));
    }
    // Whatever there is, it can be started, and made again.
    if count.is_some_and(|count| count > 1) {
        let started = life.tool(&["pod", "start", "web"]);
        if !started.status.success() || life.state("one").0 != "running" {
            found.push(format!("{what}: it cannot be started: {}", stderr(&started)));
        }
    }
    let again = life.tool(&["pod", "create", "--replace", "web"]);
    if !again.status.success() {
        found.push(format!("{what}: it cannot be made again: {}", stderr(&again)));
    }
    clear(life);
    for directory in [
        "/run/mycontainer/containers",
        "/run/mycontainer/attach",
        "/var/lib/mycontainer/containers",
        "/var/lib/mycontainer/names",
        "/var/lib/mycontainer/pods",
    ] {
        // A monitor whose command was killed may be at its end still.
        if !wait_until(3, || life.names(directory).is_empty()) {
            found.push(format!("{what}: {directory} has {:?}", life.names(directory)));
        }
    }
    found
}

fn at_every_step(test: &str, case: &Case, must_have: &[&str]) {
    let Some(life) = Life::new(test) else { return };
    let steps = steps(&life, case);
    for step in must_have {
        assert!(steps.contains(*step), "{step} is not told: {steps:?}");
    }
    let (mut found, mut died) = (Vec::new(), 0);
    for step in &steps {
        for when in ["before", "after"] {
            prepare(&life, case);
            let fault = format!("tool:{when}:{step}");
            let output = run(&life, case.verb, &fault);
            let what = format!("{fault} in {}", case.verb.join(" "));
            match code(output.status) {
                // It had come to its end first: a monitor of its own takes some of them.
                0 => {}
                137 => died += 1,
                code => found.push(format!("{what}: ended with {code}: {}", stderr(&output))),
            }
            found.extend(complaints(&life, case, &what));
        }
    }
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
    assert!(died > 2, "hardly anything was killed: {died} of {steps:?}");
}

#[test]
fn create_killed_at_any_step() {
    let case = Case { verb: &["pod", "create", "web"], has_pod: false, containers: &[1] };
    at_every_step("create_killed_at_any_step", &case, &["write-pod", "make-directory", "write-created"]);
}

#[test]
fn create_without_an_infra_container_killed_at_any_step() {
    let case = Case { verb: &["pod", "create", "--infra=false", "web"], has_pod: false, containers: &[0] };
    let Some(life) = Life::new("create_without_an_infra_container_killed_at_any_step") else { return };
    assert!(steps(&life, &case).contains("write-pod"));
    for (when, is_there) in [("before", false), ("after", true)] {
        let output = run(&life, case.verb, &format!("tool:{when}:write-pod"));
        assert_eq!(code(output.status), 137);
        life.ok(&["ps", "-a"]);
        assert_eq!(life.tool(&["pod", "exists", "web"]).status.success(), is_there, "{when}");
        assert_eq!(life.names("/var/lib/mycontainer/pods").len(), usize::from(is_there), "{when}");
        life.ok(&["pod", "rm", "-i", "web"]);
    }
}

#[test]
fn start_killed_at_any_step() {
    let case = Case { verb: &["pod", "start", "web"], has_pod: true, containers: &[2] };
    at_every_step("start_killed_at_any_step", &case, &["spawn-monitor", "write-record", "start"]);
}

#[test]
fn rm_killed_at_any_step() {
    // With its container, or without.
    let case = Case { verb: &["pod", "rm", "-f", "web"], has_pod: true, containers: &[1, 2] };
    at_every_step("rm_killed_at_any_step", &case, &["remove-container", "remove-pod"]);
}

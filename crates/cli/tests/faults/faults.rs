//! `kill -9` at every step that `--explain` names, and at random instants: the next command leaves nothing behind.
//!
//! Needs the binary with the feature `fault-injection`: its path in MYCONTAINER_FAULT_BIN, else it is built here into
//! target/fault. A kill of one container is told from others by its name and id, so that other containers may run at the
//! same time; but what the idle network leaves can only be judged when nobody uses it, so `make test` runs this file
//! by itself (`cargo test -p mycontainer --test faults faults::`).

use crate::common::faulty::fault_tool;
use crate::common::pty::{wait_at_most, wait_for};
use crate::common::traces::{comm, left_of, processes_with, unique};
use crate::common::{busybox_root, can_run, has_one_id, stderr, user_of_tool};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// One fault at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Which an ordinary user cannot ask for here.
const LIMITS: &str = "--memory 64m --pids-limit 50 --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0";

/// The words of `run` that together take every step. ROOT is the busybox root, ARCHIVE a tar of it.
const RUNS: &[&str] = &[
    "-p 80 -p 127.0.0.1::80/udp host true",
    "--network none --init -t -v /etc:/mnt LIMITS --ulimit nofile=99 --sysctl kernel.msgmax=9000 --read-only --security-opt no-new-privileges USER -w /tmp host true",
    "--network none ROOT true",
    "--network none ARCHIVE true",
];

/// What a first process ends with that a fault has made end itself.
const DIED: i32 = 134;

/// Steps of a successful run that are never told, for they do not return.
const UNTOLD: &[(&str, usize)] = &[("exec", 0), ("exec-init", 1)];

fn words(run: &str) -> Vec<String> {
    let place = |word: &str| match word {
        "ROOT" => busybox_root().display().to_string(),
        "ARCHIVE" => archive().display().to_string(),
        word => word.to_owned(),
    };
    let limits = if user_of_tool().is_some() { "" } else { LIMITS };
    let user = if has_one_id() { "-u 0" } else { "-u 1000" };
    run.replace("LIMITS", limits).replace("USER", user).split_whitespace().map(place).collect()
}

fn archive() -> PathBuf {
    busybox_root().with_extension("tar")
}

/// A run under way, whose steps are told to a file: what outlives the tool would keep a pipe open.
struct Run {
    tool: Child,
    steps: PathBuf,
}

/// How a run ended: the tool's status, the first digits of the container's id, and what it told.
struct Ended {
    code: Option<i32>,
    id: Option<String>,
    steps: Vec<Value>,
    text: String,
}

/// Starts `run` with this fault, or none.
fn spawn(run: &str, name: &str, fault: Option<&str>) -> Run {
    let steps = std::env::temp_dir().join(format!("mycontainer-test-{name}.steps"));
    let mut command = Command::new(fault_tool());
    command.args(["run", "--rm", "--explain=json", "--name", name, "-e", &format!("MARK={name}")]).args(words(run));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&steps).unwrap());
    if let Some(fault) = fault {
        command.env("MYCONTAINER_FAULT", fault);
    }
    Run { tool: command.spawn().unwrap(), steps }
}

impl Run {
    fn end(mut self) -> Ended {
        let code = self.tool.wait().unwrap().code();
        let text = std::fs::read_to_string(&self.steps).unwrap();
        std::fs::remove_file(&self.steps).unwrap();
        let steps: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let record = steps.iter().find(|step| step["step"] == "write-record");
        let id = record.and_then(|step| step["what"].as_str()?.rsplit(' ').next().map(str::to_owned));
        Ended { code, id, steps, text }
    }
}

/// The next command: an ordinary one, without a fault.
fn next_command() {
    let root = busybox_root().to_str().unwrap();
    let output = Command::new(fault_tool())
        .args(["run", "--rm", "--network", "none", root, "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "the next command: {}", stderr(&output));
}

/// Complaints about what outlives a killed tool, before and after the next command.
fn complaints(what: &str, name: &str, id: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let alive = || processes_with(name);
    if wait_at_most(Duration::from_secs(2), || alive().is_empty().then_some(())).is_none() {
        let who: Vec<String> = alive().iter().map(|pid| format!("{pid} {}", comm(*pid))).collect();
        found.push(format!("{what}: processes live on: {who:?}"));
    }
    next_command();
    let is_veth = |path: &String| path.starts_with("/sys/class/net");
    let left: Vec<String> = left_of(name, id).into_iter().filter(|path| !is_veth(path)).collect();
    if !left.is_empty() {
        found.push(format!("{what}: the next command leaves {left:?}"));
    }
    // The kernel takes a veth away with its network namespace, a moment after the last process in that.
    if wait_at_most(Duration::from_secs(2), || (!left_of(name, id).iter().any(is_veth)).then_some(())).is_none() {
        found.push(format!("{what}: the veth stays"));
    }
    found
}

/// One fault, the next command, and what is wrong after it.
fn try_fault(run: &str, fault: &str) -> Vec<String> {
    let name = unique("fault");
    let ended = spawn(run, &name, Some(fault)).end();
    let what = format!("{fault} in `run {run}`");
    let mut found = Vec::new();
    match (fault.starts_with("tool:"), ended.code) {
        // It was killed, or had come to its end first.
        (true, None | Some(0)) | (false, Some(125 | DIED)) => {}
        (_, code) => {
            found.push(format!("{what}: ended with {code:?}: {}", ended.text.lines().last().unwrap_or_default()))
        }
    }
    found.extend(complaints(&what, &name, ended.id.as_deref()));
    found
}

/// Each step with the first run that takes it and the side that does.
fn all_steps() -> Vec<(String, &'static str, bool)> {
    let mut known = BTreeSet::new();
    let mut steps = Vec::new();
    for run in RUNS {
        if run.contains("ARCHIVE") {
            // As if it had never been seen.
            forget_archive();
        }
        let ended = spawn(run, &unique("plain"), None).end();
        assert_eq!(ended.code, Some(0), "run {run}: {}", ended.text);
        for step in ended.steps {
            let name = step["step"].as_str().unwrap().to_owned();
            if known.insert(name.clone()) {
                steps.push((name, *run, step["side"] == "container"));
            }
        }
    }
    steps.extend(UNTOLD.iter().map(|(name, run)| ((*name).to_owned(), RUNS[*run], true)));
    assert!(steps.len() > 55, "{} steps: {steps:?}", steps.len());
    steps
}

/// Makes the archive new, so that it is unpacked again; what was unpacked before goes.
fn forget_archive() {
    remove_archive();
    std::fs::write(busybox_root().join("fresh"), unique("fresh")).unwrap();
    let path = archive();
    let done = Command::new("tar").arg("-C").arg(busybox_root()).arg("-cf").arg(&path).arg(".").status().unwrap();
    assert!(done.success());
}

/// Removes the archive and its unpacked root, which is kept by the archive's digest.
fn remove_archive() {
    let path = archive();
    let summed = Command::new("sha256sum").arg(&path).output().unwrap();
    let digest = String::from_utf8_lossy(&summed.stdout).split_whitespace().next().unwrap_or_default().to_owned();
    let _ = std::fs::remove_file(path);
    if digest.len() == 64 {
        let _ = std::fs::remove_dir_all(format!("/var/lib/mycontainer/roots/sha256-{digest}"));
    }
}

fn every_step(who: &str, when: &str, wanted: impl Fn(bool) -> bool) {
    let _one = alone();
    let mut found = Vec::new();
    for (step, run, in_container) in all_steps() {
        if !wanted(in_container) || (step.starts_with("exec") && when == "after") {
            continue;
        }
        if run.contains("ARCHIVE") {
            forget_archive();
        }
        found.extend(try_fault(run, &format!("{who}:{when}:{step}")));
    }
    remove_archive();
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_tool_killed_before_any_step_leaves_nothing() {
    if can_run("a_tool_killed_before_any_step_leaves_nothing") {
        every_step("tool", "before", |_| true);
    }
}

#[test]
fn a_tool_killed_after_any_step_leaves_nothing() {
    if can_run("a_tool_killed_after_any_step_leaves_nothing") {
        every_step("tool", "after", |_| true);
    }
}

#[test]
fn a_first_process_that_dies_at_any_step_leaves_nothing() {
    if can_run("a_first_process_that_dies_at_any_step_leaves_nothing") {
        every_step("self", "before", |in_container| in_container);
        every_step("self", "after", |in_container| in_container);
    }
}

#[test]
fn a_first_process_that_dies_before_it_is_the_program_is_a_failure() {
    if !can_run("a_first_process_that_dies_before_it_is_the_program_is_a_failure") {
        return;
    }
    let _one = alone();
    for step in ["private-mounts", "mount-proc", "pivot-root", "wait-for-start", "become-user", "seal-descriptors"] {
        let ended = spawn("--network none ROOT true", &unique("early"), Some(&format!("self:before:{step}"))).end();
        assert_eq!(ended.code, Some(125), "{step}: {}", ended.text);
        assert!(ended.text.contains("\nmycontainer: "), "{step}: {}", ended.text);
    }
}

#[test]
fn a_sweep_that_is_killed_is_finished_by_the_next() {
    if !can_run("a_sweep_that_is_killed_is_finished_by_the_next") {
        return;
    }
    let _one = alone();
    let mut found = Vec::new();
    for fault in [
        "tool:before:sweep-container",
        "tool:after:sweep-container",
        "tool:before:remove-cgroup",
        "tool:after:release-address",
        "tool:after:remove-layer",
    ] {
        let (first, second) = (unique("first"), unique("second"));
        let first_id = spawn("host true", &first, Some("tool:after:start")).end().id;
        let second_id = spawn("host true", &second, Some(fault)).end().id;
        found.extend(complaints(&format!("{fault} (the first)"), &first, first_id.as_deref()));
        found.extend(complaints(&format!("{fault} (the second)"), &second, second_id.as_deref()));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_name_of_a_killed_tool_is_free() {
    if !can_run("a_name_of_a_killed_tool_is_free") {
        return;
    }
    let _one = alone();
    let name = unique("again");
    let ended = spawn("--network none ROOT true", &name, Some("tool:after:start")).end();
    assert_eq!(ended.code, None);
    let ended = spawn("--network none ROOT true", &name, None).end();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert_eq!(complaints("again", &name, ended.id.as_deref()), Vec::<String>::new());
}

#[test]
fn a_tool_killed_at_any_instant_leaves_nothing() {
    if !can_run("a_tool_killed_at_any_instant_leaves_nothing") {
        return;
    }
    let _one = alone();
    let mut found = Vec::new();
    let mut seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    for round in 0..60 {
        let name = unique("random");
        let run = ["host sleep 5", "--network none ROOT sleep 5"][round % 2];
        let mut run_under_way = spawn(run, &name, None);
        // xorshift: up to 30 ms
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let delay = Duration::from_micros(seed % 30_000);
        std::thread::sleep(delay);
        run_under_way.tool.kill().unwrap();
        let id = run_under_way.end().id;
        found.extend(complaints(&format!("kill -9 of `run {run}` after {delay:?}"), &name, id.as_deref()));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What the network has on the host: table, marked rules, bridge, veths, leases.
fn network_left() -> Vec<String> {
    let ask = |command: &str| {
        let words: Vec<&str> = command.split(' ').collect();
        let output = Command::new(words[0]).args(&words[1..]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    let mut left: Vec<String> =
        ask("nft list ruleset").lines().filter(|l| l.contains("mycontainer")).map(str::to_owned).collect();
    left.extend(ask("ip -o link").lines().filter(|line| line.contains("mycontainer0")).map(str::to_owned));
    left.extend(Path::new("/run/mycontainer/network/leases").exists().then(|| "leases".to_owned()));
    left
}

#[test]
fn the_idle_network_goes_even_when_its_janitor_is_killed() {
    if !can_run("the_idle_network_goes_even_when_its_janitor_is_killed") {
        return;
    }
    let _one = alone();
    for fault in [
        "self:before:remove-rules",
        "self:after:remove-rules",
        "self:after:remove-bridge",
        "self:before:remove-leases",
        "tool:before:start-janitor",
        "tool:after:start-janitor",
    ] {
        // The janitor that is to die has to be the one that this run starts.
        wait_for("the network to be idle", || network_left().is_empty().then_some(()));
        let ended = spawn("host true", &unique("janitor"), Some(fault)).end();
        assert!(matches!(ended.code, Some(0) | None), "{fault}: {}", ended.text);
        std::thread::sleep(Duration::from_millis(if fault.starts_with("self") { 1300 } else { 0 }));
        next_command();
        let gone = wait_at_most(Duration::from_secs(5), || network_left().is_empty().then_some(()));
        assert!(gone.is_some(), "{fault}: {:?}", network_left());
    }
}

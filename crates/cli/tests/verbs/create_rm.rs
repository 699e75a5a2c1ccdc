//! `create --rm`: a container that waits for its start, and goes when it has ended.

use crate::common::life::Life;
use crate::common::{busybox_root, code, kill, stderr, stdout, wait_until};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Creates one with a volume that nobody named: its id.
fn create(life: &Life, script: &str) -> String {
    life.note(life.ok(&life.words(&["create", "--rm"], &["--name", "pp", "-v", "/own"], script)))
}

#[track_caller]
fn assert_gone(life: &Life, id: &str) {
    let is_gone = || life.names("/var/lib/mycontainer/containers").is_empty();
    assert!(wait_until(10, is_gone), "it stays: {}", life.ok(&["ps", "-a"]));
    life.assert_at_rest(id);
    assert_eq!(life.ok(&["ps", "-aq"]), "");
    assert_eq!(life.names("/var/lib/mycontainer/names"), [""; 0]);
    assert_eq!(life.ok(&["volume", "ls", "-q"]), "", "its volume stays");
}

#[test]
fn it_waits_for_its_start_and_goes_at_its_end() {
    let Some(life) = Life::new("it_waits_for_its_start_and_goes_at_its_end") else { return };
    for (start, script, ends, expected) in [
        (&["start", "pp"][..], "sleep 0.3; exit 4", &[][..], 0),
        (&["start", "pp"], "true", &[], 0),
        (&["start", "pp"], "sleep 1000", &["stop", "-t", "0", "pp"], 0),
        (&["start", "pp"], "sleep 1000", &["kill", "pp"], 0),
        (&["start", "pp"], "sleep 1000", &["rm", "-f", "-v", "pp"], 0),
        (&["start", "-a", "pp"], "echo hi; exit 4", &[], 4),
    ] {
        let id = create(&life, script);
        // Whatever comes before its start, it is there.
        life.ok(&["rm", &life.ok(&["create", busybox_root().to_str().unwrap()])]);
        assert_eq!(life.ok(&["system", "boot"]), "");
        assert_eq!(life.state("pp"), ("created".into(), 0, String::new()));
        assert_eq!(life.field("pp", "HostConfig.AutoRemove"), "true");
        let output = life.tool(start);
        assert_eq!((stderr(&output), code(output.status)), (String::new(), expected), "{start:?}");
        if expected == 4 {
            // Who was there for its end finds nothing afterwards.
            assert_eq!((stdout(&output), life.ok(&["ps", "-aq"])), ("hi\n".into(), String::new()));
        }
        if !ends.is_empty() {
            life.ok(ends);
        }
        assert_gone(&life, &id);
    }
}

#[test]
fn one_that_cannot_be_started_goes_too() {
    let Some(life) = Life::new("one_that_cannot_be_started_goes_too") else { return };
    let root = busybox_root().to_str().unwrap();
    for start in [&["start", "pp"][..], &["start", "-a", "pp"]] {
        let words =
            ["create", "--rm", "--ephemeral", "--network", "none", "--name", "pp", "-v", "/own", root, "/nothing"];
        let id = life.note(life.ok(&words));
        let output = life.tool(start);
        assert!(!output.status.success() && stderr(&output).contains("/nothing"), "{}", stderr(&output));
        assert_gone(&life, &id);
    }
}

#[test]
fn how_it_ended_is_told_to_who_waits() {
    let Some(life) = Life::new("how_it_ended_is_told_to_who_waits") else { return };
    let id = create(&life, "sleep 1; exit 7");
    life.ok(&["start", "pp"]);
    let attached = life.meanwhile(&["attach", "--no-stdin", "pp"]);
    assert_eq!(life.ok(&["wait", "pp"]), "7");
    assert_eq!(code(attached.wait_with_output().unwrap().status), 7);
    assert_gone(&life, &id);
}

#[test]
fn who_is_at_work_on_it_can_finish() {
    let Some(life) = Life::new("who_is_at_work_on_it_can_finish") else { return };
    // As `cp` and `commit` lock it.
    for how in ["--shared", "--exclusive"] {
        let id = create(&life, "sleep 0.5");
        life.ok(&["start", "pp"]);
        let directory = format!("/var/lib/mycontainer/containers/{id}");
        let mut command = life.host.command("flock", &[how, &directory, "sh", "-c", "echo locked; read x"]);
        let mut other = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.as_mut().unwrap()), &mut line).unwrap();
        life.until("pp", "exited");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(life.state("pp"), ("exited".into(), 0, String::new()), "{how}");
        other.stdin.take().unwrap().write_all(b"\n").unwrap();
        other.wait().unwrap();
        assert_gone(&life, &id);
    }
    // And `rm --force`, which waits for its end, does not wait for this.
    let id = create(&life, "sleep 1000");
    life.ok(&["start", "pp"]);
    let begun = Instant::now();
    life.ok(&["rm", "-f", "-v", "pp"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_gone(&life, &id);
}

#[test]
fn after_a_kill_of_its_monitor_the_next_command_removes_it() {
    let Some(life) = Life::new("after_a_kill_of_its_monitor_the_next_command_removes_it") else { return };
    let id = create(&life, "sleep 1000");
    life.ok(&["start", "pp"]);
    kill("KILL", life.monitor("pp"));
    assert!(wait_until(5, || life.ok(&["ps", "-aq"]).is_empty()));
    assert_gone(&life, &id);
}

#[test]
fn what_would_keep_it_is_refused() {
    let Some(life) = Life::new("what_would_keep_it_is_refused") else { return };
    let root = busybox_root().to_str().unwrap();
    let told = life.fails(125, &["create", "--rm", "--restart", "always", root]);
    assert!(told.contains("--restart cannot be used with --rm"), "{told}");
    let told = life.fails(125, &["create", "--rm", "host", "true"]);
    assert!(told.contains("a container of host cannot stay"), "{told}");
    let id = create(&life, "sleep 1000");
    assert!(life.fails(1, &["update", "--restart", "always", "pp"]).contains("goes when it ends"));
    // One that does not run is started; one that does would be gone before.
    life.ok(&["restart", "pp"]);
    let before = life.pid("pp");
    assert!(life.fails(1, &["restart", "pp"]).contains("--rm"));
    assert_eq!(life.pid("pp"), before);
    assert!(life.fails(1, &["generate", "systemd", "pp"]).contains("goes when it ends"));
    life.ok(&["stop", "-t", "0", "pp"]);
    assert_gone(&life, &id);
}

#[test]
fn what_does_not_run_is_pruned() {
    let Some(life) = Life::new("what_does_not_run_is_pruned") else { return };
    let root = busybox_root().to_str().unwrap();
    let create = |flags: &[&str]| life.ok(&[&["create"], flags, &[root, "true"]].concat()).trim().to_owned();
    let old = create(&["--label", "a=b"]);
    let other = create(&["--name", "other"]);
    let runs = life.detached(&["--name", "runs"], "exec sleep 1000");
    let ids = || {
        let listed = life.ok(&["ps", "-aq", "--no-trunc"]);
        let mut ids: Vec<String> = listed.lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| id.trim().to_owned()).collect();
        ids.sort();
        ids
    };
    // Who does not agree keeps all.
    assert_eq!(code(life.tool(&["container", "prune"]).status), 1);
    assert_eq!(ids(), sorted(&[&old, &other, &runs]));
    life.ok(&["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(ids(), sorted(&[&old, &other, &runs]));
    let said = life.ok(&["container", "prune", "-f", "--filter", "label=a=b"]);
    assert_eq!(said, format!("Deleted Containers:\n{old}\n\nTotal reclaimed space: 0B"));
    assert_eq!(ids(), sorted(&[&other, &runs]));
    life.ok(&["system", "prune", "-f"]);
    assert_eq!(ids(), sorted(&[&runs]));
    life.ok(&["rm", "-f", "runs"]);
}

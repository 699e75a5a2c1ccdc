//! `kill -9` of a monitor, and of the commands that start containers in the background, before and after every step that
//! they name: afterwards every container is what it is said to be, can be started or removed, and leaves nothing.
//!
//! Needs the binary with the feature `fault-injection`, as `faults` does.

use crate::common::faulty::fault_tool;
use crate::common::life::Life;
use crate::common::traces::{comm, processes_with, unique};
use crate::common::{Scratch, busybox_root, code, kill, stderr, stdout, user_of_tool, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

const KILLED: &str = "its monitor was killed, and the container with it";

/// What a first process ends with that a fault has made end itself.
const DIED: i64 = 134;

#[track_caller]
fn assert_killed(life: &Life, words: &str) {
    assert_eq!(life.state(words), ("exited".into(), 137, KILLED.into()));
    assert_eq!(life.ok(&["wait", words]), "137");
    let shown = life.inspect(words);
    assert!(
        shown["State"]["FinishedAt"].as_str().unwrap() > shown["State"]["StartedAt"].as_str().unwrap(),
        "{shown:#}"
    );
}

fn is_gone(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.is_empty() || state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[test]
fn a_monitor_takes_its_container_along() {
    let Some(life) = Life::new("a_monitor_takes_its_container_along") else { return };
    let script = "echo x >>/n; sleep 1000 & sleep 1000 & wait";
    let id = life.detached(&["--name", "mm", "--restart", "always"], script);
    for round in 1..=3 {
        let first = life.pid("mm");
        kill("KILL", life.monitor("mm"));
        assert!(wait_until(5, || is_gone(first)), "its program lives on");
        // What is told by a command that looks and changes nothing, and by the next one.
        assert_eq!(life.ok(&["ps", "-q"]), "");
        assert!(life.ok(&["ps", "-a", "--format", "{{.Status}}"]).starts_with("Exited (137) "));
        assert_killed(&life, "mm");
        life.assert_at_rest(&id);
        assert!(life.fails(125, &["exec", "mm", "true"]).contains("the container mm is not running"));
        assert!(life.fails(1, &["attach", "mm"]).contains("the container mm is not running"));
        // Nobody is there who could start it again, but who comes next; and what it wrote is there.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(life.state("mm").0, "exited");
        life.ok(&["start", "mm"]);
        assert_eq!(life.ok(&["exec", "mm", "sh", "-c", "wc -l </n"]).trim(), (round + 1).to_string());
    }
    // After a start that went well nothing tells of it.
    life.ok(&["stop", "-t", "0", "mm"]);
    assert_eq!(life.state("mm"), ("exited".into(), 137, String::new()));
    life.ok(&["rm", "mm"]);
}

#[test]
fn one_that_stands_still_goes_with_its_monitor() {
    let Some(life) = Life::new("one_that_stands_still_goes_with_its_monitor") else { return };
    let id = life.detached(&["--name", "mm"], "sleep 1000 & sleep 1000 & wait");
    let (first, monitor) = (life.pid("mm"), life.monitor("mm"));
    life.ok(&["pause", "mm"]);
    kill("KILL", monitor);
    assert!(wait_until(5, || is_gone(monitor)));
    assert_killed(&life, "mm");
    assert!(wait_until(5, || is_gone(first)), "its program lives on");
    life.assert_at_rest(&id);
    life.ok(&["start", "mm"]);
}

#[test]
fn what_goes_when_it_ends_is_gone() {
    let Some(life) = Life::new("what_goes_when_it_ends_is_gone") else { return };
    let id = life.detached(&["--rm", "--name", "mm"], "sleep 1000");
    kill("KILL", life.monitor("mm"));
    assert!(wait_until(5, || life.ok(&["ps", "-aq"]).is_empty()));
    assert!(life.fails(1, &["rm", "-f", "mm"]).contains("there is no container"));
    life.assert_at_rest(&id);
    assert_eq!(life.names("/var/lib/mycontainer/containers"), [""; 0]);
    assert_eq!(life.names("/var/lib/mycontainer/names"), [""; 0]);
    life.detached(&["--rm", "--name", "mm"], "sleep 1000");
}

#[test]
fn who_is_attached_or_waits_hears_of_it() {
    let Some(life) = Life::new("who_is_attached_or_waits_hears_of_it") else { return };
    let words = life.words(&["run"], &["--name", "mm"], "echo ready; exec sleep 1000");
    let mut ran = life.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(ran.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let attached = life.meanwhile(&["attach", "--no-stdin", "mm"]);
    let waits = life.meanwhile(&["wait", "mm"]);
    std::thread::sleep(Duration::from_millis(300));
    kill("KILL", life.monitor("mm"));
    let told = "the container's monitor was killed, and the container with it";
    for (who, tool, expected) in [("run", ran, 125), ("attach", attached, 1)] {
        let output = tool.wait_with_output().unwrap();
        assert_eq!(code(output.status), expected, "{who}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{who}: {}", stderr(&output));
    }
    let output = waits.wait_with_output().unwrap();
    assert_eq!((stdout(&output), code(output.status)), ("137\n".into(), 0), "{}", stderr(&output));
    assert_killed(&life, "mm");
}

#[test]
fn one_that_waits_for_its_next_start_is_what_it_was() {
    let Some(life) = Life::new("one_that_waits_for_its_next_start_is_what_it_was") else { return };
    let id = life.detached(&["--name", "mm", "--restart", "always"], "sleep 0.1; exit 4");
    assert!(wait_until(10, || life.field("mm", "RestartCount") == "4"));
    life.until("mm", "restarting");
    // Nothing of it but its monitor runs.
    let monitor = processes_with(&id).into_iter().chain(processes_with("mm")).find(|pid| comm(*pid) == "mc-monitor");
    kill("KILL", monitor.expect("it has a monitor") as u32);
    // Its program had ended by itself.
    assert!(wait_until(5, || life.state("mm") == ("exited".into(), 4, String::new())), "{:?}", life.state("mm"));
    life.assert_at_rest(&id);
}

/// One that is run with every part that a container in the background can have.
fn run_words<'a>(before: &[&'a str], name: &'a str, mark: &'a str) -> Vec<&'a str> {
    let root = busybox_root().to_str().unwrap();
    let flags = ["--name", name, "-e", mark, "-v", "vol:/vol", "--ephemeral"];
    let limits: &[&str] = if user_of_tool().is_some() { &[] } else { &["--memory", "64m"] };
    [before, &flags, limits, &[root, "sleep", "1000"]].concat()
}

/// Its steps, and whether the container's side takes them.
fn all_steps(life: &Life) -> Vec<(String, bool)> {
    let (name, scratch) = (unique("plain"), Scratch::new("steps"));
    let mark = format!("MARK={name}");
    let words = run_words(&["run", "--explain=json", "-d"], &name, &mark);
    let steps = std::fs::File::create(scratch.path("steps")).unwrap();
    let ran = life.host.command(fault_tool().to_str().unwrap(), &words).stdout(Stdio::null()).stderr(steps).status();
    let text = std::fs::read_to_string(scratch.path("steps")).unwrap();
    assert!(ran.unwrap().success(), "{text}");
    life.ok(&["rm", "-f", &name]);
    let mut known = BTreeSet::new();
    let steps = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a step is JSON"));
    let steps = steps.map(|step| (step["step"].as_str().unwrap().to_owned(), step["side"] == "container"));
    let steps: Vec<(String, bool)> = steps.filter(|(name, _)| known.insert(name.clone())).collect();
    for step in
        ["make-directory", "write-created", "spawn-monitor", "write-record", "mount-overlay", "pivot-root", "start"]
    {
        assert!(known.contains(step), "{step} is not told: {known:?}");
    }
    steps
}

/// What is wrong after a fault in a command that was to start `name`. `must_stay` is that it was there before.
fn complaints(life: &Life, what: &str, name: &str, output: &Output, must_stay: bool) -> Vec<String> {
    let mut found = Vec::new();
    // A monitor whose command was killed goes on: until the container runs it is only on its way to that.
    let settled = wait_until(5, || {
        let state = life.tool(&["inspect", "--format", "{{.State.Status}}", name]);
        stdout(&state) == "running\n" || processes_with(name).is_empty()
    });
    if !settled {
        found.push(format!("{what}: it neither runs nor ends"));
    }
    let shown = life.tool(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}} {{.Names}}"]);
    if !shown.status.success() || !shown.stderr.is_empty() {
        found.push(format!("{what}: ps: {}", stderr(&shown)));
    }
    let shown = stdout(&shown);
    let of_it: Vec<Vec<&str>> = shown.lines().map(|line| line.split(' ').collect()).collect();
    match of_it.as_slice() {
        [] if must_stay => found.push(format!("{what}: it is gone")),
        [] => {}
        [one] if one[2] != name => found.push(format!("{what}: it is {shown}")),
        [one] => {
            life.note(one[0].to_owned());
            let (told, alive) = (one[1], !processes_with(name).is_empty());
            if code(output.status) == 0 && told != "running" && told != "exited" {
                found.push(format!("{what}: it was started, and is {told}"));
            }
            match told {
                "running" if !alive => found.push(format!("{what}: it is said to run")),
                "running" => {}
                "created" | "exited" => {
                    let gone = wait_until(3, || processes_with(name).is_empty());
                    if !gone {
                        found.push(format!("{what}: it is {told}, and processes live on"));
                    }
                    life.assert_at_rest(one[0]);
                    // Whatever came in between, it can be started.
                    let started = life.tool(&["start", name]);
                    let now = life.tool(&["inspect", "--format", "{{.State.Status}}", name]);
                    if !started.status.success() || stdout(&now) != "running\n" {
                        found.push(format!("{what}: start: {}{}{}", stderr(&started), stdout(&now), stderr(&now)));
                    }
                }
                told => found.push(format!("{what}: it is {told}")),
            }
            let removed = life.tool(&["rm", "-f", name]);
            if !removed.status.success() || !removed.stderr.is_empty() {
                found.push(format!("{what}: rm -f: {}", stderr(&removed)));
            }
        }
        _ => found.push(format!("{what}: there are several: {shown}")),
    }
    // A command that sweeps.
    let probe = life.tool(&["create", busybox_root().to_str().unwrap()]);
    let removed = life.tool(&["rm", stdout(&probe).trim()]);
    if !removed.status.success() || !probe.stderr.is_empty() || !removed.stderr.is_empty() {
        found.push(format!("{what}: the next command: {}{}", stderr(&probe), stderr(&removed)));
    }
    if !wait_until(3, || processes_with(name).is_empty()) {
        let who: Vec<String> = processes_with(name).iter().map(|pid| format!("{pid} {}", comm(*pid))).collect();
        found.push(format!("{what}: processes live on: {who:?}"));
    }
    for directory in [
        "/run/mycontainer/containers",
        "/run/mycontainer/attach",
        "/var/lib/mycontainer/containers",
        "/var/lib/mycontainer/names",
    ] {
        let left = life.names(directory);
        if !left.is_empty() {
            found.push(format!("{what}: {directory} has {left:?}"));
        }
    }
    found
}

/// Kills `who` at each step of `verb`.
fn at_every_step(test: &str, verb: &str, who: &str, when: &str) {
    let Some(life) = Life::new(test) else { return };
    let mut found = Vec::new();
    for (step, in_container) in all_steps(&life) {
        let is_of_run = ["make-directory", "write-created"].contains(&step.as_str());
        if (verb == "start" && is_of_run) || (step.starts_with("exec") && when == "after") {
            continue;
        }
        let name = unique("killed");
        let mark = format!("MARK={name}");
        let words = match verb {
            "start" => {
                life.ok(&run_words(&["create"], &name, &mark));
                vec!["start", &name]
            }
            _ => run_words(&["run", "-d"], &name, &mark),
        };
        let fault = format!("{who}:{when}:{step}");
        let output =
            life.host.command(fault_tool().to_str().unwrap(), &words).env("MYCONTAINER_FAULT", &fault).output();
        let output = output.unwrap();
        let what = format!("{fault} in {verb}");
        let said = stderr(&output);
        match (who, code(output.status)) {
            // It was killed, or had come to its end first.
            ("tool", 137 | 0) => {}
            // Of a monitor, or of a first process, who waits is told.
            ("self", 1 | 125) if said.starts_with("mycontainer: ") => {}
            // Too late to be told as a failure of the start: it is the program's end, which the monitor is about to see.
            ("self", 0)
                if in_container && wait_until(5, || life.state(&name) == ("exited".into(), DIED, String::new())) => {}
            // The command itself; or the monitor, when it had told already.
            ("self", 137 | 0) if !in_container => {}
            (_, code) => found.push(format!("{what}: ended with {code}: {said}")),
        }
        found.extend(complaints(&life, &what, &name, &output, verb == "start"));
    }
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
}

#[test]
fn run_killed_before_any_step() {
    at_every_step("run_killed_before_any_step", "run", "tool", "before");
}

#[test]
fn run_killed_after_any_step() {
    at_every_step("run_killed_after_any_step", "run", "tool", "after");
}

#[test]
fn who_takes_a_step_killed_before_it() {
    at_every_step("who_takes_a_step_killed_before_it", "run", "self", "before");
}

#[test]
fn who_takes_a_step_killed_after_it() {
    at_every_step("who_takes_a_step_killed_after_it", "run", "self", "after");
}

#[test]
fn start_killed_before_any_step() {
    at_every_step("start_killed_before_any_step", "start", "tool", "before");
}

#[test]
fn who_takes_a_step_of_start_killed_after_it() {
    at_every_step("who_takes_a_step_of_start_killed_after_it", "start", "self", "after");
}

#[test]
fn a_monitor_killed_while_its_container_ends() {
    let Some(life) = Life::new("a_monitor_killed_while_its_container_ends") else { return };
    let mut found = Vec::new();
    for when in ["before", "after"] {
        for step in ["remove-cgroup", "release-address"] {
            let name = unique("killed");
            let root = busybox_root().to_str().unwrap();
            // Started again it goes on, so that it can be seen to run.
            let script = "[ -e /again ] && exec sleep 100; touch /again; sleep 0.2; exit 4";
            let mark = format!("MARK={name}");
            let words = ["run", "-d", "--ephemeral", "--name", &name, "-e", &mark, root, "sh", "-c", script];
            let fault = format!("self:{when}:{step}");
            let mut command = life.host.command(fault_tool().to_str().unwrap(), &words);
            let output = command.env("MYCONTAINER_FAULT", &fault).output().unwrap();
            assert_eq!(code(output.status), 0, "{}", stderr(&output));
            assert!(wait_until(5, || life.names("/run/mycontainer/containers").iter().all(|id| {
                let path = life.path("/proc/locks");
                let record = life.path("/run/mycontainer/containers").join(id);
                // With the device: others have records of their own in a /run of their own, and few numbers there are.
                let record = std::fs::metadata(record).unwrap();
                let device = rustix::fs::Dev::from(record.dev());
                let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
                let held = format!(" {major:02x}:{minor:02x}:{} ", record.ino());
                !std::fs::read_to_string(path).unwrap().contains(&held)
            })));
            // How it ended was not written as yet: what is told is that its monitor was killed.
            let state = life.state(&name);
            if state != ("exited".into(), 137, KILLED.into()) {
                found.push(format!("{fault}: {state:?}"));
            }
            found.extend(complaints(&life, &fault, &name, &output, true));
        }
    }
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
}

#[test]
fn any_of_them_killed_at_any_instant() {
    let Some(life) = Life::new("any_of_them_killed_at_any_instant") else { return };
    let mut found = Vec::new();
    let mut seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    for round in 0..40 {
        let name = unique("random");
        let mark = format!("MARK={name}");
        let words = run_words(&["run", "-d"], &name, &mark);
        let mut command = life.command(&words);
        let tool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // xorshift: up to 60 ms
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let delay = Duration::from_micros(seed % 60_000);
        std::thread::sleep(delay);
        let monitor = processes_with(&name).into_iter().find(|pid| comm(*pid) == "mc-monitor");
        let victim = if round % 2 == 0 { monitor } else { None }.unwrap_or(tool.id() as i32);
        if Path::new(&format!("/proc/{victim}")).exists() {
            let _ =
                std::process::Command::new("kill").args(["-KILL", &victim.to_string()]).stderr(Stdio::null()).status();
        }
        let output = tool.wait_with_output().unwrap();
        // Who waited for a monitor and was told is no lie; a container that runs because only the command was killed is one.
        wait_until(2, || processes_with(&name).iter().all(|pid| comm(*pid) != "mycontainer"));
        found.extend(complaints(&life, &format!("round {round}, {delay:?}, {victim}"), &name, &output, false));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_monitor_whose_starter_is_gone_has_the_container_to_itself() {
    let Some(life) = Life::new("a_monitor_whose_starter_is_gone_has_the_container_to_itself") else { return };
    for verb in ["run", "start"] {
        let name = unique("window");
        let mark = format!("MARK={name}");
        let words = match verb {
            "start" => {
                life.ok(&run_words(&["create"], &name, &mark));
                vec!["start", &name]
            }
            _ => run_words(&["run", "-d"], &name, &mark),
        };
        // The monitor stands still between its birth and the record, and then its starter is killed.
        let mut command = life.host.command(fault_tool().to_str().unwrap(), &words);
        let mut starter = command.env("MYCONTAINER_FAULT", "stop:before:write-record").stderr(Stdio::null()).spawn();
        let monitor = || processes_with(&name).into_iter().find(|pid| comm(*pid) == "mc-monitor");
        let stands_still = || {
            let stat = monitor().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
            stat.is_some_and(|stat| stat.contains(") T "))
        };
        assert!(wait_until(10, stands_still), "{verb}: there is no monitor");
        let starter = starter.as_mut().unwrap();
        starter.kill().unwrap();
        starter.wait().unwrap();
        let id = life.note(life.field(&name, "Id"));
        assert_eq!(life.state(&name), ("created".into(), 0, String::new()), "{verb}");
        for words in [&["start", &name][..], &["rm", &name], &["rm", "-f", &name]] {
            let told = life.fails(1, words);
            assert!(told.contains("another command is at work on the container"), "{verb} {words:?}: {told}");
        }
        // What sweeps leaves it alone.
        life.ok(&["rm", &life.ok(&["create", busybox_root().to_str().unwrap()])]);
        kill("CONT", monitor().unwrap() as u32);
        life.until(&name, "running");
        assert_eq!(life.ok(&["exec", &name, "echo", "hi"]), "hi");
        life.ok(&["stop", "-t", "0", &name]);
        life.assert_at_rest(&id);
        life.ok(&["start", &name]);
        life.ok(&["rm", "-f", &name]);
    }
}

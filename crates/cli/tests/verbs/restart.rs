//! Restart policies, and the verb `restart`.

use crate::common::life::Life;
use crate::common::{Scratch, busybox_root, stdout, wait_until};
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How often it was started, by its own account.
struct Count(Scratch);

impl Count {
    fn new() -> Count {
        Count(Scratch::new("count"))
    }

    /// `-v` for it.
    fn volume(&self) -> String {
        format!("{}:/count", self.0.0.display())
    }

    /// When each start was, in milliseconds.
    fn starts(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(self.0.0.join("n")).unwrap_or_default();
        text.lines().map(|line| (line.parse::<f64>().unwrap() * 1000.0) as u64).collect()
    }
}

/// Notes the time of the start: busybox's `date` has no fractions, the kernel's uptime has.
const NOTE: &str = "cut -d' ' -f1 /proc/uptime >>/count/n;";

#[test]
fn a_policy_says_how_often() {
    let Some(life) = Life::new("a_policy_says_how_often") else { return };
    for (policy, exit, starts, restarts) in
        [("no", 1, 1, "0"), ("on-failure", 0, 1, "0"), ("on-failure:2", 5, 3, "2"), ("on-failure:1", 5, 2, "1")]
    {
        let count = Count::new();
        let flags = ["--name", "pp", "--restart", policy, "-v", &count.volume()];
        let id = life.detached(&flags, &format!("{NOTE} exit {exit}"));
        let ended = wait_until(10, || life.state("pp").0 == "exited" && count.starts().len() >= starts);
        assert!(ended, "{policy} {exit}: {:?} {:?}", life.state("pp"), count.starts());
        life.assert_at_rest(&id);
        assert_eq!(count.starts().len(), starts, "{policy} {exit}");
        assert_eq!(life.state("pp"), ("exited".into(), exit, String::new()));
        assert_eq!(life.field("pp", "RestartCount"), restarts, "{policy} {exit}");
        let shown = life.inspect("pp");
        let policy_of = &shown["HostConfig"]["RestartPolicy"];
        let name = policy.split(':').next().unwrap();
        let most: u64 = policy.split(':').nth(1).map_or(0, |most| most.parse().unwrap());
        assert_eq!((policy_of["Name"].as_str(), policy_of["MaximumRetryCount"].as_u64()), (Some(name), Some(most)));
        // A start by hand begins to count anew.
        life.ok(&["start", "pp"]);
        let again = wait_until(10, || count.starts().len() == 2 * starts && life.state("pp").0 == "exited");
        assert!(again, "{policy} {exit}: {:?}", count.starts());
        life.assert_at_rest(&id);
        assert_eq!(life.field("pp", "RestartCount"), restarts, "{policy} {exit}");
        life.ok(&["rm", "pp"]);
    }
    // What a person sees who was there.
    let words = life.words(&["run"], &["--restart", "on-failure:1"], "echo hi; exit 3");
    let output = life.tool(&words);
    assert_eq!((stdout(&output), output.status.code()), ("hi\n".into(), Some(3)));
    // What goes when it ends and is started again when it ends cannot be both.
    let words = life.words(&["run", "-d", "--rm"], &["--restart", "always"], "true");
    let told = life.fails(125, &words);
    assert!(told.contains("--restart") && told.contains("--rm"), "{told}");
    // Who did not type --rm hears nothing of it.
    let told = life.fails(125, &["run", "-d", "--restart", "always", "host", "true"]);
    assert!(told.contains("--restart cannot be used with host") && !told.contains("--rm"), "{told}");
}

#[test]
fn pauses_grow_and_a_pause_is_shown() {
    let Some(life) = Life::new("pauses_grow_and_a_pause_is_shown") else { return };
    let count = Count::new();
    let flags = ["--name", "pp", "--restart", "always", "-v", &count.volume()];
    let id = life.detached(&flags, &format!("{NOTE} exit 4"));
    assert!(wait_until(10, || count.starts().len() == 5), "{:?}", count.starts());
    let starts = count.starts();
    let pauses: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, at_least) in pauses.iter().zip([100, 200, 400, 800]) {
        // The uptime has hundredths, and a start takes its own time.
        assert!((at_least - 10..at_least + 1000).contains(pause), "{pauses:?}");
    }
    // The next pause takes 1.6 seconds.
    life.until("pp", "restarting");
    let status = life.ok(&["ps", "--format", "{{.State}} {{.Status}} {{.Names}}"]);
    assert!(status.starts_with("restarting Restarting (4) ") && status.ends_with(" ago pp"), "{status}");
    let shown = life.inspect("pp");
    let state = &shown["State"];
    assert_eq!((state["Restarting"].as_bool(), state["Pid"].as_u64()), (Some(true), Some(0)), "{state}");
    assert_eq!(state["ExitCode"], 4, "{state}");
    assert_eq!(shown["RestartCount"], 4);
    // It has nothing but what finds it.
    let parts = life.running_parts(&id);
    assert_eq!(parts, ["/run/mycontainer/containers", "/run/mycontainer/attach"]);
    for (words, said) in [
        (&["exec", "pp", "true"][..], "pp"),
        (&["pause", "pp"], "pp"),
        (&["top", "pp"], "pp"),
        (&["rm", "pp"], "is running"),
    ] {
        let output = life.tool(words);
        assert!(!output.status.success() && crate::common::stderr(&output).contains(said), "{words:?}: {output:?}");
    }
    // It shall not be started again: a signal that would have ended it says so, another one has nobody to go to.
    life.ok(&["kill", "-s", "USR1", "pp"]);
    assert_eq!(life.state("pp").0, "restarting");
    life.ok(&["kill", "pp"]);
    let ended = wait_until(1, || life.state("pp") == ("exited".into(), 4, String::new()));
    assert!(ended, "{:?}", life.state("pp"));
    life.assert_at_rest(&id);
    assert_eq!(count.starts().len(), 5);
}

#[test]
fn stop_ends_it_for_good_also_while_it_waits() {
    let Some(life) = Life::new("stop_ends_it_for_good_also_while_it_waits") else { return };
    for (policy, script) in [
        ("always", "exit 4"),
        ("unless-stopped", "exit 4"),
        ("always", "trap 'exit 4' TERM; while :; do sleep 0.05; done"),
        ("on-failure", "trap 'exit 4' TERM; while :; do sleep 0.05; done"),
    ] {
        let count = Count::new();
        let flags = ["--name", "pp", "--restart", policy, "-v", &count.volume()];
        let id = life.detached(&flags, &format!("{NOTE} {script}"));
        if script == "exit 4" {
            // Into a pause of some length.
            assert!(wait_until(10, || count.starts().len() >= 4));
            life.until("pp", "restarting");
        } else {
            std::thread::sleep(Duration::from_millis(200));
        }
        let begun = Instant::now();
        assert_eq!(life.ok(&["stop", "pp"]), "pp");
        assert!(begun.elapsed() < Duration::from_secs(3), "{policy} {script}: {:?}", begun.elapsed());
        assert_eq!(life.state("pp"), ("exited".into(), 4, String::new()), "{policy} {script}");
        life.assert_at_rest(&id);
        let starts = count.starts().len();
        std::thread::sleep(Duration::from_millis(1000));
        assert_eq!(count.starts().len(), starts, "{policy} {script}: it was started again");
        // And it can be started again.
        life.ok(&["start", "pp"]);
        assert!(wait_until(10, || count.starts().len() > starts + usize::from(script == "exit 4")));
        life.ok(&["rm", "-f", "pp"]);
        life.assert_at_rest(&id);
    }
}

#[test]
fn kill_is_an_end_only_by_what_ends_it() {
    let Some(life) = Life::new("kill_is_an_end_only_by_what_ends_it") else { return };
    // As Docker: SIGKILL and the stop signal mean that it shall not run; another signal is its own affair.
    for (signal, is_again) in [("KILL", false), ("TERM", false), ("USR1", true), ("INT", true)] {
        let count = Count::new();
        let flags = ["--name", "pp", "--restart", "always", "-v", &count.volume()];
        let script = format!("trap 'exit 1' TERM USR1 INT; {NOTE} while :; do sleep 0.05; done");
        let id = life.detached(&flags, &script);
        assert!(wait_until(10, || count.starts().len() == 1));
        life.ok(&["kill", "-s", signal, "pp"]);
        if is_again {
            assert!(wait_until(10, || count.starts().len() == 2), "{signal}");
            life.until("pp", "running");
        } else {
            life.until("pp", "exited");
            life.assert_at_rest(&id);
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(count.starts().len(), 1, "{signal}");
        }
        life.ok(&["rm", "-f", "pp"]);
    }
}

#[test]
fn rm_f_need_not_wait_for_a_pause() {
    let Some(life) = Life::new("rm_f_need_not_wait_for_a_pause") else { return };
    let count = Count::new();
    let flags = ["--name", "pp", "--restart", "always", "-v", &count.volume()];
    let id = life.detached(&flags, &format!("{NOTE} exit 4"));
    // The next pause is longer than `rm` may take: 3.2 seconds.
    assert!(wait_until(10, || count.starts().len() == 6));
    life.until("pp", "restarting");
    let begun = Instant::now();
    life.ok(&["rm", "-f", "pp"]);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    life.assert_at_rest(&id);
    assert_eq!(life.ok(&["ps", "-aq"]), "");
}

#[test]
fn one_that_cannot_be_started_again_says_why() {
    let Some(life) = Life::new("one_that_cannot_be_started_again_says_why") else { return };
    let scratch = Scratch::new("again");
    let program = scratch.file("bin/program", "#!/bin/sh\nsleep 0.3\nexit 4\n", 0o755);
    let root = busybox_root().to_str().unwrap();
    let volume = format!("{}:/own", scratch.path("bin"));
    let words =
        ["run", "-d", "--network", "none", "--name", "pp", "--restart", "always", "-v", &volume, root, "/own/program"];
    let id = life.note(life.ok(&words));
    std::fs::remove_file(program).unwrap();
    life.until("pp", "exited");
    let (_, exit_code, error) = life.state("pp");
    assert_eq!(exit_code, 127, "{error}");
    assert!(error.contains("/own/program"), "{error}");
    life.assert_at_rest(&id);
}

#[test]
fn the_verb_stops_and_starts() {
    let Some(life) = Life::new("the_verb_stops_and_starts") else { return };
    let script = "echo x >>/n; trap 'exit 3' TERM; trap 'exit 4' INT; while :; do sleep 0.05; done";
    let id = life.detached(&["--name", "rr", "--restart", "always"], script);
    std::thread::sleep(Duration::from_millis(200));
    let first = life.pid("rr");
    assert_eq!(life.ok(&["restart", "rr"]), "rr");
    let second = life.pid("rr");
    assert!(first != second && !std::path::Path::new(&format!("/proc/{first}")).exists());
    assert_eq!(life.ok(&["exec", "rr", "cat", "/n"]), "x\nx");
    // Its policy is in force as before.
    life.ok(&["kill", "-s", "INT", "rr"]);
    assert!(wait_until(5, || life.tool(&["exec", "rr", "cat", "/n"]).stdout == b"x\nx\nx\n"));
    // One that does not run is started.
    life.ok(&["stop", "rr"]);
    life.ok(&["container", "restart", "-t", "1", &id[..9]]);
    assert_eq!(life.state("rr").0, "running");
    life.note(life.ok(&life.words(&["create"], &["--name", "made"], "sleep 1000")));
    assert_eq!(life.ok(&["restart", "made"]), "made");
    assert_eq!(life.state("made").0, "running");
    // One that would be gone is not stopped.
    life.detached(&["--rm", "--name", "gone"], "sleep 1000");
    let before = life.pid("gone");
    let told = life.fails(1, &["restart", "gone"]);
    assert!(told.contains("--rm"), "{told}");
    assert_eq!(life.pid("gone"), before);
    assert!(life.fails(1, &["restart", "nothing"]).contains("there is no container"));
}

#[test]
fn it_has_an_address_again_each_time() {
    let Some(life) = Life::new("it_has_an_address_again_each_time") else { return };
    let count = Count::new();
    let root = busybox_root().to_str().unwrap();
    let script = format!(
        "{NOTE} ip -4 -o addr show eth0 | awk '{{print $4}}' >>/count/a; ping -c1 -W1 172.17.0.1 >/dev/null && echo ok >>/count/a"
    );
    let script = format!("{script}; sleep 0.2; exit 1");
    let words = [
        "run",
        "-d",
        "--ephemeral",
        "--name",
        "nn",
        "--restart",
        "on-failure:3",
        "-v",
        &count.volume(),
        root,
        "sh",
        "-c",
        &script,
    ];
    let id = life.note(life.ok(&words));
    let leases = || std::fs::read_to_string(life.path("/run/mycontainer/network/leases")).unwrap_or_default();
    let ended = wait_until(15, || {
        let of_it = leases().lines().filter(|line| line.contains(&id)).count();
        assert!(of_it <= 1, "{}", leases());
        count.starts().len() == 4 && life.state("nn").0 == "exited"
    });
    assert!(ended, "{:?} {:?}", count.starts(), life.state("nn"));
    let seen = std::fs::read_to_string(count.0.0.join("a")).unwrap();
    assert_eq!(seen.lines().filter(|line| line.starts_with("172.17.0.") && line.ends_with("/16")).count(), 4, "{seen}");
    assert_eq!(seen.lines().filter(|line| *line == "ok").count(), 4, "{seen}");
    life.assert_at_rest(&id);
    assert_eq!(life.field("nn", "NetworkSettings.IPAddress"), "");
    // By hand, too; and while it runs its address is told.
    let words = ["run", "-d", "--ephemeral", "--name", "mm", root, "sleep", "1000"];
    let id = life.note(life.ok(&words));
    for _ in 0..3 {
        life.ok(&["restart", "-t", "0", "mm"]);
        let address = life.field("mm", "NetworkSettings.IPAddress");
        assert_eq!(leases().lines().filter(|line| line.contains(&id)).count(), 1, "{}", leases());
        life.host.net(&format!("ping -c1 -W1 {address}"));
        assert!(life.ok(&["exec", "mm", "ip", "-4", "-o", "addr", "show", "eth0"]).contains(&address));
    }
    life.ok(&["stop", "-t", "0", "mm"]);
    life.assert_at_rest(&id);
    // The host's own network is as it was when they are gone: `Life` and its host see to that.
}

/// What is changed of it while it waits for its next start is known to that start.
#[test]
fn it_is_not_started_again_while_somebody_works_on_it() {
    let Some(life) = Life::new("it_is_not_started_again_while_somebody_works_on_it") else { return };
    let id = life.detached(&["--name", "pp", "--restart", "always"], "exit 1");
    life.until("pp", "restarting");
    let directory = format!("/var/lib/mycontainer/containers/{id}");
    // As `network connect` has it, until its input ends.
    let locked = || {
        let mut other = life.host.command("flock", &["-x", &directory, "sh", "-c", "echo; read x"]);
        let mut other = other.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        other.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        other
    };
    let free = |mut other: Child| {
        drop(other.stdin.take());
        other.wait().unwrap();
    };
    let other = locked();
    let started = || life.field("pp", "RestartCount");
    let before = started();
    assert!(!wait_until(3, || started() != before), "it was started");
    free(other);
    assert!(wait_until(10, || started() != before), "it is not started any more");
    // And who wants it to end need not wait.
    let other = locked();
    life.ok(&["stop", "-t", "1", "pp"]);
    assert_eq!(life.state("pp").0, "exited");
    free(other);
}

//! Limits: `--memory --memory-swap --cpus --cpu-shares --cpuset-cpus --pids-limit`.
//!
//! Each is read back from inside, where /sys/fs/cgroup is the container's own group, and shown to be enforced. The same
//! tests run on cgroup v1 or hybrid hosts and on v2: only the names of the files differ.

use crate::common::{Clean, Running, busybox_root, can_run, run, sh, sh_ok, stderr, stdout};
use std::path::Path;

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A file of the container's group, by its name on v1 (with the directory) and on v2.
fn file(v1: &str, v2: &str) -> String {
    if is_v2() { format!("/sys/fs/cgroup/{v2}") } else { format!("/sys/fs/cgroup/{v1}") }
}

fn read_back(flags: &[&str], v1: &str, v2: &str) -> String {
    sh_ok(flags, &format!("cat {}", file(v1, v2))).trim().to_owned()
}

#[test]
fn limits_are_what_the_container_reads() {
    if !can_run("limits_are_what_the_container_reads") {
        return;
    }
    let _clean = Clean::watch();
    // Flags; file and value on v1; file and value on v2.
    type Case<'a> = (&'a [&'a str], (&'a str, &'a str), (&'a str, &'a str));
    let limit = "memory/memory.limit_in_bytes";
    let total = "memory/memory.memsw.limit_in_bytes";
    let cases: &[Case<'_>] = &[
        (&["-m", "64m"], (limit, "67108864"), ("memory.max", "67108864")),
        (&["--memory=1g"], (limit, "1073741824"), ("memory.max", "1073741824")),
        (&["-m", "64m"], (total, "134217728"), ("memory.swap.max", "67108864")),
        (&["-m", "64m", "--memory-swap", "64m"], (total, "67108864"), ("memory.swap.max", "0")),
        (&["-m", "64m", "--memory-swap", "96m"], (total, "100663296"), ("memory.swap.max", "33554432")),
        (&["-m", "64m", "--memory-swap", "-1"], (total, "9223372036854771712"), ("memory.swap.max", "max")),
        (&["--cpus", "0.5"], ("cpu/cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
        (&["--cpus", "1.25"], ("cpu/cpu.cfs_quota_us", "125000"), ("cpu.max", "125000 100000")),
        (&["--cpus", "1.25"], ("cpu/cpu.cfs_period_us", "100000"), ("cpu.max", "125000 100000")),
        (&["--cpu-shares", "512"], ("cpu/cpu.shares", "512"), ("cpu.weight", "59")),
        (&["-c", "2"], ("cpu/cpu.shares", "2"), ("cpu.weight", "1")),
        (&["--cpuset-cpus", "0"], ("cpuset/cpuset.cpus", "0"), ("cpuset.cpus", "0")),
        (&["--pids-limit", "33"], ("pids/pids.max", "33"), ("pids.max", "33")),
        (&["--pids-limit", "33", "--pids-limit", "-1"], ("pids/pids.max", "max"), ("pids.max", "max")),
    ];
    for (flags, v1, v2) in cases {
        let expected = if is_v2() { v2.1 } else { v1.1 };
        let got = read_back(flags, v1.0, v2.0);
        assert_eq!(got, expected, "{flags:?}");
    }
    if Path::new("/sys/devices/system/cpu/cpu1").exists() {
        assert_eq!(
            sh_ok(&["--cpuset-cpus", "1"], "nproc; grep Cpus_allowed_list /proc/self/status"),
            "1\nCpus_allowed_list:\t1\n"
        );
    }
}

#[test]
fn the_container_sees_its_own_group_as_the_root_of_all() {
    if !can_run("the_container_sees_its_own_group_as_the_root_of_all") {
        return;
    }
    let _clean = Clean::watch();
    let output = sh_ok(&["-m", "64m", "--pids-limit", "50"], "cat /proc/self/cgroup");
    for line in output.lines() {
        // Hierarchies on which we do not act are not ours to have a group in.
        let acted_on = ["memory", "cpu", "pids", "devices", "freezer", "blkio"];
        if is_v2() || acted_on.iter().any(|name| line.split(':').nth(1).unwrap().split(',').any(|c| c == *name)) {
            assert!(line.ends_with(":/"), "{line}");
        }
        assert!(!line.contains("mycontainer"), "{line}");
    }
    let procs = sh_ok(&[], &format!("cat {}", file("memory/cgroup.procs", "cgroup.procs")));
    assert_eq!(procs.lines().next(), Some("1"), "only its own processes are in there: {procs}");
    // It cannot change its limits.
    let raise = format!("echo 1 > {0} 2>&1 || echo $?; cat {0}", file("pids/pids.max", "pids.max"));
    assert!(sh_ok(&["--pids-limit", "50"], &raise).ends_with("1\n50\n"));
}

#[test]
fn too_much_memory_ends_in_137_and_a_word_about_it() {
    if !can_run("too_much_memory_ends_in_137_and_a_word_about_it") {
        return;
    }
    let _clean = Clean::watch();
    let root = busybox_root().to_str().unwrap();
    // tail keeps what has no newline: the first process itself dies. (/dev/zero never ends.)
    let words = ["--network", "none", "-m", "16m", "--memory-swap", "16m", root, "tail", "/dev/zero"];
    let output = run(&words);
    assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
    assert_eq!(stderr(&output), "mycontainer: the container was killed because it reached its memory limit\n");
    // A child that is killed is the program's business.
    let output = sh(&["-m", "16m", "--memory-swap", "16m"], "tail /dev/zero; echo $?; exit 3");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(3), "137\n"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("memory limit"), "{}", stderr(&output));
    // Files in memory count, too.
    let output =
        sh(&["-m", "16m", "--memory-swap", "16m", "--shm-size", "1g"], "exec head -c 64m /dev/zero > /dev/shm/x");
    assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
}

#[test]
fn the_least_limit_of_memory_is_enough_to_start() {
    if !can_run("the_least_limit_of_memory_is_enough_to_start") {
        return;
    }
    // On v1 the kernel's own memory for the mounts counts from the first byte, too.
    if std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        eprintln!("the_least_limit_of_memory_is_enough_to_start: this host has cgroup v1, the virtual machine has v2");
        return;
    }
    let _clean = Clean::watch();
    let output = sh(&["-m", "512k"], "true");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_kill_from_outside_is_not_taken_for_want_of_memory() {
    if !can_run("a_kill_from_outside_is_not_taken_for_want_of_memory") {
        return;
    }
    let _clean = Clean::watch();
    let mut container = Running::start(&["-m", "64m"], "echo ready; while :; do sleep 0.1; done");
    crate::common::kill("KILL", container.first_process());
    assert_eq!(container.end(), (137, String::new(), String::new()));
}

#[test]
fn a_fork_bomb_ends_at_the_limit_of_processes() {
    if !can_run("a_fork_bomb_ends_at_the_limit_of_processes") {
        return;
    }
    let _clean = Clean::watch();
    // busybox's shell ends when it cannot fork, so a second one counts.
    let script = format!(
        "sh -c 'for n in $(seq 40); do sleep 5 & done' 2>/dev/null; cat {} {}",
        file("pids/pids.current", "pids.current"),
        file("pids/pids.events", "pids.events")
    );
    let output = sh(&["--pids-limit", "20"], &script);
    let text = stdout(&output);
    let mut numbers = text.split_whitespace();
    let current: u32 = numbers.next().unwrap_or_else(|| panic!("{text:?} {}", stderr(&output))).parse().unwrap();
    assert!((15..=20).contains(&current), "{text}");
    let refused: u32 = numbers.nth(1).unwrap().parse().unwrap();
    assert!(refused > 0, "the kernel has refused a fork: {text}");
}

#[test]
fn processor_time_is_throttled() {
    if !can_run("processor_time_is_throttled") {
        return;
    }
    let _clean = Clean::watch();
    let stat = file("cpu/cpu.stat", "cpu.stat");
    let throttled = |flags: &[&str]| {
        // As many turns as a tenth of a processor has no time for.
        let turns = if crate::common::in_vm() { 30_000 } else { 300_000 };
        let output = sh_ok(flags, &format!("n=0; while [ $n -lt {turns} ]; do n=$((n+1)); done; cat {stat}"));
        let value = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        value("nr_throttled").unwrap_or(0)
    };
    assert!(throttled(&["--cpus", "0.1"]) > 0);
    assert_eq!(throttled(&[]), 0);
}

#[test]
fn a_limit_that_cannot_be_had_is_an_error() {
    if !can_run("a_limit_that_cannot_be_had_is_an_error") {
        return;
    }
    let clean = Clean::watch();
    let cases: &[(&[&str], &[&str])] = &[
        (&["-m", "1k"], &["1024", "512 KiB"]),
        (&["-m", "100b"], &["100", "512 KiB"]),
        (&["--cpuset-cpus", "999"], &["999", "this host offers"]),
        (&["--cpuset-cpus", "0-999"], &["0-999"]),
        (&["--cpuset-cpus", "x"], &["x"]),
        (&["--cpus", "1000"], &["--cpus 1000", "this host has"]),
        (&["--cpus", "0.001"], &["--cpus"]),
        (&["--cpus", "nine"], &["--cpus", "nine"]),
        (&["-m", "64m", "--memory-swap", "32m"], &["--memory-swap", "33554432", "--memory"]),
        (&["--memory-swap", "64m"], &["--memory-swap", "--memory"]),
        (&["--cpu-shares", "1"], &["--cpu-shares", "262144"]),
        (&["--cpu-shares", "300000"], &["--cpu-shares", "262144"]),
        (&["--pids-limit", "many"], &["--pids-limit", "many"]),
        (&["-m", "much"], &["-m", "much"]),
    ];
    for (flags, named) in cases {
        let output = sh(flags, "echo it runs");
        let error = stderr(&output);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{flags:?}: {error}");
        for part in *named {
            assert!(error.contains(part), "{flags:?} names {part:?}: {error}");
        }
        assert!(error.lines().count() <= 2, "{flags:?}: {error}");
        clean.check(&format!("{flags:?}"));
    }
}

//! Real groups with real processes in them, on whichever version of cgroups this machine has: the same tests run on a
//! v1 or hybrid host and, in a virtual machine, on v2. They need root; every group they make is named
//! `mycontainer-test-PID-WHAT` and removed.

mod common;

use cgroup::{Cgroup, Host, Location};
use common::{Group, NAME, is_alive, out, wait_for};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[test]
fn limits_are_in_the_kernels_files_and_nothing_is_left() {
    let group = Group::named("files");
    let made = group
        .create(
            r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},
                "cpu":{"shares":2048,"quota":50000,"period":100000,"cpus":"0","mems":"0"},"pids":{"limit":64}}"#,
            "[]",
        )
        .unwrap();
    assert_eq!(group.read("memory.limit_in_bytes", "memory.max"), "67108864");
    let swap = if group.host.is_v2() { "67108864" } else { "134217728" };
    assert_eq!(group.read("memory.memsw.limit_in_bytes", "memory.swap.max"), swap);
    assert_eq!(group.read("memory.soft_limit_in_bytes", "memory.low"), "33554432");
    let (shares, quota) = if group.host.is_v2() { ("174", "50000 100000") } else { ("2048", "50000") };
    assert_eq!(group.read("cpu.shares", "cpu.weight"), shares);
    assert_eq!(group.read("cpu.cfs_quota_us", "cpu.max"), quota);
    assert_eq!(group.read("cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(group.read("cpuset.mems", "cpuset.mems"), "0");
    assert_eq!(group.read("pids.max", "pids.max"), "64");
    assert!(!made.oom_killed().unwrap());
    let inside = group.run("grep Cpus_allowed_list /proc/self/status; cat /proc/self/cgroup");
    assert!(inside.status.success());
    assert!(out(&inside).contains("Cpus_allowed_list:\t0"), "{}", out(&inside));
    let joined = out(&inside).matches(&group.name).count();
    assert_eq!(joined, group.left().len(), "{}", out(&inside));
    assert!(made.remove().is_empty());
    assert_eq!(group.left(), [""; 0]);
}

#[test]
fn a_group_without_limits_can_be_joined() {
    let group = Group::named("plain");
    let made = group.create("{}", "[]").unwrap();
    assert_eq!(made.clone_into().is_some(), group.host.is_v2());
    assert_eq!(out(&group.run("echo inside")), "inside");
    assert!(made.remove().is_empty());
    assert_eq!(group.left(), [""; 0]);
}

#[test]
fn an_oom_kill_is_told_from_another_kill() {
    for (what, script, expected) in [("oom", "exec tail /dev/zero", true), ("term", "kill -9 $$", false)] {
        let group = Group::named(what);
        let made = group.create(r#"{"memory":{"limit":16777216,"swap":16777216}}"#, "[]").unwrap();
        assert_eq!(group.run(script).status.signal(), Some(9), "{what}");
        assert_eq!(made.oom_killed().unwrap(), expected, "{what}");
        assert!(made.remove().is_empty());
    }
}

#[test]
fn a_memory_limit_of_1k_is_refused() {
    let group = Group::named("1k");
    let refused = group.create(r#"{"memory":{"limit":1024}}"#, "[]").unwrap_err().to_string();
    assert_eq!(refused, "cannot set memory.limit to 1024: no program can start in less than 524288 bytes (512 KiB)");
    assert_eq!(group.left(), [""; 0]);
}

#[test]
fn the_least_memory_that_is_taken_lets_a_shell_start() {
    let group = Group::named("least");
    let made = group.create(r#"{"memory":{"limit":524288}}"#, "[]").unwrap();
    let script = format!("echo 0 > {}/cgroup.procs; exec sh -c 'echo started'", group.directory("memory"));
    let inside = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(out(&inside), "started", "{inside:?}");
    assert!(made.remove().is_empty());
}

/// Not a test: makes a group with a memory limit in the mount namespace it finds itself in, and says how that went.
#[test]
fn creator() {
    let Ok(name) = std::env::var(NAME) else { return };
    let resources = serde_json::from_str(r#"{"memory":{"limit":67108864}}"#).unwrap();
    let made = Host::detect().and_then(|host| Cgroup::create(&host, &Location::Path(name), &resources, &[]));
    let told = made.map(|_| "made".to_owned()).unwrap_or_else(|error| format!("{error}\nhint: {:?}", error.hint()));
    println!("\n{told}");
}

#[test]
fn a_host_without_what_is_needed_is_told_so() {
    let group = Group::named("mounts");
    let mut cases = vec![
        (
            "for m in /sys/fs/cgroup/*/ /sys/fs/cgroup; do ! mountpoint -q $m || mount -o remount,bind,ro $m; done",
            "the cgroup file system is mounted read-only here",
            "writable /sys/fs/cgroup",
        ),
        ("umount -l /sys/fs/cgroup", "no cgroup file system is mounted at or under /sys/fs/cgroup", "mount -t cgroup2"),
    ];
    if !group.host.is_v2() {
        cases.push((
            "umount /sys/fs/cgroup/memory",
            "cannot set memory.limit to 67108864: \
             this host has the memory controller on cgroup v1, and it is not mounted",
            "mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory",
        ));
    }
    for (change, expected, hint) in cases {
        let told = Command::new("unshare")
            .args(["-m", "sh", "-c", &format!("{change} || exit 9; exec \"$0\" --exact creator --nocapture")])
            .arg(std::env::current_exe().unwrap())
            .env(NAME, &group.name)
            .output()
            .unwrap();
        assert!(out(&told).contains(expected) && out(&told).contains(hint), "{change}: {told:?}");
        assert_eq!(group.left(), [""; 0], "{change}");
    }
}

#[test]
fn a_fork_bomb_ends_at_the_pids_limit() {
    let group = Group::named("pids");
    let made = group.create(r#"{"pids":{"limit":4}}"#, "[]").unwrap();
    let inside = group.run("sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait");
    assert!(String::from_utf8_lossy(&inside.stderr).contains("fork"), "{inside:?}");
    made.kill().unwrap();
    assert!(made.remove().is_empty());
}

#[test]
fn a_cpu_quota_throttles() {
    let group = Group::named("quota");
    let made = group.create(r#"{"cpu":{"quota":20000,"period":100000}}"#, "[]").unwrap();
    // A bounded amount of work, more than one period's quota: whatever the processor, it has to wait for the next.
    let worked = group.run("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    assert!(worked.status.success());
    let stat = group.read("cpu.stat", "cpu.stat");
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    assert!(throttled.is_some_and(|n| n != "0"), "{stat}");
    assert!(made.remove().is_empty());
}

#[test]
fn what_cannot_be_enforced_is_refused_and_leaves_nothing() {
    let group = Group::named("refused");
    let mut cases = vec![
        (r#"{"cpu":{"cpus":"1000"}}"#, "cannot set cpu.cpus to 1000: this host offers 0"),
        (r#"{"cpu":{"cpus":"x"}}"#, "cannot set cpu.cpus to x: a list looks like 0-2,4"),
        (r#"{"cpu":{"quota":1}}"#, "the kernel does not take this value"),
        (r#"{"cpu":{"period":1,"quota":100000}}"#, "the kernel does not take this value"),
        (r#"{"blockIO":{"throttleReadBpsDevice":[{"major":999,"minor":9,"rate":1}]}}"#, "no such block device"),
    ];
    if group.host.is_v2() {
        cases.push((r#"{"unified":{"nosuch.max":"1"}}"#, "this kernel has no nosuch controller"));
        cases.push((r#"{"unified":{"memory.max":"lots"}}"#, "memory.max failed"));
        cases.push((r#"{"unified":{"memory.nosuch":"1"}}"#, "this kernel does not offer it"));
    } else {
        cases.push((
            r#"{"memory":{"swappiness":1000}}"#,
            "cannot set memory.swappiness to 1000: writing /sys/fs/cgroup/",
        ));
    }
    for (resources, expected) in cases {
        let refused = group.create(resources, "[]").unwrap_err().to_string();
        assert!(refused.contains(expected), "{resources}: {refused}");
        assert_eq!(group.left(), [""; 0], "{resources}");
    }
}

#[test]
fn a_group_that_is_in_use_is_refused_and_stays() {
    let group = Group::named("taken");
    let made = group.create(r#"{"pids":{"limit":9}}"#, "[]").unwrap();
    let there = group.left().len();
    let mut inside = group.command("exec sleep 100").spawn().unwrap();
    wait_for("it never joined", || made.processes().unwrap().len() == 1);
    let refused = group.create("{}", "[]").unwrap_err().to_string();
    assert!(refused.ends_with(&format!("is in use: process {} is in it", inside.id())), "{refused}");
    assert_eq!(group.left().len(), there);
    assert_eq!(group.read("pids.max", "pids.max"), "9");
    made.kill().unwrap();
    inside.wait().unwrap();
    assert!(made.remove().is_empty());
}

#[test]
fn devices_are_those_of_the_rules() {
    let group = Group::named("devices");
    let made = group
        .create(
            r#"{"devices":[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}"#,
            r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
                {"allow":true,"type":"c","access":"m"}]"#,
        )
        .unwrap();
    let scratch = std::env::temp_dir().join(&group.name);
    std::fs::create_dir(&scratch).unwrap();
    let script = format!(
        "cd {}; try() {{ if sh -c \"$1\" 2>/dev/null; then echo yes; else echo no; fi; }}
         try 'echo >/dev/null'; try 'head -c1 /dev/zero >/dev/null'; try 'echo >/dev/zero'; try 'exec </dev/full'
         try 'mknod full c 1 7'; try 'mknod loop b 7 0'",
        scratch.display()
    );
    let inside = group.run(&script);
    std::fs::remove_dir_all(&scratch).unwrap();
    assert_eq!(out(&inside).split_whitespace().collect::<Vec<_>>(), ["yes", "yes", "no", "no", "yes", "no"]);
    assert!(made.remove().is_empty());
}

#[test]
fn kill_and_remove_reach_processes_in_inner_groups() {
    let group = Group::named("inner");
    let made = group.create("{}", "[]").unwrap();
    let inner = format!("{}/a", group.directory("freezer"));
    std::fs::create_dir(&inner).unwrap();
    std::fs::create_dir(format!("{inner}/b")).unwrap();
    let mut deep = group.command(&format!("echo 0 > {inner}/b/cgroup.procs; sleep 100 & wait")).spawn().unwrap();
    let mut flat = group.command("sleep 100 & while :; do sleep 0.001; done").spawn().unwrap();
    let listed = |path: String| std::fs::read_to_string(path).unwrap().lines().count();
    wait_for("the deep one never came", || listed(format!("{inner}/b/cgroup.procs")) >= 2);
    wait_for("the flat one never came", || listed(format!("{}/cgroup.procs", group.directory("freezer"))) >= 2);
    assert!(is_alive(&mut deep) && is_alive(&mut flat));
    made.kill().unwrap();
    assert!(made.remove().is_empty());
    assert_eq!(deep.wait().unwrap().signal(), Some(9));
    assert_eq!(flat.wait().unwrap().signal(), Some(9));
    assert_eq!(group.left(), [""; 0]);
}

#[test]
fn what_a_killed_tool_left_is_found_by_name() {
    let group = Group::named("left");
    drop(group.create("{}", "[]").unwrap());
    let mut orphan = group.command("sleep 100").spawn().unwrap();
    wait_for("it never joined", || {
        group
            .left()
            .iter()
            .all(|path| std::fs::read_to_string(format!("{path}/cgroup.procs")).unwrap().lines().count() > 0)
    });
    let left = group.open();
    assert!(left.exists());
    left.kill().unwrap();
    assert_eq!(orphan.wait().unwrap().signal(), Some(9));
    // As if the tool had been killed while it removed them.
    let first = group.left().swap_remove(0);
    wait_for("its first group stays busy", || std::fs::remove_dir(&first).is_ok());
    assert!(group.open().remove().is_empty());
    assert_eq!(group.left(), [""; 0]);
    let gone = group.open();
    assert!(!gone.exists());
    gone.kill().unwrap();
    assert!(!gone.oom_killed().unwrap());
    assert!(gone.join().is_err());
    assert!(gone.remove().is_empty());
}

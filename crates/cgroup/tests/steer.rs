//! What an OCI runtime does with a group after it was made: nested places, update, freeze, signals, figures, events. On
//! v1 and v2 alike, as in `groups.rs`.

mod common;

use cgroup::{Cgroup, Location, OomWatch};
use common::{Group, is_alive, out, wait_for};
use oci_spec::runtime::LinuxResources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_nested_group_has_its_limits_and_leaves_only_its_parents() {
    let group = Group::named("nest");
    let inner = group.within("a/b");
    let made = inner
        .create(r#"{"memory":{"limit":67108864},"pids":{"limit":64},"cpu":{"cpus":"0","shares":512}}"#, "[]")
        .unwrap();
    assert_eq!(inner.read("memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(inner.read("pids.max", "pids.max"), "64");
    assert_eq!(inner.read("cpuset.cpus", "cpuset.cpus"), "0");
    let inside = inner.run("cat /proc/self/cgroup; grep Cpus_allowed_list /proc/self/status");
    let told = out(&inside);
    assert!(told.contains(&format!("/{}/a/b", group.name)) && told.contains("Cpus_allowed_list:\t0"), "{told}");
    assert_eq!(made.paths().values().filter(|path| path.is_dir()).count(), made.paths().len());
    assert!(!made.paths().is_empty());
    // A second one beside it finds the parents there.
    let beside = group.within("a/c");
    assert!(beside.create(r#"{"pids":{"limit":3},"cpu":{"cpus":"0"}}"#, "[]").unwrap().remove().is_empty());
    assert!(made.remove().is_empty());
    assert!(!Path::new(&inner.directory("pids")).exists());
    assert!(Path::new(&group.within("a").directory("pids")).exists());
}

#[test]
fn a_failed_creation_in_an_old_group_leaves_the_group() {
    let group = Group::named("old");
    let directory = group.directory("pids");
    std::fs::create_dir(&directory).unwrap();
    group.create(r#"{"cpu":{"quota":1}}"#, "[]").unwrap_err();
    assert_eq!(group.left(), [directory.as_str()]);
    let made = group.create(r#"{"pids":{"limit":3}}"#, r#"[{"allow":false,"access":"rwm"}]"#).unwrap();
    assert_eq!(group.read("pids.max", "pids.max"), "3");
    assert_eq!(out(&group.run("(: </dev/zero) 2>&1 | grep -o permitted")), "permitted");
    // Used again without rules, the old ones do not stay.
    made.freeze().unwrap();
    let again = group.create("{}", "[]").unwrap();
    assert_eq!(out(&group.run(": </dev/zero && echo yes")), "yes");
    assert!(again.remove().is_empty());
    assert_eq!(group.left(), [""; 0]);
}

#[test]
fn places_that_lead_elsewhere_are_refused() {
    let group = Group::named("bad");
    for bad in ["..", "/", "a/../..", "a\nb"] {
        let location = Location::Path(bad.into());
        assert!(Cgroup::create(&group.host, &location, &resources("{}"), &[]).is_err(), "{bad}");
        assert!(Cgroup::open(&group.host, &location).is_err(), "{bad}");
    }
    let file = if group.host.is_v2() { "cgroup.procs" } else { "tasks" };
    for path in [file.to_owned(), format!("{file}/x")] {
        let refused = Cgroup::create(&group.host, &Location::Path(path.clone()), &resources("{}"), &[]).unwrap_err();
        assert!(refused.to_string().contains("Not a directory"), "{path}: {refused}");
    }
}

#[test]
fn without_a_group_there_are_no_limits_to_set() {
    let group = Group::named("none");
    let none = Cgroup::create(&group.host, &Location::None, &resources(r#"{"pids":{"limit":0}}"#), &[]).unwrap();
    assert!(!none.exists() && none.clone_into().is_none() && none.paths().is_empty());
    none.join().unwrap();
    none.kill().unwrap();
    none.thaw().unwrap();
    assert!(none.processes().unwrap().is_empty());
    assert!(!none.oom_watch().unwrap().next().unwrap());
    let refused = none.freeze().unwrap_err().to_string();
    assert!(refused.contains("has no group of its own"), "{refused}");
    for limit in [r#"{"pids":{"limit":3}}"#, r#"{"unified":{"memory.high":"1"}}"#] {
        let refused = Cgroup::create(&group.host, &Location::None, &resources(limit), &[]).unwrap_err().to_string();
        assert!(refused.contains("is to have no group of its own"), "{refused}");
        assert!(none.update(&resources(limit)).is_err());
    }
    assert!(none.remove().is_empty());
}

#[test]
fn update_goes_up_and_down_and_lifts() {
    let group = Group::named("update");
    let made = group
        .create(
            r#"{"memory":{"limit":67108864,"swap":67108864},"cpu":{"quota":50000,"period":100000},"pids":{"limit":9}}"#,
            "[]",
        )
        .unwrap();
    let v2 = group.host.is_v2();
    let memory = |g: &Group| {
        (g.read("memory.limit_in_bytes", "memory.max"), g.read("memory.memsw.limit_in_bytes", "memory.swap.max"))
    };
    let both = |limit: &str, v1: &str, v2_swap: &str| (limit.to_owned(), (if v2 { v2_swap } else { v1 }).to_owned());
    let cpu = |g: &Group| {
        if v2 {
            g.read("", "cpu.max")
        } else {
            format!("{} {}", g.read("cpu.cfs_quota_us", ""), g.read("cpu.cfs_period_us", ""))
        }
    };
    let update = |json| made.update(&resources(json)).unwrap_or_else(|error| panic!("{json}: {error}"));
    for _ in 0..2 {
        // Up: the total must be raised before the limit; down: after it.
        update(r#"{"memory":{"limit":134217728,"swap":268435456}}"#);
        assert_eq!(memory(&group), both("134217728", "268435456", "134217728"));
        update(r#"{"memory":{"limit":33554432,"swap":67108864}}"#);
        assert_eq!(memory(&group), both("33554432", "67108864", "33554432"));
    }
    update(r#"{"memory":{"swap":50331648}}"#);
    assert_eq!(memory(&group), both("33554432", "50331648", "16777216"));
    update(r#"{"memory":{"limit":-1}}"#);
    let unlimited = if v2 { "max" } else { "9223372036854771712" };
    assert_eq!(memory(&group), both(unlimited, unlimited, unlimited));
    update(r#"{"memory":{"reservation":1048576}}"#);
    assert_eq!(group.read("memory.soft_limit_in_bytes", "memory.low"), "1048576");

    update(r#"{"cpu":{"period":50000}}"#);
    assert_eq!(cpu(&group), "50000 50000");
    update(r#"{"cpu":{"quota":1000,"period":1000}}"#);
    update(r#"{"cpu":{"quota":900000,"period":1000000,"burst":800000}}"#);
    assert_eq!(cpu(&group), "900000 1000000");
    assert_eq!(group.read("cpu.cfs_burst_us", "cpu.max.burst"), "800000");
    // The burst must not exceed the new quota, so its end comes first.
    update(r#"{"cpu":{"quota":2000,"period":1000,"burst":0}}"#);
    assert_eq!(cpu(&group), "2000 1000");
    update(r#"{"cpu":{"quota":-1}}"#);
    assert_eq!(cpu(&group), if v2 { "max 1000" } else { "-1 1000" });
    update(r#"{"cpu":{"idle":1}}"#);
    update(r#"{"cpu":{"idle":0,"shares":2048}}"#);
    assert_eq!(group.read("cpu.shares", "cpu.weight"), if v2 { "174" } else { "2048" });

    update(r#"{"pids":{"limit":-1}}"#);
    assert_eq!(group.read("pids.max", "pids.max"), "max");
    update(r#"{"pids":{"limit":0}}"#);
    assert_eq!(group.read("pids.max", "pids.max"), "max");
    assert!(made.remove().is_empty());
}

#[test]
fn an_update_brings_a_controller_that_the_group_had_not() {
    let group = Group::named("later");
    let made = group.create("{}", "[]").unwrap();
    let mut inside = group.command("sleep 100 & wait").spawn().unwrap();
    wait_for("they never came", || made.processes().unwrap().len() == 2);
    made.update(&resources(r#"{"cpu":{"cpus":"0"},"memory":{"limit":67108864}}"#)).unwrap();
    assert_eq!(group.read("cpuset.cpus", "cpuset.cpus"), "0");
    for pid in made.processes().unwrap() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    }
    let again = group.open();
    again.kill().unwrap();
    inside.wait().unwrap();
    assert!(again.remove().is_empty());
    assert_eq!(group.left(), [""; 0]);
}

#[test]
fn a_limit_below_the_usage_is_refused_when_that_is_asked_for() {
    let group = Group::named("usage");
    let made = group.create(r#"{"memory":{"limit":268435456}}"#, "[]").unwrap();
    // A file in memory, which is the group's as long as it is there.
    let file = format!("/dev/shm/{}", group.name);
    let mut inside = group.command(&format!("head -c 16m /dev/zero > {file}; exec sleep 100")).spawn().unwrap();
    let usage = || group.read("memory.usage_in_bytes", "memory.current").parse::<u64>().unwrap();
    wait_for("it never held the memory", || usage() > 16 << 20);
    // Nothing of it can be swapped out to make room.
    let refused = made
        .update(&resources(r#"{"memory":{"limit":1048576,"swap":1048576,"checkBeforeUpdate":true}}"#))
        .unwrap_err()
        .to_string();
    std::fs::remove_file(&file).unwrap();
    assert!(refused.starts_with("cannot set memory.limit to 1048576"), "{refused}");
    assert!(is_alive(&mut inside));
    made.kill().unwrap();
    inside.wait().unwrap();
    assert!(made.remove().is_empty());
}

#[test]
fn device_rules_of_an_update_replace_those_before() {
    let group = Group::named("redevice");
    let deny = r#"{"allow":false,"access":"rwm"}"#;
    let null = r#"{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}"#;
    let zero = r#"{"allow":true,"type":"c","major":1,"minor":5,"access":"r"}"#;
    let made = group.create("{}", &format!("[{deny},{null},{zero}]")).unwrap();
    let tried = || {
        let script = "try() { if sh -c \"$1\" 2>/dev/null; then echo yes; else echo no; fi; }
            try 'exec </dev/null'; try 'exec </dev/zero'; try 'exec </dev/full'";
        out(&group.run(script)).replace('\n', " ")
    };
    assert_eq!(tried(), "yes yes no");
    let full = r#"{"allow":true,"type":"c","major":1,"minor":7,"access":"r"}"#;
    made.update(&resources(&format!(r#"{{"devices":[{deny},{null},{full}]}}"#))).unwrap();
    assert_eq!(tried(), "yes no yes");
    made.update(&resources(r#"{"pids":{"limit":99}}"#)).unwrap();
    assert_eq!(tried(), "yes no yes");
    made.update(&resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#)).unwrap();
    assert_eq!(tried(), "yes yes yes");
    made.update(&resources(&format!(
        r#"{{"devices":[{{"allow":true,"access":"rwm"}},{}]}}"#,
        zero.replace("true", "false")
    )))
    .unwrap();
    assert_eq!(tried(), "yes no yes");
    made.update(&resources(&format!(r#"{{"devices":[{deny},{null}]}}"#))).unwrap();
    assert_eq!(tried(), "yes no no");
    assert!(made.remove().is_empty());
}

/// Counts in a file of its own as fast as it can.
fn counter(group: &Group, file: &Path) -> std::process::Child {
    group.command(&format!("while :; do echo >> {}; sleep 0.01; done", file.display())).spawn().unwrap()
}

#[test]
fn frozen_processes_stand_still_until_they_are_thawed() {
    let group = Group::named("freeze");
    let made = group.create("{}", "[]").unwrap();
    assert!(!made.is_frozen().unwrap());
    let file = std::env::temp_dir().join(&group.name);
    let mut inside = counter(&group, &file);
    let count = || std::fs::metadata(&file).map_or(0, |found| found.len());
    wait_for("it never ran", || count() > 3);
    made.freeze().unwrap();
    made.freeze().unwrap();
    assert!(made.is_frozen().unwrap() && group.open().is_frozen().unwrap());
    let still = count();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(count(), still);
    // A signal waits, and does not thaw.
    made.signal_all(10).unwrap();
    assert!(made.is_frozen().unwrap() && is_alive(&mut inside));
    made.thaw().unwrap();
    assert!(!made.is_frozen().unwrap());
    assert_eq!(inside.wait().unwrap().signal(), Some(10));

    let mut inside = counter(&group, &file);
    wait_for("it never ran", || count() > still + 3);
    made.freeze().unwrap();
    group.open().kill().unwrap();
    assert_eq!(inside.wait().unwrap().signal(), Some(9));
    assert!(!made.is_frozen().unwrap());
    std::fs::remove_file(&file).unwrap();
    assert!(made.remove().is_empty());
    let gone = group.open();
    assert!(!gone.is_frozen().unwrap());
    gone.thaw().unwrap();
    assert!(gone.freeze().is_err());
}

/// A process that writes to a frozen file system waits where no freezer reaches it, as one does whose disk is dead. Only
/// where the machine goes with the test.
#[test]
fn a_freeze_that_fails_leaves_nothing_frozen() {
    if std::env::var_os("MYCONTAINER_VM").is_none() {
        eprintln!("skipped: it freezes a file system, so it is for the virtual machine");
        return;
    }
    let disk = "/var/lib/mycontainer";
    let fsfreeze = |flag| assert!(Command::new("fsfreeze").args([flag, disk]).status().unwrap().success());
    let group = Group::named("stuck");
    let made = group.create("{}", "[]").unwrap();
    fsfreeze("-f");
    let mut inside = group.command(&format!("sleep 100 & echo > {disk}/x")).spawn().unwrap();
    let waits =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") D "));
    wait_for("it never waited", || made.processes().unwrap().iter().any(waits));
    let refused = made.freeze().unwrap_err().to_string();
    let frozen = made.is_frozen();
    fsfreeze("-u");
    assert!(refused.contains("some of them cannot be stopped now"), "{refused}");
    assert!(!frozen.unwrap());
    // It ran on.
    assert!(inside.wait().unwrap().success());
    made.kill().unwrap();
    assert!(made.remove().is_empty());
}

#[test]
fn a_signal_reaches_all_and_processes_lists_them() {
    let group = Group::named("signal");
    let made = group.create("{}", "[]").unwrap();
    let inner = format!("{}/in", group.directory("freezer"));
    std::fs::create_dir(&inner).unwrap();
    let mut one = group.command("sleep 100 & sleep 101 & wait").spawn().unwrap();
    let mut two = group.command(&format!("echo 0 > {inner}/cgroup.procs; sleep 102 & wait")).spawn().unwrap();
    wait_for("they never came", || {
        made.processes().unwrap().len() == 5
            && std::fs::read_to_string(format!("{inner}/cgroup.procs")).unwrap().lines().count() == 2
    });
    let all = made.processes().unwrap();
    assert!(all.is_sorted() && all.contains(&(one.id() as i32)) && all.contains(&(two.id() as i32)), "{all:?}");
    made.signal_all(0).unwrap();
    assert!(made.signal_all(99).is_err());
    assert_eq!(made.processes().unwrap(), all);
    made.signal_all(15).unwrap();
    assert_eq!((one.wait().unwrap().signal(), two.wait().unwrap().signal()), (Some(15), Some(15)));
    wait_for("some stayed", || made.processes().unwrap().is_empty());
    assert!(made.remove().is_empty());
}

fn readable(watch: &OomWatch, patience: Duration) -> bool {
    let patience = Timespec { tv_sec: patience.as_secs() as _, tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&patience)).unwrap() == 1
}

#[test]
fn an_out_of_memory_kill_is_heard() {
    let group = Group::named("watch");
    let made = group.create(r#"{"memory":{"limit":16777216,"swap":16777216}}"#, "[]").unwrap();
    let mut watch = made.oom_watch().unwrap();
    assert!(!watch.next().unwrap());
    assert!(!readable(&watch, Duration::from_millis(50)));
    assert!(group.run("true").status.success());
    for _ in 0..2 {
        let mut inside = group.command("exec tail /dev/zero").spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let mut heard = false;
        while !heard && Instant::now() < until {
            readable(&watch, Duration::from_secs(1));
            heard = watch.next().unwrap();
        }
        assert!(heard);
        assert_eq!(inside.wait().unwrap().signal(), Some(9));
        // What belongs to the same kill may come a moment later.
        while readable(&watch, Duration::from_millis(100)) {
            watch.next().unwrap();
        }
        assert!(!watch.next().unwrap());
    }
    assert!(made.remove().is_empty());
    // Its end is no out-of-memory.
    readable(&watch, Duration::from_millis(100));
    assert!(!watch.next().unwrap());
}

#[test]
fn the_kernel_says_what_it_has_not() {
    let group = Group::named("lacks");
    let cases: &[(&str, &str, &str)] = &[
        (
            r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#,
            "hugetlb",
            "this kernel has no huge pages of that size",
        ),
        (r#"{"rdma":{"nosuch0":{"hcaHandles":3}}}"#, "rdma", "there is no such RDMA device"),
        (r#"{"blockIO":{"weightDevice":[{"major":999,"minor":9,"weight":10}]}}"#, "blkio", "no such block device"),
        (r#"{"network":{"classID":7}}"#, "net_cls", ""),
        (r#"{"network":{"priorities":[{"name":"nosuch0","priority":1}]}}"#, "net_prio", "no such network interface"),
        (r#"{"cpu":{"realtimeRuntime":1000}}"#, "cpu", ""),
    ];
    for (json, controller, why) in cases {
        let Err(refused) = group.create(json, "[]").map(|made| assert!(made.remove().is_empty())) else {
            // Some kernels can.
            assert!(why.is_empty(), "{json} was taken");
            continue;
        };
        let told = refused.to_string();
        let absent = told.contains(&format!("the {controller} controller"))
            || told.contains(&format!("no {controller} controller"))
            || told.contains("cgroup v2 has no such")
            || told.contains("bfq scheduler")
            || told.contains("real-time");
        assert!(absent || (!why.is_empty() && told.contains(why)), "{json}: {told}");
        assert_eq!(group.left(), [""; 0], "{json}");
    }
}

#[test]
fn huge_pages_are_limited_where_the_controller_is_beside_the_others() {
    let group = Group::named("huge");
    match group.create(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#, "[]") {
        Ok(made) => {
            for (v1, v2) in [
                ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"),
                ("hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"),
            ] {
                assert_eq!(group.read(v1, v2), "4194304");
            }
            made.update(&resources(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#)).unwrap();
            assert_eq!(group.read("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), "0");
            assert!(made.stats().unwrap().hugetlb.contains_key("2MB"));
            assert!(made.remove().is_empty());
        }
        Err(refused) => {
            let told = refused.to_string();
            assert!(!group.host.is_v2() && told.contains("hugetlb controller"), "{told}");
            eprintln!("skipped: {told}");
        }
    }
}

#[test]
fn the_figures_are_those_of_the_files() {
    let group = Group::named("stats");
    let made = group
        .create(r#"{"memory":{"limit":67108864},"pids":{"limit":20},"cpu":{"quota":90000,"cpus":"0"}}"#, "[]")
        .unwrap();
    let mut inside =
        group.command("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 100 & exec sleep 101").spawn().unwrap();
    wait_for("they never came", || made.processes().unwrap().len() == 2);
    made.freeze().unwrap();
    let stats = made.stats().unwrap();
    let number = |v1: &str, v2: &str| -> u64 { group.read(v1, v2).parse().unwrap() };
    assert_eq!(stats.pids.current, 2);
    assert_eq!(stats.pids.current, number("pids.current", "pids.current"));
    assert_eq!(stats.pids.limit, 20);
    assert_eq!(stats.memory.usage.limit, 67108864);
    assert_eq!(stats.memory.usage.usage, number("memory.usage_in_bytes", "memory.current"));
    let raw = group.read("memory.stat", "memory.stat");
    assert_eq!(stats.memory.raw.len(), raw.lines().count());
    let cache = if group.host.is_v2() { "file" } else { "cache" };
    assert_eq!(stats.memory.cache, stats.memory.raw[cache]);
    assert_eq!(stats.cpuset.cpus, [0]);
    assert!(stats.cpu.usage.total > 0 && stats.cpu.usage.user > 0);
    if group.host.is_v2() {
        let used = group.read("", "cpu.stat");
        let usec = used.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        assert_eq!(stats.cpu.usage.total, usec.parse::<u64>().unwrap() * 1000);
        assert!(stats.cpu.psi.is_some() && stats.memory.psi.is_some());
        assert_eq!(stats.memory.swap.usage, stats.memory.usage.usage + number("", "memory.swap.current"));
    } else {
        assert_eq!(stats.cpu.usage.total, number("cpuacct.usage", ""));
        assert_eq!(stats.cpu.usage.percpu.iter().sum::<u64>(), stats.cpu.usage.total);
        assert_eq!(stats.memory.swap.usage, number("memory.memsw.usage_in_bytes", ""));
        assert_eq!(stats.memory.swap.limit, number("memory.memsw.limit_in_bytes", ""));
    }
    made.kill().unwrap();
    inside.wait().unwrap();
    assert!(made.remove().is_empty());
    // Nothing left is nothing used.
    assert_eq!(group.open().stats().unwrap(), Default::default());
}

#[test]
fn a_process_can_join_an_inner_group() {
    let group = Group::named("sub");
    let made = group.create("{}", "[]").unwrap();
    let inner = format!("{}/in/er", group.directory("pids"));
    std::fs::create_dir_all(&inner).unwrap();
    let sub = if group.host.is_v2() { "in/er" } else { "pids:in/er" };
    let opened = made.open_inner(sub).unwrap();
    assert!(opened.exists());
    let mut inside = group.command_in(Some(sub), "exec sleep 100").spawn().unwrap();
    wait_for("it never joined", || {
        std::fs::read_to_string(format!("{inner}/cgroup.procs")).unwrap().lines().count() == 1
    });
    for bad in ["../x", "", "nosuch", "nosuch:in"] {
        assert!(made.open_inner(bad).is_err(), "{bad}");
    }
    made.kill().unwrap();
    inside.wait().unwrap();
    assert!(made.remove().is_empty());
}

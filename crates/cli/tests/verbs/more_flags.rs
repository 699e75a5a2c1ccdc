//! Flags of `run` that are seldom typed: each is seen from inside, or in the container's control group.

use crate::common::life::Life;
use crate::common::{busybox_root, can_run, need, run, sh, sh_ok, stderr};
use std::path::Path;

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn limits_are_what_the_container_reads() {
    if !can_run("limits_are_what_the_container_reads") {
        return;
    }
    // Flags; file and value on v1; file and value on v2, where there is one.
    type Case<'a> = (&'a [&'a str], (&'a str, &'a str), Option<(&'a str, &'a str)>);
    let cases: &[Case<'_>] = &[
        (&["--cpu-quota", "30000"], ("cpu/cpu.cfs_quota_us", "30000"), Some(("cpu.max", "30000 100000"))),
        (
            &["--cpu-quota", "30000", "--cpu-period", "50000"],
            ("cpu/cpu.cfs_period_us", "50000"),
            Some(("cpu.max", "30000 50000")),
        ),
        (&["--cpuset-mems", "0"], ("cpuset/cpuset.mems", "0"), Some(("cpuset.mems", "0"))),
        (
            &["-m", "64m", "--memory-reservation", "32m"],
            ("memory/memory.soft_limit_in_bytes", "33554432"),
            Some(("memory.low", "33554432")),
        ),
        (&["--memory-swappiness", "7"], ("memory/memory.swappiness", "7"), None),
    ];
    for (flags, v1, v2) in cases {
        let (file, expected) = if is_v2() { *v2 } else { Some(*v1) }.unwrap_or_default();
        if !file.is_empty() {
            let got = sh_ok(flags, &format!("cat /sys/fs/cgroup/{file}"));
            assert_eq!(got.trim(), expected, "{flags:?}");
        }
    }
    for (flags, said) in [
        (&["--cpus", "1", "--cpu-quota", "2000"][..], "--cpus says what"),
        (&["-m", "8m", "--memory-reservation", "9m"], "cannot be above --memory"),
        (&["--device-read-bps", "/dev/null:1m"], "it is no disk"),
        (&["--device-write-iops", "/dev/nothing:1"], "/dev/nothing"),
        (&["--blkio-weight", "9"], "10 to 1000"),
    ] {
        let output = sh(flags, "true");
        assert_eq!(output.status.code(), Some(125), "{flags:?}");
        assert!(stderr(&output).contains(said), "{flags:?}: {}", stderr(&output));
    }
}

#[test]
fn names_masks_and_the_time_of_day() {
    let Some(l) = Life::new("names_masks_and_the_time_of_day") else { return };
    let resolv = |flags: &[&str]| sh_ok(flags, "cat /etc/resolv.conf");
    let seen = resolv(&["--dns-search", "a.example", "--dns-search", "b.example", "--dns-option", "ndots:3"]);
    assert!(seen.contains("\nsearch a.example b.example\noptions ndots:3\n"), "{seen}");
    assert!(!resolv(&["--dns-search", "."]).contains("search"));
    assert_eq!(sh_ok(&["--domainname", "nis"], "cat /proc/sys/kernel/domainname"), "nis\n");
    assert_eq!(sh(&["--no-hosts"], "test -s /etc/hosts").status.code(), Some(1));
    let id = l.detached(&["--umask", "0077", "--annotation", "a=b", "--domainname", "d"], "umask; sleep 100");
    assert_eq!(l.ok(&["exec", &id, "sh", "-c", "umask"]), "0077");
    assert_eq!(l.field(&id, "HostConfig.Annotations.a"), "b");
    assert_eq!(l.field(&id, "Config.Domainname"), "d");
    assert_eq!(sh_ok(&[], "umask"), "0022\n");
    if Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
        let there = std::fs::read("/usr/share/zoneinfo/Asia/Tokyo").unwrap().len();
        assert_eq!(sh_ok(&["--tz", "Asia/Tokyo"], "wc -c < /etc/localtime").trim(), there.to_string());
    }
    for wrong in [
        &["--tz", "../../../etc/shadow"][..],
        &["--tz", "/etc/shadow"],
        &["--tz", "No/Where"],
        &["--umask", "8"],
        &["--dns-search", "a b"],
        &["--userns", "keep-id"],
        &["--link", "a:b"],
        &["--no-hosts", "--add-host", "a:1.1.1.1"],
        &["--network", "container:x", "--dns-search", "a"],
    ] {
        let output = run(&[wrong, &[busybox_root().to_str().unwrap(), "true"]].concat());
        assert_eq!(output.status.code(), Some(125), "{wrong:?}: {}", stderr(&output));
    }
    assert!(sh(&["--userns", "host"], "true").status.success());
}

#[test]
fn a_rule_opens_devices() {
    if !can_run("a_rule_opens_devices") {
        return;
    }
    if !need("a_rule_opens_devices", Path::new("/dev/loop-control").exists(), "it needs loop devices") {
        return;
    }
    // The node can be made, but not opened without a rule.
    let opens = "mknod /dev/x c 10 237 && : < /dev/x";
    assert!(!sh(&[], opens).status.success());
    let output = sh(&["--device-cgroup-rule", "c 10:* rwm"], opens);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn it_is_killed_when_its_time_is_over() {
    let Some(l) = Life::new("it_is_killed_when_its_time_is_over") else { return };
    let began = std::time::Instant::now();
    // It does not hear of any signal but that.
    let deaf = "trap '' TERM INT HUP; while :; do sleep 0.1; done";
    let output = l.tool(&l.words(&["run", "--rm"], &["--timeout", "1"], deaf));
    assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
    assert!(began.elapsed().as_secs() >= 1);
    let id = l.detached(&["--timeout", "1"], deaf);
    l.until(&id, "exited");
    assert_eq!(l.state(&id).1, 137);
    // One that ends by itself is not held up.
    assert_eq!(l.tool(&l.words(&["run", "--rm"], &["--timeout", "600"], "exit 3")).status.code(), Some(3));
}

#[test]
fn variables_that_nobody_asked_for_can_be_left_away() {
    let Some(life) = Life::new("variables_that_nobody_asked_for_can_be_left_away") else { return };
    let root = busybox_root().to_str().unwrap();
    let tar = life.path("/run/image.tar");
    let packed = std::process::Command::new("tar").arg("-cf").arg(&tar).args(["-C", root, "."]).status().unwrap();
    assert!(packed.success());
    life.ok(&["import", "-c", "ENV OF_IMAGE=1 OTHER=2", "/run/image.tar", "localhost/env:1"]);
    let env = |flags: &[&str]| {
        let words =
            [&["run", "--rm", "--network", "none", "-h", "box"], flags, &["localhost/env:1", "/bin/env"]].concat();
        let mut lines: Vec<String> = life.ok(&words).lines().map(str::to_owned).collect();
        lines.sort();
        lines.join(" ")
    };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env(&[]), format!("HOME=/root HOSTNAME=box OF_IMAGE=1 OTHER=2 {path}"));
    for (flags, expected) in [
        (&["--unsetenv", "OTHER", "--unsetenv=HOSTNAME"][..], format!("HOME=/root OF_IMAGE=1 {path}")),
        (&["--unsetenv", "OF"], format!("HOME=/root HOSTNAME=box OF_IMAGE=1 OTHER=2 {path}")),
        (&["--unsetenv-all"], String::new()),
        (&["--unsetenv-all", "-e", "OTHER=3", "-e", "A=b"], "A=b OTHER=3".into()),
        (&["-e", "OTHER=3", "--unsetenv", "OTHER"], format!("HOME=/root HOSTNAME=box OF_IMAGE=1 OTHER=3 {path}")),
    ] {
        assert_eq!(env(flags), expected, "{flags:?}");
    }
    // What joins it has them as little, and `inspect` and a commit do not tell of them.
    let flags = ["--name", "less", "--unsetenv", "OF_IMAGE", "--unsetenv", "HOME", "--network", "none"];
    life.note(life.ok(&[&["run", "-d"], &flags[..], &["localhost/env:1", "sleep", "1000"]].concat()));
    assert_eq!(
        life.ok(&["exec", "less", "sh", "-c", "echo ${OF_IMAGE-none} ${OTHER-none} ${HOME-none}"]),
        "none 2 none"
    );
    let config = life.field("less", "Config.Env");
    assert!(config.contains("OTHER=2") && !config.contains("OF_IMAGE"), "{config}");
    for wrong in ["", "A=b"] {
        let output = sh(&["--unsetenv", wrong], "true");
        assert!(stderr(&output).contains("write the name of a variable"), "{}", stderr(&output));
    }
}

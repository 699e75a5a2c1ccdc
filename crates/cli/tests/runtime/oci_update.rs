//! The OCI runtime's verbs that look at a running container's use of the host, and change it: update, events, ps.

use crate::common::{stdout, wait_until};
use crate::oci::{Config, Container, Runtime};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

const SLEEP: &str = "echo ready; while :; do sleep 0.05; done";

/// What a file of the container's groups says: the first of these names that is there, on v1 or v2.
struct Groups(Vec<PathBuf>);

impl Groups {
    fn of(runtime: &Runtime, container: &Container) -> Groups {
        Groups(crate::oci::group_dirs(container.pid(), &runtime.tag))
    }

    fn read(&self, name: &str) -> Option<String> {
        let path = self.0.iter().map(|dir| dir.join(name)).find(|path| path.exists())?;
        Some(std::fs::read_to_string(path).unwrap().trim_end().to_owned())
    }
}

/// Names of files and what is in them.
type Files = &'static [(&'static str, &'static str)];

#[test]
fn each_flag_changes_its_limit_and_no_other() {
    let Some(runtime) = Runtime::new("update flags") else { return };
    let resources = json!({ "memory": { "limit": 50_000_000_i64 }, "pids": { "limit": 50 } });
    let container = runtime.start(&Config::sh(SLEEP).set("/linux/resources", resources));
    let groups = Groups::of(&runtime, &container);
    // Flags; on v1 file and text; on v2 file and text.
    let cases: &[(&[&str], Files, Files)] = &[
        (&["--pids-limit", "23"], &[("pids.max", "23")], &[("pids.max", "23")]),
        (&["--pids-limit", "-1"], &[("pids.max", "max")], &[("pids.max", "max")]),
        (&["--memory", "67108864"], &[("memory.limit_in_bytes", "67108864")], &[("memory.max", "67108864")]),
        (
            &["--memory-reservation", "33554432"],
            &[("memory.soft_limit_in_bytes", "33554432")],
            &[("memory.low", "33554432")],
        ),
        (&["--cpu-share", "512"], &[("cpu.shares", "512")], &[]),
        (
            &["--cpu-period", "50000", "--cpu-quota", "20000"],
            &[("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "20000")],
            &[("cpu.max", "20000 50000")],
        ),
        (&["--cpu-quota", "-1"], &[("cpu.cfs_quota_us", "-1")], &[("cpu.max", "max 50000")]),
        (&["--cpuset-cpus", "0"], &[("cpuset.cpus", "0")], &[("cpuset.cpus", "0")]),
        (&["--cpuset-mems", "0"], &[("cpuset.mems", "0")], &[("cpuset.mems", "0")]),
        (&["--cpu-idle", "1"], &[("cpu.idle", "1")], &[("cpu.idle", "1")]),
        (&["--cpu-idle", "0"], &[("cpu.idle", "0")], &[("cpu.idle", "0")]),
    ];
    let is_v2 = groups.read("cgroup.controllers").is_some()
        && groups.read("pids.max").is_some()
        && groups.read("memory.limit_in_bytes").is_none();
    for (flags, v1, v2) in cases {
        let files = if is_v2 { v2 } else { v1 };
        if files.iter().any(|(name, _)| groups.read(name).is_none()) {
            eprintln!("skipped {flags:?}: this kernel has no {files:?}");
            continue;
        }
        container.ok(&[&["update"], *flags].concat(), &[]);
        for (name, expected) in *files {
            assert_eq!(groups.read(name).as_deref(), Some(*expected), "{flags:?} {name}");
        }
    }
    // Flags after the id, and what was not named is as it was.
    container.ok(&["update"], &["--pids-limit=31"]);
    assert_eq!(groups.read("pids.max").as_deref(), Some("31"));
    let memory = groups.read("memory.limit_in_bytes").or(groups.read("memory.max"));
    assert_eq!(memory.as_deref(), Some("67108864"));
}

#[test]
fn limits_come_from_a_file_or_from_standard_input() {
    let Some(runtime) = Runtime::new("update resources") else { return };
    let container = runtime.start(&Config::sh(SLEEP));
    let groups = Groups::of(&runtime, &container);
    let file = runtime.scratch.file("limits.json", json!({ "pids": { "limit": 19 } }).to_string(), 0o600);
    container.ok(&["update", "--resources", &file], &[]);
    assert_eq!(groups.read("pids.max").as_deref(), Some("19"));
    let mut command = runtime.command(&["update", "-r", "-", &container.id]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"pids": {"limit": 29}, "comExampleUnknown": 1}"#).unwrap();
    assert!(crate::oci::wait_for_output(child, "update -r -").status.success());
    assert_eq!(groups.read("pids.max").as_deref(), Some("29"));
    // A flag beside a file counts more.
    container.ok(&["update", "-r", &file, "--pids-limit", "39"], &[]);
    assert_eq!(groups.read("pids.max").as_deref(), Some("39"));
    for (text, expected) in [("{", "EOF"), ("[]", "no JSON object"), (r#"{"pids": {"limit": "x"}}"#, "not valid")] {
        let file = runtime.scratch.file("bad.json", text, 0o600);
        let said = container.fails(&["update", "-r", &file], &[]);
        assert!(said.contains(expected), "{text}: {said}");
    }
    for (flags, expected) in [
        (&["-r", "/none"][..], "/none"),
        (&[], "a limit to change"),
        (&["--memory", "much"], "no such number"),
        (&["--l3-cache-schema", "L3:0=f"], "intelRdt"),
        (&["--mem-bw-schema", "MB:0=50"], "intelRdt"),
        (&["--cpuset-cpus", "999"], "cpus"),
        (&["--cpu-period", "1"], "period"),
    ] {
        let said = container.fails(&[&["update"], flags].concat(), &[]);
        assert!(said.contains(expected), "{flags:?}: {said}");
        assert_eq!(groups.read("pids.max").as_deref(), Some("39"), "{flags:?}");
    }
}

#[test]
fn limits_can_change_before_the_start_and_while_paused() {
    let Some(runtime) = Runtime::new("update status") else { return };
    let container = runtime.create(&Config::sh(SLEEP));
    let groups = Groups::of(&runtime, &container);
    container.ok(&["update", "--pids-limit", "11"], &[]);
    container.start();
    container.ok(&["pause"], &[]);
    container.ok(&["update", "--pids-limit", "12"], &[]);
    assert_eq!(groups.read("pids.max").as_deref(), Some("12"));
    assert_eq!(container.status(), "paused");
}

#[test]
fn events_tells_figures_in_the_shape_that_callers_read() {
    let Some(runtime) = Runtime::new("events") else { return };
    let config = Config::sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; exec sleep 20");
    let container = runtime.start(&config.set("/linux/resources/pids/limit", json!(77)));
    container.expect("ready");
    let event: Value = serde_json::from_str(&container.ok(&["events", "--stats"], &[])).unwrap();
    assert_eq!((event["type"].as_str(), event["id"].as_str()), (Some("stats"), Some(container.id.as_str())));
    let figure = |pointer: &str| {
        event["data"].pointer(pointer).unwrap_or_else(|| panic!("no {pointer}: {event}")).as_u64().unwrap()
    };
    assert!(figure("/cpu/usage/total") > 0);
    assert!(figure("/memory/usage/usage") > 0);
    assert!(figure("/memory/usage/limit") > 0);
    assert_eq!((figure("/pids/current"), figure("/pids/limit")), (1, 77));
    assert!(event["data"]["blkio"].is_object(), "{event}");
    // Again and again, until the container ends.
    let mut command = runtime.command(&["events", "--interval", "100ms", &container.id]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    container.ok(&["kill"], &["KILL"]);
    assert!(wait_until(10, || child.try_wait().unwrap().is_some()), "events ends with the container");
    assert!(child.wait().unwrap().success());
    for interval in ["0s", "5", "x"] {
        assert!(container.fails(&["events", "--interval", interval], &[]).contains("--interval"));
    }
}

#[test]
fn events_tells_when_memory_runs_out() {
    let Some(runtime) = Runtime::new("oom event") else { return };
    let config = Config::sh(
        "echo ready; while :; do test -e /tmp/go && { (ulimit -v 200000; tail /dev/zero); echo ended; exec sleep 5; }; sleep 0.05; done",
    )
    .set("/linux/resources/memory", json!({ "limit": 16_777_216, "swap": 16_777_216 }));
    let container = runtime.start(&config);
    container.expect("ready");
    let mut command = runtime.command(&["events", "--interval", "60s", &container.id]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.next().unwrap().contains("stats"));
    std::fs::write(container.bundle.join("rootfs/tmp/go"), "").unwrap();
    let event: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(event, json!({ "type": "oom", "id": container.id }));
    container.expect("ended");
    container.ok(&["delete", "--force"], &[]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn ps_lists_the_containers_processes_as_the_host_knows_them() {
    let Some(runtime) = Runtime::new("ps") else { return };
    let container = runtime.start(&Config::sh("sleep 1000 & sleep 1000 & echo ready; wait"));
    container.expect("ready");
    let pid = container.pid();
    let pids: Vec<i64> = serde_json::from_str(&container.ok(&["ps", "--format", "json"], &[])).unwrap();
    assert!(pids.len() == 3 && pids.contains(&pid), "{pids:?}");
    let table = container.ok(&["ps"], &[]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].contains("PID") && rows.len() == 4, "{table}");
    assert!(rows[1..].iter().any(|row| row.contains("sleep 1000")), "{table}");
    let chosen = container.ok(&["ps"], &["-o", "pid,comm", "-e"]);
    assert!(chosen.lines().any(|row| row.split_whitespace().eq([pid.to_string().as_str(), "sh"])), "{chosen}");
    assert!(container.fails(&["ps"], &["-o", "comm", "-e"]).contains("PID"));
    assert!(container.fails(&["ps", "--format", "xml"], &[]).contains("xml"));
    // Of a created container: the process that waits to become its program.
    let created = runtime.create(&Config::sh(SLEEP));
    let pids: Vec<i64> = serde_json::from_str(&created.ok(&["ps", "-f", "json"], &[])).unwrap();
    assert_eq!(pids, [created.pid()]);
    assert!(!stdout(&created.output(&["ps"], &[])).is_empty());
}

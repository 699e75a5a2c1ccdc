//! `update`: the kernel holds to the new limits at once, and what is written says them; `port`, `info` and `version`.

use crate::common::life::Life;
use crate::common::wait_until;
use crate::fixtures::guest::machine;
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use std::path::Path;

/// What a container's control group says of its processes and memory.
fn limits(id: &str) -> (String, String) {
    let group = format!("mycontainer-{id}");
    let read = |v1: &str, v2: &str| {
        let v2 = Path::new("/sys/fs/cgroup").join(&group).join(v2);
        let text = std::fs::read_to_string(v2)
            .or_else(|_| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(v1.replace("GROUP", &group))));
        text.unwrap_or_default().trim().to_owned()
    };
    (read("pids/GROUP/pids.max", "pids.max"), read("memory/GROUP/memory.limit_in_bytes", "memory.max"))
}

#[test]
fn limits_change_while_it_runs_and_stay_changed() {
    if !has("limits_change_while_it_runs_and_stay_changed", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let run = ["run", "-d", "--network", "none", "--name", "one", "--pids-limit", "100", "--memory", "64m"];
    let id = peers.ours_ok(&[&run[..], &["./layout", "sleep", "1000"]].concat()).trim().to_owned();
    assert_eq!(limits(&id), ("100".into(), (64 << 20).to_string()));
    let changes = ["--pids-limit", "50", "--memory", "128m", "--restart", "on-failure:3", "--cpus", "0.5"];
    assert_eq!(peers.ours_ok(&[&["update"][..], &changes, &["one"]].concat()), "one\n");
    assert_eq!(limits(&id), ("50".into(), (128 << 20).to_string()));
    let form =
        "{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}";
    let written = || peers.ours_ok(&["inspect", "-f", form, "one"]);
    assert_eq!(written(), "50 134217728 500000000 on-failure\n");
    // Nothing is changed when something cannot be.
    for (code, words) in [
        (1, &["update", "--pids-limit", "7", "--cpuset-cpus", "0,4000", "one"][..]),
        (1, &["update", "--pids-limit", "7", "--memory-swap", "1m", "one"]),
        (1, &["update", "--pids-limit", "7", "--cpus", "4000", "one"]),
        (1, &["update", "--pids-limit", "7", "nothing"]),
        (125, &["update", "--pids-limit", "x", "one"]),
        (125, &["update", "one"]),
    ] {
        peers.ours_fails(code, words);
    }
    assert_eq!((limits(&id).0.as_str(), written().as_str()), ("50", "50 134217728 500000000 on-failure\n"));
    // Its policy starts it again, by the word of the update and with its limits.
    let pid = || peers.ours_ok(&["inspect", "-f", "{{.State.Pid}} {{.RestartCount}}", "one"]);
    let first = pid();
    crate::common::kill("KILL", first.split(' ').next().unwrap().parse().unwrap());
    assert!(wait_until(10, || pid().ends_with(" 1\n") && pid() != first));
    assert_eq!(limits(&id), ("50".into(), (128 << 20).to_string()));
    // One that does not run has them when it starts.
    peers.ours_ok(&["stop", "-t", "0", "one"]);
    peers.ours_ok(&["container", "update", "--pids-limit", "-1", "one"]);
    peers.ours_ok(&["start", "one"]);
    assert_eq!(limits(&id).0, "max");
    peers.ours_ok(&["rm", "-f", "one"]);
    // One that goes when it ends has no policy; its limits are in its record.
    let run = ["run", "-d", "--rm", "--network", "none", "--name", "two", "./layout", "sleep", "1000"];
    let id = peers.ours_ok(&run).trim().to_owned();
    peers.ours_ok(&["update", "--pids-limit", "20", "two"]);
    assert_eq!(limits(&id).0, "20");
    assert_eq!(peers.ours_ok(&["inspect", "-f", "{{.HostConfig.PidsLimit}}", "two"]), "20\n");
    assert!(peers.ours_fails(1, &["update", "--restart", "always", "two"]).contains("goes when it ends"));
    peers.ours_ok(&["kill", "two"]);
    assert!(wait_until(10, || peers.names("run/mycontainer/containers").is_empty()));
}

#[test]
fn ports_the_machine_and_the_version() {
    if !has("ports_the_machine_and_the_version", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    peers.ours_ok(&["create", "--name", "one", "./layout"]);
    assert_eq!(peers.ours_ok(&["port", "one"]), "");
    assert!(peers.ours_fails(1, &["port", "one", "80"]).contains("no public port \"80/tcp\" published for one"));
    peers.ours_fails(1, &["port", "nothing"]);
    peers.ours_fails(125, &["container", "port", "one", "http"]);
    let form =
        "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}} {{.OSType}} {{.DockerRootDir}}";
    assert_eq!(peers.ours_ok(&["info", "--format", form]), "1 0 1 1 linux /var/lib/mycontainer\n");
    let info: serde_json::Value = serde_json::from_str(&peers.ours_ok(&["system", "info", "-f", "json"])).unwrap();
    let uname = peers.ok(&["uname", "-rm"]);
    assert_eq!(
        format!("{} {}\n", info["KernelVersion"].as_str().unwrap(), info["Architecture"].as_str().unwrap()),
        uname
    );
    let version = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" };
    assert_eq!(info["CgroupVersion"], version);
    let text = peers.ours_ok(&["info"]);
    assert!(text.starts_with("Containers: 1\n Running: 0\n Paused: 0\n Stopped: 1\nImages: 1\n"), "{text}");
    peers.ours_fails(1, &["info", "-f", "{{.Swarm}}"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(peers.ours_ok(&["version"]), format!("mycontainer {version}\n"));
    assert_eq!(peers.ours_ok(&["version", "-f", "{{.Client.Version}}"]), format!("{version}\n"));
    peers.ours_ok(&["rm", "one"]);
}

#[test]
fn what_cannot_be_beside_the_other_limits_is_refused() {
    let Some(life) = Life::new("what_cannot_be_beside_the_other_limits_is_refused") else { return };
    let root = crate::common::busybox_root().to_str().unwrap();
    let flags = ["--network", "none", "--cpu-quota", "50000", "--memory-reservation", "32m"];
    life.note(life.ok(&[&["create", "--name", "pp"], &flags[..], &[root, "true"]].concat()));
    for (asked, why) in [(["--cpus", "1"], "--cpu-quota"), (["--memory", "16m"], "--memory-reservation")] {
        let said = life.fails(1, &["update", asked[0], asked[1], "pp"]);
        assert!(said.contains(why), "{said}");
    }
    life.ok(&["update", "--memory", "64m", "pp"]);
    life.ok(&["start", "-a", "pp"]);
}

/// A group that was made for a limit of an update goes with the others.
#[test]
fn a_limit_of_another_controller_leaves_nothing() {
    let Some(life) = Life::new("a_limit_of_another_controller_leaves_nothing") else { return };
    let id = life.detached(&["--name", "one"], "exec sleep 1000");
    life.ok(&["update", "--cpuset-cpus", "0", "one"]);
    life.ok(&["rm", "-f", "one"]);
    life.assert_at_rest(id.trim());
}

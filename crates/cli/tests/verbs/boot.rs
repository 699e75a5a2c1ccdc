//! After the machine has gone down: what is told of the containers that ran, and which ones `system boot` starts.
//!
//! The machine of a test cannot go down. What is the same for the tool: every process of the containers is killed at once,
//! their control groups are gone, /run is new and empty, and what is on disk tells of another boot.

use crate::common::host::control_groups;
use crate::common::life::Life;
use crate::common::{kill, stderr, stdout, wait_until};

/// Takes the machine down, and up again.
fn reboot(life: &Life) {
    let ids = life.names("/var/lib/mycontainer/containers");
    for id in life.ok(&["ps", "-q", "--no-trunc"]).lines() {
        let monitor =
            life.host.sh(&format!("sed -n 's/.*\"tool_pid\":\\([0-9]*\\).*/\\1/p' /run/mycontainer/containers/{id}"));
        let monitor = monitor.lines().next_back().expect("it has a monitor").parse().unwrap();
        kill("KILL", monitor);
    }
    for id in &ids {
        let is_empty = || {
            let groups = control_groups(&id[..8]);
            groups
                .iter()
                .all(|group| std::fs::read_to_string(format!("{group}/cgroup.procs")).is_ok_and(|p| p.is_empty()))
        };
        assert!(wait_until(10, is_empty), "the processes of {id} live on");
        for group in control_groups(&id[..8]) {
            std::fs::remove_dir(&group).unwrap();
        }
    }
    life.host.sh("mount -t tmpfs none /run");
    life.host.sh("for life in /var/lib/mycontainer/containers/*/life.json; do
             sed -i 's/\"boot\":\"[^\"]*\"/\"boot\":\"another-boot\"/' $life
         done");
}

fn names(life: &Life) -> Vec<String> {
    let mut names: Vec<String> = life.ok(&["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn boot_starts_what_shall_run() {
    let Some(life) = Life::new("boot_starts_what_shall_run") else { return };
    for (name, policy) in [("no", "no"), ("fail", "on-failure"), ("always", "always"), ("unless", "unless-stopped")] {
        life.detached(&["--name", name, "--restart", policy], "echo x >>/n; sleep 1000");
        life.detached(&["--name", &format!("{name}-stopped"), "--restart", policy], "echo x >>/n; sleep 1000");
        life.ok(&["stop", "-t", "0", &format!("{name}-stopped")]);
        let created =
            life.words(&["create"], &["--name", &format!("{name}-created"), "--restart", policy], "sleep 1000");
        life.note(life.ok(&created));
    }
    life.detached(&["--rm", "--name", "passing"], "sleep 1000");
    for name in ["rm-run", "rm-created"] {
        life.note(life.ok(&life.words(&["create", "--rm"], &["--name", name], "sleep 1000")));
    }
    life.ok(&["start", "rm-run"]);
    reboot(&life);
    assert_eq!(names(&life), [""; 0]);
    // What is told before anything was started.
    for name in ["no", "fail", "always", "unless"] {
        let (status, exit_code, error) = life.state(name);
        assert_eq!((status.as_str(), exit_code, error.as_str()), ("exited", 255, "the machine went down while it ran"));
        assert!(
            life.ok(&["ps", "-a", "--format", "{{.Status}}", "-f", &format!("name=^{name}$")])
                .starts_with("Exited (255) ")
        );
        assert_eq!(life.ok(&["wait", name]), "255");
        assert_eq!(life.state(&format!("{name}-stopped")), ("exited".into(), 137, String::new()));
        assert_eq!(life.state(&format!("{name}-created")), ("created".into(), 0, String::new()));
    }
    assert!(life.fails(1, &["inspect", "passing"]).contains("passing"));
    let output = life.tool(&["system", "boot"]);
    assert_eq!(
        (stdout(&output), stderr(&output), output.status.code()),
        ("always\nalways-stopped\nunless\n".into(), String::new(), Some(0))
    );
    assert_eq!(names(&life), ["always", "always-stopped", "unless"]);
    assert_eq!(life.ok(&["exec", "always", "cat", "/n"]), "x\nx");
    // The rest of those that went with the machine and were not to stay is gone.
    assert_eq!(life.names("/var/lib/mycontainer/containers").len(), 13);
    assert!(life.fails(1, &["inspect", "rm-run"]).contains("rm-run"));
    assert_eq!(life.state("rm-created"), ("created".into(), 0, String::new()));
    assert!(!life.names("/var/lib/mycontainer/names").contains(&"passing".to_owned()));
    // Once more, and nothing is to be done.
    let before = life.pid("always");
    assert_eq!(life.ok(&["system", "boot"]), "");
    assert_eq!(life.pid("always"), before);
    // They are under their policy again, and can be stopped.
    life.ok(&["stop", "-t", "0", "unless"]);
    assert_eq!(life.state("unless"), ("exited".into(), 137, String::new()));
    reboot(&life);
    assert_eq!(life.ok(&["system", "boot"]), "always\nalways-stopped");
}

#[test]
fn files_of_the_boot_before_confuse_nobody() {
    let Some(life) = Life::new("files_of_the_boot_before_confuse_nobody") else { return };
    let id = life.detached(&["--name", "aa", "--restart", "always"], "sleep 1000");
    life.host.sh("cp -a /run/mycontainer /var/lib/mycontainer/before");
    reboot(&life);
    // As if /run were on a disk: record and socket are there, and nobody holds them.
    life.host.sh("mv /var/lib/mycontainer/before /run/mycontainer");
    assert_eq!(life.names("/run/mycontainer/attach"), std::slice::from_ref(&id));
    assert_eq!(life.state("aa").0, "exited");
    assert!(life.fails(1, &["attach", "aa"]).contains("is not running"));
    assert_eq!(life.ok(&["system", "boot"]), "aa");
    assert_eq!(life.state("aa").0, "running");
    life.ok(&["stop", "-t", "0", "aa"]);
    life.assert_at_rest(&id);
}

#[test]
fn one_that_cannot_be_started_does_not_keep_the_others() {
    let Some(life) = Life::new("one_that_cannot_be_started_does_not_keep_the_others") else { return };
    let volume = crate::common::Scratch::new("gone");
    let flags = ["--name", "bad", "--restart", "always", "-v", &format!("{}:/v", volume.0.display())];
    life.detached(&flags, "sleep 1000");
    life.detached(&["--name", "good", "--restart", "always"], "sleep 1000");
    reboot(&life);
    drop(volume);
    let output = life.tool(&["system", "boot"]);
    assert_eq!((stdout(&output), output.status.code()), ("good\n".into(), Some(1)));
    assert!(stderr(&output).starts_with("mycontainer: "), "{}", stderr(&output));
    assert_eq!(names(&life), ["good"]);
    let (status, exit_code, error) = life.state("bad");
    assert_eq!((status.as_str(), exit_code), ("exited", 125), "{error}");
    assert!(!error.is_empty());
}

//! Many at once, killed ones, and what is left afterwards: nothing.

mod common;

use common::{Host, Namespace, both, id, until};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const SIGKILL: i32 = 9;

#[test]
fn two_hundred_leases_sixteen_at_a_time_are_two_hundred_addresses() {
    let Some(host) = Host::new() else { return };
    let numbers = Mutex::new(1..=200);
    let addresses = Mutex::new(Vec::new());
    let me = std::process::id();
    let each = |act: &(dyn Fn(u32) + Sync)| {
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while let Some(nth) = { numbers.lock().unwrap().next() } {
                        act(nth);
                    }
                });
            }
        });
    };
    each(&|nth| {
        let address = host.ok(&format!("lease {} {me}", id(nth)));
        addresses.lock().unwrap().push(address.trim().to_owned());
    });
    let addresses = addresses.into_inner().unwrap();
    assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 200);
    assert_eq!(host.leases().len(), 200);
    *numbers.lock().unwrap() = 1..=200;
    each(&|nth| {
        host.ok(&format!("release {}", id(nth)));
    });
    assert!(host.leases().is_empty());
    host.until_gone();
}

#[test]
fn an_idle_network_goes_and_a_used_one_stays() {
    let Some(host) = Host::new() else { return };
    let me = std::process::id();
    let index = || host.ns.sh("cat /proc/net/dev_snmp6/mycontainer0 | grep ifIndex");
    host.ok(&format!("lease {} {me}", id(1)));
    let first = index();
    // Longer than the janitor waits, in steps that are shorter.
    for nth in 2..12 {
        host.ok(&format!("release {}", id(nth - 1)));
        std::thread::sleep(std::time::Duration::from_millis(200));
        host.ok(&format!("lease {} {me}", id(nth)));
    }
    assert_eq!(index(), first, "it is the same bridge all the time");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert!(host.has_bridge(), "a lease keeps it");
    host.ok(&format!("release {}", id(11)));
    host.until_gone();
    host.ok(&format!("lease {} {me}", id(1)));
    host.ok(&format!("release {}", id(1)));
    host.until_gone();
}

#[test]
fn what_a_killed_owner_held_is_swept() {
    let Some(host) = Host::new() else { return };
    let owner = Namespace::new();
    let container = Namespace::new();
    host.ok(&format!("start {} {} {} /dev/null", id(1), container.netns(), owner.pid()));
    drop(owner);
    host.ok(&format!("lease {} {}", id(2), std::process::id()));
    host.ok("sweep");
    let leases = host.leases();
    assert!(leases.len() == 1 && leases[0].contains(&id(2)), "{leases:?}");
    assert!(!host.ns.sh("ip -br link").contains("mc0000"), "the veth went, though its namespace lives");
    host.ok(&format!("release {}", id(2)));
    host.until_gone();
}

#[test]
fn a_container_started_again_gets_its_cable_again() {
    let Some(host) = Host::new() else { return };
    let (_lingering, _) = host.container(1);
    host.ok(&format!("release {}", id(1)));
    let (again, _) = host.container(1);
    again.sh("ping -c1 -W0.5 172.17.0.1");
}

#[test]
fn the_janitor_holds_nothing_of_its_makers() {
    let Some(host) = Host::new() else { return };
    for nth in 1..4 {
        host.ok(&format!("lease {} {}", id(nth), std::process::id()));
        host.ok(&format!("release {}", id(nth)));
    }
    let netns = std::fs::read_link(host.ns.netns()).unwrap();
    let is_janitor = |process: &Path| {
        std::fs::read_to_string(process.join("comm")).is_ok_and(|name| name == "mc-idle\n")
            && std::fs::read_link(process.join("ns/net")).is_ok_and(|theirs| theirs == netns)
    };
    let janitors: Vec<PathBuf> = std::fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_janitor(path))
        .collect();
    assert_eq!(janitors.len(), 1, "one, however many were released");
    let janitor = &janitors[0];
    assert_eq!(std::fs::read_link(janitor.join("cwd")).unwrap(), Path::new("/"));
    let behind: BTreeSet<PathBuf> = std::fs::read_dir(janitor.join("fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(behind, BTreeSet::from([PathBuf::from("/dev/null"), host.dir.clone(), host.dir.join("leases")]));
    host.until_gone();
}

/// The steps that the probe tells of, in the order in which it takes them.
fn steps_of(said: &str) -> Vec<String> {
    said.lines()
        .filter(|line| line.contains(" us "))
        .filter_map(|line| line.split_whitespace().nth(5))
        .map(Into::into)
        .collect()
}

#[test]
fn killed_at_any_step_of_a_start_nothing_stays() {
    let Some(host) = Host::new() else { return };
    let container = Namespace::new();
    let start = |container: &Namespace| format!("start {} {} {} /dev/null", id(1), container.netns(), container.pid());
    let said = both(&host.probe(&start(&container)).env("EXPLAIN", "1").output().unwrap());
    let steps = steps_of(&said);
    assert!(steps.len() >= 8 && steps.contains(&"make-veth".to_owned()), "{said}");
    let faults: Vec<String> =
        steps.iter().flat_map(|step| ["before", "after"].map(|when| format!("self:{when}:{step}"))).collect();
    let faults = Mutex::new(faults.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(fault) = { faults.lock().unwrap().next() } {
                    let host = Host::new().unwrap();
                    host.ns.sh("nft 'table ip own { chain f { type filter hook forward priority 5; policy drop; }; }'");
                    let container = Namespace::new();
                    let output = host.probe(&start(&container)).env("MYCONTAINER_FAULT", &fault).output().unwrap();
                    assert_eq!(output.status.signal(), Some(SIGKILL), "{fault}: {}", both(&output));
                    drop(container);
                    host.ok("sweep");
                    assert!(host.leases().is_empty(), "{fault}");
                    host.until_gone();
                }
            });
        }
    });
}

#[test]
fn killed_at_any_step_of_the_end_nothing_stays() {
    let steps = ["release-address", "start-janitor", "remove-rules", "remove-bridge", "remove-leases"];
    std::thread::scope(|scope| {
        for step in steps {
            scope.spawn(move || {
                for when in ["before", "after"] {
                    let Some(host) = Host::new() else { return };
                    let (container, _) = host.container(1);
                    let fault = format!("self:{when}:{step}");
                    let output = host.probe(&format!("release {}", id(1))).env("MYCONTAINER_FAULT", &fault).output();
                    let by_janitor = step.starts_with("remove");
                    assert_eq!(output.unwrap().status.success(), by_janitor, "{fault}");
                    drop(container);
                    if by_janitor {
                        // It is killed on its own time; only then does a sweep start another.
                        until("the end of the janitor", || {
                            host.ok("sweep");
                            !host.has_bridge() && !host.dir.join("leases").exists()
                        });
                    } else {
                        host.ok("sweep");
                    }
                    host.until_gone();
                }
            });
        }
    });
}

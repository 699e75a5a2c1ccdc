//! Many containers at a time: addresses that never collide, names that only one has, and a clearing away of what killed
//! tools left that never takes from the living.
//!
//! Each test has a host of its own (see `common/host.rs`), which must be at the end as it was before.

use crate::common::host::{Guest, Host, control_groups};
use crate::common::{Scratch, busybox_root, code, kill, stderr, stdout};
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const AT_A_TIME: usize = 16;

/// Does something for each of 0 to `count`, so many at a time; what came of it, in no order.
fn in_parallel<T: Send>(count: usize, at_a_time: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < count));
        numbers.map(&act).collect::<Vec<T>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    })
}

#[test]
fn two_hundred_containers_started_sixteen_at_a_time_have_two_hundred_addresses() {
    let test = "two_hundred_containers_started_sixteen_at_a_time_have_two_hundred_addresses";
    let Some(host) = Host::new(test, "") else { return };
    let started = Instant::now();
    // All are alive until the last one has told its address.
    let mut guests: Vec<Guest> =
        in_parallel(200, AT_A_TIME, |nth| host.start(&["--name", &format!("of-200-{nth}")], "read x; true"));
    let addresses: HashSet<&str> = guests.iter().map(|guest| guest.address.as_str()).collect();
    assert_eq!(addresses.len(), 200, "{:?}", guests.iter().map(|guest| &guest.address).collect::<Vec<_>>());
    assert!(addresses.iter().all(|address| address.starts_with("172.17.0.")), "{addresses:?}");
    let count = |script: &str| host.net(script).trim().to_owned();
    assert_eq!(count("ls /var/lib/mycontainer/names | wc -l"), "200");
    assert_eq!(count("ip -br link show master mycontainer0 | grep -c ' UP '"), "200");
    assert_eq!(count("grep -c '^172.17.0' /run/mycontainer/network/leases"), "200");
    for guest in [&guests[0], &guests[99], &guests[199]] {
        host.net(&format!("ping -c1 -W1 {}", guest.address));
    }
    let ids: Vec<String> = guests.iter().map(|guest| guest.id.clone()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 200);
    // Let go of first, all at once: so many ends at a time there will hardly be again.
    guests.iter_mut().for_each(Guest::let_go);
    guests.iter_mut().for_each(|guest| assert_eq!(guest.end_ok(), ""));
    let left: Vec<String> = ids.iter().flat_map(|id| control_groups(id)).collect();
    assert!(left.is_empty(), "{left:?}");
    host.until_idle();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(60), "it took {took:?}");
}

#[test]
fn of_sixteen_that_want_the_same_name_one_has_it() {
    let Some(host) = Host::new("of_sixteen_that_want_the_same_name_one_has_it", "") else { return };
    let results = in_parallel(AT_A_TIME, AT_A_TIME, |_| host.spawn(&["--name", "only"], "read x; true").told());
    let (mut winners, losers): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1, "{} winners", winners.len());
    for said in losers.into_iter().filter_map(Result::err) {
        assert!(said.contains("(125, ") && said.contains("only"), "{said}");
    }
    winners.remove(0).unwrap().end_ok();
    host.busybox_ok(&["--name", "only"], "true");
}

/// Also while the one who has it is giving it up: a name that was just seen to be free may be another's by then.
#[test]
fn a_name_is_never_two_containers_at_a_time() {
    let Some(host) = Host::new("a_name_is_never_two_containers_at_a_time", "") else { return };
    let shared = Scratch::new("shared");
    let volume = format!("{}:/shared", shared.0.display());
    // Fails with 9 when somebody else is in it.
    let script = "mkdir /shared/mine || exit 9; sleep 0.01; rmdir /shared/mine || exit 9";
    let words =
        ["--network", "none", "--name", "taken", "-v", &volume, busybox_root().to_str().unwrap(), "sh", "-c", script];
    let outputs = in_parallel(400, AT_A_TIME, |_| host.run(&words));
    let codes: BTreeSet<i32> = outputs.iter().map(|output| code(output.status)).collect();
    for output in &outputs {
        let (code, said) = (code(output.status), stderr(output));
        let is_right = if code == 0 { said.is_empty() } else { code == 125 && said.contains("taken") };
        assert!(is_right, "{code}: {}{said}", stdout(output));
    }
    assert!(codes.contains(&0), "nobody had it: {codes:?}");
    assert_eq!(
        host.sh("ls /var/lib/mycontainer/names /run/mycontainer/containers | grep -v : | grep -v '^$' || true"),
        ""
    );
}

#[test]
fn tools_killed_at_random_leave_nothing_and_disturb_nobody() {
    let Some(host) = Host::new("tools_killed_at_random_leave_nothing_and_disturb_nobody", "") else { return };
    let mut neighbour = host.start(&["--name", "neighbour"], "read x; ping -c1 -W1 172.17.0.1 >&2 || exit 9");
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos() as usize;
    // How long a start takes while others start, in microseconds: at least.
    let slowest = AtomicUsize::new(30_000);
    let ids = in_parallel(120, AT_A_TIME, |nth| {
        if nth % 2 == 0 {
            // From the first step to well after the last one of a start.
            let micros = (seed + nth).wrapping_mul(2_654_435_761) % (2 * slowest.load(Ordering::Relaxed));
            let doomed = host.spawn(&["--name", &format!("doomed-{nth}")], "sleep 1000");
            std::thread::sleep(Duration::from_micros(micros as u64));
            kill("KILL", doomed.pid());
            return doomed.told().map(|guest| guest.id.clone()).unwrap_or_default();
        }
        let begun = Instant::now();
        let mut well =
            host.start(&["--name", &format!("well-{nth}")], "ping -c1 -W1 172.17.0.1 >/dev/null && read x; true");
        slowest.fetch_max(begun.elapsed().as_micros() as usize, Ordering::Relaxed);
        assert!(well.address.starts_with("172.17."), "{}", well.address);
        well.end_ok();
        well.id.clone()
    });
    let said = neighbour.end();
    assert_eq!(said.0, 0, "seed {seed}: {said:?}");
    // The next command: what is left of the last ones killed goes with it.
    host.busybox_ok(&["--network", "none"], "true");
    let left: Vec<String> = ids.iter().filter(|id| !id.is_empty()).flat_map(|id| control_groups(id)).collect();
    assert!(left.is_empty(), "seed {seed}: {left:?}");
    assert!(ids.iter().filter(|id| !id.is_empty()).count() > 60, "seed {seed}: some were killed while they ran");
    host.until_idle();
}

#[test]
fn many_that_clear_away_at_once_take_nothing_from_the_living() {
    let Some(host) = Host::new("many_that_clear_away_at_once_take_nothing_from_the_living", "") else { return };
    let script =
        "echo kept > /kept; while read -r line; do ping -c1 -W1 172.17.0.1 >/dev/null && cat /kept || echo lost; done";
    let mut living = host.start(&["--name", "living", "--ephemeral", "--memory", "64m"], script);
    let groups = control_groups(&living.id);
    let state = || host.sh("readlink /var/lib/mycontainer/names/living; ls -A /var/lib/mycontainer/containers");
    let before = state();
    assert!(before.contains(&living.id) && !groups.is_empty());
    let mut dead = host.start(&["--name", "dead"], "sleep 1000");
    kill("KILL", dead.tool.id());
    let _ = dead.tool.wait();
    let outputs = in_parallel(50, AT_A_TIME, |nth| {
        let network = if nth % 2 == 0 { "none" } else { "bridge" };
        host.busybox_ok(&["--network", network], "hostname")
    });
    assert_eq!(outputs.iter().collect::<HashSet<_>>().len(), 50, "each is another container");
    assert!(control_groups(&dead.id).is_empty(), "the dead one is cleared away");
    assert_eq!(living.ask("there?"), "kept");
    host.sh(&format!("ping -c1 -W1 {}", living.address));
    assert_eq!((state(), control_groups(&living.id)), (before, groups));
    // Longer than the janitor waits for the network to be idle.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(living.ask("still there?"), "kept");
    living.end_ok();
}

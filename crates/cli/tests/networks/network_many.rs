//! As many containers as a network has addresses, and two that want the same: one gets it, and the other is told.
//!
//! Each test has a host of its own (see `common/host.rs`), which must be at the end as it was before.

use crate::common::host::{Host, control_groups};
use crate::common::{busybox_root, stderr, wait_until};
use std::collections::BTreeSet;
use std::process::Output;

fn root() -> &'static str {
    busybox_root().to_str().unwrap()
}

#[test]
fn a_small_network_is_filled_and_emptied() {
    filled_and_emptied("a_small_network_is_filled_and_emptied", 26, 61);
}

/// A minute or more: `make soak`.
#[test]
#[ignore = "it starts 509 containers"]
fn a_network_of_500_is_filled_and_emptied() {
    filled_and_emptied("a_network_of_500_is_filled_and_emptied", 23, 509);
}

/// Starts `count` containers, all for which a network with a mask of `bits` has room; each reaches another by its name.
fn filled_and_emptied(test: &str, bits: u8, count: usize) {
    let Some(host) = Host::new(test, "") else { return };
    let mounts = || std::fs::read_to_string(format!("/proc/{}/mountinfo", host.keeper())).unwrap().lines().count();
    let links = || host.net("ip -o link").lines().filter(|line| line.contains(": mc")).count();
    let start = |n: usize| {
        ["run", "-d", "--network", "net", "--name"].map(str::to_owned).into_iter().chain([
            format!("full-{n}"),
            root().to_owned(),
            "sleep".to_owned(),
            "1000000".to_owned(),
        ])
    };
    let words = |n: usize| start(n).collect::<Vec<String>>();
    let borrowed = |words: &[String]| host.ours(&words.iter().map(String::as_str).collect::<Vec<_>>());
    host.ours_ok(&["network", "create", "--subnet", &format!("10.77.0.0/{bits}"), "net"]);
    // What the tool mounts for all containers it does not mount again.
    host.run_ok(&["--network", "net", root(), "true"]);
    let before = mounts();
    for n in 0..count {
        let output = borrowed(&words(n));
        assert!(output.status.success(), "{n}: {}", stderr(&output));
    }
    let more = borrowed(&words(count));
    let said = stderr(&more);
    assert!(!more.status.success() && said.contains(&format!("no free address in 10.77.0.0/{bits}")), "{said}");
    assert!(said.contains(&format!("all {count} are leased")), "{said}");
    let ids: Vec<String> = host.ours_ok(&["ps", "-q", "--no-trunc"]).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), count, "the one too many is not there");
    let addresses: BTreeSet<String> = host
        .sh("cat /run/mycontainer/network/leases")
        .lines()
        .filter_map(|line| line.split(' ').next().filter(|first| first.starts_with("10.77.")))
        .map(str::to_owned)
        .collect();
    assert_eq!((addresses.len(), links()), (count, count + 1), "an address and a link each, and the bridge");
    for n in 0..count {
        let (from, to) = (format!("full-{n}"), format!("full-{}", (n + count / 2) % count));
        // The kernel knows at most gc_thresh3 = 1024 neighbours of all namespaces together, and forgets none in its first
        // five seconds: who asks for more at once is refused for so long ("neighbor table overflow").
        let reaches = || host.ours(&["exec", &from, "ping", "-c1", "-W2", &to]).status.success();
        assert!(wait_until(20, reaches), "{from} does not reach {to}");
    }
    for n in [0, count - 1] {
        let setting = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";
        assert_eq!(host.ours_ok(&["exec", &format!("full-{n}"), "cat", setting]), "1\n", "{n}: a network of IPv4");
    }
    // With the one that was made and could not be started.
    let names: Vec<String> = (0..=count).map(|n| format!("full-{n}")).collect();
    let all: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    host.ours_ok(&all);
    host.ours_ok(&["network", "rm", "net"]);
    let groups: Vec<_> = ids.iter().flat_map(|id| control_groups(&id[..8])).collect();
    assert!(groups.is_empty(), "{groups:?}");
    assert_eq!(mounts(), before, "mounts");
    let leases = host.sh("grep -c '^10.77' /run/mycontainer/network/leases 2>/dev/null || true");
    assert!(["", "0\n"].contains(&leases.as_str()), "{leases}");
    // Links, addresses, rules, and the files of the tool the host looks at as it goes.
}

/// Starts two at once, some times; of each two one runs, and the other says why not. Both are gone afterwards.
fn one_of_two(host: &Host, flags: &[&str], why: &str) {
    for round in 0..15 {
        let start = |name: &'static str| {
            host.ours(&[&["run", "-d", "--name", name], flags, &[root(), "sleep", "1000000"]].concat())
        };
        let both: Vec<(&str, Output)> = std::thread::scope(|scope| {
            let started = ["left", "right"].map(|name| (name, scope.spawn(move || start(name))));
            started.into_iter().map(|(name, thread)| (name, thread.join().unwrap())).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = both.iter().partition(|(_, output)| output.status.success());
        let said: Vec<String> = both.iter().map(|(_, output)| stderr(output)).collect();
        assert_eq!((won.len(), lost.len()), (1, 1), "round {round}: {said:?}");
        assert!(stderr(&lost[0].1).contains(why), "round {round}: {said:?}");
        let running = host.ours_ok(&["ps", "--format", "{{.Names}}"]);
        assert_eq!(running.trim_end(), won[0].0, "round {round}");
        host.ours_ok(&["rm", "-f", "left", "right"]);
    }
}

#[test]
fn of_two_that_want_one_port_one_gets_it() {
    let Some(host) = Host::new("of_two_that_want_one_port_one_gets_it", "") else { return };
    one_of_two(&host, &["-p", "8080:80"], "8080");
}

#[test]
fn of_two_that_want_one_address_one_gets_it() {
    let Some(host) = Host::new("of_two_that_want_one_address_one_gets_it", "") else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.78.0.0/24", "net"]);
    one_of_two(&host, &["--network", "net", "--ip", "10.78.0.9"], "10.78.0.9 is the address of the container ");
    host.ours_ok(&["network", "rm", "net"]);
}

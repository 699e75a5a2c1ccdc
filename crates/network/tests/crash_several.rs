//! Killed at any step on one of two networks: the next command completes it or takes it away, and the other one works on.

mod common;

use common::nets::{bridge_of, net, plain, six};
use common::{Host, Namespace, ask, both, id, until};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Mutex;

const SIGKILL: i32 = 9;
const WISHES: &str = "tcp/any/8080/80 udp/127.0.0.1/8080/80";

/// A host with a container on a network that goes on while the other one's commands are killed.
struct Beside {
    host: Host,
    other: Namespace,
    _outside: Namespace,
}

impl Beside {
    fn new() -> Option<Beside> {
        let host = Host::new()?;
        host.ns.sh("nft 'table inet own { chain f { type filter hook forward priority 5; policy drop; }; }'");
        let _outside = host.outside(1500);
        let (other, _, _) = host.on(&plain(2)).container(2);
        Some(Beside { host, other, _outside })
    }

    fn network() -> Value {
        net(1, six(1))
    }

    /// Nothing is left of the first network.
    fn until_gone(&self, case: &str) {
        let host = &self.host;
        until(case, || host.uses() == ["020202020202"] && !host.rules().contains(&bridge_of(1)));
        assert!(!host.ns.can(&format!("ip link show {}", bridge_of(1))), "{case}");
        assert!(!host.rules().contains("8080"), "{case}");
        assert!(!host.leases().iter().any(|lease| lease.contains(&id(1))), "{case}");
        assert_eq!(host.ok(&format!("ports {}", id(1))), "", "{case}");
        assert_eq!(host.ns.sh("ip -br link").matches("mc0").count(), 1, "{case}: a veth is left");
        self.other.sh("ping -c1 -W0.5 10.2.0.1");
    }
}

/// Does something for each case, some at a time.
fn each(cases: Vec<String>, act: impl Fn(&str) + Sync) {
    let cases = Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = { cases.lock().unwrap().next() } {
                    act(&case);
                }
            });
        }
    });
}

/// Before and after each of the steps that a command tells of.
fn faults(said: &str) -> Vec<String> {
    let steps = said.lines().filter(|line| line.contains(" us ")).filter_map(|line| line.split_whitespace().nth(5));
    steps.flat_map(|step| ["before", "after"].map(|when| format!("self:{when}:{step}"))).collect()
}

#[test]
fn killed_at_any_step_of_a_start_it_is_taken_away_or_completed() {
    let Some(beside) = Beside::new() else { return };
    let ns = Namespace::new();
    let hold = |ns: &Namespace| format!("hold {} {} {WISHES}", id(1), ns.netns());
    let mut whole = beside.host.on(&Beside::network()).probe(&hold(&ns));
    let said = both(&whole.stdin(Stdio::null()).env("EXPLAIN", "1").output().unwrap());
    let faults = faults(&said);
    for step in ["create-bridge", "address-bridge", "install-rules", "claim-ports", "publish-ports", "make-veth"] {
        assert!(faults.contains(&format!("self:after:{step}")), "{step}: {said}");
    }
    each(faults, |fault| {
        let Some(beside) = Beside::new() else { return };
        let host = &beside.host;
        let network = Beside::network();
        let ns = Namespace::new();
        let mut killed = host.on(&network).probe(&hold(&ns));
        let output = killed.stdin(Stdio::null()).env("MYCONTAINER_FAULT", fault).output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGKILL), "{fault}: {}", both(&output));
        beside.other.sh("ping -c1 -W0.5 10.2.0.1");
        // The container's namespace lives on, as that of a container whose holder was killed may.
        if fault.contains("before") {
            host.ok("sweep");
            return beside.until_gone(fault);
        }
        let again = host.on(&network).publishing(1, WISHES);
        again.ns.sh("ping -c1 -W0.5 fd00:1::1 && ping -c1 -W0.5 192.0.2.2");
        let _server = again.serve(80);
        assert_eq!(ask(&host.ns, "tcp", "192.0.2.2", 8080).as_deref(), Some("192.0.2.2"), "{fault}");
        drop(ns);
        again.end();
        beside.until_gone(fault);
    });
}

#[test]
fn killed_at_any_step_of_the_end_nothing_stays_of_that_network() {
    let steps =
        ["withdraw-ports", "leave-socket", "release-address", "start-janitor", "remove-bridge", "install-rules"];
    let faults = steps.iter().flat_map(|step| ["before", "after"].map(|when| format!("self:{when}:{step}")));
    each(faults.collect(), |fault| {
        let Some(beside) = Beside::new() else { return };
        let host = &beside.host;
        let network = Beside::network();
        if fault.ends_with("withdraw-ports") || fault.ends_with("leave-socket") {
            let ns = Namespace::new();
            let mut killed = host.on(&network).probe(&format!("hold {} {} {WISHES}", id(1), ns.netns()));
            let output = killed.stdin(Stdio::null()).env("MYCONTAINER_FAULT", fault).output().unwrap();
            assert_eq!(output.status.signal(), Some(SIGKILL), "{fault}");
            host.ok("sweep");
            return beside.until_gone(fault);
        }
        let (container, _, _) = host.on(&network).container(1);
        let by_janitor = fault.ends_with("remove-bridge") || fault.ends_with("install-rules");
        let output = host.probe(&format!("release {}", id(1))).env("MYCONTAINER_FAULT", fault).output().unwrap();
        assert_eq!(output.status.success(), by_janitor, "{fault}: {}", both(&output));
        drop(container);
        // A janitor is killed on its own time; only after that does a sweep start another.
        until(fault, || {
            host.ok("sweep");
            host.uses() == ["020202020202"]
        });
        if fault.ends_with(":install-rules") {
            // Nothing is left to tidy; who leases next finds that the rules are not those of the networks in use.
            until(fault, || host.leases().len() == 1 && !host.ns.can(&format!("ip link show {}", bridge_of(1))));
            host.on(&plain(2)).lease(3);
        }
        beside.until_gone(fault);
    });
}

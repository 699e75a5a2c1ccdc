//! `network rm`, `network prune`, and networks with `system prune`.
//!
//! Each test has a host of its own (see `common/host.rs`).

use crate::common::busybox_root;
use crate::common::host::Host;

fn made(host: &Host) -> String {
    let names = host.ours_ok(&["network", "ls", "-f", "type=custom", "--format", "{{.Name}}"]);
    names.lines().collect::<Vec<_>>().join(" ")
}

/// A container that stays, and names the network.
fn container(host: &Host, network: &str) -> String {
    let root = busybox_root().to_str().unwrap();
    host.ours_ok(&["create", "--network", network, root, "sleep", "1000"]).trim().to_owned()
}

#[test]
fn networks_are_removed() {
    let Some(host) = Host::new("networks_are_removed", "") else { return };
    for name in ["one", "two", "three"] {
        host.ours_ok(&["network", "create", name]);
    }
    let id = host.ours_ok(&["network", "inspect", "-f", "{{.Id}}", "two"]);
    assert_eq!(host.ours_ok(&["network", "rm", "one", &id[..10]]), format!("one\n{}\n", &id[..10]));
    assert_eq!(made(&host), "three");
    for (words, expected, why) in [
        (&["one"][..], 1, "there is no network \"one\""),
        (&["-f", "one"], 0, ""),
        (&["../three"], 1, "there is no network"),
        (&["bridge"], 1, "is built in, and cannot be removed"),
        (&["-f", "host"], 1, "is built in"),
        (&["none"], 1, "is built in"),
    ] {
        let said = host.ours_fails(expected, &[&["network", "rm"], words].concat());
        assert!(said.contains(why), "{words:?}: {said}");
    }
    // After one that fails the others go.
    host.ours_fails(1, &["network", "remove", "gone", "three"]);
    assert_eq!(made(&host), "");
}

/// The bridge of a network waits for a second, but not for who removes it.
#[test]
fn one_that_was_just_used_can_be_made_again_at_once() {
    let Some(host) = Host::new("one_that_was_just_used_can_be_made_again_at_once", "") else { return };
    let root = busybox_root().to_str().unwrap();
    let name = "com.docker.network.bridge.name=br9";
    for is_alone in [true, false] {
        let _other = (!is_alone).then(|| {
            host.ours_ok(&["network", "create", "beside"]);
            host.ours_ok(&["run", "-d", "--network", "beside", "--name", "other", root, "sleep", "1000"]);
            Background(&host, "other")
        });
        for _ in 0..3 {
            host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/24", "-o", name, "net"]);
            host.run_ok(&["--network", "net", root, "ping", "-c1", "-W2", "10.9.0.1"]);
            host.net("ip link show br9");
            host.ours_ok(&["network", "rm", "net"]);
            assert!(!host.try_net("ip link show br9 2>/dev/null").status.success(), "alone: {is_alone}");
            assert_eq!(host.try_sh("grep -l br9 /run/mycontainer/network/nets/*").stdout, b"");
            assert!(is_alone || !host.net("nft list table inet mycontainer").contains("br9"));
        }
        if !is_alone {
            host.ours_ok(&["exec", "other", "ping", "-c1", "-W2", "172.18.0.1"]);
        }
    }
}

/// A container in the background that goes with the test, also when that fails.
struct Background<'a>(&'a Host, &'static str);

impl Drop for Background<'_> {
    fn drop(&mut self) {
        let _ = self.0.ours(&["rm", "-f", self.1]);
    }
}

#[test]
fn one_that_a_container_is_on_stays() {
    let Some(host) = Host::new("one_that_a_container_is_on_stays", "") else { return };
    host.ours_ok(&["network", "create", "net"]);
    let root = busybox_root().to_str().unwrap();
    let runs = host.ours_ok(&["run", "-d", "--network", "none", "--name", "runs", root, "sleep", "1000"]);
    let _goes = Background(&host, "runs");
    let record = format!("/var/lib/mycontainer/containers/{}/created.json", runs.trim());
    host.sh(&format!(r#"sed -i 's/"network": "None"/"network": {{"Named": [{{"network": "net"}}]}}/' {record}"#));
    for words in [&["network", "rm", "net"][..], &["network", "rm", "-f", "net"]] {
        let said = host.ours_fails(1, words);
        assert!(
            said.contains("the network \"net\" is used by container runs\n  hint: end that container first"),
            "{said}"
        );
    }
    assert_eq!(host.ours_ok(&["network", "prune", "-f"]), "");
    host.ours_ok(&["kill", "runs"]);
    host.ours_ok(&["wait", "runs"]);
    // One that does not run lets it go, but for a prune, which is not asked about this one.
    assert_eq!(host.ours_ok(&["network", "prune", "-f"]), "");
    host.ours_ok(&["network", "rm", "net"]);
    let said = host.ours_fails(1, &["start", "runs"]);
    assert!(said.contains("there is no network \"net\""), "{said}");
    host.ours_ok(&["rm", "runs"]);
}

#[test]
fn one_that_a_container_is_being_started_on_stays() {
    let Some(host) = Host::new("one_that_a_container_is_being_started_on_stays", "") else { return };
    host.ours_ok(&["network", "create", "net"]);
    let rm = |words: &str| {
        let script =
            format!("flock --shared /var/lib/mycontainer/networks/net.json {} network {words}", crate::common::tool());
        let output = host.try_sh(&script);
        (crate::common::code(output.status), crate::common::stdout(&output) + &crate::common::stderr(&output))
    };
    let (code, said) = rm("rm net");
    assert!(code == 1 && said.contains("a container is being started on the network \"net\""), "{said}");
    assert_eq!(rm("prune -f"), (0, String::new()));
    assert_eq!(rm("ls -q -f type=custom").1.lines().count(), 1);
    host.ours_ok(&["network", "rm", "net"]);
}

#[test]
fn creating_and_removing_at_once_ends_well() {
    let Some(host) = Host::new("creating_and_removing_at_once_ends_well", "") else { return };
    // Every create ends with a network or is told that there is one; every rm removes one or is told that there is none.
    let script = format!(
        "cd $(mktemp -d); tool={}
         for n in $(seq 40); do
             {{ $tool network create net >>made 2>>told || true; }} &
             {{ $tool network rm net >>gone 2>>told || true; }} &
         done; wait
         $tool network rm -f net >>gone
         grep -v -e 'there is a network \"net\"' -e 'there is no network \"net\"' -e hint: told >&2 || true
         echo $(wc -l <made) $(wc -l <gone); rm -r $PWD",
        crate::common::tool()
    );
    let output = host.try_sh(&script);
    assert_eq!(crate::common::stderr(&output), "");
    let said = crate::common::stdout(&output);
    let counts: Vec<u32> = said.split_whitespace().map(|count| count.parse().unwrap()).collect();
    // The last rm says so, whether or not there was one.
    assert!(counts[0] > 0 && (counts[1] == counts[0] || counts[1] == counts[0] + 1), "{said}");
    assert_eq!(made(&host), "");
}

#[test]
fn those_that_nobody_names_are_pruned() {
    let Some(host) = Host::new("those_that_nobody_names_are_pruned", "") else { return };
    for words in [&["used"][..], &["--label", "keep", "labelled"], &["new"]] {
        host.ours_ok(&[&["network", "create"], words].concat());
    }
    let used = container(&host, "used");
    let asked = "WARNING! This will remove all custom networks not used by at least one container.\n\
                 Are you sure you want to continue? [y/N] ";
    let answered = |answer: &str| host.try_sh(&format!("echo {answer} | {} network prune", crate::common::tool()));
    let output = answered("n");
    assert_eq!((crate::common::stdout(&output).as_str(), output.status.code()), (asked, Some(1)));
    assert_eq!(made(&host), "labelled new used");
    for filter in ["until=1h", "label=other"] {
        assert_eq!(host.ours_ok(&["network", "prune", "-f", "--filter", filter]), "", "{filter}");
    }
    assert_eq!(host.ours_ok(&["network", "prune", "-f", "--filter", "label!=keep"]), "Deleted Networks:\nnew\n\n");
    assert_eq!(crate::common::stdout(&answered("y")), format!("{asked}Deleted Networks:\nlabelled\n\n"));
    host.ours_ok(&["network", "create", "again"]);
    host.ours_ok(&["rm", &used]);
    let other = container(&host, "again");
    assert_eq!(host.ours_ok(&["network", "prune", "-f"]), "Deleted Networks:\nused\n\n");
    // With the containers that do not run goes what only they have named.
    let said = host.ours_ok(&["system", "prune", "-f"]);
    let expected = format!("Deleted Containers:\n{}\n\nDeleted Networks:\nagain\n\n", other.trim());
    assert!(said.starts_with(&expected), "{said}");
    host.ours_fails(125, &["network", "prune", "--filter", "dangling=true"]);
}

#[test]
fn events_tell_of_them() {
    let Some(host) = Host::new("events_tell_of_them", "") else { return };
    let id = host.ours_ok(&["network", "create", "net"]);
    host.ours_ok(&["network", "rm", "net"]);
    let format = "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}";
    let said = host.ours_ok(&["events", "--since", "1h", "--until", "0s", "-f", "network=net", "--format", format]);
    let id = id.trim();
    assert_eq!(said, format!("network create {id} net bridge\nnetwork destroy {id} net bridge\n"));
}

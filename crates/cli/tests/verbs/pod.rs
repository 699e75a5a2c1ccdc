//! `pod`: containers that share namespaces, and live and go together.

use crate::common::life::Life;
use crate::common::{Scratch, busybox_root, kill, stderr, stdout, wait_until};
use serde_json::Value;

const SLEEPS: &str = "trap exit TERM; while :; do sleep 0.1; done";

/// The words of `BEFORE... --pod POD FLAGS... ROOT sh -c SCRIPT`.
fn words(before: &[&str], pod: &str, flags: &[&str], script: &str) -> Vec<String> {
    let root = busybox_root().to_str().unwrap();
    let words = [before, &["--pod", pod, "--ephemeral"], flags, &[root, "sh", "-c", script]].concat();
    words.into_iter().map(str::to_owned).collect()
}

/// A host on which pods are removed at the end, as far as a test has left any.
struct Pods(Life);

impl std::ops::Deref for Pods {
    type Target = Life;

    fn deref(&self) -> &Life {
        &self.0
    }
}

impl Pods {
    fn new(test: &str) -> Option<Pods> {
        Life::new(test).map(Pods)
    }

    fn detached(&self, pod: &str, flags: &[&str]) -> String {
        self.note(self.ok(&words(&["run", "-d"], pod, flags, SLEEPS)))
    }

    fn pod(&self, words: &str) -> Value {
        let shown: Value = serde_json::from_str(&self.ok(&["pod", "inspect", words])).expect("JSON");
        shown[0].clone()
    }

    fn field_of_pod(&self, words: &str, field: &str) -> String {
        self.ok(&["pod", "inspect", "-f", &format!("{{{{.{field}}}}}"), words])
    }

    fn state(&self, words: &str) -> String {
        self.field_of_pod(words, "State")
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        let removed = self.0.tool(&["pod", "rm", "-f", "-a"]);
        if !std::thread::panicking() {
            assert!(removed.status.success(), "{}", stderr(&removed));
            assert_eq!(self.0.names("/var/lib/mycontainer/pods"), [""; 0], "records of pods that were removed");
        }
    }
}

fn namespace(pid: u32, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it lives").display().to_string()
}

#[test]
fn containers_of_a_pod_share_what_it_shares() {
    let Some(l) = Pods::new("containers_of_a_pod_share_what_it_shares") else { return };
    let pod = l.ok(&["pod", "create", "--name", "web", "-p", "8080:80", "--add-host", "db:10.9.9.9", "--label", "a=b"]);
    assert!(pod.len() == 64, "{pod}");
    assert_eq!(l.state("web"), "Created");
    l.detached("web", &["--name", "one"]);
    l.detached(&pod[..6], &["--name", "two"]);
    assert_eq!(l.state("web"), "Running");
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(namespace(l.pid("one"), kind), namespace(l.pid("two"), kind), "{kind}");
    }
    for kind in ["pid", "mnt", "cgroup"] {
        assert_ne!(namespace(l.pid("one"), kind), namespace(l.pid("two"), kind), "{kind}");
    }
    let look = "hostname; cat /etc/hostname; grep -w db /etc/hosts; ip -4 -o addr show eth0 | wc -l";
    assert_eq!(l.ok(&["exec", "two", "sh", "-c", look]), "web\nweb\n10.9.9.9\tdb\n1");
    l.ok(&["exec", "one", "sh", "-c", "echo hello > /dev/shm/x"]);
    assert_eq!(l.ok(&["exec", "two", "cat", "/dev/shm/x"]), "hello");
    // The ports are the pod's, and reach whoever listens in it.
    l.ok(&["exec", "-d", "one", "sh", "-c", "while :; do echo served | nc -l -p 80; done"]);
    let ask = || l.host.try_sh("busybox nc -w 1 127.0.0.1 8080 </dev/null");
    assert!(wait_until(5, || stdout(&ask()) == "served\n"), "{}", stderr(&ask()));
    assert_eq!(l.field("one", "Pod"), pod);
    let shown = l.pod("web");
    assert_eq!(shown["SharedNamespaces"], serde_json::json!(["ipc", "net", "uts"]));
    assert_eq!((&shown["NumContainers"], &shown["Labels"]["a"]), (&3.into(), &"b".into()));
    assert_eq!(shown["InfraConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "8080");
    // What is the pod's is said to the pod.
    for flags in [&["-p", "80"][..], &["--network", "bridge"], &["-h", "x"], &["--dns", "1.1.1.1"], &["--ipc", "host"]]
    {
        let said = l.fails(125, &words(&["run", "--rm"], "web", flags, "true"));
        assert!(said.contains("cannot be used") || said.contains("is the pod's"), "{flags:?}: {said}");
    }
    assert!(l.fails(125, &words(&["run", "--rm"], "nobody", &[], "true")).contains("there is no pod \"nobody\""));
    assert!(l.fails(125, &["pod", "create", "web"]).contains("there is a pod \"web\" already"));
}

/// What holds the namespaces is as small as can be, and nothing can be done with it.
#[test]
fn the_infra_container_is_no_way_out() {
    let Some(l) = Pods::new("the_infra_container_is_no_way_out") else { return };
    l.ok(&["pod", "create", "--share", "+pid", "--infra-name", "holder", "web"]);
    l.detached("web", &["--name", "one", "--cap-add", "SYS_PTRACE"]);
    let infra = l.pid("holder");
    let status = std::fs::read_to_string(format!("/proc/{infra}/status")).unwrap();
    for field in ["CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(field), "{field}: {status}");
    }
    let fds = std::fs::read_dir(format!("/proc/{infra}/fd")).unwrap().count();
    assert!(fds <= 4, "its streams, and where it reads signals: {fds}");
    assert_eq!(
        std::fs::read_dir(format!("/proc/{infra}/root/home")).map(|_| ()).map_err(|e| e.kind()),
        Err(std::io::ErrorKind::NotFound)
    );
    // It is process 1 of the pod, and takes orphans.
    l.ok(&["exec", "one", "sh", "-c", "(sleep 0.1 &) ; exit 0"]);
    let zombies = || l.ok(&["exec", "one", "ps", "-o", "stat"]).lines().filter(|line| line.starts_with('Z')).count();
    assert!(wait_until(5, || zombies() == 0), "{}", l.ok(&["exec", "one", "ps"]));
    let ordinary = l.detached("web", &["--name", "two"]);
    // The tool's binary is not to be had through it.
    let tries =
        "readlink /proc/1/exe; cat /proc/1/mem; readlink /proc/1/fd/0; ls /proc/1/root/; echo x > /proc/1/exe; true";
    let seen = l.tool(&["exec", &ordinary, "sh", "-c", tries]);
    assert_eq!(stdout(&seen), "", "{}", stderr(&seen));
    for refused in [&["rm", "holder"][..], &["rm", "-f", "holder"]] {
        assert!(l.fails(1, refused).contains("holds the pod"), "{refused:?}");
    }
    assert_eq!(l.tool(&["exec", "holder", "sh"]).status.code(), Some(127));
}

/// What a pod shares belongs to its user namespace, and so do all of its containers.
#[test]
fn a_pod_can_have_users_of_its_own() {
    let Some(l) = Pods::new("a_pod_can_have_users_of_its_own") else { return };
    l.host.sh(&format!("tar --owner 0 --group 0 -C {} -c . > /run/small.tar", busybox_root().display()));
    l.ok(&["import", "/run/small.tar", "small"]);
    l.ok(&["pod", "create", "--userns", "auto:size=2000", "--share", "net,ipc,pid", "web"]);
    let start = |flags: &[&str]| {
        l.note(l.ok(&[&["run", "-d"][..], flags, &["small", "sh", "-c", SLEEPS]].concat()));
    };
    start(&["--pod", "web", "--name", "one"]);
    start(&["--pod", "web", "--name", "two"]);
    start(&["--pod", "new:other", "--userns", "auto:size=3000", "--name", "three"]);
    for kind in ["user", "net", "ipc", "pid"] {
        assert_eq!(namespace(l.pid("one"), kind), namespace(l.pid("two"), kind), "{kind}");
    }
    let map = |name: &str| {
        l.ok(&["exec", name, "sh", "-c", "cat /proc/self/uid_map | tr -s ' '; touch /x; stat -c %u /x /bin"])
    };
    assert!(map("one").contains(" 2000\n0\n0") && map("one") == map("two"), "{} {}", map("one"), map("two"));
    assert!(map("three").contains(" 3000\n0\n0"), "{}", map("three"));
    assert!(l.ok(&["exec", "two", "ping", "-c", "1", "127.0.0.1"]).contains("1 packets received"));
    l.ok(&["pod", "restart", "web"]);
    assert_eq!(map("one"), map("two"));
    let said = l.fails(125, &["run", "--rm", "--pod", "web", "--userns", "auto", "small", "true"]);
    assert!(said.contains("--userns is the pod's"), "{said}");
    let said = l.fails(125, &["pod", "create", "--infra=false", "--userns", "auto"]);
    assert!(said.contains("nothing is shared"), "{said}");
}

#[test]
fn a_pod_lives_as_a_whole() {
    let Some(l) = Pods::new("a_pod_lives_as_a_whole") else { return };
    let id = l.ok(&["pod", "create", "web"]);
    l.detached("web", &["--name", "one"]);
    l.note(l.ok(&words(&["create"], "web", &["--name", "two"], SLEEPS)));
    assert_eq!(l.state("web"), "Degraded");
    assert_eq!(l.ok(&["pod", "start", "web"]), "web");
    assert_eq!(l.state("web"), "Running");
    l.ok(&["pod", "pause", "web"]);
    assert_eq!(l.state("web"), "Paused");
    l.ok(&["pod", "unpause", "web"]);
    l.ok(&["pod", "stop", "web"]);
    assert_eq!(l.state("web"), "Exited");
    assert_eq!(l.field("one", "State.ExitCode"), "0");
    // One container of it brings what it needs.
    l.ok(&["start", "two"]);
    assert_eq!(l.state("web"), "Degraded");
    l.ok(&["pod", "restart", "web"]);
    assert_eq!(l.state("web"), "Running");
    assert_eq!(namespace(l.pid("one"), "net"), namespace(l.pid("two"), "net"));
    l.ok(&["pod", "kill", "web"]);
    assert!(wait_until(5, || l.state("web") == "Exited"), "{}", l.state("web"));
    assert_eq!(l.field("one", "State.ExitCode"), "137");
    l.ok(&["start", "one"]);
    let table = l.ok(&["pod", "ps"]);
    assert!(table.starts_with("POD ID") && table.contains("# OF CONTAINERS") && table.contains(&id[..12]), "{table}");
    let shown = l.ok(&["pod", "ps", "--format", "{{.Name}} {{.Status}} {{.NumberOfContainers}}"]);
    assert_eq!(shown, "web Degraded 3");
    for (filter, is_there) in
        [("name=we", true), ("status=running", false), ("ctr-names=one", true), ("id=0", id.starts_with('0'))]
    {
        assert_eq!(!l.ok(&["pod", "ps", "-q", "-f", filter]).is_empty(), is_there, "{filter}");
    }
    let listed = l.ok(&["ps", "-a", "-p", "-f", "pod=web", "--format", "{{.Names}} {{.PodName}}"]);
    assert_eq!(listed.lines().filter(|line| line.ends_with(" web")).count(), 3, "{listed}");
    assert!(l.ok(&["ps", "--pod"]).contains("PODNAME"));
    assert!(l.fails(1, &["pod", "rm", "web"]).contains("the container one of the pod web is running"));
    assert!(l.fails(125, &["pod", "rm", "-t", "1", "web"]).contains("--force"));
    assert_eq!(l.tool(&["pod", "exists", "web"]).status.code(), Some(0));
    l.ok(&["pod", "rm", "-f", "web"]);
    assert_eq!(l.tool(&["pod", "exists", "web"]).status.code(), Some(1));
    assert_eq!(l.ok(&["ps", "-aq"]), "");
    assert!(l.fails(1, &["pod", "rm", "web"]).contains("there is no pod"));
    l.ok(&["pod", "rm", "-i", "web"]);
}

#[test]
fn a_pod_that_is_made_with_its_first_container() {
    let Some(l) = Pods::new("a_pod_that_is_made_with_its_first_container") else { return };
    l.detached("new:web", &["--name", "one", "-p", "9090:90", "-h", "named"]);
    assert_eq!(l.pod("web")["InfraConfig"]["PortBindings"]["90/tcp"][0]["HostPort"], "9090");
    assert_eq!(l.ok(&["exec", "one", "hostname"]), "named");
    assert_eq!(l.ok(&words(&["run", "--rm"], "web", &[], "hostname")), "named");
    // All ports of its container, which the pod itself has no image to name.
    l.detached("new:all", &["--name", "listens", "-P", "--expose", "90-91", "--expose", "92/udp", "-p", "9092:91"]);
    let bound = l.pod("all")["InfraConfig"]["PortBindings"].clone();
    let ports: Vec<&str> = bound.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        (ports, &bound["91/tcp"][0]["HostPort"]),
        (vec!["90/tcp", "91/tcp", "92/udp"], &"9092".into()),
        "{bound}"
    );
    l.ok(&["pod", "rm", "-f", "all"]);
    // --replace makes room, and what is not shared is each container's own.
    let scratch = Scratch::new("pod");
    let file = scratch.path("id");
    let id = l.ok(&["pod", "create", "--replace", "--share", "", "--pod-id-file", &file, "web"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    // And only of that very name.
    let digits = &id[..4];
    let beside = l.ok(&["pod", "create", "--replace", digits]);
    assert_eq!(l.ok(&["pod", "ps", "-q"]).lines().count(), 2);
    l.ok(&["pod", "rm", &beside]);
    l.detached("web", &["--name", "two", "-h", "own", "--network", "none"]);
    assert_eq!(l.ok(&["exec", "two", "hostname"]), "own");
    assert!(l.fails(125, &["pod", "create", "--share", "ipc", "-p", "80", "xx"]).contains("not shared"));
    l.ok(&["pod", "stop", "-t", "1", "web"]);
    l.ok(&["pod", "create", "other"]);
    assert_eq!(l.ok(&["pod", "prune", "-f"]).lines().count(), 2);
    assert_eq!(l.ok(&["pod", "ps", "-q"]), "");
}

#[test]
fn a_pod_without_an_infra_container_shares_nothing() {
    let Some(l) = Pods::new("a_pod_without_an_infra_container_shares_nothing") else { return };
    let id = l.ok(&["pod", "create", "--infra=false", "bare"]);
    assert_eq!(l.ok(&["ps", "-aq"]), "");
    assert_eq!(l.state("bare"), "Created");
    l.detached("bare", &["--name", "one", "--network", "none"]);
    l.detached("bare", &["--name", "two", "-h", "own", "--network", "none"]);
    for kind in ["net", "ipc", "uts", "pid", "cgroup"] {
        assert_ne!(namespace(l.pid("one"), kind), namespace(l.pid("two"), kind), "{kind}");
    }
    let shown = l.pod("bare");
    assert_eq!((&shown["CreateInfra"], &shown["InfraContainerID"]), (&false.into(), &"".into()));
    assert_eq!((&shown["NumContainers"], &shown["SharedNamespaces"]), (&2.into(), &serde_json::json!([])));
    assert_eq!(l.ok(&["pod", "ps", "--format", "{{.Name}} {{.InfraID}}|{{.Status}}"]), "bare |Running");
    l.ok(&["pod", "stop", "-t0", "bare"]);
    assert_eq!(l.state("bare"), "Exited");
    l.ok(&["pod", "start", "bare"]);
    assert_eq!(l.state("bare"), "Running");
    l.ok(&["pod", "kill", "bare"]);
    assert!(wait_until(5, || l.state("bare") == "Exited"));
    // It is there also when nothing is in it.
    l.ok(&["rm", "-f", "one", "two"]);
    l.ok(&["ps"]);
    assert_eq!(l.ok(&["pod", "inspect", "-f", "{{.Id}}", "bare"]), id);
    assert!(l.fails(125, &["pod", "create", "bare"]).contains("there is a pod \"bare\" already"));
    l.ok(&["pod", "rm", "bare"]);
    assert_eq!(l.ok(&["pod", "ps", "-q"]), "");
    for flags in [
        &["-p", "80"][..],
        &["--share", "ipc"],
        &["--network", "none"],
        &["--infra-name", "xx"],
        &["--hostname", "x"],
        &["--dns", "1.1.1.1"],
    ] {
        let said = l.fails(125, &[&["pod", "create", "--infra=false"], flags].concat());
        assert!(said.contains("cannot be used with --infra=false"), "{flags:?}: {said}");
    }
    l.ok(&["pod", "create", "--infra=false", "--share", "none", "bare"]);
}

#[test]
fn a_pod_can_share_the_view_of_its_groups() {
    let Some(l) = Pods::new("a_pod_can_share_the_view_of_its_groups") else { return };
    l.ok(&["pod", "create", "--share", "+cgroup", "web"]);
    let (one, _) = (l.detached("web", &["--name", "one"]), l.detached("web", &["--name", "two"]));
    for kind in ["cgroup", "net"] {
        assert_eq!(namespace(l.pid("one"), kind), namespace(l.pid("two"), kind), "{kind}");
    }
    assert_eq!(l.pod("web")["SharedNamespaces"][0], "cgroup");
    // Each has a group of its own still, beside that of the pod.
    let seen = l.ok(&["exec", "one", "cat", "/proc/self/cgroup"]);
    assert!(seen.lines().any(|line| line.ends_with(&format!("/../mycontainer-{one}"))), "{seen}");
    let said = l.fails(125, &words(&["run", "--rm"], "web", &["--cgroupns", "host"], "true"));
    assert!(said.contains("--cgroupns is the pod's"), "{said}");
}

#[test]
fn what_its_containers_do_is_seen_of_a_pod() {
    let Some(l) = Pods::new("what_its_containers_do_is_seen_of_a_pod") else { return };
    let pod = l.ok(&["pod", "create", "web"]);
    assert_eq!(l.ok(&["pod", "logs", "web"]), "");
    assert!(l.fails(1, &["pod", "top", "web"]).contains("no container of the pod web runs"));
    let script = "echo of one; echo wrong >&2; printf half; exec sleep 1000";
    let one = l.note(l.ok(&words(&["run", "-d"], "web", &["--name", "one"], script)));
    let two = l.note(l.ok(&words(&["run", "-d"], "web", &["--name", "two"], "echo of two; exec sleep 2000")));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let logs = |flags: &[&str]| {
        let output = l.tool(&[&["pod", "logs"], flags, &["web"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        (sorted(&stdout(&output)), stderr(&output))
    };
    // A line that has no end as yet is not kept.
    let is_there = || logs(&["-n"]).0.len() == 2 && !logs(&["-n"]).1.is_empty();
    assert!(wait_until(5, is_there), "{:?}", logs(&["-n"]));
    let named = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
    assert_eq!(logs(&["--names"]), (named(&["one of one", "two of two"]), "one wrong\n".into()));
    let mut ids = vec![format!("{} of one", &one[..12]), format!("{} of two", &two[..12])];
    ids.sort();
    assert_eq!(logs(&[]), (ids, format!("{} wrong\n", &one[..12])));
    assert_eq!(logs(&["-n", "-c", "two"]), (named(&["two of two"]), String::new()));
    assert_eq!(logs(&["-n", "--tail", "0"]), (vec![], String::new()));
    assert_eq!(logs(&["-n", "--since", "0s"]), (vec![], String::new()));
    assert!(l.fails(1, &["pod", "logs", "-c", "nobody", "web"]).contains("there is no container \"nobody\""));
    assert!(l.fails(1, &["pod", "logs", "nobody"]).contains("there is no pod"));
    // Nobody reads the rest.
    let piped = l.host.try_sh(&format!("{} pod logs -f -l | head -n 1", crate::common::tool()));
    assert_eq!(stdout(&piped).lines().count(), 1, "{}", stderr(&piped));
    let processes = l.ok(&["pod", "top", "web", "-o", "args"]);
    for words in ["sleep 1000", "sleep 2000"] {
        assert!(processes.contains(words), "{processes}");
    }
    assert_eq!(processes.lines().filter(|line| line.starts_with("COMMAND")).count(), 1, "{processes}");
    assert!(l.fails(125, &["pod", "top", "web", "aux"]).contains("another one"));
    let format = ["--no-stream", "--format", "{{.Pod}} {{.Name}} {{.PIDs}}"];
    for words in [&[][..], &["web"], &["-l"], &["-l", "--no-trunc"]] {
        let shown = l.ok(&[&["pod", "stats"], &format[..], words].concat());
        let id = if words.contains(&"--no-trunc") { &pod } else { &pod[..12] };
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.contains(&format!("{id} one 1")) && shown.contains(&format!("{id} two 1")), "{shown}");
    }
    assert!(l.ok(&["pod", "stats", "--no-stream"]).starts_with("POD "));
    // What is yet to come, until all have ended.
    let follow = l.meanwhile(&["pod", "logs", "-f", "-n", "web"]);
    l.ok(&["pod", "stop", "-t0", "web"]);
    let output = follow.wait_with_output().unwrap();
    assert_eq!(sorted(&stdout(&output)), ["one half", "one of one", "two of two"], "{output:?}");
    assert_eq!(l.ok(&["pod", "stats", "--no-stream", "--format", "{{.Name}}", "web"]), "");
    assert_eq!(l.ok(&["pod", "rm", "-l"]).len(), 64);
}

/// Whatever of a pod's making or removal is killed, and whenever: the next command finds a pod that is whole, or none.
#[test]
fn killed_at_any_moment_it_is_there_or_gone() {
    let Some(l) = Pods::new("killed_at_any_moment_it_is_there_or_gone") else { return };
    let kill_after = |words: &[&str], micros: u64| {
        let mut child = l.meanwhile(words);
        std::thread::sleep(std::time::Duration::from_micros(micros));
        // nsenter has become the tool by now, or will never be.
        let _ = child.kill();
        let _ = child.wait();
    };
    let is_whole = |n: u64| {
        l.ok(&["pod", "ps"]);
        l.ok(&["ps", "-a"]);
        let is_there = l.tool(&["pod", "exists", "web"]).status.success();
        let containers = l.ok(&["ps", "-aq", "-f", "pod=web"]).lines().count();
        let infra = l.ok(&["ps", "-aq", "--no-trunc"]).lines().count();
        assert_eq!((containers > 0, infra > 0), (is_there, is_there), "{n}");
        is_there
    };
    let (mut made, mut removed) = (0, 0);
    for n in 0..30 {
        kill_after(&["pod", "create", "web"], n * 200);
        made += u32::from(is_whole(n));
        // Half a pod is in nobody's way.
        l.tool(&["pod", "create", "web"]);
        l.ok(&words(&["create"], "web", &[], "true"));
        kill_after(&["pod", "rm", "web"], n * 200);
        removed += u32::from(!is_whole(n));
        l.ok(&["pod", "rm", "-f", "-i", "web"]);
        assert_eq!(l.ok(&["ps", "-aq"]), "");
    }
    l.ok(&["pod", "create", "last"]);
    assert_eq!(l.names("/var/lib/mycontainer/pods"), ["last.json"], "made {made}, removed {removed}");
    // And of one that runs the holder's monitor.
    l.detached("last", &["--name", "one"]);
    let infra = l.ok(&["pod", "inspect", "-f", "{{.InfraContainerID}}", "last"]);
    kill("KILL", l.monitor(&infra));
    l.until(&infra, "exited");
    assert_eq!(l.state("last"), "Degraded");
    l.ok(&["pod", "restart", "last"]);
    assert_eq!(l.state("last"), "Running");
}

/// The infra container's files are those of all in the pod, and its root is read-only.
#[test]
fn files_of_a_pod_can_be_written_and_know_its_networks() {
    let Some(l) = Pods::new("files_of_a_pod_can_be_written_and_know_its_networks") else { return };
    l.ok(&["network", "create", "--subnet", "10.77.0.0/24", "nn"]);
    l.ok(&["pod", "create", "--infra-name", "holder", "web"]);
    l.detached("web", &["--name", "one"]);
    l.detached("web", &["--name", "two", "--read-only"]);
    for file in ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"] {
        l.ok(&["exec", "one", "sh", "-c", &format!("echo '# mine' >>{file}")]);
        assert_eq!(l.ok(&["exec", "two", "tail", "-n", "1", file]), "# mine", "{file}");
        assert!(!l.tool(&["exec", "two", "sh", "-c", &format!("echo x >>{file}")]).status.success(), "{file}");
    }
    l.ok(&["network", "connect", "nn", "holder"]);
    assert!(l.ok(&["exec", "one", "cat", "/etc/hosts"]).contains("10.77.0.2\tweb"));
    l.ok(&["network", "disconnect", "nn", "holder"]);
    assert!(!l.ok(&["exec", "one", "cat", "/etc/hosts"]).contains("10.77.0.2"));
    l.ok(&["network", "rm", "nn"]);
}

#[test]
fn a_pod_that_cannot_be_whole_is_not_made() {
    let Some(l) = Pods::new("a_pod_that_cannot_be_whole_is_not_made") else { return };
    // With a container that cannot be made.
    for (flags, root) in [(&["-v", "/own"][..], "/nowhere"), (&["--ipc", "host"], busybox_root().to_str().unwrap())] {
        for verb in ["create", "run"] {
            let words = [&[verb, "--pod", "new:web"], flags, &[root, "true"]].concat();
            assert!(!l.tool(&words).status.success(), "{words:?}");
            assert_eq!(l.ok(&["pod", "ps", "-q"]), "", "{words:?}");
        }
    }
    assert_eq!(l.ok(&["ps", "-aq"]), "");
    // And what cannot be made costs nobody his.
    let old = l.ok(&["pod", "create", "web"]);
    l.fails(125, &["pod", "create", "--replace", "--network", "nowhere", "web"]);
    l.fails(125, &["pod", "create", "--replace", "--pod-id-file", "/etc/passwd", "web"]);
    assert_eq!(l.field_of_pod("web", "Id"), old);
    let told = l.tool(&["pod", "create", "--network", "host", "-p", "80:80", "beside"]);
    assert!(told.status.success() && stderr(&told).contains("no port is published"), "{}", stderr(&told));
    // A host's name is shorter than a pod's may be.
    let long = "w".repeat(70);
    l.ok(&["pod", "create", &long]);
    assert_eq!(l.ok(&words(&["run", "--rm"], &long, &[], "hostname")), "w".repeat(64));
    // One that has the network of another container.
    l.note(l.ok(&["run", "-d", "--name", "other", busybox_root().to_str().unwrap(), "sh", "-c", SLEEPS]));
    l.ok(&["pod", "create", "--network", "container:other", "guest"]);
    let netns = l.ok(&words(&["run", "--rm"], "guest", &[], "readlink /proc/self/ns/net"));
    assert_eq!(netns, namespace(l.pid("other"), "net"));
    l.ok(&["pod", "rm", "-f", "guest"]);
    l.ok(&["rm", "-f", "other"]);
}

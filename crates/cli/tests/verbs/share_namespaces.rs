//! `--network container:`, `--network ns:`, `--ipc`, `--pid`, `--uts` and `--cgroupns`: a container is in namespaces of
//! others. The judge is the kernel: which namespace each process is in, and what tools see there.

use crate::common::life::Life;
use crate::common::{Scratch, busybox_root, kill, run, stderr, stdout, wait_until};
use std::process::Command;

const SLEEPS: &str = "trap exit TERM; while :; do sleep 0.1; done";

/// The namespace of a process, as the kernel names it.
fn namespace(pid: u32, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it lives").display().to_string()
}

/// The processes in a container's control group.
fn processes(l: &Life, words: &str) -> Vec<String> {
    let listed = l.ok(&["top", words, "-o", "pid,args"]);
    listed.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_network_with_its_names_is_anothers() {
    let Some(l) = Life::new("a_network_with_its_names_is_anothers") else { return };
    let network = ["--network", "bridge", "--name", "web", "-h", "webhost", "--add-host", "db:10.9.9.9"];
    let web = l.detached(&[&network[..], &["--dns", "10.1.2.3"]].concat(), SLEEPS);
    let side = l.detached(&["--network", "container:web", "--name", "side"], SLEEPS);
    assert_eq!(namespace(l.pid("web"), "net"), namespace(l.pid("side"), "net"));
    for kind in ["ipc", "pid", "uts", "mnt", "cgroup"] {
        assert_ne!(namespace(l.pid("web"), kind), namespace(l.pid("side"), kind), "{kind}");
    }
    let look = "ip -4 -o addr; hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; echo $HOSTNAME";
    let seen = |name: &str| l.ok(&["exec", name, "sh", "-c", look]);
    assert_eq!(seen("web"), seen("side"));
    for there in ["172.17.0.", "webhost", "db", "10.1.2.3"] {
        assert!(seen("side").contains(there), "{there}: {}", seen("side"));
    }
    // The files are the same ones.
    l.ok(&["exec", "side", "sh", "-c", "echo 10.8.8.8 added >> /etc/hosts"]);
    assert!(seen("web").contains("10.8.8.8 added"));
    // By its number: another may have the name later.
    assert_eq!(l.field("side", "HostConfig.NetworkMode"), format!("container:{web}"));
    assert_eq!(l.field("side", "Config.Hostname"), "webhost");
    assert_eq!(l.inspect("side")["NetworkSettings"]["Networks"], serde_json::json!({}));
    let leases = std::fs::read_to_string(l.path("/run/mycontainer/network/leases")).unwrap();
    assert!(leases.contains(&web) && !leases.contains(&side), "{leases}");
    // It goes on when the other ends, and in what it has.
    let net = namespace(l.pid("side"), "net");
    l.ok(&["rm", "-f", "web"]);
    assert_eq!(l.ok(&["exec", "side", "hostname"]), "webhost");
    assert_eq!(namespace(l.pid("side"), "net"), net);
    l.ok(&["stop", "side"]);
    let said = l.fails(1, &["start", "side"]);
    assert!(said.contains("cannot join the network namespace of the container") && said.contains(&web), "{said}");
}

#[test]
fn one_that_is_started_needs_the_other() {
    let Some(l) = Life::new("one_that_is_started_needs_the_other") else { return };
    l.detached(&["--name", "web"], SLEEPS);
    l.ok(&["stop", "web"]);
    let said = l.fails(125, &l.words(&["run", "--rm"], &["--network", "container:web"], "true"));
    assert!(said.contains("the container web: it is not running"), "{said}");
    l.note(l.ok(&l.words(&["create"], &["--network", "container:web", "--name", "side"], SLEEPS)));
    assert!(l.fails(1, &["start", "side"]).contains("the container web: it is not running"));
    l.ok(&["start", "web"]);
    l.ok(&["start", "side"]);
    assert_eq!(namespace(l.pid("web"), "net"), namespace(l.pid("side"), "net"));
    // At the next start the other is another process.
    l.ok(&["stop", "side", "web"]);
    l.ok(&["start", "web", "side"]);
    assert_eq!(namespace(l.pid("web"), "net"), namespace(l.pid("side"), "net"));
    let said = l.fails(125, &l.words(&["run", "--rm"], &["--network", "container:nobody"], "true"));
    assert!(said.contains("no container \"nobody\""), "{said}");
}

#[test]
fn memory_and_queues_are_anothers() {
    let Some(l) = Life::new("memory_and_queues_are_anothers") else { return };
    l.detached(&["--name", "closed"], SLEEPS);
    l.detached(&["--name", "open", "--ipc", "shareable", "--shm-size", "1m"], SLEEPS);
    for (name, code) in [("closed", 125), ("nobody", 125)] {
        l.fails(code, &l.words(&["run", "--rm"], &["--ipc", &format!("container:{name}")], "true"));
    }
    let side = l.detached(&["--name", "side", "--ipc", "container:open"], SLEEPS);
    assert_eq!(namespace(l.pid("open"), "ipc"), namespace(l.pid("side"), "ipc"));
    l.ok(&["exec", "open", "sh", "-c", "echo hello > /dev/shm/x"]);
    assert_eq!(l.ok(&["exec", "side", "cat", "/dev/shm/x"]), "hello");
    assert!(l.ok(&["exec", "side", "df", "-k", "/dev/shm"]).contains(" 1024 "));
    let pid = l.pid("open").to_string();
    let made = Command::new("nsenter").args(["-t", &pid, "-i", "ipcmk", "-Q"]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let queues = |name: &str| {
        let pid = l.pid(name).to_string();
        stdout(&Command::new("nsenter").args(["-t", &pid, "-i", "ipcs", "-q"]).output().unwrap())
    };
    assert_eq!(queues("open"), queues("side"));
    assert!(queues("side").contains("0x"), "{}", queues("side"));
    assert!(!queues("closed").contains("0x"), "{}", queues("closed"));
    let open = l.field("open", "Id");
    assert_eq!(l.field("side", "HostConfig.IpcMode"), format!("container:{open}"));
    assert_eq!(l.field("closed", "HostConfig.IpcMode"), "private");
    // What is another's stays when that goes.
    l.ok(&["rm", "-f", "open"]);
    assert_eq!(l.ok(&["exec", "side", "cat", "/dev/shm/x"]), "hello");
    l.ok(&["rm", "-f", &side]);
    // Without one, and with the host's.
    let look = "test -e /dev/shm || echo none; readlink /proc/self/ns/ipc";
    let seen = |mode: &str| l.ok(&l.words(&["run", "--rm"], &["--ipc", mode], look));
    assert!(seen("none").starts_with("none\n"));
    assert_eq!(seen("host"), namespace(std::process::id(), "ipc"));
    let name = format!("mycontainer-test-{}", std::process::id());
    l.ok(&l.words(&["run", "--rm"], &["--ipc", "host"], &format!("echo here > /dev/shm/{name}")));
    let path = format!("/dev/shm/{name}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "here\n");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn processes_are_seen_and_still_each_containers_own() {
    let Some(l) = Life::new("processes_are_seen_and_still_each_containers_own") else { return };
    l.detached(&["--name", "main"], SLEEPS);
    // One process of it outlives its first.
    let side = "sleep 1001 & trap 'exit 4' TERM; while :; do sleep 0.1; done";
    l.detached(&["--name", "side", "--pid", "container:main"], side);
    assert_eq!(namespace(l.pid("main"), "pid"), namespace(l.pid("side"), "pid"));
    assert_ne!(l.pid("main"), l.pid("side"));
    let is_seen = |name: &str| l.ok(&["exec", name, "ps", "-o", "args"]).contains("sleep 1001");
    assert!(wait_until(5, || is_seen("main")) && is_seen("side"));
    let own = processes(&l, "main");
    assert!(!own.iter().any(|line| line.contains("sleep 1001")), "{own:?}");
    assert!(processes(&l, "side").iter().any(|line| line.contains("sleep 1001")));
    let main = l.field("main", "Id");
    assert_eq!(l.field("side", "HostConfig.PidMode"), format!("container:{main}"));
    l.ok(&["stop", "side"]);
    assert_eq!(l.state("side"), ("exited".into(), 4, String::new()));
    assert!(!is_seen("main"), "its other process has not ended with it");
    l.ok(&["start", "side"]);
    assert!(wait_until(5, || is_seen("main")));
    l.ok(&["pause", "side"]);
    l.ok(&["kill", "side"]);
    l.until("side", "exited");
    assert!(!is_seen("main"));
    // Its monitor is killed: the next command removes what is left.
    l.ok(&["start", "side"]);
    assert!(wait_until(5, || is_seen("main")));
    kill("KILL", l.monitor("side"));
    l.until("side", "exited");
    assert!(wait_until(5, || !is_seen("main")), "a process outlives its container");
    // With process 1 the kernel ends all that are in its namespace.
    l.ok(&["start", "side"]);
    l.ok(&["kill", "main"]);
    l.until("side", "exited");
    assert_eq!(l.state("side").1, 137);
    let said = l.fails(1, &["start", "side"]);
    assert!(said.contains("cannot join the pid namespace of the container main"), "{said}");
}

#[test]
fn in_the_foreground_too_all_end_with_the_first() {
    let Some(l) = Life::new("in_the_foreground_too_all_end_with_the_first") else { return };
    let words = ["--pid", "host", "--network", "none", busybox_root().to_str().unwrap(), "sh", "-c"];
    let script = "sleep 2002 & readlink /proc/self/ns/pid; exit 3";
    let output = l.tool(&[&["run", "--rm"], &words[..], &[script]].concat());
    assert_eq!(
        (stdout(&output), output.status.code()),
        (format!("{}\n", namespace(std::process::id(), "pid")), Some(3))
    );
    let left = Command::new("pgrep").args(["-fx", "sleep 2002"]).output().unwrap();
    assert_eq!(stdout(&left), "");
    // Commands meet the first process, not one of the host's.
    let id = l.detached(&["--pid", "host", "--name", "box"], SLEEPS);
    assert_eq!(l.ok(&["exec", "box", "sh", "-c", "readlink /proc/self/ns/mnt"]), namespace(l.pid("box"), "mnt"));
    l.ok(&["stop", "-t", "5", &id]);
    assert_eq!(l.state("box").1, 0, "its trap has run");
    let said = l.fails(125, &["run", "--rm", "--init", "--pid", "host", "host", "true"]);
    assert!(said.contains("--init cannot be used with --pid host"), "{said}");
}

#[test]
fn the_hosts_names_and_groups() {
    let Some(l) = Life::new("the_hosts_names_and_groups") else { return };
    let own = std::process::id();
    let of_host = |flags: &[&str], kind: &str| {
        let script = format!("readlink /proc/self/ns/{kind}; hostname; echo $HOSTNAME");
        let seen = l.ok(&l.words(&["run", "--rm"], flags, &script));
        let (first, rest) = seen.split_once('\n').unwrap();
        (first == namespace(own, kind), rest.to_owned())
    };
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(of_host(&["--uts", "host"], "uts"), (true, format!("{node}{}", node.trim_end())));
    assert!(of_host(&["--cgroupns", "host"], "cgroup").0);
    assert!(!of_host(&[], "cgroup").0 && !of_host(&[], "uts").0);
    let group = l.ok(&l.words(&["run", "--rm"], &["--cgroupns", "host"], "cat /proc/self/cgroup"));
    assert!(group.contains("mycontainer-"), "{group}");
    l.detached(&["--name", "named", "-h", "their"], SLEEPS);
    l.detached(&["--name", "side", "--uts", "container:named"], SLEEPS);
    assert_eq!(namespace(l.pid("named"), "uts"), namespace(l.pid("side"), "uts"));
    assert_eq!(
        l.ok(&["exec", "side", "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME"]),
        "their\ntheir\ntheir"
    );
    let named = l.field("named", "Id");
    assert_eq!(l.field("side", "HostConfig.UTSMode"), format!("container:{named}"));
    assert_eq!(
        (l.field("side", "HostConfig.CgroupnsMode"), l.field("named", "HostConfig.UTSMode")),
        ("private".into(), String::new())
    );
}

#[test]
fn a_network_namespace_by_its_path() {
    let Some(l) = Life::new("a_network_namespace_by_its_path") else { return };
    let scratch = Scratch::new("namespaces");
    l.host.sh("ip netns add made; ip -n made link set lo up; ip -n made addr add 10.4.4.4/32 dev lo");
    let run_in = |path: &str, script: &str| {
        l.tool(&[
            "run",
            "--rm",
            "--network",
            &format!("ns:{path}"),
            busybox_root().to_str().unwrap(),
            "sh",
            "-c",
            script,
        ])
    };
    let seen = run_in("/run/netns/made", "ip -4 -o addr; cat /sys/class/net/lo/flags");
    assert!(stdout(&seen).contains("10.4.4.4"), "{}{}", stdout(&seen), stderr(&seen));
    let other = l.detached(&["--name", "other"], SLEEPS);
    let seen = run_in(&format!("/proc/{}/ns/net", l.pid(&other)), "readlink /proc/self/ns/net");
    assert_eq!(stdout(&seen).trim_end(), namespace(l.pid(&other), "net"), "{}", stderr(&seen));
    // Whatever else may stand there is refused, and nothing waits for a fifo.
    let file = scratch.file("file", "", 0o600);
    let fifo = scratch.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mounts = format!("/proc/{}/ns/mnt", l.pid(&other));
    let directory = scratch.path("");
    for wrong in [&file, &fifo, &mounts, &directory, "/dev/null", "/proc/self/ns/user"] {
        let output = run_in(wrong, "true");
        assert_eq!(output.status.code(), Some(125), "{wrong}");
        assert!(stderr(&output).contains("it is no network namespace"), "{wrong}: {}", stderr(&output));
    }
    for missing in [&*scratch.path("nothing"), "/proc/self/ns/nothing"] {
        let output = run_in(missing, "true");
        assert_eq!(output.status.code(), Some(125), "{missing}");
        assert!(stderr(&output).contains("cannot open the network namespace"), "{missing}: {}", stderr(&output));
    }
    assert_eq!(run_in("relative", "true").status.code(), Some(125));
    l.host.sh("ip netns del made");
}

/// The other container has all rights over its own mounts, and puts traps in the place of what is shared.
#[test]
fn a_hostile_other_shares_nothing_of_the_host() {
    let Some(l) = Life::new("a_hostile_other_shares_nothing_of_the_host") else { return };
    let scratch = Scratch::new("secret");
    let secret = scratch.file("file", "secret of the host", 0o644);
    let traps = format!(
        "umount /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm
         rm -rf /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm
         ln -s {secret} /etc/hosts; ln -s /proc/self/exe /etc/hostname; mkfifo /etc/resolv.conf
         ln -s ../../../../../../{secret} /dev/shm; {SLEEPS}"
    );
    // In the host's pid namespace a helper of ours would have a /proc of its own to be led to.
    for pid in ["private", "host"] {
        let other = l.detached(&["--cap-add", "SYS_ADMIN", "--ipc", "shareable", "--pid", pid], &traps);
        assert!(wait_until(5, || l.tool(&["exec", &other, "test", "-L", "/dev/shm"]).status.success()));
        let network = format!("container:{other}");
        let look = "cat /etc/hosts /etc/hostname /etc/resolv.conf; head -c 4 /etc/hostname";
        let seen = l.ok(&l.words(&["run", "--rm"], &["--network", &network], look));
        assert!(seen.contains("localhost") && !seen.contains("secret") && !seen.contains("ELF"), "{seen}");
        let said = l.fails(125, &l.words(&["run", "--rm"], &["--ipc", &network], "cat /dev/shm"));
        assert!(said.contains("does not share its ipc namespace and /dev/shm"), "{said}");
        l.ok(&["rm", "-f", &other]);
    }
}

#[test]
fn flags_that_contradict_each_other() {
    let cases: [(&[&str], &str); 10] = [
        (&["--network", "container:x", "-p", "80"], "--publish cannot be used with --network container:x"),
        (&["--network", "container:x", "-P"], "--publish"),
        (&["--network", "container:x", "--expose", "80"], "--expose"),
        (&["--network", "container:x", "-h", "a"], "--hostname"),
        (&["--network", "container:x", "--dns", "1.1.1.1"], "--dns"),
        (&["--network", "container:x", "--add-host", "a:1.1.1.1"], "--add-host"),
        (&["--network", "ns:/x", "-p", "80"], "--publish cannot be used with --network ns:/x"),
        (&["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"], "--sysctl net.*"),
        (&["--ipc", "host", "--sysctl", "kernel.shmmax=1"], "--sysctl kernel.shm*"),
        (&["--uts", "host", "-h", "a"], "--hostname cannot be used with --uts host"),
    ];
    for (flags, said) in cases {
        let output = run(&[flags, &["host", "true"]].concat());
        assert_eq!(output.status.code(), Some(125), "{flags:?}");
        assert!(stderr(&output).contains(said), "{flags:?}: {}", stderr(&output));
    }
    for wrong in ["--ipc=mine", "--pid=none", "--uts=shareable", "--cgroupns=container:x", "--network=ns:x", "--pid="] {
        assert_eq!(run(&[wrong, "host", "true"]).status.code(), Some(125), "{wrong}");
    }
}

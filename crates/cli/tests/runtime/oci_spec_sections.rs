//! Each section of the configuration has its effect, seen from inside: namespaces, ids, clocks, names, devices, kernel
//! parameters, paths, control groups, filters. What this host cannot give is an error that names it.
//! (Mounts: `oci_mounts.rs`. The process: `oci_process.rs`. Hooks and sockets: `oci_hooks.rs`.)

use crate::common::{need, stderr, stdout};
use crate::oci::{Config, Runtime};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const KINDS: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

fn link(pid: u32, file: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string()
}

/// Namespaces of every kind, held by a process.
struct Holder(Child);

impl Holder {
    fn new() -> Holder {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--mount", "--uts", "--ipc"]);
        command.args(["--net", "--cgroup", "--time", "sh", "-c", "echo ready; exec sleep 1000"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Holder(child)
    }

    /// The process inside, as the host sees it.
    fn inner(&self) -> u32 {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0.id())).unwrap();
        children.trim().parse().unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", &self.inner().to_string()]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_namespace_is_new_or_the_callers_as_the_list_says() {
    let Some(runtime) = Runtime::new("namespaces") else { return };
    for (kind, file) in KINDS {
        if kind == "mount" {
            continue; // See the next one.
        }
        let script = format!("readlink /proc/self/ns/{file}");
        let config = if kind == "user" {
            Config::sh(&script).user_namespace()
        } else {
            Config::sh(&script).namespace(kind, None)
        };
        let own = link(std::process::id(), file);
        let new = runtime.run_ok(&config);
        assert!(new.starts_with(&format!("{file}:[")) && new.trim_end() != own, "{kind}: {new}");
        let mut config = Config::sh(&script).without_namespace(kind);
        if kind == "network" {
            // The host's sysfs stays: a new one would take a network namespace of its own.
            config.0["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
        }
        assert_eq!(runtime.run_ok(&config).trim_end(), own, "{kind}");
    }
}

#[test]
fn without_a_mount_namespace_nothing_is_mounted() {
    let Some(runtime) = Runtime::new("no mount namespace") else { return };
    let mut config = Config::sh("ls / | head -1; echo *").without_namespace("mount").set("/mounts", json!([]));
    assert!(runtime.run_ok(&config).starts_with("bin\n"));
    config = config.mount("/proc", "proc", "proc", "");
    assert!(runtime.run_fails(&config).contains("new mount namespace"));
}

#[test]
fn a_namespace_is_joined_by_path() {
    let Some(runtime) = Runtime::new("joined namespaces") else { return };
    let holder = Holder::new();
    let inner = holder.inner();
    for (kind, file) in KINDS {
        let path = format!("/proc/{inner}/ns/{file}");
        let script = format!("readlink /proc/self/ns/{file}");
        let config = Config::sh(&script).namespace(kind, Some(&path));
        let config = match kind {
            // In another's mount namespace nothing is mounted, and so there is no /proc in the root.
            "mount" => Config::sh("ls / | head -1").namespace(kind, Some(&path)).set("/mounts", json!([])),
            // Its processes are children of the caller's pid namespace only, so what is new is made inside it.
            "user" => {
                // Only root is mapped there, and a terminal's group is another.
                let mut config = config;
                config.0["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "devpts");
                config
            }
            _ => config,
        };
        let output = runtime.run(&config);
        let expected = if kind == "mount" { "bin".to_owned() } else { link(inner, file) };
        assert_eq!(stdout(&output).trim_end(), expected, "{kind}: {}", stderr(&output));
    }
}

#[test]
fn a_path_that_is_no_such_namespace_is_refused() {
    let Some(runtime) = Runtime::new("wrong namespaces") else { return };
    let config = |path: &str| Config::sh("true").namespace("uts", Some(path)).set("/hostname", Value::Null);
    for (path, expected) in [
        ("/proc/self/ns/ipc", "/proc/self/ns/ipc"),
        ("/etc/passwd", "/etc/passwd"),
        ("/no/such/namespace", "/no/such/namespace"),
        ("proc/self/ns/uts", "relative"),
    ] {
        let said = runtime.run_fails(&config(path));
        assert!(said.contains("uts") && said.contains(expected), "{path}: {said}");
    }
}

#[test]
fn ids_are_mapped_as_the_lists_say() {
    let Some(runtime) = Runtime::new("id maps") else { return };
    let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 10 }, { "containerID": 20, "hostID": host + 500, "size": 5 }]);
    let config = Config::sh("cat /proc/self/uid_map; cat /proc/self/gid_map; id -u; touch /tmp/mine")
        .namespace("user", None)
        .set("/linux/uidMappings", map(200_000))
        .set("/linux/gidMappings", map(300_000))
        .set("/process/user", json!({ "uid": 20, "gid": 21 }))
        .mount("/tmp", "tmpfs", "tmpfs", "mode=1777");
    let said = runtime.run_ok(&config);
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..6], ["0", "200000", "10", "20", "200500", "5"]);
    assert_eq!(words[6..12], ["0", "300000", "10", "20", "300500", "5"]);
    assert_eq!(words[12], "20");
    for (pointer, value, expected) in [
        ("/linux/uidMappings", json!([]), "needs linux.uidMappings"),
        ("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 1, "size": 0 }]), "size"),
        ("/process/user/uid", json!(77), "uid 77"),
    ] {
        let said = runtime.run_fails(&config.clone().set(pointer, value));
        assert!(said.contains(expected), "{pointer}: {said}");
    }
    let said = runtime.run_fails(&Config::sh("true").set("/linux/uidMappings", map(1)));
    assert!(said.contains("user namespace"), "{said}");
}

#[test]
fn clocks_are_moved_in_a_time_namespace() {
    let Some(runtime) = Runtime::new("time offsets") else { return };
    let offsets =
        json!({ "monotonic": { "secs": 86_400, "nanosecs": 0 }, "boottime": { "secs": 864_000, "nanosecs": 5 } });
    let config = Config::sh("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime")
        .namespace("time", None)
        .set("/linux/timeOffsets", offsets);
    let said = runtime.run_ok(&config);
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "86400", "0", "boottime", "864000", "5"]);
    let host: f64 = std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    let moved: f64 = words[6].parse::<f64>().unwrap() - 864_000.0;
    assert!((moved - host).abs() < 60.0, "{moved} {host}");
    // A process that joins has the same clocks.
    let container = runtime.start(&config.clone().set("/process/args", json!(["sleep", "1000"])));
    let later = container.ok(&["exec"], &["sh", "-c", "cut -d. -f1 /proc/uptime"]);
    assert!(later.trim_end().parse::<f64>().unwrap() > 864_000.0, "{later}");
    for (config, expected) in [
        (config.clone().set("/linux/timeOffsets/realtime", json!({ "secs": 1 })), "realtime"),
        (config.clone().set("/linux/timeOffsets/monotonic/nanosecs", json!(1_000_000_000)), "second"),
        (config.without_namespace("time"), "time namespace"),
    ] {
        let said = runtime.run_fails(&config);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn names_of_host_and_domain() {
    let Some(runtime) = Runtime::new("names") else { return };
    let config = Config::sh("hostname; cat /proc/sys/kernel/domainname")
        .set("/hostname", json!("box"))
        .set("/domainname", json!("example.org"));
    assert_eq!(runtime.run_ok(&config), "box\nexample.org\n");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(runtime.run_ok(&Config::sh("hostname")), host, "without one it is the caller's");
}

#[test]
fn the_root_is_read_only_when_it_is_to_be() {
    let Some(runtime) = Runtime::new("read-only root") else { return };
    let script = "touch /new 2>&1; touch /mnt/new && echo volume";
    let config = Config::sh(script).mount("/mnt", "tmpfs", "tmpfs", "");
    assert_eq!(runtime.run_ok(&config), "volume\n");
    let said = runtime.run_ok(&config.set("/root/readonly", json!(true)));
    assert_eq!(said, "touch: /new: Read-only file system\nvolume\n");
}

#[test]
fn the_roots_propagation_is_as_it_is_named() {
    let Some(runtime) = Runtime::new("root propagation") else { return };
    let of_root = "awk '$5 == \"/\" { print $7; exit }' /proc/self/mountinfo";
    for (name, expected) in [
        ("private", "-"),
        ("shared", "shared:"),
        ("slave", "-"), // Of a mount that is not shared on the host.
        ("unbindable", "unbindable"),
        ("rshared", "shared:"),
        ("rprivate", "-"),
    ] {
        let said = runtime.run_ok(&Config::sh(of_root).set("/linux/rootfsPropagation", json!(name)));
        assert!(said.starts_with(expected), "{name}: {said:?}");
    }
    assert!(runtime.run_fails(&Config::sh("true").set("/linux/rootfsPropagation", json!("open"))).contains("open"));
    // What the host mounts below a slave's source shows inside; not so below a private one's.
    for (name, expected) in [("slave", "inside"), ("private", "nothing")] {
        let script = r#"
            mount --bind "$3" "$3"; mount --make-shared "$3"
            mkfifo "$4/go"; exec 9<>"$4/go"
            "$0" runtime --root "$1" run -b "$4" "$2" <"$4/go" &
            for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; "$0" runtime --root "$1" state "$2" 2>/dev/null | grep -q running && break; done
            mount -t tmpfs tmpfs "$3/mnt"; touch "$3/mnt/inside"
            echo go >&9; wait"#;
        let config =
            Config::sh("read x; ls /mnt | grep . || echo nothing").set("/linux/rootfsPropagation", json!(name));
        let bundle = runtime.bundle(&config);
        let root = bundle.join("rootfs");
        let words = [&runtime.scratch.path("records"), &runtime.id(), root.to_str().unwrap(), bundle.to_str().unwrap()];
        let output = crate::common::in_private_mounts(script, &words);
        assert_eq!(stdout(&output).trim_end(), expected, "{name}: {}", stderr(&output));
    }
}

#[test]
fn paths_are_masked_and_read_only() {
    let Some(runtime) = Runtime::new("masked paths") else { return };
    let script = "cat /etc/passwd | wc -c; ls /home | wc -l; touch /home/x 2>&1; touch /var/x 2>&1; echo x 2>&1 >/proc/sys/kernel/domainname; :";
    let config = Config::sh(script)
        .set("/linux/maskedPaths", json!(["/etc/passwd", "/home", "/proc/kcore", "/no/such/path"]))
        .set("/linux/readonlyPaths", json!(["/var", "/proc/sys", "/no/such/path"]));
    let bundle = runtime.bundle(&config);
    std::fs::write(bundle.join("rootfs/home/secret"), "secret").unwrap();
    let output = runtime.run_bundle(&bundle, &[]);
    let said = stdout(&output) + &stderr(&output);
    assert!(said.starts_with("0\n0\n"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 3, "{said}");
}

#[test]
fn devices_are_there_with_numbers_modes_and_owners() {
    let Some(runtime) = Runtime::new("devices") else { return };
    let devices = json!([
        { "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4 },
        { "path": "/dev/deep/er", "type": "u", "major": 1, "minor": 3 },
        { "path": "/outside", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600 },
        { "path": "/dev/pipe", "type": "p", "fileMode": 0o620 },
    ]);
    let stat = "stat -c '%n %F %t:%T %a %u:%g' /dev/mine /dev/deep/er /outside /dev/pipe";
    let config = Config::sh(stat).set("/linux/devices", devices);
    let expected = "/dev/mine character special file 1:5 640 3:4\n\
                    /dev/deep/er character special file 1:3 666 0:0\n\
                    /outside block special file 7:0 600 0:0\n\
                    /dev/pipe fifo 0:0 620 0:0\n";
    assert_eq!(runtime.run_ok(&config), expected);
    // Those that every container has, and the links.
    let script = "for d in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
        stat -c '%F %t:%T %a' /dev/${d%%:*} | grep -q \"character special file ${d#*:} 666\" || echo wrong $d; done
        for l in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2 ptmx:pts/ptmx; do
        test \"$(readlink /dev/${l%%:*})\" = ${l#*:} || echo wrong $l; done
        head -c 4 /dev/urandom | wc -c; ls /dev/console 2>/dev/null; :";
    assert_eq!(runtime.run_ok(&Config::sh(script)), "4\n", "and no /dev/console without a terminal");
    for (device, expected) in [
        (json!({ "path": "/etc/passwd", "type": "c", "major": 1, "minor": 3 }), "/etc/passwd"),
        (json!({ "path": "/dev/x", "type": "x", "major": 1, "minor": 3 }), "config.json"),
        (json!({ "path": "/dev/x", "type": "a", "major": 1, "minor": 3 }), "/dev/x"),
        (json!({ "path": "/dev/x", "type": "c", "major": -1, "minor": 3 }), "-1"),
    ] {
        let said = runtime.run_fails(&Config::sh("true").push("/linux/devices", device.clone()));
        assert!(said.contains(expected), "{device}: {said}");
    }
    // The same node that the root has already is no conflict.
    let mut config = Config::sh("stat -c %t:%T /mnt/zero")
        .push("/linux/devices", json!({ "path": "/mnt/zero", "type": "c", "major": 1, "minor": 5 }));
    let bundle = runtime.bundle(&config);
    assert!(
        Command::new("mknod").arg(bundle.join("rootfs/mnt/zero")).args(["c", "1", "5"]).status().unwrap().success()
    );
    assert_eq!(stdout(&runtime.run_bundle(&bundle, &[])), "1:5\n");
    config =
        Config::sh("true").push("/linux/devices", json!({ "path": "/mnt/zero", "type": "c", "major": 1, "minor": 3 }));
    crate::oci::write_config(&bundle, &config, &runtime.tag);
    assert!(stderr(&runtime.run_bundle(&bundle, &[])).contains("/mnt/zero"), "another one is");
}

#[test]
fn devices_are_allowed_in_the_order_of_the_rules() {
    let Some(runtime) = Runtime::new("device rules") else { return };
    let probe = "head -c1 /dev/mine >/dev/null 2>&1 && echo r; echo >/dev/mine && echo w; :";
    let config = |rules: Value| {
        let device = json!({ "path": "/dev/mine", "type": "c", "major": 10, "minor": 235 });
        Config::sh(&format!("{{ {probe}; }} 2>&1 | grep -c 'not permitted'; head -c1 /dev/zero | wc -c"))
            .push("/linux/devices", device)
            .set("/linux/resources/devices", rules)
    };
    let rule =
        |allow: bool, access: &str| json!({ "allow": allow, "type": "c", "major": 10, "minor": 235, "access": access });
    let all = json!({ "allow": false, "access": "rwm" });
    for (rules, refused) in [
        (json!([all, rule(true, "rw")]), 0),
        (json!([all, rule(true, "r")]), 1),
        (json!([all]), 1),
        (json!([rule(true, "rw"), all]), 1),
        (json!([all, rule(true, "rw"), rule(false, "w")]), 1),
    ] {
        // Whatever the rules: what every container may use stays usable.
        assert_eq!(runtime.run_ok(&config(rules.clone())), format!("{refused}\n1\n"), "{rules}");
    }
}

#[test]
fn kernel_parameters_of_its_namespaces_are_set() {
    let Some(runtime) = Runtime::new("sysctl") else { return };
    let sysctl = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "12345", "fs.mqueue.msg_max": "7", "kernel.domainname": "d.example" });
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max /proc/sys/kernel/domainname";
    assert_eq!(runtime.run_ok(&Config::sh(script).set("/linux/sysctl", sysctl)), "1\n12345\n7\nd.example\n");
    for (name, value, expected) in [
        ("kernel.panic", "1", "kernel.panic"),
        ("net.ipv4.no_such_thing", "1", "no_such_thing"),
        ("net.ipv4.ip_forward", "many", "many"),
        ("net/../kernel/panic", "1", "kernel/panic"),
    ] {
        let said = runtime.run_fails(&Config::sh("true").set("/linux/sysctl", json!({ name: value })));
        assert!(said.contains(expected), "{name}: {said}");
    }
    let shared = Config::sh("true").set("/linux/sysctl", json!({ "kernel.shmmax": "1" })).without_namespace("ipc");
    assert!(runtime.run_fails(&shared).contains("ipc namespace"));
}

#[test]
fn the_group_is_where_the_configuration_says() {
    let Some(runtime) = Runtime::new("cgroupsPath") else { return };
    let inside = |path: Option<&str>, flags: &[&str]| {
        let mut config = Config::sh("cat /proc/self/cgroup").without_namespace("cgroup");
        if let Some(path) = path {
            config = config.set("/linux/cgroupsPath", json!(path));
        }
        let bundle = runtime.bundle(&config);
        let output = runtime.run_bundle(&bundle, flags);
        assert!(output.status.success(), "{path:?}: {}", stderr(&output));
        let text = stdout(&output);
        text.lines().map(|line| line.splitn(3, ':').last().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let has = |paths: &[String], path: &str| paths.iter().any(|there| there == path);
    let absolute = format!("/{}-a/b", runtime.tag);
    assert!(has(&inside(Some(&absolute), &[]), &absolute));
    assert!(has(&inside(Some(&absolute), &[]), &absolute), "the same again");
    assert!(has(&inside(Some(&absolute[1..]), &[]), &absolute), "a relative one is below the top");
    let default = inside(None, &[]);
    assert!(default.iter().any(|path| path.starts_with(&format!("/mycontainer-{}", runtime.tag))), "{default:?}");
    let disabled = inside(Some(&absolute), &["--cgroup-manager", "disabled"]);
    assert!(!disabled.iter().any(|path| path.contains(&runtime.tag)), "{disabled:?}");
    for path in ["/", "/../x", "a/../../b"] {
        let config = Config::sh("true").set("/linux/cgroupsPath", json!(path));
        assert!(runtime.run_fails(&config).contains("group"), "{path}");
    }
    crate::oci::remove_parents(&format!("{}-a", runtime.tag));
}

#[test]
fn a_filter_refuses_what_it_is_told_to() {
    let Some(runtime) = Runtime::new("seccomp") else { return };
    let rule = |action: &str, errno: Option<u32>| {
        let mut rule = json!({ "names": ["mkdir", "mkdirat", "no_such_call"], "action": action });
        if let Some(errno) = errno {
            rule["errnoRet"] = json!(errno);
        }
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
    };
    for (seccomp, expected) in [
        (rule("SCMP_ACT_ERRNO", None), "Operation not permitted"),
        (rule("SCMP_ACT_ERRNO", Some(28)), "No space left on device"),
        (rule("SCMP_ACT_KILL_PROCESS", None), "Bad system call"),
        (rule("SCMP_ACT_ALLOW", None), "made"),
        (rule("SCMP_ACT_LOG", None), "made"),
    ] {
        for no_new_privileges in [false, true] {
            let config = Config::sh("{ sh -c 'mkdir /tmp/x; exit $?' && echo made; } 2>&1; :")
                .set("/linux/seccomp", seccomp.clone())
                .set("/process/noNewPrivileges", json!(no_new_privileges));
            let output = runtime.run(&config);
            let said = stdout(&output) + &stderr(&output);
            assert!(said.contains(expected), "{seccomp} {no_new_privileges}: {said}");
        }
    }
    let by_argument = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
        "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
        "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }],
    }] });
    let config = Config::sh("kill -12 1; echo $?; kill -10 1; echo $?").set("/linux/seccomp", by_argument);
    let output = runtime.run(&config);
    assert_eq!(stdout(&output), "0\n1\n", "{}", stderr(&output));
    for (pointer, value, expected) in [
        ("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_FLY"), "SCMP_ACT_FLY"),
        ("/linux/seccomp/architectures", json!(["SCMP_ARCH_FLY"]), "SCMP_ARCH_FLY"),
        ("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_FLY"]), "SECCOMP_FILTER_FLAG_FLY"),
        ("/linux/seccomp/syscalls/0", json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }), "listenerPath"),
        ("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_KILL"), "errno"),
    ] {
        let base = Config::sh("true").set("/linux/seccomp", rule("SCMP_ACT_ERRNO", Some(28)));
        let said = runtime.run_fails(&base.set(pointer, value.clone()));
        assert!(said.to_lowercase().contains(&expected.to_lowercase()), "{pointer} {value}: {said}");
    }
}

#[test]
fn the_personality_is_what_uname_tells() {
    let Some(runtime) = Runtime::new("personality") else { return };
    let config = |domain: &str| Config::sh("uname -m").set("/linux/personality", json!({ "domain": domain }));
    let machine = runtime.run_ok(&Config::sh("uname -m"));
    assert_eq!(runtime.run_ok(&config("LINUX")), machine);
    if machine == "x86_64\n" {
        assert_eq!(runtime.run_ok(&config("LINUX32")), "i686\n");
    }
    assert!(runtime.run_fails(&config("SUNOS")).contains("SUNOS"));
    let flags = config("LINUX").set("/linux/personality/flags", json!(["ADDR_NO_RANDOMIZE"]));
    assert!(runtime.run_fails(&flags).contains("ADDR_NO_RANDOMIZE"));
}

#[test]
fn memory_comes_from_the_nodes_of_the_policy() {
    let Some(runtime) = Runtime::new("memory policy") else { return };
    if !need("memory policy", Path::new("/proc/self/numa_maps").exists(), "the kernel has no NUMA") {
        return;
    }
    let config = |mode: &str, nodes: Value| {
        let policy = json!({ "mode": mode, "nodes": nodes });
        Config::sh("cut -d' ' -f2 /proc/self/numa_maps | sort -u").set("/linux/memoryPolicy", policy)
    };
    assert!(runtime.run_ok(&config("MPOL_BIND", json!("0"))).contains("bind:0"));
    assert!(runtime.run_ok(&config("MPOL_INTERLEAVE", json!("0"))).contains("interleave:0"));
    for (mode, nodes, expected) in [
        ("MPOL_BIND", json!("900"), "900"),
        ("MPOL_BIND", json!("x"), "x"),
        ("MPOL_BIND", json!(""), "needs nodes"),
        ("MPOL_FLY", json!("0"), "MPOL_FLY"),
        ("MPOL_DEFAULT", json!("0"), "no nodes"),
    ] {
        let said = runtime.run_fails(&config(mode, nodes.clone()));
        assert!(said.contains(expected), "{mode} {nodes}: {said}");
    }
}

#[test]
fn network_devices_are_moved_in_whole_or_not_at_all() {
    let Some(runtime) = Runtime::new("net devices") else { return };
    // In a network namespace of the test's own, with a dummy device.
    let script = r#"
        ip link set lo up; ip link add mcdev0 type veth peer name mcpeer0; ip link set mcpeer0 up; ip address add 192.0.2.7/24 dev mcdev0; ip link set mcdev0 up
        "$0" runtime --root "$1" run -b "$3" "$2"
        ip -o link show"#;
    let config = Config::sh("ip -o address show dev inside | grep -o 'inet [^ ]*'; cat /sys/class/net/inside/flags; ls /sys/class/net | tr '\\n' ' '")
        .set("/linux/netDevices", json!({ "mcdev0": { "name": "inside" } }));
    let run = |config: &Config| {
        let bundle = runtime.bundle(config);
        let words = ["-n", "sh", "-ec", script, crate::common::tool(), &runtime.scratch.path("records"), &runtime.id()];
        let mut command = Command::new("unshare");
        command.args(words).arg(&bundle).stdin(Stdio::null());
        crate::oci::finish(command, "unshare")
    };
    let output = run(&config);
    let said = stdout(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.first().copied(), Some("inet 192.0.2.7/24"), "{said}{}", stderr(&output));
    let flags = u32::from_str_radix(lines[1].trim_start_matches("0x"), 16).unwrap();
    assert_eq!(flags & 1, 1, "it is up: {said}");
    assert_eq!(lines[2].trim_end().split(" 1:").next().unwrap().trim(), "inside lo");
    for (devices, expected) in [
        (json!({ "nodev0": {} }), "nodev0"),
        (json!({ "mcdev0": { "name": "lo" } }), "mcdev0"),
        (json!({ "mcdev0": { "name": "a/b" } }), "a/b"),
    ] {
        let output = run(&config.clone().set("/linux/netDevices", devices.clone()));
        let said = stderr(&output);
        assert!(said.contains(expected), "{devices}: {said}");
    }
    let shared = Config::sh("true").set("/linux/netDevices", json!({ "x": {} })).without_namespace("network");
    assert!(runtime.run_fails(&shared).contains("network namespace"));
}

#[test]
fn limits_reach_the_group() {
    let Some(runtime) = Runtime::new("resources") else { return };
    let resources = json!({
        "memory": { "limit": 33_554_432 },
        "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0" },
        "pids": { "limit": 21 },
    });
    let container = runtime.start(&Config::sh("echo ready; exec sleep 1000").set("/linux/resources", resources));
    container.expect("ready");
    let dirs = crate::oci::group_dirs(container.pid(), &runtime.tag);
    let read = |names: &[&str]| {
        let found = dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name))).find(|path| path.exists());
        found.map(|path| std::fs::read_to_string(path).unwrap().trim_end().to_owned())
    };
    assert_eq!(read(&["memory.limit_in_bytes", "memory.max"]).unwrap(), "33554432");
    assert_eq!(read(&["pids.max"]).unwrap(), "21");
    assert!(matches!(read(&["cpu.cfs_quota_us", "cpu.max"]).unwrap().as_str(), "50000" | "50000 100000"));
    if let Some(cpus) = read(&["cpuset.cpus"]) {
        assert_eq!(cpus, "0");
    }
    if let Some(shares) = read(&["cpu.shares"]) {
        assert_eq!(shares, "512");
    }
}

#[test]
fn what_this_host_has_not_is_an_error_that_names_it() {
    let Some(runtime) = Runtime::new("missing parts") else { return };
    let rdt = json!({ "closID": "mctest", "l3CacheSchema": "L3:0=f" });
    let cases = [
        ("/process/apparmorProfile", json!("mctest-profile"), "AppArmor", "/sys/module/apparmor"),
        ("/process/selinuxLabel", json!("a:b:c:d"), "SELinux", "/sys/fs/selinux"),
        ("/linux/mountLabel", json!("a:b:c:d"), "SELinux", "/sys/fs/selinux"),
        ("/linux/intelRdt", rdt, "resctrl", "/sys/fs/resctrl/schemata"),
        ("/linux/resources/rdma", json!({ "mlx0": { "hcaHandles": 1 } }), "rdma", "/sys/fs/cgroup/rdma"),
        ("/linux/resources/hugepageLimits", json!([{ "pageSize": "3MB", "limit": 1 }]), "hugepage", "/none"),
        ("/linux/resources/unified", json!({ "nothing.max": "1" }), "unified", "/none"),
        ("/linux/resources/network", json!({ "classID": 1 }), "net_cls", "/sys/fs/cgroup/net_cls"),
    ];
    for (pointer, value, expected, there) in cases {
        if Path::new(there).exists() {
            continue;
        }
        let said = runtime.run_fails(&Config::sh("echo it ran").set(pointer, value));
        assert!(said.contains(expected), "{pointer}: {said}");
        assert_eq!(runtime.left(), Vec::<String>::new(), "{pointer}");
    }
    // Empty, they ask for nothing.
    let config =
        Config::sh("echo it ran").set("/process/apparmorProfile", json!("")).set("/process/selinuxLabel", json!(""));
    assert_eq!(runtime.run_ok(&config.set("/linux/mountLabel", json!(""))), "it ran\n");
}

#[test]
fn what_the_specification_does_not_know_is_ignored() {
    let Some(runtime) = Runtime::new("unknown properties") else { return };
    let config = Config::sh("echo it ran")
        .set("/comExampleFuture", json!({ "a": [1] }))
        .set("/process/comExampleFuture", json!(true))
        .set("/linux/comExampleFuture", json!("x"))
        .set("/annotations", json!({ "com.example.unknown": "x" }));
    assert_eq!(runtime.run_ok(&config), "it ran\n");
}

#[test]
fn limits_can_be_looked_at_before_the_start() {
    let Some(runtime) = Runtime::new("created environment") else { return };
    let config = Config::sh("true")
        .set("/linux/resources/pids/limit", json!(33))
        .set("/hostname", json!("early"))
        .mount("/mnt", "tmpfs", "tmpfs", "size=64k");
    let container = runtime.create(&config);
    let limits = crate::oci::group_dirs(container.pid(), &runtime.tag);
    let limit = limits.iter().find_map(|dir| std::fs::read_to_string(dir.join("pids.max")).ok());
    assert_eq!(limit.as_deref(), Some("33\n"));
    let seen = container.ok(&["exec"], &["sh", "-c", "hostname; df -k /mnt | tail -1 | awk '{ print $2 }'"]);
    assert_eq!(seen, "early\n64\n");
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    let Some(runtime) = Runtime::new("wrong kinds") else { return };
    for (pointer, value) in [
        ("/annotations", json!({ "a": 1 })),
        ("/annotations", json!(["a"])),
        ("/hostname", json!(7)),
        ("/process/args", json!("sh")),
        ("/process/env", json!({ "A": "1" })),
        ("/process/terminal", json!("yes")),
        ("/process/user/uid", json!("0")),
        ("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": -1, "hard": 1 }])),
        ("/mounts/0/options", json!("ro")),
        ("/linux/namespaces", json!({ "type": "pid" })),
        ("/linux/resources/pids/limit", json!("many")),
        ("/linux/maskedPaths", json!("/proc")),
        ("/linux/rootfsPropagation", json!(1)),
    ] {
        let said = runtime.run_fails(&Config::sh("echo it ran").set(pointer, value.clone()));
        assert!(said.contains("config.json"), "{pointer} {value}: {said}");
    }
}

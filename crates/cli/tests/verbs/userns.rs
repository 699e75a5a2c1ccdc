//! `--userns`, `--uidmap` and `--gidmap` as root: a container's root is nobody outside, and its files have the owners that
//! it knows, whoever looks. The judge is the kernel: the maps that it shows, and owners on disk.

use crate::common::life::Life;
use crate::common::{busybox_root, stdout};
use std::os::unix::fs::MetadataExt;

const SLEEPS: &str = "trap exit TERM; while :; do sleep 0.1; done";

/// A host with a small image, named `small`, in which /data belongs to 1000 and a program is set-uid.
fn with_image(test: &str) -> Option<Life> {
    let l = Life::prepared(test, "mount -t tmpfs none /mnt")?;
    let root = busybox_root().display();
    l.host.sh(&format!(
        "cp -a {root} /mnt/small; cd /mnt/small; mkdir -p data; chown 1000:1000 data; touch suid; chmod 4755 suid; \
         tar -c . > /mnt/small.tar"
    ));
    l.ok(&["import", "/mnt/small.tar", "small"]);
    Some(l)
}

/// The map of users of a process, as numbers.
fn map_of(pid: u32) -> Vec<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("it lives");
    text.lines().map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect()).collect()
}

#[test]
fn containers_share_layers_and_no_ids() {
    let Some(l) = with_image("containers_share_layers_and_no_ids") else { return };
    let start =
        |name: &str| l.note(l.ok(&["run", "-d", "--name", name, "--userns", "auto", "small", "sh", "-c", SLEEPS]));
    start("one");
    start("other");
    let (one, other) = (map_of(l.pid("one")), map_of(l.pid("other")));
    assert_eq!((one.len(), one[0][0], one[0][2]), (1, 0, 1024), "{one:?}");
    assert!(one[0][1] >= 65536 && one[0][1].abs_diff(other[0][1]) >= 1024, "{one:?} {other:?}");
    assert_eq!(l.field("one", "HostConfig.UsernsMode"), "auto");
    // What is on disk once belongs in each to whom the image says, and can be changed there.
    let look = "touch /new; chown 5:6 /new; chmod 700 /data; for f in /new /data /suid /bin /etc/hosts; do stat -c '%u:%g %a' $f; done";
    for name in ["one", "other"] {
        let seen = l.ok(&["exec", name, "sh", "-c", look]);
        assert_eq!(seen, "5:6 644\n1000:1000 700\n0:0 4755\n0:0 755\n0:0 644");
    }
    assert_eq!(l.ok(&["exec", "-u", "7:8", "one", "sh", "-c", "id -u; id -g; cat /proc/self/uid_map"]), {
        format!("7\n8\n{:>10} {:>10} {:>10}", 0, one[0][1], 1024)
    });
    // One that is made has ids that one that ended has had and not given back: it may be started again.
    l.ok(&["stop", "one", "other"]);
    start("third");
    let third = map_of(l.pid("third"))[0][1];
    assert!(third != one[0][1] && third != other[0][1], "{third} {one:?} {other:?}");
    l.ok(&["start", "one"]);
    assert_eq!(map_of(l.pid("one")), one);
    l.ok(&["rm", "-f", "other"]);
    start("fourth");
    assert_eq!(map_of(l.pid("fourth")), other);
}

/// As Podman sizes them: by the accounts of the image, 1024 at least. And whom a container runs as is in it in any case.
#[test]
fn there_are_as_many_ids_as_the_image_has_users() {
    let Some(l) = with_image("there_are_as_many_ids_as_the_image_has_users") else { return };
    l.host.sh(
        "cd /mnt/small; echo svc:x:4999:70::/:/bin/sh >> etc/passwd; echo nobody:x:65534:65534::/:/bin/sh >> etc/passwd; \
         echo many:x:5999:svc >> etc/group; tar -c . > /mnt/more.tar",
    );
    l.ok(&["import", "/mnt/more.tar", "more"]);
    l.ok(&["import", "-c", "USER nobody", "/mnt/more.tar", "nobodys"]);
    let count = |flags: &[&str], root: &str| {
        let words = ["run", "--rm", "--network", "none", "--userns", "auto"];
        let said = l.ok(&[&words[..], flags, &[root, "sh", "-c", "id -u; cat /proc/self/uid_map"]].concat());
        let numbers: Vec<u32> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (numbers[0], numbers[3])
    };
    assert_eq!(count(&[], "small"), (0, 1024));
    for root in ["more", "/mnt/more.tar"] {
        assert_eq!(count(&[], root), (0, 6000), "{root}");
    }
    assert_eq!(count(&["-u", "7000:8000"], "small"), (7000, 8001));
    assert_eq!(count(&["--group-add", "9000"], "more"), (0, 9001));
    assert_eq!(count(&["-u", "nobody"], "more"), (65534, 65535));
    assert_eq!(count(&[], "nobodys"), (65534, 65535));
}

#[test]
fn files_come_and_go_with_the_owners_that_the_container_knows() {
    let Some(l) = with_image("files_come_and_go_with_the_owners_that_the_container_knows") else { return };
    l.host.sh("mkdir /mnt/bind /mnt/mapped; chown 5:5 /mnt/bind; echo x > /mnt/file; chown 9:9 /mnt/file");
    let script = format!(
        "echo 1 > /new; chown 5:6 /new; touch /vol/a /mapped/a; chown 7:7 /vol/a /mapped/a; rm -r /data; mkdir /data; {SLEEPS}"
    );
    let flags = ["-v", "vol:/vol", "-v", "/mnt/bind:/bind", "-v", "/mnt/mapped:/mapped:idmap"];
    let words =
        [&["run", "-d", "--name", "one", "--userns", "auto:size=1000"][..], &flags, &["small", "sh", "-c", &script]];
    l.note(l.ok(&words.concat()));
    assert!(crate::common::wait_until(5, || l.tool(&["exec", "one", "test", "-d", "/data/."]).status.success()));
    // A path of the host keeps its owners, unless the person says otherwise.
    assert_eq!(l.ok(&["exec", "one", "stat", "-c", "%u", "/bind", "/vol/a", "/mapped/a"]), "65534\n7\n7");
    let owner = |path: &str| std::fs::metadata(l.path(path)).map(|m| (m.uid(), m.gid())).unwrap();
    assert_eq!(owner("/mnt/mapped/a"), (7, 7));
    assert_eq!(owner("/var/lib/mycontainer/volumes/vol/_data/a"), (7, 7));
    // Copied in and out, running or not.
    for round in ["running", "stopped"] {
        l.ok(&["cp", "/mnt/file", "one:/in"]);
        l.ok(&["cp", "-a", "/mnt/file", "one:/kept"]);
        l.ok(&["cp", "-a", "one:/new", "/mnt/out"]);
        assert_eq!(owner("/mnt/out"), (5, 6), "{round}");
        let tar = l.host.sh(&format!("{} export one | tar -t -v --numeric-owner", crate::common::tool()));
        let line =
            |name: &str| tar.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap_or("none").to_owned();
        for (name, owner) in [("new", " 5/6 "), ("in", " 0/0 "), ("kept", " 9/9 "), ("bin/busybox", " 0/0 ")] {
            assert!(line(name).contains(owner), "{round}: {name}: {}", line(name));
        }
        if round == "running" {
            l.ok(&["cp", "/mnt/file", "one:/vol/in"]);
            assert_eq!(l.ok(&["exec", "one", "stat", "-c", "%u:%g", "/in", "/kept", "/vol/in"]), "0:0\n9:9\n0:0");
        }
        l.ok(&["commit", "one", "made"]);
        let seen =
            l.ok(&["run", "--rm", "--network", "none", "made", "sh", "-c", "stat -c %u:%g /new /kept /bin; ls /data"]);
        assert_eq!(seen, "5:6\n9:9\n0:0", "{round}");
        assert!(l.ok(&["diff", "one"]).contains("A /new"), "{round}");
        l.ok(&["stop", "-t", "0", "one"]);
    }
}

#[test]
fn maps_of_ones_own_and_roots_that_are_no_images() {
    let Some(l) = with_image("maps_of_ones_own_and_roots_that_are_no_images") else { return };
    let maps = ["--uidmap", "0:300000:1000", "--uidmap", "5000:400000", "--gidmap", "0:500000:2000"];
    let look =
        "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; stat -c %u:%g /data /bin; touch /x; stat -c %u /x";
    let said = " 0 300000 1000\n 5000 400000 1\n 0 500000 2000\n65534:1000\n0:0\n0";
    for root in ["small", "/mnt/small.tar", "/mnt/small"] {
        let words = [&["run", "--rm", "--network", "none"][..], &maps, &[root, "sh", "-c", look]].concat();
        assert_eq!(l.ok(&words), said, "{root}");
    }
    // The directory was used in place, and its own root is whom the file belongs to.
    assert_eq!(std::fs::metadata(l.path("/mnt/small/x")).unwrap().uid(), 0);
    let copy =
        [&["run", "--rm", "--network", "none", "--ephemeral"][..], &maps, &["/mnt/small", "sh", "-c", look]].concat();
    l.host.sh("rm /mnt/small/x");
    assert_eq!(l.ok(&copy), said);
    assert!(!l.path("/mnt/small/x").exists());
    // One of the two maps stands for both.
    let both =
        l.ok(&["run", "--rm", "--network", "none", "--gidmap", "0:7000:9", "small", "cat", "/proc/self/uid_map"]);
    assert_eq!(both.split_whitespace().collect::<Vec<_>>(), ["0", "7000", "9"]);
}

#[test]
fn it_has_no_power_over_what_is_not_its_own() {
    let Some(l) = with_image("it_has_no_power_over_what_is_not_its_own") else { return };
    l.host.sh("mkdir -m 700 /mnt/secret; echo secret > /mnt/secret/file; mkdir -m 755 /mnt/open; echo 1 > /mnt/open/a");
    let run = |flags: &[&str], script: &str| {
        let words = [&["run", "--rm", "--userns", "auto"][..], flags, &["small", "sh", "-c", script]].concat();
        stdout(&l.tool(&words))
    };
    let said = run(&["-v", "/mnt/secret:/s", "-v", "/mnt/open:/o"], "cat /s/file; echo 2 > /o/a; cat /o/a; echo end");
    assert_eq!(said, "1\nend\n");
    // With all capabilities it has those of its own namespace.
    let flags = ["--privileged", "-v", "/mnt/open:/o"];
    assert_eq!(run(&flags, "chown 0 /o/a || echo no; hostname new && hostname"), "no\nnew\n");
    // The network of others it uses, and does not change.
    let said = run(
        &["--network", "host", "--cap-add", "ALL"],
        "ls /sys/class/net | grep -x lo; ip link set lo down || echo no",
    );
    assert_eq!(said, "lo\nno\n");
    let side = l.detached(&["--network", "bridge", "--name", "web"], SLEEPS);
    assert_eq!(
        run(&["--network", "container:web"], "hostname; ip -o link | grep -c eth0"),
        format!("{}\n1\n", &side[..8])
    );
    // An address, names and files of its own, as any other.
    assert_eq!(run(&[], "ip -4 -o addr show eth0 | grep -c 172.17; echo x >> /etc/hosts && echo done"), "1\ndone\n");
    assert_eq!(run(&["--read-only", "--tmpfs", "/t"], "touch /t/x && echo done"), "done\n");
}

#[test]
fn what_cannot_be_says_why() {
    let Some(l) = with_image("what_cannot_be_says_why") else { return };
    for (flags, expected, why) in [
        (
            &["--userns", "private"][..],
            125,
            "it is host, auto[:size=N], keep-id[:uid=N,gid=N], nomap, container:NAME or ns:PATH",
        ),
        (&["--userns", "auto:size=0"], 125, "above 0"),
        (&["--uidmap", "0:1"], 0, ""),
        (&["--uidmap", "0:1:x"], 125, "CONTAINER:FROM[:AMOUNT]"),
        (&["--uidmap", "0:1:5", "--uidmap", "3:100:5"], 125, "it overlaps another"),
        (&["--uidmap", "0:1:5", "--userns", "auto"], 125, "cannot be used with --userns auto"),
        (&["--userns", "auto", "--pid", "host"], 125, "--pid host cannot be used with --userns"),
        (&["--userns", "auto", "--ipc", "host"], 125, "--ipc host cannot be used with --userns"),
        (&["--userns", "keep-id"], 125, "root is root"),
        (&["--userns", "nomap"], 125, "for root use --userns auto"),
        (&["-v", "/mnt:/x:idmap"], 125, "with --userns"),
        (&["--userns", "auto:size=4000000000"], 125, "there are no 4000000000 ids left"),
    ] {
        let words = [&["run", "--rm", "--network", "none"][..], flags, &["small", "true"]].concat();
        let said = l.fails(expected, &words);
        assert!(said.contains(why), "{flags:?}: {said}");
    }
    let said = l.fails(125, &["run", "--rm", "--userns", "auto", "host", "true"]);
    assert!(said.contains("a view of the host"), "{said}");
}

/// As two of a pod are, with files that belong to the same users in both.
#[test]
fn another_containers_is_joined() {
    let Some(l) = with_image("another_containers_is_joined") else { return };
    l.note(l.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "--userns",
        "auto",
        "--ipc",
        "shareable",
        "small",
        "sh",
        "-c",
        SLEEPS,
    ]));
    l.note(l.ok(&["run", "-d", "--name", "plain", "small", "sh", "-c", SLEEPS]));
    let user = |name: &str| std::fs::read_link(format!("/proc/{}/ns/user", l.pid(name))).unwrap();
    let join = ["--userns", "container:one", "-v", "vol:/vol"];
    let shared = ["--pid", "container:one", "--ipc", "container:one", "--network", "container:one"];
    for (name, more) in [("two", &[][..]), ("three", &shared)] {
        let words = [&["run", "-d", "--name", name][..], &join, more, &["small", "sh", "-c", SLEEPS]].concat();
        l.note(l.ok(&words));
        assert_eq!(user(name), user("one"), "{name}");
        assert_eq!(map_of(l.pid(name)), map_of(l.pid("one")), "{name}");
        let look = "touch /new /vol/x; chown 5:6 /new /vol/x; stat -c %u:%g /new /vol/x /data /suid";
        assert_eq!(l.ok(&["exec", name, "sh", "-c", look]), "5:6\n5:6\n1000:1000\n0:0", "{name}");
    }
    assert_eq!(l.field("two", "HostConfig.UsernsMode"), format!("container:{}", l.field("one", "Id")));
    // Root of one may do to the other what root may.
    assert!(l.ok(&["exec", "three", "sh", "-c", "kill -0 1 && echo may"]).contains("may"));
    // Whoever has none of its own gives none, and who does not run cannot be joined.
    l.note(l.ok(&["run", "-d", "--name", "four", "--userns", "container:plain", "small", "sh", "-c", SLEEPS]));
    assert_eq!(user("four"), user("plain"));
    l.ok(&["stop", "-t", "0", "two"]);
    l.ok(&["start", "two"]);
    l.ok(&["rm", "-f", "three"]);
    l.ok(&["stop", "-t", "0", "one", "two"]);
    let said = l.fails(1, &["start", "two"]);
    assert!(said.contains("cannot join the user namespace of the container one: it is not running"), "{said}");
    l.ok(&["start", "one", "two"]);
    assert_eq!(user("two"), user("one"));
    for (flags, why) in [
        (&["--userns", "container:nobody"][..], "there is no container"),
        (&["--userns", "container:one", "--pid", "container:plain"], "it is of another user namespace"),
        (&["--userns", "container:one", "--uidmap", "0:5:5"], "cannot be used with --userns container:"),
    ] {
        let output = l.tool(&[&["run", "--rm"], flags, &["small", "true"]].concat());
        assert!(
            !output.status.success() && crate::common::stderr(&output).contains(why),
            "{flags:?}: {}",
            crate::common::stderr(&output)
        );
    }
}

#[test]
fn one_at_a_path_is_joined() {
    let Some(l) = with_image("one_at_a_path_is_joined") else { return };
    let make = |file: &str, users: &str| {
        l.host.sh(&format!(
            "touch {file}; unshare --user sleep 100 & pid=$!; until [ $(readlink /proc/$pid/ns/user) != $(readlink /proc/self/ns/user) ]; do sleep 0.05; done
             echo '{users}' > /proc/$pid/uid_map; echo '{users}' > /proc/$pid/gid_map; mount --bind /proc/$pid/ns/user {file}; kill $pid"
        ));
    };
    make("/mnt/users", "0 400000 3000");
    let ns = ["--userns", "ns:/mnt/users"];
    l.note(l.ok(&[&["run", "-d", "--name", "one"][..], &ns, &["small", "sh", "-c", SLEEPS]].concat()));
    let is_in = |pid: u32| std::fs::metadata(format!("/proc/{pid}/ns/user")).unwrap().ino();
    assert_eq!(is_in(l.pid("one")), std::fs::metadata(l.path("/mnt/users")).unwrap().ino());
    assert_eq!(map_of(l.pid("one")), [[0, 400_000, 3000]]);
    let look = "touch /new; chown 5:6 /new; stat -c %u:%g /new /data /suid; ping -c 1 127.0.0.1 > /dev/null && echo up";
    assert_eq!(l.ok(&["exec", "one", "sh", "-c", look]), "5:6\n1000:1000\n0:0\nup");
    l.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(map_of(l.pid("one")), [[0, 400_000, 3000]]);
    // Another one at the same path would give its files away.
    l.ok(&["stop", "-t", "0", "one"]);
    l.host.sh("umount /mnt/users");
    make("/mnt/users", "0 500000 3000");
    let said = l.fails(1, &["start", "one"]);
    assert!(said.contains("another one than when the container was made"), "{said}");
    for (path, why) in [
        ("/proc/self/ns/user", "that is --userns host"),
        ("/proc/self/ns/net", "it is no user namespace"),
        ("/mnt/nothing", "No such file"),
    ] {
        let said = l.fails(125, &["run", "--rm", "--userns", &format!("ns:{path}"), "small", "true"]);
        assert!(said.contains(why), "{path}: {said}");
    }
}

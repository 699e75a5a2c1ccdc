//! `mount` and `unmount`: a container's root at a path of the host, and never two layers of writing over one another.

use crate::common::life::Life;
use crate::common::{busybox_root, kill};
use std::path::PathBuf;

const SLEEPS: &str = "trap exit TERM; while :; do sleep 0.1; done";

fn with_image(test: &str) -> Option<Life> {
    let l = Life::new(test)?;
    l.host.sh(&format!("tar -C {} -c . | {} import - small", busybox_root().display(), crate::common::tool()));
    Some(l)
}

/// What is mounted below the directory of mounts.
fn mounts(l: &Life) -> usize {
    l.host.sh("grep -c /run/mycontainer/mounts/ /proc/self/mountinfo || true").trim().parse().unwrap()
}

#[test]
fn a_root_is_looked_at_and_changed_whether_it_runs_or_not() {
    let Some(l) = with_image("a_root_is_looked_at_and_changed_whether_it_runs_or_not") else { return };
    l.note(l.ok(&["create", "--name", "one", "-v", "vol:/vol", "small", "sh", "-c", SLEEPS]));
    let path = l.ok(&["mount", "one"]);
    assert_eq!(l.ok(&["mount", "one"]), path, "it is mounted once");
    assert_eq!(l.ok(&["mount"]), format!("one {path}"));
    let host = |name: &str| l.path(&path).join(name);
    l.host.sh(&format!("test -x {path}/bin/busybox; echo outside > {path}/outside"));
    // What `cp`, `export` and the next start see is the same.
    assert_eq!(l.host.sh(&format!("{} cp one:/outside - | tar -x -O", crate::common::tool())), "outside\n");
    l.host.sh(&format!("{} export one | tar -t | grep -x outside", crate::common::tool()));
    l.ok(&["start", "one"]);
    l.ok(&["exec", "one", "sh", "-c", "cat /outside; echo inside > /inside; echo hidden > /vol/hidden"]);
    l.host.sh(&format!("grep -x inside {path}/inside; test ! -e {path}/vol/hidden; echo more >> {path}/inside"));
    assert_eq!(l.ok(&["exec", "one", "cat", "/inside"]), "inside\nmore");
    l.ok(&["restart", "-t", "0", "one"]);
    l.host.sh(&format!("echo after > {path}/after"));
    assert_eq!(l.ok(&["exec", "one", "cat", "/after"]), "after");
    l.ok(&["stop", "-t", "0", "one"]);
    l.ok(&["unmount", "one"]);
    assert!(!host("").exists() && mounts(&l) == 0);
    l.ok(&["umount", "one"]);
    assert_eq!(l.ok(&["mount"]), "");
    assert_eq!(l.host.sh(&format!("{} cp one:/after - | tar -x -O", crate::common::tool())), "after\n");
    // One that runs, and goes when it ends.
    l.detached(&["--rm", "--name", "goes"], SLEEPS);
    let path = PathBuf::from(l.ok(&["mount", "goes"]));
    l.host.sh(&format!("echo hello > {}/hello", path.display()));
    assert_eq!(l.ok(&["exec", "goes", "cat", "/hello"]), "hello");
    l.ok(&["mount", "--all"]);
    assert_eq!(mounts(&l), 2);
    l.ok(&["rm", "-f", "goes", "one"]);
    assert!(crate::common::wait_until(5, || mounts(&l) == 0));
}

#[test]
fn a_killed_container_leaves_no_mount() {
    let Some(l) = with_image("a_killed_container_leaves_no_mount") else { return };
    l.detached(&["--rm", "--name", "goes"], SLEEPS);
    l.ok(&["mount", "goes"]);
    assert_eq!(mounts(&l), 1);
    kill("KILL", l.monitor("goes"));
    let is_gone = crate::common::wait_until(5, || {
        l.ok(&["ps", "-a"]);
        mounts(&l) == 0
    });
    assert!(is_gone);
    assert_eq!(std::fs::read_dir(l.path("/run/mycontainer/mounts")).unwrap().count(), 0);
    // One that ended while it was mounted is no container any more.
    let id = "a".repeat(64);
    l.host.sh(&format!("mkdir /run/mycontainer/mounts/{id}; mount -t tmpfs none /run/mycontainer/mounts/{id}"));
    assert_eq!(mounts(&l), 1);
    l.ok(&["run", "--rm", "--network", "none", "small", "true"]);
    assert_eq!(mounts(&l), 0);
    // A directory without a mount is what a killed `mount` leaves.
    let id = l.note(l.ok(&["create", "--name", "one", "small", "sh", "-c", SLEEPS]));
    l.host.sh(&format!("mkdir /run/mycontainer/mounts/{id}"));
    assert_eq!(l.ok(&["mount"]), "");
    l.ok(&["start", "one"]);
    l.ok(&["mount", "one"]);
    assert_eq!(mounts(&l), 1);
    l.ok(&["rm", "-f", "one"]);
    assert_eq!(mounts(&l), 0);
}

#[test]
fn owners_are_those_outside() {
    let Some(l) = with_image("owners_are_those_outside") else { return };
    l.note(l.ok(&["create", "--name", "one", "--uidmap", "0:300000:1000", "small", "sh", "-c", SLEEPS]));
    let path = l.ok(&["mount", "one"]);
    assert_eq!(l.host.sh(&format!("stat -c %u {path}/bin")), "300000\n");
    l.host.sh(&format!("echo x > {path}/x; chown 300005:300000 {path}/x"));
    assert_eq!(
        l.host.sh(&format!("{} cp one:/x - | tar -t -v --numeric-owner | cut -d' ' -f2", crate::common::tool())),
        "5/0\n"
    );
    let said = l.fails(1, &["start", "one"]);
    assert!(said.contains("the root of one is mounted") && said.contains("mycontainer unmount"), "{said}");
    l.ok(&["unmount", "one"]);
    l.ok(&["start", "one"]);
    assert_eq!(l.ok(&["exec", "one", "stat", "-c", "%u", "/x"]), "5");
    let said = l.fails(1, &["mount", "none"]);
    assert!(said.contains("no container"), "{said}");
}

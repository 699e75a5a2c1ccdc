//! Control groups of an ordinary user: limits, `pause`, `stats` and `update` as root has them, on cgroup v2.
//!
//! The user's part of the tree is made in both ways that there are: a group that root gives away, and a scope of the
//! user's systemd, for which the virtual machine has one with `tests/vm/systemd`. On v1 there is none, and that is told.

use crate::common::user::User;
use crate::common::{code, need, stderr, stdout, wait_until};
use std::path::{Path, PathBuf};

const IDS: u32 = 65536;

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A user on a host with v2; on v1 one line says that there is none.
fn user_on_v2(test: &str) -> Option<User> {
    if !is_v2() {
        eprintln!("{test}: this host has cgroup v1, the virtual machine has v2");
        return None;
    }
    User::new(test, IDS)
}

/// A group that root has given to a user, as cgroup-v2.rst describes it, with a group in it for the user's shells. It is in
/// one of root's, which hands down these controllers alone, whatever other tests have handed down to that.
struct Given {
    user: User,
    /// Where it is in the tree.
    path: String,
    group: PathBuf,
    _group: Group,
}

/// A group that goes after its user.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::process::Command::new("find")
            .arg(&self.0)
            .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
            .output();
    }
}

impl Given {
    fn new(test: &str, controllers: &str) -> Option<Given> {
        let mut user = user_on_v2(test)?;
        let above = PathBuf::from(format!("/sys/fs/cgroup/{}.above", user.name));
        let path = format!("{0}.above/{0}", user.name);
        let group = Path::new("/sys/fs/cgroup").join(&path);
        let at = group.display();
        user.host.sh("echo +cpu +cpuset +io +memory +pids > /sys/fs/cgroup/cgroup.subtree_control");
        user.host.sh(&format!("mkdir {}", above.display()));
        for controller in controllers.split_whitespace() {
            user.host.sh(&format!("echo +{controller} > {}/cgroup.subtree_control", above.display()));
        }
        user.host.sh(&format!(
            "mkdir {at} {at}/shell; cd {at}; chown {uid} . cgroup.procs cgroup.subtree_control cgroup.threads shell \
             shell/cgroup.procs shell/cgroup.subtree_control shell/cgroup.threads",
            uid = user.uid
        ));
        user.group = Some(group.join("shell"));
        Some(Given { user, path, group, _group: Group(above) })
    }

    /// The groups of containers in it.
    fn containers(&self) -> Vec<String> {
        containers_in(&self.group)
    }
}

fn containers_in(group: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("mycontainer-")).collect()
}

/// All that limits do, wherever the groups are.
fn limits_work(user: &User) {
    let look = "cd /sys/fs/cgroup; cat memory.max memory.swap.max pids.max cpu.max cpuset.cpus";
    let flags = "-m 64m --memory-swap 64m --pids-limit 33 --cpus 0.5 --cpuset-cpus 0";
    let said = user.sh(&format!("mycontainer run --rm --network none {flags} ./root sh -c '{look}'"));
    assert_eq!(said, "67108864\n0\n33\n50000 100000\n0\n");
    let words = "run --rm --network none -m 16m --memory-swap 16m ./root tail /dev/zero";
    let said = user.fails(137, &format!("mycontainer {words}"));
    assert_eq!(said, "mycontainer: the container was killed because it reached its memory limit\n");
}

/// What commands do by the group of a container that runs.
fn a_group_is_worked_with(user: &User) {
    user.sh("mycontainer run -d --name one --network none -m 64m ./root sleep 1000 > /dev/null");
    let state = || user.sh("mycontainer inspect -f '{{.State.Status}}' one");
    user.sh("mycontainer pause one");
    assert_eq!(state(), "paused\n");
    assert!(user.fails(125, "mycontainer exec one true").contains("paused"));
    user.sh("mycontainer unpause one");
    assert_eq!(state(), "running\n");
    let said = user.sh("mycontainer stats --no-stream --format '{{.Name}} {{.PIDs}} {{.MemUsage}}' one");
    assert!(said.starts_with("one 1 ") && said.contains("/ 64MiB"), "{said}");
    user.sh("mycontainer update -m 48m one > /dev/null");
    // What joins it is in its group, too.
    assert_eq!(user.sh("mycontainer exec one cat /sys/fs/cgroup/memory.max"), "50331648\n");
    user.sh("mycontainer exec -d one sleep 1001");
    let count = user.sh("mycontainer exec one sh -c 'wc -l < /sys/fs/cgroup/cgroup.procs'");
    assert!(count.trim().parse::<u32>().unwrap() >= 3, "{count}");
    let top = user.sh("mycontainer top one -o args");
    assert!(top.contains("sleep 1000") && top.contains("sleep 1001"), "{top}");
    user.sh("mycontainer rm -f one > /dev/null");
}

/// What a killed tool has left is found by the next command.
fn a_killed_tool_leaves_nothing(user: &User, containers: impl Fn() -> Vec<String>) {
    user.sh("mycontainer run -d --name two --network none -m 64m ./root sleep 1000 > /dev/null");
    assert_eq!(containers().len(), 1);
    let monitors = || user.processes().into_iter().filter(|(_, name)| name == "mc-monitor").map(|(pid, _)| pid);
    let monitor = monitors().next().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-9", &monitor]).status().unwrap().success());
    assert!(wait_until(5, || user.sh("mycontainer ps -q").is_empty()));
    assert_eq!(containers(), [""; 0]);
    user.sh("mycontainer rm -f two > /dev/null 2>&1 || true");
}

#[test]
fn on_v1_limits_are_refused_and_the_way_is_told() {
    let test = "on_v1_limits_are_refused_and_the_way_is_told";
    if is_v2() {
        eprintln!("{test}: this host has cgroup v2");
        return;
    }
    let Some(user) = User::new(test, IDS) else { return };
    for flags in ["-m 64m", "--cpus 1", "--pids-limit 5", "--cpuset-cpus 0", "--cgroup-parent web"] {
        let said = user.fails(125, &format!("mycontainer run --rm --network none {flags} ./root true"));
        assert!(said.contains("cgroup v1") && said.contains("systemd.unified_cgroup_hierarchy=1"), "{flags}: {said}");
    }
    let said = user.sh("mycontainer info --check");
    assert!(said.contains("lacking  control groups:") && said.contains("cgroup v1"), "{said}");
    assert_eq!(user.sh("mycontainer info --format '{{.CgroupDriver}} {{.MemoryLimit}}'"), "none false\n");
    user.sh("mycontainer run -d --name one --network none ./root sleep 100 > /dev/null");
    assert!(user.fails(1, "mycontainer pause one").contains("no control group"));
    assert!(user.fails(1, "mycontainer update -m 64m one").contains("no control group"));
    assert!(user.sh("mycontainer stats --no-stream --format '{{.Name}} {{.PIDs}}'").starts_with("one 1"));
}

#[test]
fn limits_hold_in_a_group_that_root_gave_away() {
    let Some(given) = Given::new("limits_hold_in_a_group_that_root_gave_away", "memory pids cpu cpuset io") else {
        return;
    };
    let user = &given.user;
    let said = user.sh("mycontainer info --check");
    assert!(
        said.contains(&format!("ok       control groups: version 2, by {}, with", given.group.display())),
        "{said}"
    );
    let said = user.sh("mycontainer info --format '{{.CgroupDriver}} {{.MemoryLimit}}'");
    assert_eq!(said, "cgroupfs true\n");
    limits_work(user);
    a_group_is_worked_with(user);
    // Its parent is in the same part of the tree.
    let look = "run --rm --network none --cgroupns host --cgroup-parent web ./root cat /proc/self/cgroup";
    let said = user.sh(&format!("mycontainer {look}"));
    assert!(said.starts_with(&format!("0::/{}/web/mycontainer-", given.path)), "{said}");
    a_killed_tool_leaves_nothing(user, || given.containers());
}

/// A group may hold processes or hand down controllers, not both.
#[test]
fn what_lives_in_the_given_group_itself_is_moved() {
    let Some(mut given) = Given::new("what_lives_in_the_given_group_itself_is_moved", "memory") else { return };
    given.user.group = Some(given.group.clone());
    let said = given
        .user
        .sh("sleep 100 & other=$!; mycontainer run --rm --network none -m 64m ./root cat /sys/fs/cgroup/memory.max
         cat /proc/$other/cgroup /proc/self/cgroup; kill $other");
    let tools = format!("0::/{}/mycontainer.tools\n", given.path);
    assert_eq!(said, format!("67108864\n{tools}{tools}"));
    given.user.group = Some(given.group.join("shell"));
}

#[test]
fn a_controller_that_is_not_handed_down_is_named() {
    let Some(given) = Given::new("a_controller_that_is_not_handed_down_is_named", "memory pids") else { return };
    let (user, at) = (&given.user, given.group.display());
    let said = user.fails(125, "mycontainer run --rm --network none --cpus 1 ./root true");
    assert!(said.contains(&format!("the cpu controller is not handed down to {at}/mycontainer-")), "{said}");
    let above = given.group.parent().unwrap().display();
    assert!(said.contains(&format!("hint: as root: echo +cpu > {above}/cgroup.subtree_control")), "{said}");
    let said = user.sh("mycontainer info --check");
    assert!(said.contains("without cpu and cpuset and io"), "{said}");
    assert_eq!(given.containers(), [""; 0]);
    let look = "run --rm --network none -m 64m ./root cat /sys/fs/cgroup/memory.max";
    assert_eq!(user.sh(&format!("mycontainer {look}")), "67108864\n");
}

#[test]
fn without_a_part_of_the_tree_all_else_works() {
    let Some(user) = user_on_v2("without_a_part_of_the_tree_all_else_works") else { return };
    let said = user.fails(125, "mycontainer run --rm --network none -m 64m ./root true");
    assert!(said.contains("no part of the tree of control groups is yours"), "{said}");
    assert!(said.contains("hint: have a systemd of yours") && said.contains("enable-linger"), "{said}");
    let said = user.sh("mycontainer info --check");
    assert!(said.contains("lacking  control groups:") && said.contains("enable-linger"), "{said}");
    user.sh("mycontainer run -d --name one --network none ./root sleep 1000 > /dev/null; mycontainer exec one true");
    assert!(user.fails(1, "mycontainer pause one").contains("no control group"));
    assert!(user.sh("mycontainer stats --no-stream --format '{{.Name}} {{.PIDs}}'").starts_with("one 1"));
    user.sh("mycontainer rm -f one > /dev/null");
}

/// A user with a systemd of their own, as logging in makes one.
struct WithSystemd(User);

impl WithSystemd {
    fn new(test: &str, delegate: &str) -> Option<WithSystemd> {
        if !is_v2() {
            eprintln!("{test}: this host has cgroup v1, the virtual machine has v2");
            return None;
        }
        let is_there = std::env::var_os("MYCONTAINER_SYSTEMD").is_some();
        if !is_there {
            eprintln!("skipped {test}: no systemd for tests; run it with tests/vm/run tests/vm/systemd");
            return None;
        }
        let mut user = User::new(test, IDS)?;
        // Where systemd sees it, too: /run is the test host's own.
        let runtime = user.home.join("runtime");
        let (at, home, uid) = (runtime.display(), user.home.display(), user.uid);
        // Its usual targets have much to start.
        let target = "[Unit]\\nDefaultDependencies=no\\nWants=dbus.socket\\n";
        let unit = format!(
            "[Unit]\\nDefaultDependencies=no\\n[Service]\\nUser={uid}\\nType=notify\\nSlice=user-{uid}.slice\\nKillMode=mixed\\nTasksMax=infinity\\n\
             Delegate={delegate}\\nEnvironment=XDG_RUNTIME_DIR={at} HOME={home}\\n\
             ExecStart=/lib/systemd/systemd --user --unit=vm.target\\n"
        );
        sh(&format!(
            "mkdir -m 700 {at}; mkdir -p {home}/.config/systemd/user; printf '{target}' > {home}/.config/systemd/user/vm.target
             chown -R {uid} {at} {home}/.config; printf '{unit}' > /run/systemd/system/user@{uid}.service
             systemctl daemon-reload; systemctl start user@{uid}.service"
        ));
        user.runtime = runtime;
        Some(WithSystemd(user))
    }

    /// Where scopes are.
    fn slice(&self) -> PathBuf {
        let uid = self.0.uid;
        format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/user.slice").into()
    }

    /// Those of ours.
    fn scopes(&self) -> Vec<String> {
        containers_in(&self.slice())
    }
}

impl Drop for WithSystemd {
    fn drop(&mut self) {
        let _ = self.0.try_sh("mycontainer rm -f -a");
        let unit = format!("user@{}.service", self.0.uid);
        let _ = std::process::Command::new("systemctl").args(["stop", &unit]).status();
        let _ = std::fs::remove_file(format!("/run/systemd/system/{unit}"));
    }
}

#[track_caller]
fn sh(script: &str) -> String {
    let output = std::process::Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn limits_hold_in_a_scope_of_the_users_systemd() {
    let all = "cpu cpuset io memory pids";
    let Some(with) = WithSystemd::new("limits_hold_in_a_scope_of_the_users_systemd", all) else { return };
    let user = &with.0;
    let said = user.sh("mycontainer info --check");
    assert!(said.contains("ok       control groups: version 2, by systemd, with"), "{said}");
    assert_eq!(user.sh("mycontainer info --format '{{.CgroupDriver}} {{.MemoryLimit}}'"), "systemd true\n");
    assert_eq!(with.scopes(), [""; 0], "it makes nothing");
    limits_work(user);
    // It goes soon after the last container, and a slow machine may have looked at that one for long.
    user.sh("mycontainer run --rm --network none -m 64m ./root true");
    assert_eq!(with.scopes().len(), 1, "one for all: {:?}", with.scopes());
    a_group_is_worked_with(user);
    let scope = || with.slice().join(with.scopes().pop().unwrap_or_default());
    a_killed_tool_leaves_nothing(user, || containers_in(&scope()));
    // A holder that is killed takes no group with it, and the next one's containers are in the same scope.
    user.sh("mycontainer run -d --name one --network none -m 64m ./root sleep 1000 > /dev/null");
    let before = with.scopes();
    for pid in user.holders() {
        sh(&format!("kill -9 {pid}"));
    }
    user.sh("mycontainer run --rm --network none -m 64m ./root true; mycontainer pause one");
    assert_eq!(with.scopes(), before);
    user.sh("mycontainer rm -f one > /dev/null");
    // By the message bus, where systemd has no socket of its own.
    let words = "run --rm --network none -m 64m ./root cat /sys/fs/cgroup/memory.max";
    assert_eq!(user.sh(&format!("rm $XDG_RUNTIME_DIR/systemd/private; mycontainer {words}")), "67108864\n");
    // With the last process goes the scope.
    assert!(wait_until(20, || with.scopes().is_empty()), "{:?}", with.scopes());
}

#[test]
fn a_controller_that_systemd_keeps_is_named_with_the_remedy() {
    let Some(with) = WithSystemd::new("a_controller_that_systemd_keeps_is_named_with_the_remedy", "memory pids") else {
        return;
    };
    let user = &with.0;
    let said = user.fails(125, "mycontainer run --rm --network none --cpuset-cpus 0 ./root true");
    assert!(said.contains("the cpuset controller is not handed down"), "{said}");
    for word in ["Delegate=cpu cpuset io memory pids", "/etc/systemd/system/user@.service.d/delegate.conf"] {
        assert!(said.contains(word), "{word}: {said}");
        assert!(user.sh("mycontainer info --check").contains(word), "{word}");
    }
    let look = "run --rm --network none -m 64m ./root cat /sys/fs/cgroup/memory.max";
    assert_eq!(user.sh(&format!("mycontainer {look}")), "67108864\n");
}

/// As the runtime of a user's podman: a scope a container, made by the user's systemd.
#[test]
fn podman_has_limits_by_our_runtime_and_systemd() {
    let test = "podman_has_limits_by_our_runtime_and_systemd";
    let has_podman = std::process::Command::new("podman").arg("--version").output().is_ok();
    let Some(with) = WithSystemd::new(test, "cpu cpuset io memory pids") else { return };
    if !need(test, has_podman, "it needs podman") {
        return;
    }
    let user = &with.0;
    user.sh("ln -s $HOME/mycontainer mycontainer-runtime");
    // It asks for this by name.
    let podman = "env DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus podman --runtime $HOME/mycontainer-runtime --cgroup-manager systemd";
    let flags = "run --rm --network none -m 64m --pids-limit 33 --rootfs $HOME/root";
    let output = user.try_sh(&format!("{podman} {flags} sh -c 'cd /sys/fs/cgroup; cat memory.max pids.max'"));
    assert_eq!(stdout(&output), "67108864\n33\n", "{}: {}", code(output.status), stderr(&output));
    user.sh(&format!("{podman} run -d --name one --network none --rootfs $HOME/root sleep 1000 > /dev/null"));
    user.sh(&format!(
        "{podman} exec one true; {podman} pause one; {podman} unpause one; {podman} rm -f -t 0 one > /dev/null"
    ));
    let words = "run --rm --network none --rootfs $HOME/root echo hello";
    let output = user.try_sh(&format!("{} {words}", podman.replace("systemd", "cgroupfs")));
    assert_eq!(stdout(&output), "hello\n", "{}: {}", code(output.status), stderr(&output));
}

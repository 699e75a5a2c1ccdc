//! `--cgroup-parent`: a container's control group inside another, on cgroup v1, hybrid hosts and v2. Whoever looks for the
//! group, also after a kill, finds it there.

use crate::common::life::Life;
use crate::common::{busybox_root, kill, run, stderr, stdout, wait_until};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A group of the test's own, which goes with it in every hierarchy.
struct Parent(String);

impl Parent {
    fn new(name: &str) -> Parent {
        Parent(format!("mc-parent-{name}-{}", std::process::id()))
    }

    /// Where it is or could be.
    fn places(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        let hierarchies = entries.filter(|path| path.is_dir() && !path.is_symlink()).chain(["/sys/fs/cgroup".into()]);
        hierarchies.map(|path| path.join(&self.0)).collect()
    }

    /// Groups of containers below it, in any hierarchy.
    fn containers(&self) -> Vec<PathBuf> {
        let is_one = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("mycontainer-");
        self.places().iter().flat_map(|place| below(place)).filter(is_one).collect()
    }
}

/// Directories below one, the innermost first.
fn below(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).flat_map(|path| [below(&path), vec![path]].concat()).collect()
}

impl Drop for Parent {
    fn drop(&mut self) {
        for place in self.places() {
            below(&place).into_iter().chain([place]).for_each(|path| drop(std::fs::remove_dir(path)));
        }
    }
}

/// The lines of /proc/PID/cgroup for hierarchies in which groups of ours are made.
fn groups_of(pid: u32) -> Vec<String> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    listed.lines().filter(|line| line.contains("mycontainer-")).map(str::to_owned).collect()
}

#[test]
fn all_that_is_done_with_a_container_finds_its_group() {
    let Some(life) = Life::new("all_that_is_done_with_a_container_finds_its_group") else { return };
    let parent = Parent::new("all");
    let inside = format!("/{}/deeper", parent.0);
    let flags = ["--name", "one", "--cgroup-parent", &inside, "-m", "64m", "--health-cmd", "true"];
    let id = life.detached(&[&flags[..], &["--health-interval", "100ms"]].concat(), "sleep 1000");
    let expected = format!("{inside}/mycontainer-{id}");
    let groups = groups_of(life.pid("one"));
    assert!(!groups.is_empty() && groups.iter().all(|line| line.ends_with(&expected)), "{groups:?}");
    assert_eq!(life.field("one", "HostConfig.CgroupParent"), inside);
    // Its limit is there, and what joins it is there.
    let limit = ["memory.max", "memory.limit_in_bytes"];
    let read = |group: &PathBuf| limit.iter().find_map(|file| std::fs::read_to_string(group.join(file)).ok());
    let limits = || parent.containers().iter().find_map(read).unwrap_or_default();
    assert_eq!(limits(), "67108864\n");
    life.ok(&["update", "-m", "128m", "--memory-swap", "128m", "one"]);
    assert_eq!(limits(), "134217728\n");
    life.ok(&["exec", "-d", "one", "sleep", "777"]);
    assert!(life.ok(&["top", "one", "-o", "args"]).contains("sleep 777"));
    // A check may be at work, too.
    let pids = life.ok(&["stats", "--no-stream", "--format", "{{.PIDs}}", "one"]);
    assert!(pids.parse::<u32>().is_ok_and(|pids| pids >= 2), "{pids}");
    life.ok(&["pause", "one"]);
    assert_eq!(life.ok(&["ps", "--format", "{{.State}}"]), "paused");
    assert!(life.fails(125, &["exec", "one", "true"]).contains("is paused"));
    life.ok(&["unpause", "one"]);
    assert!(wait_until(10, || life.field("one", "State.Health.Status") == "healthy"));
    life.ok(&["restart", "-t0", "one"]);
    assert!(groups_of(life.pid("one")).iter().all(|line| line.ends_with(&expected)));
    life.ok(&["pause", "one"]);
    life.ok(&["stop", "-t0", "one"]);
    assert!(wait_until(5, || parent.containers().is_empty()), "{:?}", parent.containers());
    life.ok(&["rm", "one"]);
    // A parent stays, as whoever named it may have more to put there.
    assert!(parent.places().iter().any(|place| place.join("deeper").is_dir()));
}

#[test]
fn it_is_found_after_a_kill() {
    let Some(life) = Life::new("it_is_found_after_a_kill") else { return };
    let parent = Parent::new("kill");
    let flags = |name| ["--name", name, "--cgroup-parent", &parent.0];
    for (name, more) in [("stays", &[][..]), ("goes", &["--rm"])] {
        let id = life.detached(&[&flags(name)[..], more].concat(), "sleep 1000");
        assert!(parent.containers().iter().all(|group| group.ends_with(format!("mycontainer-{id}"))));
        kill("KILL", life.monitor(name));
        // The signal is sent, and the monitor dies a little later.
        let is_gone = wait_until(5, || {
            life.ok(&["ps", "-a"]);
            parent.containers().is_empty()
        });
        assert!(is_gone, "{name}: {:?}", parent.containers());
    }
    // One of the tool's own, in the foreground.
    let words = life.words(&["run", "--rm"], &flags("front"), "echo ready; sleep 1000");
    let mut tool = life.command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_until(10, || !parent.containers().is_empty()));
    tool.kill().unwrap();
    let _ = tool.wait();
    assert!(wait_until(5, || {
        life.ok(&["ps", "-a"]);
        parent.containers().is_empty()
    }));
    // And where nothing on disk says any more where it is.
    let id = life.detached(&flags("torn"), "sleep 1000");
    std::fs::write(life.path(&format!("/var/lib/mycontainer/containers/{id}/created.json")), "{").unwrap();
    life.ok(&["rm", "-f", &id]);
    assert!(wait_until(5, || parent.containers().is_empty()), "{:?}", parent.containers());
    life.ok(&["rm", "stays"]);
}

#[test]
fn a_slice_is_where_systemd_has_it() {
    let Some(life) = Life::new("a_slice_is_where_systemd_has_it") else { return };
    let parent = Parent(format!("mcparent{}.slice", std::process::id()));
    let slice = parent.0.replace(".slice", "-a.slice");
    life.detached(&["--name", "one", "--cgroup-parent", &slice], "sleep 1000");
    let inside = format!("/{}/{slice}/mycontainer-", parent.0);
    let groups = groups_of(life.pid("one"));
    assert!(!groups.is_empty() && groups.iter().all(|line| line.contains(&inside)), "{groups:?}");
    life.ok(&["rm", "-f", "one"]);
    assert!(wait_until(5, || parent.containers().is_empty()));
}

#[test]
fn nothing_leads_out_of_the_tree() {
    if !crate::common::can_run("nothing_leads_out_of_the_tree") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    for group in ["../..", "/a/../../b", "..", "a/..", "a\nb", "", ".", "a--b.slice", "..-a.slice"] {
        let output = run(&["--network", "none", "--cgroup-parent", group, root, "true"]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{group:?}");
        assert!(stderr(&output).contains("--cgroup-parent"), "{group:?}: {}", stderr(&output));
    }
    // The root itself is where they are anyway.
    let output = run(&["--network", "none", "--cgroup-parent", "/", root, "cat", "/proc/self/cgroup"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // One that has processes of its own cannot hand its controllers on: that is told, and nothing is left.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let parent = Parent::new("full");
        let place = Path::new("/sys/fs/cgroup").join(&parent.0);
        std::fs::create_dir(&place).unwrap();
        let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(place.join("cgroup.procs"), process.id().to_string()).unwrap();
        let output = run(&["--network", "none", "--cgroup-parent", &parent.0, "-m", "64m", root, "true"]);
        assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
        assert!(parent.containers().is_empty());
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

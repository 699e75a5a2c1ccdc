//! On a hybrid host `tests/groups.rs` sees only v1, but the v2 half is as real for what needs no controller of limits. On
//! a v2 host it covers this.

use super::*;

struct Leg(String);

impl Leg {
    const ROOT: &str = "/sys/fs/cgroup/unified";

    fn create(what: &str, resources: &str, rules: &[&str]) -> Option<(Self, Result<Group, Error>)> {
        if !std::path::Path::new(Self::ROOT).join("cgroup.controllers").exists() {
            eprintln!("skipped: no cgroup v2 at {}", Self::ROOT);
            return None;
        }
        let name = format!("mycontainer-test-{}-{what}", std::process::id());
        let resources = serde_json::from_str(resources).unwrap();
        let rules = crate::devices::tests::rules(rules).unwrap();
        let made = Group::create(Self::ROOT, &name, &resources, &rules);
        Some((Self(name), made))
    }

    fn run(&self, script: &str) -> std::process::Child {
        std::process::Command::new("sh")
            .args(["-c", &format!("echo 0 > {}/{}/cgroup.procs; {script}", Self::ROOT, self.0)])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        let group = Group::open(Self::ROOT, &self.0).unwrap();
        let _ = group.kill();
        assert!(group.remove().is_empty());
    }
}

#[test]
fn the_kernel_takes_the_device_program_and_obeys_it() {
    let rules =
        ["-a *:* rwm", "+c 1:3 rwm", "+c 1:5 r", "+c *:* m", "+c 136:* rwm", "-c 1:3 m", "+b 7:* r", "-b 7:0 r"];
    let Some((leg, made)) = Leg::create("bpf", "{}", &rules) else { return };
    let made = made.unwrap();
    assert!(made.clone_into().is_some());
    let script = "try() { if sh -c \"$1\" 2>/dev/null; then echo yes; else echo no; fi; }; cd $(mktemp -d)
        try 'echo >/dev/null'; try 'head -c1 /dev/zero >/dev/null'; try 'echo >/dev/zero'; try 'exec </dev/full'
        try 'mknod full c 1 7'; try 'mknod null c 1 3'; try 'mknod loop b 7 0'; rm -rf $PWD";
    let output = leg.run(script).wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["yes", "yes", "no", "no", "yes", "no", "no"]);
}

#[test]
fn the_verifier_takes_every_shape_of_rule_list() {
    let lists: &[&[&str]] = &[
        &["-a *:* rwm"],
        &["-c 1:3 r"],
        &["+a *:* rwm", "-b *:* rwm"],
        &["+a *:* r", "+a *:* w", "+a *:* m"],
        &["+a 1:* rwm", "+c 1:3 rwm", "+a *:4294967295 w"],
    ];
    for (at, list) in lists.iter().enumerate() {
        let Some((_leg, made)) = Leg::create(&format!("shape{at}"), "{}", list) else { return };
        made.unwrap();
    }
}

#[test]
fn a_controller_is_enabled_in_the_parent_when_a_limit_needs_it() {
    let control = format!("{}/cgroup.subtree_control", Leg::ROOT);
    let before = std::fs::read_to_string(&control).unwrap_or_default();
    let Some((leg, made)) = Leg::create("enable", r#"{"unified":{"hugetlb.2MB.max":"4194304"}}"#, &[]) else { return };
    match made {
        Ok(group) => assert_eq!(file::read(&format!("{}/hugetlb.2MB.max", group.path)).unwrap(), "4194304\n"),
        // Another hybrid host has hugetlb on v1.
        Err(error) => assert!(matches!(error, Error::NoController { .. }), "{error}"),
    }
    drop(leg);
    if !before.contains("hugetlb") {
        let _ = std::fs::write(&control, "-hugetlb");
    }
}

#[test]
fn a_controller_that_is_on_v1_is_named_and_nothing_is_left() {
    let Some((leg, made)) = Leg::create("missing", r#"{"pids":{"limit":4}}"#, &[]) else { return };
    assert!(matches!(made, Err(Error::NoController { ref controller, .. }) if controller == "pids"), "{made:?}");
    assert!(!Group::open(Leg::ROOT, &leg.0).unwrap().exists());
}

#[test]
fn kill_and_remove_empty_a_tree() {
    let Some((leg, made)) = Leg::create("tree", "{}", &[]) else { return };
    let group = made.unwrap();
    std::fs::create_dir_all(format!("{}/a/b", group.path)).unwrap();
    let mut child = leg.run(&format!("sleep 100 & echo 0 > {}/a/b/cgroup.procs; sleep 100 & wait", group.path));
    while processes_of(&group.path) + processes_of(&format!("{}/a/b", group.path)) < 3 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    group.kill().unwrap();
    assert!(group.remove().is_empty());
    assert!(!std::path::Path::new(&group.path).exists());
    child.wait().unwrap();
}

fn processes_of(path: &str) -> usize {
    file::read(&format!("{path}/cgroup.procs")).unwrap().lines().count()
}

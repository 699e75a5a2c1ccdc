//! Tables for [`super::writes`]; what the kernel makes of them is in `tests/groups.rs`.

use super::*;

fn told(json: &str) -> Result<Vec<String>, String> {
    let writes = writes(&serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())?;
    Ok(writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect())
}

#[test]
fn resources_become_v2_files() {
    let cases: &[(&str, &[&str])] = &[
        (r#"{"memory":{"limit":67108864}}"#, &["memory.max=67108864"]),
        (r#"{"memory":{"limit":67108864,"swap":67108864}}"#, &["memory.max=67108864", "memory.swap.max=0"]),
        (r#"{"memory":{"limit":1048576,"swap":3145728}}"#, &["memory.max=1048576", "memory.swap.max=2097152"]),
        (
            r#"{"memory":{"limit":1048576,"swap":-1,"reservation":524288}}"#,
            &["memory.max=1048576", "memory.low=524288"],
        ),
        (r#"{"cpu":{"shares":1024}}"#, &["cpu.weight=100"]),
        (r#"{"cpu":{"quota":50000,"period":100000}}"#, &["cpu.max=50000 100000"]),
        (r#"{"cpu":{"quota":50000}}"#, &["cpu.max=50000"]),
        (r#"{"cpu":{"quota":-1,"period":50000}}"#, &["cpu.max=max 50000"]),
        (r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#, &["cpuset.cpus=0-1", "cpuset.mems=0"]),
        (r#"{"cpu":{"cpus":""}}"#, &[]),
        (r#"{"pids":{"limit":64}}"#, &["pids.max=64"]),
        (r#"{"pids":{"limit":-1}}"#, &[]),
        (r#"{"blockIO":{"weight":500}}"#, &["io.bfq.weight=500"]),
        (r#"{"blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":7}]}}"#, &["io.max=8:16 wiops=7"]),
        (r#"{"unified":{"memory.high":"1048576","cpu.idle":"1"}}"#, &["cpu.idle=1", "memory.high=1048576"]),
    ];
    for (json, expected) in cases {
        assert_eq!(told(json).unwrap(), *expected, "{json}");
    }
}

#[test]
fn what_v2_has_not_is_refused_by_name() {
    for (json, named) in [
        (r#"{"memory":{"swappiness":10}}"#, "memory.swappiness"),
        (r#"{"memory":{"kernelTCP":4096}}"#, "memory.kernelTCP"),
        (r#"{"memory":{"disableOOMKiller":true}}"#, "memory.disableOOMKiller"),
        (r#"{"unified":{"../memory.max":"1"}}"#, "../memory.max"),
        (r#"{"unified":{"tasks":"1"}}"#, "tasks"),
        (r#"{"unified":{"cgroup.procs":"1"}}"#, "cgroup.procs"),
    ] {
        let refused = told(json).unwrap_err();
        assert!(refused.contains(named), "{json}: {refused}");
    }
}

/// Figures of the pull requests that introduced the formula (opencontainers/cgroups 20, containers/crun 1767).
#[test]
fn shares_become_weights_as_in_runc_and_crun() {
    for (shares, expected) in [(2, 1), (3, 2), (1024, 100), (2000, 170), (262_144, 10_000)] {
        assert_eq!(weight(shares), expected, "{shares}");
    }
    let all: Vec<u64> = (2..=262_144).step_by(97).map(weight).collect();
    assert!(all.is_sorted());
}

/// On a hybrid host `tests/groups.rs` sees only v1, but the v2 half is as real for what needs no controller of limits.
/// On a v2 host it covers this.
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
        let made = Group::create(&Host::detect().unwrap(), Self::ROOT, &name, &resources, &rules);
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

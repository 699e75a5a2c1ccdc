//! Scopes of a real systemd, in the virtual machine with `tests/vm/systemd`. The judge is `systemctl show`.

mod common;

use cgroup::{Cgroup, Error, Host, Location};
use common::{out, wait_for};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A scope of the test's, stopped when the test ends.
struct Scope {
    host: Host,
    location: Location,
    unit: String,
}

impl Scope {
    /// None, with the reason, where there is no systemd to be asked.
    fn named(path: &str, notes: &[(&str, &str)]) -> Option<Self> {
        if std::env::var_os("MYCONTAINER_SYSTEMD").is_none() {
            eprintln!("skipped: no systemd for tests; run it with tests/vm/run tests/vm/systemd");
            return None;
        }
        let location = Location::from_oci(Some(path), "x", true, notes.iter().copied()).unwrap();
        let Location::Systemd { scope, .. } = &location else { panic!("{location:?}") };
        let unit = scope.clone();
        Some(Self { host: Host::detect().unwrap(), location, unit })
    }

    fn create(&self, resources: &str, devices: &str) -> Result<Cgroup, Error> {
        let devices: Vec<LinuxDeviceCgroup> = serde_json::from_str(devices).unwrap();
        Cgroup::create(&self.host, &self.location, &parsed(resources), &devices)
    }

    fn show(&self, property: &str) -> String {
        let shown = Command::new("systemctl").args(["show", "--value", "-p", property, &self.unit]).output().unwrap();
        assert!(shown.status.success(), "{shown:?}");
        String::from_utf8(shown.stdout).unwrap().trim().to_owned()
    }

    fn open(&self) -> Cgroup {
        Cgroup::open(&self.host, &self.location).unwrap()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let left = self.open();
        let _ = left.kill();
        left.remove();
    }
}

fn parsed(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// A process that waits for a line before it becomes the script, as a container's first one does.
fn waiting(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("read go; {script}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn pid(child: &Child) -> i32 {
    child.id().try_into().unwrap()
}

fn directory(made: &Cgroup) -> PathBuf {
    made.paths().into_values().next().unwrap()
}

fn read(made: &Cgroup, file: &str) -> String {
    let path = directory(made).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

#[test]
fn a_scope_has_its_limits_in_the_unit_and_in_the_files() {
    let notes = [("org.systemd.property.TimeoutStopSec", "7"), ("org.systemd.property.Documentation", "['man:x(1)']")];
    let Some(scope) = Scope::named("vm-test.slice:mycontainer:limits", &notes) else { return };
    let mut made = scope
        .create(
            r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},
                "cpu":{"shares":2048,"quota":50000,"period":100000,"burst":1000,"cpus":"0"},"pids":{"limit":64},
                "hugepageLimits":[{"pageSize":"2MB","limit":0}],"unified":{"memory.high":"50331648"}}"#,
            "[]",
        )
        .unwrap();
    // Until there is a process there is no scope, and nothing to enter.
    assert!(!made.exists() && made.clone_into().is_none() && made.is_v2());
    made.join().unwrap();
    let mut child = waiting("cat /proc/self/cgroup; exec sleep 100");
    made.adopt(pid(&child)).unwrap();
    made.adopt(pid(&child)).unwrap();
    assert!(made.exists());
    let expected = "/sys/fs/cgroup/vm.slice/vm-test.slice/mycontainer-limits.scope";
    assert_eq!(directory(&made), PathBuf::from(expected));
    for (property, value) in [
        ("ActiveState", "active"),
        ("Slice", "vm-test.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("MemorySwapMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemoryHigh", "50331648"),
        ("CPUWeight", "174"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("CPUQuotaPeriodUSec", "100ms"),
        ("TasksMax", "64"),
        ("AllowedCPUs", "0"),
        ("TimeoutStopUSec", "7s"),
        ("Documentation", "\"man:x(1)\""),
        ("CollectMode", "inactive-or-failed"),
        ("DefaultDependencies", "no"),
    ] {
        assert_eq!(scope.show(property), value, "{property}");
    }
    let files = |made: &Cgroup| {
        ["memory.max", "memory.swap.max", "memory.high", "cpu.max", "cpu.max.burst", "pids.max", "hugetlb.2MB.max"]
            .map(|file| read(made, file))
    };
    let all = ["67108864", "67108864", "50331648", "50000 100000", "1000", "64", "0"];
    assert_eq!(files(&made), all);
    assert_eq!(made.processes().unwrap(), [pid(&child)]);

    // systemd writes its own again, which are the same.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    made.update(&parsed(r#"{"memory":{"limit":100663296,"swap":-1},"pids":{"limit":-1},"cpu":{"quota":20000}}"#))
        .unwrap();
    assert_eq!(scope.show("MemoryMax"), "100663296");
    assert_eq!(scope.show("MemorySwapMax"), "infinity");
    assert_eq!(scope.show("TasksMax"), "infinity");
    assert_eq!(scope.show("CPUQuotaPerSecUSec"), "200ms");
    let all = ["100663296", "max", "50331648", "20000 100000", "1000", "max", "0"];
    assert_eq!(files(&scope.open()), all);

    made.freeze().unwrap();
    assert!(scope.open().is_frozen().unwrap());
    made.thaw().unwrap();
    assert_eq!(made.stats().unwrap().memory.usage.limit, 100663296);

    let open = scope.open();
    assert!(open.exists());
    open.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(open.remove().is_empty());
    assert!(!directory(&made).exists());
    assert_eq!(scope.show("LoadState"), "not-found");
    // Again, when nothing is left.
    assert!(made.remove().is_empty());
}

#[test]
fn devices_of_a_scope_are_those_of_the_rules_also_after_a_reload() {
    let Some(scope) = Scope::named("system.slice:mycontainer:devices", &[]) else { return };
    let rules = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
                    {"allow":true,"type":"c","major":5,"access":"r"}]"#;
    let mut made = scope.create("{}", rules).unwrap();
    let script = "try() { if sh -c \"$1\" 2>/dev/null; then echo yes; else echo no; fi; }
        try 'exec </dev/null'; try 'exec </dev/zero'; read go; try 'exec </dev/null'; try 'exec </dev/zero'; read go
        try 'exec </dev/zero'";
    let mut child = waiting(script);
    made.adopt(pid(&child)).unwrap();
    assert_eq!(scope.show("DevicePolicy"), "strict");
    use std::io::Write;
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "go").unwrap();
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    writeln!(input, "go").unwrap();
    wait_for("it never came to the second question", || {
        std::fs::read_to_string(format!("/proc/{}/wchan", child.id())).is_ok_and(|at| at.contains("pipe"))
            && made.processes().unwrap().len() == 1
    });
    std::thread::sleep(std::time::Duration::from_secs(2));
    made.update(&parsed(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#)).unwrap();
    assert_eq!(scope.show("DevicePolicy"), "auto");
    writeln!(input, "go").unwrap();
    let told = child.wait_with_output().unwrap();
    assert_eq!(out(&told).split_whitespace().collect::<Vec<_>>(), ["yes", "no", "yes", "no", "yes"]);
    assert!(made.remove().is_empty());
}

#[test]
fn what_systemd_refuses_is_told_in_its_words() {
    let Some(scope) = Scope::named("system.slice:mycontainer:refused", &[]) else { return };
    let mut first = waiting("exec sleep 100");
    let mut made = scope.create("{}", "[]").unwrap();
    made.adopt(pid(&first)).unwrap();
    let mut second = waiting("exec sleep 100");
    let refused = scope.create("{}", "[]").unwrap().adopt(pid(&second)).unwrap_err().to_string();
    assert!(
        refused.starts_with("systemd cannot start mycontainer-refused.scope: Unit mycontainer-refused.scope was"),
        "{refused}"
    );
    assert_eq!(made.processes().unwrap(), [pid(&first)]);

    let notes = [("org.systemd.property.NoSuch", "true")];
    let bad = Scope::named("system.slice:mycontainer:bad", &notes).unwrap();
    let refused = bad.create("{}", "[]").unwrap().adopt(pid(&second)).unwrap_err().to_string();
    assert!(refused.contains("NoSuch"), "{refused}");
    assert_eq!(bad.show("LoadState"), "not-found");

    // A limit that only the file refuses: the scope goes again.
    let limit = r#"{"unified":{"memory.max":"lots"}}"#;
    let refused = bad_limit(limit, pid(&second));
    assert!(refused.contains("memory.max failed"), "{refused}");
    let _ = second.kill();
    second.wait().unwrap();

    let gone = Scope::named("system.slice:mycontainer:gone", &[]).unwrap();
    let refused = gone.create("{}", "[]").unwrap().adopt(pid(&second)).unwrap_err().to_string();
    assert!(refused.starts_with("systemd cannot start mycontainer-gone.scope: "), "{refused}");
    // Refused before systemd is asked.
    assert!(gone.create(r#"{"unified":{"nosuch.max":"1"}}"#, "[]").is_err());
    made.kill().unwrap();
    first.wait().unwrap();
    assert!(made.remove().is_empty());
}

fn bad_limit(limit: &str, pid: i32) -> String {
    let scope = Scope::named("system.slice:mycontainer:limit", &[]).unwrap();
    let refused = scope.create(limit, "[]").unwrap().adopt(pid).unwrap_err().to_string();
    assert_eq!(scope.show("ActiveState"), "inactive");
    refused
}

#[test]
fn a_scope_with_groups_inside_is_emptied() {
    let Some(scope) = Scope::named("system.slice:mycontainer:inside", &[]) else { return };
    let mut made = scope.create(r#"{"pids":{"limit":20}}"#, "[]").unwrap();
    let mut child = waiting(
        "d=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir -p $d/a/b; echo 0 > $d/a/b/cgroup.procs; \
                            sleep 100 & wait",
    );
    made.adopt(pid(&child)).unwrap();
    drop(child.stdin.take());
    let inner = directory(&made).join("a/b/cgroup.procs");
    wait_for("it never moved", || std::fs::read_to_string(&inner).is_ok_and(|text| text.lines().count() == 2));
    assert_eq!(made.processes().unwrap().len(), 2);
    assert!(made.open_inner("a/b").unwrap().exists());
    made.kill().unwrap();
    child.wait().unwrap();
    let directory = directory(&made);
    assert!(made.remove().is_empty());
    assert!(!directory.exists());
}

#[test]
fn a_slice_and_an_escaped_name_are_units_too() {
    for (path, unit) in
        [("vm.slice:x:vm-part.slice", "vm-part.slice"), (":mycontainer:a+b", "mycontainer-a\\x2bb.scope")]
    {
        let Some(scope) = Scope::named(path, &[]) else { return };
        assert_eq!(scope.unit, unit);
        let mut made = scope.create(r#"{"pids":{"limit":20}}"#, "[]").unwrap();
        let mut child = waiting("exec sleep 100");
        made.adopt(pid(&child)).unwrap();
        assert_eq!(scope.show("TasksMax"), "20");
        assert_eq!(scope.open().processes().unwrap(), [pid(&child)]);
        made.kill().unwrap();
        child.wait().unwrap();
        assert!(made.remove().is_empty());
        assert_eq!(scope.show("ActiveState"), "inactive");
    }
}

/// Not a test: a scope made and removed in the mount namespace it finds itself in.
#[test]
fn maker() {
    let Ok(path) = std::env::var("CGROUP_TEST_SCOPE") else { return };
    let scope = Scope::named(&path, &[]).unwrap();
    let mut made = scope.create(r#"{"pids":{"limit":20}}"#, "[]").unwrap();
    let mut child = waiting("exec sleep 100");
    let adopted = made.adopt(pid(&child)).map_err(|error| format!("{error}\nhint: {:?}", error.hint()));
    println!("\nadopted: {adopted:?} {:?}", made.paths());
    let _ = child.kill();
    child.wait().unwrap();
    println!("removed: {:?}", made.remove());
}

/// As everybody but root has to.
#[test]
fn systemd_is_reached_by_the_bus_and_missed_with_a_reason() {
    if Scope::named("system.slice:mycontainer:x", &[]).is_none() {
        return;
    }
    let hidden = "mount -t tmpfs none /run/systemd";
    for (hide, expected) in [
        (hidden.to_owned(), "removed: []"),
        (
            format!("{hidden}; mount -t tmpfs none /run/dbus"),
            "cannot talk to systemd at unix:path=/run/dbus/system_bus_socket: No such file",
        ),
    ] {
        let told = Command::new("unshare")
            .args(["-m", "sh", "-c", &format!("{hide}; exec \"$0\" --exact maker --nocapture")])
            .arg(std::env::current_exe().unwrap())
            .env("CGROUP_TEST_SCOPE", "system.slice:mycontainer:bus")
            .output()
            .unwrap();
        assert!(out(&told).contains(expected), "{hide}: {told:?}");
    }
}

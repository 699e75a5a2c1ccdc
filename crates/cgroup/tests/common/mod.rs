//! Groups for tests, and processes to put into them.

#![allow(dead_code)]

use cgroup::{Cgroup, Error, Host, Location};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const NAME: &str = "CGROUP_TEST_NAME";
pub(crate) const SUB: &str = "CGROUP_TEST_SUB";
pub(crate) const SCRIPT: &str = "CGROUP_TEST_SCRIPT";

/// A group that is killed and removed when its test ends, also by a failed assertion.
pub(crate) struct Group {
    pub(crate) host: Host,
    pub(crate) name: String,
}

impl Group {
    pub(crate) fn named(what: &str) -> Self {
        let host = Host::detect().unwrap();
        Self { host, name: format!("mycontainer-test-{}-{what}", std::process::id()) }
    }

    /// Another one inside this one's name.
    pub(crate) fn within(&self, inner: &str) -> Self {
        Self { host: Host::detect().unwrap(), name: format!("{}/{inner}", self.name) }
    }

    pub(crate) fn location(&self) -> Location {
        Location::Path(self.name.clone())
    }

    pub(crate) fn create(&self, resources: &str, devices: &str) -> Result<Cgroup, Error> {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let devices: Vec<LinuxDeviceCgroup> = serde_json::from_str(devices).unwrap();
        Cgroup::create(&self.host, &self.location(), &resources, &devices)
    }

    pub(crate) fn open(&self) -> Cgroup {
        Cgroup::open(&self.host, &self.location()).unwrap()
    }

    /// Where the group is for a controller, which has one name on v1 and may have another on v2.
    pub(crate) fn directory(&self, v1_controller: &str) -> String {
        let hierarchy = if self.host.is_v2() { String::new() } else { format!("{v1_controller}/") };
        format!("/sys/fs/cgroup/{hierarchy}{}", self.name)
    }

    /// The content of `v1` or `v2`, both `CONTROLLER.FILE`.
    pub(crate) fn read(&self, v1: &str, v2: &str) -> String {
        let file = if self.host.is_v2() { v2 } else { v1 };
        let path = format!("{}/{file}", self.directory(v1.split('.').next().unwrap()));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
    }

    /// Every directory of the group's name, wherever a cgroup file system could be.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            for path in [entry.path(), entry.path().join(&self.name)] {
                if path.file_name().is_some_and(|name| *name == *self.name) && path.is_dir() {
                    found.push(path.display().to_string());
                }
            }
        }
        found
    }

    /// `sh -c script` in the group, through [`child`].
    pub(crate) fn command(&self, script: &str) -> Command {
        self.command_in(None, script)
    }

    /// The same, in a group inside it.
    pub(crate) fn command_in(&self, sub: Option<&str>, script: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "common::child", "--nocapture"]).env(NAME, &self.name).env(SCRIPT, script);
        command.envs(sub.map(|sub| (SUB, sub)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, script: &str) -> Output {
        self.command(script).output().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Ok(left) = Cgroup::open(&self.host, &self.location()) else { return };
        let _ = left.kill();
        for error in left.remove() {
            eprintln!("{error}");
        }
    }
}

/// Not a test: the process that the others start. Joins the group and becomes the script. (exec makes this thread the
/// process, and it is the thread that joined.)
#[test]
fn child() {
    let (Ok(name), Ok(script)) = (std::env::var(NAME), std::env::var(SCRIPT)) else { return };
    let group = Cgroup::open(&Host::detect().unwrap(), &Location::Path(name)).unwrap();
    match std::env::var(SUB) {
        Ok(sub) => group.join_inner(&sub).unwrap(),
        Err(_) => group.join().unwrap(),
    }
    panic!("{}", Command::new("sh").args(["-c", &script]).exec());
}

pub(crate) fn out(output: &Output) -> String {
    // What the test harness of the child said before it became the script is not the script's.
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("running 1 test")).collect::<Vec<_>>().join("\n")
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn is_alive(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

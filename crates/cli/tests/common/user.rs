//! An ordinary user of a test's own, on a host of a test's own.
//!
//! The account is a real one, made by useradd and removed by userdel: what newuidmap allows is decided by the host's own
//! files. Its home is below the directory for temporary files, its runtime directory in the test host's own /run.

use super::host::Host;
use super::{busybox_root, code, need, stderr, stdout, tool, wait_until};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Programs that write /etc/passwd refuse when another one does.
static ACCOUNTS: Mutex<()> = Mutex::new(());

/// The user, and the host on which it is.
pub struct User {
    pub host: Host,
    pub name: String,
    pub uid: u32,
    pub home: PathBuf,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime: PathBuf,
    /// The control group on v2 that the user's shells are in, unless it is the test's.
    pub group: Option<PathBuf>,
}

fn accounts(program: &str, words: &[&str]) {
    let _guard = ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(program).args(words).output().expect("it is there");
    assert!(output.status.success(), "{program} {words:?}: {}", stderr(&output));
}

impl User {
    /// A user with as many subordinate ids as this; `None` where the test cannot run.
    pub fn new(test: &str, ids: u32) -> Option<User> {
        let has = |tool: &str| Command::new(tool).arg("--help").output().is_ok();
        let host = Host::with_outside(test, TUN)?;
        let all = ["useradd", "newuidmap", "pasta", "runuser"];
        if !need(test, all.iter().all(|tool| has(tool)), "it needs useradd, newuidmap, pasta and runuser") {
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mct{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let home = std::env::temp_dir().join(&name);
        let (uids, gids) = (format!("SUB_UID_COUNT={ids}"), format!("SUB_GID_COUNT={ids}"));
        let counts = ["-K", &uids, "-K", &gids];
        accounts("useradd", &[&["-m", "-d", home.to_str().unwrap(), "-s", "/bin/sh"], &counts[..], &[&name]].concat());
        let uid = stdout(&Command::new("id").args(["-u", &name]).output().unwrap()).trim().parse().expect("a number");
        host.sh(&format!("mkdir -p -m 755 /run/user; mkdir -m 700 /run/user/{uid}; chown {uid} /run/user/{uid}"));
        // Of a directory that may be root's alone, as a checkout often is. Not a copy: in the virtual machine that takes seconds.
        let of_tool = home.join("mycontainer");
        std::fs::write(&of_tool, "").expect("a home can be written to");
        let user = User { host, name, uid, home, runtime: format!("/run/user/{uid}").into(), group: None };
        user.host.sh(&format!("cp -a {} {}/root", busybox_root().display(), user.home.display()));
        user.host.sh(&format!("chown -R {uid} {}", user.home.display()));
        user.host.sh(&format!("mount --bind {} {}", tool(), of_tool.display()));
        Some(user)
    }

    /// A shell script of the user's, to its end, with the tool as `mycontainer` and a small root as `root`.
    pub fn try_sh(&self, script: &str) -> Output {
        let home = self.home.display();
        let path = format!("PATH={home}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let (home, runtime) = (format!("HOME={home}"), format!("XDG_RUNTIME_DIR={}", self.runtime.display()));
        let script = format!("cd; {script}");
        let words = ["runuser", "-u", &self.name, "--", "env", "-i", &path, &home, &runtime, "sh", "-ec", &script];
        let enter = match &self.group {
            Some(group) => format!("echo 0 > {}/cgroup.procs", group.display()),
            None => String::new(),
        };
        let enter = format!("{enter}\nexec \"$@\"");
        let words = [&["-ec", &enter, "sh"], &words[..]].concat();
        self.host.command("sh", &words).output().expect("runuser is there")
    }

    /// As [`User::try_sh`], and it must succeed: its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(output.status.success(), "{script}: {}\n{}{}", output.status, stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// As [`User::try_sh`], and it must end with this code: its standard error.
    #[track_caller]
    pub fn fails(&self, expected: i32, script: &str) -> String {
        let output = self.try_sh(script);
        assert_eq!(code(output.status), expected, "{script}: {}{}", stdout(&output), stderr(&output));
        stderr(&output)
    }

    /// The user's processes by name, but for those that have ended.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let text = self.host.sh(&format!("ps -e -o uid=,pid=,stat=,comm= | awk '$1 == {}' || true", self.uid));
        let of = |line: &str| {
            let [_, pid, stat, name] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
            (!stat.starts_with('Z')).then(|| Some((pid.parse().ok()?, name.to_owned())))?
        };
        text.lines().filter_map(of).collect()
    }

    /// The process that holds the user's namespaces.
    pub fn holders(&self) -> Vec<i32> {
        self.processes().into_iter().filter(|(_, name)| name == "mc-holder").map(|(pid, _)| pid).collect()
    }
}

/// As udev makes it where there is one: anybody may open it, and gets no more than in a namespace of their own.
const TUN: &str = "mkdir -p /dev/net; mount -t tmpfs none /dev/net; mknod -m 666 /dev/net/tun c 10 200";

impl Drop for User {
    fn drop(&mut self) {
        let removed = self.try_sh("mycontainer pod rm -f -a; mycontainer rm -f -a");
        for pid in self.holders() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        let is_gone = wait_until(10, || self.processes().is_empty());
        // What belongs to subordinate ids is root's to remove.
        let _ = std::fs::remove_dir_all(&self.home);
        let _guard = ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = Command::new("userdel").arg(&self.name).output();
        if !std::thread::panicking() {
            assert!(removed.status.success(), "{}", stderr(&removed));
            assert!(is_gone, "processes that were left: {:?}", self.processes());
        }
    }
}

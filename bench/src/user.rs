//! An ordinary user of the bench's own, to time containers without root: an account with subordinate ids that is made by
//! useradd, has its home in the scratch directory, and is removed again.

use crate::rootfs::Scratch;
use crate::worker::{Worker, myself};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The account's name: one bench runs at a time.
const NAME: &str = "mycontainer-bench";

/// The user, until it is dropped.
pub(crate) struct User {
    home: PathBuf,
}

impl User {
    /// Makes it, with copies of what it runs. An error where the system has no such programs.
    pub(crate) fn new(scratch: &Scratch, tool: &Path) -> Result<User> {
        let home = scratch.path("home");
        let ids = ["-K", "SUB_UID_COUNT=65536", "-K", "SUB_GID_COUNT=65536"];
        let account = ["-m", "-k", "/nonexistent", "-s", "/bin/sh", "-d"];
        run(Command::new("useradd").args(account).arg(&home).args(ids).arg(NAME))?;
        let user = User { home };
        for (from, to) in [(tool.to_owned(), "mycontainer"), (myself()?, "bench")] {
            std::fs::copy(&from, user.home.join(to)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        run(Command::new("cp").arg("-a").arg(scratch.path("root")).arg(user.home.join("root")))?;
        run(Command::new("cp").arg(scratch.path("root.tar")).arg(user.home.join("root.tar")))?;
        run(Command::new("mkdir").args(["-m", "700"]).arg(user.home.join("run")))?;
        run(Command::new("chown").args(["-R", &format!("{NAME}:{NAME}")]).arg(&user.home))?;
        Ok(user)
    }

    /// A worker that is this user, where anybody may make a tun device, as udev lets them, and without the v2 half of a
    /// hybrid host, which podman's crun refuses.
    pub(crate) fn worker(&self) -> Result<Worker> {
        let (home, run) = (self.home.display(), self.home.join("run"));
        let script = format!(
            "umount -l /sys/fs/cgroup/unified 2>/dev/null || true; \
             mkdir -p /dev/net; mount -t tmpfs none /dev/net; mknod -m 666 /dev/net/tun c 10 200; cd {home}; \
             exec setpriv --reuid {NAME} --regid {NAME} --init-groups {home}/bench worker host"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]).env_clear();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Worker::spawn(command.env("PATH", path).env("HOME", &self.home).env("USER", NAME).env("XDG_RUNTIME_DIR", run))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // What holds the user's namespaces ends a few seconds after the last container; podman's stays.
        let _ = Command::new("pkill").args(["-KILL", "-u", NAME]).status();
        std::thread::sleep(std::time::Duration::from_millis(500));
        if let Err(error) = run(Command::new("userdel").arg(NAME)) {
            eprintln!("mycontainer-bench: the account {NAME} is left: {error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim());
}

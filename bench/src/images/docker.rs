//! A Docker daemon of the bench's own: its store, socket and settings are below one directory, it makes no bridge and no
//! firewall rule, and it ends with the bench.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `$1` is the directory. The daemon writes a key to /etc/docker.
const ENTER: &str = r#"
dir=$1; shift
mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" none /etc
mount --bind "$dir/lib" /var/lib
mount --bind "$dir/run" /run
exec "$@"
"#;

/// One that runs.
pub(crate) struct Docker {
    process: Child,
    dir: PathBuf,
}

impl Docker {
    /// Starts one below `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Docker> {
        for name in ["etc", "etc.work", "lib", "run", "data"] {
            fs::create_dir_all(dir.join(name)).context("cannot make the daemon's directories")?;
        }
        fs::write(dir.join("daemon.json"), "{}")?;
        let log = fs::File::create(dir.join("log"))?;
        let below = |flag: &str, name: &str| format!("{flag}={}", dir.join(name).display());
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["setpriv", "--pdeathsig", "KILL", "sh", "-ec", ENTER, "docker"])
            .arg(dir)
            .args(["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .args([below("--config-file", "daemon.json"), below("--data-root", "data")])
            .args([format!("--host={}", socket(dir)), "--pidfile=/run/dockerd.pid".to_owned()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run unshare")?;
        let mut docker = Docker { process, dir: dir.to_owned() };
        for _ in 0..300 {
            let words = docker.words(&["version", "--format", "{{.Server.Version}}"]);
            if Command::new(&words[0]).args(&words[1..]).output().is_ok_and(|output| output.status.success()) {
                return Ok(docker);
            }
            if docker.process.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = fs::read_to_string(dir.join("log")).unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        bail!("no private daemon: {last}")
    }

    /// The words of a client's command.
    pub(crate) fn words(&self, words: &[&str]) -> Vec<String> {
        // The distribution's client, should there be a newer one that its daemon is too old for.
        let client = ["/usr/bin/docker", "docker"].into_iter().find(|path| Path::new(path).exists());
        let host = socket(&self.dir);
        let words = [&[client.unwrap_or("docker"), "--host", &host], words].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// The daemon's version.
    pub(crate) fn version(&self) -> String {
        let words = self.words(&["version", "--format", "{{.Server.Version}}"]);
        let output = Command::new(&words[0]).args(&words[1..]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // `unshare` kills the daemon, the first of its process tree, when it is killed itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn socket(dir: &Path) -> String {
    format!("unix://{}", dir.join("docker.sock").display())
}

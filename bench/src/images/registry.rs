//! Debian's `docker-registry` on a free port of the loopback. It ends with the bench, also when that is killed.

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One that runs.
pub(crate) struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Registry {
    /// Starts one with this storage; `name` begins the paths of its settings and its log.
    pub(crate) fn start(storage: &Path, name: &Path) -> Result<Registry> {
        fs::create_dir_all(storage).context("cannot make the registry's storage")?;
        let config = json!({
            "version": "0.1",
            "log": { "level": "info" },
            "storage": {
                "filesystem": { "rootdirectory": storage },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            // The kernel chooses the port; the log tells it.
            "http": { "addr": "127.0.0.1:0", "secret": "bench" },
        });
        let [settings, log] = ["yml", "log"].map(|end| name.with_extension(end));
        // JSON is YAML.
        fs::write(&settings, config.to_string()).context("cannot write the registry's settings")?;
        let file = fs::File::create(&log).context("cannot make the registry's log")?;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start docker-registry (scripts/setup-bench)")?;
        let mut registry = Registry { process, address: String::new() };
        for _ in 0..400 {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if let Some(port) = port_in(&said) {
                registry.address = format!("127.0.0.1:{port}");
                return Ok(registry);
            }
            if registry.process.try_wait()?.is_some() {
                bail!("docker-registry does not serve:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("docker-registry does not say its port")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The port in `level=info msg="listening on 127.0.0.1:45269"`.
fn port_in(log: &str) -> Option<u16> {
    let rest = log.split("listening on 127.0.0.1:").nth(1)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_port_is_in_the_log() {
        for (log, port) in [
            ("level=info msg=\"listening on 127.0.0.1:45269\" go.version=x\n", Some(45269)),
            ("level=info msg=\"listening on 127.0.0.1:45", None),
            ("", None),
        ] {
            assert_eq!(super::port_in(log), port, "{log}");
        }
    }
}

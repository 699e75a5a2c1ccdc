//! Where images are moved: a mount namespace in which `/var/lib`, `/run` and the settings of containers are directories
//! of the bench's own, so that each tool uses its own places and finds nothing there, and this machine keeps nothing.
//!
//! There are two: in the cold one everything is removed before each pull, in the warm one the store is filled once.

use crate::worker;
use anyhow::{Context, Result};
use rustix::mount::mount_bind;
use std::fs;
use std::path::Path;

/// Makes the directories that [`enter`] shows.
pub(crate) fn make(dir: &Path) -> Result<()> {
    for name in ["lib", "run/user", "etc", "home", "work"] {
        fs::create_dir_all(dir.join(name)).with_context(|| format!("cannot make {}/{name}", dir.display()))?;
    }
    fs::write(dir.join("etc/policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    fs::write(dir.join("etc/registries.conf"), "unqualified-search-registries = []\n")?;
    Ok(())
}

/// Moves this process into a place.
pub(crate) fn enter(dir: &Path) -> Result<()> {
    worker::own_mounts()?;
    for (name, target) in [("lib", "/var/lib"), ("run", "/run"), ("etc", "/etc/containers")] {
        if Path::new(target).is_dir() {
            mount_bind(dir.join(name), target).with_context(|| format!("cannot bind {target}"))?;
        }
    }
    Ok(())
}

/// The environment of what runs there: no settings of the one who started the bench.
pub(crate) fn environment(dir: &Path) -> [(&'static str, std::path::PathBuf); 2] {
    [("HOME", dir.join("home")), ("XDG_RUNTIME_DIR", "/run/user".into())]
}

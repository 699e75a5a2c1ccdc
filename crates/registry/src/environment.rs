//! What a registry client takes from its surroundings: variables, and where `/etc` is.
//!
//! Read once by the caller and handed in, so that a test gives another machine's and no thread reads what another one
//! writes. A variable that is empty counts as none, and one that is not UTF-8, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables and the directory of the system's configuration.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    etc: PathBuf,
}

impl Environment {
    /// This process's own.
    pub fn of_process() -> Environment {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Environment { variables: std::env::vars_os().filter_map(text).collect(), etc: "/etc".into() }
    }

    /// These variables, and this directory in place of `/etc`.
    pub fn new<K: Into<String>, V: Into<String>>(
        etc: &Path,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Environment {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Environment { variables, etc: etc.to_owned() }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of it, for a program that is started.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Below `/etc`.
    pub(crate) fn etc(&self, path: &str) -> PathBuf {
        self.etc.join(path)
    }

    /// Below the user's home.
    pub(crate) fn home(&self, path: &str) -> Option<PathBuf> {
        self.get("HOME").map(|home| Path::new(home).join(path))
    }

    /// Below the user's configuration: `$XDG_CONFIG_HOME` or `~/.config`.
    pub(crate) fn config(&self, path: &str) -> Option<PathBuf> {
        self.get("XDG_CONFIG_HOME")
            .map(|dir| Path::new(dir).join(path))
            .or_else(|| self.home(".config")?.join(path).into())
    }

    /// Where Podman keeps what it logged in to, until the session ends. [containers-auth.json(5)]
    pub(crate) fn session_auth(&self) -> PathBuf {
        match self.get("XDG_RUNTIME_DIR") {
            Some(dir) => Path::new(dir).join("containers/auth.json"),
            None => format!("/run/containers/{}/auth.json", rustix::process::getuid().as_raw()).into(),
        }
    }
}

/// Names only: a value may be a password.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables.keys()).field("etc", &self.etc).finish()
    }
}

//! Who we are to a registry: found where Docker and Podman keep it, and kept where both find it.
//!
//! ```text
//! $REGISTRY_AUTH_FILE, and then nothing else; or
//! $XDG_RUNTIME_DIR/containers/auth.json     what Podman logged in to, until the session ends
//! $XDG_CONFIG_HOME/containers/auth.json
//! $DOCKER_CONFIG/config.json, or ~/.docker/config.json            what we log in to, and Docker does
//! ```
//!
//! In each file: `credHelpers` for the registry, `credsStore` for all, `auths` in base64, the most specific key first
//! (`host/a/b`, `host/a`, `host`). A file is replaced by rename, with mode 0600, under a `flock` of its directory, and
//! keeps all that is not ours. No secret is printed: the types that hold one have a `Debug` that leaves it out.

use crate::config::absent;
use crate::environment::Environment;
use crate::error::Error;
use crate::helper;
use crate::reference::DOCKER_HUB;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The key of Docker Hub in Docker's file, and its name to the helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password, or what a registry takes for one.
    Password {
        /// Who.
        username: String,
        /// What nobody else knows.
        password: String,
    },
    /// What a registry gave in place of a password; it buys tokens.
    IdentityToken {
        /// What nobody else knows.
        token: String,
    },
}

/// The name only.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { username, .. } => write!(f, "Password {{ username: {username:?}, .. }}"),
            Credentials::IdentityToken { .. } => f.write_str("IdentityToken { .. }"),
        }
    }
}

impl Credentials {
    /// As the helpers write it: an identity token has the user `<token>`.
    pub(crate) fn of(username: &str, secret: &str) -> Credentials {
        match username {
            "<token>" => Credentials::IdentityToken { token: secret.to_owned() },
            _ => Credentials::Password { username: username.to_owned(), password: secret.to_owned() },
        }
    }

    pub(crate) fn parts(&self) -> (&str, &str) {
        match self {
            Credentials::Password { username, password } => (username, password),
            Credentials::IdentityToken { token } => ("<token>", token),
        }
    }

    /// The value of an `Authorization` header, for what takes a name and a password.
    pub(crate) fn basic(&self) -> Option<String> {
        match self {
            Credentials::Password { username, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            Credentials::IdentityToken { .. } => None,
        }
    }
}

/// The login for a repository; `None` when there is none.
pub(crate) fn find(environment: &Environment, registry: &str, repository: &str) -> Result<Option<Credentials>, Error> {
    for path in files(environment) {
        let file = read(&path)?;
        if let Some(found) = find_in(environment, &path, &file, registry, repository)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Keeps a login. Says where.
pub(crate) fn store(environment: &Environment, registry: &str, login: &Credentials) -> Result<String, Error> {
    let path = own_file(environment)?;
    if let Some(program) = helper_of(&read(&path)?, registry) {
        helper::store(environment, &program, key(registry), login)?;
        return Ok(format!("docker-credential-{program}"));
    }
    change(&path, |file| {
        let entry = match login {
            Credentials::Password { username, password } => {
                json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
            }
            Credentials::IdentityToken { token } => {
                json!({ "auth": STANDARD.encode("<token>:"), "identitytoken": token })
            }
        };
        let auths = file.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        // Another spelling of the same registry would be found in place of this one.
        remove(auths, registry);
        auths[key(registry)] = entry;
        true
    })?;
    Ok(path.display().to_string())
}

/// Forgets the logins for a registry, wherever they are. Says where they were.
pub(crate) fn erase(environment: &Environment, registry: &str) -> Result<Vec<String>, Error> {
    let mut from = Vec::new();
    for path in files(environment) {
        let file = read(&path)?;
        if let Some(program) = helper_of(&file, registry)
            && helper::get(environment, &program, key(registry))?.is_some()
        {
            helper::erase(environment, &program, key(registry))?;
            from.push(format!("docker-credential-{program}"));
        }
        let mut found = false;
        let forget = |file: &mut Map<String, Value>| {
            found = file.get_mut("auths").is_some_and(|auths| remove(auths, registry));
            found
        };
        // Only what has it is written, or even locked.
        if file.get("auths").cloned().is_some_and(|mut auths| remove(&mut auths, registry)) {
            change(&path, forget)?;
        }
        if found {
            from.push(path.display().to_string());
        }
    }
    Ok(from)
}

fn remove(auths: &mut Value, registry: &str) -> bool {
    let Some(auths) = auths.as_object_mut() else { return false };
    let before = auths.len();
    auths.retain(|key, _| host_of(key) != registry || key.trim_end_matches('/').contains('/') && !key.contains("://"));
    auths.len() < before
}

/// The files, in the order in which they are asked.
fn files(environment: &Environment) -> Vec<PathBuf> {
    if let Some(named) = environment.get("REGISTRY_AUTH_FILE") {
        return vec![named.into()];
    }
    let user = environment.config("containers/auth.json");
    [Some(environment.session_auth()), user, docker_file(environment)].into_iter().flatten().collect()
}

fn docker_file(environment: &Environment) -> Option<PathBuf> {
    match environment.get("DOCKER_CONFIG") {
        Some(directory) => Some(Path::new(directory).join("config.json")),
        None => environment.home(".docker/config.json"),
    }
}

fn own_file(environment: &Environment) -> Result<PathBuf, Error> {
    let named = environment.get("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let missing = || Error::Config { path: "~/.docker/config.json".into(), why: "HOME is not set".to_owned() };
    named.or_else(|| docker_file(environment)).ok_or_else(missing)
}

fn read(path: &Path) -> Result<Map<String, Value>, Error> {
    let failed = |source| Error::ReadFile { path: path.to_owned(), source };
    let text = match fs::read(path) {
        Ok(text) if text.trim_ascii().is_empty() => return Ok(Map::new()),
        Ok(text) => text,
        Err(error) if absent(&error) => return Ok(Map::new()),
        Err(error) => return Err(failed(error)),
    };
    // The parser's message could quote a secret: only its place is told.
    serde_json::from_slice(&text).map_err(|error| Error::Config {
        path: path.to_owned(),
        why: format!("line {}, column {}: not JSON as expected", error.line(), error.column()),
    })
}

fn find_in(
    environment: &Environment,
    path: &Path,
    file: &Map<String, Value>,
    registry: &str,
    repository: &str,
) -> Result<Option<Credentials>, Error> {
    if let Some(program) = helper_of(file, registry)
        && let Some(found) = helper::get(environment, &program, key(registry))?
    {
        return Ok(Some(found));
    }
    let Some(auths) = file.get("auths").and_then(Value::as_object) else { return Ok(None) };
    let mut name = format!("{registry}/{repository}");
    let entry = loop {
        if let Some(entry) = auths.get(&name) {
            break Some(entry);
        }
        match name.rfind('/') {
            Some(end) => name.truncate(end),
            // Docker's keys of old are URLs.
            None => {
                let same = |(key, _): &(&String, &Value)| key.contains("://") && host_of(key) == registry;
                let hub = auths.get("index.docker.io").filter(|_| registry == DOCKER_HUB);
                break auths.iter().find(same).map(|(_, entry)| entry).or(hub);
            }
        }
    };
    entry.map_or(Ok(None), |entry| {
        login_of(entry).map_err(|why| Error::Config { path: path.to_owned(), why: why.into() })
    })
}

/// One entry of `auths`. An empty one says that a helper has it.
fn login_of(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::IdentityToken { token: token.to_owned() }));
    }
    let Some(auth) = text("auth") else { return Ok(None) };
    let bad = "an \"auth\" is not NAME:PASSWORD in base64";
    let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(bad)?;
    let (username, password) = decoded.split_once(':').ok_or(bad)?;
    Ok(Some(Credentials::of(username, password.trim_matches('\0'))))
}

/// The program that keeps the login of a registry.
fn helper_of(file: &Map<String, Value>, registry: &str) -> Option<String> {
    let own = file.get("credHelpers").and_then(Value::as_object);
    let own = own.and_then(|helpers| helpers.iter().find(|(key, _)| host_of(key) == registry));
    let program = own.map(|(_, program)| program).or_else(|| file.get("credsStore"));
    program.and_then(Value::as_str).filter(|program| !program.is_empty()).map(str::to_owned)
}

fn key(registry: &str) -> &str {
    if registry == DOCKER_HUB { HUB_KEY } else { registry }
}

/// The registry that a key is of: `https://index.docker.io/v1/` is `docker.io`.
fn host_of(key: &str) -> &str {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    }
}

/// Reads a file, lets it be changed, and puts the new one in its place when there was something to change.
fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<(), Error> {
    // A link stays one: what it leads to is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |source| Error::WriteFile { path: path.to_owned(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory).map_err(failed)?;
    let lock = File::open(directory).map_err(failed)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    let mut file = read(path)?;
    if !edit(&mut file) {
        return Ok(());
    }
    let mut text = serde_json::to_vec_pretty(&file).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = write_new(&temporary, &text).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that a crash left is in nobody's use: the lock is ours.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;

//! Credential helpers: programs that keep logins. [docker/docker-credential-helpers, README]
//!
//! `docker-credential-NAME get|store|erase`, from the `PATH` that the caller handed in; a request on standard input,
//! an answer on standard output. A helper has [`LIMIT`] to answer, and its answer has a bound: it may talk to a
//! key ring that waits for a person who is not there.

use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::error::{Error, plain};
use serde::Deserialize;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const ANSWER_MAX: u64 = 64 << 10;
/// What every helper says, in these words, of what it does not have.
const NOT_FOUND: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// The login that a helper has.
pub(crate) fn get(environment: &Environment, program: &str, server: &str) -> Result<Option<Credentials>, Error> {
    let fail = |why: String| Error::Helper { program: program.to_owned(), why };
    let (answer, ok) = ask(environment, program, "get", server)?;
    if !ok {
        let said = plain(&answer);
        return if said.contains(NOT_FOUND) { Ok(None) } else { Err(fail(format!("get: {said:?}"))) };
    }
    // The parser's message could quote the secret.
    let answer: Answer = serde_json::from_str(&answer).map_err(|_| fail("get: its answer is not JSON".to_owned()))?;
    Ok((!answer.secret.is_empty()).then(|| Credentials::of(&answer.username, &answer.secret)))
}

/// Gives a login to a helper.
pub(crate) fn store(environment: &Environment, program: &str, server: &str, login: &Credentials) -> Result<(), Error> {
    let (username, secret) = login.parts();
    let request = serde_json::json!({ "ServerURL": server, "Username": username, "Secret": secret }).to_string();
    succeed(environment, program, "store", &request)
}

/// Takes a login from a helper.
pub(crate) fn erase(environment: &Environment, program: &str, server: &str) -> Result<(), Error> {
    succeed(environment, program, "erase", server)
}

fn succeed(environment: &Environment, program: &str, verb: &str, request: &str) -> Result<(), Error> {
    let (said, ok) = ask(environment, program, verb, request)?;
    let why = || format!("{verb}: {:?}", plain(&said));
    if ok { Ok(()) } else { Err(Error::Helper { program: program.to_owned(), why: why() }) }
}

/// Runs a helper; gives what it said, and whether it was content.
fn ask(environment: &Environment, program: &str, verb: &str, request: &str) -> Result<(String, bool), Error> {
    let fail = |why: String| Error::Helper { program: plain(program), why };
    let path = locate(environment, program).ok_or_else(|| fail("no such program in PATH".to_owned()))?;
    let mut command = Command::new(path);
    command.arg(verb).env_clear().envs(environment.all());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| fail(error.to_string()))?;
    let answer = exchange(&mut child, request, Instant::now() + LIMIT);
    if answer.is_none() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| fail(error.to_string()))?;
    let answer = answer.ok_or_else(|| fail(format!("{verb}: no answer in {} seconds", LIMIT.as_secs())))?;
    Ok((answer, status.success()))
}

/// The answer; `None` when it does not come in time.
fn exchange(child: &mut Child, request: &str, until: Instant) -> Option<String> {
    let (mut input, output) = (child.stdin.take()?, child.stdout.take()?);
    let (answered, answer) = mpsc::channel();
    // It ends when the helper's output does, which is at the latest when the helper is killed.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.take(ANSWER_MAX).read_to_end(&mut bytes);
        let _ = answered.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    // One that answers without reading is content, too. No request fills a pipe.
    let _ = input.write_all(request.as_bytes());
    drop(input);
    let answer = answer.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
    while Instant::now() < until {
        if child.try_wait().ok()?.is_some() {
            return Some(answer);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

fn locate(environment: &Environment, program: &str) -> Option<PathBuf> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    // A name, not a way to somewhere else.
    if !program.bytes().all(plain) {
        return None;
    }
    let directories = std::env::split_paths(environment.get("PATH")?).collect::<Vec<_>>();
    let absolute = directories.into_iter().filter(|directory| directory.is_absolute());
    absolute
        .map(|directory| Path::new(&directory).join(format!("docker-credential-{program}")))
        .find(|path| path.is_file())
}

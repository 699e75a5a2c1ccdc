//! What can go wrong between here and a registry: which step, on what, and why; and what a person may do about it.
//!
//! No message holds a password, a token or the query of a URL. What a registry says is quoted, cut short and with its
//! control characters taken out: it is somebody else's, and goes to a terminal.

use crate::digest::Digest;
use crate::reference::BadReference;
use crate::url::Url;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why something with a registry did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Reference(#[from] BadReference),
    #[error("cannot read {}: {source}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    WriteFile { path: PathBuf, source: io::Error },
    #[error("{}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("{name} is blocked: registries.conf says so of {prefix}")]
    Blocked { name: String, prefix: String },
    #[error("cannot use the certificate in {}: {why}", path.display())]
    Certificate { path: PathBuf, why: String },
    #[error("cannot use the proxy {proxy}: {why}")]
    Proxy { proxy: String, why: String },
    #[error("cannot reach {host}: {why}")]
    Connect { host: String, why: String },
    #[error("{host} does not speak TLS ({why})")]
    NotTls { host: String, why: String },
    #[error("cannot trust {host}: {why}")]
    Tls { host: String, why: String, looked: String },
    #[error("{host} did not answer in time ({step})")]
    Timeout { host: String, step: String },
    #[error("the connection to {host} broke: {why}")]
    Broken { host: String, why: String },
    // It is not quoted: there may be a password in it.
    #[error(
        "this is no URL that can be fetched: that is http:// or https://, a host, and a path, without a user or password"
    )]
    Url,
    #[error("{from} leads to {to:?}, which is no URL that may be followed")]
    Location { from: String, to: String },
    #[error("{from} leads from https to http, to {to}: not followed")]
    Downgrade { from: String, to: String },
    #[error("{from} leads on and on: {limit} redirects were followed")]
    Redirects { from: String, limit: usize },
    #[error("{what} needs a login: {said}")]
    Unauthorized { what: String, registry: String, said: String, logged_in: bool },
    #[error("{what} is not allowed: {said}")]
    Denied { what: String, registry: String, said: String, logged_in: bool },
    #[error("{what} is not there: {said}")]
    NotFound { what: String, said: String },
    #[error("{host} has had too many requests: {said}")]
    RateLimit { host: String, said: String, after: Option<Duration>, logged_in: bool },
    #[error("{what}: {url} answered {status}: {said}")]
    Status { what: String, url: String, status: u16, said: String },
    #[error("{host} asks for a login in a way that is not known: {header:?}")]
    Challenge { host: String, header: String },
    #[error("{host} sends its logins to {realm}, which is not https: no password is sent there")]
    Realm { host: String, realm: String },
    #[error("cannot get a token from {realm}: {why}")]
    Token { realm: String, why: String },
    #[error("{what} has more than {max} bytes")]
    TooBig { what: String, max: u64 },
    #[error("{what} is not what was asked for: its digest is {got} and should be {expected}")]
    WrongDigest { what: String, expected: Digest, got: Digest },
    #[error("{url} answered with something else than JSON: {begins}")]
    NotJson { url: String, begins: String },
    #[error("{url} answered without sense: {why}")]
    Nonsense { url: String, why: String },
    #[error("{digest} has not the size that its descriptor says, {size} bytes: {why}")]
    Size { digest: Digest, size: u64, why: String },
    #[error("cannot read what is to be sent: {source}")]
    Source { source: io::Error },
    #[error("cannot use docker-credential-{program}: {why}")]
    Helper { program: String, why: String },
    #[error("{host} does not know this name and password: {said}")]
    Login { host: String, said: String },
    #[error("{origin} (and its mirrors: {mirrors})")]
    Mirrors { origin: Box<Error>, mirrors: String },
}

impl Error {
    /// What a person may do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Unauthorized { registry, logged_in: false, .. }
            | Error::Denied { registry, logged_in: false, .. } => {
                format!(
                    "it may be private, or not exist: log in with `mycontainer login {registry}`, or check the name"
                )
            }
            Error::Unauthorized { registry, .. } | Error::Denied { registry, .. } => {
                format!("the login for {registry} was used: check the name, or log in as someone who may")
            }
            Error::NotFound { .. } => "check the name and the tag".to_owned(),
            Error::RateLimit { logged_in: false, host, .. } => {
                format!("who logs in to {host} may have more, and so may who waits")
            }
            Error::Tls { host, looked, .. } => {
                format!(
                    "put its authority's certificate into /etc/mycontainer/certs.d/{host}/ca.crt; looked in {looked}"
                )
            }
            Error::NotTls { host, .. } => {
                format!(
                    "if it is meant to speak plain http, write insecure = true for {host} into /etc/mycontainer/registries.conf"
                )
            }
            Error::NotJson { .. } => "this may be the page of a proxy or of a network that wants a login".to_owned(),
            Error::Mirrors { origin, .. } => return origin.hint(),
            _ => return None,
        })
    }

    /// True when what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Error::NotFound { .. } => true,
            Error::Mirrors { origin, .. } => origin.is_not_found(),
            _ => false,
        }
    }

    /// True when a login, or another one, could help.
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Error::Unauthorized { .. } | Error::Denied { .. } | Error::Login { .. } => true,
            Error::Mirrors { origin, .. } => origin.is_unauthorized(),
            _ => false,
        }
    }

    /// True when the same may work a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Error::Connect { .. } | Error::Timeout { .. } | Error::Broken { .. })
    }

    /// From what the HTTP client says.
    pub(crate) fn of_http(error: ureq::Error, url: &Url, looked: impl Fn() -> String) -> Error {
        let host = url.authority.clone();
        match error {
            ureq::Error::Rustls(error) => Error::of_tls(&error, host, looked),
            ureq::Error::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                Some(error) => Error::of_tls(error, host, looked),
                None => Error::of_io(&error, host),
            },
            ureq::Error::Timeout(step) => Error::Timeout { host, step: step.to_string() },
            ureq::Error::HostNotFound => Error::Connect { host, why: "no such host".to_owned() },
            ureq::Error::ConnectionFailed => Error::Connect { host, why: "no connection".to_owned() },
            ureq::Error::ConnectProxyFailed(why) => Error::Connect { host, why: format!("the proxy says {why:?}") },
            other => Error::Broken { host, why: plain(&other.to_string()) },
        }
    }

    fn of_tls(error: &rustls::Error, host: String, looked: impl Fn() -> String) -> Error {
        let why = plain(&error.to_string());
        match error {
            rustls::Error::InvalidMessage(_) => Error::NotTls { host, why },
            _ => Error::Tls { host, why, looked: looked() },
        }
    }

    fn of_io(error: &io::Error, host: String) -> Error {
        let why = error.to_string();
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::Timeout { host, step: why },
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Error::Connect { host, why }
            }
            _ if why.contains("failed to lookup address") => Error::Connect { host, why },
            _ => Error::Broken { host, why },
        }
    }
}

/// What somebody else says, fit for a terminal: one line, no control characters, not too long.
pub(crate) fn plain(text: &str) -> String {
    let text: String = text.chars().take(400).map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_says_what_to_do() {
        let denied =
            |logged_in| Error::Denied { what: "a".into(), registry: "quay.io".into(), said: "no".into(), logged_in };
        assert!(denied(false).hint().unwrap().contains("mycontainer login quay.io"));
        let through = Error::Mirrors { origin: Box::new(denied(true)), mirrors: "m".into() };
        assert!(through.hint().unwrap().contains("was used") && through.is_unauthorized());
        assert_eq!(plain("a\x1b[31m\n\tb"), "a [31m b");
    }
}

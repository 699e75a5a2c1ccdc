//! One request over HTTP, and where it leads.
//!
//! The client below knows nothing of registries: it picks the connection (trust, proxy), follows redirects and says
//! what went wrong. At all times: `Authorization` goes to the origin it was meant for and to no other; https never
//! becomes http; a body is read to a bound. Connections are kept and used again, by all threads.

use crate::early::{self, EarlyConnector};
use crate::environment::Environment;
use crate::error::{Error, plain};
use crate::retry_after;
use crate::tls::{self, HostCertificates};
use crate::url::{Url, host_and_port, is_loopback};
use crate::{config::Config, proxy};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use ureq::http::{self, HeaderMap, Method};
use ureq::tls::Certificate;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Body, SendBody};

/// How patient the client is.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For a connection, with names and TLS.
    pub connect: Duration,
    /// For the next bytes, whether of the answer's head or of its body.
    pub stall: Duration,
    /// For the answer to what was sent up: a registry may move a whole layer to its storage before it says so.
    pub commit: Duration,
    /// How often something is tried in all.
    pub attempts: u32,
    /// What is waited before the second try; then twice as long each time.
    pub backoff: Duration,
    /// The longest wait, and the longest that a `Retry-After` is obeyed.
    pub wait_max: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            commit: Duration::from_secs(300),
            attempts: 5,
            backoff: Duration::from_millis(200),
            wait_max: Duration::from_secs(60),
        }
    }
}

/// As large as one read of a socket is worth: 64 KiB cost a third of the speed on loopback.
const BUFFER: usize = 256 << 10;
const REDIRECTS: usize = 10;
/// The most of an error's text that is read.
const SAID_MAX: u64 = 64 << 10;

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// So many bytes, from a reader that can be had again.
    Stream(u64, &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>),
}

/// One request.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) authorization: Option<String>,
    pub(crate) payload: Payload<'a>,
    /// Whoever answers is taken for the host: it is configured as insecure, or only asked whether it speaks TLS.
    pub(crate) unverified: bool,
}

impl Request<'_> {
    pub(crate) fn get(url: Url) -> Request<'static> {
        Request {
            method: Method::GET,
            url,
            headers: Vec::new(),
            authorization: None,
            payload: Payload::None,
            unverified: false,
        }
    }
}

/// An answer, whatever its status.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Who answered, after all redirects.
    pub(crate) url: Url,
    pub(crate) body: Body,
}

/// Which connections may serve whom.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    verify: bool,
    tls: bool,
    /// The host, if it has certificates of its own.
    own: Option<String>,
    proxy: Option<String>,
}

/// Connections, and how they are made.
pub(crate) struct Client {
    pub(crate) environment: Environment,
    pub(crate) config: Config,
    pub(crate) patience: Patience,
    agents: Mutex<HashMap<Kind, Agent>>,
    certificates: Mutex<HashMap<String, Option<HostCertificates>>>,
    system: OnceLock<Vec<Certificate<'static>>>,
}

impl Client {
    pub(crate) fn new(environment: Environment, config: Config, patience: Patience) -> Client {
        Client {
            environment,
            config,
            patience,
            agents: Mutex::default(),
            certificates: Mutex::default(),
            system: OnceLock::new(),
        }
    }

    /// Sends a request and follows where it leads. An answer of any status is an answer.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        let mut request = request.clone();
        let first = request.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send_once(&request)?;
            let Some(to) = self.redirect(&request, &response)? else { return Ok(response) };
            // The storage behind a registry must not see the registry's token. (CVE-2020-15157)
            if !to.same_origin(&request.url) {
                request.authorization = None;
                request.unverified = self.config.is_insecure(&to.authority);
            }
            request.url = to;
        }
        Err(Error::Redirects { from: first.to_string(), limit: REDIRECTS })
    }

    fn redirect(&self, request: &Request<'_>, response: &Response) -> Result<Option<Url>, Error> {
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let follows = match response.status {
            301..=303 => reads,
            307 | 308 => true,
            _ => false,
        };
        if !follows {
            return Ok(None);
        }
        let to = response.location()?;
        if request.url.https && !to.https {
            return Err(Error::Downgrade { from: request.url.to_string(), to: to.to_string() });
        }
        Ok(Some(to))
    }

    fn send_once(&self, request: &Request<'_>) -> Result<Response, Error> {
        let agent = self.agent(&request.url, request.unverified)?;
        let mut builder = http::Request::builder().method(request.method.clone()).uri(request.url.whole());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(authorization) = &request.authorization {
            builder = builder.header(http::header::AUTHORIZATION, authorization);
        }
        early::begin();
        let sent = match request.payload {
            Payload::None => self.run(&agent, builder, (), None),
            Payload::Bytes(bytes) => self.run(&agent, builder, bytes, Some(self.patience.commit)),
            Payload::Stream(size, open) => {
                let mut reader = Exact { inner: open().map_err(|source| Error::Source { source })?, left: size };
                let builder = builder.header(http::header::CONTENT_LENGTH, size);
                self.run(&agent, builder, SendBody::from_reader(&mut reader), Some(self.patience.commit))
            }
        };
        let error = |e| Error::of_http(e, &request.url, || tls::looked(&self.environment, &request.url.authority));
        let (parts, body) = sent.map_err(error)?.into_parts();
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, url: request.url.clone(), body })
    }

    fn run(
        &self,
        agent: &Agent,
        builder: http::request::Builder,
        body: impl ureq::AsSendBody,
        patience: Option<Duration>,
    ) -> Result<http::Response<Body>, ureq::Error> {
        let request = builder.body(body)?;
        match patience {
            None => agent.run(request),
            Some(time) => agent.run(agent.configure_request(request).timeout_per_read(Some(time)).build()),
        }
    }

    /// The connections for a URL.
    fn agent(&self, url: &Url, unverified: bool) -> Result<Agent, Error> {
        let own = if url.https { self.certificates(&url.authority)? } else { None };
        let kind = Kind {
            verify: !unverified,
            tls: url.https,
            own: own.as_ref().map(|_| url.authority.clone()),
            proxy: proxy::of(&self.environment, url).map(str::to_owned),
        };
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&kind) {
            return Ok(agent.clone());
        }
        let agent = self.make_agent(&kind, own.as_ref())?;
        agents.insert(kind, agent.clone());
        Ok(agent)
    }

    fn make_agent(&self, kind: &Kind, own: Option<&HostCertificates>) -> Result<Agent, Error> {
        let proxy = kind.proxy.as_deref().map(|text| {
            // It may hold a password.
            let shown = text.rsplit('@').next().unwrap_or_default().to_owned();
            // The client below would go around it.
            if text.to_ascii_lowercase().starts_with("socks") {
                return Err(Error::Proxy { proxy: shown, why: "SOCKS is not spoken, only HTTP".to_owned() });
            }
            ureq::Proxy::new(text).map_err(|error| Error::Proxy { proxy: shown, why: error.to_string() })
        });
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy.transpose()?)
            .user_agent(concat!("mycontainer/", env!("CARGO_PKG_VERSION")))
            // A layer that is unpacked on its way is not the layer that was asked for.
            .accept_encoding("identity")
            .accept("")
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_connections(32)
            .max_idle_connections_per_host(16)
            .timeout_resolve(Some(self.patience.connect))
            .timeout_connect(Some(self.patience.connect))
            .timeout_per_read(Some(self.patience.stall))
            .timeout_per_write(Some(self.patience.stall));
        if kind.tls {
            let system = || self.system.get_or_init(|| tls::system(&self.environment)).as_slice();
            builder = builder.tls_config(tls::config(kind.verify.then(system), own));
        }
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(EarlyConnector)
                .chain(RustlsConnector::default());
        Ok(Agent::with_parts(builder.build(), connector, DefaultResolver::default()))
    }

    fn certificates(&self, authority: &str) -> Result<Option<HostCertificates>, Error> {
        let mut known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = known.get(authority) {
            return Ok(own.clone());
        }
        let own = HostCertificates::of(&self.environment, authority)?;
        known.insert(authority.to_owned(), own.clone());
        Ok(own)
    }

    /// Tries until there is an answer that will not change by waiting, or until patience is at its end: then the last
    /// answer or error is what counts.
    pub(crate) fn patiently(&self, mut one: impl FnMut() -> Result<Response, Error>) -> Result<Response, Error> {
        let mut failures = 0;
        loop {
            let result = one();
            failures += 1;
            let wait = match &result {
                Err(error) if error.is_passing() && failures < self.tries(error) => self.backoff(failures),
                Ok(response) if response.is_passing() && failures < self.patience.attempts => {
                    response.retry_after().unwrap_or_else(|| self.backoff(failures))
                }
                _ => return result,
            };
            // Docker Hub says "come back in six hours".
            if wait > self.patience.wait_max {
                return result;
            }
            std::thread::sleep(wait);
        }
    }

    fn tries(&self, error: &Error) -> u32 {
        match error {
            // Nobody listens on this machine, and no waiting changes it.
            Error::Connect { host, .. } if is_loopback(host_and_port(host).0) => 1,
            Error::Connect { .. } => self.patience.attempts.min(3),
            _ => self.patience.attempts,
        }
    }

    /// How long to wait before the next try.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let base = self.patience.backoff.saturating_mul(1 << failures.saturating_sub(1).min(16));
        // Half of it by chance, so that many who failed together do not come back together.
        let half = base.min(self.patience.wait_max) / 2;
        half + half.mul_f64((random() % 1024) as f64 / 1024.0)
    }
}

/// The standard library's own seed; good enough to spread.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where the answer leads.
    pub(crate) fn location(&self) -> Result<Url, Error> {
        let to = self.header("location").unwrap_or_default();
        let bad =
            || Error::Location { from: self.url.to_string(), to: plain(to.split('?').next().unwrap_or_default()) };
        if to.is_empty() { Err(bad()) } else { self.url.join(to).ok_or_else(bad) }
    }

    /// True when the same may be answered better a moment later.
    fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502..=504 | 520..=599)
    }

    /// How long to wait, as `Retry-After` says.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after::wait(self.header("retry-after")?, self.header("date"), SystemTime::now())
    }

    /// The body, if it is not longer than `max`.
    pub(crate) fn bytes(&mut self, max: u64, what: &str) -> Result<Vec<u8>, Error> {
        let too_big = || Error::TooBig { what: what.to_owned(), max };
        let length = self.body.content_length();
        if length.is_some_and(|length| length > max) {
            return Err(too_big());
        }
        let mut bytes = Vec::with_capacity(length.unwrap_or(0) as usize);
        let broken = |e: io::Error| Error::of_http(ureq::Error::from(e), &self.url, String::new);
        self.body.as_reader().take(max + 1).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 > max { Err(too_big()) } else { Ok(bytes) }
    }

    /// What the answer says of itself: the registry's errors, or how a page begins, or nothing more than its status.
    pub(crate) fn said(mut self) -> String {
        let status = self.status;
        let bytes = self.bytes(SAID_MAX, "").unwrap_or_default();
        said(&bytes).unwrap_or_else(|| {
            http::StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string())
        })
    }
}

/// The messages of `{"errors": [{"code", "message", "detail"}]}` [OCI distribution-spec, error codes], or the start of
/// what else it is.
fn said(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    if let Ok(Errors { errors }) = serde_json::from_slice(bytes) {
        let one = |e: &One| match (e.code.as_str(), e.message.as_str()) {
            (code, "") => plain(code),
            ("", message) => plain(message),
            (code, message) => plain(&format!("{message} ({code})")),
        };
        let all = errors.iter().take(3).map(one).collect::<Vec<_>>().join("; ");
        return (!all.is_empty()).then_some(all);
    }
    let text = plain(&String::from_utf8_lossy(&bytes[..bytes.len().min(120)]));
    (!text.is_empty()).then(|| format!("{text:?}"))
}

/// Exactly as many bytes as were promised.
struct Exact {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        // Whatever is in the buffer: it goes nowhere.
        let got = if early::is_refused() { wanted } else { self.inner.read(&mut buffer[..wanted])? };
        self.left -= got as u64;
        if got == 0 && wanted > 0 {
            let why = format!("it ends {} bytes early", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        Ok(got)
    }
}

/// A client is shared by whoever pulls.
pub(crate) type Shared = Arc<Client>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says() {
        for (text, expected) in [
            (r#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#, Some("no way (DENIED)")),
            (r#"{"errors":[{"code":"A"},{"message":"b"}]}"#, Some("A; b")),
            (r#"{"errors":[]}"#, None),
            ("<html>\u{1b}[2Jhi", Some("\"<html> [2Jhi\"")),
            ("", None),
        ] {
            assert_eq!(said(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let patience =
            Patience { backoff: Duration::from_millis(100), wait_max: Duration::from_secs(1), ..Patience::default() };
        let client = Client::new(Environment::default(), Config::default(), patience);
        for (failures, low, high) in [(1, 50, 100), (2, 100, 200), (3, 200, 400), (9, 500, 1000), (99, 500, 1000)] {
            let wait = client.backoff(failures).as_millis();
            assert!((low..=high).contains(&wait), "{failures}: {wait}");
        }
    }
}

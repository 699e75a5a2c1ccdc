//! One repository of one host: requests that bring their authorization, try again, and end in a good answer or in an
//! error that says what the registry said.

use crate::auth::{Asker, Auth};
use crate::client::{Payload, Request, Response, Shared};
use crate::config::Place;
use crate::credentials::{self, Credentials};
use crate::error::Error;
use crate::url::{Url, host_and_port, is_loopback};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use ureq::http::Method;

/// A host, and what was learned of it.
pub(crate) struct Host {
    pub(crate) authority: String,
    insecure: bool,
    https: OnceLock<bool>,
    auth: Auth,
}

/// A repository there.
pub(crate) struct Endpoint {
    pub(crate) client: Shared,
    pub(crate) host: Arc<Host>,
    /// The registry by the name that its logins are kept under.
    pub(crate) registry: String,
    pub(crate) repository: String,
    /// What is done there: `pull`, `pull,push` ...
    pub(crate) actions: &'static str,
    /// Looked up when a registry asks for it, and once only: it may cost a program.
    pub(crate) login: Mutex<Option<Option<Credentials>>>,
}

/// What is asked of a repository.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Below `/v2/`; or a place that the registry itself named.
    pub(crate) at: At,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload<'a>,
    /// Other repositories that it touches.
    pub(crate) more_scope: String,
    /// What it is, for the message.
    pub(crate) what: String,
}

#[derive(Clone)]
pub(crate) enum At {
    Path(String),
    Url(Url),
}

impl Host {
    pub(crate) fn new(authority: &str, insecure: bool) -> Host {
        Host { authority: authority.to_owned(), insecure, https: OnceLock::new(), auth: Auth::default() }
    }

    /// Whether to speak https. It is asked only where plain http would be allowed; nothing but that is learned.
    fn https(&self, client: &Shared) -> Result<bool, Error> {
        if let Some(known) = self.https.get() {
            return Ok(*known);
        }
        if !self.insecure && !is_loopback(host_and_port(&self.authority).0) {
            return Ok(true);
        }
        let url = Url::new(true, &self.authority, "/v2/");
        let https = match client.send(&Request { unverified: true, method: Method::HEAD, ..Request::get(url) }) {
            Err(Error::NotTls { .. } | Error::Broken { .. }) => false,
            // Nobody is there by this scheme, or one who waits for more of what he cannot read: not worth keeping.
            Err(Error::Connect { .. } | Error::Timeout { .. }) => return Ok(false),
            Err(error @ (Error::ReadFile { .. } | Error::Certificate { .. } | Error::Proxy { .. })) => {
                return Err(error);
            }
            // Whatever it says, it said it over TLS.
            Ok(_) | Err(_) => true,
        };
        Ok(*self.https.get_or_init(|| https))
    }
}

impl Endpoint {
    pub(crate) fn new(client: &Shared, host: Arc<Host>, place: Place, actions: &'static str) -> Endpoint {
        let (registry, repository) = (place.registry, place.repository);
        Endpoint { client: client.clone(), host, registry, repository, actions, login: Mutex::default() }
    }

    /// Registry and repository, for people.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Asks, again when that may help, and gives a good answer.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let response = self.client.patiently(|| self.once(ask))?;
        self.good(response, &ask.what)
    }

    /// The same, with the whole body: one that breaks off is asked for again.
    pub(crate) fn ask_whole(&self, ask: &Ask<'_>, max: u64) -> Result<(Response, Vec<u8>), Error> {
        let mut failures = 0;
        loop {
            let mut response = self.ask(ask)?;
            failures += 1;
            match response.bytes(max, &ask.what) {
                Ok(bytes) => return Ok((response, bytes)),
                Err(error) if error.is_passing() && failures < self.client.patience.attempts => {
                    std::thread::sleep(self.client.backoff(failures));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks once (twice, when the registry wants to know who asks), and gives any answer.
    pub(crate) fn once(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let https = self.host.https(&self.client)?;
        let base = Url::new(https, &self.host.authority, "/");
        let url = match &ask.at {
            At::Path(path) => Url::new(https, &self.host.authority, &format!("/v2/{path}")),
            At::Url(url) => url.clone(),
        };
        let scope = self.scope(&ask.more_scope);
        let mut again = true;
        loop {
            // Only a challenge shows that a login is needed at all: to look for one may cost a program.
            let login = if self.host.auth.is_challenged() { self.login()? } else { None };
            let asker = self.asker(login.as_ref(), &scope);
            let ours = url.same_origin(&base);
            let authorization = if ours { self.host.auth.authorization(&asker)? } else { None };
            let used = authorization.clone();
            let response = self.client.send(&Request {
                method: ask.method.clone(),
                headers: ask.headers.clone(),
                payload: ask.payload,
                authorization,
                unverified: ours && self.host.insecure,
                url: url.clone(),
            })?;
            // Who was led to does not get to ask for our name. (CVE-2020-15157)
            if response.status != 401 || !again || !response.url.same_origin(&base) {
                return Ok(response);
            }
            again = false;
            let login = self.login()?;
            if !self.host.auth.learn(&self.asker(login.as_ref(), &scope), &response, used.as_deref())? {
                return Ok(response);
            }
        }
    }

    fn asker<'a>(&'a self, login: Option<&'a Credentials>, scope: &'a str) -> Asker<'a> {
        Asker {
            client: &self.client,
            registry: &self.registry,
            authority: &self.host.authority,
            insecure: self.host.insecure,
            login,
            scope,
        }
    }

    fn scope(&self, more: &str) -> String {
        match (self.repository.as_str(), more) {
            ("", more) => more.to_owned(),
            (repository, "") => format!("repository:{repository}:{}", self.actions),
            (repository, more) => format!("repository:{repository}:{} {more}", self.actions),
        }
    }

    fn login(&self) -> Result<Option<Credentials>, Error> {
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = login.as_ref() {
            return Ok(known.clone());
        }
        let found = credentials::find(&self.client.environment, &self.registry, &self.repository)?;
        *login = Some(found.clone());
        Ok(found)
    }

    /// A good answer, or the error that it is.
    pub(crate) fn good(&self, response: Response, what: &str) -> Result<Response, Error> {
        let status = response.status;
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let url = response.url.to_string();
        let (what, registry, host) = (what.to_owned(), self.registry.clone(), response.url.authority.clone());
        let logged_in = self.login.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Option::is_some);
        let after = response.retry_after();
        let said = response.said();
        Err(match status {
            401 => Error::Unauthorized { what, registry, said, logged_in },
            403 => Error::Denied { what, registry, said, logged_in },
            404 => Error::NotFound { what, said },
            429 => Error::RateLimit { host, said, after, logged_in },
            _ => Error::Status { what, url, status, said },
        })
    }
}

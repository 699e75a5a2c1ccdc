//! How a registry wants to know who we are, and the tokens that it gave. [distribution, docs/spec/auth/token.md, oauth.md]
//!
//! A registry answers 401 with a challenge: `Basic`, or `Bearer` with the place (`realm`) where tokens are had. The
//! challenge is kept, so that from then on a request brings what it needs; a token is kept for its scope, shared by all
//! threads, and renewed a little before its end or when the registry does not take it any more.
//!
//! A name and a password go to the registry that they are for, and to the realm that this registry names: over https,
//! unless the registry itself is spoken to in plain http. Where else a request is led, nothing of this follows.

use crate::client::{Client, Payload, Request, Response};
use crate::credentials::Credentials;
use crate::error::{Error, plain};
use crate::url::{Url, escape};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Method;

const CLIENT_ID: &str = "mycontainer";
const TOKEN_MAX: u64 = 1 << 20;
/// What a token without a term lives. [token.md]
const LIFE: u64 = 60;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq)]
enum Challenge {
    Basic,
    Bearer { realm: Url, service: String },
}

struct Token {
    header: String,
    until: Instant,
}

/// What is known of one registry's ways.
#[derive(Default)]
pub(crate) struct Auth {
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<HashMap<String, Arc<Mutex<Option<Token>>>>>,
}

/// Who asks, and for what.
pub(crate) struct Asker<'a> {
    pub(crate) client: &'a Client,
    pub(crate) registry: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) insecure: bool,
    pub(crate) login: Option<&'a Credentials>,
    /// `repository:NAME:pull`; several stand with a space between.
    pub(crate) scope: &'a str,
}

impl Auth {
    /// True when the registry has asked who we are.
    pub(crate) fn is_challenged(&self) -> bool {
        lock(&self.challenge).is_some()
    }

    /// The `Authorization` of a request; none before there was a challenge.
    pub(crate) fn authorization(&self, asker: &Asker<'_>) -> Result<Option<String>, Error> {
        let challenge = lock(&self.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(asker.login.and_then(Credentials::basic)),
            Some(Challenge::Bearer { realm, service }) => {
                // Who holds it asks for the token; the others wait, and find it.
                let slot = self.slot(asker);
                let mut slot = lock(&slot);
                if let Some(token) = slot.as_ref().filter(|token| Instant::now() < token.until) {
                    return Ok(Some(token.header.clone()));
                }
                let token = asker.token(&realm, &service)?;
                let header = token.header.clone();
                *slot = Some(token);
                Ok(Some(header))
            }
        }
    }

    /// Takes in a 401. True when another try may do better; `used` is what the request brought.
    pub(crate) fn learn(&self, asker: &Asker<'_>, response: &Response, used: Option<&str>) -> Result<bool, Error> {
        let headers = response.headers.get_all("www-authenticate");
        let header = headers.iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(", ");
        let challenge = challenge(&header, response)?;
        let changed = lock(&self.challenge).replace(challenge.clone()).as_ref() != Some(&challenge);
        Ok(match challenge {
            Challenge::Basic => asker.login.and_then(Credentials::basic).is_some() && (changed || used.is_none()),
            Challenge::Bearer { .. } => {
                let slot = self.slot(asker);
                let mut slot = lock(&slot);
                // Another thread may have renewed it in the meantime.
                if slot.as_ref().is_some_and(|token| used == Some(token.header.as_str())) {
                    *slot = None;
                }
                true
            }
        })
    }

    fn slot(&self, asker: &Asker<'_>) -> Arc<Mutex<Option<Token>>> {
        // Who has no login of its own must not have another one's token.
        let who = asker.login.map_or("", |login| login.parts().0);
        lock(&self.tokens).entry(format!("{who} {}", asker.scope)).or_default().clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Asker<'_> {
    fn token(&self, realm: &Url, service: &str) -> Result<Token, Error> {
        let asked = Instant::now();
        let unverified = self.insecure && realm.authority == self.authority;
        let response = match self.login {
            Some(Credentials::IdentityToken { token }) => {
                let form = format!(
                    "grant_type=refresh_token&service={}&client_id={CLIENT_ID}&scope={}&refresh_token={}",
                    form_value(service),
                    form_value(self.scope),
                    form_value(token)
                );
                let kind = ("content-type", "application/x-www-form-urlencoded".to_owned());
                self.client.patiently(|| {
                    self.client.send(&Request {
                        method: Method::POST,
                        headers: vec![kind.clone()],
                        payload: Payload::Bytes(form.as_bytes()),
                        unverified,
                        ..Request::get(realm.clone())
                    })
                })?
            }
            login => {
                let authorization = login.and_then(Credentials::basic);
                let mut url = realm.clone();
                if !service.is_empty() {
                    url = url.with_query("service", service);
                }
                for scope in self.scope.split(' ').filter(|scope| !scope.is_empty()) {
                    url = url.with_query("scope", scope);
                }
                if let Some(login) = login {
                    url = url.with_query("account", login.parts().0);
                }
                self.client.patiently(|| {
                    let authorization = authorization.clone();
                    self.client.send(&Request { authorization, unverified, ..Request::get(url.clone()) })
                })?
            }
        };
        self.read_token(response, realm, asked)
    }

    fn read_token(&self, mut response: Response, realm: &Url, asked: Instant) -> Result<Token, Error> {
        #[derive(serde::Deserialize)]
        struct Answer {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
            #[serde(default)]
            expires_in: Option<u64>,
        }
        let fail = |why: String| Error::Token { realm: realm.to_string(), why };
        match response.status {
            200 => {}
            400 | 401 if self.login.is_some() => {
                return Err(Error::Login { host: self.registry.to_owned(), said: response.said() });
            }
            401 | 403 => {
                let (what, registry, logged_in) = (self.scope_name(), self.registry.to_owned(), self.login.is_some());
                return Err(Error::Unauthorized { what, registry, said: response.said(), logged_in });
            }
            status => return Err(fail(format!("it answered {status}: {}", response.said()))),
        }
        let bytes = response.bytes(TOKEN_MAX, "a token")?;
        let begins = || plain(&String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| match bytes.first() {
            Some(b'{') => fail("its answer is not of the expected form".to_owned()),
            _ => Error::NotJson { url: realm.to_string(), begins: begins() },
        })?;
        let text = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if text.is_empty() || text.bytes().any(|b| b <= b' ' || b >= 0x7f) {
            return Err(fail("it gave none".to_owned()));
        }
        let life = Duration::from_secs(answer.expires_in.unwrap_or(LIFE).clamp(1, 24 * 3600));
        // So that it does not end on its way.
        let until = asked + life - (life / 4).min(Duration::from_secs(10));
        Ok(Token { header: format!("Bearer {text}"), until })
    }

    fn scope_name(&self) -> String {
        let repository = self.scope.split(':').nth(1).unwrap_or_default();
        if repository.is_empty() { self.registry.to_owned() } else { format!("{}/{repository}", self.registry) }
    }
}

/// In a form a `:` and a `/` are written out, too.
fn form_value(text: &str) -> String {
    escape(text).replace(':', "%3A").replace('/', "%2F").replace(',', "%2C")
}

/// What a 401 asks for: of several ways the one that gives no password away.
fn challenge(header: &str, response: &Response) -> Result<Challenge, Error> {
    let unknown = || Error::Challenge { host: response.url.authority.clone(), header: plain(header) };
    let all = parse(header);
    let with = |name: &str| all.iter().find(|(scheme, _)| scheme.eq_ignore_ascii_case(name));
    let Some((_, parameters)) = with("bearer") else {
        return with("basic").map(|_| Challenge::Basic).ok_or_else(unknown);
    };
    let value = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
    let realm = value("realm").and_then(Url::parse).ok_or_else(unknown)?;
    if response.url.https && !realm.https {
        return Err(Error::Realm { host: response.url.authority.clone(), realm: realm.to_string() });
    }
    Ok(Challenge::Bearer { realm, service: value("service").unwrap_or_default().to_owned() })
}

type Parameters = Vec<(String, String)>;

/// The challenges of a `WWW-Authenticate`. [RFC 9110, 11.6.1] What is not understood ends the reading.
fn parse(header: &str) -> Vec<(String, Parameters)> {
    let mut all: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(rest.len());
        if end == 0 {
            return all;
        }
        let (word, after) = rest.split_at(end);
        rest = after;
        let Some(value) = after.trim_start().strip_prefix('=') else {
            all.push((word.to_owned(), Vec::new()));
            continue;
        };
        let (value, after) = value_of(value.trim_start());
        rest = after;
        let Some((_, parameters)) = all.last_mut() else { return all };
        parameters.push((word.to_owned(), value));
    }
}

/// A token or a quoted string, and what is after it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            plain => value.push(plain),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "Bearer[realm=https://auth.docker.io/token service=registry.docker.io scope=repository:a/b:pull,push]",
            ),
            (r#"Basic realm="Registry Realm""#, "Basic[realm=Registry Realm]"),
            (
                r#"Negotiate, Basic realm="a\"b", Bearer realm=x ,service = y"#,
                "Negotiate[] Basic[realm=a\"b] Bearer[realm=x service=y]",
            ),
            ("Basic", "Basic[]"),
            ("", ""),
            ("realm=x", ""),
            (r#"Bearer realm="no end"#, "Bearer[realm=no end]"),
            ("Bearer \"", "Bearer[]"),
            ("Bearer realm=\"\\", "Bearer[realm=]"),
        ] {
            let one = |(scheme, parameters): &(String, Parameters)| {
                let pairs = parameters.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
                format!("{scheme}[{pairs}]")
            };
            assert_eq!(parse(header).iter().map(one).collect::<Vec<_>>().join(" "), expected, "{header}");
        }
    }
}

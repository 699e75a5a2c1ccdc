//! Registries, and what is read from them: manifests, tags, blobs.
//!
//! A [`Remote`] is one repository, wherever it may be had: its mirrors in their order, then the registry itself. Who
//! answered once is asked first from then on. It is shared by all threads that pull: connections and tokens are its.

use crate::client::{Client, Patience, Payload, Response, Shared};
use crate::config::Config;
use crate::digest::Digest;
use crate::endpoint::{Ask, At, Endpoint, Host};
use crate::environment::Environment;
use crate::error::{Error, plain};
use crate::manifest::{Descriptor, ImageIndex, MANIFEST_MAX, Manifest, media};
use crate::reference::Reference;
use crate::url::Url;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use ureq::http::Method;

/// The most tags that are listed.
const TAGS_MAX: usize = 100_000;

/// What is meant to be done with a repository: a registry gives a token for that and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read; from mirrors, too.
    Pull,
    /// To read and to write.
    Push,
    /// To delete.
    Delete,
}

/// All registries, as this machine and this user know them.
pub struct Registries {
    pub(crate) client: Shared,
    hosts: Mutex<HashMap<(String, bool), Arc<Host>>>,
}

/// One repository.
#[derive(Clone)]
pub struct Remote {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    reference: Reference,
    /// The last one is the registry itself.
    pub(crate) endpoints: Vec<Endpoint>,
    preferred: AtomicUsize,
}

/// A manifest as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes that the digest is of.
    pub bytes: Vec<u8>,
    /// What the registry says that it is.
    pub media_type: String,
    /// Its digest; checked.
    pub digest: Digest,
}

impl Registries {
    /// Reads what is configured. No connection is made.
    pub fn load(environment: Environment) -> Result<Registries, Error> {
        Registries::patient(environment, Patience::default())
    }

    /// The same, with other limits.
    pub fn patient(environment: Environment, patience: Patience) -> Result<Registries, Error> {
        let config = Config::load(&environment)?;
        Ok(Registries { client: Arc::new(Client::new(environment, config, patience)), hosts: Mutex::default() })
    }

    /// What words may mean, in the order in which it is to be tried: a name without a registry may be one in several.
    pub fn candidates(&self, text: &str) -> Result<Vec<Reference>, Error> {
        self.client.config.candidates(text)
    }

    /// A repository. No connection is made.
    pub fn open(&self, reference: &Reference, access: Access) -> Result<Remote, Error> {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "delete,pull",
        };
        let places = self.client.config.places(reference, access == Access::Pull)?;
        let endpoint = |place: crate::config::Place| {
            let host = self.host(place.authority(), place.insecure);
            Endpoint::new(&self.client, host, place, actions)
        };
        let endpoints = places.into_iter().map(endpoint).collect();
        Ok(Remote {
            inner: Arc::new(Inner { reference: reference.clone(), endpoints, preferred: AtomicUsize::new(0) }),
        })
    }

    pub(crate) fn host(&self, authority: &str, insecure: bool) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (authority.to_ascii_lowercase(), insecure);
        hosts.entry(key).or_insert_with(|| Arc::new(Host::new(&authority.to_ascii_lowercase(), insecure))).clone()
    }
}

impl Inner {
    /// Asks each place until one has it.
    pub(crate) fn each<T>(&self, one: impl Fn(&Endpoint) -> Result<T, Error>) -> Result<T, Error> {
        let first = self.preferred.load(Ordering::Relaxed);
        let order = [first].into_iter().chain((0..self.endpoints.len()).filter(|i| *i != first));
        let mut errors = Vec::new();
        for i in order {
            match one(&self.endpoints[i]) {
                Ok(found) => {
                    self.preferred.store(i, Ordering::Relaxed);
                    return Ok(found);
                }
                Err(error) => errors.push((i, error)),
            }
        }
        // What the registry itself says is what counts.
        errors.sort_by_key(|(i, _)| *i);
        let origin = errors.pop().map(|(_, error)| error).ok_or_else(|| self.nowhere())?;
        if errors.is_empty() {
            return Err(origin);
        }
        let mirrors = errors.iter().map(|(_, error)| error.to_string()).collect::<Vec<_>>().join("; ");
        Err(Error::Mirrors { origin: Box::new(origin), mirrors })
    }

    fn nowhere(&self) -> Error {
        Error::NotFound { what: self.reference.to_string(), said: "no registry is configured for it".to_owned() }
    }

    /// The registry itself.
    pub(crate) fn origin(&self) -> Result<&Endpoint, Error> {
        self.endpoints.last().ok_or_else(|| self.nowhere())
    }
}

impl Remote {
    /// What it was opened for.
    pub fn reference(&self) -> &Reference {
        &self.inner.reference
    }

    /// The manifest or index under a tag or a digest.
    pub fn manifest(&self, object: &str) -> Result<Fetched, Error> {
        let wanted = self.checked(object)?;
        self.inner.each(|endpoint| {
            let (response, bytes) = endpoint.ask_whole(&manifest_ask(endpoint, Method::GET, object), MANIFEST_MAX)?;
            fetched(&response, bytes, endpoint, object, wanted.as_ref())
        })
    }

    /// What is under a tag or a digest, without its content; `None` when nothing is.
    pub fn resolve(&self, object: &str) -> Result<Option<Descriptor>, Error> {
        self.checked(object)?;
        let found = self.inner.each(|endpoint| {
            let response = endpoint.ask(&manifest_ask(endpoint, Method::HEAD, object))?;
            Ok((content_digest(&response), media_type(&response), content_length(&response)))
        });
        match found {
            Ok((Some(digest), media_type, Some(size))) => Ok(Some(Descriptor::new(&media_type, digest, size))),
            // A registry may leave out of an answer to HEAD what we need to know.
            Ok(_) => match self.manifest(object) {
                Ok(it) => Ok(Some(Descriptor::new(&it.media_type, it.digest, it.bytes.len() as u64))),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            },
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All tags of the repository, in the registry's order.
    pub fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let endpoint = self.inner.origin()?;
        let path = format!("{}/tags/list", endpoint.repository);
        let mut tags = Vec::new();
        let mut next: Option<Url> = None;
        loop {
            let at = next.take().map_or_else(|| At::Path(path.clone()), At::Url);
            let ask = Ask::get(at, format!("the list of tags of {}", endpoint.name()));
            let (response, bytes) = endpoint.ask_whole(&ask, MANIFEST_MAX)?;
            let following = next_page(&response);
            let page: Page = serde_json::from_slice(&bytes).map_err(|_| not_json(&bytes, &response.url))?;
            let page = page.tags.unwrap_or_default();
            // An empty page that leads on would lead on for ever.
            let more = !page.is_empty() && tags.len() < TAGS_MAX;
            tags.extend(page);
            match following {
                Some(url) if more => next = Some(url),
                _ => return Ok(tags),
            }
        }
    }

    /// What speaks of a manifest: signatures, lists of parts. [OCI distribution-spec 1.1, with its fallback]
    pub fn referrers(&self, digest: &Digest) -> Result<ImageIndex, Error> {
        let endpoint = self.inner.origin()?;
        let path = format!("{}/referrers/{digest}", endpoint.repository);
        let what = format!("the list of referrers of {}@{digest}", endpoint.name());
        let found = match endpoint.ask_whole(&Ask::get(At::Path(path.clone()), what), MANIFEST_MAX) {
            Ok((_, bytes)) => Ok(bytes),
            Err(error) if error.is_not_found() => {
                self.manifest(&format!("{}-{}", digest.algorithm(), digest.hex())).map(|it| it.bytes)
            }
            Err(error) => Err(error),
        };
        let bytes = match found {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => br#"{"schemaVersion":2,"manifests":[]}"#.to_vec(),
            Err(error) => return Err(error),
        };
        let nonsense = |why: String| Error::Nonsense { url: format!("{}/{path}", endpoint.registry), why };
        match Manifest::parse(&bytes, media::OCI_INDEX) {
            Ok(Manifest::Index(index)) => Ok(index),
            Ok(Manifest::Image(_)) => Err(nonsense("an image in place of an index".to_owned())),
            Err(error) => Err(nonsense(error.to_string())),
        }
    }

    /// The digest that `object` is, if it is none but a tag; an error if it is neither.
    pub(crate) fn checked(&self, object: &str) -> Result<Option<Digest>, Error> {
        if object.contains(':') {
            return Ok(Some(Digest::parse(object).map_err(crate::reference::BadReference::from)?));
        }
        self.inner.reference.with_tag(object)?;
        Ok(None)
    }
}

impl Ask<'_> {
    pub(crate) fn get(at: At, what: String) -> Ask<'static> {
        Ask { method: Method::GET, at, headers: Vec::new(), payload: Payload::None, more_scope: String::new(), what }
    }
}

pub(crate) fn manifest_ask(endpoint: &Endpoint, method: Method, object: &str) -> Ask<'static> {
    let path = format!("{}/manifests/{object}", endpoint.repository);
    let separator = if object.contains(':') { '@' } else { ':' };
    let what = format!("{}{separator}{object}", endpoint.name());
    Ask { method, headers: vec![("accept", media::MANIFESTS.join(", "))], ..Ask::get(At::Path(path), what) }
}

fn fetched(
    response: &Response,
    bytes: Vec<u8>,
    endpoint: &Endpoint,
    object: &str,
    wanted: Option<&Digest>,
) -> Result<Fetched, Error> {
    let what = format!("the manifest {object} of {}", endpoint.name());
    let (media_type, said) = (media_type(response), content_digest(response));
    if !matches!(bytes.trim_ascii_start().first(), Some(b'{')) {
        return Err(not_json(&bytes, &response.url));
    }
    // What was asked for by its digest must be it, whatever the header says; else the header must be right.
    let expected = wanted.cloned().or(said).unwrap_or_else(|| Digest::of(&bytes));
    let mut hasher = expected.hasher();
    hasher.update(&bytes);
    let got = hasher.finish();
    if got != expected {
        Err(Error::WrongDigest { what, expected, got })
    } else {
        Ok(Fetched { bytes, media_type, digest: got })
    }
}

pub(crate) fn content_digest(response: &Response) -> Option<Digest> {
    Digest::parse(response.header("docker-content-digest")?).ok()
}

fn media_type(response: &Response) -> String {
    response.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned()
}

fn content_length(response: &Response) -> Option<u64> {
    response.header("content-length")?.parse().ok()
}

/// `Link: </v2/a/tags/list?last=x>; rel="next"`; to the same host only.
fn next_page(response: &Response) -> Option<Url> {
    let (target, parameters) = response.header("link")?.trim().strip_prefix('<')?.split_once('>')?;
    let url = response.url.join(target)?;
    (parameters.contains("next") && url.same_origin(&response.url)).then_some(url)
}

fn not_json(bytes: &[u8], url: &Url) -> Error {
    let begins = plain(&String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    Error::NotJson { url: url.to_string(), begins: format!("{begins:?}") }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").field("config", &self.client.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.inner.reference)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetched({} {}, {} bytes)", self.media_type, self.digest, self.bytes.len())
    }
}

//! What is written to a registry: blobs, manifests. [OCI distribution-spec, push]
//!
//! A blob goes up in one piece: `POST` opens an upload, the registry says where it is, `PUT` brings the bytes and the
//! digest. An upload that fails is begun anew, from a reader that can be had again. Nothing goes to a mirror.

use crate::client::{Payload, Response};
use crate::digest::Digest;
use crate::endpoint::{Ask, At, Endpoint};
use crate::error::Error;
use crate::manifest::Descriptor;
use crate::reference::{BadReference, Reference};
use crate::remote::{Remote, content_digest, manifest_ask};
use crate::url::escape;
use std::io::{self, Read};
use ureq::http::Method;

impl Remote {
    /// True when the repository has the blob.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let endpoint = self.inner.origin()?;
        let at = At::Path(format!("{}/blobs/{digest}", endpoint.repository));
        let ask = Ask { method: Method::HEAD, ..Ask::get(at, format!("the blob {digest} of {}", endpoint.name())) };
        match endpoint.ask(&ask) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the registry to take a blob over from another of its repositories (`library/alpine`). False when it does
    /// not: then it is to be pushed.
    pub fn mount_blob(&self, digest: &Digest, from_repository: &str) -> Result<bool, Error> {
        let endpoint = self.inner.origin()?;
        // It goes into a query and into a scope, where a space would begin another one.
        let name = format!("{}/{from_repository}", self.reference().registry());
        let from = Reference::parse(&name)?;
        if from.repository() != from_repository || from.tag() != Some("latest") || from.digest().is_some() {
            return Err(BadReference::Format(name).into());
        }
        let query = format!("?mount={digest}&from={}", escape(from_repository));
        let response = endpoint.ask(&endpoint.upload(&query, &format!("repository:{from_repository}:pull")))?;
        if response.status == 201 {
            return Ok(true);
        }
        // It opened an upload in place of it; one that is left is the registry's to sweep.
        if let Ok(url) = response.location() {
            let what = format!("an upload to {}", endpoint.name());
            let _ = endpoint.once(&Ask { method: Method::DELETE, ..Ask::get(At::Url(url), what) });
        }
        Ok(false)
    }

    /// Sends a blob. `open` gives its bytes from the start, each time that it is called.
    pub fn push_blob(
        &self,
        descriptor: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    ) -> Result<(), Error> {
        let endpoint = self.inner.origin()?;
        let what = format!("the blob {} for {}", descriptor.digest, endpoint.name());
        let response = endpoint.client.patiently(|| {
            let started = endpoint.once(&endpoint.upload("", ""))?;
            if started.status != 202 {
                return Ok(started);
            }
            let url = started.location()?;
            if started.url.https && !url.https {
                return Err(Error::Downgrade { from: started.url.to_string(), to: url.to_string() });
            }
            let at = At::Url(url.with_query("digest", descriptor.digest.as_str()));
            let headers = vec![("content-type", "application/octet-stream".to_owned())];
            let payload = Payload::Stream(descriptor.size, open);
            endpoint.once(&Ask { method: Method::PUT, headers, payload, ..Ask::get(at, what.clone()) })
        })?;
        let response = endpoint.good(response, &what)?;
        created(&response, &descriptor.digest, &what)
    }

    /// Sends a manifest or an index, under a tag or under its digest.
    pub fn push_manifest(&self, object: &str, media_type: &str, bytes: &[u8]) -> Result<Digest, Error> {
        let wanted = self.checked(object)?;
        let digest = wanted.clone().unwrap_or_else(|| Digest::of(bytes));
        let what = format!("the manifest {object} for {}", self.reference().name());
        if !digest.is_of(bytes) {
            return Err(Error::WrongDigest { what, expected: digest, got: Digest::of(bytes) });
        }
        let endpoint = self.inner.origin()?;
        let headers = vec![("content-type", media_type.to_owned())];
        let ask = manifest_ask(endpoint, Method::PUT, object);
        let response = endpoint.ask(&Ask { headers, payload: Payload::Bytes(bytes), ..ask })?;
        created(&response, &digest, &what)?;
        Ok(digest)
    }

    /// Takes a manifest out of the repository, and with it all its tags.
    pub fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        let endpoint = self.inner.origin()?;
        endpoint.ask(&manifest_ask(endpoint, Method::DELETE, digest.as_str()))?;
        Ok(())
    }
}

impl Endpoint {
    /// The opening of an upload.
    fn upload(&self, query: &str, more_scope: &str) -> Ask<'static> {
        let at = At::Path(format!("{}/blobs/uploads/{query}", self.repository));
        let ask = Ask::get(at, format!("an upload to {}", self.name()));
        Ask { method: Method::POST, payload: Payload::Bytes(&[]), more_scope: more_scope.to_owned(), ..ask }
    }
}

/// The registry has it, under the name that it has here.
fn created(response: &Response, digest: &Digest, what: &str) -> Result<(), Error> {
    if !matches!(response.status, 200 | 201) {
        let why = format!("status {} in place of 201", response.status);
        return Err(Error::Nonsense { url: response.url.to_string(), why });
    }
    match content_digest(response) {
        // Of another algorithm it may well have another one.
        Some(got) if got != *digest && got.algorithm() == digest.algorithm() => {
            Err(Error::WrongDigest { what: what.to_owned(), expected: digest.clone(), got })
        }
        _ => Ok(()),
    }
}

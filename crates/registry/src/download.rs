//! A file by its URL, from a server that is no registry.
//!
//! With the proxies, the authorities and the patience that registries have, and as little trust: redirects are followed,
//! though not out of https; no login goes anywhere. What breaks before the first byte was given is tried again, and what
//! breaks later is told: nobody says that a second answer has the same bytes.

use crate::client::{Request, Response, Shared};
use crate::error::Error;
use crate::remote::Registries;
use crate::url::Url;
use std::fmt;
use std::io::{self, Read};

/// The bytes of a file, as they come.
pub struct Download {
    client: Shared,
    from: Url,
    body: ureq::BodyReader<'static>,
    has_given: bool,
    failures: u32,
}

impl Registries {
    /// Begins to fetch `http://...` or `https://...`.
    ///
    /// # Errors
    /// That it is no such URL, that nobody answers, or that the answer is not the file.
    pub fn download(&self, url: &str) -> Result<Download, Error> {
        let from = Url::parse(url.trim()).ok_or(Error::Url)?;
        let body = open(&self.client, &from)?.body.into_reader();
        Ok(Download { client: self.client.clone(), from, body, has_given: false, failures: 0 })
    }
}

impl Download {
    /// Where it comes from, without the query, which may hold a signature.
    pub fn shown(&self) -> String {
        self.from.to_string()
    }
}

fn open(client: &Shared, from: &Url) -> Result<Response, Error> {
    let request = Request { unverified: client.config.is_insecure(&from.authority), ..Request::get(from.clone()) };
    let response = client.patiently(|| client.send(&request))?;
    if response.status == 200 {
        return Ok(response);
    }
    let (url, status) = (response.url.to_string(), response.status);
    Err(Error::Status { what: from.to_string(), url, status, said: response.said() })
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let error = match self.body.read(buffer) {
                Ok(length) => {
                    self.has_given |= length > 0;
                    return Ok(length);
                }
                Err(error) => Error::of_http(ureq::Error::from(error), &self.from, String::new),
            };
            self.failures += 1;
            if self.has_given || !error.is_passing() || self.failures >= self.client.patience.attempts {
                return Err(io::Error::other(error));
            }
            std::thread::sleep(self.client.backoff(self.failures));
            self.body = open(&self.client, &self.from).map_err(io::Error::other)?.body.into_reader();
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Download({})", self.from)
    }
}

//! A blob as a stream that mends itself.
//!
//! When a connection drops or stalls, the reader asks for what is missing (`Range: bytes=N-`) and goes on where it was;
//! a server that does not know ranges sends all of it again, and what was there is passed over. It gives up when it
//! failed [`Patience::attempts`](crate::Patience) times with less than a mebibyte between. It never gives more bytes
//! than the descriptor says. The digest is for the caller to check, who reads every byte anyway.

use crate::client::{Request, Response};
use crate::endpoint::{Ask, At, Endpoint};
use crate::error::Error;
use crate::manifest::Descriptor;
use crate::remote::{Inner, Remote};
use crate::url::Url;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// So much between two failures counts as a connection that works.
const PROGRESS: u64 = 1 << 20;

/// The bytes of a blob, from some offset to its end.
pub struct BlobReader {
    inner: Arc<Inner>,
    descriptor: Descriptor,
    position: u64,
    body: Option<ureq::BodyReader<'static>>,
    /// Where the last connection began.
    began: u64,
    failures: u32,
    /// The server does not do ranges as it should.
    whole: bool,
}

impl Remote {
    /// A blob from `offset` on. The first connection is made here, so that what is not there is an error here.
    pub fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobReader, Error> {
        let mut reader = BlobReader {
            inner: self.inner.clone(),
            descriptor: descriptor.clone(),
            position: offset.min(descriptor.size),
            body: None,
            began: offset,
            failures: 0,
            whole: false,
        };
        while let Err(error) = reader.open() {
            reader.failed(error)?;
        }
        Ok(reader)
    }
}

impl BlobReader {
    /// How many bytes of the blob were read, those before the offset included.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn open(&mut self) -> Result<(), Error> {
        if self.position > 0 && self.position == self.descriptor.size {
            return Ok(());
        }
        let range = if self.whole { 0 } else { self.position };
        let response = match self.inner.each(|endpoint| endpoint.blob(&self.descriptor, range)) {
            Err(error) if error.is_not_found() => self.foreign(range, error)?,
            other => other?,
        };
        let start = self.start_of(&response)?;
        let url = response.url.clone();
        let mut body = response.body.into_reader();
        skip(&mut body, self.position - start).map_err(|error| broken(error, &url))?;
        self.body = Some(body);
        self.began = self.position;
        Ok(())
    }

    /// A layer that may not be given away is not in the registry, but where its descriptor says. No login goes there.
    fn foreign(&self, range: u64, error: Error) -> Result<Response, Error> {
        let Ok(endpoint) = self.inner.origin() else { return Err(error) };
        for url in self.descriptor.urls.iter().filter_map(|url| Url::parse(url)).filter(|url| url.https) {
            let request = Request { headers: range_header(range), ..Request::get(url) };
            let response = endpoint.client.patiently(|| endpoint.client.send(&request));
            if let Ok(response) = response
                && matches!(response.status, 200 | 206)
            {
                return Ok(response);
            }
        }
        Err(error)
    }

    /// At which byte an answer begins; an error when it says that the blob is another one.
    fn start_of(&self, response: &Response) -> Result<u64, Error> {
        let size = self.descriptor.size;
        let nonsense = |why: String| Error::Nonsense { url: response.url.to_string(), why };
        let wrong = |total: u64| Error::Size {
            digest: self.descriptor.digest.clone(),
            size,
            why: format!("the registry has {total}"),
        };
        let length = response.body.content_length();
        if response.status != 206 {
            return match length {
                Some(length) if length != size => Err(wrong(length)),
                _ => Ok(0),
            };
        }
        let header = response.header("content-range").unwrap_or_default();
        let bad = || nonsense(format!("a part with the Content-Range {header:?} for bytes from {} on", self.position));
        let (start, end, total) = content_range(header).ok_or_else(bad)?;
        if let Some(total) = total.filter(|total| *total != size) {
            return Err(wrong(total));
        }
        let whole = start == self.position && end + 1 == size && length.is_none_or(|length| length == size - start);
        if whole { Ok(start) } else { Err(bad()) }
    }

    /// After a failure: waits, if another try makes sense.
    fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.body = None;
        // A server that is wrong about ranges may be right about the whole.
        let ranges = matches!(error, Error::Nonsense { .. } | Error::Status { status: 416, .. });
        if ranges && !self.whole && self.position > 0 {
            self.whole = true;
            return Ok(());
        }
        if self.position - self.began >= PROGRESS {
            self.failures = 0;
        }
        self.began = self.position;
        self.failures += 1;
        let Ok(endpoint) = self.inner.origin() else { return Err(error) };
        if !error.is_passing() || self.failures >= endpoint.client.patience.attempts {
            return Err(error);
        }
        std::thread::sleep(endpoint.client.backoff(self.failures));
        Ok(())
    }

    /// At the end: there must be no more.
    fn finish(&mut self) -> io::Result<usize> {
        // One that breaks here has given all it had to give.
        match self.body.take().map(|mut body| body.read(&mut [0])) {
            Some(Ok(more)) if more > 0 => {
                let (digest, size) = (self.descriptor.digest.clone(), self.descriptor.size);
                Err(io::Error::other(Error::Size { digest, size, why: "the registry sends more".to_owned() }))
            }
            _ => Ok(0),
        }
    }

    fn host(&self) -> String {
        self.inner.origin().map(|endpoint| endpoint.host.authority.clone()).unwrap_or_default()
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let left = self.descriptor.size - self.position;
            if left == 0 {
                return self.finish();
            }
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let error = match &mut self.body {
                None => match self.open() {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Some(body) => match body.read(&mut buffer[..wanted]) {
                    Ok(0) => Error::Broken { host: self.host(), why: format!("it ended {left} bytes early") },
                    Ok(got) => {
                        self.position += got as u64;
                        return Ok(got);
                    }
                    Err(error) => broken(error, &Url::new(true, &self.host(), "/")),
                },
            };
            self.failed(error).map_err(io::Error::other)?;
        }
    }
}

impl Endpoint {
    fn blob(&self, descriptor: &Descriptor, range: u64) -> Result<Response, Error> {
        let path = format!("{}/blobs/{}", self.repository, descriptor.digest);
        let what = format!("the blob {} of {}", descriptor.digest, self.name());
        self.ask(&Ask { headers: range_header(range), ..Ask::get(At::Path(path), what) })
    }
}

fn range_header(start: u64) -> Vec<(&'static str, String)> {
    if start == 0 { Vec::new() } else { vec![("range", format!("bytes={start}-"))] }
}

/// `bytes 5-9/10` or `bytes 5-9/*`.
fn content_range(header: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let (start, end) = (start.trim().parse().ok()?, end.parse().ok()?);
    (end >= start && end < u64::MAX).then_some((start, end, total))
}

fn skip(body: &mut impl Read, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut body.take(count), &mut io::sink())?;
    if skipped < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn broken(error: io::Error, url: &Url) -> Error {
    Error::of_http(ureq::Error::from(error), url, String::new)
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobReader({} at {} of {})", self.descriptor.digest, self.position, self.descriptor.size)
    }
}

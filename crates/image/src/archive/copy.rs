//! An image from one place to another: what `push`, `save` and `image copy` share. (`load` and `pull` bring one into the
//! store, which makes trees of its layers meanwhile: `receive`.)
//!
//! From below: the blobs of a manifest, several at a time, then the manifest, then the index over it, the top last; so a
//! copy that ends early has named nothing. Manifests are held against their digests here, blobs by the sink, which has
//! them in its hands. What the sink has is not sent. Types and bytes stay as they are, and so do all digests.

use crate::error::Error;
use crate::progress::{Events, State};
use crate::receive::{DEPTH_MAX, check};
use crate::transfer::{Content, Raw, Sink, Source};
use registry::{Descriptor, Digest, INDEX_MAX, Manifest, Platform, media};
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many blobs are copied at once.
const AT_ONCE: usize = 4;
/// How often it is told how far they are.
const TELL: Duration = Duration::from_millis(100);

/// Which images of an index are copied.
#[derive(Clone, Debug)]
pub enum Platforms {
    /// All, and the index.
    All,
    /// The one that serves this platform best; its manifest becomes the top. What is no index is copied as it is.
    One(Platform),
}

/// Copies an image; the descriptor of its top at the sink. `events` is told of every blob, configurations too.
///
/// # Errors
/// [`Error::OnePlatform`] when it is one image of an index that cannot be copied; else what source or sink say.
pub fn copy(
    source: &dyn Source,
    sink: &dyn Sink,
    platforms: &Platforms,
    events: &dyn Events,
) -> Result<Descriptor, Error> {
    let mut work = Work { source, sink, events, seen: HashSet::new(), blobs: 0, manifests: 0 };
    let top = source.top()?;
    let descriptor = Descriptor::of(&top.media_type, &top.bytes);
    let (descriptor, top, manifest) = match platforms {
        Platforms::All => work.parse(descriptor, top)?,
        Platforms::One(platform) => work.choose(descriptor, top, platform)?,
    };
    work.beneath(&manifest, 0)?;
    sink.put_top(&top)?;
    Ok(descriptor)
}

struct Work<'a> {
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    events: &'a dyn Events,
    /// Blobs and manifests that are at the sink.
    seen: HashSet<Digest>,
    blobs: usize,
    manifests: usize,
}

impl Work<'_> {
    /// Reads a manifest, and says of what type it is when nobody said so yet.
    fn parse(&self, mut descriptor: Descriptor, mut raw: Raw) -> Result<(Descriptor, Raw, Manifest), Error> {
        let parsed = Manifest::parse(&raw.bytes, &raw.media_type);
        let failed =
            |source| Error::Manifest { what: format!("{} of {}", descriptor.digest, self.source.shown()), source };
        let manifest = parsed.map_err(failed)?;
        let (own, default) = match &manifest {
            Manifest::Image(image) => (&image.media_type, media::OCI_MANIFEST),
            Manifest::Index(index) => (&index.media_type, media::OCI_INDEX),
        };
        if !media::MANIFESTS.contains(&raw.media_type.as_str()) {
            raw.media_type = own.clone().unwrap_or_else(|| default.to_owned());
        }
        descriptor.media_type.clone_from(&raw.media_type);
        Ok((descriptor, raw, manifest))
    }

    /// The manifest for a platform, through as many indexes as it takes.
    fn choose(
        &self,
        mut descriptor: Descriptor,
        mut raw: Raw,
        platform: &Platform,
    ) -> Result<(Descriptor, Raw, Manifest), Error> {
        for _ in 0..=DEPTH_MAX {
            let parsed = self.parse(descriptor, raw)?;
            let Manifest::Index(index) = &parsed.2 else { return Ok(parsed) };
            let chosen = index.choose(platform).cloned();
            descriptor = chosen.ok_or_else(|| Error::no_platform(self.source.shown(), platform, index))?;
            raw = self.manifest(&descriptor)?;
        }
        Err(Error::Nested { what: self.source.shown() })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Raw, Error> {
        let raw = self.source.manifest(descriptor)?;
        check(descriptor, &raw.bytes, &self.source.shown())?;
        let media_type = if raw.media_type.is_empty() { descriptor.media_type.clone() } else { raw.media_type };
        Ok(Raw { media_type, ..raw })
    }

    /// Copies all that a manifest names.
    fn beneath(&mut self, manifest: &Manifest, depth: usize) -> Result<(), Error> {
        let index = match manifest {
            Manifest::Image(image) => {
                let blobs = std::iter::once(&image.config).chain(&image.layers);
                return self.copy_blobs(blobs);
            }
            Manifest::Index(_) if depth >= DEPTH_MAX => return Err(Error::Nested { what: self.source.shown() }),
            Manifest::Index(index) => index,
        };
        for entry in &index.manifests {
            if self.seen.contains(&entry.digest) {
                continue;
            }
            self.manifests += 1;
            if self.manifests > INDEX_MAX {
                return Err(Error::Nested { what: self.source.shown() });
            }
            let one = |source: Error| Error::OnePlatform {
                platform: entry.platform.as_ref().map_or_else(|| "no platform".to_owned(), ToString::to_string),
                digest: entry.digest.clone(),
                source: Box::new(source),
            };
            self.one(entry, depth).map_err(one)?;
        }
        Ok(())
    }

    /// Copies what an entry of an index names, and all beneath.
    fn one(&mut self, entry: &Descriptor, depth: usize) -> Result<(), Error> {
        // An index may name things that are no manifests.
        if !entry.media_type.is_empty() && !media::MANIFESTS.contains(&entry.media_type.as_str()) {
            return self.copy_blobs(std::iter::once(entry));
        }
        let raw = self.manifest(entry)?;
        let (descriptor, raw, manifest) = self.parse(entry.clone(), raw)?;
        self.beneath(&manifest, depth + 1)?;
        self.sink.put_manifest(&descriptor, &raw)?;
        self.seen.insert(descriptor.digest);
        Ok(())
    }

    fn copy_blobs<'b>(&mut self, blobs: impl Iterator<Item = &'b Descriptor>) -> Result<(), Error> {
        let first = self.blobs;
        let wanted: Vec<&Descriptor> = blobs.filter(|blob| self.seen.insert(blob.digest.clone())).collect();
        for (number, blob) in wanted.iter().enumerate() {
            self.events.layer_found(first + number, blob.digest.as_str(), blob.size);
        }
        self.blobs += wanted.len();
        let copying = Copying {
            source: self.source,
            sink: self.sink,
            wanted: &wanted,
            next: AtomicUsize::new(0),
            stop: Arc::new(AtomicBool::new(false)),
            failure: Mutex::new(None),
        };
        let at_once = if self.sink.one_at_a_time() { 1 } else { AT_ONCE };
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            for _ in 0..at_once.min(wanted.len()) {
                let tell = tell.clone();
                scope.spawn(|| copying.work(tell));
            }
            drop(tell);
            // Events are told from here: the content that sinks are given may outlive who is told.
            let mut moving: HashMap<usize, Arc<AtomicU64>> = HashMap::new();
            loop {
                match told.recv_timeout(TELL) {
                    Ok(News::Began(number, bytes)) => {
                        self.events.layer_state(first + number, State::Moving);
                        moving.insert(number, bytes);
                    }
                    Ok(News::Ended(number, state)) => {
                        if let Some(bytes) = moving.remove(&number) {
                            self.events.layer_progress(first + number, bytes.load(Ordering::Relaxed));
                        }
                        self.events.layer_state(first + number, state);
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        for (number, bytes) in &moving {
                            self.events.layer_progress(first + number, bytes.load(Ordering::Relaxed));
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        copying.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// What a worker tells: of which blob, and how far it is, or how it ended.
enum News {
    Began(usize, Arc<AtomicU64>),
    Ended(usize, State),
}

/// Blobs that are being copied; the first failure stops all.
struct Copying<'a> {
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    wanted: &'a [&'a Descriptor],
    next: AtomicUsize,
    stop: Arc<AtomicBool>,
    failure: Mutex<Option<Error>>,
}

impl Copying<'_> {
    fn work(&self, tell: Sender<News>) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(blob) = self.wanted.get(number) else { return };
            match self.blob(number, blob, &tell) {
                // Nobody listens when the copy has ended; it has not.
                Ok(state) => drop(tell.send(News::Ended(number, state))),
                Err(error) => {
                    // What another failure stopped is not worth telling.
                    self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn blob(&self, number: usize, blob: &Descriptor, tell: &Sender<News>) -> Result<State, Error> {
        if self.sink.has_blob(blob)? {
            return Ok(State::Present);
        }
        let bytes = Arc::new(AtomicU64::new(0));
        let _ = tell.send(News::Began(number, Arc::clone(&bytes)));
        let open = || -> Result<Content, Error> {
            let content = self.source.blob(blob, 0)?;
            bytes.store(0, Ordering::Relaxed);
            Ok(Box::new(Counted { content, bytes: Arc::clone(&bytes), stop: Arc::clone(&self.stop) }))
        };
        self.sink.put_blob(blob, &open).map(|()| State::Done)
    }
}

/// Content that is counted, and ends when another blob failed.
struct Counted {
    content: Content,
    bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("it was interrupted"));
        }
        let length = self.content.read(to)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

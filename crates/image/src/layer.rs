//! A layer comes in: its bytes become a blob of the store, and while they stream in, a tree that can be mounted.
//!
//! Three threads, each as fast as the slowest of them, with a few buffers between each two ([`crate::pipe`]):
//!
//! 1. reads from the source, writes to `partial/`, makes the blob's digest;
//! 2. decompresses;
//! 3. makes the diff id, reads the tar, writes the layer's EROFS image (or a directory, where the kernel has no EROFS).
//!
//! Nothing has its final name before both digests are right. What was fetched of a blob stays in `partial/` when the
//! source fails: the next fetch reads it from there and goes on where it ends. When what came is wrong it goes at once. A
//! blob that was damaged since is noticed when a tree is made of it, and fetched anew.

use crate::draft::Draft;
use crate::error::{Error, Fault};
use crate::input::{Decompressed, decompressed, read_buffered};
use crate::layout::{Images, blob_name};
use crate::partial::Partial;
use crate::pipe::{PipeReader, PipeWriter, Stopped, pipe};
use crate::progress::{Events, State};
use crate::transfer::Source;
use crate::write_behind::WriteBehind;
use crate::{erofs, unpack_layer};
use registry::{Descriptor, Digest, Hasher};
use rustix::fd::AsFd;
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How layers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One EROFS image each.
    Erofs,
    /// One directory each.
    Directory,
}

/// One layer that is wanted.
pub(crate) struct Wanted<'a> {
    /// Its place among the layers, the lowest being 0.
    pub(crate) index: usize,
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) diff_id: &'a Digest,
}

/// What all layers of one fetch share.
pub(crate) struct Fetch<'a> {
    pub(crate) images: &'a Images,
    pub(crate) source: &'a dyn Source,
    pub(crate) form: Form,
    pub(crate) events: &'a dyn Events,
    /// One of the layers failed: the others need not go on.
    pub(crate) stop: AtomicBool,
}

/// Why a step ended early.
enum Ended {
    Failed(Error),
    /// Because another one did; that one says why.
    Stopped,
}

impl<E: Into<Error>> From<E> for Ended {
    fn from(error: E) -> Ended {
        Ended::Failed(error.into())
    }
}

/// Where a layer is in the store.
pub(crate) fn layer_name(diff_id: &Digest, form: Form) -> String {
    match form {
        Form::Erofs => format!("layers/{}.erofs", diff_id.hex()),
        Form::Directory => format!("layers/{}", diff_id.hex()),
    }
}

impl<'a> Fetch<'a> {
    /// Sees to it that a layer is in the store, blob and tree.
    pub(crate) fn layer(&self, wanted: &Wanted<'_>) -> Result<(), Error> {
        let has_tree = self.images.has_tree(wanted.diff_id, self.form);
        let mut is_damaged = false;
        if self.images.has_blob(wanted.descriptor) {
            if !(has_tree && self.images.is_known_to_be(&wanted.descriptor.digest, wanted.diff_id)) {
                self.events.layer_state(wanted.index, State::Moving);
                match self.convert(wanted, has_tree) {
                    Err(error) if error.is_of_the_content() && self.images.is_damaged(wanted.descriptor)? => {
                        is_damaged = true;
                    }
                    done => done?,
                }
            }
            if !is_damaged {
                self.events.layer_state(wanted.index, State::Present);
                return Ok(());
            }
        }
        self.events.layer_state(wanted.index, State::Moving);
        let partial = match Partial::open(self.images, wanted.descriptor, is_damaged)? {
            Some(partial) => partial,
            // Another command was fetching it, and is done.
            None => return self.layer(wanted),
        };
        match self.complete(wanted, partial, has_tree) {
            // There is nobody to fetch it from.
            Err(Error::BlobMissing { digest }) if is_damaged => {
                return Err(Error::Damaged { path: self.images.path.join(blob_name(&digest)) });
            }
            done => done?,
        }
        self.events.layer_state(wanted.index, State::Done);
        Ok(())
    }

    /// Fetches what is missing of a blob. When what an earlier fetch left is not its beginning (the machine may have
    /// lost its power meanwhile) it is fetched from the start.
    fn complete(&self, wanted: &Wanted<'_>, mut partial: Partial<'_>, has_tree: bool) -> Result<(), Error> {
        loop {
            match self.run(wanted, Some(&partial), has_tree) {
                Ok(()) => return partial.keep(wanted.diff_id),
                Err(error) if error.is_of_the_content() && partial.have > 0 => partial.begin_again()?,
                Err(error) => {
                    if !error.is_of_the_source() || partial.is_empty() {
                        partial.remove();
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Makes the tree of a layer whose blob is there.
    fn convert(&self, wanted: &Wanted<'_>, has_tree: bool) -> Result<(), Error> {
        self.run(wanted, None, has_tree)?;
        let blob = self.images.open_blob(&wanted.descriptor.digest)?;
        known_to_be(&blob, wanted.diff_id);
        Ok(())
    }

    /// A layer's EROFS image once more, of its blob: to be held against the one that there is.
    pub(crate) fn remade(&self, wanted: &Wanted<'_>) -> Result<Draft<'a>, Error> {
        self.made(wanted, None, false)?.ok_or(Error::Interrupted)
    }

    fn run(&self, wanted: &Wanted<'_>, partial: Option<&Partial<'_>>, has_tree: bool) -> Result<(), Error> {
        let draft = self.made(wanted, partial, has_tree)?;
        draft.map_or(Ok(()), |draft| draft.keep(&layer_name(wanted.diff_id, self.form)))
    }

    /// The threads. Without a partial blob the blob itself is read. What has a tree by its diff id is uncompressed and
    /// hashed all the same: the tree may be that of another image's layer, of which this image only says that it is its
    /// own.
    fn made(
        &self,
        wanted: &Wanted<'_>,
        partial: Option<&Partial<'_>>,
        has_tree: bool,
    ) -> Result<Option<Draft<'a>>, Error> {
        let (to_decoder, from_fetch) = pipe();
        std::thread::scope(|scope| {
            let fetch = scope.spawn(move || self.fetch(wanted, partial, to_decoder));
            let (to_tree, from_decoder) = pipe();
            let decode = scope.spawn(move || decode(from_fetch, to_tree, &self.images.path));
            let tree = if has_tree { self.hash(wanted, from_decoder) } else { self.tree(wanted, from_decoder) };
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<(), Ended>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            // In the order of the stream: what is wrong early makes what comes later fail, too.
            let (fetched, decoded) = (join(fetch), join(decode));
            match (fetched, decoded, tree) {
                (Err(Ended::Failed(error)), _, _) => Err(error),
                // What the decoder found has been told to the reader of the tar, who knows where it was.
                (_, _, Err(Ended::Failed(error))) => Err(error),
                // Only now is all of it known to be right.
                (Ok(()), Ok(()), Ok(draft)) => Ok(draft),
                _ => Err(Error::Interrupted),
            }
        })
    }

    /// Step 1: the blob's bytes, from what is there of them and then from the source.
    fn fetch(&self, wanted: &Wanted<'_>, partial: Option<&Partial<'_>>, to: PipeWriter) -> Result<(), Ended> {
        let descriptor = wanted.descriptor;
        let (file, have) = match partial {
            Some(partial) => (partial.at_its_start().map_err(|e| partial.failed(e))?, partial.have),
            None => (self.images.open_blob(&descriptor.digest)?, descriptor.size),
        };
        let mut hasher = descriptor.digest.hasher();
        let mut pump = Pump { to, done: 0 };
        let mut old = Read::take(&file, have);
        let blob_failed = |source| Error::Blob { path: self.images.path.join(blob_name(&descriptor.digest)), source };
        loop {
            self.go_on()?;
            let read = pump.piece(|buffer| {
                let length = read_some(&mut old, buffer).map_err(blob_failed)?;
                hasher.update(&buffer[..length]);
                Ok(length)
            })?;
            if read == 0 {
                break;
            }
        }
        let done = pump.done;
        if done < descriptor.size {
            let mut content = self.source.blob(descriptor, done)?;
            let shown = || format!("{} of {}", descriptor.digest, self.source.shown());
            let mut behind = WriteBehind::default();
            loop {
                self.go_on()?;
                self.events.layer_progress(wanted.index, pump.done);
                let before = pump.done;
                let read = pump.piece(|buffer| {
                    let length =
                        read_some(&mut content, buffer).map_err(|source| Error::Content { what: shown(), source })?;
                    if before + length as u64 > descriptor.size {
                        return Err(Error::Length {
                            what: shown(),
                            got: before + length as u64,
                            size: descriptor.size,
                        });
                    }
                    hasher.update(&buffer[..length]);
                    (&file).write_all(&buffer[..length]).map_err(|e| self.images.write_failed("partial", e))?;
                    behind.written(&file, before + length as u64);
                    Ok(length)
                })?;
                if read == 0 {
                    break;
                }
            }
        }
        self.events.layer_progress(wanted.index, pump.done);
        if pump.done != descriptor.size {
            let what = format!("{} of {}", descriptor.digest, self.source.shown());
            return Err(Error::Length { what, got: pump.done, size: descriptor.size }.into());
        }
        let got = hasher.finish();
        if got != descriptor.digest {
            return Err(Error::Mismatch { what: self.source.shown(), wanted: descriptor.digest.clone(), got }.into());
        }
        pump.to.finish().map_err(|Stopped| Ended::Stopped)
    }

    /// That another layer failed is not this one's fault: what came of it so far is kept.
    fn go_on(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Step 3: the tree.
    fn tree(&self, wanted: &Wanted<'_>, from: PipeReader) -> Result<Option<Draft<'a>>, Ended> {
        let mut tar = Hashing::new(wanted, from);
        let draft = match self.form {
            Form::Erofs => Draft::file(self.images)?,
            Form::Directory => Draft::directory(self.images)?,
        };
        let bytes = most_bytes(wanted.descriptor.size)?;
        let made = match self.form {
            Form::Erofs => {
                let limits = erofs::Limits { bytes, ..erofs::Limits::default() };
                erofs::write_layer(&mut tar, &draft.file, &limits).map(drop)
            }
            Form::Directory => unpack_layer(&mut tar, draft.file.as_fd(), bytes),
        };
        made.map_err(|fault| match fault {
            Fault::NoSpace { .. } => Error::NoSpace { store: self.images.path.clone() },
            fault => Error::Layer { digest: wanted.descriptor.digest.clone(), source: Box::new(fault) },
        })?;
        // The tar reader stops nowhere but at the very end.
        tar.finish(wanted)?;
        Ok(Some(draft))
    }

    /// Step 3 where the tree is there: only its digest.
    fn hash(&self, wanted: &Wanted<'_>, from: PipeReader) -> Result<Option<Draft<'a>>, Ended> {
        let (mut tar, limit) = (Hashing::new(wanted, from), most_bytes(wanted.descriptor.size)?);
        let failed = |source| Error::Layer { digest: wanted.descriptor.digest.clone(), source: Box::new(source) };
        let mut done = 0;
        loop {
            let piece = tar.fill_buf().map_err(|error| failed(Fault::read(done, error)))?.len();
            if piece == 0 {
                break;
            }
            tar.consume(piece);
            done += piece as u64;
            if done > limit {
                return Err(failed(Fault::TooBig { entry: "(its tar)".into(), limit }).into());
            }
        }
        tar.finish(wanted)?;
        Ok(None)
    }
}

/// What a layer may become: so that some kilobytes do not fill the disk. Real layers shrink to a tenth or so; a gigabyte
/// is nobody's loss.
fn most_bytes(compressed: u64) -> Result<u64, Error> {
    const FREE: u64 = 1 << 30;
    const RATIO: u64 = 200;
    const NAME: &str = "MYCONTAINER_LAYER_MAX";
    match setting(NAME) {
        None => Ok(FREE.max(compressed.saturating_mul(RATIO))),
        Some(value) => value.parse().map_err(|_| Error::Setting { name: NAME, value, expected: "a number of bytes" }),
    }
}

/// A variable of the environment; an empty one is as good as none.
pub(crate) fn setting(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// The attribute of a blob that says what it was when it was uncompressed.
const DIFF_ID: &str = "user.mycontainer.diff-id";

/// Writes down that a blob is a layer with this diff id, so that nobody has to find it out again. Where a file system has
/// no room for that, it is found out.
pub(crate) fn known_to_be(blob: &File, diff_id: &Digest) {
    let _ = fsetxattr(blob, DIFF_ID, diff_id.as_str().as_bytes(), XattrFlags::empty());
}

impl Images {
    /// True when the blob was once found to be a layer with this diff id.
    fn is_known_to_be(&self, blob: &Digest, diff_id: &Digest) -> bool {
        let mut value = [0; 256];
        let known = self.open_blob(blob).ok().and_then(|blob| fgetxattr(&blob, DIFF_ID, &mut value[..]).ok());
        known.is_some_and(|length| &value[..length] == diff_id.as_str().as_bytes())
    }
}

fn read_some(from: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(to) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Sends pieces on to a pipe, and counts them.
struct Pump {
    to: PipeWriter,
    done: u64,
}

impl Pump {
    fn piece(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<usize, Error>) -> Result<usize, Ended> {
        let length = self.to.send(fill).map_err(|Stopped| Ended::Stopped)??;
        self.done += length as u64;
        Ok(length)
    }
}

/// Step 2: the compression goes.
fn decode(from: PipeReader, to: PipeWriter, scratch: &Path) -> Result<(), Ended> {
    let mut decoder: Box<dyn Read> = match decompressed(from, Some(scratch)) {
        Ok(Decompressed::AsItWas(plain)) => Box::new(plain),
        Ok(Decompressed::By(decoder)) => decoder,
        Err(error) => {
            to.fail(error);
            return Err(Ended::Stopped);
        }
    };
    loop {
        let sent = to.send(|buffer| fill(&mut decoder, buffer)).map_err(|Stopped| Ended::Stopped)?;
        match sent {
            Ok(0) => return to.finish().map_err(|Stopped| Ended::Stopped),
            Ok(_) => {}
            Err(error) => {
                to.fail(error);
                return Err(Ended::Stopped);
            }
        }
    }
}

/// Fills a buffer as far as there is something: a decoder may give little at a time.
fn fill(from: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < to.len() {
        match read_some(from, &mut to[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            // What came before it is sent first; it comes up again.
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A stream that is hashed as it is looked at.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    /// Bytes of the current piece that are hashed and not consumed.
    pending: usize,
}

impl Hashing<PipeReader> {
    fn new(wanted: &Wanted<'_>, inner: PipeReader) -> Hashing<PipeReader> {
        Hashing { inner, hasher: wanted.diff_id.hasher(), pending: 0 }
    }

    /// Whether it was what the image says that it is.
    fn finish(self, wanted: &Wanted<'_>) -> Result<(), Error> {
        let got = self.hasher.finish();
        if got == *wanted.diff_id {
            return Ok(());
        }
        Err(Error::DiffId { layer: wanted.descriptor.digest.clone(), wanted: wanted.diff_id.clone(), got })
    }
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let piece = self.inner.fill_buf()?;
        if self.pending == 0 {
            self.hasher.update(piece);
            self.pending = piece.len();
        }
        Ok(piece)
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.pending);
        self.pending -= amount;
        self.inner.consume(amount);
    }
}

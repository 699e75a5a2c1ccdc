//! A new image is made here: of `commit`, of `import`.
//!
//! First its layers, each in one pass: what is written is hashed (the diff id), compressed by a second thread, hashed
//! again (the blob) and written under `new/`. Then its configuration and its manifest ([`crate::archive::commit`]), the
//! trees, and last the entry of `index.json`, before which the image is not there. All of that is kept from removal by
//! one lease, as is an image that it is made on top of. Given up half-way, nothing is left that a later `prune` does not
//! remove.
//!
//! ```no_run
//! let making = images.make()?;
//! let layer = making.layer(|out| export_tree(tree, AS_ON_DISK, out))?;
//! let made = commit(&Commit { layer: Some(&layer), .. })?;
//! let image = making.add(&made, &["docker.io/library/mine:latest".into()])?;
//! ```

use crate::archive::{Committed, NewLayer};
use crate::config::ImageConfig;
use crate::draft::Draft;
use crate::error::Error;
use crate::images::Image;
use crate::input::CHUNK;
use crate::layout::{Images, blob_name};
use crate::lease::Lease;
use crate::pipe::{PipeReader, PipeWriter, Stopped, pipe};
use crate::receive::form;
use flate2::Compression;
use flate2::write::GzEncoder;
use registry::{Descriptor, Digest, Hasher, ImageManifest, Manifest, media};
use std::io::{self, BufRead, BufWriter, Write};

/// How hard layers are compressed: as gzip(1) does by itself.
const LEVEL: Compression = Compression::new(6);

/// A new image in the making.
#[derive(Debug)]
pub struct Making<'a> {
    images: &'a Images,
    lease: Lease<'a>,
}

impl Images {
    /// Begins a new image.
    pub fn make(&self) -> Result<Making<'_>, Error> {
        Ok(Making { images: self, lease: Lease::new(self)? })
    }
}

impl Making<'_> {
    /// From now on an image is needed: what is made lies on its layers. It must still be there.
    pub fn base(&self, image: &Image) -> Result<(), Error> {
        let diff_ids = image.config.rootfs.diff_ids.iter();
        self.lease.need(image.blobs().map(|blob| &blob.digest).chain(diff_ids))?;
        match image.blobs().find(|blob| !self.images.has_blob(blob)) {
            Some(missing) => Err(Error::BlobMissing { digest: missing.digest.clone() }),
            None => Ok(()),
        }
    }

    /// Makes a layer of the tar that `write` writes, and keeps it as a blob.
    ///
    /// # Errors
    /// Those of `write`; and what keeps the layer from being stored.
    pub fn layer(&self, write: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<NewLayer, Error> {
        let (to, from) = pipe();
        let draft = Draft::file(self.images)?;
        let (written, packed) = std::thread::scope(|scope| {
            let packer = scope.spawn(|| pack(from, &draft));
            // Whatever comes in small pieces goes on in large ones.
            let mut tar = BufWriter::with_capacity(CHUNK, Tar { to, hasher: Hasher::sha256() });
            let written = write(&mut tar).and_then(|()| {
                let tar = tar.into_inner().map_err(|error| self.images.write_failed("new", error.into_error()))?;
                tar.to.finish().map_err(|Stopped| Error::Interrupted)?;
                Ok(tar.hasher.finish())
            });
            (written, packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        // When the packer cannot write, whoever writes to it is told only that it ended; when the other end gave up, the
        // packer knows only that.
        let (diff_id, packed) = match (written, packed) {
            (Ok(diff_id), Ok(packed)) => (diff_id, packed),
            (_, Err(PackFailure::Write(error))) => return Err(self.images.write_failed("new", error)),
            (Err(error), _) => return Err(error),
            (Ok(_), Err(PackFailure::Ended)) => return Err(Error::Interrupted),
        };
        let (digest, size) = packed;
        self.lease.need([&digest, &diff_id].into_iter())?;
        draft.keep(&blob_name(&digest))?;
        Ok(NewLayer { descriptor: Descriptor::new(media::OCI_LAYER_GZIP, digest, size), diff_id })
    }

    /// Keeps configuration and manifest, makes the trees of the layers, and adds the image to the store under `names`,
    /// each in full; under none as `<none>`. Another image that had one of them loses it.
    pub fn add(self, made: &Committed, names: &[String]) -> Result<Image, Error> {
        let (manifest, config) = self.read(made)?;
        let chain = config.chain_id(usize::MAX);
        let layers = manifest.layers.iter().map(|layer| &layer.digest);
        let own = [&made.config_descriptor.digest, &made.manifest_descriptor.digest];
        self.lease.need(layers.chain(own).chain(&config.rootfs.diff_ids).chain(&chain))?;
        self.images.make_trees(&manifest, &config, form()?)?;
        self.images.keep_small(&made.config_descriptor.digest, &made.config)?;
        self.images.keep_small(&made.manifest_descriptor.digest, &made.manifest)?;
        let descriptor = Descriptor { platform: Some(config.platform()), ..made.manifest_descriptor.clone() };
        self.images.enter(&descriptor, names, None)?;
        let id = made.config_descriptor.digest.clone();
        Ok(Image { id, descriptor, manifest, config, names: names.to_vec(), fetched_as: Vec::new() })
    }

    /// The image as it will be read.
    fn read(&self, made: &Committed) -> Result<(ImageManifest, ImageConfig), Error> {
        let what = || made.manifest_descriptor.digest.to_string();
        let parsed = Manifest::parse(&made.manifest, media::OCI_MANIFEST);
        let Manifest::Image(manifest) = parsed.map_err(|source| Error::Manifest { what: what(), source })? else {
            return Err(Error::Nested { what: what() });
        };
        let what = || made.config_descriptor.digest.to_string();
        let config = ImageConfig::parse(&made.config).map_err(|source| Error::Config { what: what(), source })?;
        Ok((*manifest, config))
    }
}

/// The end that the tar is written to.
struct Tar {
    to: PipeWriter,
    hasher: Hasher,
}

impl Write for Tar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.to.send(|buffer| {
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            Ok::<usize, io::Error>(length)
        });
        let length = sent.map_err(|Stopped| io::Error::from(io::ErrorKind::BrokenPipe))??;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why the second thread ended early.
enum PackFailure {
    Write(io::Error),
    /// The tar broke off.
    Ended,
}

/// The second thread: compresses into the draft; the blob's digest and length.
fn pack(mut from: PipeReader, draft: &Draft<'_>) -> Result<(Digest, u64), PackFailure> {
    let blob = Blob { file: &draft.file, hasher: Hasher::sha256(), size: 0 };
    let mut gzip = GzEncoder::new(BufWriter::with_capacity(CHUNK, blob), LEVEL);
    loop {
        let piece = from.fill_buf().map_err(|_| PackFailure::Ended)?;
        let length = piece.len();
        if length == 0 {
            break;
        }
        gzip.write_all(piece).map_err(PackFailure::Write)?;
        from.consume(length);
    }
    let blob = gzip.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
    let blob = blob.map_err(PackFailure::Write)?;
    Ok((blob.hasher.finish(), blob.size))
}

/// A blob that is being written.
struct Blob<'a> {
    file: &'a std::fs::File,
    hasher: Hasher,
    size: u64,
}

impl Write for Blob<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

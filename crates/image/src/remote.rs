//! Registries as places that images come from and go to.

use crate::error::Error;
use crate::transfer::{Content, Raw, Sink, Source};
use registry::{Descriptor, Remote};

/// An image in a registry, to be read.
pub struct RemoteSource {
    remote: Remote,
    /// A tag or a digest.
    object: String,
}

impl RemoteSource {
    /// What `object`, a tag or a digest, is in the repository.
    pub fn new(remote: Remote, object: &str) -> RemoteSource {
        RemoteSource { remote, object: object.to_owned() }
    }
}

impl Source for RemoteSource {
    fn top(&self) -> Result<Raw, Error> {
        let fetched = self.remote.manifest(&self.object)?;
        Ok(Raw { bytes: fetched.bytes, media_type: fetched.media_type })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Raw, Error> {
        let fetched = self.remote.manifest(descriptor.digest.as_str())?;
        Ok(Raw { bytes: fetched.bytes, media_type: fetched.media_type })
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Error> {
        Ok(Box::new(self.remote.blob(descriptor, offset)?))
    }

    fn shown(&self) -> String {
        self.remote.reference().to_string()
    }
}

/// A place in a registry, to be written to.
pub struct RemoteSink {
    remote: Remote,
    /// A tag, or a digest that the image must have.
    object: String,
    /// Repositories of the same registry that may have its blobs.
    neighbours: Vec<String>,
}

impl RemoteSink {
    /// What `object`, a tag, shall be in the repository. Blobs that one of the `neighbours`, repositories of the same
    /// registry, has are not sent but mounted from there.
    pub fn new(remote: Remote, object: &str, neighbours: Vec<String>) -> RemoteSink {
        RemoteSink { remote, object: object.to_owned(), neighbours }
    }
}

impl Sink for RemoteSink {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if self.remote.has_blob(&descriptor.digest)? {
            return Ok(true);
        }
        for neighbour in &self.neighbours {
            // That it is refused means no more than that the blob is to be sent.
            if self.remote.mount_blob(&descriptor.digest, neighbour).unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn put_blob(&self, descriptor: &Descriptor, open: &dyn Fn() -> Result<Content, Error>) -> Result<(), Error> {
        let open = || open().map_err(std::io::Error::other);
        Ok(self.remote.push_blob(descriptor, &open)?)
    }

    fn put_manifest(&self, descriptor: &Descriptor, raw: &Raw) -> Result<(), Error> {
        self.remote.push_manifest(descriptor.digest.as_str(), &raw.media_type, &raw.bytes)?;
        Ok(())
    }

    fn put_top(&self, raw: &Raw) -> Result<(), Error> {
        self.remote.push_manifest(&self.object, &raw.media_type, &raw.bytes)?;
        Ok(())
    }

    fn shown(&self) -> String {
        self.remote.reference().to_string()
    }
}

//! The store as a place that images go out from.

use crate::error::Error;
use crate::images::Image;
use crate::layout::Images;
use crate::lease::Lease;
use crate::transfer::{Content, Raw, Source};
use registry::Descriptor;
use std::io::{Seek, SeekFrom};

/// An image of the store, to be read; kept from removal meanwhile.
pub struct Stored<'a> {
    images: &'a Images,
    image: &'a Image,
    _lease: Lease<'a>,
}

impl<'a> Stored<'a> {
    /// Begins to need the image.
    pub fn new(images: &'a Images, image: &'a Image) -> Result<Stored<'a>, Error> {
        let lease = Lease::new(images)?;
        lease.need(image.blobs().map(|blob| &blob.digest))?;
        Ok(Stored { images, image, _lease: lease })
    }
}

impl Source for Stored<'_> {
    fn top(&self) -> Result<Raw, Error> {
        self.manifest(&self.image.descriptor)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Raw, Error> {
        let bytes = self.images.read_blob(&descriptor.digest)?;
        Ok(Raw { bytes, media_type: descriptor.media_type.clone() })
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Error> {
        let mut file = self.images.open_blob(&descriptor.digest)?;
        let failed = |source| Error::Content { what: descriptor.digest.to_string(), source };
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Box::new(file))
    }

    fn shown(&self) -> String {
        self.image.names.first().cloned().unwrap_or_else(|| self.image.id.short().to_owned())
    }
}

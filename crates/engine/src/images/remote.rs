//! Registries as places that images come from and go to.

use crate::error::Error;
use image::{RemoteSink, RemoteSource};
use registry::{Access, Environment, Reference, Registries};

/// What is configured of registries, for this process.
pub fn registries() -> Result<Registries, Error> {
    Ok(Registries::load(Environment::of_process()).map_err(image::Error::from)?)
}

/// The image in its registry.
pub(crate) fn source(registries: &Registries, reference: &Reference) -> Result<RemoteSource, Error> {
    let remote = registries.open(reference, Access::Pull).map_err(image::Error::from)?;
    Ok(RemoteSource::new(remote, reference.object()))
}

/// Where an image shall be in its registry. `neighbours` are other repositories of that registry that may have its blobs.
pub(crate) fn sink(
    registries: &Registries,
    reference: &Reference,
    neighbours: Vec<String>,
) -> Result<RemoteSink, Error> {
    let remote = registries.open(reference, Access::Push).map_err(image::Error::from)?;
    Ok(RemoteSink::new(remote, reference.object(), neighbours))
}

/// The tags of a repository.
pub(crate) fn tags(registries: &Registries, reference: &Reference) -> Result<Vec<String>, Error> {
    let remote = registries.open(reference, Access::Pull).map_err(image::Error::from)?;
    Ok(remote.tags().map_err(image::Error::from)?)
}

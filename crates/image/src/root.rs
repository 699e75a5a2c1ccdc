//! An image of the store becomes a root file system, read-only and mounted nowhere yet.

use crate::erofs;
use crate::error::Error;
use crate::images::Image;
use crate::layer::{Form, layer_name};
use crate::layout::{Images, is_named, open_directory};
use crate::mount::{Through, mount_erofs};
use crate::receive::{form, merged_name};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;
use step::step;

/// The lower layers of a container's root.
#[derive(Debug)]
pub struct ImageRoot {
    /// To be stacked by overlay, the lowest first: a detached mount of the whole tree, or directories.
    pub lower: Vec<OwnedFd>,
    /// True for a detached mount, which kernels before 6.15 do not stack as it is: see [`crate::attached`].
    pub is_mount: bool,
}

impl Images {
    /// Mounts the tree of an image, or opens its directories. The directories are locked against removal for as long as
    /// they are open; a mount holds its files whoever removes them.
    pub fn root(&self, image: &Image) -> Result<ImageRoot, Error> {
        let shown = || format!("open the layers of {}", image.id.short());
        step("open-image", "its layers are mounted from their files, not unpacked", shown, || {
            let form = form()?;
            match self.open_root(image, form) {
                // Put into the store by another tool, or the trees were removed.
                Err(Error::NoTree) => {
                    self.make_trees(&image.manifest, &image.config, form)?;
                    self.open_root(image, form)
                }
                done => done,
            }
        })
    }

    fn open_root(&self, image: &Image, form: Form) -> Result<ImageRoot, Error> {
        let layers = &image.config.rootfs.diff_ids;
        if form == Form::Directory {
            let lower = layers.iter().map(|layer| self.open_layer_directory(&layer_name(layer, form)));
            return Ok(ImageRoot { lower: lower.collect::<Result<_, _>>()?, is_mount: false });
        }
        // One that is cut short is made again.
        let open = |name: &str| match self.open_file(name) {
            Ok(file) => Ok(Some(file).filter(erofs::is_whole)),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(Error::Blob { path: self.path.join(name), source: source.into() }),
        };
        let mount = |image: &File, devices: &[File]| {
            let devices: Vec<_> = devices.iter().map(|device| device.as_fd()).collect();
            mount_erofs(image.as_fd(), &devices, Through::Either)
        };
        let mounted = match open(&merged_name(&image.config))? {
            Some(merged) => {
                let files: Option<Vec<File>> =
                    layers.iter().map(|layer| open(&layer_name(layer, form))).collect::<Result<_, _>>()?;
                mount(&merged, &files.ok_or(Error::NoTree)?)
            }
            None => match layers.as_slice() {
                [only] => match open(&layer_name(only, form))? {
                    Some(file) if erofs::needs_merge(&file).is_ok_and(|needs| !needs) => mount(&file, &[]),
                    _ => return Err(Error::NoTree),
                },
                _ => return Err(Error::NoTree),
            },
        };
        let mounted = mounted.map_err(|source| Error::MountImage { id: image.id.clone(), source })?;
        Ok(ImageRoot { lower: vec![mounted], is_mount: true })
    }

    fn open_layer_directory(&self, name: &str) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Lock { path: self.path.join(name), source };
        loop {
            let layer = match open_directory(self.dir.as_fd(), Path::new(name)) {
                Ok(layer) => layer,
                Err(Errno::NOENT) => return Err(Error::NoTree),
                Err(error) => return Err(failed(error)),
            };
            flock(&layer, FlockOperation::LockShared).map_err(failed)?;
            // Whoever held it before us may have removed it.
            if is_named(self.dir.as_fd(), name, layer.as_fd()).map_err(failed)? {
                return Ok(layer);
            }
        }
    }
}

//! An image of the store becomes a root file system, read-only.

use crate::erofs;
use crate::error::Error;
use crate::images::Image;
use crate::layer::{Form, layer_name};
use crate::layout::{Images, is_named, open_directory};
use crate::mount::{MountError, Through, mount_erofs};
use crate::receive::{form, form_asked_for, merged_name};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;
use step::step;

impl Images {
    /// The lower layers of a container's root, to be stacked by overlay, the lowest first: one mount of the whole tree
    /// (`kept`), or directories. The directories are locked against removal for as long as they are open; a mount holds
    /// its files whoever removes them.
    pub fn root(&self, image: &Image) -> Result<Vec<OwnedFd>, Error> {
        let shown = || format!("open the layers of {}", image.id.short());
        step("open-image", "its layers are mounted from their files, once, not unpacked", shown, || {
            if form_asked_for()? != Some(Form::Directory)
                && let Some(kept) = self.kept(image.id.hex())
            {
                return Ok(vec![kept]);
            }
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

    fn open_root(&self, image: &Image, form: Form) -> Result<Vec<OwnedFd>, Error> {
        if form == Form::Directory {
            let layers = image.config.rootfs.diff_ids.iter();
            return layers.map(|layer| self.open_layer_directory(&layer_name(layer, form))).collect();
        }
        let failed = |source| Error::MountImage { id: image.id.clone(), source };
        let mounted = self.mount_tree(image)?.map_err(failed)?;
        Ok(vec![self.keep(image.id.hex(), mounted).map_err(failed)?])
    }

    /// Mounts the tree of an image, attached nowhere.
    fn mount_tree(&self, image: &Image) -> Result<Result<OwnedFd, MountError>, Error> {
        let layers = &image.config.rootfs.diff_ids;
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
        match open(&merged_name(&image.config))? {
            Some(merged) => {
                let files: Option<Vec<File>> =
                    layers.iter().map(|layer| open(&layer_name(layer, Form::Erofs))).collect::<Result<_, _>>()?;
                Ok(mount(&merged, &files.ok_or(Error::NoTree)?))
            }
            None => match layers.as_slice() {
                [only] => match open(&layer_name(only, Form::Erofs))? {
                    Some(file) if erofs::needs_merge(&file).is_ok_and(|needs| !needs) => Ok(mount(&file, &[])),
                    _ => Err(Error::NoTree),
                },
                _ => Err(Error::NoTree),
            },
        }
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

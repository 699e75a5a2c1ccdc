//! Images outside of the store: directories and archives that other tools read and write.
//!
//! ```text
//! OCI layout        a directory: oci-layout, index.json, blobs/sha256/HEX               skopeo oci:, umoci, buildah
//! OCI archive       a tar of one, plain or compressed                                  skopeo oci-archive:
//! docker-archive    a tar: manifest.json, HEX.json, HEX.tar or HEX/layer.tar           docker save, podman save
//!                   (since Docker 25 it is an OCI archive with a manifest.json beside)
//! ```
//!
//! [`open`] tells them apart and gives the images in one, each a [`Source`](crate::Source); [`LayoutSink`],
//! [`OciArchive`] and [`DockerArchive`] write them, and [`copy`] moves an image from any source to any sink.
//! [`export_tree`] and [`diff_layer`] make tars of trees, and [`commit`] the configuration and the manifest of a new
//! image.
//!
//! All that is read is hostile. Nothing of an archive is extracted: a tar is indexed, and what is asked for is read in
//! place; in a directory only regular files are opened, beneath its descriptor and through no symlink.

mod change;
mod changes;
mod commit;
mod copy;
mod diff;
mod docker;
mod docker_sink;
mod export;
mod files;
mod flaw;
mod layout;
mod layout_sink;
mod oci_sink;
mod open;
mod spool;
mod tarindex;
mod verify;
pub(crate) mod walk;
mod words;

pub use change::{BadChange, Change, Command, apply_changes};
pub use changes::{Changed, changes};
pub use commit::{Commit, Committed, NewLayer, commit, timestamp};
pub use copy::{Platforms, copy};
pub use diff::{Marks, diff_layer};
pub use docker_sink::DockerArchive;
pub use export::{AS_ON_DISK, Met, Owners, TarOut, each_entry, export_tree};
pub use flaw::Flaw;
pub use layout::LayoutSource;
pub use layout_sink::LayoutSink;
pub use oci_sink::OciArchive;
pub use open::{Found, Kind, detect, open, open_file, pick};
pub use spool::spool;

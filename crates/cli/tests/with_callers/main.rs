//! The OCI runtime under its real callers: Docker, containerd, a kubelet, Podman and Buildah.
//!
//! One program, since linking a hundred took longer than running them; one file a subject.

#[path = "../callers/mod.rs"]
mod callers;
#[path = "../common/mod.rs"]
mod common;

mod buildah;
mod containerd;
mod cri;
mod docker;
mod podman;

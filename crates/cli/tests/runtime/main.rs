//! The OCI runtime's command line: `mycontainer-runtime`, as its callers start it.
//!
//! One program, since linking a hundred took longer than running them; one file a subject.

#[path = "../common/bundles.rs"]
mod bundles;
#[path = "../common/mod.rs"]
mod common;
#[path = "../oci/mod.rs"]
mod oci;

mod checkpoint;
mod oci_create;
mod oci_escape;
mod oci_exec;
mod oci_faults;
mod oci_hooks;
mod oci_mounts;
mod oci_process;
mod oci_races;
mod oci_spec_sections;
mod oci_surface;
mod oci_update;

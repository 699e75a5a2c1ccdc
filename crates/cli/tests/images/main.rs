//! Images: registries, archives, the store, and how they are run.
//!
//! One program, since linking a hundred took longer than running them; one file a subject.

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixtures/mod.rs"]
mod fixtures;

mod copy;
mod disk_full;
mod image_fixtures;
mod image_mounts;
mod images;
mod import;
mod login;
mod pull;
mod pull_broken;
mod pull_killed;
mod push;
mod save_load;
mod spare;

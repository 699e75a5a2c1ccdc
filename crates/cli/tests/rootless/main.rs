//! What is different without root.
//!
//! One program, since linking a hundred took longer than running them; one file a subject.

#[path = "../common/mod.rs"]
mod common;

mod rootless;
mod rootless_limits;
mod rootless_uplink;

//! Faults, load, attacks and budgets.
//!
//! One program, since linking a hundred took longer than running them; one file a subject.

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixtures/mod.rs"]
mod fixtures;

mod budget;
mod escape;
mod faults;
mod killed;
mod pod_killed;
mod soak_clients;
mod soak_killed;

//! Networks: what containers of them reach, by which names, and what is left of them.
//!
//! One program, since linking a hundred took longer than running them; one file a subject.

#[path = "../common/mod.rs"]
mod common;

mod network;
mod network_connect;
mod network_create;
mod network_doctor;
mod network_list;
mod network_many;
mod network_remove;
mod network_servers;
mod publish;
mod shortcut;

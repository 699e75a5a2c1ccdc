//! An OCI seccomp section becomes BPF.
//!
//! ```text
//! Docker's default (profile) ─┐
//! a profile file (docker_json)├─> LinuxSeccomp ─ rules ─> verdict per ABI and number ─ tree ─> graph ─ assemble ─> Program
//! an OCI bundle's section ────┘
//! ```
//!
//! [`compile`] gives the meaning that runc and libseccomp give to a section, but writes another program: a balanced
//! search tree over ranges of system call numbers that share a verdict, where libseccomp writes a list. Docker's
//! profile decides any system call in about a dozen instructions, and loads in a tenth of the time.
//!
//! Loading is `sys::seccomp::load`. Only [`cache`] touches the host. The crate is meant to be
//! a build-dependency too, so that a build script can embed [`compile`] of [`default_profile`] as bytes
//! ([`Program::to_bytes`]) and a container with the default capabilities compiles nothing at all.

mod arch;
mod args;
mod assemble;
pub mod cache;
mod compile;
mod docker_json;
mod error;
mod instruction;
pub mod interpret;
mod profile;
mod rules;
mod syscall_table;
mod syscalls;
mod tree;

pub use arch::Arch;
pub use compile::compile;
pub use docker_json::parse_docker_profile;
pub use error::Error;
pub use instruction::{Instruction, Program, flag};
pub use profile::default_profile;
pub use syscalls::{names, number};

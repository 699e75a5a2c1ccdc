//! The one room with `unsafe`: system calls that rustix lacks, each a few lines with its SAFETY comment.
//!
//! Everything here is a thin, safe function over one system call; no policy, no state. Whatever rustix offers is used
//! from rustix directly, by whoever needs it. (`arena`, `copy` and `large_window` are the exceptions: they are about memory.)

pub mod arena;
pub mod bpf;
#[cfg(all(target_arch = "x86_64", any(target_env = "musl", test)))]
pub mod copy;
pub mod detach;
pub mod exec;
pub mod fork;
pub mod iptables;
pub mod keyring;
pub mod large_window;
pub mod loop_device;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod writeback;

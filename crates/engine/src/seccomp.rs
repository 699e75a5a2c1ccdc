//! The system call filters that a container can have.

use crate::error::Error;
use oci_spec::runtime::Capability;
use seccomp::{Arch, Program};
use std::collections::HashSet;

/// Docker's profile for the default capabilities, compiled when the engine was built: four bytes of flags, then the
/// instructions.
const EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default.bpf"));

/// That of Docker's profile for a container with the default capabilities.
pub(crate) fn embedded() -> Result<Program, Error> {
    let (flags, instructions) = EMBEDDED.split_first_chunk().unwrap_or((&[0; 4], &[]));
    Ok(Program::from_bytes(instructions, u32::from_le_bytes(*flags))?)
}

/// That of Docker's profile for these.
pub(crate) fn default(capabilities: &HashSet<Capability>) -> Result<Program, Error> {
    let arch = native()?;
    Ok(seccomp::compile(&seccomp::default_profile(capabilities, kernel(), arch), arch)?)
}

/// That of a profile in Docker's format.
pub(crate) fn of_profile(text: &str, capabilities: &HashSet<Capability>) -> Result<Program, Error> {
    let arch = native()?;
    let profile = seccomp::parse_docker_profile(text, capabilities, kernel(), arch)?;
    Ok(seccomp::compile(&profile, arch)?)
}

fn native() -> Result<Arch, Error> {
    Arch::native().ok_or_else(|| {
        Error::Conflict("there is no seccomp profile for this processor; use --security-opt seccomp=unconfined".into())
    })
}

/// The first two numbers of the kernel's version.
fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

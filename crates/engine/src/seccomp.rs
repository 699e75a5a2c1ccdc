//! Which system call filter a container gets.

use crate::default_capabilities::DEFAULT;
use crate::error::Error;
use crate::options::SeccompChoice;
use oci_spec::runtime::Capability;
use seccomp::{Arch, Program};
use std::collections::HashSet;

/// Docker's profile for the default capabilities, compiled when the engine was built: four bytes of flags, then the
/// instructions.
const EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default.bpf"));

/// The filter for a container with these capabilities; none when it is unconfined.
pub(crate) fn filter(
    choice: &SeccompChoice,
    privileged: bool,
    capabilities: &HashSet<Capability>,
) -> Result<Option<Program>, Error> {
    match choice {
        SeccompChoice::Unconfined => Ok(None),
        // As Docker: --privileged lifts the default profile, but not one that was asked for.
        SeccompChoice::Default if privileged => Ok(None),
        SeccompChoice::Default if is_default(capabilities) => embedded().map(Some),
        SeccompChoice::Default => {
            let arch = native()?;
            let profile = seccomp::default_profile(capabilities, kernel(), arch);
            Ok(Some(seccomp::compile(&profile, arch)?))
        }
        SeccompChoice::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| Error::File {
                what: "read the seccomp profile",
                path: path.clone(),
                source,
            })?;
            let arch = native()?;
            let profile = seccomp::parse_docker_profile(&text, capabilities, kernel(), arch)?;
            Ok(Some(seccomp::compile(&profile, arch)?))
        }
    }
}

fn embedded() -> Result<Program, Error> {
    let (flags, instructions) = EMBEDDED.split_first_chunk().unwrap_or((&[0; 4], &[]));
    Ok(Program::from_bytes(instructions, u32::from_le_bytes(*flags))?)
}

fn is_default(capabilities: &HashSet<Capability>) -> bool {
    capabilities.len() == DEFAULT.len() && DEFAULT.iter().all(|c| capabilities.contains(c))
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

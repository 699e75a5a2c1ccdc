//! Docker's default isolation as data: the capabilities, and the seccomp profile that goes with them.

use anyhow::{Context, Result};
use oci_spec::runtime::{Capability, LinuxSeccomp};
use rustix::system::uname;
use seccomp::Arch;
use std::path::Path;

/// The capabilities a container has by default.
pub(crate) const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// The seccomp section for those capabilities on this machine.
pub(crate) fn section() -> Result<LinuxSeccomp> {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    let kernel = numbers.next().zip(numbers.next()).with_context(|| format!("what kernel is {release}?"))?;
    Ok(seccomp::default_profile(&CAPABILITIES.into(), kernel, native()?))
}

/// Writes the compiled filter to `file`, as the floor reads it.
pub(crate) fn write_filter(file: &Path) -> Result<()> {
    let program = seccomp::compile(&section()?, native()?).context("cannot compile the seccomp filter")?;
    std::fs::write(file, program.to_bytes()).with_context(|| format!("cannot write {}", file.display()))
}

fn native() -> Result<Arch> {
    Arch::native().context("seccomp filters are not known for this architecture")
}

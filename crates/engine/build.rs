//! Compiles Docker's seccomp profile for the default capabilities once, when the engine is built, so that an ordinary
//! start compiles nothing.

use oci_spec::runtime::Capability;
use std::collections::HashSet;
use std::path::PathBuf;

/// The oldest kernel that is supported; the profile asks for nothing newer.
const KERNEL: (u32, u32) = (5, 15);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/default_capabilities.rs");
    let target = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo names the target");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a directory")).join("default.bpf");
    let arch = seccomp::Arch::from_target(&target)
        .unwrap_or_else(|| panic!("there is no seccomp profile for {target}: x86_64 and aarch64 are known"));
    let capabilities: HashSet<Capability> = default_capabilities::DEFAULT.into_iter().collect();
    let profile = seccomp::default_profile(&capabilities, KERNEL, arch);
    let program = seccomp::compile(&profile, arch).expect("Docker's default profile compiles");
    // Four bytes of flags, then the instructions.
    let bytes = [&program.flags.to_le_bytes()[..], &program.to_bytes()].concat();
    std::fs::write(&out, bytes).expect("OUT_DIR can be written to");
}

#[path = "src/default_capabilities.rs"]
mod default_capabilities;

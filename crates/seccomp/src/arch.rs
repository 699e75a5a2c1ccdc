//! The ABIs that filters are written for.
//!
//! An [`Arch`] is one way to number system calls. The kernel tells x86-64 and x32 apart by bit 30 of the number, not by
//! the audit architecture, so the two share a token; everything else has its own.

use oci_spec::runtime as oci;

use crate::Error;

/// Set in the number of every x32 system call (`__X32_SYSCALL_BIT`, arch/x86/include/uapi/asm/unistd.h).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// An ABI with its own system call numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, natively or on a 64-bit kernel.
    X86,
    /// 32-bit pointers on 64-bit x86.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
}

impl Arch {
    /// Every ABI, in the order of the columns of the system call table.
    pub const ALL: [Arch; 5] = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];

    /// The ABI this crate was compiled for, `None` where it cannot write filters.
    ///
    /// In a build script that is the host's: use [`Arch::from_target`] there.
    pub fn native() -> Option<Arch> {
        Arch::from_target(std::env::consts::ARCH)
    }

    /// The ABI of a Rust target architecture, as in `CARGO_CFG_TARGET_ARCH` and `std::env::consts::ARCH`.
    pub fn from_target(name: &str) -> Option<Arch> {
        Some(match name {
            "x86_64" => Arch::X86_64,
            "x86" => Arch::X86,
            "aarch64" => Arch::Aarch64,
            "arm" => Arch::Arm,
            _ => return None,
        })
    }

    /// What an OCI section's name for an architecture means on a machine whose own is `native`.
    ///
    /// Fails for the architectures that this crate has no table for.
    pub fn from_oci(name: oci::Arch, native: Arch) -> Result<Arch, Error> {
        Ok(match name {
            oci::Arch::ScmpArchNative => native,
            oci::Arch::ScmpArchX86_64 => Arch::X86_64,
            oci::Arch::ScmpArchX86 => Arch::X86,
            oci::Arch::ScmpArchX32 => Arch::X32,
            oci::Arch::ScmpArchAarch64 => Arch::Aarch64,
            oci::Arch::ScmpArchArm => Arch::Arm,
            other => return Err(Error::UnsupportedArch { name: other.to_string() }),
        })
    }

    /// The OCI section's name for it.
    pub fn to_oci(self) -> oci::Arch {
        match self {
            Arch::X86_64 => oci::Arch::ScmpArchX86_64,
            Arch::X86 => oci::Arch::ScmpArchX86,
            Arch::X32 => oci::Arch::ScmpArchX32,
            Arch::Aarch64 => oci::Arch::ScmpArchAarch64,
            Arch::Arm => oci::Arch::ScmpArchArm,
        }
    }

    /// What Docker's profiles call it in `includes` and `excludes`.
    pub(crate) fn docker_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X86 => "x86",
            Arch::X32 => "x32",
            Arch::Aarch64 => "arm64",
            Arch::Arm => "arm",
        }
    }

    /// `AUDIT_ARCH_*` (include/uapi/linux/audit.h), the value of `seccomp_data.arch`.
    pub fn audit_token(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments are compared in full. On the others only the low half is looked at, x32 included, as
    /// libseccomp does.
    pub(crate) fn has_wide_args(self) -> bool {
        matches!(self, Arch::X86_64 | Arch::Aarch64)
    }
}

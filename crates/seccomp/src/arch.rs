//! The ABIs that filters are written for.
//!
//! An [`Arch`] is one way to number system calls: every one that the runtime-spec can name. What differs between them
//! stands in one table, [`FACTS`]; what follows from the audit token (byte order, width of arguments) is read from it.
//! The kernel tells x86-64 and x32 apart by bit 30 of the number, not by the audit architecture, so the two share a
//! token; everything else has its own.
//!
//! A filter may name an ABI that its machine can never run, of the other byte order even (where libseccomp refuses): the
//! kernel shows no such call to it, so what is said about one costs instructions and decides nothing.

use oci_spec::runtime as oci;

use crate::Error;

/// Set in the number of every x32 system call (`__X32_SYSCALL_BIT`, arch/x86/include/uapi/asm/unistd.h).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

// Parts of an audit token: include/uapi/linux/audit.h.
const AUDIT_64BIT: u32 = 0x8000_0000;
const AUDIT_LITTLE_ENDIAN: u32 = 0x4000_0000;
const AUDIT_CONVENTION_N32: u32 = 0x2000_0000;

/// An ABI with its own system call numbers or its own audit token.
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
    /// 32-bit MIPS, big-endian, the o32 convention.
    Mips,
    /// 64-bit MIPS, big-endian.
    Mips64,
    /// 32-bit pointers on 64-bit MIPS, big-endian.
    Mips64n32,
    /// 32-bit MIPS, little-endian, the o32 convention.
    Mipsel,
    /// 64-bit MIPS, little-endian.
    Mipsel64,
    /// 32-bit pointers on 64-bit MIPS, little-endian.
    Mipsel64n32,
    /// 32-bit PowerPC.
    Ppc,
    /// 64-bit PowerPC, big-endian.
    Ppc64,
    /// 64-bit PowerPC, little-endian.
    Ppc64le,
    /// 31-bit z/Architecture.
    S390,
    /// 64-bit z/Architecture.
    S390x,
    /// 32-bit PA-RISC.
    Parisc,
    /// 64-bit PA-RISC.
    Parisc64,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit LoongArch.
    Loongarch64,
    /// Motorola 68000.
    M68k,
    /// SuperH, little-endian.
    Sh,
    /// SuperH, big-endian.
    Sheb,
}

struct Facts {
    arch: Arch,
    oci: oci::Arch,
    /// What Docker's profiles call it in `includes` and `excludes`: libseccomp's name, "" where they have none.
    docker: &'static str,
    /// Of the system call table. The byte orders of a processor share one.
    column: usize,
}

const fn facts(arch: Arch, oci: oci::Arch, docker: &'static str, column: usize) -> Facts {
    Facts { arch, oci, docker, column }
}

/// A row an [`Arch`], in the order of its declaration.
const FACTS: [Facts; 23] = [
    facts(Arch::X86_64, oci::Arch::ScmpArchX86_64, "amd64", 0),
    facts(Arch::X86, oci::Arch::ScmpArchX86, "x86", 1),
    facts(Arch::X32, oci::Arch::ScmpArchX32, "x32", 2),
    facts(Arch::Aarch64, oci::Arch::ScmpArchAarch64, "arm64", 3),
    facts(Arch::Arm, oci::Arch::ScmpArchArm, "arm", 4),
    facts(Arch::Mips, oci::Arch::ScmpArchMips, "mips", 5),
    facts(Arch::Mips64, oci::Arch::ScmpArchMips64, "mips64", 6),
    facts(Arch::Mips64n32, oci::Arch::ScmpArchMips64n32, "mips64n32", 7),
    facts(Arch::Mipsel, oci::Arch::ScmpArchMipsel, "mipsel", 5),
    facts(Arch::Mipsel64, oci::Arch::ScmpArchMipsel64, "mipsel64", 6),
    facts(Arch::Mipsel64n32, oci::Arch::ScmpArchMipsel64n32, "mips3l64n32", 7),
    facts(Arch::Ppc, oci::Arch::ScmpArchPpc, "ppc", 8),
    facts(Arch::Ppc64, oci::Arch::ScmpArchPpc64, "ppc64", 9),
    facts(Arch::Ppc64le, oci::Arch::ScmpArchPpc64le, "ppc64le", 9),
    facts(Arch::S390, oci::Arch::ScmpArchS390, "s390", 10),
    facts(Arch::S390x, oci::Arch::ScmpArchS390x, "s390x", 11),
    facts(Arch::Parisc, oci::Arch::ScmpArchParisc, "parisc", 12),
    facts(Arch::Parisc64, oci::Arch::ScmpArchParisc64, "parisc64", 13),
    facts(Arch::Riscv64, oci::Arch::ScmpArchRiscv64, "riscv64", 14),
    facts(Arch::Loongarch64, oci::Arch::ScmpArchLoongarch64, "loongarch64", 15),
    facts(Arch::M68k, oci::Arch::ScmpArchM68k, "m68k", 16),
    facts(Arch::Sh, oci::Arch::ScmpArchSh, "sh", 17),
    facts(Arch::Sheb, oci::Arch::ScmpArchSheb, "sheb", 17),
];

/// How an ABI's arguments lie in `seccomp_data`, where each has 64 bits, and how much of them is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// Both halves are compared. On ABIs with 32-bit arguments only the low half is looked at, x32 and n32 included,
    /// as libseccomp does.
    pub(crate) wide: bool,
    /// The high half comes first.
    pub(crate) big_endian: bool,
}

impl Arch {
    /// Every ABI.
    pub const ALL: [Arch; FACTS.len()] = {
        let mut all = [Arch::X86_64; FACTS.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = FACTS[at].arch;
            at += 1;
        }
        all
    };

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    /// The ABI this crate was compiled for, `None` where it cannot write filters.
    ///
    /// In a build script that is the host's: use [`Arch::from_target`] there.
    pub fn native() -> Option<Arch> {
        Arch::of_machine(std::env::consts::ARCH, cfg!(target_endian = "little"), cfg!(target_pointer_width = "32"))
    }

    /// The 64-bit (where there is one) ABI of a Rust target architecture, as in `CARGO_CFG_TARGET_ARCH` and
    /// `std::env::consts::ARCH`.
    ///
    /// `None` where it cannot write filters, and for names that leave the byte order open (`mips`, `mips64`,
    /// `powerpc64`): for those use [`Arch::of_machine`].
    pub fn from_target(name: &str) -> Option<Arch> {
        let of = |little| Arch::of_machine(name, little, false);
        of(true).filter(|arch| Some(*arch) == of(false))
    }

    /// The ABI of a Rust target architecture, its byte order and whether its pointers have 32 bits:
    /// `CARGO_CFG_TARGET_ARCH`, `CARGO_CFG_TARGET_ENDIAN` and `CARGO_CFG_TARGET_POINTER_WIDTH` for a build script.
    pub fn of_machine(name: &str, little_endian: bool, pointers_of_32_bits: bool) -> Option<Arch> {
        Some(match (name, little_endian, pointers_of_32_bits) {
            ("x86_64", _, false) => Arch::X86_64,
            ("x86_64", _, true) => Arch::X32,
            ("x86", ..) => Arch::X86,
            ("aarch64", ..) => Arch::Aarch64,
            ("arm", ..) => Arch::Arm,
            ("mips" | "mips32r6", false, _) => Arch::Mips,
            ("mips" | "mips32r6", true, _) => Arch::Mipsel,
            ("mips64" | "mips64r6", false, false) => Arch::Mips64,
            ("mips64" | "mips64r6", false, true) => Arch::Mips64n32,
            ("mips64" | "mips64r6", true, false) => Arch::Mipsel64,
            ("mips64" | "mips64r6", true, true) => Arch::Mipsel64n32,
            ("powerpc", ..) => Arch::Ppc,
            ("powerpc64", false, _) => Arch::Ppc64,
            ("powerpc64", true, _) => Arch::Ppc64le,
            ("s390x", ..) => Arch::S390x,
            ("riscv64", ..) => Arch::Riscv64,
            ("loongarch64", ..) => Arch::Loongarch64,
            ("m68k", ..) => Arch::M68k,
            _ => return None,
        })
    }

    /// What an OCI section's name for an architecture means on a machine whose own is `native`.
    ///
    /// Fails for an architecture that this crate has no table for; there is none in the runtime-spec of today.
    pub fn from_oci(name: oci::Arch, native: Arch) -> Result<Arch, Error> {
        if name == oci::Arch::ScmpArchNative {
            return Ok(native);
        }
        let known = FACTS.iter().find(|facts| facts.oci == name).map(|facts| facts.arch);
        known.ok_or_else(|| Error::UnsupportedArch { name: name.to_string() })
    }

    /// The OCI section's name for it.
    pub fn to_oci(self) -> oci::Arch {
        self.facts().oci
    }

    /// What Docker's profiles call it in `includes` and `excludes`.
    pub(crate) fn docker_name(self) -> &'static str {
        self.facts().docker
    }

    /// Which column of the system call table is its own.
    pub(crate) fn column(self) -> usize {
        self.facts().column
    }

    /// `AUDIT_ARCH_*` (include/uapi/linux/audit.h), the value of `seccomp_data.arch`.
    pub fn audit_token(self) -> u32 {
        match self {
            Arch::X32 => Arch::X86_64.audit_token(),
            // libseccomp, and the runtime-spec after it, use the same values.
            _ => self.to_oci() as u32,
        }
    }

    /// Whether its machines have the most significant byte first.
    pub fn is_big_endian(self) -> bool {
        is_big_endian(self.audit_token())
    }

    /// Whether all 64 bits of an argument are compared, rather than the low 32.
    pub fn has_wide_args(self) -> bool {
        let token = self.audit_token();
        self != Arch::X32 && token & AUDIT_64BIT != 0 && token & AUDIT_CONVENTION_N32 == 0
    }

    pub(crate) fn words(self) -> Words {
        Words { wide: self.has_wide_args(), big_endian: self.is_big_endian() }
    }

    /// The number of ENOSYS on its kernels (arch/*/include/uapi/asm/errno.h).
    pub fn enosys(self) -> u32 {
        match self {
            Arch::Mips | Arch::Mips64 | Arch::Mips64n32 | Arch::Mipsel | Arch::Mipsel64 | Arch::Mipsel64n32 => 89,
            Arch::Parisc | Arch::Parisc64 => 251,
            _ => 38,
        }
    }
}

/// Whether the kernel that gives this token keeps the most significant byte first.
pub(crate) fn is_big_endian(audit_token: u32) -> bool {
    audit_token & AUDIT_LITTLE_ENDIAN == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall_table::COLUMNS;

    #[test]
    fn facts_stand_in_the_order_of_the_enum_and_use_every_column() {
        for (row, facts) in FACTS.iter().enumerate() {
            assert_eq!(facts.arch as usize, row, "{:?}", facts.arch);
        }
        let columns: std::collections::BTreeSet<_> = FACTS.iter().map(|facts| facts.column).collect();
        assert!(columns.into_iter().eq(0..COLUMNS));
    }

    #[test]
    fn targets() {
        for (name, expected) in [
            ("x86_64", Some(Arch::X86_64)),
            ("aarch64", Some(Arch::Aarch64)),
            ("s390x", Some(Arch::S390x)),
            ("riscv64", Some(Arch::Riscv64)),
            ("powerpc64", None),
            ("wasm32", None),
        ] {
            assert_eq!(Arch::from_target(name), expected, "{name}");
        }
        assert_eq!(Arch::of_machine("mips64", true, true), Some(Arch::Mipsel64n32));
        assert_eq!(Arch::of_machine("powerpc64", true, false), Some(Arch::Ppc64le));
        assert_eq!(Arch::of_machine("x86_64", true, true), Some(Arch::X32));
    }

    /// Byte order and width: of the processors' manuals, not of the token they are computed from.
    #[test]
    fn words() {
        use Arch::*;
        for arch in Arch::ALL {
            let big = [Mips, Mips64, Mips64n32, Ppc, Ppc64, S390, S390x, Parisc, Parisc64, M68k, Sheb];
            let wide = [X86_64, Aarch64, Mips64, Mipsel64, Ppc64, Ppc64le, S390x, Parisc64, Riscv64, Loongarch64];
            let expected = Words { wide: wide.contains(&arch), big_endian: big.contains(&arch) };
            assert_eq!(arch.words(), expected, "{arch:?}");
        }
    }
}

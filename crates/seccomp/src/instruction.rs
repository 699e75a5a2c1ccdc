//! A classic BPF instruction, and a whole filter program.
//!
//! The bytes are those of the kernel's `struct sock_filter` (include/uapi/linux/filter.h), numbers little-endian
//! whatever the machine: what [`Program::to_bytes`] gives can be embedded with `include_bytes!` by a build for another
//! architecture. `sys::seccomp::load` brings them into the machine's own order.

use crate::Error;

/// `SECCOMP_FILTER_FLAG_*` (include/uapi/linux/seccomp.h).
pub mod flag {
    /// All threads of the process get the filter.
    pub const TSYNC: u32 = 1 << 0;
    /// Actions other than allow are logged.
    pub const LOG: u32 = 1 << 1;
    /// Speculative store bypass stays allowed.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// Loading returns a descriptor on which `SCMP_ACT_NOTIFY` is heard.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// A process that waits for the listener's answer can only be killed (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// The kernel's `BPF_MAXINSNS`.
pub(crate) const MAX_INSTRUCTIONS: usize = 4096;

// include/uapi/linux/bpf_common.h
pub(crate) const LOAD_WORD: u16 = 0x20;
pub(crate) const AND: u16 = 0x54;
pub(crate) const JUMP: u16 = 0x05;
pub(crate) const JUMP_EQ: u16 = 0x15;
pub(crate) const JUMP_GT: u16 = 0x25;
pub(crate) const JUMP_GE: u16 = 0x35;
pub(crate) const JUMP_SET: u16 = 0x45;
pub(crate) const RETURN: u16 = 0x06;

/// One instruction, laid out as `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a jump skips when its test holds.
    pub jt: u8,
    /// How many it skips when it does not.
    pub jf: u8,
    /// The constant: an offset, a value to compare with, a distance or a verdict.
    pub k: u32,
}

impl Instruction {
    /// How many bytes one takes.
    pub const SIZE: usize = 8;

    /// As a little-endian kernel reads it.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let [c0, c1] = self.code.to_le_bytes();
        let [k0, k1, k2, k3] = self.k.to_le_bytes();
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }

    /// The reverse of [`Instruction::to_bytes`]. Whether the instruction makes sense is the kernel's to judge.
    pub fn from_bytes([c0, c1, jt, jf, k0, k1, k2, k3]: [u8; Self::SIZE]) -> Instruction {
        Instruction { code: u16::from_le_bytes([c0, c1]), jt, jf, k: u32::from_le_bytes([k0, k1, k2, k3]) }
    }
}

/// A filter, ready for `seccomp(SECCOMP_SET_MODE_FILTER, flags, ...)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// 1 to 4096 instructions.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`, see [`flag`].
    pub flags: u32,
}

impl Program {
    /// The instructions, without the flags, as `sys::seccomp::load` takes them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.instructions.iter().flat_map(|instruction| instruction.to_bytes()).collect()
    }

    /// A program from what [`Program::to_bytes`] gave and its flags.
    pub fn from_bytes(bytes: &[u8], flags: u32) -> Result<Program, Error> {
        let (chunks, rest) = bytes.as_chunks::<{ Instruction::SIZE }>();
        if !rest.is_empty() || chunks.is_empty() || chunks.len() > MAX_INSTRUCTIONS {
            return Err(Error::BadBytes { length: bytes.len() });
        }
        Ok(Program { instructions: chunks.iter().map(|chunk| Instruction::from_bytes(*chunk)).collect(), flags })
    }
}

//! Runs a filter program on paper: what the kernel would answer, without loading it.
//!
//! The call's architecture says in which order the kernel would lay out the halves of its arguments.
//!
//! Knows the instructions that seccomp allows and libseccomp or this crate write. Programs may come from anywhere:
//! what is not understood is `None`, never a panic.

use crate::Instruction;
use crate::arch::is_big_endian;
use crate::instruction::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, JUMP_SET, LOAD_WORD, RETURN};

/// `struct seccomp_data`: what a filter sees of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The number, with bit 30 set for x32.
    pub number: u32,
    /// `AUDIT_ARCH_*`, see [`crate::Arch::audit_token`].
    pub arch: u32,
    /// Where it was made.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> Option<u32> {
        let low = offset.is_multiple_of(8) != is_big_endian(self.arch);
        let half = |value: u64| if low { value as u32 } else { (value >> 32) as u32 };
        match offset {
            _ if !offset.is_multiple_of(4) => None,
            0 => Some(self.number),
            4 => Some(self.arch),
            8 | 12 => Some(half(self.instruction_pointer)),
            _ => self.args.get((offset as usize - 16) / 8).map(|arg| half(*arg)),
        }
    }
}

/// The verdict of `program` on `call` and how many instructions it took; `None` if the program is invalid.
pub fn run(program: &[Instruction], call: &Call) -> Option<(u32, usize)> {
    let mut word = 0;
    let mut at = 0_usize;
    for steps in 1..=program.len() {
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        let branch = |holds| usize::from(if holds { jt } else { jf });
        at += 1;
        match code {
            LOAD_WORD => word = call.word(k)?,
            AND => word &= k,
            JUMP => at = at.checked_add(k as usize)?,
            JUMP_EQ => at += branch(word == k),
            JUMP_GT => at += branch(word > k),
            JUMP_GE => at += branch(word >= k),
            JUMP_SET => at += branch(word & k != 0),
            RETURN => return Some((k, steps)),
            _ => return None,
        }
    }
    None
}

/// How many instructions the longest path through `program` takes; `None` if the program is invalid.
pub fn longest_path(program: &[Instruction]) -> Option<usize> {
    let mut longest = vec![0_usize; program.len()];
    for (at, instruction) in program.iter().enumerate().rev() {
        let after = |skipped: usize| longest.get((at + 1).checked_add(skipped)?).copied();
        let rest = match instruction.code {
            RETURN => 0,
            LOAD_WORD | AND => after(0)?,
            JUMP => after(instruction.k as usize)?,
            JUMP_EQ | JUMP_GT | JUMP_GE | JUMP_SET => {
                after(usize::from(instruction.jt))?.max(after(usize::from(instruction.jf))?)
            }
            _ => return None,
        };
        longest[at] = rest + 1;
    }
    longest.first().copied()
}

//! Device rules as an eBPF program, for cgroup v2, which has no device files.
//!
//! The kernel runs the program at each open(2) and mknod(2) of a device with `struct bpf_cgroup_dev_ctx` (linux/bpf.h):
//! `access_type` (kind in the low 16 bits, access in the high), `major`, `minor`; 1 allows, 0 denies. The rules are
//! tried from the last to the first. An allowing rule takes its access out of what is still asked for, and when nothing
//! is left the answer is yes; a denying rule that meets what is still asked for answers no; so does the end of the
//! list.

use crate::devices::{Kind, Rule};
use sys::bpf::Insn;

// linux/bpf_common.h and linux/bpf.h
const LDX_W: u8 = 0x61;
const ALU64_AND_K: u8 = 0x57;
const ALU64_RSH_K: u8 = 0x77;
const ALU64_MOV_K: u8 = 0xb7;
const ALU64_MOV_X: u8 = 0xbf;
const JMP_JEQ_K: u8 = 0x15;
const JMP_JNE_K: u8 = 0x55;
/// Compares 32 bits, so that the immediate is not sign-extended.
const JMP32_JNE_K: u8 = 0x56;
const EXIT: u8 = 0x95;

const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const MET: u8 = 6;

const BPF_DEVCG_DEV_BLOCK: i32 = 1;
const BPF_DEVCG_DEV_CHAR: i32 = 2;
/// BPF_DEVCG_ACC_MKNOD, _READ and _WRITE together; they are numbered as in [`crate::devices`].
const ALL: u8 = 7;

/// The program that enforces the rules.
pub(crate) fn program(rules: &[Rule]) -> Vec<Insn> {
    let mut code = vec![
        insn(LDX_W, KIND, CONTEXT, 0, 0),
        insn(ALU64_MOV_X, ASKED, KIND, 0, 0),
        insn(ALU64_RSH_K, ASKED, 0, 0, 16),
        insn(ALU64_AND_K, KIND, 0, 0, 0xffff),
        insn(LDX_W, MAJOR, CONTEXT, 4, 0),
        insn(LDX_W, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        if rule.is_total() {
            // The verifier refuses code that is never reached, so nothing may follow this.
            code.extend(answer(rule.allow));
            return code;
        }
        code.extend(one(rule));
    }
    code.extend(answer(false));
    code
}

/// One rule: its comparisons jump over the rest of it when the device is another.
fn one(rule: &Rule) -> Vec<Insn> {
    let kind = match rule.kind {
        Kind::Any => None,
        Kind::Block => Some(BPF_DEVCG_DEV_BLOCK),
        Kind::Char => Some(BPF_DEVCG_DEV_CHAR),
    };
    let mut code: Vec<Insn> = [(KIND, kind), (MAJOR, rule.major.map(bits)), (MINOR, rule.minor.map(bits))]
        .into_iter()
        .filter_map(|(register, number)| Some(insn(JMP32_JNE_K, register, 0, 0, number?)))
        .collect();
    let comparisons = code.len();
    if rule.access == ALL {
        // Whatever is asked for, this rule answers.
    } else if rule.allow {
        code.push(insn(ALU64_AND_K, ASKED, 0, 0, i32::from(!rule.access & ALL)));
        code.push(insn(JMP_JNE_K, ASKED, 0, 2, 0));
    } else {
        code.push(insn(ALU64_MOV_X, MET, ASKED, 0, 0));
        code.push(insn(ALU64_AND_K, MET, 0, 0, i32::from(rule.access)));
        code.push(insn(JMP_JEQ_K, MET, 0, 2, 0));
    }
    code.extend(answer(rule.allow));
    let length = code.len();
    for (at, jump) in code[..comparisons].iter_mut().enumerate() {
        jump.off = (length - at - 1) as i16;
    }
    code
}

fn answer(allow: bool) -> [Insn; 2] {
    [insn(ALU64_MOV_K, ANSWER, 0, 0, i32::from(allow)), insn(EXIT, 0, 0, 0, 0)]
}

/// An immediate operand holds any 32 bits; it is only called signed.
fn bits(number: u32) -> i32 {
    number as i32
}

fn insn(code: u8, to: u8, from: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: from << 4 | to, off, imm }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{MKNOD, READ, WRITE};

    /// Runs a program as the kernel would. Panics on anything the generator should never emit.
    fn run(code: &[Insn], kind: u32, access: u8, major: u32, minor: u32) -> bool {
        let context = [u32::from(access) << 16 | kind, major, minor];
        let mut registers = [0u64; 7];
        let mut at = 0;
        loop {
            let Insn { code: op, regs, off, imm } = code[at];
            let (to, from) = (usize::from(regs & 15), usize::from(regs >> 4));
            let wide = imm as i64 as u64;
            at += 1;
            let jumps = match op {
                LDX_W => {
                    registers[to] = u64::from(context[off as usize / 4]);
                    continue;
                }
                ALU64_AND_K => {
                    registers[to] &= wide;
                    continue;
                }
                ALU64_RSH_K => {
                    registers[to] >>= wide;
                    continue;
                }
                ALU64_MOV_K => {
                    registers[to] = wide;
                    continue;
                }
                ALU64_MOV_X => {
                    registers[to] = registers[from];
                    continue;
                }
                JMP_JEQ_K => registers[to] == wide,
                JMP_JNE_K => registers[to] != wide,
                JMP32_JNE_K => registers[to] as u32 != imm as u32,
                EXIT => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            };
            if jumps {
                at += usize::try_from(off).expect("jumps go forward");
            }
        }
    }

    /// What the rules mean, said another way: for each access asked for, the last rule that matches decides.
    fn meaning(rules: &[Rule], kind: u32, access: u8, major: u32, minor: u32) -> bool {
        [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
            rules
                .iter()
                .rev()
                .find(|rule| {
                    rule.access & bit != 0
                        && rule.major.is_none_or(|n| n == major)
                        && rule.minor.is_none_or(|n| n == minor)
                        && match rule.kind {
                            Kind::Any => true,
                            Kind::Block => kind == 1,
                            Kind::Char => kind == 2,
                        }
                })
                .is_some_and(|rule| rule.allow)
        })
    }

    /// All rule lists of a small pseudo-random kind, over a world of few devices so that the rules meet.
    #[test]
    fn the_program_means_what_the_rules_mean() {
        let mut seed = 1u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let numbers = [None, Some(1), Some(u32::MAX), Some(0)];
        for _ in 0..3000 {
            let rules: Vec<Rule> = (0..next(6))
                .map(|_| Rule {
                    allow: next(2) == 0,
                    kind: [Kind::Any, Kind::Block, Kind::Char][next(3) as usize],
                    major: numbers[next(4) as usize],
                    minor: numbers[next(4) as usize],
                    access: next(7) as u8 + 1,
                })
                .collect();
            let code = program(&rules);
            for kind in [1, 2] {
                for access in 1..=7 {
                    for (major, minor) in [(0, 0), (0, 1), (1, 0), (1, 1), (u32::MAX, 1), (1, u32::MAX)] {
                        let told = run(&code, kind, access, major, minor);
                        assert_eq!(told, meaning(&rules, kind, access, major, minor), "{rules:?} {kind} {access}");
                    }
                }
            }
        }
    }
}

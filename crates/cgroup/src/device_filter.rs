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
/// Loads 64 bits, the lower half from its own `imm`, the upper from that of a second, empty instruction.
const LD_DW_K: u8 = 0x18;
const ALU64_AND_K: u8 = 0x57;
const ALU64_OR_X: u8 = 0x4f;
const ALU64_LSH_K: u8 = 0x67;
const ALU64_RSH_K: u8 = 0x77;
const ALU64_MOV_K: u8 = 0xb7;
const ALU64_MOV_X: u8 = 0xbf;
const JMP_JEQ_K: u8 = 0x15;
const JMP_JNE_K: u8 = 0x55;
const JMP_JNE_X: u8 = 0x5d;
/// Compares 32 bits, so that the immediate is not sign-extended.
const JMP32_JNE_K: u8 = 0x56;
const EXIT: u8 = 0x95;

const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// For what one rule needs.
const SPARE: u8 = 6;
/// The major number in the upper half, the minor in the lower.
const DEVICE: u8 = 7;

const BPF_DEVCG_DEV_BLOCK: i32 = 1;
const BPF_DEVCG_DEV_CHAR: i32 = 2;
/// BPF_DEVCG_ACC_MKNOD, _READ and _WRITE together; they are numbered as in [`crate::devices`].
const ALL: u8 = 7;

/// The program that enforces the rules. The kernel follows both ways of every jump when the program is loaded, which takes
/// it longer than all else here: so a rule that another has taken the place of is left out, rules of one kind of device
/// have one comparison of that, and a device's two numbers are compared at once.
pub(crate) fn program(rules: &[Rule]) -> Vec<Insn> {
    let mut code = vec![
        insn(LDX_W, KIND, CONTEXT, 0, 0),
        insn(ALU64_MOV_X, ASKED, KIND, 0, 0),
        insn(ALU64_RSH_K, ASKED, 0, 0, 16),
        insn(ALU64_AND_K, KIND, 0, 0, 0xffff),
        insn(LDX_W, MAJOR, CONTEXT, 4, 0),
        insn(LDX_W, MINOR, CONTEXT, 8, 0),
        insn(ALU64_MOV_X, DEVICE, MAJOR, 0, 0),
        insn(ALU64_LSH_K, DEVICE, 0, 0, 32),
        insn(ALU64_OR_X, DEVICE, MINOR, 0, 0),
    ];
    let is_replaced = |by: &Rule, rule: &Rule| by.same_devices(rule) && rule.access & !by.access == 0;
    let counts = |&(at, rule): &(usize, &Rule)| !rules[at + 1..].iter().any(|later| is_replaced(later, rule));
    let last_first: Vec<&Rule> = rules.iter().enumerate().filter(counts).map(|(_, rule)| rule).rev().collect();
    for of_a_kind in last_first.chunk_by(|one, other| one.kind == other.kind) {
        code.extend(several(of_a_kind));
        if of_a_kind.iter().any(|rule| rule.is_total()) {
            return code;
        }
    }
    code.extend(answer(false));
    code
}

/// Rules of one kind of device, of which all are jumped over when the device is of another.
fn several(rules: &[&Rule]) -> Vec<Insn> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(one(rule));
        // The verifier refuses code that is never reached, so nothing may follow an answer to everything.
        if rule.access == ALL && rule.major.is_none() && rule.minor.is_none() {
            break;
        }
    }
    let kind = match rules[0].kind {
        Kind::Any => return code,
        Kind::Block => BPF_DEVCG_DEV_BLOCK,
        Kind::Char => BPF_DEVCG_DEV_CHAR,
    };
    code.insert(0, insn(JMP32_JNE_K, KIND, 0, code.len() as i16, kind));
    code
}

/// One rule: its comparison jumps over the rest of it when the device is another.
fn one(rule: &Rule) -> Vec<Insn> {
    let mut rest = Vec::new();
    if rule.access == ALL {
        // Whatever is asked for, this rule answers.
    } else if rule.allow {
        rest.push(insn(ALU64_AND_K, ASKED, 0, 0, i32::from(!rule.access & ALL)));
        rest.push(insn(JMP_JNE_K, ASKED, 0, 2, 0));
    } else {
        rest.push(insn(ALU64_MOV_X, SPARE, ASKED, 0, 0));
        rest.push(insn(ALU64_AND_K, SPARE, 0, 0, i32::from(rule.access)));
        rest.push(insn(JMP_JEQ_K, SPARE, 0, 2, 0));
    }
    rest.extend(answer(rule.allow));
    let over = rest.len() as i16;
    let mut code = match (rule.major, rule.minor) {
        (None, None) => vec![],
        (Some(major), None) => vec![insn(JMP32_JNE_K, MAJOR, 0, over, bits(major))],
        (None, Some(minor)) => vec![insn(JMP32_JNE_K, MINOR, 0, over, bits(minor))],
        (Some(major), Some(minor)) => vec![
            insn(LD_DW_K, SPARE, 0, 0, bits(minor)),
            insn(0, 0, 0, 0, bits(major)),
            insn(JMP_JNE_X, DEVICE, SPARE, over, 0),
        ],
    };
    code.append(&mut rest);
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
        let mut registers = [0u64; 8];
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
                LD_DW_K => {
                    registers[to] = u64::from(code[at].imm as u32) << 32 | u64::from(imm as u32);
                    at += 1;
                    continue;
                }
                ALU64_OR_X => {
                    registers[to] |= registers[from];
                    continue;
                }
                ALU64_LSH_K => {
                    registers[to] <<= wide;
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
                JMP_JNE_X => registers[to] != registers[from],
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

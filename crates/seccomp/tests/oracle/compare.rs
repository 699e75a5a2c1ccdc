//! One section's two programs, asked about the same calls.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompOperator as Operator, LinuxSyscall};
use seccomp::interpret::{Call, run};
use seccomp::{Arch, Instruction};

use crate::libseccomp::Oracle;
use crate::model;
use crate::random::Random;

const X32_BIT: u32 = 0x4000_0000;
const ARM_PRIVATE: u32 = 0xf_0000;
const KILL_THREAD: u32 = 0;
const ERRNO: u32 = 0x0005_0000;

/// Who decides where the two programs differ.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Judge {
    /// libseccomp: any difference is ours to mend.
    Libseccomp,
    /// The plain model, where libseccomp is known to err ([`Case::reads_the_wrong_half`]); elsewhere libseccomp.
    ModelForWrongHalves,
    /// The plain model.
    Model,
}

/// A section and what both made of it.
pub(crate) struct Case<'a> {
    pub(crate) section: &'a LinuxSeccomp,
    pub(crate) ours: &'a [Instruction],
    /// `None` where libseccomp cannot be asked: the model judges every call then.
    pub(crate) theirs: Option<&'a [Instruction]>,
    pub(crate) judge: Judge,
    oracle: &'a Oracle,
    /// The ABIs that the section's filter knows, each with the newest number that the section names on it.
    newest: HashMap<Arch, Option<u32>>,
    /// ABIs on which libseccomp's program never loads the number: see the header of main.rs.
    lost: Vec<Arch>,
    /// Calls so far.
    pub(crate) asked: Cell<usize>,
    /// Those of them on which the model decided.
    pub(crate) judged: Cell<usize>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        section: &'a LinuxSeccomp,
        native: Arch,
        (ours, theirs): (&'a [Instruction], Option<&'a [Instruction]>),
        judge: Judge,
        oracle: &'a Oracle,
    ) -> Case<'a> {
        let names: Vec<&String> = section.syscalls().iter().flatten().flat_map(|rule| rule.names()).collect();
        let newest = |arch: Arch| {
            let numbers = names.iter().filter_map(|name| seccomp::number(name, arch));
            numbers.filter(|number| arch != Arch::Arm || *number < ARM_PRIVATE).max()
        };
        let newest = abis(section, native).into_iter().map(|arch| (arch, newest(arch))).collect();
        let lost =
            Arch::ALL.into_iter().filter(|arch| theirs.is_some_and(|theirs| loses_number(theirs, *arch))).collect();
        Case { section, ours, theirs, judge, oracle, newest, lost, asked: Cell::new(0), judged: Cell::new(0) }
    }

    /// The listed ABI that a call is made on.
    fn abi(&self, call: &Call) -> Option<Arch> {
        let x32 = call.arch == Arch::X32.audit_token() && call.number >= X32_BIT;
        let fits = |arch: &&Arch| arch.audit_token() == call.arch && (**arch == Arch::X32) == x32;
        self.newest.keys().find(fits).copied()
    }

    /// runc's stub: ENOSYS above the newest number that the section names. Unlike there, socketcall and ipc are known
    /// where a rule goes through them.
    fn is_unknown(&self, call: &Call, arch: Arch) -> bool {
        let lenient = [Action::ScmpActAllow, Action::ScmpActLog, Action::ScmpActTrace];
        let private = arch == Arch::Arm && call.number >= ARM_PRIVATE;
        let newer = self.newest[&arch].is_some_and(|newest| call.number > newest);
        newer && !private && !self.is_entered(call.number, arch) && !lenient.contains(&self.section.default_action())
    }

    fn is_entered(&self, number: u32, arch: Arch) -> bool {
        let default = self.section.default_action().as_u32(self.section.default_errno_ret());
        let mut rules = self.section.syscalls().iter().flatten();
        let goes_through =
            |name: &String| self.oracle.multiplexed(name, arch).is_some_and(|(entrance, _)| entrance == number);
        rules.any(|rule| rule.action().as_u32(rule.errno_ret()) != default && rule.names().iter().any(goes_through))
    }

    /// Whether several rules for the call compare on a 64-bit ABI, one of them by LT or LE: see the header of main.rs.
    fn reads_the_wrong_half(&self, call: &Call, arch: Arch) -> bool {
        let of_call =
            |rule: &&LinuxSyscall| rule.names().iter().any(|name| seccomp::number(name, arch) == Some(call.number));
        let named: Vec<_> = self.section.syscalls().iter().flatten().filter(of_call).collect();
        let mut conditions = named.iter().flat_map(|rule| rule.args().iter().flatten());
        let upper = conditions.any(|condition| matches!(condition.op(), Operator::ScmpCmpLt | Operator::ScmpCmpLe));
        arch.has_wide_args() && named.len() > 1 && upper
    }

    /// Asks both programs, and where they differ the judge.
    fn ask(&self, call: &Call) -> Result<(), String> {
        self.asked.set(self.asked.get() + 1);
        let (got, _) = run(self.ours, call).expect("our program is valid");
        let theirs = self.theirs.map(|program| run(program, call).expect("libseccomp's program is valid").0);
        if theirs == Some(got) {
            return Ok(());
        }
        let Some(arch) = self.abi(call) else {
            // libseccomp's answer to ABIs that are not listed, but for number -1 beside x86-64's.
            let skipped = call.number == u32::MAX && self.newest.contains_key(&Arch::X86_64);
            let fine = theirs.is_none() && (got == KILL_THREAD || skipped);
            return if fine { Ok(()) } else { self.differs(call, got, theirs) };
        };
        if self.is_unknown(call, arch) {
            return if got == ERRNO | arch.enosys() { Ok(()) } else { self.differs(call, got, theirs) };
        }
        let asks_model = match self.judge {
            _ if theirs.is_none() || self.lost.contains(&arch) => true,
            Judge::Libseccomp => false,
            Judge::ModelForWrongHalves => self.reads_the_wrong_half(call, arch),
            Judge::Model => true,
        };
        if !asks_model {
            return self.differs(call, got, theirs);
        }
        self.judged.set(self.judged.get() + 1);
        let model = model::verdict(self.section, call, arch, self.oracle);
        if got == model { Ok(()) } else { self.differs(call, got, Some(model)) }
    }

    fn differs(&self, call: &Call, got: u32, expected: Option<u32>) -> Result<(), String> {
        Err(format!("{call:x?}: ours {got:#x}, expected {expected:#x?}"))
    }

    /// On every listed ABI every number with a few arguments, the numbers under conditions with many. Other ABIs get
    /// a few calls.
    pub(crate) fn ask_all(&self, random: &mut Random) -> Result<(), String> {
        let (bounds, conditional) = bounds(self.section);
        for arch in Arch::ALL.into_iter().filter(|arch| *arch != Arch::X32) {
            let hot = self.hot(&conditional, arch);
            let listed =
                self.newest.contains_key(&arch) || (arch == Arch::X86_64 && self.newest.contains_key(&Arch::X32));
            for number in if listed { numbers(arch) } else { vec![0, 4001, u32::MAX] } {
                for _ in 0..if hot.contains(&number) { 60 } else { 1 } {
                    let args = self.args(random, &bounds, arch, number);
                    self.ask(&Call { number, arch: arch.audit_token(), instruction_pointer: 0, args })?;
                }
            }
        }
        // AUDIT_ARCH_SPARC64, which nobody lists.
        self.ask(&Call { number: 0, arch: 0x8000_002b, instruction_pointer: 0, args: [0; 6] })
    }

    fn hot(&self, conditional: &HashSet<&String>, arch: Arch) -> HashSet<u32> {
        let mut hot: HashSet<u32> = conditional.iter().filter_map(|name| seccomp::number(name, arch)).collect();
        if arch == Arch::X86_64 {
            hot.extend(conditional.iter().filter_map(|name| seccomp::number(name, Arch::X32)));
        }
        hot.extend(["socketcall", "ipc"].iter().filter_map(|name| seccomp::number(name, arch)));
        hot
    }

    fn args(&self, random: &mut Random, bounds: &[u64], arch: Arch, number: u32) -> [u64; 6] {
        let mut args = [0; 6].map(|_: u64| *random.choose(bounds));
        let enters = |name| seccomp::number(name, arch) == Some(number);
        // The command of socketcall and ipc, which no condition names.
        if (enters("socketcall") || enters("ipc")) && random.below(3) != 0 {
            args[0] = random.below(26);
        }
        // As the kernel gives them. On x32 and n32, whose registers have 64 bits, it gives all of them.
        let narrow = !arch.has_wide_args() && !matches!(arch, Arch::Mips64n32 | Arch::Mipsel64n32);
        if narrow { args.map(|arg| arg & 0xffff_ffff) } else { args }
    }
}

/// Whether `program` compares what it takes for the number right after the test for the ABI: with the word that it has
/// still loaded, the ABI's token.
fn loses_number(program: &[Instruction], arch: Arch) -> bool {
    const JUMP_EQ: u16 = 0x15;
    let entrances = ["socketcall", "ipc"].map(|name| seccomp::number(name, arch));
    program.iter().enumerate().any(|(at, test)| {
        let is_test = test.code == JUMP_EQ && test.k == arch.audit_token();
        let next = program.get(at + 1 + usize::from(test.jt)).filter(|_| is_test);
        next.is_some_and(|next| next.code == JUMP_EQ && entrances.contains(&Some(next.k)))
    })
}

/// The ABIs that the section's filter knows.
pub(crate) fn abis(section: &LinuxSeccomp, native: Arch) -> Vec<Arch> {
    let listed = section.architectures().iter().flatten().map(|name| Arch::from_oci(*name, native).unwrap());
    let mut abis: Vec<Arch> = std::iter::once(native).chain(listed).collect();
    abis.sort();
    abis.dedup();
    abis
}

/// 0 to 1023, the same from the ABI's base, and what is far away.
fn numbers(arch: Arch) -> Vec<u32> {
    let base = match arch {
        Arch::X86_64 => X32_BIT,
        Arch::Mips | Arch::Mipsel => 4000,
        Arch::Mips64 | Arch::Mipsel64 => 5000,
        Arch::Mips64n32 | Arch::Mipsel64n32 => 6000,
        _ => 0,
    };
    let far = [0xf_0001, 0xf_0002, 0xf_0007, X32_BIT, X32_BIT | 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let mut numbers: Vec<u32> = (0..=1023).chain(base..=base + 1023).chain(far).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Values around every bound of the section, and the names of the calls that have conditions.
fn bounds(section: &LinuxSeccomp) -> (Vec<u64>, HashSet<&String>) {
    let mut bounds = vec![0, u64::MAX];
    let mut conditional = HashSet::new();
    for rule in section.syscalls().iter().flatten() {
        for condition in rule.args().iter().flatten() {
            conditional.extend(rule.names());
            for value in [condition.value(), condition.value_two().unwrap_or_default()] {
                bounds.extend([value.wrapping_sub(1), value, value.wrapping_add(1), !value, value ^ (1 << 32)]);
            }
        }
    }
    (bounds, conditional)
}

//! The section becomes a program.
//!
//! What holds beside the section's rules:
//! - The native architecture is always filtered by the rules, listed or not, as in runc and crun.
//! - A system call of an architecture that is not listed kills its thread: libseccomp's default, which runc keeps. So
//!   does an x32 call where x32 is not listed, but for number -1, which tracers use to skip a call.
//! - runc's rule for calls newer than the profile: if the default action denies, every number above the largest one
//!   that the profile names (allowing it or not) gives ENOSYS, so that a C library falls back to older calls instead
//!   of failing with EPERM. ARM's private calls do not count as the largest, unlike in runc, where they disable the
//!   rule. A name without a number of its own (`send` on 32-bit x86) does not count either, but makes its entrance
//!   (`socketcall`) a known call: in runc that gives ENOSYS before the rule is asked.
//! - Without `flags` the filter is loaded with SPEC_ALLOW, as by runc: the speculative store bypass mitigation costs
//!   much and is the kernel's to decide.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag};

use crate::arch::{Words, X32_BIT};
use crate::args::search_argument;
use crate::assemble::assemble;
use crate::instruction::flag;
use crate::rules::{self, Abi, Decision, Rule};
use crate::syscalls::ARM_PRIVATE;
use crate::tree::{Graph, Id, Node, Ranges};
use crate::{Arch, Error, Program};

// offsetof(struct seccomp_data, ...)
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

const KILL_THREAD: u32 = 0;
/// `SECCOMP_RET_ERRNO`
const RETURN_ERRNO: u32 = 0x0005_0000;

/// Compiles an OCI seccomp section for a machine whose own architecture is `native`.
///
/// Source of what a section means: the OCI runtime-spec, config-linux.md, "Seccomp"; where that is silent, runc. See
/// this module's and `rules`' headers. Fails for sections that contradict themselves, and when the program would be
/// longer than the kernel takes.
pub fn compile(section: &LinuxSeccomp, native: Arch) -> Result<Program, Error> {
    let action = section.default_action();
    if action == Action::ScmpActNotify {
        return Err(Error::NotifyByDefault);
    }
    let default = rules::verdict(action, section.default_errno_ret(), "the default action")?;
    let mut archs = vec![native];
    for name in section.architectures().iter().flatten() {
        let arch = Arch::from_oci(*name, native)?;
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    let abis = rules::gather(section, &archs, default)?;
    let mut compiler = Compiler::new(default, denies(action));
    let root = compiler.program(&abis);
    let instructions = assemble(&compiler.graph, root)?;
    Ok(Program { instructions, flags: flags(section) })
}

/// Whether the default action is one for which ENOSYS is the better answer to unknown calls. A tracer, like an allowed
/// call, answers ENOSYS by itself.
fn denies(default: Action) -> bool {
    !matches!(default, Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace)
}

fn flags(section: &LinuxSeccomp) -> u32 {
    let mut rules = section.syscalls().iter().flatten();
    let listens = rules.any(|rule| rule.action() == Action::ScmpActNotify);
    let asked = section.flags().iter().flatten().fold(0, |flags, asked| {
        flags
            | match asked {
                Flag::SeccompFilterFlagLog => flag::LOG,
                Flag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
                // The kernel takes neither TSYNC beside a listener nor WAIT_KILLABLE_RECV without one.
                Flag::SeccompFilterFlagTsync if listens => 0,
                Flag::SeccompFilterFlagTsync => flag::TSYNC,
                Flag::SeccompFilterFlagWaitKillableRecv if listens => flag::WAIT_KILLABLE_RECV,
                Flag::SeccompFilterFlagWaitKillableRecv => 0,
            }
    });
    let flags = if section.flags().is_none() { flag::SPEC_ALLOW } else { asked };
    if listens { flags | flag::NEW_LISTENER } else { flags }
}

struct Compiler {
    graph: Graph,
    default: Id,
    /// Whether numbers above the newest that the profile names are unknown calls.
    denies: bool,
    kill: Id,
}

impl Compiler {
    fn new(default: u32, denies: bool) -> Compiler {
        let mut graph = Graph::default();
        let default = graph.verdict(default);
        let kill = graph.verdict(KILL_THREAD);
        Compiler { graph, default, denies, kill }
    }

    /// Architectures are told apart one after the other, the native one (the first) first.
    fn program(&mut self, abis: &[Abi]) -> Id {
        let mut dispatch = self.kill;
        let mut tokens: Vec<u32> = Vec::new();
        for abi in abis {
            if !tokens.contains(&abi.arch.audit_token()) {
                tokens.push(abi.arch.audit_token());
            }
        }
        for token in tokens.into_iter().rev() {
            let mut sharing: Vec<_> = abis.iter().filter(|abi| abi.arch.audit_token() == token).collect();
            // x86-64's numbers lie below x32's.
            sharing.sort_by_key(|abi| abi.arch);
            let tree = self.numbers(&sharing);
            let yes = self.graph.add(Node::Load { offset: NUMBER, next: tree });
            dispatch = self.graph.add(Node::IfEqual { value: token, yes, no: dispatch });
        }
        self.graph.add(Node::Load { offset: ARCH, next: dispatch })
    }

    /// The search tree over all numbers of the ABIs that share a token.
    fn numbers(&mut self, abis: &[&Abi]) -> Id {
        let mut ranges = Ranges::all(self.default);
        let listed = |arch| abis.iter().any(|abi| abi.arch == arch);
        if listed(Arch::X32) && !listed(Arch::X86_64) {
            ranges.from(0, self.kill);
        }
        for abi in abis {
            if abi.arch == Arch::X32 {
                ranges.from(X32_BIT, self.default);
            }
            self.add_numbers(&mut ranges, abi);
        }
        if listed(Arch::X86_64) && !listed(Arch::X32) {
            ranges.from(X32_BIT, self.kill);
            ranges.from(u32::MAX, self.default);
        }
        ranges.search(&mut self.graph)
    }

    fn add_numbers(&mut self, ranges: &mut Ranges<u32>, abi: &Abi) {
        for (number, decision) in &abi.decisions {
            if abi.arch == Arch::Arm && *number >= ARM_PRIVATE {
                self.end_known(ranges, abi);
                ranges.from(*number, self.default);
            }
            let to = match decision {
                Decision::Always(verdict) => self.graph.verdict(*verdict),
                Decision::FirstOf(rules) => self.arguments(rules, abi.arch.words()),
            };
            ranges.from(*number, to);
            ranges.from(number + 1, self.default);
        }
        self.end_known(ranges, abi);
    }

    /// From the number after the newest on, calls are unknown; ARM's private ones never are.
    fn end_known(&mut self, ranges: &mut Ranges<u32>, abi: &Abi) {
        let Some(newest) = abi.newest else {
            return;
        };
        if ranges.as_slice().last().is_some_and(|(last, _)| *last > newest + 1) {
            return;
        }
        let newer = if self.denies { self.graph.verdict(RETURN_ERRNO | abi.arch.enosys()) } else { self.default };
        ranges.from(newest + 1, newer);
        if abi.arch == Arch::Arm {
            ranges.from(ARM_PRIVATE, self.default);
        }
    }

    /// The first of `rules` whose conditions hold decides, else the default.
    fn arguments(&mut self, rules: &[Rule], words: Words) -> Id {
        let ranged = |rule: &Rule| match rule.conditions[..] {
            [condition] if !condition.is_masked() => Some(condition.arg),
            _ => None,
        };
        match ranged(&rules[0]) {
            Some(arg) if rules.iter().all(|rule| ranged(rule) == Some(arg)) => self.one_argument(rules, arg, words),
            _ => self.list(rules, words),
        }
    }

    /// All rules compare one argument, once: a search tree over its values.
    fn one_argument(&mut self, rules: &[Rule], arg: u32, words: Words) -> Id {
        let mut bounds: Vec<u64> = rules.iter().flat_map(|rule| rule.conditions[0].bounds()).collect();
        bounds.push(0);
        bounds.sort_unstable();
        bounds.dedup();
        let mut ranges = Ranges::all(self.default);
        for bound in bounds {
            let first = rules.iter().find(|rule| rule.conditions[0].holds(bound));
            let to = first.map_or(self.default, |rule| self.graph.verdict(rule.verdict));
            ranges.from(bound, to);
        }
        search_argument(&mut self.graph, arg, words, &ranges)
    }

    /// One rule after the other, one condition after the other.
    fn list(&mut self, rules: &[Rule], words: Words) -> Id {
        rules.iter().rev().fold(self.default, |otherwise, rule| {
            let verdict = self.graph.verdict(rule.verdict);
            rule.conditions
                .iter()
                .rev()
                .fold(verdict, |yes, condition| condition.node(&mut self.graph, words, yes, otherwise))
        })
    }
}

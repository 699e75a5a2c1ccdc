//! Random sections, the same ones for the same seed.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use seccomp::Arch;

/// Calls for random rules: plain ones, multiplexed ones and those that few ABIs have.
pub(crate) const NAMES: &str = "read write open openat close stat fstat mmap mmap2 mprotect ioctl pread64 access pipe select socket connect \
    accept accept4 sendto recvfrom sendmsg recvmsg bind listen getsockopt setsockopt socketpair recvmmsg sendmmsg \
    send recv semop semget semctl semtimedop shmget shmat shmctl msgget msgsnd clone clone3 fork execve kill fcntl \
    personality prctl arch_prctl ptrace mount setns unshare bpf keyctl futex vm86 cacheflush set_tls socketcall ipc \
    pidfd_open riscv_flush_icache swapcontext s390_runtime_instr sysmips mseal atomic_barrier no_such_call";

const PLAIN: [&str; 8] = ["read", "openat", "ioctl", "clone", "fcntl", "prctl", "mount", "futex"];

const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpNe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpMaskedEq,
];

/// xorshift64*
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 33) % limit
    }

    pub(crate) fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

fn action(random: &mut Random) -> (Action, Option<u32>) {
    match random.below(9) {
        0 => (Action::ScmpActKillProcess, None),
        1 => (Action::ScmpActKillThread, None),
        2 => (Action::ScmpActTrap, None),
        3 => (Action::ScmpActErrno, None),
        4 => (Action::ScmpActErrno, Some(2 + random.below(4000) as u32)),
        5 => (Action::ScmpActTrace, Some(2 + random.below(65000) as u32)),
        6 => (Action::ScmpActLog, None),
        7 => (Action::ScmpActNotify, None),
        _ => (Action::ScmpActAllow, None),
    }
}

fn value(random: &mut Random, wide: bool) -> u64 {
    let low = match random.below(4) {
        0 => random.below(8),
        1 => 0xffff_fff8 + random.below(8),
        2 => 1 << random.below(32),
        _ => random.next() & 0xffff_ffff,
    };
    let high = match random.below(4) {
        0 => 0,
        1 => random.below(3),
        2 => 0xffff_ffff,
        _ => random.next() & 0xffff_ffff,
    };
    if wide { low | high << 32 } else { low }
}

fn condition(random: &mut Random, arg: usize, wide: bool, operators: &[Operator]) -> LinuxSeccompArg {
    let operator = *random.choose(operators);
    let condition = LinuxSeccompArgBuilder::default().index(arg).op(operator).value(value(random, wide));
    let condition = condition.value_two(value(random, wide));
    condition.build().unwrap()
}

fn rule(name: &str, action: (Action, Option<u32>), args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    // For these an error, see sections.rs.
    let hands_over = action.0 == Action::ScmpActNotify && matches!(name, "sendmsg" | "socketcall");
    let action = if hands_over { (Action::ScmpActTrap, None) } else { action };
    let mut rule = LinuxSyscall::default();
    rule.set_names(vec![name.to_owned()]).set_action(action.0).set_errno_ret(action.1);
    rule.set_args((!args.is_empty()).then_some(args));
    rule
}

/// A section without rules, and its native ABI. The wide ABIs only, where values may be wide: libseccomp cuts them off on
/// the others. All of one byte order: libseccomp takes no others together.
fn empty(random: &mut Random, from: &[Arch], wide: bool) -> (LinuxSeccomp, Arch) {
    let (default, errno) = std::iter::repeat_with(|| action(random))
        .find(|(action, _)| *action != Action::ScmpActNotify)
        .expect("an endless iterator");
    let native = loop {
        let native = *random.choose(from);
        if !wide || native.has_wide_args() {
            break native;
        }
    };
    let mut archs = from.to_vec();
    archs.retain(|arch| {
        arch.is_big_endian() == native.is_big_endian() && (!wide || arch.has_wide_args()) && random.below(4) == 0
    });
    let archs = archs.into_iter().map(Arch::to_oci).collect();
    let mut section = LinuxSeccomp::default();
    section.set_default_action(default).set_default_errno_ret(errno).set_architectures(Some(archs));
    (section, native)
}

/// For a name either one rule with several conditions, or several rules with one condition on the same argument and one
/// action. libseccomp 2.5.4 decides other mixtures wrongly (and builds some for minutes): its tree loses alternatives.
pub(crate) fn section(random: &mut Random, names: &[&str], from: &[Arch], wide: bool) -> (LinuxSeccomp, Arch) {
    let (mut section, native) = empty(random, from, wide);
    let mut rules = Vec::new();
    for _ in 0..1 + random.below(40) {
        let name = (*random.choose(names)).to_owned();
        let action = action(random);
        if rules.iter().any(|rule: &LinuxSyscall| rule.names()[0] == name) {
            continue;
        }
        if random.below(2) == 0 {
            let all: Vec<usize> = (0..6).filter(|_| random.below(3) == 0).collect();
            let args = all.into_iter().map(|arg| condition(random, arg, wide, &OPERATORS)).collect();
            rules.push(rule(&name, action, args));
            continue;
        }
        let arg = random.below(6) as usize;
        for _ in 0..1 + random.below(5) {
            rules.push(rule(&name, action, vec![condition(random, arg, wide, &OPERATORS)]));
        }
    }
    // One action a name: multiplexed calls share their entrance's command, and a name may have been chosen twice.
    let mut first = std::collections::HashMap::new();
    for rule in &mut rules {
        let chosen = *first.entry(rule.names()[0].clone()).or_insert((rule.action(), rule.errno_ret()));
        rule.set_action(chosen.0).set_errno_ret(chosen.1);
    }
    rules.retain(|rule| !matches!(rule.names()[0].as_str(), "socketcall" | "ipc"));
    section.set_syscalls(Some(rules));
    (section, native)
}

/// One rule with up to six conditions.
pub(crate) fn one_rule(random: &mut Random, names: &[&str], from: &[Arch], wide: bool) -> (LinuxSeccomp, Arch) {
    let (mut section, native) = empty(random, from, wide);
    let args = (0..6).filter(|_| random.below(2) == 0).collect::<Vec<_>>();
    let args = args.into_iter().map(|arg| condition(random, arg, wide, &OPERATORS)).collect();
    let (name, action) = ((*random.choose(names)).to_owned(), action(random));
    section.set_syscalls(Some(vec![rule(&name, action, args)]));
    (section, native)
}

/// Two to five rules for one call with one action, each comparing the same argument. No call that socketcall or ipc make.
pub(crate) fn one_call(random: &mut Random, from: &[Arch], wide: bool) -> (LinuxSeccomp, Arch) {
    let (mut section, native) = empty(random, from, wide);
    let (name, action, arg) = (*random.choose(&PLAIN), action(random), random.below(6) as usize);
    let count = 2 + random.below(4);
    let rules = (0..count).map(|_| rule(name, action, vec![condition(random, arg, wide, &OPERATORS)])).collect();
    section.set_syscalls(Some(rules));
    (section, native)
}

/// Up to six calls with up to three rules, each with its own action and up to two conditions. None that always holds: we
/// find contradictions behind those that libseccomp does not see.
pub(crate) fn mixed(random: &mut Random, names: &[&str], from: &[Arch], wide: bool) -> (LinuxSeccomp, Arch) {
    let (mut section, native) = empty(random, from, wide);
    let mut rules = Vec::new();
    for _ in 0..1 + random.below(6) {
        let name = *random.choose(names);
        for _ in 0..1 + random.below(3) {
            let args: Vec<usize> = (0..1 + random.below(2)).map(|_| random.below(3) as usize).collect();
            let mut args: Vec<_> = args.into_iter().map(|arg| condition(random, arg, wide, &OPERATORS)).collect();
            args.retain(|condition| condition.value() != 0);
            rules.push(rule(name, action(random), args));
        }
    }
    section.set_syscalls(Some(rules));
    (section, native)
}

//! What a section means, said as plainly as possible: no tree, no program, one rule after the other.
//!
//! The judge of ABIs that libseccomp 2.5.4 lacks, and where our program and libseccomp's differ. Of several rules that
//! hold, the one that [`order`] puts first decides: libseccomp's order.

use std::cmp::Ordering;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator};
use seccomp::Arch;
use seccomp::interpret::Call;

use crate::libseccomp::Oracle;

/// Conditions that must all hold, of rising argument, and what then happens.
type Rule = (Vec<LinuxSeccompArg>, u32);

/// The verdict of the section's rules on a call that is made on `arch`.
pub(crate) fn verdict(section: &LinuxSeccomp, call: &Call, arch: Arch, oracle: &Oracle) -> u32 {
    let default = section.default_action().as_u32(section.default_errno_ret());
    let mut rules: Vec<Rule> = Vec::new();
    for rule in section.syscalls().iter().flatten() {
        let action = rule.action().as_u32(rule.errno_ret());
        if action == default {
            continue;
        }
        let args = rule.args().clone().unwrap_or_default();
        let twice = args.iter().any(|one| args.iter().filter(|other| other.index() == one.index()).count() > 1);
        let alternatives = if twice { args.into_iter().map(|arg| vec![arg]).collect() } else { vec![args] };
        for name in rule.names() {
            for alternative in &alternatives {
                if seccomp::number(name, arch) == Some(call.number) {
                    rules.push((sorted(alternative.clone()), action));
                }
                if let Some((entrance, command)) = oracle.multiplexed(name, arch)
                    && entrance == call.number
                {
                    let mut through = alternative.clone();
                    through.retain(|condition| condition.index() != 0);
                    through.push(equal(0, command));
                    rules.push((sorted(through), action));
                }
            }
        }
    }
    if let Some((_, action)) = rules.iter().find(|(conditions, _)| conditions.is_empty()) {
        return *action;
    }
    rules.sort_by(|(one, _), (other, _)| {
        let first = one.iter().zip(other).map(|(one, other)| order(one, other));
        first.fold(Ordering::Equal, Ordering::then).then(one.len().cmp(&other.len()))
    });
    let holds = |(conditions, _): &&Rule| conditions.iter().all(|condition| holds(condition, call, arch));
    rules.iter().find(holds).map_or(default, |(_, action)| *action)
}

fn equal(index: usize, value: u64) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default().index(index).value(value).op(Operator::ScmpCmpEq).build().unwrap()
}

/// Those that can fail, of rising argument.
fn sorted(mut conditions: Vec<LinuxSeccompArg>) -> Vec<LinuxSeccompArg> {
    conditions.retain(|condition| {
        !matches!(condition.op(), Operator::ScmpCmpGe | Operator::ScmpCmpMaskedEq) || condition.value() != 0
    });
    conditions.sort_by_key(LinuxSeccompArg::index);
    conditions
}

/// Which of two conditions is asked first.
fn order(one: &LinuxSeccompArg, other: &LinuxSeccompArg) -> Ordering {
    let key = |condition: &LinuxSeccompArg| match condition.op() {
        Operator::ScmpCmpEq | Operator::ScmpCmpNe => (0, !condition.value()),
        Operator::ScmpCmpMaskedEq => (0, !(condition.value() & condition.value_two().unwrap_or_default())),
        Operator::ScmpCmpLt | Operator::ScmpCmpLe => (1, condition.value()),
        Operator::ScmpCmpGt | Operator::ScmpCmpGe => (2, !condition.value()),
    };
    other.index().cmp(&one.index()).then(key(one).cmp(&key(other)))
}

fn holds(condition: &LinuxSeccompArg, call: &Call, arch: Arch) -> bool {
    let given = call.args[condition.index()];
    let arg = if arch.has_wide_args() { given } else { given & 0xffff_ffff };
    let value = condition.value();
    match condition.op() {
        Operator::ScmpCmpNe => arg != value,
        Operator::ScmpCmpLt => arg < value,
        Operator::ScmpCmpLe => arg <= value,
        Operator::ScmpCmpEq => arg == value,
        Operator::ScmpCmpGe => arg >= value,
        Operator::ScmpCmpGt => arg > value,
        Operator::ScmpCmpMaskedEq => arg & value == condition.value_two().unwrap_or_default() & value,
    }
}

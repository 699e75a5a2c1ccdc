//! What a section means, said as plainly as possible: no tree, no program, one rule after the other.
//!
//! The judge where our program and libseccomp's differ. Only for sections in which all rules for a call with conditions
//! have one action, so that their order does not matter.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator};
use seccomp::Arch;
use seccomp::interpret::Call;

/// The verdict of the section's rules on a call that is made through `name`'s own number on `arch`.
pub(crate) fn verdict(section: &LinuxSeccomp, call: &Call, arch: Arch) -> u32 {
    let default = section.default_action().as_u32(section.default_errno_ret());
    let mut found = None;
    for rule in section.syscalls().iter().flatten() {
        let action = rule.action().as_u32(rule.errno_ret());
        let named = rule.names().iter().any(|name| seccomp::number(name, arch) == Some(call.number));
        if !named || action == default {
            continue;
        }
        let args = rule.args().clone().unwrap_or_default();
        let twice = args.iter().any(|one| args.iter().filter(|other| other.index() == one.index()).count() > 1);
        let mut results = args.iter().map(|condition| holds(condition, call, arch));
        let applies = if twice { results.any(|holds| holds) } else { results.all(|holds| holds) };
        if applies {
            found = found.or(Some(action));
        }
    }
    found.unwrap_or(default)
}

fn holds(condition: &LinuxSeccompArg, call: &Call, arch: Arch) -> bool {
    let wide = matches!(arch, Arch::X86_64 | Arch::Aarch64);
    let arg = if wide { call.args[condition.index()] } else { call.args[condition.index()] & 0xffff_ffff };
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

//! A section's rules, per ABI and system call, in the order in which they are asked.
//!
//! What a section means is what runc makes libseccomp do with it:
//! - A rule holds when all its conditions do. If two conditions of a rule compare the same argument, though, each
//!   becomes a rule of its own (any of them suffices), as in runc and crun.
//! - Rules for one system call are alternatives. A rule without conditions replaces those with conditions, wherever it
//!   stands; of two without conditions the first stays. Where several rules with conditions hold, the most specific
//!   one decides ([`Condition::precedence`]); two with the same conditions and different actions are an error.
//! - A rule whose action is the default action is left out, so it shields nothing from other rules.
//! - The thread that loads the filter is then filtered itself, and hands the listener over with `sendmsg`, the one call
//!   that it makes before anybody can answer a notification: SCMP_ACT_NOTIFY for it is an error, whatever the conditions
//!   (runc refuses `write` for the same reason). So it is for `socketcall` where the native ABI has that, which C
//!   libraries may make `sendmsg` with. Every other call, before exec too, waits until the listener's new owner answers.
//! - A name that is not in our table is skipped, as in runc: a profile may be newer than this program. The price is
//!   that a misspelt name goes unnoticed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSyscall};

use crate::args::Condition;
use crate::syscalls::{ARM_PRIVATE, Syscall};
use crate::{Arch, Error};

/// Rules with conditions for one system call: more cannot fit into a program anyway.
const MAX_CONDITIONAL: usize = 4096;

/// What decides a system call.
pub(crate) enum Decision {
    /// This verdict, whatever the arguments.
    Always(u32),
    /// The first of these whose conditions all hold, else the default action.
    FirstOf(Vec<Rule>),
}

/// A verdict under conditions: at least one, of rising argument, none twice.
#[derive(PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) verdict: u32,
}

/// All rules of an ABI.
pub(crate) struct Abi {
    pub(crate) arch: Arch,
    /// By number.
    pub(crate) decisions: BTreeMap<u32, Decision>,
    /// The largest number that a rule names, whatever its action.
    pub(crate) newest: Option<u32>,
}

/// The filter's return value for an action.
pub(crate) fn verdict(action: Action, errno: Option<u32>, what: &str) -> Result<u32, Error> {
    match (action, errno) {
        (Action::ScmpActErrno | Action::ScmpActTrace, Some(errno)) if errno > 0xffff => {
            Err(Error::ErrnoTooLarge { errno, what: what.to_owned() })
        }
        (Action::ScmpActErrno | Action::ScmpActTrace, _) | (_, None) => Ok(action.as_u32(errno)),
        (_, Some(errno)) => Err(Error::ErrnoWithoutUse { action: action.to_string(), errno, what: what.to_owned() }),
    }
}

/// Sorts the section's rules by ABI, of which the first is the native one, and number. `default` is the default action's
/// verdict.
pub(crate) fn gather(section: &LinuxSeccomp, archs: &[Arch], default: u32) -> Result<Vec<Abi>, Error> {
    let mut abis: Vec<Abi> =
        archs.iter().map(|arch| Abi { arch: *arch, decisions: BTreeMap::new(), newest: None }).collect();
    for rule in section.syscalls().iter().flatten() {
        for name in rule.names() {
            add(&mut abis, rule, name, default)?;
        }
    }
    for rules in abis.iter_mut().flat_map(|abi| abi.decisions.values_mut()) {
        if let Decision::FirstOf(rules) = rules {
            // Shorter before longer where one's conditions begin the other's: libseccomp keeps the shorter one only.
            rules.sort_by(|one, other| {
                let pairs = one.conditions.iter().zip(&other.conditions);
                let order = pairs.map(|(one, other)| one.precedence(other)).find(|order| order.is_ne());
                order.unwrap_or_else(|| one.conditions.len().cmp(&other.conditions.len()))
            });
        }
    }
    Ok(abis)
}

fn add(abis: &mut [Abi], rule: &LinuxSyscall, name: &str, default: u32) -> Result<(), Error> {
    let native = abis[0].arch;
    if name.is_empty() {
        return Err(Error::EmptyName);
    }
    let hands_over = name == "sendmsg" || (name == "socketcall" && crate::number(name, native).is_some());
    if hands_over && rule.action() == Action::ScmpActNotify {
        return Err(Error::NotifyHandOver { syscall: name.to_owned() });
    }
    let verdict = verdict(rule.action(), rule.errno_ret(), name)?;
    let alternatives = alternatives(rule, name)?;
    let Some(syscall) = Syscall::find(name) else {
        return Ok(());
    };
    for abi in abis {
        if let Some(number) = syscall.number(abi.arch) {
            abi.seen(number);
            if verdict != default {
                abi.add_all(name, number, &alternatives, verdict)?;
            }
        }
        if let Some((entrance, command)) = syscall.multiplexed
            && let Some(number) = crate::number(entrance, abi.arch)
            && verdict != default
        {
            let multiplexed: Vec<_> = alternatives.iter().map(|conditions| through(command, conditions)).collect();
            abi.add_all(name, number, &multiplexed, verdict)?;
        }
    }
    Ok(())
}

/// The sets of conditions of which one must hold.
fn alternatives(rule: &LinuxSyscall, name: &str) -> Result<Vec<Vec<Condition>>, Error> {
    let mut conditions = Vec::new();
    let mut twice = false;
    let mut compared = [false; 6];
    for from in rule.args().iter().flatten() {
        let index = from.index();
        let Some(seen) = compared.get_mut(index) else {
            return Err(Error::BadArgument { syscall: name.to_owned(), index });
        };
        twice |= std::mem::replace(seen, true);
        conditions.push(Condition::from_oci(from, index as u32));
    }
    if twice {
        return Ok(conditions.into_iter().map(|condition| condition.into_iter().collect()).collect());
    }
    let mut conditions: Vec<_> = conditions.into_iter().flatten().collect();
    conditions.sort_by_key(|condition| condition.arg);
    Ok(vec![conditions])
}

/// The conditions on a call that is made through `socketcall` or `ipc`: argument 0 is the command there. libseccomp
/// keeps those on the other arguments, although they mean something else there, and so does this.
fn through(command: u32, conditions: &[Condition]) -> Vec<Condition> {
    let others = conditions.iter().copied().filter(|condition| condition.arg != 0);
    std::iter::once(Condition::equal(0, u64::from(command))).chain(others).collect()
}

impl Abi {
    fn seen(&mut self, number: u32) {
        let private = self.arch == Arch::Arm && number >= ARM_PRIVATE;
        if !private {
            self.newest = self.newest.max(Some(number));
        }
    }

    fn add_all(&mut self, name: &str, number: u32, sets: &[Vec<Condition>], verdict: u32) -> Result<(), Error> {
        for conditions in sets {
            self.add(name, number, Rule { conditions: conditions.clone(), verdict })?;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, number: u32, rule: Rule) -> Result<(), Error> {
        let always = rule.conditions.is_empty();
        match self.decisions.entry(number) {
            Entry::Vacant(entry) if always => {
                entry.insert(Decision::Always(rule.verdict));
            }
            Entry::Vacant(entry) => {
                entry.insert(Decision::FirstOf(vec![rule]));
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Decision::Always(_) => {}
                decision if always => *decision = Decision::Always(rule.verdict),
                Decision::FirstOf(rules) => match rules.iter().find(|other| other.conditions == rule.conditions) {
                    Some(same) if same.verdict == rule.verdict => {}
                    Some(_) => return Err(Error::Contradiction { syscall: name.to_owned() }),
                    None if rules.len() >= MAX_CONDITIONAL => {
                        return Err(Error::TooManyRules { syscall: name.to_owned(), limit: MAX_CONDITIONAL });
                    }
                    None => rules.push(rule),
                },
            },
        }
        Ok(())
    }
}

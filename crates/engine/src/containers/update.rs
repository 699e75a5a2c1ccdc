//! `update`: other limits and another restart policy for a container, whether it runs or not.
//!
//! All that is asked for is looked at before anything is changed. Then the control group of one that runs is changed, and
//! last what is written of the container: on disk, or by one more line in the record of one that goes when it ends. When
//! one of these fails, what was changed is taken back. A command that is killed between the two leaves limits that hold
//! until the container ends. The monitor reads what is on disk each time the program ends.

use super::{Found, alive, locked};
use crate::begin::has_swap_limit;
use crate::created;
use crate::error::Error;
use crate::events;
use crate::more_limits;
use crate::options::{Limits, RunOptions};
use crate::passing;
use crate::restart::RestartPolicy;
use crate::run::{self, is_online};
use crate::state::{self, Facts};
use oci_spec::runtime::LinuxResources;
use rustix::fs::FlockOperation;
use step::step;

/// What `update` is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateOrder {
    /// `--restart`.
    pub restart: Option<RestartPolicy>,
    /// The limits that shall be others.
    pub limits: Limits,
}

/// Changes a container.
pub fn update(words: &str, order: &UpdateOrder) -> Result<(), Error> {
    let (found, _lock) = locked(words, FlockOperation::LockExclusive)?;
    let options = super::start::options_of(&found)?;
    let limits = options.limits.with(&order.limits);
    check(&found, order, &limits)?;
    let restart = order.restart.unwrap_or(options.restart);
    let before = options.clone();
    let options = RunOptions { limits: limits.clone(), restart, ..options.clone() };
    more_limits::check(&options)?;
    let facts = Facts { options: Some(Box::new(options)), ..found.facts()?.clone() };
    let what = || format!("give {} other limits", found.shown());
    step("update-container", "it was asked for", what, || {
        let set = set(&found, &order.limits, &limits).and_then(|()| write(&found, &facts));
        if set.is_err() {
            // The first failure is the one to tell.
            let _ = take_back(&found, &order.limits, &before);
        }
        set
    })?;
    events::container("update", &facts, &[]);
    Ok(())
}

fn check(found: &Found, order: &UpdateOrder, limits: &Limits) -> Result<(), Error> {
    run::check_limits(limits)?;
    if let Some(list) = &order.limits.cpuset_cpus
        && !is_online(list)
    {
        let reason = "this host has no such processors".into();
        return Err(Error::BadValue { flag: "--cpuset-cpus", value: list.clone(), reason });
    }
    let goes = !found.stays || found.facts().is_ok_and(passing::is_passing);
    if goes && order.restart.is_some_and(|policy| policy != RestartPolicy::No) {
        let container = found.shown();
        return Err(Error::Conflict(format!("{container} goes when it ends: no policy can start it again")));
    }
    Ok(())
}

/// Changes what the kernel holds the container to, while it runs.
fn set(found: &Found, asked: &Limits, limits: &Limits) -> Result<(), Error> {
    apply(found, &asked.only_changed(limits).resources(has_swap_limit()))
}

/// As it was before, of what was asked for. Where there was no limit there is none.
fn take_back(found: &Found, asked: &Limits, options: &RunOptions) -> Result<(), Error> {
    use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPids};
    let before = &options.limits;
    let mut resources = asked.only_changed(before).resources(has_swap_limit());
    if (asked.memory.is_some() || asked.memory_swap.is_some()) && before.memory.is_none() {
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(-1));
        resources.set_memory(Some(memory));
    }
    if asked.nano_cpus.is_some() && before.nano_cpus.is_none() {
        let mut cpu: LinuxCpu = resources.cpu().clone().unwrap_or_default();
        cpu.set_quota(Some(-1));
        resources.set_cpu(Some(cpu));
    }
    if asked.pids.is_some() && before.pids.is_none() {
        let mut pids = LinuxPids::default();
        pids.set_limit(-1);
        resources.set_pids(Some(pids));
    }
    // What is said in other words of the same things.
    options.more_limits.add_to(&mut resources)?;
    apply(found, &resources)
}

fn apply(found: &Found, resources: &LinuxResources) -> Result<(), Error> {
    if !found.is_running {
        return Ok(());
    }
    let group = found.open_cgroup()?;
    if !group.exists() {
        // Between two starts there is none: the next one makes it with what is written. An ordinary user's may have been
        // started without.
        if crate::rootless::is_rootless() && *resources != LinuxResources::default() && alive::first(found).is_ok() {
            return Err(Error::NoGroup { container: found.shown().to_owned() });
        }
        return Ok(());
    }
    group.update(resources).map_err(|error| runtime::Error::from(error).into())
}

fn write(found: &Found, facts: &Facts) -> Result<(), Error> {
    if !found.stays {
        let limits = facts.options.as_deref().map(|options| options.limits.clone());
        return state::relimit(&found.id, limits);
    }
    created::write(&found.id, &Facts { tool_pid: None, ..facts.clone() })?;
    created::sync(&found.id)
}

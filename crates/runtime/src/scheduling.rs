//! How the program is scheduled: `process.scheduler`, `process.ioPriority`, and for an exec `process.execCPUAffinity`.
//!
//! The kernel keeps all of it by thread and hands it on to what the thread starts, so the process sets it on itself
//! before it becomes the program: [`apply`] while CAP_SYS_NICE is still there, and after the control group was joined,
//! for a real-time policy is a question to the group's budget (cgroup v1 `cpu.rt_runtime_us`). Nothing is left on the
//! host.
//!
//! Names are checked by the type that reads the configuration, values here: what the kernel would silently ignore (a
//! runtime under SCHED_OTHER) is an error, for whoever wrote it expects something of it. A nice value may stand beside
//! a policy that has none, as with the other runtimes, whose callers write it.
//! Two flags say in the kernel "as it is now" and not what to set, and so the values beside them are not looked at; the
//! two of the utilisation clamp need values for which the runtime-spec has no field, so the kernel gets 0 for them, as
//! with the other runtimes. [config.md, sched_setattr(2), ioprio_set(2)]

use crate::error::Error;
use crate::numbers;
use oci_spec::runtime::{
    IOPriorityClass, LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy, Process, Scheduler,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::BTreeSet;
use std::io;
use step::step;
use sys::process::SchedAttr;

/// What is to be set of scheduling and I/O priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scheduling {
    cpu: Option<(&'static str, SchedAttr)>,
    io: Option<u16>,
}

/// The CPUs that an exec's process runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Affinity {
    /// Before it is moved to the container's control group: set this on the tool's side.
    pub(crate) initial: Option<BTreeSet<u32>>,
    /// After that.
    pub(crate) last: Option<BTreeSet<u32>>,
}

/// Bit of the I/O class in a priority. [linux/ioprio.h]
const IOPRIO_CLASS_SHIFT: u32 = 13;

/// Checks the two sections. `None` when there is nothing to set.
pub(crate) fn plan(process: &Process) -> Result<Option<Scheduling>, Error> {
    let cpu = process.scheduler().as_ref().map(plan_scheduler).transpose()?;
    let io = process.io_priority().as_ref().map(|io| plan_io(io.class(), io.priority())).transpose()?;
    Ok((cpu.is_some() || io.is_some()).then_some(Scheduling { cpu, io }))
}

fn plan_io(class: IOPriorityClass, priority: i64) -> Result<u16, Error> {
    let class = match class {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(priority) {
        Ok(level @ 0..=7) => Ok(class << IOPRIO_CLASS_SHIFT | level),
        _ => Err(Error::Invalid(format!("process.ioPriority.priority is {priority}, and it goes from 0 to 7"))),
    }
}

fn plan_scheduler(scheduler: &Scheduler) -> Result<(&'static str, SchedAttr), Error> {
    let (name, policy) = match scheduler.policy() {
        Policy::SchedOther => ("SCHED_OTHER", 0),
        Policy::SchedFifo => ("SCHED_FIFO", 1),
        Policy::SchedRr => ("SCHED_RR", 2),
        Policy::SchedBatch => ("SCHED_BATCH", 3),
        // The number is reserved in the kernel, and nothing answers to it.
        Policy::SchedIso => return Err(Error::Unsupported("SCHED_ISO, which no Linux kernel has,".into())),
        Policy::SchedIdle => ("SCHED_IDLE", 5),
        Policy::SchedDeadline => ("SCHED_DEADLINE", 6),
    };
    let attr = SchedAttr {
        policy,
        flags: scheduler.flags().iter().flatten().fold(0, |bits, flag| bits | flag_bit(*flag)),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().map_or(Ok(0), u32::try_from).unwrap_or(u32::MAX),
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..SchedAttr::default()
    };
    match why_invalid(name, &attr) {
        Some(why) => Err(Error::Invalid(format!("process.scheduler: {why}"))),
        None => Ok((name, attr)),
    }
}

fn flag_bit(flag: Flag) -> u64 {
    match flag {
        Flag::SchedResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => KEEP_POLICY,
        Flag::SchedFlagKeepParams => KEEP_PARAMS,
        Flag::SchedFlagUtilClampMin => 0x20,
        Flag::SchedFlagUtilClampMax => 0x40,
    }
}

const KEEP_POLICY: u64 = 0x08;
const KEEP_PARAMS: u64 = 0x10;

/// What of the values the kernel would refuse, or not look at.
fn why_invalid(name: &str, attr: &SchedAttr) -> Option<String> {
    if !(-20..=19).contains(&attr.nice) {
        return Some(format!("the nice value is {}, and it goes from -20 to 19", attr.nice));
    }
    if attr.flags & (KEEP_POLICY | KEEP_PARAMS) != 0 {
        return None;
    }
    let has = |what| Some(format!("{name} has no {what}"));
    let timed = (attr.runtime, attr.deadline, attr.period) != (0, 0, 0);
    match name {
        "SCHED_DEADLINE" => why_no_deadline(attr),
        _ if timed => has("runtime, deadline or period"),
        "SCHED_FIFO" | "SCHED_RR" => match attr.priority {
            1..=99 => None,
            _ => Some(format!("{name} needs a priority from 1 to 99")),
        },
        _ if attr.priority != 0 => has("priority"),
        _ => None,
    }
}

/// The kernel's own rules: below 1024 ns its arithmetic has no resolution, and the top bit is its sign.
/// [kernel/sched/deadline.c: __checkparam_dl]
fn why_no_deadline(attr: &SchedAttr) -> Option<String> {
    let SchedAttr { runtime, deadline, period, .. } = *attr;
    let period = if period == 0 { deadline } else { period };
    if attr.priority != 0 {
        Some("SCHED_DEADLINE has no priority".into())
    } else if runtime < 1024 || runtime > deadline || deadline > period || period >> 63 != 0 {
        Some(format!(
            "SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period, in nanoseconds; here {runtime}, {deadline}, \
             {period}"
        ))
    } else {
        None
    }
}

/// Schedules the calling thread so, and with it what it becomes and starts.
pub(crate) fn apply(scheduling: &Scheduling) -> Result<(), Error> {
    if let Some((name, attr)) = scheduling.cpu {
        step(
            "set-scheduler",
            "asked for by process.scheduler",
            || told(name, &attr),
            || sys::process::set_scheduling(attr),
        )
        .map_err(|source| Error::Process {
            what: format!("schedule it by {}{}", told(name, &attr), hint(&source)),
            source,
        })?;
    }
    if let Some(priority) = scheduling.io {
        let (class, level) = (priority >> IOPRIO_CLASS_SHIFT, priority & 7);
        let class = ["none", "real-time", "best-effort", "idle"][usize::from(class & 3)];
        let what = || format!("I/O priority {class} {level}");
        step("set-io-priority", "asked for by process.ioPriority", what, || sys::process::set_io_priority(priority))
            .map_err(|source| Error::Process { what: format!("set the {}", what()), source })?;
    }
    Ok(())
}

fn told(name: &str, attr: &SchedAttr) -> String {
    match attr.policy {
        1 | 2 => format!("{name} priority {}", attr.priority),
        6 => format!("{name} {} of {} ns", attr.runtime, if attr.period == 0 { attr.deadline } else { attr.period }),
        5 => name.to_owned(),
        _ => format!("{name} nice {}", attr.nice),
    }
}

/// The kernel's short answers are known to puzzle.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(PERM) => " (it needs CAP_SYS_NICE, and on cgroup v1 a real-time budget of its group, cpu.rt_runtime_us)",
        Some(BUSY) => " (this host's CPUs have no such bandwidth left)",
        Some(OPNOTSUPP) => " (this host's kernel lacks what a flag asks for)",
        _ => "",
    }
}

const PERM: i32 = 1;
const BUSY: i32 = 16;
const OPNOTSUPP: i32 = 95;

/// Checks `process.execCPUAffinity`, which only an exec has.
pub(crate) fn plan_affinity(process: &Process) -> Result<Affinity, Error> {
    let Some(affinity) = process.exec_cpu_affinity() else { return Ok(Affinity::default()) };
    let list = |list: &Option<String>, what: &str| match list.as_deref() {
        // The specification: "if omitted or empty".
        None | Some("") => Ok(None),
        Some(list) => numbers::parse(list, what).map(Some),
    };
    Ok(Affinity {
        initial: list(affinity.initial(), "process.execCPUAffinity.initial")?,
        last: list(affinity.cpu_affinity_final(), "process.execCPUAffinity.final")?,
    })
}

/// Refuses CPUs that the host does not have at all, which the kernel would drop without a word. To be asked while
/// /sys is the host's; without one nothing can be said, and the kernel decides.
pub(crate) fn check_host(affinity: &Affinity) -> Result<(), Error> {
    let Ok(possible) = std::fs::read_to_string("/sys/devices/system/cpu/possible") else { return Ok(()) };
    check_against(affinity, possible.trim())
}

fn check_against(affinity: &Affinity, possible: &str) -> Result<(), Error> {
    let Ok(there) = numbers::parse(possible, "possible CPUs") else { return Ok(()) };
    for asked in [&affinity.initial, &affinity.last].into_iter().flatten() {
        let missing: BTreeSet<u32> = asked.difference(&there).copied().collect();
        if !missing.is_empty() {
            let what = format!("run on the CPUs {}", numbers::text(asked));
            return Err(Error::Host {
                what,
                lacks: format!("has the CPUs {possible}, not {}", numbers::text(&missing)),
            });
        }
    }
    Ok(())
}

/// Lets the calling thread, and what it becomes and starts, run on these CPUs only. Those of them that its control
/// group's cpuset does not have are left out by the kernel, as long as one remains.
pub(crate) fn set_affinity(cpus: &BTreeSet<u32>) -> Result<(), Error> {
    let list = numbers::text(cpus);
    let mut set = CpuSet::new();
    for cpu in cpus.iter().map(|cpu| *cpu as usize).filter(|cpu| *cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    let act = || sched_setaffinity(None, &set);
    step("set-affinity", "asked for by process.execCPUAffinity", || format!("run on the CPUs {list}"), act).map_err(
        |source| match source {
            rustix::io::Errno::INVAL => Error::Host {
                what: format!("run on the CPUs {list}"),
                lacks: format!("lets this process run on {}", usable().unwrap_or("others only".into())),
            },
            _ => Error::process(format!("run on the CPUs {list}"))(source),
        },
    )
}

/// The CPUs that the calling thread runs on now.
fn usable() -> Option<String> {
    let set = sched_getaffinity(None).ok()?;
    let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect();
    Some(numbers::text(&cpus))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_child, is_root, need};
    use oci_spec::runtime::{ExecCPUAffinity, LinuxIOPriority};

    fn process(json: &str) -> Process {
        let mut process = Process::default();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        if let Some(scheduler) = value.get("scheduler") {
            process.set_scheduler(Some(serde_json::from_value(scheduler.clone()).unwrap()));
        }
        if let Some(io) = value.get("ioPriority") {
            process.set_io_priority(Some(serde_json::from_value::<LinuxIOPriority>(io.clone()).unwrap()));
        }
        if let Some(cpus) = value.get("execCPUAffinity") {
            process.set_exec_cpu_affinity(Some(serde_json::from_value::<ExecCPUAffinity>(cpus.clone()).unwrap()));
        }
        process
    }

    #[test]
    fn schedulers_that_are_refused_and_those_that_are_not() {
        let table: &[(&str, Result<u64, &str>)] = &[
            // (section, the kernel's flags or a word of the error)
            (r#"{"policy": "SCHED_OTHER"}"#, Ok(0)),
            (r#"{"policy": "SCHED_OTHER", "nice": -20}"#, Ok(0)),
            (r#"{"policy": "SCHED_OTHER", "nice": 20}"#, Err("-20 to 19")),
            (r#"{"policy": "SCHED_OTHER", "priority": 1}"#, Err("has no priority")),
            (r#"{"policy": "SCHED_BATCH", "nice": 19, "flags": ["SCHED_RESET_ON_FORK"]}"#, Ok(1)),
            (r#"{"policy": "SCHED_BATCH", "runtime": 1}"#, Err("has no runtime")),
            (r#"{"policy": "SCHED_IDLE"}"#, Ok(0)),
            (r#"{"policy": "SCHED_IDLE", "nice": 1}"#, Ok(0)),
            (r#"{"policy": "SCHED_IDLE", "nice": -21}"#, Err("-20 to 19")),
            (r#"{"policy": "SCHED_ISO"}"#, Err("SCHED_ISO")),
            (r#"{"policy": "SCHED_FIFO"}"#, Err("1 to 99")),
            (r#"{"policy": "SCHED_FIFO", "priority": 100}"#, Err("1 to 99")),
            (r#"{"policy": "SCHED_FIFO", "priority": -1}"#, Err("1 to 99")),
            (r#"{"policy": "SCHED_RR", "priority": 1, "nice": 1}"#, Ok(0)),
            (r#"{"policy": "SCHED_RR", "priority": 99}"#, Ok(0)),
            (r#"{"policy": "SCHED_DEADLINE"}"#, Err("1024 <=")),
            (r#"{"policy": "SCHED_DEADLINE", "runtime": 1023, "deadline": 2000}"#, Err("1024 <=")),
            (r#"{"policy": "SCHED_DEADLINE", "runtime": 3000, "deadline": 2000}"#, Err("<= deadline")),
            (r#"{"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 3000, "period": 2000}"#, Err("<= period")),
            (r#"{"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 3000, "priority": 1}"#, Err("no priority")),
            (
                r#"{"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 3000, "flags": ["SCHED_FLAG_RECLAIM"]}"#,
                Ok(2),
            ),
            (
                r#"{"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS",
                   "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"]}"#,
                Ok(0x78),
            ),
        ];
        for (section, expected) in table {
            let planned = plan(&process(&format!(r#"{{"scheduler": {section}}}"#)));
            match (planned, expected) {
                (Ok(Some(Scheduling { cpu: Some((_, attr)), io: None })), Ok(flags)) => {
                    assert_eq!(attr.flags, *flags, "{section}");
                }
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{section}: {error}"),
                (planned, _) => panic!("{section}: {planned:?}, expected {expected:?}"),
            }
        }
        assert_eq!(plan(&Process::default()).unwrap(), None);
    }

    #[test]
    fn io_priorities() {
        for (class, level, expected) in [
            ("IOPRIO_CLASS_RT", 0, Some(1 << 13)),
            ("IOPRIO_CLASS_BE", 7, Some(2 << 13 | 7)),
            ("IOPRIO_CLASS_IDLE", 0, Some(3 << 13)),
            ("IOPRIO_CLASS_BE", 8, None),
            ("IOPRIO_CLASS_BE", -1, None),
            ("IOPRIO_CLASS_RT", 65536, None),
        ] {
            let section = format!(r#"{{"ioPriority": {{"class": "{class}", "priority": {level}}}}}"#);
            let planned = plan(&process(&section)).ok().flatten().and_then(|s| s.io);
            assert_eq!(planned, expected, "{class} {level}");
        }
    }

    #[test]
    fn affinity_is_taken_apart_and_held_against_the_host() {
        let of = |json: &str| plan_affinity(&process(&format!(r#"{{"execCPUAffinity": {json}}}"#)));
        let both = of(r#"{"initial": "0-1", "final": "1"}"#).unwrap();
        assert_eq!((both.initial, both.last), (Some(BTreeSet::from([0, 1])), Some(BTreeSet::from([1]))));
        assert_eq!(plan_affinity(&Process::default()).unwrap(), Affinity::default());
        assert!(of(r#"{"initial": "3-1"}"#).unwrap_err().to_string().contains("execCPUAffinity.initial"));
        for (last, possible, expected) in [
            ("0-1", "0-1", None),
            ("0-3", "0-1", Some("has the CPUs 0-1, not 2-3")),
            ("7", "0-1,4", Some("not 7")),
            ("7", "unreadable", None),
        ] {
            let said = check_against(&of(&format!(r#"{{"final": "{last}"}}"#)).unwrap(), possible).err();
            assert_eq!(said.is_some(), expected.is_some(), "{last}: {said:?}");
            assert!(said.is_none_or(|said| said.to_string().contains(expected.unwrap())), "{last}");
        }
    }

    #[test]
    fn the_kernel_takes_what_is_planned() {
        if !is_root("the_kernel_takes_what_is_planned") {
            return;
        }
        for section in [
            r#"{"policy": "SCHED_OTHER", "nice": 7}"#,
            r#"{"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_RESET_ON_FORK"]}"#,
            r#"{"policy": "SCHED_IDLE"}"#,
            r#"{"policy": "SCHED_FIFO", "priority": 10}"#,
            r#"{"policy": "SCHED_RR", "priority": 1}"#,
            r#"{"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 10000000, "period": 20000000, "nice": 19,
               "flags": ["SCHED_FLAG_RECLAIM"]}"#,
        ] {
            let planned = plan(&process(&format!(
                r#"{{"scheduler": {section}, "ioPriority": {{"class": "IOPRIO_CLASS_RT", "priority": 3}}}}"#
            )));
            let planned = planned.unwrap().unwrap();
            let wanted = planned.cpu.unwrap().1;
            in_child(|| {
                match apply(&planned) {
                    // A group of cgroup v1 without a real-time budget, which is how they are born.
                    Err(error) if wanted.policy == 1 || wanted.policy == 2 => {
                        assert!(error.to_string().contains("cpu.rt_runtime_us"), "{error}");
                        return;
                    }
                    done => done.unwrap(),
                }
                let got = sys::process::scheduling().unwrap();
                let seen = |a: &SchedAttr| (a.policy, a.flags, a.nice, a.priority, a.runtime, a.deadline, a.period);
                let mut wanted = wanted;
                // The kernel has a default slice for these, which it tells as their runtime since 6.12.
                if wanted.policy != 6 {
                    wanted.runtime = got.runtime;
                }
                // Only SCHED_OTHER and SCHED_BATCH have a nice value; with the others it stays as it was.
                if wanted.policy != 0 && wanted.policy != 3 {
                    wanted.nice = got.nice;
                }
                assert_eq!(seen(&got), seen(&wanted), "{section}");
                assert_eq!(sys::process::io_priority().unwrap(), 1 << 13 | 3);
            });
        }
    }

    #[test]
    fn flags_that_this_kernel_lacks_are_named() {
        let planned = plan(&process(
            r#"{"scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN"]}}"#,
        ));
        let planned = planned.unwrap().unwrap();
        // Not every kernel lacks it.
        in_child(|| match apply(&planned) {
            Ok(()) => {}
            Err(error) => assert!(error.to_string().contains("kernel lacks what a flag asks for"), "{error}"),
        });
    }

    #[test]
    fn affinity_is_set_and_a_cpu_that_is_not_there_is_named() {
        let usable = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|cpu| usable.is_set(*cpu)).unwrap() as u32;
        let missing = (0..1024).rev().find(|cpu| !usable.is_set(*cpu as usize)).unwrap_or(1023);
        if !need("affinity", !usable.is_set(1000), "a machine of so many CPUs") {
            return;
        }
        in_child(|| {
            let error = set_affinity(&BTreeSet::from([missing])).unwrap_err().to_string();
            assert!(error.contains(&missing.to_string()) && error.contains("this host"), "{error}");
            assert!(set_affinity(&BTreeSet::from([5000])).is_err());
            set_affinity(&BTreeSet::from([first, missing])).unwrap();
            assert_eq!(super::usable().unwrap(), first.to_string());
        });
    }
}

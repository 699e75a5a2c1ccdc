//! `update`: other limits and another restart policy.

use crate::images::{for_each, say};
use crate::report::Failure;
use crate::verb::{About, Group, Verb, value};
use engine::RestartPolicy;
use engine::containers::{self, UpdateOrder};
use std::process::ExitCode;

/// `mycontainer update`.
pub(crate) static UPDATE: Verb<UpdateOrder> = Verb {
    about: About {
        also: &["container update"],
        intro: "Changes the limits and the restart policy of containers, whether they run or not, and prints their names.\n\
                What is not said stays as it is.",
        example: "update --memory 1g NAME",
        ..About::new("update", "CONTAINER [CONTAINER...]", "Change limits and restart policy of containers")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value(
                "restart",
                None,
                "POLICY",
                "no, on-failure[:N], always, or unless-stopped",
                |r: &mut UpdateOrder, v| {
                    r.restart = Some(RestartPolicy::parse(v)?);
                    Ok(())
                },
            ),
            value("memory", Some('m'), "SIZE", "Memory at most, as 64m or 2g", |r, v| r.limits.set_memory(v)),
            value("memory-swap", None, "SIZE", "Memory and swap together at most; -1: no limit of swap", |r, v| {
                r.limits.set_memory_swap(v)
            }),
            value("cpus", None, "NUMBER", "Processors at most, as 1.5", |r, v| r.limits.set_cpus(v)),
            value("cpu-shares", Some('c'), "NUMBER", "Weight against other containers", |r, v| {
                r.limits.set_cpu_shares(v)
            }),
            value("cpuset-cpus", None, "LIST", "Run on these processors only, as 0-2,5", |r, v| {
                r.limits.set_cpuset_cpus(v)
            }),
            value("pids-limit", None, "NUMBER", "Processes at most; -1: no limit", |r, v| r.limits.set_pids(v)),
        ],
    }],
    act: update,
};

fn update(order: UpdateOrder, words: Vec<String>) -> Result<ExitCode, Failure> {
    if order == UpdateOrder::default() {
        return Err(Failure::misuse("there is nothing to change", "see `mycontainer help update`"));
    }
    Ok(for_each(&words, |word| {
        containers::update(word, &order)?;
        say(word);
        Ok(())
    }))
}

//! From which NUMA nodes the container's memory comes: `linux.memoryPolicy`.
//!
//! The policy belongs to a thread and goes on to what it starts, so the container's first process sets it on itself:
//! after it has joined the control group, whose cpuset decides which nodes there are for it, and before the system
//! call filter. Memory that it has touched before stays where it is. Nothing is left on the host.
//!
//! Which mode can go with nodes and flags is set_mempolicy(2)'s to say (the specification refers to it); it is said
//! here before anything is made. [config-linux.md, "Memory policy"]

use crate::error::Error;
use crate::numbers;
use oci_spec::runtime::{Linux, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};
use std::collections::BTreeSet;
use step::step;

/// A policy that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    name: String,
    /// The mode with its flags, as the kernel takes them.
    mode: i32,
    nodes: BTreeSet<u32>,
}

/// The kernel has at most this many nodes. [CONFIG_NODES_SHIFT]
const MOST_NODES: u32 = 1024;

const NUMA_BALANCING: i32 = 1 << 13;
const RELATIVE_NODES: i32 = 1 << 14;
const STATIC_NODES: i32 = 1 << 15;

/// Checks the section.
pub(crate) fn plan(linux: &Linux) -> Result<Option<MemoryPolicy>, Error> {
    let Some(policy) = linux.memory_policy() else { return Ok(None) };
    let name = policy.mode().to_string();
    let invalid = |why: String| Error::Invalid(format!("linux.memoryPolicy: {name} {why}"));
    let nodes = match policy.nodes().as_deref().unwrap_or("") {
        "" => BTreeSet::new(),
        list => numbers::parse(list, "linux.memoryPolicy.nodes")?,
    };
    let flags = policy.flags().iter().flatten().fold(0, |bits, flag| bits | flag_bit(*flag));
    let number = match policy.mode() {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    match policy.mode() {
        Mode::MpolDefault | Mode::MpolLocal if !nodes.is_empty() => return Err(invalid("has no nodes".into())),
        Mode::MpolDefault | Mode::MpolLocal if flags != 0 => return Err(invalid("has no flags".into())),
        Mode::MpolDefault | Mode::MpolLocal => {}
        // Without nodes it is MPOL_LOCAL.
        Mode::MpolPreferred if nodes.is_empty() && flags == 0 => {}
        _ if nodes.is_empty() => return Err(invalid("needs nodes".into())),
        _ => {}
    }
    if let Some(node) = nodes.last().filter(|node| **node >= MOST_NODES) {
        return Err(invalid(format!("names the node {node}, and the largest is {}", MOST_NODES - 1)));
    }
    if flags & RELATIVE_NODES != 0 && flags & STATIC_NODES != 0 {
        return Err(invalid("has MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES, which exclude each other".into()));
    }
    let balanced = matches!(policy.mode(), Mode::MpolBind | Mode::MpolPreferredMany);
    if flags & NUMA_BALANCING != 0 && !balanced {
        return Err(invalid("has no MPOL_F_NUMA_BALANCING, only MPOL_BIND and MPOL_PREFERRED_MANY have it".into()));
    }
    Ok(Some(MemoryPolicy { name, mode: number | flags, nodes }))
}

fn flag_bit(flag: Flag) -> i32 {
    match flag {
        Flag::MpolFNumaBalancing => NUMA_BALANCING,
        Flag::MpolFRelativeNodes => RELATIVE_NODES,
        Flag::MpolFStaticNodes => STATIC_NODES,
    }
}

/// Gives the calling process the policy.
pub(crate) fn apply(policy: &MemoryPolicy) -> Result<(), Error> {
    let what = || match policy.nodes.is_empty() {
        true => format!("take memory by {}", policy.name),
        false => format!("take memory by {} of the nodes {}", policy.name, numbers::text(&policy.nodes)),
    };
    let act = || sys::process::set_memory_policy(policy.mode, &mask(&policy.nodes));
    step("set-memory-policy", "asked for by linux.memoryPolicy", what, act).map_err(|source| {
        match (source.raw_os_error(), policy.nodes.is_empty()) {
            (Some(INVAL), false) => Error::Host {
                what: what(),
                lacks: "has not these nodes, or the container's cpuset has none of them, or the kernel does not know \
                        the mode or a flag"
                    .into(),
            },
            (Some(NOSYS), _) => Error::Host { what: what(), lacks: "has a kernel without NUMA".into() },
            _ => Error::Process { what: what(), source },
        }
    })
}

const INVAL: i32 = 22;
const NOSYS: i32 = 38;

fn mask(nodes: &BTreeSet<u32>) -> Vec<u64> {
    let words = nodes.last().map_or(0, |last| *last as usize / 64 + 1);
    let mut mask = vec![0u64; words];
    for node in nodes {
        mask[*node as usize / 64] |= 1 << (node % 64);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;

    fn of(json: &str) -> Result<Option<MemoryPolicy>, Error> {
        let mut linux = Linux::default();
        linux.set_memory_policy(Some(serde_json::from_str(json).unwrap()));
        plan(&linux)
    }

    #[test]
    fn modes_with_nodes_and_flags() {
        let table: &[(&str, Result<i32, &str>)] = &[
            (r#"{"mode": "MPOL_DEFAULT"}"#, Ok(0)),
            (r#"{"mode": "MPOL_DEFAULT", "nodes": ""}"#, Ok(0)),
            (r#"{"mode": "MPOL_DEFAULT", "nodes": "0"}"#, Err("has no nodes")),
            (r#"{"mode": "MPOL_DEFAULT", "flags": ["MPOL_F_STATIC_NODES"]}"#, Err("has no flags")),
            (r#"{"mode": "MPOL_LOCAL"}"#, Ok(4)),
            (r#"{"mode": "MPOL_LOCAL", "nodes": "1"}"#, Err("has no nodes")),
            (r#"{"mode": "MPOL_LOCAL", "flags": ["MPOL_F_RELATIVE_NODES"]}"#, Err("has no flags")),
            (r#"{"mode": "MPOL_PREFERRED"}"#, Ok(1)),
            (r#"{"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]}"#, Err("needs nodes")),
            (r#"{"mode": "MPOL_PREFERRED", "nodes": "0"}"#, Ok(1)),
            (r#"{"mode": "MPOL_BIND"}"#, Err("needs nodes")),
            (r#"{"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_NUMA_BALANCING"]}"#, Ok(2 | 1 << 13)),
            (r#"{"mode": "MPOL_INTERLEAVE"}"#, Err("needs nodes")),
            (r#"{"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]}"#, Ok(3 | 1 << 15)),
            (r#"{"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}"#, Err("has no MPOL_F")),
            (r#"{"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}"#, Ok(6)),
            (r#"{"mode": "MPOL_PREFERRED_MANY", "nodes": "0-1023"}"#, Ok(5)),
            (r#"{"mode": "MPOL_PREFERRED_MANY", "nodes": "1024"}"#, Err("largest")),
            (r#"{"mode": "MPOL_BIND", "nodes": "x"}"#, Err("no list")),
            (
                r#"{"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}"#,
                Err("exclude each other"),
            ),
        ];
        for (section, expected) in table {
            match (of(section), expected) {
                (Ok(Some(policy)), Ok(mode)) => assert_eq!(policy.mode, *mode, "{section}"),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{section}: {error}"),
                (got, _) => panic!("{section}: {got:?}, expected {expected:?}"),
            }
        }
        assert_eq!(plan(&Linux::default()).unwrap(), None);
    }

    #[test]
    fn nodes_become_bits() {
        for (nodes, expected) in
            [("0", vec![1]), ("1,63", vec![2 | 1 << 63]), ("64", vec![0, 1]), ("130", vec![0, 0, 4])]
        {
            assert_eq!(mask(&numbers::parse(nodes, "").unwrap()), expected, "{nodes}");
        }
    }

    #[test]
    fn the_kernel_takes_what_is_planned() {
        // Node 0 is on every machine.
        for (section, nodes) in [
            (r#"{"mode": "MPOL_DEFAULT"}"#, 0),
            (r#"{"mode": "MPOL_LOCAL"}"#, 0),
            (r#"{"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}"#, 1),
            (r#"{"mode": "MPOL_INTERLEAVE", "nodes": "0"}"#, 1),
            (r#"{"mode": "MPOL_PREFERRED", "nodes": "0"}"#, 1),
        ] {
            let policy = of(section).unwrap().unwrap();
            in_child(|| {
                apply(&policy).unwrap();
                let (mode, mask) = sys::process::memory_policy().unwrap();
                assert_eq!((mode, mask[0]), (policy.mode, nodes), "{section}");
            });
        }
    }

    #[test]
    fn a_node_that_is_not_there_is_named() {
        let policy = of(r#"{"mode": "MPOL_BIND", "nodes": "900"}"#).unwrap().unwrap();
        in_child(|| {
            let error = apply(&policy).unwrap_err().to_string();
            assert!(error.contains("the nodes 900: this host"), "{error}");
        });
    }
}

//! OCI resources as files of cgroup v2. Pure: refuses, but touches nothing; an update reads what it has to.

use crate::Error;
use crate::resources::{self, Purpose, Write, limited, set};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

/// The files of `unified` that belong to no controller and are not the tool's.
const WITHOUT_CONTROLLER: [&str; 3] = ["cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"];

/// The writes, those of one controller beside each other, but for the ones of `unified`, which come last.
pub(crate) fn writes(resources: &LinuxResources, purpose: Purpose<'_>) -> Result<Vec<Write>, Error> {
    resources::check(resources, purpose)?;
    let mut writes = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_writes(memory, purpose, &mut writes)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_writes(cpu, purpose, &mut writes)?;
    }
    let pids = resources.pids().as_ref().map(|pids| pids.limit());
    writes.extend(purpose.limit(pids, "max").map(|limit| Write::new("pids.limit", "pids.max", limit)));
    if let Some(io) = resources.block_io() {
        io_writes(io, &mut writes);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        let value = match u64::try_from(limit.limit()) {
            Ok(bytes) => bytes.to_string(),
            Err(_) if purpose.is_update() => "max".into(),
            Err(_) => continue,
        };
        // Used pages, and those that were only promised by mmap(2).
        for file in [format!("hugetlb.{size}.max"), format!("hugetlb.{size}.rsvd.max")] {
            writes.push(Write::new("hugepageLimits", &file, &value));
        }
    }
    if let Some(network) = resources.network() {
        if set(network.class_id()).is_some() {
            return Err(v1_only("network.classID"));
        }
        if network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(v1_only("network.priorities"));
        }
    }
    writes.extend(resources.rdma().as_ref().map(resources::rdma).unwrap_or_default());
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        writes.push(unified_write(file, value)?);
    }
    Ok(writes)
}

fn v1_only(resource: &str) -> Error {
    Error::Unsupported { resource: resource.into(), why: "cgroup v2 has no such" }
}

fn memory_writes(memory: &LinuxMemory, purpose: Purpose<'_>, writes: &mut Vec<Write>) -> Result<(), Error> {
    if memory.swappiness().is_some() {
        return Err(v1_only("memory.swappiness"));
    }
    if limited(memory.kernel_tcp()).is_some() {
        return Err(v1_only("memory.kernelTCP"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(v1_only("memory.disableOOMKiller"));
    }
    let limit = purpose.limit(memory.limit(), "max").map(|value| Write::new("memory.limit", "memory.max", value));
    let swap = swap_write(memory, purpose)?;
    writes.extend(limit.into_iter().chain(swap));
    let reservation = purpose.limit(memory.reservation(), "max");
    writes.extend(reservation.map(|value| Write::new("memory.reservation", "memory.low", value)));
    Ok(())
}

/// v2 limits swap by itself, the specification the total.
fn swap_write(memory: &LinuxMemory, purpose: Purpose<'_>) -> Result<Option<Write>, Error> {
    let lift = |resource| Write { lifts: true, ..Write::new(resource, "memory.swap.max", "max") };
    let total = match set(memory.swap()) {
        // No limit of memory, and none said of swap: as runc takes it, none at all.
        None if memory.limit().is_some_and(|limit| limit < 0) => {
            return Ok(purpose.is_update().then(|| lift("memory.limit")));
        }
        None => return Ok(None),
        Some(total) => match u64::try_from(total) {
            Ok(total) => total,
            Err(_) => return Ok(purpose.is_update().then(|| lift("memory.swap"))),
        },
    };
    let there = || match purpose {
        Purpose::Create => None,
        Purpose::Update(current) => current("memory.max")?.trim().parse().ok(),
    };
    let why = match limited(memory.limit()).or_else(there) {
        Some(limit) if limit <= total => {
            return Ok(Some(Write::new("memory.swap", "memory.swap.max", total - limit)));
        }
        Some(limit) => format!("it is the total of memory and swap, and the memory limit is {limit}"),
        None => "it is the total of memory and swap, so it needs a memory limit beside it".to_owned(),
    };
    Err(Error::Value { resource: "memory.swap".into(), value: total.to_string(), why })
}

fn cpu_writes(cpu: &LinuxCpu, purpose: Purpose<'_>, writes: &mut Vec<Write>) -> Result<(), Error> {
    for (resource, is_set) in [
        ("cpu.realtimeRuntime", set(cpu.realtime_runtime()).is_some()),
        ("cpu.realtimePeriod", set(cpu.realtime_period()).is_some()),
    ] {
        if is_set {
            return Err(v1_only(resource));
        }
    }
    // An idle group takes no weight, so it stops being idle before and starts after.
    let idle = purpose.number(cpu.idle());
    writes.extend(idle.filter(|&idle| idle == 0).map(|idle| Write::new("cpu.idle", "cpu.idle", idle)));
    writes.extend(set(cpu.shares()).map(|shares| Write::new("cpu.shares", "cpu.weight", weight(shares))));
    writes.extend(quota_write(cpu, purpose));
    writes.extend(purpose.number(cpu.burst()).map(|us| Write::new("cpu.burst", "cpu.max.burst", us)));
    writes.extend(idle.filter(|&idle| idle != 0).map(|idle| Write::new("cpu.idle", "cpu.idle", idle)));
    for (resource, file, list) in [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())] {
        writes.extend(list.iter().filter(|list| !list.is_empty()).map(|list| Write::new(resource, file, list)));
    }
    Ok(())
}

fn quota_write(cpu: &LinuxCpu, purpose: Purpose<'_>) -> Option<Write> {
    let (quota, period) = (set(cpu.quota()), set(cpu.period()));
    let new = match quota {
        Some(us) if us > 0 => us.to_string(),
        // Nothing to lift in a new group.
        Some(_) if period.is_none() && !purpose.is_update() => return None,
        Some(_) => "max".to_owned(),
        None => {
            period?;
            // The new period must not take away the quota that is there.
            let there = match purpose {
                Purpose::Create => None,
                Purpose::Update(current) => current("cpu.max"),
            };
            there.and_then(|max| max.split_whitespace().next().map(str::to_owned)).unwrap_or_else(|| "max".to_owned())
        }
    };
    // Without a period the kernel keeps the one that is there: 100 ms in a new group.
    let value = period.map_or(new.clone(), |period| format!("{new} {period}"));
    Some(Write::new(if limited(quota).is_some() { "cpu.quota" } else { "cpu.period" }, "cpu.max", value))
}

/// CPU shares (2 to 262144, default 1024) as a weight (1 to 10000, default 100), by the formula that runc (since 1.3.2)
/// and crun (since 1.23) use: it maps the ends and the defaults onto each other, which a straight line does not.
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

fn io_writes(io: &LinuxBlockIo, writes: &mut Vec<Write>) {
    // bfq's weights are the specification's; from 10..1000 to iocost's 1..10000 as runc and crun do.
    let iocost = |weight: u16| 1 + (u32::from(weight) - 10) * 9999 / 990;
    if let Some(weight) = set(io.weight()) {
        let or_else = Some(("io.weight", iocost(weight).to_string()));
        writes.push(Write { or_else, ..Write::new("blockIO.weight", "io.bfq.weight", weight) });
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = set(device.weight()) else { continue };
        let line = |weight: u32| format!("{}:{} {weight}", device.major(), device.minor());
        let or_else = Some(("io.weight", line(iocost(weight))));
        writes.push(Write { or_else, ..Write::new("blockIO.weightDevice", "io.bfq.weight", line(weight.into())) });
    }
    for (field, _, key, device) in resources::throttles(io) {
        // The specification's 0 is "no limit"; io.max calls that max.
        let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
        let value = format!("{}:{} {key}={rate}", device.major(), device.minor());
        writes.push(Write::new(field, "io.max", value));
    }
}

/// An entry of the `unified` map: a file of the group, as the specification's "config-linux, Unified" allows it.
fn unified_write(file: &str, value: &str) -> Result<Write, Error> {
    let resource = format!("unified[{file:?}]");
    let known = file.split_once('.').is_some_and(|(controller, what)| !controller.is_empty() && !what.is_empty());
    if !known || file.contains(['/', '\0']) {
        return Err(Error::Unsupported { resource, why: "the name of a control file is CONTROLLER.WHAT" });
    }
    let mut write = Write::new(&resource, file, value);
    if WITHOUT_CONTROLLER.contains(&file) {
        write.controller = String::new();
    } else if file.starts_with("cgroup.") {
        return Err(Error::Unsupported { resource, why: "files that steer the group itself are the tool's" });
    }
    Ok(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str, purpose: Purpose<'_>) -> Result<Vec<String>, String> {
        let writes = writes(&serde_json::from_str(json).unwrap(), purpose).map_err(|error| error.to_string())?;
        Ok(writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect())
    }

    #[test]
    fn resources_become_v2_files() {
        let cases: &[(&str, &[&str])] = &[
            (r#"{"memory":{"limit":67108864}}"#, &["memory.max=67108864"]),
            (r#"{"memory":{"limit":67108864,"swap":67108864}}"#, &["memory.max=67108864", "memory.swap.max=0"]),
            (r#"{"memory":{"limit":1048576,"swap":3145728}}"#, &["memory.max=1048576", "memory.swap.max=2097152"]),
            (
                r#"{"memory":{"limit":1048576,"swap":-1,"reservation":524288}}"#,
                &["memory.max=1048576", "memory.low=524288"],
            ),
            (r#"{"cpu":{"shares":1024}}"#, &["cpu.weight=100"]),
            (r#"{"cpu":{"quota":50000,"period":100000}}"#, &["cpu.max=50000 100000"]),
            (r#"{"cpu":{"quota":50000}}"#, &["cpu.max=50000"]),
            (r#"{"cpu":{"quota":-1,"period":50000}}"#, &["cpu.max=max 50000"]),
            (r#"{"cpu":{"quota":-1}}"#, &[]),
            (r#"{"cpu":{"period":50000,"burst":3,"idle":1}}"#, &["cpu.max=max 50000", "cpu.max.burst=3", "cpu.idle=1"]),
            (r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#, &["cpuset.cpus=0-1", "cpuset.mems=0"]),
            (r#"{"cpu":{"cpus":""}}"#, &[]),
            (r#"{"pids":{"limit":64}}"#, &["pids.max=64"]),
            (r#"{"pids":{"limit":-1}}"#, &[]),
            (r#"{"blockIO":{"weight":500}}"#, &["io.bfq.weight=500"]),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":10},{"major":8,"minor":1}]}}"#,
                &["io.bfq.weight=8:0 10"],
            ),
            (r#"{"blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":7}]}}"#, &["io.max=8:16 wiops=7"]),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304},{"pageSize":"1GB","limit":-1}]}"#,
                &["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"],
            ),
            (r#"{"rdma":{"mlx5_1":{"hcaHandles":3}}}"#, &["rdma.max=mlx5_1 hca_handle=3"]),
            (r#"{"unified":{"memory.high":"1048576","cpu.idle":"1"}}"#, &["cpu.idle=1", "memory.high=1048576"]),
            (r#"{"unified":{"cgroup.max.depth":"3"}}"#, &["cgroup.max.depth=3"]),
        ];
        for (json, expected) in cases {
            assert_eq!(told(json, Purpose::Create).unwrap(), *expected, "{json}");
        }
    }

    #[test]
    fn an_update_lifts_and_keeps() {
        let there = |file: &str| match file {
            "memory.max" => Some("1048576\n".to_owned()),
            "cpu.max" => Some("20000 100000\n".to_owned()),
            other => panic!("{other}"),
        };
        let cases: &[(&str, &[&str])] = &[
            (r#"{"memory":{"limit":-1}}"#, &["memory.max=max", "memory.swap.max=max"]),
            (r#"{"memory":{"limit":2097152}}"#, &["memory.max=2097152"]),
            (r#"{"memory":{"swap":3145728}}"#, &["memory.swap.max=2097152"]),
            (r#"{"memory":{"swap":-1,"reservation":-1}}"#, &["memory.swap.max=max", "memory.low=max"]),
            (r#"{"cpu":{"period":50000}}"#, &["cpu.max=20000 50000"]),
            (r#"{"cpu":{"quota":-1}}"#, &["cpu.max=max"]),
            (r#"{"cpu":{"idle":0,"burst":0,"shares":2}}"#, &["cpu.idle=0", "cpu.weight=1", "cpu.max.burst=0"]),
            (r#"{"pids":{"limit":-1}}"#, &["pids.max=max"]),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":-1}]}"#,
                &["hugetlb.2MB.max=max", "hugetlb.2MB.rsvd.max=max"],
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(told(json, Purpose::Update(&there)).unwrap(), *expected, "{json}");
        }
        let refused = told(r#"{"memory":{"swap":1000000}}"#, Purpose::Update(&there)).unwrap_err();
        assert!(refused.contains("the memory limit is 1048576"), "{refused}");
        let unlimited = |_: &str| Some("max\n".to_owned());
        assert!(told(r#"{"memory":{"swap":1000000}}"#, Purpose::Update(&unlimited)).is_err());
        assert!(told(r#"{"memory":{"limit":-1,"swap":1000000}}"#, Purpose::Update(&there)).is_err());
    }

    #[test]
    fn what_v2_has_not_is_refused_by_name() {
        for (json, named) in [
            (r#"{"memory":{"swappiness":10}}"#, "memory.swappiness"),
            (r#"{"memory":{"kernelTCP":4096}}"#, "memory.kernelTCP"),
            (r#"{"memory":{"disableOOMKiller":true}}"#, "memory.disableOOMKiller"),
            (r#"{"cpu":{"realtimeRuntime":5}}"#, "cpu.realtimeRuntime"),
            (r#"{"cpu":{"realtimePeriod":5}}"#, "cpu.realtimePeriod"),
            (r#"{"network":{"classID":1}}"#, "network.classID"),
            (r#"{"network":{"priorities":[{"name":"eth0","priority":1}]}}"#, "network.priorities"),
            (r#"{"unified":{"../memory.max":"1"}}"#, "../memory.max"),
            (r#"{"unified":{"tasks":"1"}}"#, "tasks"),
            (r#"{"unified":{"cgroup.procs":"1"}}"#, "cgroup.procs"),
        ] {
            let refused = told(json, Purpose::Create).unwrap_err();
            assert!(refused.contains(named), "{json}: {refused}");
        }
    }

    /// Figures of the pull requests that introduced the formula (opencontainers/cgroups 20, containers/crun 1767).
    #[test]
    fn shares_become_weights_as_in_runc_and_crun() {
        for (shares, expected) in [(2, 1), (3, 2), (1024, 100), (2000, 170), (262_144, 10_000)] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        let all: Vec<u64> = (2..=262_144).step_by(97).map(weight).collect();
        assert!(all.is_sorted());
    }
}

//! OCI resources as files of cgroup v1. Pure: refuses, but touches nothing.

use crate::Error;
use crate::resources::{self, Purpose, Write, limited, set};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

/// The writes, those of one controller beside each other.
pub(crate) fn writes(resources: &LinuxResources, purpose: Purpose<'_>) -> Result<Vec<Write>, Error> {
    resources::check(resources, purpose)?;
    let mut writes = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_writes(memory, purpose, &mut writes);
    }
    if let Some(cpu) = resources.cpu() {
        cpu_writes(cpu, purpose, &mut writes);
    }
    let pids = resources.pids().as_ref().map(|pids| pids.limit());
    writes.extend(purpose.limit(pids, "max").map(|limit| Write::new("pids.limit", "pids.max", limit)));
    if let Some(io) = resources.block_io() {
        io_writes(io, &mut writes);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        if limit.limit() < 0 && !purpose.is_update() {
            continue;
        }
        // Used pages, and those that were only promised by mmap(2).
        for file in [format!("hugetlb.{size}.limit_in_bytes"), format!("hugetlb.{size}.rsvd.limit_in_bytes")] {
            writes.push(Write::new("hugepageLimits", &file, limit.limit()));
        }
    }
    if let Some(network) = resources.network() {
        let class = purpose.number(network.class_id());
        writes.extend(class.map(|class| Write::new("network.classID", "net_cls.classid", class)));
        for entry in network.priorities().iter().flatten() {
            let value = format!("{} {}", entry.name(), entry.priority());
            writes.push(Write::new("network.priorities", "net_prio.ifpriomap", value));
        }
    }
    writes.extend(resources.rdma().as_ref().map(resources::rdma).unwrap_or_default());
    if resources.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        let why = "it names files of cgroup v2, and this host has v1";
        return Err(Error::Unsupported { resource: "unified".into(), why });
    }
    Ok(writes)
}

fn memory_writes(memory: &LinuxMemory, purpose: Purpose<'_>, writes: &mut Vec<Write>) {
    let mut push = |resource: &str, file: &str, value: Option<String>| {
        writes.extend(value.map(|value| Write::new(resource, file, value)));
    };
    // The limit first: memory.memsw cannot be less than it.
    push("memory.limit", "memory.limit_in_bytes", purpose.limit(memory.limit(), "-1"));
    match set(memory.swap()) {
        // No limit of memory, and none said of swap: as runc takes it, none at all.
        None if purpose.is_update() && memory.limit().is_some_and(|limit| limit < 0) => {
            let lift = Write::new("memory.limit", "memory.memsw.limit_in_bytes", "-1");
            writes.push(Write { lifts: true, ..lift });
        }
        swap => writes.extend(purpose.limit(swap, "-1").map(|value| Write {
            lifts: limited(swap).is_none(),
            ..Write::new("memory.swap", "memory.memsw.limit_in_bytes", value)
        })),
    }
    let mut push = |resource: &str, file: &str, value: Option<String>| {
        writes.extend(value.map(|value| Write::new(resource, file, value)));
    };
    push("memory.reservation", "memory.soft_limit_in_bytes", purpose.limit(memory.reservation(), "-1"));
    push("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", purpose.limit(memory.kernel_tcp(), "-1"));
    push("memory.swappiness", "memory.swappiness", memory.swappiness().map(|n| n.to_string()));
    let disabled = purpose.number(memory.disable_oom_killer()).map(|disabled| u8::from(disabled).to_string());
    push("memory.disableOOMKiller", "memory.oom_control", disabled);
}

fn cpu_writes(cpu: &LinuxCpu, purpose: Purpose<'_>, writes: &mut Vec<Write>) {
    let mut push = |resource: &str, file: &str, value: Option<String>| {
        writes.extend(value.map(|value| Write::new(resource, file, value)));
    };
    let shares = set(cpu.shares());
    // An idle group takes no shares, so it stops being idle before and starts after.
    let idle = purpose.number(cpu.idle());
    push("cpu.idle", "cpu.idle", idle.filter(|&idle| idle == 0).map(|n| n.to_string()));
    push("cpu.shares", "cpu.shares", shares.map(|n| n.to_string()));
    push("cpu.period", "cpu.cfs_period_us", set(cpu.period()).map(|n| n.to_string()));
    push("cpu.quota", "cpu.cfs_quota_us", purpose.limit(cpu.quota(), "-1"));
    push("cpu.burst", "cpu.cfs_burst_us", purpose.number(cpu.burst()).map(|n| n.to_string()));
    push("cpu.idle", "cpu.idle", idle.filter(|&idle| idle != 0).map(|n| n.to_string()));
    push("cpu.realtimePeriod", "cpu.rt_period_us", set(cpu.realtime_period()).map(|n| n.to_string()));
    push("cpu.realtimeRuntime", "cpu.rt_runtime_us", set(cpu.realtime_runtime()).map(|n| n.to_string()));
    push("cpu.cpus", "cpuset.cpus", cpu.cpus().clone().filter(|list| !list.is_empty()));
    push("cpu.mems", "cpuset.mems", cpu.mems().clone().filter(|list| !list.is_empty()));
}

fn io_writes(io: &LinuxBlockIo, writes: &mut Vec<Write>) {
    // The first names were the CFQ scheduler's, the others are bfq's.
    if let Some(weight) = set(io.weight()) {
        let or_else = Some(("blkio.bfq.weight", weight.to_string()));
        writes.push(Write { or_else, ..Write::new("blockIO.weight", "blkio.weight", weight) });
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = set(device.weight()) else { continue };
        let value = format!("{}:{} {weight}", device.major(), device.minor());
        let or_else = Some(("blkio.bfq.weight_device", value.clone()));
        writes.push(Write { or_else, ..Write::new("blockIO.weightDevice", "blkio.weight_device", value) });
    }
    for (field, rate, _, device) in resources::throttles(io) {
        let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        writes.push(Write::new(field, &format!("blkio.throttle.{rate}_device"), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str, purpose: Purpose<'_>) -> Vec<String> {
        let writes = writes(&serde_json::from_str(json).unwrap(), purpose).unwrap();
        writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    #[test]
    fn resources_become_v1_files() {
        let json = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":1048576,"kernelTCP":4096,"swappiness":0,
              "disableOOMKiller":true,"useHierarchy":true,"checkBeforeUpdate":true},
            "cpu":{"shares":512,"quota":50000,"period":100000,"burst":7,"realtimeRuntime":5,"realtimePeriod":10,
              "idle":1,"cpus":"0","mems":"0"},
            "pids":{"limit":64},
            "blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}],
              "weightDevice":[{"major":8,"minor":0,"weight":200},{"major":8,"minor":1}]},
            "hugepageLimits":[{"pageSize":"2MB","limit":0}],
            "network":{"classID":65537,"priorities":[{"name":"eth0","priority":3}]},
            "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10},"mlx4_0":{"hcaObjects":7},"none":{}}}"#;
        let expected = [
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=134217728",
            "memory.soft_limit_in_bytes=1048576",
            "memory.kmem.tcp.limit_in_bytes=4096",
            "memory.swappiness=0",
            "memory.oom_control=1",
            "cpu.shares=512",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpu.cfs_burst_us=7",
            "cpu.idle=1",
            "cpu.rt_period_us=10",
            "cpu.rt_runtime_us=5",
            "cpuset.cpus=0",
            "cpuset.mems=0",
            "pids.max=64",
            "blkio.weight=100",
            "blkio.weight_device=8:0 200",
            "blkio.throttle.read_bps_device=8:0 1000",
            "hugetlb.2MB.limit_in_bytes=0",
            "hugetlb.2MB.rsvd.limit_in_bytes=0",
            "net_cls.classid=65537",
            "net_prio.ifpriomap=eth0 3",
            "rdma.max=mlx4_0 hca_object=7",
            "rdma.max=mlx5_1 hca_handle=3 hca_object=10",
        ];
        assert_eq!(told(json, Purpose::Create), expected);
    }

    #[test]
    fn an_update_lifts_what_a_new_group_does_not_have() {
        let cases: &[(&str, &[&str])] = &[
            (r#"{"memory":{"limit":-1}}"#, &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]),
            (r#"{"memory":{"limit":0,"swap":-1}}"#, &["memory.memsw.limit_in_bytes=-1"]),
            (r#"{"memory":{"swap":134217728}}"#, &["memory.memsw.limit_in_bytes=134217728"]),
            (
                r#"{"memory":{"reservation":-1,"disableOOMKiller":false}}"#,
                &["memory.soft_limit_in_bytes=-1", "memory.oom_control=0"],
            ),
            (
                r#"{"cpu":{"quota":-1,"burst":0,"idle":0,"shares":5}}"#,
                &["cpu.idle=0", "cpu.shares=5", "cpu.cfs_quota_us=-1", "cpu.cfs_burst_us=0"],
            ),
            (r#"{"pids":{"limit":-1}}"#, &["pids.max=max"]),
            (r#"{"pids":{"limit":0},"cpu":{"quota":0,"shares":0}}"#, &[]),
        ];
        for (json, expected) in cases {
            assert_eq!(told(json, Purpose::Update(&|_| None)), *expected, "{json}");
        }
    }

    #[test]
    fn unified_is_refused() {
        let resources = serde_json::from_str(r#"{"unified":{"memory.high":"1"}}"#).unwrap();
        let refused = writes(&resources, Purpose::Create).unwrap_err();
        assert!(refused.to_string().contains("resource unified cannot be limited"), "{refused}");
    }
}

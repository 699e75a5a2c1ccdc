//! What a group used, in the JSON that runc's `events --stats` prints as `data`: containerd and Docker read it.
//!
//! The names are runc's, and so is what is left out when it is zero (Go's `omitempty`). Times are in nanoseconds, sizes
//! in bytes; no limit of memory is the largest number that the version of cgroups knows, and no limit of processes 0. A
//! controller that the group does not have leaves its
//! part empty.

use crate::{Error, file};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that is known of a group. `intel_rdt` is not here: resource control is no control group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// CPU time.
    pub cpu: Cpu,
    /// CPUs and memory nodes.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Disks.
    pub blkio: Blkio,
    /// Huge pages by their size: `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// RDMA objects by device.
    #[serde(skip_serializing_if = "Rdma::is_empty")]
    pub rdma: Rdma,
    /// Always null: interfaces are not a group's. The reader wants the name.
    pub network_interfaces: Option<()>,
}

/// CPU time, throttling and pressure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// What the quota did.
    pub throttling: Throttling,
    /// Pressure, on v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// CPU time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By CPU, on v1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel by CPU, on v1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// In programs by CPU, on v1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// What the CPU quota did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that went by while there was something to run.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Those in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds spent waiting for the next period.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The group's cpuset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuSet {
    /// The CPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// v1's `cpuset.cpu_exclusive`, and so on below.
    pub cpu_exclusive: u64,
    /// The memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// Of v1.
    pub mem_hardwall: u64,
    /// Of v1.
    pub mem_exclusive: u64,
    /// Of v1.
    pub memory_migrate: u64,
    /// Of v1.
    pub memory_spread_page: u64,
    /// Of v1.
    pub memory_spread_slab: u64,
    /// Of v1.
    pub memory_pressure: u64,
    /// Of v1.
    pub sched_load_balance: u64,
    /// Of v1.
    pub sched_relax_domain_level: i64,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// All memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    /// The kernel's, on v1.
    pub kernel: MemoryEntry,
    /// TCP buffers, on v1.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// Every line of memory.stat.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure, on v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
    /// How often a limit was met, on v2.
    pub event_count: MemoryEvents,
}

/// One kind of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// On v2 2^64-1 is none, on v1 2^63-4096.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// memory.events of v2.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryEvents {
    /// Reclaimed below memory.low.
    #[serde(skip_serializing_if = "is_zero")]
    pub low: u64,
    /// Throttled at memory.high.
    #[serde(skip_serializing_if = "is_zero")]
    pub high: u64,
    /// memory.max was met.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// An allocation was about to fail.
    #[serde(skip_serializing_if = "is_zero")]
    pub oom: u64,
    /// Processes that were killed for it.
    #[serde(skip_serializing_if = "is_zero")]
    pub oom_kill: u64,
    /// Whole groups that were killed for it.
    #[serde(skip_serializing_if = "is_zero")]
    pub oom_group_kill: u64,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// What went to disks and came from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Waiting in a queue, with bfq.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds of the device, with bfq.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds in queues, with bfq.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Requests that became part of others, with bfq.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of the device, with bfq.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors, with bfq.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Pressure, on v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One device and kind of operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// The device's minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Total`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The figure.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was; v2 does not know.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// RDMA objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rdma {
    /// The limits; 4294967295 is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rdma_limit: Vec<RdmaEntry>,
    /// In use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rdma_current: Vec<RdmaEntry>,
}

impl Rdma {
    fn is_empty(&self) -> bool {
        self.rdma_limit.is_empty() && self.rdma_current.is_empty()
    }
}

/// One RDMA device.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RdmaEntry {
    /// Its name.
    pub device: String,
    /// HCA handles.
    pub hca_handles: u32,
    /// HCA objects.
    pub hca_objects: u32,
}

/// Pressure stall information: how much of the time work waited for a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Some of the tasks waited.
    pub some: PsiData,
    /// All of them did.
    pub full: PsiData,
}

/// One line of a pressure file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PsiData {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds since the group was made.
    pub total: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The text of a file of the group; empty when it is missing, as one of a controller or kernel that is not there.
pub(crate) fn lines(dir: &str, file: &str) -> Result<String, Error> {
    match file::read_if_there(&format!("{dir}/{file}")) {
        // v2 has the pressure files also when the kernel keeps no such account.
        Err(Error::Read { source: Errno::OPNOTSUPP, .. }) => Ok(String::new()),
        read => Ok(read?.unwrap_or_default()),
    }
}

/// The number in a file; 0 when it is missing or no number (`max`).
pub(crate) fn number(dir: &str, file: &str) -> Result<u64, Error> {
    Ok(lines(dir, file)?.trim().parse().unwrap_or_default())
}

/// A file of `key number` lines.
pub(crate) fn figures(dir: &str, file: &str) -> Result<BTreeMap<String, u64>, Error> {
    let text = lines(dir, file)?;
    let pair =
        |line: &str| line.split_once(' ').and_then(|(key, value)| Some((key.into(), value.trim().parse().ok()?)));
    Ok(text.lines().filter_map(pair).collect())
}

/// The sizes of huge pages that the group has a file `hugetlb.SIZE{suffix}` of.
pub(crate) fn hugepage_sizes(dir: &str, suffix: &str) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            return Err(Error::Read { path: dir.into(), source });
        }
    };
    let size = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    Ok(entries.flatten().filter_map(size).collect())
}

/// rdma.max and rdma.current, the same on both versions: `mlx4_0 hca_handle=2 hca_object=max`.
pub(crate) fn rdma(dir: &str) -> Result<Rdma, Error> {
    let read = |file: &str| Ok::<_, Error>(lines(dir, file)?.lines().filter_map(rdma_entry).collect());
    Ok(Rdma { rdma_limit: read("rdma.max")?, rdma_current: read("rdma.current")? })
}

fn rdma_entry(line: &str) -> Option<RdmaEntry> {
    let mut words = line.split_whitespace();
    let mut entry = RdmaEntry { device: words.next()?.into(), ..RdmaEntry::default() };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let value = value.parse().unwrap_or(u32::MAX);
        match key {
            "hca_handle" => entry.hca_handles = value,
            "hca_object" => entry.hca_objects = value,
            _ => {}
        }
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Held against what runc prints for a container that has used nothing.
    #[test]
    fn the_json_has_runcs_names() {
        let mut stats = Stats::default();
        stats.cpu.throttling.throttled_periods = 1;
        stats.memory.kernel_tcp.failcnt = 2;
        stats.blkio.io_queued_recursive.push(BlkioEntry { major: 8, op: "Read".into(), ..Default::default() });
        stats.memory.psi = Some(Psi::default());
        let told: serde_json::Value = serde_json::to_value(&stats).unwrap();
        assert_eq!(told["cpu"], serde_json::json!({"usage":{"kernel":0,"user":0},"throttling":{"throttledPeriods":1}}));
        assert_eq!(told["memory"]["kernelTCP"], serde_json::json!({"limit":0,"failcnt":2}));
        assert_eq!(told["memory"]["psi"]["full"]["avg300"], serde_json::json!(0.0));
        assert_eq!(told["memory"]["event_count"], serde_json::json!({}));
        assert_eq!(told["blkio"], serde_json::json!({"ioQueueRecursive":[{"major":8,"op":"Read"}]}));
        assert_eq!(told["pids"], serde_json::json!({}));
        assert_eq!(told["hugetlb"], serde_json::json!({}));
        assert_eq!(told["network_interfaces"], serde_json::Value::Null);
        assert_eq!(told["cpuset"]["sched_relax_domain_level"], 0);
        assert_eq!(told.as_object().unwrap().len(), 7);
    }

    #[test]
    fn lines_of_rdma_are_read() {
        let entry = rdma_entry("mlx4_0 hca_handle=2 hca_object=max").unwrap();
        assert_eq!((entry.device.as_str(), entry.hca_handles, entry.hca_objects), ("mlx4_0", 2, u32::MAX));
        assert_eq!(rdma_entry(""), None);
    }
}

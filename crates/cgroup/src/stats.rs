//! What a group used, in the JSON that runc's `events --stats` prints as `data`: containerd and Docker read it.
//!
//! The names are runc's, and so is what is left out when it is zero (Go's `omitempty`). Times are in nanoseconds, sizes
//! in bytes; no limit is 2^64-1 for memory and 0 for processes. A controller that the group does not have leaves its
//! part empty.

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
    /// 2^64-1 is none.
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

//! The figures of cgroup v1.

use crate::stats::{BlkioEntry, Hugetlb, MemoryEntry, Stats, figures, hugepage_sizes, lines, number, rdma};
use crate::{Error, resources};

/// What /proc and cpuacct.stat count in, on every architecture (USER_HZ).
const NANOSECONDS_A_TICK: u64 = 10_000_000;

/// Reads them; `directory` tells where the group of a controller is.
pub(crate) fn read<'a>(directory: impl Fn(&str) -> Option<&'a str>) -> Result<Stats, Error> {
    let mut stats = Stats::default();
    if let Some(dir) = directory("cpu") {
        let figures = figures(dir, "cpu.stat")?;
        let get = |key| figures.get(key).copied().unwrap_or_default();
        stats.cpu.throttling.periods = get("nr_periods");
        stats.cpu.throttling.throttled_periods = get("nr_throttled");
        stats.cpu.throttling.throttled_time = get("throttled_time");
    }
    if let Some(dir) = directory("cpuacct") {
        cpu_time(dir, &mut stats)?;
    }
    if let Some(dir) = directory("cpuset") {
        cpuset(dir, &mut stats)?;
    }
    if let Some(dir) = directory("memory") {
        stats.memory.raw = figures(dir, "memory.stat")?;
        stats.memory.cache = stats.memory.raw.get("cache").copied().unwrap_or_default();
        stats.memory.usage = memory(dir, "memory")?;
        stats.memory.swap = memory(dir, "memory.memsw")?;
        stats.memory.kernel = memory(dir, "memory.kmem")?;
        stats.memory.kernel_tcp = memory(dir, "memory.kmem.tcp")?;
    }
    if let Some(dir) = directory("pids") {
        stats.pids.current = number(dir, "pids.current")?;
        stats.pids.limit = number(dir, "pids.max")?;
    }
    if let Some(dir) = directory("blkio") {
        blkio(dir, &mut stats)?;
    }
    if let Some(dir) = directory("hugetlb") {
        for size in hugepage_sizes(dir, ".usage_in_bytes")? {
            let of = |what: &str| number(dir, &format!("hugetlb.{size}.{what}"));
            let found =
                Hugetlb { usage: of("usage_in_bytes")?, max: of("max_usage_in_bytes")?, failcnt: of("failcnt")? };
            stats.hugetlb.insert(size, found);
        }
    }
    if let Some(dir) = directory("rdma") {
        stats.rdma = rdma(dir)?;
    }
    Ok(stats)
}

fn cpu_time(dir: &str, stats: &mut Stats) -> Result<(), Error> {
    let usage = &mut stats.cpu.usage;
    usage.total = number(dir, "cpuacct.usage")?;
    let percpu = lines(dir, "cpuacct.usage_percpu")?;
    usage.percpu = percpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // A heading, then `CPU user system`.
    for line in lines(dir, "cpuacct.usage_all")?.lines().skip(1) {
        if let [_, user, system] = line.split_whitespace().collect::<Vec<_>>()[..] {
            usage.percpu_user.push(user.parse().unwrap_or_default());
            usage.percpu_kernel.push(system.parse().unwrap_or_default());
        }
    }
    let ticks = figures(dir, "cpuacct.stat")?;
    let time = |key| ticks.get(key).copied().unwrap_or_default().saturating_mul(NANOSECONDS_A_TICK);
    usage.user = time("user");
    usage.kernel = time("system");
    Ok(())
}

fn cpuset(dir: &str, stats: &mut Stats) -> Result<(), Error> {
    let list = |file: &str| Ok::<_, Error>(resources::numbers(&lines(dir, file)?).unwrap_or_default());
    let set = &mut stats.cpuset;
    set.cpus = list("cpuset.cpus")?;
    set.mems = list("cpuset.mems")?;
    for (file, field) in [
        ("cpuset.cpu_exclusive", &mut set.cpu_exclusive),
        ("cpuset.mem_hardwall", &mut set.mem_hardwall),
        ("cpuset.mem_exclusive", &mut set.mem_exclusive),
        ("cpuset.memory_migrate", &mut set.memory_migrate),
        ("cpuset.memory_spread_page", &mut set.memory_spread_page),
        ("cpuset.memory_spread_slab", &mut set.memory_spread_slab),
        ("cpuset.memory_pressure", &mut set.memory_pressure),
        ("cpuset.sched_load_balance", &mut set.sched_load_balance),
    ] {
        *field = number(dir, file)?;
    }
    set.sched_relax_domain_level = lines(dir, "cpuset.sched_relax_domain_level")?.trim().parse().unwrap_or_default();
    Ok(())
}

fn memory(dir: &str, prefix: &str) -> Result<MemoryEntry, Error> {
    let of = |what: &str| number(dir, &format!("{prefix}.{what}"));
    Ok(MemoryEntry {
        limit: of("limit_in_bytes")?,
        usage: of("usage_in_bytes")?,
        max: of("max_usage_in_bytes")?,
        failcnt: of("failcnt")?,
    })
}

/// bfq knows more than the throttling layer, but only of the devices that it schedules; so the layer is asked when bfq
/// has counted nothing.
fn blkio(dir: &str, stats: &mut Stats) -> Result<(), Error> {
    let read = |file: &str| Ok::<_, Error>(entries(&lines(dir, file)?));
    let io = &mut stats.blkio;
    io.io_serviced_recursive = read("blkio.bfq.io_serviced_recursive")?;
    if io.io_serviced_recursive.is_empty() {
        io.io_serviced_recursive = read("blkio.throttle.io_serviced_recursive")?;
        io.io_service_bytes_recursive = read("blkio.throttle.io_service_bytes_recursive")?;
        return Ok(());
    }
    io.io_service_bytes_recursive = read("blkio.bfq.io_service_bytes_recursive")?;
    io.io_queued_recursive = read("blkio.bfq.io_queued_recursive")?;
    io.io_service_time_recursive = read("blkio.bfq.io_service_time_recursive")?;
    io.io_wait_time_recursive = read("blkio.bfq.io_wait_time_recursive")?;
    io.io_merged_recursive = read("blkio.bfq.io_merged_recursive")?;
    io.io_time_recursive = read("blkio.bfq.time_recursive")?;
    io.sectors_recursive = read("blkio.bfq.sectors_recursive")?;
    Ok(())
}

/// `8:0 Read 100` and `8:0 100`; the sum over all devices, which has no device, is left out.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (device, op, value) = match words[..] {
            [device, op, value] => (device, op, value),
            [device, value] => (device, "", value),
            _ => return None,
        };
        let (major, minor) = device.split_once(':')?;
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.into(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_blkio_are_read() {
        let told = entries("8:0 Read 4096\n8:0 Total 4096\n253:16 7\nTotal 4103\n8:0\n");
        let told: Vec<_> = told.iter().map(|e| format!("{}:{} {} {}", e.major, e.minor, e.op, e.value)).collect();
        assert_eq!(told, ["8:0 Read 4096", "8:0 Total 4096", "253:16  7"]);
    }
}

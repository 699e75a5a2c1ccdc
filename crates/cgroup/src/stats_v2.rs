//! The figures of cgroup v2.

use crate::stats::{
    BlkioEntry, Hugetlb, MemoryEntry, Psi, PsiData, Stats, figures, hugepage_sizes, lines, number, rdma,
};
use crate::{Error, file, resources};

/// Reads them from the group's directory.
pub(crate) fn read(dir: &str) -> Result<Stats, Error> {
    let mut stats = Stats::default();
    cpu(dir, &mut stats)?;
    let list = |file: &str| Ok::<_, Error>(resources::numbers(&lines(dir, file)?).unwrap_or_default());
    stats.cpuset.cpus = list("cpuset.cpus.effective")?;
    stats.cpuset.mems = list("cpuset.mems.effective")?;
    memory(dir, &mut stats)?;
    stats.pids.current = match file::read_if_there(&format!("{dir}/pids.current"))? {
        Some(text) => text.trim().parse().unwrap_or_default(),
        // Without the controller they can still be counted, if not their threads.
        None => file::processes_in(dir)?.len() as u64,
    };
    stats.pids.limit = number(dir, "pids.max")?;
    io(&lines(dir, "io.stat")?, &mut stats);
    stats.blkio.psi = pressure(&lines(dir, "io.pressure")?);
    for size in hugepage_sizes(dir, ".current")? {
        let events = figures(dir, &format!("hugetlb.{size}.events"))?;
        let found = Hugetlb {
            usage: number(dir, &format!("hugetlb.{size}.current"))?,
            max: 0,
            failcnt: events.get("max").copied().unwrap_or_default(),
        };
        stats.hugetlb.insert(size, found);
    }
    stats.rdma = rdma(dir)?;
    Ok(stats)
}

fn cpu(dir: &str, stats: &mut Stats) -> Result<(), Error> {
    let figures = figures(dir, "cpu.stat")?;
    let get = |key| figures.get(key).copied().unwrap_or_default();
    let nanoseconds = |key| get(key).saturating_mul(1000);
    stats.cpu.usage.total = nanoseconds("usage_usec");
    stats.cpu.usage.user = nanoseconds("user_usec");
    stats.cpu.usage.kernel = nanoseconds("system_usec");
    stats.cpu.throttling.periods = get("nr_periods");
    stats.cpu.throttling.throttled_periods = get("nr_throttled");
    stats.cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    stats.cpu.psi = pressure(&lines(dir, "cpu.pressure")?);
    Ok(())
}

fn memory(dir: &str, stats: &mut Stats) -> Result<(), Error> {
    let memory = &mut stats.memory;
    memory.psi = pressure(&lines(dir, "memory.pressure")?);
    if file::read_if_there(&format!("{dir}/memory.current"))?.is_none() {
        return Ok(());
    }
    memory.raw = figures(dir, "memory.stat")?;
    memory.cache = memory.raw.get("file").copied().unwrap_or_default();
    let events = figures(dir, "memory.events")?;
    let get = |key| events.get(key).copied().unwrap_or_default();
    for (key, field) in [
        ("low", &mut memory.event_count.low),
        ("high", &mut memory.event_count.high),
        ("max", &mut memory.event_count.max),
        ("oom", &mut memory.event_count.oom),
        ("oom_kill", &mut memory.event_count.oom_kill),
        ("oom_group_kill", &mut memory.event_count.oom_group_kill),
    ] {
        *field = get(key);
    }
    let limit = |file: &str| {
        let text = lines(dir, file)?;
        Ok::<u64, Error>(text.trim().parse().unwrap_or(u64::MAX))
    };
    memory.usage = MemoryEntry {
        limit: limit("memory.max")?,
        usage: number(dir, "memory.current")?,
        max: number(dir, "memory.peak")?,
        failcnt: 0,
    };
    // The readers know v1, where this is memory and swap together.
    memory.swap = MemoryEntry {
        limit: memory.usage.limit.saturating_add(limit("memory.swap.max")?),
        usage: memory.usage.usage.saturating_add(number(dir, "memory.swap.current")?),
        max: 0,
        failcnt: 0,
    };
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn io(text: &str, stats: &mut Stats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (op, list) = match key {
                "rbytes" => ("Read", &mut stats.blkio.io_service_bytes_recursive),
                "wbytes" => ("Write", &mut stats.blkio.io_service_bytes_recursive),
                "dbytes" => ("Discard", &mut stats.blkio.io_service_bytes_recursive),
                "rios" => ("Read", &mut stats.blkio.io_serviced_recursive),
                "wios" => ("Write", &mut stats.blkio.io_serviced_recursive),
                "dios" => ("Discard", &mut stats.blkio.io_serviced_recursive),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.into(), value });
        }
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full ...`. None when the kernel keeps no such account.
fn pressure(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let mut data = PsiData::default();
        for (key, value) in rest.split(' ').filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => data.avg10 = value.parse().ok()?,
                "avg60" => data.avg60 = value.parse().ok()?,
                "avg300" => data.avg300 = value.parse().ok()?,
                "total" => data.total = value.parse().ok()?,
                _ => {}
            }
        }
        match kind {
            "some" => psi.some = data,
            "full" => psi.full = data,
            _ => {}
        }
    }
    (!text.is_empty()).then_some(psi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_and_pressure_are_read() {
        let mut stats = Stats::default();
        io("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost=x\n8:0 \nnone\n", &mut stats);
        let told = |list: &[BlkioEntry]| list.iter().map(|e| format!("{}{}", e.op, e.value)).collect::<Vec<_>>();
        assert_eq!(told(&stats.blkio.io_service_bytes_recursive), ["Read1", "Write2", "Discard5"]);
        assert_eq!(told(&stats.blkio.io_serviced_recursive), ["Read3", "Write4", "Discard6"]);
        assert_eq!(stats.blkio.io_serviced_recursive[0].major, 8);
        let text = "some avg10=1.25 avg60=0.50 avg300=0.01 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let psi = pressure(text).unwrap();
        assert_eq!((psi.some.avg10, psi.some.avg60, psi.some.avg300, psi.some.total), (1.25, 0.5, 0.01, 77));
        assert_eq!(psi.full.total, 3);
        for none in ["", "some", "some avg10=x total=1\n"] {
            assert_eq!(pressure(none), None, "{none}");
        }
    }
}

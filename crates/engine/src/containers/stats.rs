//! `stats`: what containers that run use, from their control groups; what goes over their network from /proc.

use super::{Found, alive, get, running};
use crate::error::Error;
use crate::options::NetworkMode;
use cgroup::stats::{BlkioEntry, Memory};
use cgroup::{Cgroup, Host};
use std::time::Instant;

/// What a container has used until now, and uses.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Its id in full.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// When it was looked at.
    pub at: Instant,
    /// Nanoseconds of the processors.
    pub cpu: u64,
    /// Bytes of memory, and the most that it may have; none where its group has no account of it.
    pub memory: Option<(u64, u64)>,
    /// Bytes received and sent; of a container without a network of its own none.
    pub network: (u64, u64),
    /// Bytes read from disks and written to them.
    pub disk: (u64, u64),
    /// Processes and threads.
    pub pids: u64,
}

/// Containers whose use is looked at again and again.
#[derive(Debug)]
pub struct Watched {
    found: Vec<Found>,
    host: Host,
    /// Bytes of this machine's memory.
    memory: u64,
}

impl Watched {
    /// Those that these words mean, or if there are none all that run now.
    pub fn new(words: &[String]) -> Result<Watched, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let found = match words {
            [] => running(),
            words => words.iter().map(|words| get(words)).collect::<Result<_, _>>()?,
        };
        if let Some(found) = found.iter().find(|found| !found.is_running) {
            return Err(Error::NotRunning { container: found.shown().to_owned() });
        }
        let host = Host::detect().map_err(|error| Error::from(runtime::Error::from(error)))?;
        Ok(Watched { found, host, memory: memory_of_machine() })
    }

    /// None at all.
    pub fn none() -> Result<Watched, Error> {
        let host = Host::detect().map_err(|error| Error::from(runtime::Error::from(error)))?;
        Ok(Watched { found: Vec::new(), host, memory: memory_of_machine() })
    }

    /// Looks at each; one that has ended is left out.
    pub fn look(&self) -> Result<Vec<Usage>, Error> {
        self.found.iter().filter_map(|found| self.usage(found).transpose()).collect()
    }

    fn usage(&self, found: &Found) -> Result<Option<Usage>, Error> {
        let wrap = |error| Error::from(runtime::Error::from(error));
        let group = Cgroup::open(&self.host, &found.location()?).map_err(wrap)?;
        if !group.exists() {
            return if crate::rootless::is_rootless() { self.usage_by_process(found) } else { Ok(None) };
        }
        let stats = group.stats().map_err(wrap)?;
        let sum = |op: &str| {
            let entries = stats.blkio.io_service_bytes_recursive.iter();
            entries.filter(|entry: &&BlkioEntry| entry.op.eq_ignore_ascii_case(op)).map(|entry| entry.value).sum()
        };
        Ok(Some(Usage {
            id: found.id.as_str().to_owned(),
            name: found.facts()?.name.clone(),
            at: Instant::now(),
            cpu: stats.cpu.usage.total,
            memory: memory(&stats.memory, self.memory),
            network: network(found),
            disk: (sum("read"), sum("write")),
            pids: stats.pids.current,
        }))
    }
}

impl Watched {
    /// Of a container that has no control group, as its processes tell it: those that have ended are not counted, what
    /// several share is counted for each, and what was read from disks is not known.
    fn usage_by_process(&self, found: &Found) -> Result<Option<Usage>, Error> {
        let Ok(all) = super::processes::processes(found.id.as_str()) else { return Ok(None) };
        let memory = all.iter().map(|process| process.rss * 1024).sum();
        Ok(Some(Usage {
            id: found.id.as_str().to_owned(),
            name: found.facts()?.name.clone(),
            at: Instant::now(),
            cpu: all.iter().map(|process| process.cpu_ticks * (1_000_000_000 / super::processes::TICKS)).sum(),
            memory: Some((memory, self.memory)),
            network: network(found),
            disk: (0, 0),
            pids: all.iter().map(|process| process.threads).sum(),
        }))
    }
}

/// Without the page cache that nobody has used for a while, as Docker counts it; no limit is all that the machine has.
fn memory(memory: &Memory, machine: u64) -> Option<(u64, u64)> {
    let idle = ["total_inactive_file", "inactive_file"].iter().find_map(|key| memory.raw.get(*key)).copied();
    // Where there is no account, there are no lines of it either.
    let idle = if memory.raw.is_empty() { return None } else { idle.unwrap_or_default() };
    Some((memory.usage.usage.saturating_sub(idle), memory.usage.limit.min(machine)))
}

/// [proc_meminfo(5)]
fn memory_of_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(u64::MAX, |kib| kib * 1024)
}

/// Of all its links but `lo`, as its first process sees them.
fn network(found: &Found) -> (u64, u64) {
    let is_own = found
        .facts
        .as_ref()
        .and_then(|facts| facts.options.as_deref())
        .is_some_and(|given| given.network != NetworkMode::Host);
    let first = if is_own { alive::first(found).ok() } else { None };
    let pid = first.as_ref().and_then(alive::pid_of);
    let text = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()).unwrap_or_default();
    // Were it gone by now, what was read might be another's.
    match first {
        Some(first) if alive::pid_of(&first).is_some() => transferred(&text),
        _ => (0, 0),
    }
}

/// Two lines of headings, then `  eth0: BYTES PACKETS ...`: eight figures of what was received, eight of what was sent.
fn transferred(text: &str) -> (u64, u64) {
    let links = text.lines().skip(2).filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    links.fold((0, 0), |(received, sent), (_, figures)| {
        let figures: Vec<u64> = figures.split_whitespace().map(|figure| figure.parse().unwrap_or_default()).collect();
        let get = |n: usize| figures.get(n).copied().unwrap_or_default();
        (received + get(0), sent + get(8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cgroup::stats::MemoryEntry;

    #[test]
    fn bytes_of_all_links_but_the_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  \
                    eth0: 1000 7 0 0 0 0 0 0 200 3 0 0 0 0 0 0\n  eth1:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n";
        assert_eq!(transferred(text), (1005, 206));
        assert_eq!(transferred(""), (0, 0));
    }

    #[test]
    fn memory_is_without_idle_cache() {
        let of = |lines: &[(&str, u64)], usage, limit| {
            let raw = lines.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            memory(
                &Memory { raw, usage: MemoryEntry { usage, limit, ..MemoryEntry::default() }, ..Memory::default() },
                1000,
            )
        };
        assert_eq!(of(&[("inactive_file", 10), ("total_inactive_file", 30)], 100, u64::MAX), Some((70, 1000)));
        assert_eq!(of(&[("inactive_file", 10)], 100, 500), Some((90, 500)));
        assert_eq!(of(&[("inactive_file", 200)], 100, 500), Some((0, 500)));
        assert_eq!(of(&[], 0, 0), None);
    }
}

//! The processes of a container that runs, as the host sees them: what `top` shows. [proc_pid_stat(5)]

use super::{Found, get, process};
use crate::error::Error;
use std::os::unix::fs::MetadataExt;

/// A process of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessInfo {
    /// Its number on the host, as all that follow.
    pub pid: i32,
    /// Its parent's.
    pub ppid: i32,
    /// Its group's.
    pub pgid: i32,
    /// Its session's.
    pub sid: i32,
    /// The user that it acts as.
    pub uid: u32,
    /// That user's name on the host; the number where there is none.
    pub user: String,
    /// Its short name.
    pub comm: String,
    /// Its words; empty of one that has none, as a zombie.
    pub words: Vec<String>,
    /// `R`, `S`, `Z` and so on.
    pub state: char,
    /// Its terminal, as `pts/0`; `?` when it has none.
    pub tty: String,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How many seconds it has lived.
    pub elapsed: u64,
    /// How many seconds of the processors it has had.
    pub cpu: u64,
    /// Memory in KiB that it has now.
    pub rss: u64,
    /// Addresses in KiB that it may use.
    pub vsz: u64,
    /// The same in the kernel's ticks.
    pub(super) cpu_ticks: u64,
    /// Its niceness.
    pub nice: i64,
    /// Its threads.
    pub threads: u64,
}

/// The kernel's USER_HZ on every machine that we build for. [time(7)]
pub(super) const TICKS: u64 = 100;

/// Every process of a container that runs, by their numbers. One that ends meanwhile is left out.
pub fn processes(words: &str) -> Result<Vec<ProcessInfo>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    if !found.is_running {
        return Err(Error::NotRunning { container: found.shown().to_owned() });
    }
    let wrap = |error| Error::from(runtime::Error::from(error));
    let group = found.open_cgroup()?;
    let pids = if group.exists() { group.processes().map_err(wrap)? } else { in_its_namespace(&found)? };
    if pids.is_empty() {
        return Err(Error::NoProcess { container: found.shown().to_owned() });
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let boot = now.saturating_sub(uptime).cast_signed();
    Ok(pids.into_iter().filter_map(|pid| look(pid, boot, uptime, &users)).collect())
}

/// The processes of a container that has no control group: those of the pid namespace of its first one.
pub(super) fn in_its_namespace(found: &Found) -> Result<Vec<i32>, Error> {
    let facts = found.facts()?;
    if facts.options.as_deref().is_some_and(|options| !options.pid.is_own()) {
        return Err(Error::NoGroup { container: found.shown().to_owned() });
    }
    let first = process::first(&found.id, &found.open_cgroup()?, facts)?;
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(first.pid);
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(pids.filter(|pid| own.is_some() && namespace(*pid) == own).collect())
}

fn look(pid: i32, boot: i64, uptime: u64, users: &str) -> Option<ProcessInfo> {
    let dir = format!("/proc/{pid}");
    let stat = std::fs::read_to_string(format!("{dir}/stat")).ok()?;
    let uid = std::fs::metadata(format!("{dir}/stat")).ok()?.uid();
    let words = std::fs::read(format!("{dir}/cmdline")).unwrap_or_default();
    let mut process = parse(&stat, boot, uptime)?;
    process.uid = uid;
    process.user = user(users, uid);
    let text = words.strip_suffix(b"\0").unwrap_or(&words);
    if !text.is_empty() {
        process.words = text.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    }
    Some(process)
}

/// The line of `stat`. Its second field is a name in brackets that may itself hold anything.
fn parse(stat: &str, boot: i64, uptime: u64) -> Option<ProcessInfo> {
    let (pid, rest) = stat.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The third field of the manual is the first of these.
    let field = |n: usize| fields.get(n - 3).copied();
    let number = |n: usize| field(n).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let signed = |n: usize| field(n).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
    let id = |n: usize| i32::try_from(signed(n)).unwrap_or_default();
    let since_boot = number(22) / TICKS;
    Some(ProcessInfo {
        pid: pid.parse().ok()?,
        ppid: id(4),
        pgid: id(5),
        sid: id(6),
        comm: comm.to_owned(),
        state: field(3)?.chars().next()?,
        tty: terminal(signed(7)),
        started: boot + since_boot.cast_signed(),
        elapsed: uptime.saturating_sub(since_boot),
        cpu: (number(14) + number(15)) / TICKS,
        cpu_ticks: number(14) + number(15),
        rss: number(24) * rustix::param::page_size() as u64 / 1024,
        vsz: number(23) / 1024,
        nice: signed(19),
        threads: number(20),
        ..ProcessInfo::default()
    })
}

/// A terminal by its device: the minor number is in the bits 0 to 7 and 20 to 31. [linux, devices.txt]
fn terminal(device: i64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match (major, minor) {
        (136..=143, minor) => format!("pts/{}", (major - 136) * 256 + minor),
        (4, minor @ 0..64) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        (5, 1) => "console".into(),
        _ => "?".into(),
    }
}

fn user(users: &str, uid: u32) -> String {
    let is_it = |line: &&str| line.split(':').nth(2).and_then(|number| number.parse().ok()) == Some(uid);
    let name = users.lines().find(is_it).and_then(|line| line.split(':').next());
    name.map_or_else(|| uid.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "42 (a) R (b) S 1 42 40 34817 42 0 0 0 0 0 150 75 0 0 20 5 3 0 1000 2048000 7 0";
        let process = parse(stat, 1_000_000, 60).unwrap();
        assert_eq!((process.pid, process.comm.as_str(), process.state, process.ppid), (42, "a) R (b", 'S', 1));
        assert_eq!((process.pgid, process.sid, process.tty.as_str()), (42, 40, "pts/1"));
        assert_eq!((process.cpu, process.nice, process.threads, process.vsz), (2, 5, 3, 2000));
        assert_eq!((process.started, process.elapsed), (1_000_010, 50));
        assert_eq!(parse("42", 0, 0), None);
    }

    #[test]
    fn terminals_have_names() {
        for (device, name) in [
            (0, "?"),
            (136 << 8, "pts/0"),
            ((136 << 8) | 255, "pts/255"),
            ((137 << 8) | 1, "pts/257"),
            ((136 << 8) | (1 << 20) | 2, "pts/258"),
            ((4 << 8) | 1, "tty1"),
            ((4 << 8) | 64, "ttyS0"),
            ((5 << 8) | 1, "console"),
        ] {
            assert_eq!(terminal(device), name);
        }
        assert_eq!((user("a:x:0:0:\nb:x:7:7:\n", 7).as_str(), user("", 7).as_str()), ("b", "7"));
    }
}

//! A thousand containers at once: what the last of them takes to start, what a list of all takes, and what is left when
//! all are removed.
//!
//! It happens in a mount namespace and a network namespace of the bench's own, with empty directories where the tool keeps
//! its state, so that this machine's own containers are neither counted nor removed. Once with the bridge, once without
//! a network.

use crate::Options;
use crate::images::place;
use crate::machine::Machine;
use crate::rootfs::{self, Scratch};
use crate::timer::Samples;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many starts stand for the tenth, and how many for the last.
const SOME: usize = 20;
/// How often the list is asked for.
const LISTS: usize = 20;
/// What the kernel takes away by itself has so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found with one kind of network.
struct Found {
    network: &'static str,
    first: Samples,
    last: Samples,
    list: Samples,
    ids: Samples,
    inspect: Samples,
    removed: Duration,
    left: Vec<String>,
}

/// Measures it, and writes many.md.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let count = options.rounds.unwrap_or(1000).max(2 * SOME);
    let machine = Machine::here();
    if machine.is_busy() {
        eprintln!("this machine is busy with something else: the figures will be worse than they should be");
    }
    let tool = fs::canonicalize(&options.tool).with_context(|| format!("{} is not built", options.tool.display()))?;
    let out = options.out.clone();
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let scratch = Scratch::new()?;
    rootfs::make_busybox(&scratch)?;
    let host = scratch.path("host");
    place::make(&host)?;
    sys::fork::unshare(sys::fork::Namespaces::NETWORK).context("cannot make a network namespace")?;
    place::enter(&host)?;
    let run = Many { tool: &tool, root: &scratch.path("root"), count };
    let found = [run.all("bridge")?, run.all("none")?];
    leave(&host)?;
    let page = page(&found, &machine, count);
    print!("{page}");
    fs::write(out.join("many.md"), page).with_context(|| format!("cannot write {}/many.md", out.display()))
}

/// Takes away what [`place::enter`] has mounted, and what the tool keeps mounted for the next container: the scratch
/// directory goes only when nothing is mounted in it.
fn leave(host: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let is_ours = |path: &&str| ["/run", "/var/lib", "/etc/containers"].iter().any(|top| path.starts_with(top));
    let host = host.to_string_lossy();
    let targets: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| is_ours(path) || path.contains(&*host))
        .collect();
    for target in targets.iter().rev() {
        let _ = rustix::mount::unmount(*target, rustix::mount::UnmountFlags::DETACH);
    }
    Ok(())
}

struct Many<'a> {
    tool: &'a Path,
    root: &'a Path,
    count: usize,
}

impl Many<'_> {
    fn all(&self, network: &'static str) -> Result<Found> {
        let before = self.there_is();
        let mut starts = Samples::default();
        let name = |n: usize| format!("many-{n}");
        let root = self.root.to_string_lossy().into_owned();
        for n in 0..self.count {
            let name = name(n);
            let words = ["run", "-d", "--name", &name, "--network", network, &root, "sleep", "1000000"];
            starts.micros.push(self.time(&words)?);
        }
        let running = self.said(&["ps", "-q"])?.lines().count();
        if running != self.count {
            bail!("{running} of {} containers run", self.count);
        }
        let again = |words: &[&str]| -> Result<Samples> {
            let times = (0..LISTS).map(|_| self.time(words)).collect::<Result<_>>()?;
            Ok(Samples { micros: times, failed: 0 })
        };
        let (list, ids) = (again(&["ps"])?, again(&["ps", "-aq"])?);
        let inspect = again(&["inspect", &name(self.count / 2)])?;
        let names: Vec<String> = (0..self.count).map(name).collect();
        let words: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let start = Instant::now();
        self.said(&words)?;
        let removed = start.elapsed();
        let until = Instant::now() + PATIENCE;
        let left = loop {
            let left: Vec<String> = self.there_is().into_iter().filter(|thing| !before.contains(thing)).collect();
            if left.is_empty() || Instant::now() > until {
                break left;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let last = starts.micros.split_off(self.count - SOME);
        starts.micros.truncate(SOME);
        Ok(Found {
            network,
            first: starts,
            last: Samples { micros: last, failed: 0 },
            list,
            ids,
            inspect,
            removed,
            left,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.tool);
        command.args(words).stdin(Stdio::null());
        command
    }

    fn said(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output()?;
        if !output.status.success() {
            bail!("{}: {}", words[0], String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How long a command takes, in microseconds.
    fn time(&self, words: &[&str]) -> Result<u64> {
        let mut command = self.command(words);
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        let start = Instant::now();
        let status = command.status()?;
        let took = start.elapsed();
        if status.success() { Ok(u64::try_from(took.as_micros())?) } else { bail!("{}: {status}", words[0]) }
    }

    /// Everything that a container could leave: files of the tool's, mounts, links, control groups, and processes.
    fn there_is(&self) -> Vec<String> {
        let mut all = Vec::new();
        for dir in ["/var/lib/mycontainer", "/run/mycontainer"] {
            for part in ["containers", "names", "volumes", "attach", "network", "network/ports"] {
                let dir = format!("{dir}/{part}");
                all.extend(names(&dir).into_iter().map(|name| format!("{dir}/{name}")));
            }
        }
        let groups = names("/sys/fs/cgroup").into_iter().map(|name| format!("/sys/fs/cgroup/{name}"));
        let groups = groups.flat_map(|dir| names(&dir).into_iter().map(move |name| format!("{dir}/{name}")));
        all.extend(groups.chain(names("/sys/fs/cgroup")).filter(|path| path.contains("mycontainer-")));
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        all.extend(text("/proc/self/mountinfo").lines().map(|line| format!("mount {line}")));
        let links = text("/proc/self/net/dev");
        all.extend(links.lines().filter_map(|line| Some(format!("link {}", line.split_once(':')?.0.trim()))));
        let root = self.root.to_string_lossy();
        for pid in names("/proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) {
            let words = text(&format!("/proc/{pid}/cmdline"));
            if words.contains(&*root) || words == "sleep\x001000000\x00" {
                all.push(format!("process {pid}"));
            }
        }
        all
    }
}

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn page(found: &[Found], machine: &Machine, count: usize) -> String {
    let mut text = format!(
        "# {count} containers at once\n\n\
         Each runs `sleep` from a directory, in the background. Medians in ms, with the 10th and the 90th percentile: of \
         {SOME} starts, of {LISTS} lists.\n\n{machine}.\n\n| |"
    );
    found.iter().for_each(|found| text += &format!(" `--network {}` |", found.network));
    text += "\n|---|---|---|\n";
    let mut row = |what: &str, cell: &dyn Fn(&Found) -> String| {
        text += &format!("| {what} |");
        found.iter().for_each(|found| text += &format!(" {} |", cell(found)));
        text += "\n";
    };
    let times = |found: &Found| {
        let ratio = found.last.median_ms().zip(found.first.median_ms()).map(|(last, first)| last / first);
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    };
    row(&format!("`run -d`, the first {SOME}"), &|found| cell(&found.first));
    row(&format!("`run -d`, the last {SOME}"), &|found| cell(&found.last));
    row("the last as many times as long as the first", &times);
    row(&format!("`ps`, {count} lines"), &|found| cell(&found.list));
    row("`ps -aq`", &|found| cell(&found.ids));
    row("`inspect` of one", &|found| cell(&found.inspect));
    row("`rm -f` of all, s", &|found| format!("{:.1}", found.removed.as_secs_f64()));
    let left = |found: &Found| match found.left.as_slice() {
        [] => "nothing".to_owned(),
        [first, ..] => format!("{}, as {first}", found.left.len()),
    };
    row("left then: files, mounts, links, groups, processes", &left);
    text += &format!("\nMade by `target/release/mycontainer-bench many --rounds {count}`.\n");
    text
}

fn cell(samples: &Samples) -> String {
    let of = |share| samples.quantile_ms(share).unwrap_or_default();
    format!("{:.2} ({:.2}–{:.2})", of(0.5), of(0.1), of(0.9))
}

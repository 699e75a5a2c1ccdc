//! Long runs at random: a generator whose seed is told and can be given again, commands that may not hang, and whether
//! what is told of a container is true.

use super::host::control_groups;
use super::life::Life;
use super::traces::GO_BY_THEMSELVES;
use super::{code, stderr, stdout, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Output, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long any command may take: on two processors with fifty others.
const PATIENCE: u64 = 60;

/// Random numbers from a seed (xorshift).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From MYCONTAINER_SOAK_SEED, else from the time; it is printed, so that it can be given again.
    pub fn told() -> Random {
        let given = std::env::var("MYCONTAINER_SOAK_SEED").ok();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let seed = given.map_or_else(now, |seed| seed.parse().expect("MYCONTAINER_SOAK_SEED is a number"));
        println!("MYCONTAINER_SOAK_SEED={seed}");
        Random::of(seed)
    }

    /// Of a seed; seeds beside one another give other numbers from the first on.
    pub fn of(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to `below`, without that.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }

    /// One of them.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A time up to about 100 ms, short ones as often as long ones: what happens first happens fast.
    pub fn instant(&mut self) -> Duration {
        let octave = 1 << self.below(8);
        Duration::from_micros((octave * 400 + self.below(octave * 400)) as u64)
    }
}

/// A [`Life`] all of whose processes carry a mark in their environment.
pub struct Soak {
    pub life: Life,
    /// The mark: containers have it by `-e`.
    pub mark: String,
    mounts: Mutex<Vec<String>>,
}

impl Soak {
    /// `None` where this test cannot run.
    pub fn new(test: &str) -> Option<Soak> {
        let life = Life::new(test)?;
        let soak = Soak { life, mark: format!("SOAK={}", super::unique("soak")), mounts: Mutex::default() };
        soak.remember_mounts();
        Some(soak)
    }

    /// The mounts that are there now may stay.
    pub fn remember_mounts(&self) {
        *self.mounts.lock().unwrap() = self.mount_points();
    }

    /// Starts `mycontainer WORDS...` with pipes and nothing to read.
    pub fn spawn(&self, words: &[impl AsRef<str>]) -> Child {
        let (name, value) = self.mark.split_once('=').unwrap();
        let mut command = self.life.command(words);
        command.env(name, value).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("nsenter (util-linux) is there")
    }

    /// `mycontainer WORDS...` to its end; what was wrong when it does not end.
    pub fn tool(&self, words: &[impl AsRef<str>]) -> Result<Output, String> {
        finish(self.spawn(words), PATIENCE)
    }

    /// It must end with 0: its standard output without the last newline, or what was wrong.
    pub fn ok(&self, words: &[impl AsRef<str>]) -> Result<String, String> {
        let output = self.tool(words)?;
        let shown = || words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        match code(output.status) {
            0 if output.stderr.is_empty() => Ok(stdout(&output).trim_end_matches('\n').to_owned()),
            code => Err(format!("{}: {code}: {}", shown(), stderr(&output).trim_end())),
        }
    }

    /// Every living process of ours or of a container here, with its name.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| self.is_ours(*pid)).map(|pid| (pid, super::traces::comm(pid))).collect()
    }

    /// Whether a process carries the mark.
    pub fn is_ours(&self, pid: i32) -> bool {
        let mark = self.mark.as_bytes();
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|variable| variable == mark))
    }

    /// Commands that are at work still; not the janitor, which waits for a second, monitors, and what is in containers.
    pub fn commands(&self) -> Vec<(i32, String)> {
        let is_command = |name: &str| ["mycontainer", "nsenter", "mc-remove"].contains(&name);
        self.processes().into_iter().filter(|(_, name)| is_command(name)).collect()
    }

    /// The id and what is wrong of each container of which it is not true what is told. None of them changes meanwhile.
    pub fn lies(&self) -> Vec<String> {
        let ids = match self.ok(&["ps", "-aq", "--no-trunc"]) {
            Ok(ids) => ids,
            Err(said) => return vec![said],
        };
        let mut wrong: Vec<String> = ids.lines().flat_map(|id| self.lies_of(id)).collect();
        // What has no record was being made or removed, and goes with the next command that clears away.
        let containers = self.life.path("/var/lib/mycontainer/containers");
        let on_disk = self.life.names("/var/lib/mycontainer/containers").into_iter();
        let on_disk = on_disk.filter(|id| containers.join(id).join("created.json").exists());
        wrong.extend(on_disk.filter(|id| !ids.contains(id)).map(|id| format!("{id} is on disk, and not listed")));
        wrong
    }

    fn lies_of(&self, id: &str) -> Vec<String> {
        let shown: Value = match self.ok(&["inspect", id]) {
            Ok(text) => serde_json::from_str(&text).expect("inspect tells JSON"),
            Err(said) => return vec![said],
        };
        let state = &shown[0]["State"];
        let (status, pid) = (state["Status"].as_str().unwrap(), state["Pid"].as_i64().unwrap() as i32);
        let mut wrong = Vec::new();
        let mut must = |is_so: bool, what: &str| {
            if !is_so {
                wrong.push(format!("{} is {status} (process {pid}): {what}", &id[..8]));
            }
        };
        let flags = ["Running", "Paused", "Restarting"].map(|flag| state[flag] == true);
        let groups = control_groups(&id[..8]);
        let file = |group: &str, name: &str| std::fs::read_to_string(format!("{group}/{name}")).unwrap_or_default();
        match status {
            "running" | "paused" => {
                must(flags == [true, status == "paused", false], "its flags say something else");
                must(is_alive(pid), "its first process does not live");
                must(self.is_ours(pid), "that is no process of it");
                must(parent_name(pid) == "mc-monitor", "its parent is no monitor");
                let has_it = |group: &String| file(group, "cgroup.procs").lines().any(|line| line == pid.to_string());
                let may_have_none = super::user_of_tool().is_some();
                must(
                    (may_have_none || !groups.is_empty()) && groups.iter().all(has_it),
                    "its control groups have not its first process",
                );
                let stands = |group: &String| {
                    file(group, "freezer.state") == "FROZEN\n" || file(group, "cgroup.freeze") == "1\n"
                };
                must(groups.iter().any(stands) == (status == "paused"), "the freezer says something else");
            }
            "exited" | "created" => {
                must(flags == [false; 3] && pid == 0, "its flags say something else");
                let left = self.life.running_parts(id);
                must(left.is_empty(), &format!("{left:?}"));
            }
            "restarting" => must(flags == [true, false, true], "its flags say something else"),
            _ => must(false, "that is no status"),
        }
        wrong
    }

    /// As [`Soak::lies`], when nothing changes any more: what is still wrong after a while.
    pub fn lies_at_last(&self) -> Vec<String> {
        if !wait_until(PATIENCE, || self.commands().is_empty()) {
            return vec![format!("these do not end: {}", stacks(&self.commands()))];
        }
        let mut wrong = Vec::new();
        wait_until(2, || {
            wrong = self.lies();
            wrong.is_empty()
        });
        wrong
    }

    /// What is left when all containers and volumes were removed.
    pub fn left(&self, ids: &BTreeSet<String>) -> Vec<String> {
        let mut left = Vec::new();
        wait_until(3, || {
            left = self.left_now(ids);
            left.is_empty()
        });
        left
    }

    fn left_now(&self, ids: &BTreeSet<String>) -> Vec<String> {
        let mut left = Vec::new();
        for directory in [
            "/run/mycontainer/containers",
            "/run/mycontainer/attach",
            "/var/lib/mycontainer/containers",
            "/var/lib/mycontainer/names",
            "/var/lib/mycontainer/volumes",
            "/var/lib/mycontainer/images/partial",
            "/var/lib/mycontainer/images/new",
            "/var/lib/mycontainer/images/leases",
        ] {
            let names = self.life.names(directory).into_iter().filter(|name| name != ".lock");
            left.extend(names.map(|name| format!("{directory}/{name}")));
        }
        left.extend(ids.iter().flat_map(|id| control_groups(&id[..8])));
        let links = std::fs::read_to_string(format!("/proc/{}/net/dev", self.life.host.keeper())).unwrap();
        let links = links.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
        left.extend(links.filter(|name| name.len() == 14 && name.starts_with("mc")));
        let leases = std::fs::read_to_string(self.life.path("/run/mycontainer/network/leases")).unwrap_or_default();
        left.extend(leases.lines().filter(|line| ids.iter().any(|id| line.contains(id))).map(str::to_owned));
        let before = self.mounts.lock().unwrap();
        left.extend(self.mount_points().into_iter().filter(|mount| !before.contains(mount)));
        let alive = self.processes().into_iter().filter(|(_, name)| !GO_BY_THEMSELVES.contains(&name.as_str()));
        left.extend(alive.map(|(pid, name)| format!("process {pid} {name}")));
        left
    }

    fn mount_points(&self) -> Vec<String> {
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.life.host.keeper())).unwrap();
        table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn parent_name(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
    parent.map(super::traces::comm).unwrap_or_default()
}

/// Where processes wait.
fn stacks(processes: &[(i32, String)]) -> String {
    let text = |pid: i32, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let one = |(pid, name): &(i32, String)| {
        let words = String::from_utf8_lossy(&text(*pid, "cmdline")).replace('\0', " ");
        format!("{pid} {name} ({words}) at {}", String::from_utf8_lossy(&text(*pid, "stack")))
    };
    processes.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Waits for a command's end and all that it prints; what it waits for when that takes too long.
pub fn finish(mut child: Child, seconds: u64) -> Result<Output, String> {
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut pause = Duration::from_micros(200);
    loop {
        let ended = child.try_wait().map_err(|error| error.to_string())?;
        if let Some(status) = ended.filter(|_| out.is_finished() && err.is_finished()) {
            return Ok(Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() });
        }
        if Instant::now() > until {
            let what = if ended.is_some() { "has ended, and others have its streams" } else { "does not end" };
            let pid = child.id() as i32;
            let waits = stacks(&[(pid, super::traces::comm(pid))]);
            let _ = child.kill();
            let _ = child.wait();
            // Whoever has the streams ends with the test's host, and the threads that read them with that.
            return Err(format!("it {what}: {waits}"));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        bytes
    })
}

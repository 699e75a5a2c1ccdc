//! Containers that live in the background: what each verb takes, against podman, docker and, for `exec`, nsenter.
//!
//! Every round makes one container with each tool and times one verb after another on it, the tools in a random order; the
//! containers print nothing and end at once when they are asked to. `logs` is of a container with 100,000 lines, made once.
//! A verb is timed to its end, its output read by nobody (`/dev/null`).

use crate::Options;
use crate::contenders::{version, which};
use crate::images::docker::Docker;
use crate::machine::Machine;
use crate::rootfs::{self, Scratch};
use crate::timer::{Dice, Samples};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What runs in them: it ends at SIGTERM, which a first process has to ask for.
const PROGRAM: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"];
/// What the container prints whose log is read.
const LINES: [&str; 3] =
    ["sh", "-c", "yes 'a line of a log, of about as many bytes as most lines of logs have in life' | head -n 100000"];
/// The verbs, in the order in which a container meets them.
const VERBS: [&str; 8] = ["run -d", "exec", "ps", "inspect", "logs", "stop", "start", "rm -f"];
/// How long nothing happens before a verb.
const PAUSE: Duration = Duration::from_millis(50);

/// One tool.
struct Tool<'a> {
    name: &'static str,
    /// Its words before the verb.
    words: Vec<String>,
    /// What stands for the root in its `run`.
    root: Vec<String>,
    docker: Option<&'a Docker>,
    samples: [Samples; VERBS.len()],
}

/// Measures all, and writes containers.md.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(30);
    let machine = Machine::here();
    if machine.is_busy() {
        eprintln!("this machine is busy with something else: the figures will be worse than they should be");
    }
    let scratch = Scratch::new()?;
    rootfs::make_busybox(&scratch)?;
    let docker = if which("dockerd").is_some() {
        Docker::start(&scratch.path("docker")).map_err(|error| error.to_string())
    } else {
        Err("not installed (scripts/setup-bench --docker)".to_owned())
    };
    if let Err(why) = &docker {
        eprintln!("not measured: docker: {why}");
    }
    let tool = fs::canonicalize(&options.tool).with_context(|| format!("{} is not built", options.tool.display()))?;
    let root = scratch.path("root").to_string_lossy().into_owned();
    let mut tools = vec![Tool::new("mycontainer", vec![tool.to_string_lossy().into_owned()], vec![root.clone()])];
    match which("podman") {
        Some(podman) => {
            // By runc: crun refuses the cgroups of some hosts. And podman raises these limits otherwise, which not every
            // machine lets its root do.
            let words =
                [podman.as_str(), "--runtime", "runc", "--cgroup-manager", "cgroupfs"].map(str::to_owned).to_vec();
            let run = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--rootfs", &root];
            tools.push(Tool::new("podman", words, run.map(str::to_owned).to_vec()));
        }
        None => eprintln!("not measured: podman: not installed (scripts/setup-bench)"),
    }
    if let Ok(docker) = &docker {
        let words = docker.words(&[]);
        import(&words, &scratch)?;
        tools.push(Tool { docker: Some(docker), ..Tool::new("docker", words, vec!["mycontainer-bench".to_owned()]) });
    }
    let done = rounds_of(&mut tools, rounds);
    tools.iter().for_each(Tool::remove_logged);
    let nsenter = done?;

    let page = page(&tools, &nsenter, &machine, rounds);
    print!("{}", table(&tools, &nsenter));
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    let path = options.out.join("containers.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// Docker takes images only.
fn import(words: &[String], scratch: &Scratch) -> Result<()> {
    let tar = scratch.path("root.tar");
    let packed = Command::new("tar").arg("-C").arg(scratch.path("root")).arg("-cf").arg(&tar).arg(".").status()?;
    if !packed.success() {
        bail!("tar: {packed}");
    }
    let imported = command(words, &["import"]).arg(&tar).arg("mycontainer-bench").output()?;
    if !imported.status.success() {
        bail!("docker import: {}", String::from_utf8_lossy(&imported.stderr).trim());
    }
    Ok(())
}

fn command(words: &[String], more: &[&str]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(more).stdin(Stdio::null());
    command
}

/// All rounds. What nsenter takes for the same as `exec`.
fn rounds_of(tools: &mut [Tool<'_>], rounds: usize) -> Result<Samples> {
    for tool in tools.iter() {
        tool.make_logged()?;
    }
    let (mut nsenter, mut dice) = (Samples::default(), Dice::new());
    let mut order: Vec<usize> = (0..tools.len()).collect();
    // The first is the warm-up.
    for round in 0..=rounds {
        dice.shuffle(&mut order);
        for &index in &order {
            tools[index].round(round, &mut nsenter)?;
        }
    }
    Ok(nsenter)
}

impl<'a> Tool<'a> {
    fn new(name: &'static str, words: Vec<String>, root: Vec<String>) -> Tool<'a> {
        Tool { name, words, root, docker: None, samples: Default::default() }
    }

    fn logged(&self) -> String {
        format!("bench-{}-logged-{}", self.name, std::process::id())
    }

    fn run<'b>(&'b self, name: &'b str, program: &'b [&'b str]) -> Vec<&'b str> {
        let mut words = vec!["run", "-d", "--name", name, "--network", "none"];
        words.extend(self.root.iter().map(String::as_str));
        words.extend(program);
        words
    }

    /// The container whose log is read, when it has printed all.
    fn make_logged(&self) -> Result<()> {
        let name = self.logged();
        let made = command(&self.words, &self.run(&name, &LINES)).output()?;
        if !made.status.success() {
            bail!("{}: {}", self.name, String::from_utf8_lossy(&made.stderr).trim());
        }
        command(&self.words, &["wait", &name]).output()?;
        let lines = command(&self.words, &["logs", &name]).output()?.stdout.iter().filter(|b| **b == b'\n').count();
        if lines != 100_000 {
            bail!("{} has kept {lines} lines of 100,000", self.name);
        }
        Ok(())
    }

    fn remove_logged(&self) {
        let _ = command(&self.words, &["rm", "-f", &self.logged()]).output();
    }

    fn round(&mut self, round: usize, nsenter: &mut Samples) -> Result<()> {
        let name = format!("bench-{}-{}-{round}", self.name, std::process::id());
        let logged = self.logged();
        for (n, verb) in VERBS.into_iter().enumerate() {
            let words = match verb {
                "run -d" => self.run(&name, &PROGRAM),
                "exec" => vec!["exec", &name, "true"],
                "ps" => vec!["ps"],
                "logs" => vec!["logs", &logged],
                "rm -f" => vec!["rm", "-f", &name],
                verb => vec![verb, &name],
            };
            let took = time(&mut command(&self.words, &words));
            let samples = &mut self.samples[n];
            match took {
                _ if round == 0 => {}
                Ok(micros) => samples.micros.push(micros),
                Err(_) => samples.failed += 1,
            }
            if verb == "exec" && self.name == "mycontainer" {
                let pid = command(&self.words, &["inspect", "-f", "{{.State.Pid}}", &name]).output()?.stdout;
                let pid = String::from_utf8_lossy(&pid).trim().to_owned();
                if let (Ok(micros), true) = (time(Command::new("nsenter").args(["-t", &pid, "-a", "true"])), round > 0)
                {
                    nsenter.micros.push(micros);
                }
            }
        }
        Ok(())
    }
}

/// How long a command takes, in microseconds; after a pause.
fn time(command: &mut Command) -> Result<u64> {
    std::thread::sleep(PAUSE);
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let took = start.elapsed();
    if status.success() { Ok(u64::try_from(took.as_micros())?) } else { bail!("{status}") }
}

fn page(tools: &[Tool<'_>], nsenter: &Samples, machine: &Machine, rounds: usize) -> String {
    let mut versions = Vec::new();
    for tool in tools {
        versions.push(match tool.docker {
            Some(docker) => format!("docker {}", docker.version()),
            None => version(&tool.words[0]),
        });
    }
    format!(
        "# Containers in the background\n\n\
         Medians in ms, with the 10th and the 90th percentile; × is how many times longer than mycontainer. {rounds} rounds, \
         each tool once a round in random order, {} ms of idleness before each command. No network; mycontainer and podman \
         run a directory, docker an image of it. The container of `exec`, `stop` and `start` is a shell that ends at \
         SIGTERM; `logs` has 100,000 lines, written to /dev/null.\n\n\
         {machine}; {}.\n\n{}\n\
         Made by `target/release/mycontainer-bench containers --rounds {rounds}`.\n",
        PAUSE.as_millis(),
        versions.join(", "),
        table(tools, nsenter)
    )
}

fn table(tools: &[Tool<'_>], nsenter: &Samples) -> String {
    let mut text = String::from("| |");
    tools.iter().for_each(|tool| text += &format!(" {} |", tool.name));
    text += "\n|---|";
    tools.iter().for_each(|_| text += "---|");
    text += "\n";
    for (n, verb) in VERBS.into_iter().enumerate() {
        let _ = write!(text, "| {verb} |");
        let ours = tools[0].samples[n].median_ms();
        for (at, tool) in tools.iter().enumerate() {
            let _ = write!(text, " {} |", cell(&tool.samples[n], if at == 0 { None } else { ours }));
        }
        text += "\n";
    }
    let _ = writeln!(text, "\n`nsenter -a true` into the same containers: {} ms.", cell(nsenter, None));
    text
}

fn cell(samples: &Samples, ours: Option<f64>) -> String {
    let (Some(low), Some(median), Some(high)) =
        (samples.quantile_ms(0.1), samples.median_ms(), samples.quantile_ms(0.9))
    else {
        return "failed".to_owned();
    };
    let times = ours.map(|ours| format!(", {:.1}×", median / ours)).unwrap_or_default();
    let failed = if samples.failed > 0 { format!(", {} failed", samples.failed) } else { String::new() };
    format!("{median:.2} ({low:.2}–{high:.2}){times}{failed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_how_many_times_longer() {
        let samples = Samples { micros: vec![1000, 2000, 3000], failed: 1 };
        assert_eq!(cell(&samples, Some(0.5)), "2.00 (1.00–3.00), 4.0×, 1 failed");
        assert_eq!(cell(&Samples::default(), None), "failed");
        assert!(time(&mut Command::new("false")).is_err() && time(&mut Command::new("true")).is_ok());
    }
}

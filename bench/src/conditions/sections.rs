//! The sections: what each makes, times and takes away.

use super::page::{Found, crowds, pairs, times};
use super::{IMAGES, Line, Site, owned};
use crate::contenders::{Absent, Contender, which};
use crate::report::Asked;
use crate::runtimes::Runtime;
use crate::timer::{Dice, SETTLE, Samples, Workers};
use crate::worker::{Crowd, Request, View};
use anyhow::{Context, Result, bail};
use std::fs;

type Section = fn(&Site, &mut Vec<Absent>, &mut Workers) -> Result<Found>;

/// All, in the page's order.
pub(crate) const ALL: [(&str, Section); 6] = [
    ("An OCI runtime, called in steps", steps),
    ("Roots", roots),
    ("exec", exec),
    ("Many at once", many),
    ("Beside many mounts", mounts),
    ("Beside many containers", containers),
];

/// How many mounts more than the machine has, of few and of many.
const MOUNTS: [u16; 2] = [20, 500];
/// How many containers run already.
const RUNNING: usize = 500;
/// How many are at work at once.
const AT_ONCE: [usize; 3] = [1, 10, 50];
/// How many runs a figure of those is made from, and how often it is taken.
const RUNS: usize = 100;
/// The same of who takes long, by how many are at work at once.
const SLOW_RUNS: [usize; AT_ONCE.len()] = [10, 50, 50];
const CROWDS: usize = 3;
/// After so many seconds they are given up.
const PATIENCE_S: u16 = 120;

/// `run`, and what a caller does: `create`, `start`, `delete`.
fn steps(site: &Site, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<Found> {
    let mut candidates = Vec::new();
    for (version, floor) in [("", View::Host), (", v2", View::Unified)] {
        candidates.push(Contender::of(&format!("floor{version}"), floor, site.floor(&[])));
        for runtime in &site.runtimes {
            let view = if floor == View::Unified { floor } else { runtime.view };
            let name = &runtime.name;
            candidates.push(Contender::of(&format!("{name} run{version}"), view, site.run(runtime, version, "bench")));
            let called = format!("{name} create, start, delete{version}");
            candidates.push(Contender::of(&called, view, site.call(runtime, version)));
        }
    }
    let lines = site.time(candidates, absent, workers)?;
    let floor_of = |line: &Line| if line.name.ends_with("v2") { "floor, v2" } else { "floor" };
    Ok(Found {
        text: format!(
            "The whole of `run`, and what containerd and podman do ([caller.c](../../bench/caller.c)): `create`, `start`, the \
             wait for the container's process, `delete`. With what ends in *v2* cgroup v2 alone is mounted.\n\n{}",
            times(&lines, floor_of)
        ),
        asked: Vec::new(),
    })
}

/// A directory, an image of one layer, an image of many.
fn roots(site: &Site, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<Found> {
    let root = site.path("root");
    let mut candidates = vec![
        Contender::of("floor", View::Host, site.floor(&[])),
        Contender::of("floor, the root an overlay", View::Host, site.floor(&["-o"])),
    ];
    for (network, flags) in [("", &["--network", "none"][..]), (", bridge", &[])] {
        candidates.push(Contender::of(&format!("mycontainer, directory{network}"), View::Own, site.ours(flags, &root)));
        for (layers, image) in IMAGES {
            let name = format!("mycontainer, image of {layers}{network}");
            candidates.push(Contender::of(&name, View::Own, site.ours(flags, image)));
        }
    }
    for (name, view, words) in site.engines() {
        for (layers, image) in IMAGES {
            let argv = Site::theirs(words, "none", image);
            candidates.push(Contender::of(&format!("{name}, image of {layers}"), view, argv));
        }
    }
    let lines = site.time(candidates, absent, workers)?;
    Ok(Found {
        text: format!(
            "`run --rm` of `/bin/true` in a directory, in an image of one layer and in one of sixty; without a network unless \
             it says *bridge*.\n\n{}",
            times(&lines, |_| "floor")
        ),
        asked: Vec::new(),
    })
}

/// A second program in a container that runs.
fn exec(site: &Site, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<Found> {
    let name = format!("mycontainer-bench-{}", std::process::id());
    let (mut candidates, mut ends) = (Vec::new(), Vec::new());
    for runtime in &site.runtimes {
        let of = |words: &[&str]| -> Vec<String> { site.words(runtime, "", words) };
        let [bundle, pid_file] = ["bundle-sleep", "pid"].map(|file| site.path(file));
        let create = of(&["create", "--bundle", &bundle, "--pid-file", &pid_file, &name]);
        // Also of one that fails half way.
        ends.push((runtime.view, of(&["delete", "--force", &name])));
        let started = match site.said(workers, runtime.view, &create)? {
            Ok(_) => site.said(workers, runtime.view, &of(&["start", &name]))?,
            failed => failed,
        };
        if let Err(why) = started {
            absent.push(Absent { name: format!("{} exec", runtime.name), why });
            continue;
        }
        if candidates.is_empty()
            && let Some(nsenter) = which("nsenter")
        {
            let pid = fs::read_to_string(&pid_file).context("no pid of the container")?;
            let argv = owned(&[&nsenter, "-t", pid.trim(), "-a", "/bin/true"]);
            candidates.push(Contender::of("nsenter (no cgroup, seccomp or capabilities)", runtime.view, argv));
        }
        candidates.push(Contender::of(&runtime.name, runtime.view, of(&["exec", &name, "/bin/true"])));
    }
    let root = site.path("root");
    let ours = vec![site.tool.clone()];
    let mut engines = vec![("mycontainer", View::Own, &ours)];
    engines.extend(site.engines());
    for (engine, view, words) in engines {
        let image = if engine == "mycontainer" { &*root } else { IMAGES[0].1 };
        let limits: &[&str] = if engine == "podman" { &Site::LIMITS } else { &[] };
        let run = [&["run", "-d", "--name", &name, "--network", "none"], limits, &[image, "/bin/sleep"]].concat();
        let of = |more: &[&str]| -> Vec<String> { words.iter().cloned().chain(owned(more)).collect() };
        ends.push((view, of(&["rm", "-f", &name])));
        match site.said(workers, view, &of(&run))? {
            Ok(_) => candidates.push(Contender::of(engine, view, of(&["exec", &name, "/bin/true"]))),
            Err(why) => absent.push(Absent { name: format!("{engine} exec"), why }),
        }
    }
    let lines = site.time(candidates, absent, workers);
    for (view, words) in ends {
        if let Err(why) = site.said(workers, view, &words)? {
            eprintln!("mycontainer-bench: {}: {why}", words[0]);
        }
    }
    let lines = lines?;
    let base = lines.first().map(|line| line.name.clone()).unwrap_or_default();
    let table = times(&lines, |_| &base).replace("× floor", "× nsenter");
    Ok(Found {
        text: format!("`exec` of `/bin/true` in a container that runs, to its end.\n\n{table}"),
        asked: Vec::new(),
    })
}

/// So many runs, one after the other and many at a time.
fn many(site: &Site, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<Found> {
    let root = site.path("root");
    let mut candidates = vec![
        Contender::of("floor", View::Host, site.floor(&[])),
        Contender::of("mycontainer", View::Own, site.ours(&["--network", "none"], &root)),
        Contender::of("mycontainer, image", View::Own, site.ours(&["--network", "none"], IMAGES[0].1)),
        Contender::of("mycontainer, image, bridge", View::Own, site.ours(&[], IMAGES[0].1)),
    ];
    for runtime in &site.runtimes {
        candidates.push(Contender::of(&runtime.name, runtime.view, site.run(runtime, "-many", "bench-{}")));
    }
    for (name, view, words) in site.engines() {
        candidates.push(Contender::of(&format!("{name}, image"), view, Site::theirs(words, "none", IMAGES[0].1)));
        let bridge = Site::theirs(words, "bridge", IMAGES[0].1);
        candidates.push(Contender::of(&format!("{name}, image, bridge"), view, bridge));
    }
    let contenders = site.admit(candidates, absent, workers)?;
    let mut all = vec![[const { Samples { micros: Vec::new(), failed: 0 } }; AT_ONCE.len()]; contenders.len()];
    let (mut dice, mut turn) = (Dice::new(), 0);
    let mut order: Vec<usize> = (0..contenders.len() * AT_ONCE.len()).collect();
    for round in 0..CROWDS {
        dice.shuffle(&mut order);
        for &which in &order {
            let (contender, at) = (&contenders[which / AT_ONCE.len()], which % AT_ONCE.len());
            // Who takes seconds for it is timed once.
            if contender.is_slow && round > 0 {
                continue;
            }
            turn += 1;
            let argv = contender.argv.iter().map(|word| word.replace("{}", &format!("{turn}-{{}}"))).collect();
            let runs = if contender.is_slow { SLOW_RUNS[at] } else { RUNS };
            let crowd = Some(Crowd { runs, at_once: AT_ONCE[at] });
            let timing = workers.with(contender.view)?.time(&Request { crowd, ..Request::of(argv, PATIENCE_S) })?;
            let samples = &mut all[which / AT_ONCE.len()][at];
            match timing.failure {
                None => samples.micros.push(timing.micros / runs as u64),
                Some(why) => {
                    samples.failed += 1;
                    eprintln!("{}, {} at once: {why}", contender.name, AT_ONCE[at]);
                }
            }
            std::thread::sleep(SETTLE);
        }
    }
    let names: Vec<&str> = contenders.iter().map(|contender| &*contender.name).collect();
    let rate_of = |name: &str| {
        let index = names.iter().position(|n| *n == name)?;
        all[index][AT_ONCE.len() - 1].median_ms().map(|ms| 1000.0 / ms)
    };
    let mut asked = Vec::new();
    for network in ["", ", bridge"] {
        for engine in ["podman", "docker"] {
            let ours = rate_of(&format!("mycontainer, image{network}"));
            if let Some((ours, theirs)) = ours.zip(rate_of(&format!("{engine}, image{network}"))) {
                asked.push(Asked::at_least(
                    format!("50 at once{network}: times {engine}'s throughput"),
                    20.0,
                    ours / theirs,
                ));
            }
        }
    }
    let text = format!(
        "Containers a second: {RUNS} runs of `/bin/true`, so many at a time, one that ends making room for the next, the median \
         of {CROWDS}; of those that take long {}, {} and {} runs, once.\n\n{}",
        SLOW_RUNS[0],
        SLOW_RUNS[1],
        SLOW_RUNS[2],
        crowds(&names, AT_ONCE, &all)
    );
    Ok(Found { text, asked })
}

/// What a host's mounts cost a run.
fn mounts(site: &Site, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<Found> {
    let root = site.path("root");
    let mut candidates = Vec::new();
    for mounts in MOUNTS {
        let view = View::Mounted(mounts);
        candidates.push(Contender::of(&format!("floor {mounts}"), view, site.floor(&[])));
        let ours = site.ours(&["--network", "none"], &root);
        candidates.push(Contender::of(&format!("mycontainer {mounts}"), view, ours));
        for runtime in &site.runtimes {
            candidates.push(Contender::of(
                &format!("{} {mounts}", runtime.name),
                view,
                site.run(runtime, "-mounts", "bench"),
            ));
        }
    }
    let lines = site.time(candidates, absent, workers)?;
    let [few, many] = MOUNTS;
    let found = pairs(&lines, [&few.to_string(), &many.to_string()], ["mounts", "mounts"]);
    let text = format!(
        "A run in a mount namespace that has {few} mounts more than the machine, and in one that has {many}.\n\n{}",
        found.text
    );
    Ok(Found { text, ..found })
}

/// What other containers cost a run: without them, with them, and without them again.
fn containers(site: &Site, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<Found> {
    let root = site.path("root");
    let candidates = |running: &str| -> Vec<Contender> {
        let of = |name: &str, view, argv| Contender::of(&format!("{name} {running}"), view, argv);
        let mut all = vec![
            of("floor", View::Host, site.floor(&[])),
            of("mycontainer", View::Own, site.ours(&["--network", "none"], &root)),
            of("mycontainer, bridge", View::Own, site.ours(&[], &root)),
            of("mycontainer, image, bridge", View::Own, site.ours(&[], IMAGES[0].1)),
        ];
        for runtime in &site.runtimes {
            all.push(of(&runtime.name, runtime.view, site.run(runtime, "-beside", "bench")));
        }
        all
    };
    let many = RUNNING.to_string();
    let mut lines = site.time(candidates("0"), absent, workers)?;
    let started = start_many(site, workers);
    let beside = started.and_then(|()| site.time(candidates(&many), absent, workers));
    let ids = site.said(workers, View::Own, &owned(&[&site.tool, "ps", "-aq"]))?;
    let ids = ids.map_err(|why| anyhow::anyhow!("mycontainer ps: {why}"))?;
    let remove: Vec<&str> = [&*site.tool, "rm", "-f"].into_iter().chain(ids.lines()).collect();
    if let Err(why) = site.said(workers, View::Own, &owned(&remove))? {
        bail!("the containers beside cannot be removed: {why}");
    }
    lines.extend(beside?);
    let again = site.time(candidates("0"), absent, workers)?;
    for line in again {
        if let Some(before) = lines.iter_mut().find(|before| before.name == line.name) {
            before.hot.add(line.hot);
            before.idle.add(line.idle);
        }
    }
    let found = pairs(&lines, ["0", &many], ["containers", "containers"]);
    let text = format!(
        "A run beside no container, and beside {RUNNING} of mycontainer's in the background, half of them on the bridge that \
         the run uses. Those without are timed before and after those with.\n\n{}",
        found.text
    );
    Ok(Found { text, ..found })
}

fn start_many(site: &Site, workers: &mut Workers) -> Result<()> {
    let root = site.path("root");
    for (network, count) in [("none", RUNNING / 2), ("bridge", RUNNING - RUNNING / 2)] {
        let argv = owned(&[&site.tool, "run", "-d", "--network", network, &root, "/bin/sleep"]);
        let crowd = Some(Crowd { runs: count, at_once: 2 });
        let timing = workers.with(View::Own)?.time(&Request { crowd, ..Request::of(argv, PATIENCE_S) })?;
        if let Some(why) = timing.failure {
            bail!("the containers beside: {why}");
        }
    }
    Ok(())
}

impl Site {
    /// podman raises these limits otherwise, which not every machine lets its root do.
    pub(super) const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

    /// The peers that are engines: the name, where they run, and the words before a verb.
    fn engines(&self) -> impl Iterator<Item = (&'static str, View, &Vec<String>)> {
        let podman = self.podman.iter().map(|words| ("podman", View::Private, words));
        podman.chain(self.docker.iter().map(|words| ("docker", View::Docker, words)))
    }

    /// The words of an OCI runtime's verb; `of` keeps its state apart.
    fn words(&self, runtime: &Runtime, of: &str, words: &[&str]) -> Vec<String> {
        let state = self.path(&format!("state {}{of}", runtime.name));
        let words = [&["--root", &state], words].concat();
        runtime.words.iter().cloned().chain(owned(&words)).collect()
    }

    fn run(&self, runtime: &Runtime, of: &str, id: &str) -> Vec<String> {
        let bundle = self.path("bundle");
        self.words(runtime, of, &["run", "--bundle", &bundle, id])
    }

    fn call(&self, runtime: &Runtime, of: &str) -> Vec<String> {
        let [caller, pid_file, bundle] = ["caller", "pid", "bundle"].map(|name| self.path(name));
        let words = owned(&[&caller, "bench", &pid_file, &bundle]);
        words.into_iter().chain(self.words(runtime, of, &[])).collect()
    }

    /// What a command says that is not timed; or what it says when it fails.
    fn said(&self, workers: &mut Workers, view: View, words: &[String]) -> Result<Result<String, String>> {
        let out = self.path("out");
        let redirect = owned(&["/bin/sh", "-c", "exec \"$@\" > \"$0\"", &out]);
        let argv: Vec<String> = redirect.into_iter().chain(words.iter().cloned()).collect();
        let stderr = self.scratch.path("stderr");
        match workers.try_once(view, &argv, &stderr)? {
            Ok(_) => Ok(Ok(fs::read_to_string(&out).with_context(|| format!("cannot read {out}"))?)),
            Err(why) => Ok(Err(why)),
        }
    }
}

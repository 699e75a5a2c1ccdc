//! `mycontainer-bench images`: moves images with mycontainer and its peers, and writes `images.md`.
//!
//! The images are made once and kept (`layers.rs`). Debian's docker-registry serves them on the loopback; the tools run
//! in places where they find nothing (`place.rs`), all of them in turns (`rounds.rs`). Nothing stays on the host but
//! the page and the cache.

mod demands;
pub(crate) mod docker;
mod layers;
mod page;
pub(crate) mod place;
mod registry;
mod rounds;
pub(crate) mod stage;
mod tasks;

use crate::Options;
use crate::contenders::{Contender, version, which};
use crate::machine::Machine;
use crate::rootfs::{Scratch, make_programs};
use crate::timer::{self, Mode, Samples, Workers};
use crate::worker::{Request, Until, View, Worker};
use anyhow::{Context, Result, bail};
use layers::{Cache, Image};
use rounds::Absent;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use tasks::Site;

/// How often a container is started for each time an image is pulled.
const STARTS: usize = 20;

/// Everything that was found out.
pub(crate) struct Report {
    machine: Machine,
    /// What was asked for on the command line, beside the tool and where the page goes.
    flags: String,
    date: String,
    /// What Debian's image is.
    image: String,
    versions: Vec<String>,
    rounds: usize,
    outcomes: Vec<rounds::Outcome>,
    starts: Vec<Start>,
    absent: Vec<Absent>,
}

/// The times of one root, started again and again: to its program's first word, or to the end of all.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    name: String,
    until: Until,
    hot: Samples,
    idle: Samples,
}

/// Moves images, and writes the page.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(5);
    let machine = Machine::here();
    if machine.is_busy() {
        eprintln!("this machine is busy with something else: the figures will be worse than they should be");
    }
    let cache = Cache::open()?;
    let scratch = Scratch::at(cache.run_dir())?;
    make_programs(&scratch)?;
    let source = cache.serve(&scratch.path(""))?;
    let sink_storage = scratch.path("sink-storage");
    let sink = registry::Registry::start(&sink_storage, &scratch.path("sink"))?;
    let mut absent = Vec::new();
    let docker = match which("dockerd") {
        Some(_) => docker::Docker::start(&scratch.path("docker")).map_err(|error| error.to_string()),
        None => Err("not installed (scripts/setup-bench --docker)".to_owned()),
    };
    if let Err(why) = &docker {
        absent.push(Absent { what: "docker".to_owned(), why: why.clone() });
    }
    // Declared after `scratch`, so that the workers and what they mounted are gone before it is removed.
    let mut workers = Workers::default();
    let [cold, warm] = [("cold", View::Cold), ("warm", View::Warm)].map(|(name, view)| (scratch.path(name), view));
    for (dir, view) in [&cold, &warm] {
        place::make(dir)?;
        workers.insert(*view, Worker::start_in(dir)?);
    }
    let tool = fs::canonicalize(&options.tool).with_context(|| format!("{} is not built", options.tool.display()))?;
    let mut site = Site {
        cache: &cache,
        tool: tool.to_string_lossy().into_owned(),
        source: &source.address,
        sink: &sink.address,
        sink_storage,
        cold: cold.0,
        warm: warm.0,
        docker: docker.as_ref().ok(),
        stored: HashMap::new(),
    };
    site.stored = stored(&site, &scratch, &mut workers)?;
    fill(&site, &scratch, &mut workers)?;

    let is_wanted = |line: &str| options.only.is_empty() || options.only.iter().any(|only| line.contains(&**only));
    let mut tasks = site.tasks()?;
    tasks.retain(|task| task.parts.iter().any(|part| is_wanted(&format!("{} {}", part.group, part.who.name()))));
    let (outcomes, more) = rounds::measure(tasks, rounds, &scratch, &mut workers)?;
    absent.extend(more);
    let starts = if is_wanted("run") { starts(&site, rounds * STARTS, &mut workers)? } else { Vec::new() };

    let mut versions = vec![version(&site.tool)];
    versions.extend(
        ["podman", "skopeo", "umoci", "docker-registry"]
            .iter()
            .filter_map(|name| which(name))
            .map(|path| version(&path)),
    );
    versions.extend(docker.as_ref().ok().map(|docker| format!("docker {}", docker.version())));
    let date = Command::new("date").args(["-u", "+%F"]).output().context("cannot run date")?;
    let report = Report {
        machine,
        flags: flags(rounds, &options.only),
        date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
        image: cache.described()?,
        versions,
        rounds,
        outcomes,
        starts,
        absent,
    };
    print!("{}", report.tables());
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    let path = options.out.join("images.md");
    fs::write(&path, report.page()).with_context(|| format!("cannot write {}", path.display()))
}

fn flags(rounds: usize, only: &[String]) -> String {
    let only = if only.is_empty() { String::new() } else { format!(" --only \"{}\"", only.join(",")) };
    format!(" --rounds {rounds}{only}")
}

/// Pulls Debian in one layer and in twelve: how large the files are that our store has then.
fn stored(site: &Site<'_>, scratch: &Scratch, workers: &mut Workers) -> Result<HashMap<usize, u64>> {
    let mut sizes = HashMap::new();
    for image in site.cache.debian().filter(|image| image.tag.ends_with("gzip")) {
        pull(site, image, View::Cold, site.chill(), scratch, workers)?;
        let mut size = 0;
        sum_erofs(&site.cold.join("lib/mycontainer"), &mut size)?;
        // Where the kernel has no EROFS there are no such files, and the archives' sizes are near enough.
        if size > 0 {
            sizes.insert(image.layers.len(), size);
        }
    }
    Ok(sizes)
}

fn sum_erofs(dir: &Path, sum: &mut u64) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sum_erofs(&entry.path(), sum)?;
        } else if entry.file_name().to_string_lossy().ends_with(".erofs") {
            *sum += entry.metadata()?.len();
        }
    }
    Ok(())
}

/// Fills the warm store with what is pushed and run.
fn fill(site: &Site<'_>, scratch: &Scratch, workers: &mut Workers) -> Result<()> {
    for image in site.cache.images.iter().filter(|image| !image.tag.ends_with("zstd")) {
        pull(site, image, View::Warm, String::new(), scratch, workers)?;
    }
    Ok(())
}

fn pull(
    site: &Site<'_>,
    image: &Image,
    view: View,
    setup: String,
    scratch: &Scratch,
    workers: &mut Workers,
) -> Result<()> {
    let stderr = Some(scratch.path("stderr"));
    let request = Request { argv: site.pull(image), timeout_s: 600, stderr, setup, until: Until::End, crowd: None };
    match workers.try_request(view, &request)? {
        Ok(_) => Ok(()),
        Err(why) => bail!("mycontainer cannot pull {}: {why}", image.name()),
    }
}

/// Starts containers from an image of one layer, one of sixty, and the same tree in a directory.
fn starts(site: &Site<'_>, rounds: usize, workers: &mut Workers) -> Result<Vec<Start>> {
    let root = site.cache.root().to_string_lossy().into_owned();
    let image = |layers: usize| format!("{}/busybox:{layers}", site.source);
    let roots = [
        ("a directory", vec![root.clone()]),
        ("an image of 1 layer", vec![image(1)]),
        ("an image of 60 layers", vec![image(60)]),
        ("a directory, --ephemeral", vec!["--ephemeral".to_owned(), root]),
    ];
    let contenders: Vec<Contender> = roots
        .into_iter()
        .map(|(name, root)| {
            let words = [&site.tool, "run", "--rm", "--network", "none"].map(str::to_owned).into_iter();
            Contender::of(name, View::Warm, words.chain(root).chain(["echo".to_owned()]).collect())
        })
        .collect();
    let mut starts = Vec::new();
    for until in [Until::Output, Until::End] {
        let hot = timer::measure(&contenders, Mode::Hot, until, rounds, workers)?;
        let idle = timer::measure(&contenders, Mode::Idle, until, rounds, workers)?;
        let samples = contenders.iter().zip(hot.into_iter().zip(idle));
        starts.extend(samples.map(|(c, (hot, idle))| Start { name: c.name.clone(), until, hot, idle }));
    }
    Ok(starts)
}

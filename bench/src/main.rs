//! Times whole container runs of `/bin/true`: mycontainer against the floor and its peers. (Images: `images/mod.rs`;
//! networks: `networks/mod.rs`.)
//!
//! It makes a root file system and the floor (`floor.c`: the same work with nothing but system calls) in a scratch
//! directory, finds out who works here, times everybody interleaved (`timer.rs`) through workers (`worker.rs`), once
//! back to back and once with 50 ms of idleness before each run, and writes a table and a chart. Nothing stays on the
//! host but those two files, and what peers themselves leave until the next boot: podman its bridge and firewall
//! chains, podman and docker the empty cgroups above their containers'.

mod bundle;
mod chart;
mod conditions;
mod containers;
mod contenders;
mod images;
mod machine;
mod many;
mod networks;
mod profile;
mod report;
mod rootfs;
mod runtimes;
mod timer;
mod user;
mod worker;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use timer::Mode;

const USAGE: &str = "\
usage: mycontainer-bench [--tool PATH] [--rounds N] [--only NAME,...] [--out DIR]
       mycontainer-bench conditions [--tool PATH] [--rounds N] [--only WORDS,...] [--out DIR]
       mycontainer-bench images [--tool PATH] [--rounds N] [--only WORDS,...] [--out DIR]
       mycontainer-bench containers [--tool PATH] [--rounds N] [--out DIR]
       mycontainer-bench many [--tool PATH] [--rounds N] [--out DIR]
       mycontainer-bench networks [--tool PATH] [--rounds N] [--out DIR]
       mycontainer-bench filter FILE

  --tool PATH   the mycontainer to time (default: this workspace's release build)
  --rounds N    runs of each, back to back (default 100); with idleness before each there are 3 for every 5 of these
  --only NAMES  only those whose name begins with one of these, and the floor
  --out DIR     where README.md and run.svg go (default: this workspace's docs/bench)

  conditions    times runs of OCI runtimes in steps, of images, many at once, and beside many mounts and containers;
                --rounds is 30; --only takes the sections in whose title one of the words is; it writes conditions.md
  images        moves images: pull, run, rmi, push, copy. Of --rounds there are 5, and 20 times as many runs; --only takes
                the lines of the tables in which one of the words is (\"pull 12-zstd podman\", \"run\"); it writes
                images.md. The images are made once, in ~/.cache/mycontainer-bench or in MYCONTAINER_BENCH.
  containers    times the verbs of containers in the background; --rounds is 30; it writes containers.md
  many          starts so many containers, all at once, and removes them; --rounds is 1000; it writes many.md
  networks      times starts with networks, streams through them and names on them; --rounds is 60; it writes networks.md
  filter FILE   only write Docker's default seccomp filter, compiled, to try the floor by hand
";

struct Options {
    tool: PathBuf,
    rounds: Option<usize>,
    only: Vec<String>,
    out: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mycontainer-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut parser = lexopt::Parser::from_env();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut options =
        Options { tool: built_tool(&workspace), rounds: None, only: Vec::new(), out: workspace.join("docs/bench") };
    let mut what: fn(&Options) -> Result<()> = bench;
    while let Some(argument) = parser.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("tool") => options.tool = parser.value()?.into(),
            Long("rounds") => options.rounds = Some(parser.value()?.parse()?),
            Long("only") => options.only = parser.value()?.string()?.split(',').map(str::to_owned).collect(),
            Long("out") => options.out = parser.value()?.into(),
            Long("help") | Short('h') => {
                print!("{USAGE}");
                return Ok(());
            }
            Value(word) if word == "worker" => {
                match parser.value()?.string()?.as_str() {
                    "place" => images::place::enter(Path::new(&parser.value()?))?,
                    view => worker::enter(worker::View::from_arg(view))?,
                }
                return worker::serve();
            }
            Value(word) if word == "stage" => {
                let words = parser.raw_args()?.map(|word| word.string()).collect::<Result<Vec<_>, _>>()?;
                return images::stage::run(&words);
            }
            Value(word) if word == "conditions" => what = conditions::bench,
            Value(word) if word == "images" => what = images::bench,
            Value(word) if word == "containers" => what = containers::bench,
            Value(word) if word == "many" => what = many::bench,
            Value(word) if word == "networks" => what = networks::bench,
            Value(word) if word == "filter" => {
                return profile::write_filter(Path::new(&parser.value()?));
            }
            other => bail!("{}\n{USAGE}", other.unexpected()),
        }
    }
    if !rustix::process::geteuid().is_root() {
        bail!("only root may make these containers: run it through sudo");
    }
    what(&options)
}

fn bench(options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(100);
    let machine = machine::Machine::here();
    if machine.is_busy() {
        eprintln!("this machine is busy with something else: the figures will be worse than they should be");
    }
    let scratch = rootfs::Scratch::new()?;
    rootfs::make(&scratch)?;
    rootfs::make_programs(&scratch)?;
    profile::write_filter(&scratch.path("filter"))?;
    let cgroup = format!("/mycontainer-bench-{}", std::process::id());
    bundle::write(&scratch.path("bundle"), &scratch.path("root"), "/bin/true", Some(&cgroup))?;

    // Declared after `scratch`, so that the workers and what they mounted are gone before it is removed.
    let mut workers = timer::Workers::default();
    let user = user::User::new(&scratch, &options.tool);
    match &user {
        Ok(user) => workers.insert(worker::View::User, user.worker()?),
        Err(error) => eprintln!("not measured: containers without root: {error:#}"),
    }
    let (contenders, absent) = contenders::find(&scratch, &options.tool, &options.only, &mut workers)?;
    for absent in &absent {
        eprintln!("not measured: {}: {}", absent.name, absent.why);
    }
    if contenders.first().is_none_or(|first| first.name != "floor") {
        bail!("the floor does not work here, and without it there is nothing to compare with");
    }
    let hot = timer::measure(&contenders, Mode::Hot, worker::Until::End, rounds, &mut workers);
    let idle = timer::measure(&contenders, Mode::Idle, worker::Until::End, rounds, &mut workers);
    // Its worker goes first, and its files with the scratch directory.
    drop((workers, user));

    let report = report::Report { machine, rows: report::rows(contenders, hot?, idle?), absent, rounds };
    print!("{}", report.table());
    std::fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    for (name, text) in [("README.md", report.page()), ("run.svg", chart::draw(&report))] {
        let path = options.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Where a release build puts the tool: under the target's name when it was built for one, as the static one is.
fn built_tool(workspace: &Path) -> PathBuf {
    let target = workspace.join("target");
    let of_musl = target.join(format!("{}-unknown-linux-musl/release/mycontainer", std::env::consts::ARCH));
    if of_musl.exists() { of_musl } else { target.join("release/mycontainer") }
}

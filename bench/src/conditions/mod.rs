//! The same short runs under other conditions: an OCI runtime called in steps, `exec`, roots that are images, many at
//! once, beside many mounts, and beside many containers.
//!
//! Each section (`sections.rs`) makes what it needs, times its commands interleaved as the table of whole runs is
//! (`timer.rs`), and takes it away again. The engines have a host of their own each (`Worker::start_apart`), so that
//! nothing of theirs is on this machine but control groups, for as long as their containers live.

mod archive;
mod page;
mod sections;

use crate::Options;
use crate::contenders::{Absent, Contender, version, version_of, which};
use crate::images::place;
use crate::machine::Machine;
use crate::networks::host::with_docker;
use crate::rootfs::{self, Scratch};
use crate::runtimes::{self, Runtime};
use crate::timer::{self, Mode, SLOW_US, Samples, Workers};
use crate::worker::{Until, View, Worker};
use crate::{bundle, profile};
use anyhow::{Context, Result, bail};
use std::fs;

/// The name of the images, by how many layers they have.
const IMAGES: [(usize, &str); 2] = [(1, "mycontainer-bench:1"), (60, "mycontainer-bench:60")];

/// What all sections need.
pub(crate) struct Site {
    scratch: Scratch,
    tool: String,
    runtimes: Vec<Runtime>,
    /// The words of podman before a verb, and of docker, where they are.
    podman: Option<Vec<String>>,
    docker: Option<Vec<String>>,
    rounds: usize,
}

/// One command's times.
pub(crate) struct Line {
    name: String,
    hot: Samples,
    idle: Samples,
}

/// Measures all, and writes conditions.md.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let machine = Machine::here();
    if machine.is_busy() {
        eprintln!("this machine is busy with something else: the figures will be worse than they should be");
    }
    let scratch = Scratch::new()?;
    rootfs::make(&scratch)?;
    rootfs::make_programs(&scratch)?;
    profile::write_filter(&scratch.path("filter"))?;
    let root = scratch.path("root");
    bundle::write(&scratch.path("bundle"), &root, "/bin/true", None)?;
    bundle::write(&scratch.path("bundle-sleep"), &root, "/bin/sleep", None)?;

    let tool = fs::canonicalize(&options.tool).with_context(|| format!("{} is not built", options.tool.display()))?;
    let (runtimes, missing) = runtimes::find(&tool);
    let mut absent: Vec<Absent> =
        missing.into_iter().map(|name| Absent { name: name.to_owned(), why: "not installed".to_owned() }).collect();
    // Declared after `scratch`, so that the workers and what they mounted are gone before it is removed.
    let mut workers = Workers::default();
    let docker = match with_docker(&scratch) {
        Ok((worker, words)) => {
            workers.insert(View::Docker, worker);
            Some(words)
        }
        Err(why) => {
            absent.push(Absent { name: "docker".to_owned(), why: format!("{why:#}") });
            None
        }
    };
    let own = scratch.path("own");
    place::make(&own)?;
    workers.insert(View::Own, Worker::start_apart(&own)?);
    let podman = podman(&scratch);
    if podman.is_none() {
        absent.push(Absent { name: "podman".to_owned(), why: "not installed".to_owned() });
    }
    let tool = tool.to_string_lossy().into_owned();
    let rounds = options.rounds.unwrap_or(30);
    let mut site = Site { scratch, tool, runtimes, podman, docker, rounds };
    load(&mut site, &mut absent, &mut workers)?;

    let is_wanted = |title: &str| options.only.is_empty() || options.only.iter().any(|only| title.contains(&**only));
    let mut found = Vec::new();
    for (title, section) in sections::ALL {
        if is_wanted(title) {
            eprintln!("{title}");
            found.push((title, section(&site, &mut absent, &mut workers)?));
        }
    }
    let mut versions = vec![version(&site.tool)];
    versions.extend(site.runtimes.iter().skip(1).map(|runtime| version_of(&runtime.words)));
    versions.extend(site.podman.iter().map(|words| version(&words[0])));
    versions.extend(site.docker.iter().map(|words| version(&words[0])));
    drop(workers);
    let page = page::Page { machine, versions, rounds, only: options.only.clone(), found, absent }.text();
    print!("{page}");
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    let path = options.out.join("conditions.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// podman in a store of its own, which goes with the scratch directory.
fn podman(scratch: &Scratch) -> Option<Vec<String>> {
    let [store, state] = ["podman", "podman-run"].map(|name| scratch.path(name).to_string_lossy().into_owned());
    let words = [&which("podman")?, "--root", &store, "--runroot", &state, "--cgroup-manager", "cgroupfs"];
    Some(words.map(str::to_owned).to_vec())
}

/// Puts the images into the stores.
fn load(site: &mut Site, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<()> {
    let (scratch, stderr) = (&site.scratch, site.scratch.path("stderr"));
    for (layers, name) in IMAGES {
        let archive = archive::write(&scratch.path("own"), &scratch.path("root.tar"), name, layers)?;
        let load = |words: &[String]| -> Vec<String> {
            words.iter().cloned().chain(["load".into(), "-i".into(), archive.to_string_lossy().into_owned()]).collect()
        };
        if let Err(why) = workers.try_once(View::Own, &load(std::slice::from_ref(&site.tool)), &stderr)? {
            bail!("mycontainer cannot load an image of {layers} layers: {why}");
        }
        for (name, view, words) in
            [("podman", View::Private, &mut site.podman), ("docker", View::Docker, &mut site.docker)]
        {
            let Some(there) = words else { continue };
            if let Err(why) = workers.try_once(view, &load(there), &stderr)? {
                absent.push(Absent { name: name.to_owned(), why });
                *words = None;
            }
        }
    }
    Ok(())
}

impl Site {
    fn path(&self, name: &str) -> String {
        self.scratch.path(name).to_string_lossy().into_owned()
    }

    /// The floor on a root.
    fn floor(&self, flags: &[&str]) -> Vec<String> {
        let [floor, filter, root] = ["floor", "filter", "root"].map(|name| self.path(name));
        owned(&[&[&*floor], flags, &["-s", &filter, &root, "/bin/true"]].concat())
    }

    /// One `run` of ours.
    fn ours(&self, flags: &[&str], root: &str) -> Vec<String> {
        owned(&[&[&*self.tool, "run", "--rm"], flags, &[root, "/bin/true"]].concat())
    }

    /// One `run` of podman's or docker's; a network's name.
    fn theirs(words: &[String], network: &str, image: &str) -> Vec<String> {
        let limits: &[&str] = if words[0].ends_with("podman") { &Site::LIMITS } else { &[] };
        let more = [&["run", "--rm", "--network", network], limits, &[image, "/bin/true"]].concat();
        words.iter().cloned().chain(owned(&more)).collect()
    }

    /// Those that work here, each with whether it is slow.
    fn admit(
        &self,
        candidates: Vec<Contender>,
        absent: &mut Vec<Absent>,
        workers: &mut Workers,
    ) -> Result<Vec<Contender>> {
        let mut admitted = Vec::new();
        for mut candidate in candidates {
            // Who was waited for in vain once is not waited for again.
            let tool = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
            if absent.iter().any(|one| one.why.starts_with("killed") && tool(&one.name) == tool(&candidate.name)) {
                continue;
            }
            let argv: Vec<String> = candidate.argv.iter().map(|word| word.replace("{}", "first")).collect();
            let stderr = self.scratch.path("stderr");
            let tried = match workers.try_once(candidate.view, &argv, &stderr)? {
                // The first run pays for cold caches.
                Ok(_) => {
                    let again = argv.iter().map(|word| word.replace("first", "second")).collect::<Vec<_>>();
                    workers.try_once(candidate.view, &again, &stderr)?
                }
                failed => failed,
            };
            match tried {
                Ok(micros) => {
                    candidate.is_slow = micros > SLOW_US;
                    admitted.push(candidate);
                }
                Err(why) => absent.push(Absent { name: candidate.name, why }),
            }
        }
        Ok(admitted)
    }

    /// Times what works of it, in both modes.
    fn time(&self, candidates: Vec<Contender>, absent: &mut Vec<Absent>, workers: &mut Workers) -> Result<Vec<Line>> {
        let contenders = self.admit(candidates, absent, workers)?;
        let hot = timer::measure(&contenders, Mode::Hot, Until::End, self.rounds, workers)?;
        let idle = timer::measure(&contenders, Mode::Idle, Until::End, self.rounds, workers)?;
        let samples = contenders.into_iter().zip(hot.into_iter().zip(idle));
        Ok(samples.map(|(contender, (hot, idle))| Line { name: contender.name, hot, idle }).collect())
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

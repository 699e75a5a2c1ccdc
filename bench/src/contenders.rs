//! Who runs: the floor, mycontainer, and the peers that are installed and work here.
//!
//! Each contender is a whole command from outside: what a person types to run `/bin/true` in a container, and nothing
//! left of it afterwards. Whoever is not installed or fails its first run is not measured, and the report says why.

use crate::images::place;
use crate::networks::host::with_docker;
use crate::rootfs::Scratch;
use crate::runtimes::{self, Runtime};
use crate::timer::{SLOW_US, Workers};
use crate::worker::{View, Worker};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A contender that works here.
#[derive(Debug)]
pub(crate) struct Contender {
    /// What the table calls it.
    pub(crate) name: String,
    /// How it does other work than the floor, in a few words; empty when it does the same.
    pub(crate) differs: &'static str,
    /// What it calls itself, by `--version`; empty for the floor.
    pub(crate) version: String,
    /// The command to time.
    pub(crate) argv: Vec<String>,
    /// Where it runs.
    pub(crate) view: View,
    /// Whether it takes so long that it has to run less often than the others.
    pub(crate) is_slow: bool,
    /// Peak resident memory of its largest process (see `peak.c`).
    pub(crate) peak_kib: u64,
    /// Its system calls (see `steps.c`).
    pub(crate) calls: Option<Count>,
    /// Its instructions outside of the kernel.
    pub(crate) instructions: Option<Count>,
}

impl Contender {
    /// One that only has to be timed.
    pub(crate) fn of(name: &str, view: View, argv: Vec<String>) -> Contender {
        Contender {
            name: name.to_owned(),
            differs: "",
            version: String::new(),
            argv,
            view,
            is_slow: false,
            peak_kib: 0,
            calls: None,
            instructions: None,
        }
    }
}

/// What hardly varies from run to run, up to where the container's program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// So many.
    Exactly(u64),
    /// More than were counted.
    MoreThan(u64),
}

/// To step through this many instructions takes half a minute, which is enough to see that somebody needs more.
const MOST_INSTRUCTIONS: u64 = 1_500_000;
const MOST_CALLS: u64 = 1_000_000;

/// A contender that does not take part.
#[derive(Debug)]
pub(crate) struct Absent {
    /// What the table would have called it.
    pub(crate) name: String,
    /// Why not.
    pub(crate) why: String,
}

/// One way of starting a container, before it is known whether it works.
struct Entry {
    name: String,
    differs: &'static str,
    program: String,
    view: View,
    /// Words after the program that every command of this peer has, such as where it keeps its state.
    global: Vec<String>,
    /// What must be done once before the first run.
    prepare: Option<Vec<String>>,
    /// The run itself.
    run: Vec<String>,
}

/// Our row with an image.
pub(crate) const OF_IMAGE: &str = "mycontainer+image+bridge";
/// The name that the root has in the image stores.
const IMAGE: &str = "mycontainer-bench";

impl std::str::FromStr for Count {
    type Err = std::num::ParseIntError;

    /// Reads what `steps.c` writes.
    fn from_str(text: &str) -> Result<Count, Self::Err> {
        let text = text.trim();
        match text.strip_prefix('>') {
            Some(most) => Ok(Count::MoreThan(most.parse()?)),
            None => Ok(Count::Exactly(text.parse()?)),
        }
    }
}

/// Tries everyone whose name begins with one of `only` (all, when that is empty), and always the floor.
pub(crate) fn find(
    scratch: &Scratch,
    tool: &Path,
    only: &[String],
    workers: &mut Workers,
) -> Result<(Vec<Contender>, Vec<Absent>)> {
    let (mut found, mut absent, mut prepared) = (Vec::new(), Vec::new(), Vec::new());
    let (runtimes, missing) = runtimes::find(tool);
    let is_wanted = |name: &str| {
        only.is_empty() || matches!(name, "floor" | "floor, v2") || only.iter().any(|only| name.starts_with(&**only))
    };
    let not_here = |name: &str, why: &str| Absent { name: name.to_owned(), why: why.to_owned() };
    absent.extend(missing.into_iter().filter(|name| is_wanted(name)).map(|name| not_here(name, "not installed")));
    if is_wanted(OF_IMAGE) {
        let dir = scratch.path("own");
        place::make(&dir)?;
        workers.insert(View::Own, Worker::start_apart(&dir)?);
    }
    let docker = ["docker", "docker+bridge"].into_iter().any(is_wanted).then(|| with_docker(scratch)).transpose();
    let docker = match docker {
        Ok(docker) => docker.map(|(worker, words)| {
            workers.insert(View::Docker, worker);
            words
        }),
        Err(why) => {
            absent.push(not_here("docker", &format!("{why:#}")));
            None
        }
    };
    for entry in entries(scratch, tool, &runtimes, docker.as_deref()) {
        if !is_wanted(&entry.name) {
            continue;
        }
        match admit(&entry, scratch, workers, &mut prepared)? {
            Ok(contender) => found.push(contender),
            Err(why) => absent.push(Absent { name: entry.name, why }),
        }
    }
    Ok((found, absent))
}

/// Lets one take part if it works here. `prepared` is what was done once already, for a podman with another network.
fn admit(
    entry: &Entry,
    scratch: &Scratch,
    workers: &mut Workers,
    prepared: &mut Vec<Vec<String>>,
) -> Result<Result<Contender, String>> {
    let Some(program) = which(&entry.program) else {
        // A path is never named here: the page is for everybody.
        return Ok(Err(if entry.program.contains('/') { "not built" } else { "not installed" }.to_owned()));
    };
    let command = |words: &[String]| -> Vec<String> {
        std::iter::once(&program).chain(&entry.global).chain(words).cloned().collect()
    };
    let own = if entry.view == View::User { "home/" } else { "" };
    let stderr = scratch.path(&format!("{own}stderr"));
    if let Some(words) = entry.prepare.as_deref().map(command)
        && !prepared.contains(&words)
    {
        if let Err(why) = workers.try_once(entry.view, &words, &stderr)? {
            return Ok(Err(why));
        }
        prepared.push(words);
    }
    let argv = command(&entry.run);
    // The first run pays for cold caches, so that it is the second that tells how slow it is, and with it its memory.
    if let Err(why) = workers.try_once(entry.view, &argv, &stderr)? {
        return Ok(Err(why));
    }
    let told = scratch.path(&format!("{own}told"));
    let through = |program: &str, words: &[&str]| -> Vec<String> {
        let start = [scratch.path(program), told.clone()].map(|path| path.to_string_lossy().into_owned());
        start.into_iter().chain(self::words(words)).chain(argv.iter().cloned()).collect()
    };
    let micros = match workers.try_once(entry.view, &through("peak", &[]), &stderr)? {
        Ok(micros) => micros,
        Err(why) => return Ok(Err(why)),
    };
    let peak_kib = std::fs::read_to_string(&told)?.trim().parse().unwrap_or(0);
    let mut count = |what: &str, most: u64| -> Result<Option<Count>> {
        // Who cannot be counted is measured all the same: a user's helpers have no privileges when they are traced.
        let words = through("steps", &[what, &most.to_string(), "true"]);
        let counted = workers.try_once(entry.view, &words, &stderr)?.is_ok();
        Ok(counted.then(|| std::fs::read_to_string(&told).ok()?.parse().ok()).flatten())
    };
    let calls = count("calls", MOST_CALLS)?;
    // Who is slow has too many to step through, and another view of the machine hardly changes them.
    let is_counted = micros <= 2 * SLOW_US && matches!(entry.view, View::Host | View::Private);
    let instructions = if is_counted { count("instructions", MOST_INSTRUCTIONS)? } else { None };
    Ok(Ok(Contender {
        name: entry.name.clone(),
        differs: entry.differs,
        version: if entry.name.starts_with("floor") { String::new() } else { version_of(&command(&[])) },
        argv,
        view: entry.view,
        is_slow: micros > SLOW_US,
        peak_kib,
        calls,
        instructions,
    }))
}

/// The absolute path of a program, so that no run searches for it.
pub(crate) fn which(program: &str) -> Option<String> {
    if program.contains('/') {
        return Path::new(program).exists().then(|| program.to_owned());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    // Debian keeps some of them where only root's PATH looks.
    let directories = path.split(':').chain(["/usr/sbin", "/sbin"]).map(PathBuf::from);
    directories.map(|d| d.join(program)).find(|p| p.is_file()).map(|p| p.to_string_lossy().into_owned())
}

/// The first line of what it says of itself.
pub(crate) fn version(program: &str) -> String {
    version_of(&[program.to_owned()])
}

/// The same of a program that needs other words before its own.
pub(crate) fn version_of(words: &[String]) -> String {
    let output = Command::new(&words[0]).args(&words[1..]).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn entries(scratch: &Scratch, tool: &Path, runtimes: &[Runtime], docker: Option<&[String]>) -> Vec<Entry> {
    let root = scratch.path("root").to_string_lossy().into_owned();
    let tool = tool.to_string_lossy().into_owned();
    let floor = scratch.path("floor").to_string_lossy().into_owned();
    let filter = scratch.path("filter").to_string_lossy().into_owned();
    let mut all = vec![
        entry("floor", "", &floor, &["-s", &filter, &root, "/bin/true"]),
        entry("floor+overlay", "the root is an overlay", &floor, &["-o", "-s", &filter, &root, "/bin/true"]),
        entry("mycontainer", "", &tool, &["run", "--rm", "--network", "none", &root, "/bin/true"]),
        entry("mycontainer+bridge", "veth, bridge, address, NAT", &tool, &["run", "--rm", &root, "/bin/true"]),
        entry(
            "mycontainer+host",
            "overlay over the host's `/`; its dynamic `true`",
            &tool,
            &["run", "--rm", "--network", "none", "host", "/bin/true"],
        ),
    ];
    all.extend(runtimes.iter().map(|runtime| oci_runtime(runtime, &runtime.name, runtime.view, scratch)));
    all.extend([bubblewrap(&root), unshare(&root)]);
    // The same on cgroup v2, against a floor of its own.
    let floor_v2 = entry("floor, v2", "cgroup v2", &floor, &["-s", &filter, &root, "/bin/true"]);
    all.push(Entry { view: View::Unified, ..floor_v2 });
    let on_v2 = |runtime: &Runtime| oci_runtime(runtime, &format!("{}, v2", runtime.name), View::Unified, scratch);
    all.extend(runtimes.iter().map(on_v2));
    all.push(of_image(scratch, &tool));
    all.extend(podman(scratch));
    all.extend(of_user(scratch));
    all.extend(self::docker(scratch, docker));
    all
}

fn entry(name: &str, differs: &'static str, program: &str, run: &[&str]) -> Entry {
    Entry {
        name: name.to_owned(),
        differs,
        program: program.to_owned(),
        view: View::Host,
        global: Vec::new(),
        prepare: None,
        run: words(run),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn bubblewrap(root: &str) -> Entry {
    let isolation = ["--unshare-all", "--hostname", "bench", "--new-session", "--die-with-parent"];
    let mounts = ["--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--ro-bind", "/sys", "/sys"];
    let run = [&isolation[..], &mounts, &["--", "/bin/true"]].concat();
    entry("bwrap", "no cgroup, masks or seccomp", "bwrap", &run)
}

fn unshare(root: &str) -> Entry {
    let namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "--mount-proc"];
    let run = [&namespaces[..], &["--root", root, "/bin/true"]].concat();
    entry("unshare", "namespaces, chroot and /proc only", "unshare", &run)
}

fn oci_runtime(runtime: &Runtime, name: &str, view: View, scratch: &Scratch) -> Entry {
    let bundle = scratch.path("bundle").to_string_lossy().into_owned();
    let state = scratch.path(name).to_string_lossy().into_owned();
    let run = ["--root", &state, "run", "--bundle", &bundle, "mycontainer-bench"];
    Entry { view, global: runtime.words[1..].to_vec(), ..entry(name, "", &runtime.words[0], &run) }
}

/// All that podman and docker do: an image, an overlay on it, and a network; on a host of its own, for the image is not to
/// be in this machine's store.
fn of_image(scratch: &Scratch, tool: &str) -> Entry {
    let tar = scratch.path("root.tar").to_string_lossy().into_owned();
    Entry {
        view: View::Own,
        prepare: Some(words(&["import", &tar, IMAGE])),
        ..entry(OF_IMAGE, "image, overlay, veth, bridge, NAT", tool, &["run", "--rm", IMAGE, "/bin/true"])
    }
}

/// podman in a store of its own, which goes with the scratch directory; it calls crun, so it needs crun's view.
fn podman(scratch: &Scratch) -> [Entry; 2] {
    // podman raises these limits otherwise, which not every machine lets its root do.
    const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let [store, state, tar] =
        ["podman", "podman-run", "root.tar"].map(|name| scratch.path(name).to_string_lossy().into_owned());
    let with = |name, differs, network| Entry {
        view: View::Private,
        global: words(&["--root", &store, "--runroot", &state, "--cgroup-manager", "cgroupfs"]),
        prepare: Some(words(&["import", "--quiet", &tar, IMAGE])),
        ..entry(
            name,
            differs,
            "podman",
            &[&["run", "--rm", "--network", network], &LIMITS[..], &[IMAGE, "/bin/true"]].concat(),
        )
    };
    [
        with("podman", "image, overlay, monitor", "none"),
        with("podman+bridge", "the same with its default network", "bridge"),
    ]
}

/// The same without root. Where there is no user they are not measured.
fn of_user(scratch: &Scratch) -> Vec<Entry> {
    let [home, tool, root, tar] = ["home", "home/mycontainer", "home/root", "home/root.tar"]
        .map(|name| scratch.path(name).to_string_lossy().into_owned());
    // The last thing that is made for the user.
    if !Path::new(&home).join("run").exists() {
        return Vec::new();
    }
    let ours = |name, differs, flags: &[&str]| {
        entry(name, differs, &tool, &[&["run", "--rm"], flags, &[&root, "/bin/true"]].concat())
    };
    let peers = |name, differs, flags: &[&str]| Entry {
        global: words(&["--cgroup-manager", "cgroupfs"]),
        prepare: Some(words(&["import", "--quiet", &tar, IMAGE])),
        ..entry(
            name,
            differs,
            "podman",
            &[&["run", "--rm", "--cgroups", "disabled"], flags, &[IMAGE, "/bin/true"]].concat(),
        )
    };
    let all = [
        ours("mycontainer, user", "no root; no control group on v1", &["--network", "none"]),
        ours("mycontainer+bridge, user", "the same with veth, bridge, address, NAT", &[]),
        peers("podman, user", "image, overlay, monitor; no control group", &["--network", "none"]),
        peers("podman+network, user", "the same with its default network, one program a container", &[]),
    ];
    all.into_iter().map(|entry| Entry { view: View::User, ..entry }).collect()
}

/// Docker with a daemon of the bench's own. Where there is none it is not measured.
fn docker(scratch: &Scratch, docker: Option<&[String]>) -> Vec<Entry> {
    let Some([program, global @ ..]) = docker else { return Vec::new() };
    let tar = scratch.path("root.tar").to_string_lossy().into_owned();
    let with = |name, differs, network| Entry {
        view: View::Docker,
        global: global.to_vec(),
        prepare: Some(words(&["import", &tar, IMAGE])),
        ..entry(name, differs, program, &["run", "--rm", "--network", network, IMAGE, "/bin/true"])
    };
    vec![
        with("docker", "image, overlay, a daemon does the work", "none"),
        with("docker+bridge", "the same with its default network", "bridge"),
    ]
}

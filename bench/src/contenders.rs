//! Who runs: the floor, mycontainer, and the peers that are installed and work here.
//!
//! Each contender is a whole command from outside: what a person types to run `/bin/true` in a container, and nothing
//! left of it afterwards. Whoever is not installed or fails its first run is not measured, and the report says why.

use crate::rootfs::Scratch;
use crate::timer::{SLOW_US, Workers};
use crate::worker::View;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A contender that works here.
#[derive(Debug)]
pub(crate) struct Contender {
    /// What the table calls it.
    pub(crate) name: &'static str,
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
}

/// A contender that does not take part.
#[derive(Debug)]
pub(crate) struct Absent {
    /// What the table would have called it.
    pub(crate) name: &'static str,
    /// Why not.
    pub(crate) why: String,
}

/// One way of starting a container, before it is known whether it works.
struct Entry {
    name: &'static str,
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

/// The name the root has in the image stores of podman and docker.
const IMAGE: &str = "mycontainer-bench";

/// Tries everyone whose name begins with one of `only` (all, when that is empty), and always the floor.
pub(crate) fn find(
    scratch: &Scratch,
    tool: &Path,
    only: &[String],
    workers: &mut Workers,
) -> Result<(Vec<Contender>, Vec<Absent>)> {
    let (mut found, mut absent, mut prepared) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries(scratch, tool) {
        let is_wanted = only.is_empty()
            || matches!(entry.name, "floor" | "floor, v2")
            || only.iter().any(|o| entry.name.starts_with(&**o));
        if !is_wanted {
            continue;
        }
        match admit(&entry, scratch, workers, &mut prepared)? {
            Ok(contender) => found.push(contender),
            Err(why) => absent.push(Absent { name: entry.name, why }),
        }
    }
    Ok((found, absent))
}

/// Takes away what [`find`] put outside of the scratch directory: the image in Docker's store.
pub(crate) fn clean_up(contenders: &[Contender]) {
    if let Some(docker) = contenders.iter().find(|c| c.name.starts_with("docker")) {
        let _ = Command::new(&docker.argv[0]).args(["rmi", IMAGE]).output();
    }
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
    let peak = scratch.path(&format!("{own}peak-kib"));
    let words = [scratch.path("peak"), peak.clone()].map(|path| path.to_string_lossy().into_owned());
    let through_peak: Vec<String> = words.into_iter().chain(argv.iter().cloned()).collect();
    let micros = match workers.try_once(entry.view, &through_peak, &stderr)? {
        Ok(micros) => micros,
        Err(why) => return Ok(Err(why)),
    };
    Ok(Ok(Contender {
        name: entry.name,
        differs: entry.differs,
        version: if entry.name.starts_with("floor") { String::new() } else { version(&program) },
        argv,
        view: entry.view,
        is_slow: micros > SLOW_US,
        peak_kib: std::fs::read_to_string(peak)?.trim().parse().unwrap_or(0),
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
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn entries(scratch: &Scratch, tool: &Path) -> Vec<Entry> {
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
        oci_runtime("mycontainer-runtime", &tool, &["runtime"], scratch),
        bubblewrap(&root),
        unshare(&root),
        oci_runtime("crun", "crun", &[], scratch),
        oci_runtime("runc", "runc", &[], scratch),
    ];
    // The same on cgroup v2, against a floor of its own.
    let on_v2 = |entry: Entry| Entry { view: View::Unified, ..entry };
    all.extend([
        on_v2(entry("floor, v2", "cgroup v2", &floor, &["-s", &filter, &root, "/bin/true"])),
        on_v2(oci_runtime("mycontainer-runtime, v2", &tool, &["runtime"], scratch)),
        on_v2(oci_runtime("crun, v2", "crun", &[], scratch)),
        on_v2(oci_runtime("runc, v2", "runc", &[], scratch)),
    ]);
    all.extend(podman(scratch));
    all.extend(of_user(scratch));
    all.extend(docker(scratch));
    all
}

fn entry(name: &'static str, differs: &'static str, program: &str, run: &[&str]) -> Entry {
    Entry {
        name,
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

fn oci_runtime(name: &'static str, program: &str, words: &[&str], scratch: &Scratch) -> Entry {
    let bundle = scratch.path("bundle").to_string_lossy().into_owned();
    let state = scratch.path(name).to_string_lossy().into_owned();
    Entry {
        // crun refuses a hybrid host.
        view: if program == "crun" { View::Private } else { View::Host },
        ..entry(
            name,
            "",
            program,
            &[words, &["--root", &state, "run", "--bundle", &bundle, "mycontainer-bench"]].concat(),
        )
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

fn docker(scratch: &Scratch) -> [Entry; 2] {
    let tar = scratch.path("root.tar").to_string_lossy().into_owned();
    let with = |name, differs, network| Entry {
        prepare: Some(words(&["import", &tar, IMAGE])),
        ..entry(name, differs, "docker", &["run", "--rm", "--network", network, IMAGE, "/bin/true"])
    };
    [
        with("docker", "image, overlay, a daemon does the work", "none"),
        with("docker+bridge", "the same with its default network", "bridge"),
    ]
}

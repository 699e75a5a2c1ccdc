//! A host for each tool: namespaces of its own for processes, mounts and the network, so that no tool's bridges and
//! firewall rules are in another's way, and none of them are on this machine.
//!
//! Whatever runs there ends with the first process there, which ends with the bench, also when that is killed. Control
//! groups are this machine's: a host removes its containers when it goes, and with them their groups. Only a bench that is
//! killed leaves some, empty, and its scratch directory.

use crate::contenders::which;
use crate::images::place;
use crate::rootfs::Scratch;
use crate::worker::{Request, Timing, Worker};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the container `web` serves, on its host and in itself.
pub(crate) const PORT: &str = "5201";
/// The host's address on the link to the outside.
pub(crate) const ADDRESS: &str = "198.51.100.1";
/// The root's name in Docker's store.
const IMAGE: &str = "mycontainer-bench";
/// Redirects what a command prints.
const REDIRECT: &str = "exec \"$@\" > \"$0\"";
/// Where Docker's daemon listens, on its host.
const SOCKET: &str = "unix:///run/docker.sock";
/// The loopback, and a machine outside: a namespace on the other end of a link.
const OUTSIDE: &str = "
ip link set lo up
ip netns add outside
ip link add outer type veth peer name eth0 netns outside
ip addr add 198.51.100.1/24 dev outer
ip link set outer up
ip -n outside addr add 198.51.100.2/24 dev eth0
ip -n outside link set eth0 up
";
/// Two namespaces, a link between them, and nothing else.
const BARE: &str = "
ip netns add client
ip netns add server
ip link add eth0 netns client type veth peer name eth0 netns server
ip -n client addr add 198.51.100.2/24 dev eth0
ip -n server addr add 198.51.100.1/24 dev eth0
ip -n client link set eth0 up
ip -n server link set eth0 up
ip netns exec server iperf3 -s -D
";
/// Docker's daemon on this host. It writes a key to /etc/docker. `$1` is a directory, `$2` the client.
const DOCKER: &str = r#"
mkdir "$1/upper" "$1/work.etc"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work.etc" none /etc
echo '{}' > /run/daemon.json
dockerd --config-file /run/daemon.json --pidfile /run/dockerd.pid > "$1/log" 2>&1 < /dev/null &
for try in $(seq 300); do
    if "$2" --host unix:///run/docker.sock version > /dev/null 2>&1; then exit 0; fi
    kill -0 $! || break
    sleep 0.1
done
tail -n 1 "$1/log" >&2
exit 1
"#;

/// How a tool is called.
struct Tool {
    name: &'static str,
    /// Its words before a verb.
    words: Vec<String>,
    /// The flags of each `run`.
    flags: Vec<String>,
    /// What stands for the root in it.
    root: Vec<String>,
    /// What removes a container at once.
    remove: &'static [&'static str],
}

impl Tool {
    fn new(name: &'static str, words: &[&str], root: &[&str]) -> Tool {
        Tool { name, words: owned(words), flags: Vec::new(), root: owned(root), remove: &["rm", "-f"] }
    }
}

/// One of them.
pub(crate) struct Host {
    /// Whose it is.
    pub(crate) name: &'static str,
    tool: Tool,
    worker: Worker,
    dir: PathBuf,
    /// The containers that stay until the host goes.
    kept: Vec<String>,
}

impl Host {
    /// A host with a machine outside. `dir` is its directory's name.
    fn new(scratch: &Scratch, dir: &str, tool: Tool) -> Result<Host> {
        let dir = scratch.path(dir);
        place::make(&dir)?;
        let worker = Worker::start_apart(&dir)?;
        let mut host = Host { name: tool.name, tool, worker, dir, kept: Vec::new() };
        host.script(OUTSIDE)?;
        Ok(host)
    }

    /// Two namespaces and a link, without any tool.
    pub(crate) fn bare(scratch: &Scratch) -> Result<Host> {
        let mut host = Host::new(scratch, "bare", Tool::new("two bare namespaces", &[], &[]))?;
        host.script(BARE)?;
        Ok(host)
    }

    /// One of mycontainer's.
    pub(crate) fn ours(scratch: &Scratch, dir: &str, tool: &str) -> Result<Host> {
        let root = scratch.path("root");
        Host::new(scratch, dir, Tool::new("mycontainer", &[tool], &[&root.to_string_lossy()]))
    }

    /// Podman's: with runc and without raised limits, for the reasons in `containers.rs`.
    pub(crate) fn podman(scratch: &Scratch, podman: &str) -> Result<Host> {
        let root = scratch.path("root");
        let words = [podman, "--runtime", "runc", "--cgroup-manager", "cgroupfs"];
        let tool = Tool {
            flags: owned(&["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]),
            remove: &["rm", "-f", "-t", "0"],
            ..Tool::new("podman", &words, &["--rootfs", &root.to_string_lossy()])
        };
        Host::new(scratch, "podman", tool)
    }

    /// Docker's, with a daemon of its own and an image of the root.
    pub(crate) fn docker(scratch: &Scratch, docker: &str) -> Result<Host> {
        let words = [docker, "--host", SOCKET];
        let mut host = Host::new(scratch, "docker", Tool::new("docker", &words, &[IMAGE]))?;
        let [root, tar] = ["root", "docker/root.tar"].map(|name| scratch.path(name).to_string_lossy().into_owned());
        start_docker(&mut host.worker, &host.dir, docker)?;
        host.said(&["tar", "-C", &root, "-cf", &tar, "."])?;
        host.ask(&["import", &tar, IMAGE])?;
        Ok(host)
    }

    /// The words of a command of the tool.
    pub(crate) fn words(&self, words: &[&str]) -> Vec<String> {
        self.tool.words.iter().cloned().chain(owned(words)).collect()
    }

    /// The words of a `run`.
    pub(crate) fn run(&self, flags: &[&str], program: &[&str]) -> Vec<String> {
        let mut words = self.words(&["run"]);
        words.extend(self.tool.flags.iter().cloned());
        words.extend(owned(flags));
        words.extend(self.tool.root.iter().cloned());
        words.extend(owned(program));
        words
    }

    /// Starts a container that stays.
    pub(crate) fn keep(&mut self, name: &str, flags: &[&str], program: &[&str]) -> Result<()> {
        self.kept.push(name.to_owned());
        let words = self.run(&[&["-d", "--name", name], flags].concat(), program);
        self.output(words).map(|_| ())
    }

    /// What the tool says.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<String> {
        let words = self.words(words);
        self.output(words)
    }

    /// What any program says.
    pub(crate) fn said(&mut self, words: &[&str]) -> Result<String> {
        self.output(owned(words))
    }

    fn script(&mut self, script: &str) -> Result<()> {
        self.said(&["sh", "-ec", script]).map(|_| ())
    }

    fn output(&mut self, words: Vec<String>) -> Result<String> {
        output(&mut self.worker, &self.dir, words)
    }

    /// Times a command, to its end, after a script.
    pub(crate) fn time(&mut self, argv: &[String], setup: &str) -> Result<Timing> {
        let setup = setup.to_owned();
        self.worker.time(&Request { setup, ..Request::of(argv.to_vec(), 20) })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        let words: Vec<&str> = self.tool.remove.iter().copied().chain(kept.iter().map(String::as_str)).collect();
        if let Err(error) = self.ask(&words) {
            eprintln!("mycontainer-bench: {}: {error}", self.name);
        }
    }
}

/// A worker on a host of its own on which Docker's daemon runs, and its client's words.
pub(crate) fn with_docker(scratch: &Scratch) -> Result<(Worker, Vec<String>)> {
    which("dockerd").context("not installed (scripts/setup-bench --docker)")?;
    // The distribution's client, should there be a newer one that its daemon is too old for.
    let client = which("/usr/bin/docker").or_else(|| which("docker")).context("no client is installed")?;
    let dir = scratch.path("docker");
    place::make(&dir)?;
    let mut worker = Worker::start_apart(&dir)?;
    start_docker(&mut worker, &dir, &client)?;
    Ok((worker, owned(&[&client, "--host", SOCKET])))
}

fn start_docker(worker: &mut Worker, dir: &Path, client: &str) -> Result<()> {
    output(worker, dir, owned(&["sh", "-ec", DOCKER, "sh", &dir.to_string_lossy(), client])).map(|_| ())
}

/// What a program says that a worker runs; `dir` is for the files that takes.
fn output(worker: &mut Worker, dir: &Path, words: Vec<String>) -> Result<String> {
    let [out, stderr] = ["out", "stderr"].map(|name| dir.join(name));
    let redirect = ["sh", "-c", REDIRECT].map(str::to_owned).into_iter();
    let what = words.iter().take(2).cloned().collect::<Vec<_>>().join(" ");
    let argv = redirect.chain([out.to_string_lossy().into_owned()]).chain(words).collect();
    let request = Request { stderr: Some(stderr.clone()), ..Request::of(argv, 120) };
    if let Some(failure) = worker.time(&request)?.failure {
        let said = fs::read_to_string(stderr).unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(&failure);
        bail!("{what}: {}", last.trim());
    }
    fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

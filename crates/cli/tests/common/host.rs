//! A host of a test's own: a network namespace, and a mount namespace with its own /run and /var/lib/mycontainer, so
//! that the tool finds no state but what the test made. Control groups are this machine's: they are known by ids.
//!
//! Both namespaces end with the test's process, however that ends. A test that passes has left this host's links,
//! addresses, rules and firewall as its setup made them: [`Host`] asserts that when it goes out of scope.

use super::{busybox_root, can_run, code, in_vm, need, stderr, stdout, tool, user_of_tool, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;

/// A process that waits in namespaces of its own, for as long as we live: it reads from a pipe whose other end is ours.
pub struct Place {
    keeper: Child,
}

impl Place {
    /// Namespaces as the flags of unshare(1) say, prepared by a script.
    fn new(flags: &[&str], setup: &str) -> Place {
        let script = format!("{setup}\necho ready; exec cat > /dev/null");
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-ec", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("unshare (util-linux) is there");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let place = Place { keeper };
        assert_eq!(line, "ready\n", "setup failed: {setup}");
        place
    }

    /// A program inside, which the child's process id is of.
    pub fn command(&self, program: &str, words: &[&str]) -> Command {
        let words = self.words(&[&[program], words].concat());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// The words of a program inside, for who starts it by himself.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        let target = self.keeper.id().to_string();
        let enter = ["nsenter", "--target", &target, "--net", "--mount", "--"];
        enter.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }

    /// The process that keeps it, whose root is that of all inside.
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    /// A shell script inside, to its end.
    pub fn try_sh(&self, script: &str) -> Output {
        self.command("sh", &["-ec", script]).output().expect("nsenter (util-linux) is there")
    }

    /// As [`Place::try_sh`], and it must succeed: its standard output.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(output.status.success(), "{script}: {}\n{}{}", output.status, stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// What `ip -j` and the like say.
    pub fn json(&self, script: &str) -> serde_json::Value {
        serde_json::from_str(&self.sh(script)).expect("JSON")
    }

    /// Starts a server, and waits until something accepts connections at the port of `address`, as seen from inside.
    pub fn serve(&self, program: &str, words: &[&str], address: &str, port: u16) -> Server {
        let server = Server(self.command(program, words).stdout(Stdio::null()).spawn().expect("it starts"));
        let answers = || self.try_sh(&format!("busybox nc -w 1 {address} {port} </dev/null")).status.success();
        assert!(wait_until(5, answers), "{program} does not listen on {address}:{port}");
        server
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A process that ends with the test.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A way out, for pasta to stand in for; it leads nowhere.
const WAY: &str = "ip link add way type veth peer name yaw; ip link set yaw up; ip link set way up
                   ip addr add 198.51.100.2/24 dev way; ip addr add 2001:db8:77::2/64 dev way nodad; ip route add default via 198.51.100.1 metric 4000";

/// The host, on which the tool runs.
pub struct Host {
    place: Place,
    outside: Option<Place>,
    before: String,
}

impl std::ops::Deref for Host {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Host {
    /// A host prepared by a script; `None` where this test cannot run.
    pub fn new(test: &str, setup: &str) -> Option<Host> {
        let has = |tool: &str| Command::new(tool).arg("-V").output().is_ok();
        if !can_run(test) || !need(test, has("ip") && has("nft") && has("unshare"), "it needs ip, nft and unshare") {
            return None;
        }
        let own = "mount -t tmpfs -o size=1g none /run; mkdir -p /var/lib/mycontainer
                   mount -t tmpfs -o size=1g none /var/lib/mycontainer
                   ip link set lo up";
        let way = if user_of_tool().is_some() { WAY } else { "" };
        let place = Place::new(&["--net", "--mount", "--propagation", "private"], &format!("{own}\n{way}\n{setup}"));
        let mut host = Host { place, outside: None, before: String::new() };
        host.before = host.picture();
        Some(host)
    }

    /// As [`Host::new`], joined to an outside machine: 203.0.113.2 here, 203.0.113.9 there.
    pub fn with_outside(test: &str, setup: &str) -> Option<Host> {
        let mut host = Host::new(test, setup)?;
        let outside = Place::new(&["--net", "--mount"], "ip link set lo up");
        host.sh(&format!("ip link add up0 type veth peer name out0 netns {}", outside.keeper.id()));
        host.sh("ip addr add 203.0.113.2/24 dev up0; ip link set up0 up; ip route add default via 203.0.113.9");
        outside.sh("ip addr add 203.0.113.9/24 dev out0; ip link set out0 up");
        host.before = host.picture();
        host.outside = Some(outside);
        Some(host)
    }

    /// The outside machine, which knows no way to the containers.
    pub fn outside(&self) -> &Place {
        self.outside.as_ref().expect("a host made with one")
    }

    /// A shell script where the containers' networks are, to its end: on the host, or in the namespace of the user that the
    /// tool is run as, which is there as long as a container is, and five seconds more.
    pub fn try_net(&self, script: &str) -> Output {
        if user_of_tool().is_none() {
            return self.try_sh(script);
        }
        let rootless = "/run/mycontainer/rootless";
        let enter = format!("nsenter --net=/proc/$(cat {rootless}/holder)/root{rootless}/network -- sh -ec \"$1\"");
        self.command("sh", &["-ec", &enter, "sh", script]).output().expect("nsenter (util-linux) is there")
    }

    /// As [`Host::try_net`], and it must succeed: its standard output.
    #[track_caller]
    pub fn net(&self, script: &str) -> String {
        let output = self.try_net(script);
        assert!(output.status.success(), "{script}: {}\n{}{}", output.status, stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// All that the tool could change of this host's network, less what counts packets or is dynamic, as a carrier is.
    pub fn picture(&self) -> String {
        self.sh(
            "ip -o link | cut -d' ' -f2 | sort; ip -4 -o address; ip rule; ip -6 rule; ip -4 route show table all | sed 's/linkdown //' | sort
             nft -s -a list ruleset
             ls -A $(ls -d /run/mycontainer/*/ | grep -v /rootless/) /var/lib/mycontainer/containers /var/lib/mycontainer/names 2>/dev/null | grep -v -e '^$' -e : || true",
        )
    }

    /// `mycontainer WORDS...`, to its end.
    pub fn ours(&self, words: &[&str]) -> Output {
        self.command(tool(), words).output().expect("the binary starts")
    }

    /// As [`Host::ours`], and it must end with 0: its standard output.
    #[track_caller]
    pub fn ours_ok(&self, words: &[&str]) -> String {
        let output = self.ours(words);
        assert!(output.status.success(), "{words:?}: {}\n{}{}", output.status, stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// As [`Host::ours`], and it must end with this code: its standard error.
    #[track_caller]
    pub fn ours_fails(&self, expected: i32, words: &[&str]) -> String {
        let output = self.ours(words);
        assert_eq!(code(output.status), expected, "{words:?}: {}{}", stdout(&output), stderr(&output));
        stderr(&output)
    }

    /// `mycontainer run --rm WORDS...`, to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(tool(), &[&["run", "--rm"], words].concat()).output().expect("the binary starts")
    }

    /// As [`Host::run`], and it must end with 0: its standard output.
    pub fn run_ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "run {words:?}: {}\n{}{}", output.status, stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// `run --rm FLAGS... ROOT sh -c SCRIPT` with a busybox root, to its end, which must be 0.
    #[track_caller]
    pub fn busybox_ok(&self, flags: &[&str], script: &str) -> String {
        self.run_ok(&[flags, &[busybox_root().to_str().unwrap(), "sh", "-c", script]].concat())
    }

    /// Starts `run --rm -i FLAGS... ROOT sh -c SCRIPT` with a busybox root; the container first says its id and address.
    /// `read` in the script waits for [`Guest::end`].
    pub fn start(&self, flags: &[&str], script: &str) -> Guest {
        let guest = self.spawn(flags, script).told();
        guest.unwrap_or_else(|said| panic!("{flags:?} {script:?}: {said}"))
    }

    /// As [`Host::start`], without waiting for the container.
    #[track_caller]
    pub fn spawn(&self, flags: &[&str], script: &str) -> Starting {
        let who = "hostname; ip -4 -o addr show dev eth0 2>/dev/null || echo none";
        let script = format!("{{ {who}; }} | tr '\\n' ' '; echo; {script}");
        let words = [&["run", "--rm", "-i"], flags, &[busybox_root().to_str().unwrap(), "sh", "-c", &script]].concat();
        let mut command = self.command(tool(), &words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: what is typed at the test's terminal does not reach it.
        let mut tool = command.process_group(0).spawn().expect("the binary starts");
        let (input, output) = (tool.stdin.take(), BufReader::new(tool.stdout.take().unwrap()));
        Starting(Guest { tool, input, output, id: String::new(), address: String::new() })
    }

    /// Waits until the network is gone, as it is a second or two after the last container.
    pub fn until_idle(&self) {
        let gone = wait_until(10, || self.picture() == self.before && self.processes().is_empty());
        assert!(
            gone,
            "the host is not as it was.\nbefore:\n{}\nnow:\n{}\nprocesses: {:?}",
            self.before,
            self.picture(),
            self.processes()
        );
    }

    /// Processes in this host's network namespace, beside those that the test itself put there.
    fn processes(&self) -> Vec<String> {
        let netns = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let ours = netns(&self.keeper.id().to_string());
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| netns(name) == ours);
        let names = pids.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        names
            .map(|name| name.trim().to_owned())
            // A user's way out is there as long as the namespaces are.
            .filter(|name| (name.starts_with("mc-") || name.starts_with("myc")) && name != "mc-uplink")
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Control groups are this machine's, and only the records in our /run tell of them: swept also after a failure.
        let swept = self.run(&["--network", "none", busybox_root().to_str().unwrap(), "true"]);
        if !std::thread::panicking() {
            assert!(swept.status.success(), "the last run: {}", stderr(&swept));
            self.until_idle();
        }
        if user_of_tool().is_some() {
            // Nobody needs it any more, and five seconds are long.
            let _ = self.try_sh("kill -9 $(cat /run/mycontainer/rootless/holder)");
        }
    }
}

/// A container that is being started.
pub struct Starting(Guest);

impl Starting {
    /// The tool's process id.
    pub fn pid(&self) -> u32 {
        self.0.tool.id()
    }

    /// Waits until the container has said who it is, or for its end: then what became of it.
    pub fn told(mut self) -> Result<Guest, String> {
        let mut line = String::new();
        assert!(has_something(self.0.output.get_ref()), "a container neither runs nor ends");
        self.0.output.read_line(&mut line).map_err(|e| e.to_string())?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first() {
            Some(id) if id.len() == 8 => self.0.id = (*id).to_owned(),
            _ => return Err(format!("{line:?} {:?}", self.0.end())),
        }
        let address = words.iter().find_map(|word| word.strip_suffix("/16"));
        self.0.address = address.unwrap_or_default().to_owned();
        Ok(self.0)
    }
}

/// A container that runs while the test looks at it.
pub struct Guest {
    /// The tool.
    pub tool: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// The first 8 digits of its id.
    pub id: String,
    /// Its IPv4 address, if it has one.
    pub address: String,
}

impl Guest {
    /// Writes a line for the script to read, and reads the line that it answers.
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Ends its input, and does not wait.
    pub fn let_go(&mut self) {
        drop(self.input.take());
    }

    /// Ends its input and waits: exit code, the rest of its output, standard error.
    pub fn end(&mut self) -> (i32, String, String) {
        self.let_go();
        let (mut rest, mut error) = (String::new(), String::new());
        self.output.read_to_string(&mut rest).unwrap();
        if let Some(mut stream) = self.tool.stderr.take() {
            stream.read_to_string(&mut error).unwrap();
        }
        (code(self.tool.wait().unwrap()), rest, error)
    }

    /// As [`Guest::end`], and it must end with 0 and say nothing on standard error.
    pub fn end_ok(&mut self) -> String {
        let (code, rest, error) = self.end();
        assert_eq!((code, error.as_str()), (0, ""), "container {}", self.id);
        rest
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.tool.kill();
        let _ = self.tool.wait();
    }
}

/// Waits, half a minute at most, until something or the end can be read.
fn has_something(stream: &ChildStdout) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: if in_vm() { 300 } else { 30 }, tv_nsec: 0 };
    poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
}

/// The control groups that a container has left, by the first digits of its id.
pub fn control_groups(id: &str) -> Vec<String> {
    static HIERARCHIES: OnceLock<Vec<std::path::PathBuf>> = OnceLock::new();
    let list = || {
        let entries = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_dir() && !path.is_symlink()).chain(["/sys/fs/cgroup".into()]).collect()
    };
    let prefix = format!("mycontainer-{id}");
    let groups = HIERARCHIES.get_or_init(list).iter().flat_map(std::fs::read_dir).flatten().flatten();
    let left = groups.filter(|group| group.file_name().to_string_lossy().starts_with(&prefix));
    left.map(|group| group.path().display().to_string()).collect()
}

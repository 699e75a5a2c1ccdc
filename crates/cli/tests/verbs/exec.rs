//! `exec`: one more program in a container, which has what the container has and no more.

use crate::common::life::Life;
use crate::common::{busybox_root, code, pty, stderr, stdout, wait_until};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use crate::fixtures::peers::Peers;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

const SLEEP: &str = "echo ready; while :; do sleep 0.05; done";

fn image() -> TestImage {
    TestImage::busybox().env("A=image").env("B=image")
}

/// The words of `exec`, as they are typed.
fn words(peers: &Peers, words: &[&str]) -> Vec<String> {
    let command = peers.ours_command(&[&["exec"], words].concat());
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|word| word.to_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn exec(peers: &Peers, words: &[&str]) -> String {
    peers.ours_ok(&[&["exec"], words].concat())
}

fn spawn(peers: &Peers, words: &[&str]) -> Child {
    let mut command = peers.ours_command(&[&["exec"], words].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The program of that name that such a tool runs, as the host sees it.
fn program_of(tool: &Child, name: &str) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", tool.id());
    pty::wait_for("the program to run", || {
        let pid = std::fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok()?;
        let is_it = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end() == name;
        is_it.then_some(pid)
    })
}

#[test]
fn it_runs_in_the_container_and_ends_as_its_program_does() {
    if !has("it_runs_in_the_container_and_ends_as_its_program_does", &[]) {
        return;
    }
    let peers = machine(image());
    let _guest = Guest::start(&peers, "runs", &["-h", "inside"], "./layout", SLEEP);
    assert_eq!(exec(&peers, &["runs", "hostname"]), "inside\n");
    assert_eq!(peers.ours_ok(&["container", "exec", "runs", "echo", "-n", "--tty"]), "--tty");
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        peers.ours_fails(expected, &["exec", "runs", "sh", "-c", script]);
    }
    for (program, expected, said) in [
        ("nothing", 127, "nothing: not found in the container's PATH"),
        ("/bin/nothing", 127, "/bin/nothing: not found"),
        ("/etc/passwd", 126, "cannot execute /etc/passwd"),
        ("/etc", 126, "it is a directory"),
    ] {
        let told = peers.ours_fails(expected, &["exec", "runs", program]);
        assert!(told.contains(said), "{program}: {told}");
    }
    let output = peers.ours(&["exec", "runs", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", "err\n"));
    // What is typed is its own only when it is to be.
    for (flags, expected) in [(&["-i"][..], "typed"), (&[], "")] {
        let mut tool = spawn(&peers, &[flags, &["runs", "cat"]].concat());
        let _ = tool.stdin.take().unwrap().write_all(b"typed");
        let output = tool.wait_with_output().unwrap();
        assert_eq!((stdout(&output).as_str(), stderr(&output).as_str(), code(output.status)), (expected, "", 0));
    }
}

#[test]
fn it_is_where_the_container_is() {
    if !has("it_is_where_the_container_is", &[]) {
        return;
    }
    let peers = machine(image());
    let guest = Guest::start(&peers, "place", &[], "./layout", SLEEP);
    let first = guest.first_process();
    let mut tool = spawn(&peers, &["-i", "place", "cat"]);
    let program = program_of(&tool, "cat");
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let of = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(program), of(first), "{kind}");
    }
    let groups = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(groups(program), groups(first));
    assert!(groups(program).contains("/mycontainer-"), "{}", groups(program));
    // Also what it starts, and from inside it is one of the container's.
    assert!(exec(&peers, &["place", "ps"]).lines().any(|line| line.ends_with(" cat")));
    drop(tool.stdin.take());
    assert_eq!(code(tool.wait().unwrap()), 0);
}

#[test]
fn it_may_what_the_container_may() {
    if !has("it_may_what_the_container_may", &[]) {
        return;
    }
    let peers = machine(image());
    let profile = peers.path("profile.json");
    let forbids = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    std::fs::write(&profile, forbids).unwrap();
    let seccomp = format!("seccomp={}", profile.display());
    let look = "grep -E '^(Uid|Gid|Groups|Cap.*|NoNewPrivs|Seccomp.*):' /proc/$who/status; cat /proc/$who/limits";
    for (n, (flags, shown)) in [
        (&[][..], "Seccomp:\t2"),
        (&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], "CapBnd:\t0000000000001000"),
        (&["--privileged"], "Seccomp:\t0"),
        (&["-u", "ann"], "Uid:\t1000\t1000"),
        (&["--security-opt", "no-new-privileges"], "NoNewPrivs:\t1"),
        (&["--security-opt", "seccomp=unconfined"], "Seccomp:\t0"),
        (&["--security-opt", &seccomp, "--security-opt", "no-new-privileges"], "Seccomp:\t2"),
        (&["--ulimit", "nofile=50:60", "--ulimit", "core=0"], "Max open files            50                   60 "),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("may{n}");
        let _guest = Guest::start(&peers, &name, flags, "./layout", SLEEP);
        if flags.contains(&seccomp.as_str()) {
            // What it was when the container began is what counts.
            std::fs::remove_file(&profile).unwrap();
        }
        let of = |who: &str| exec(&peers, &[&name, "sh", "-c", &look.replace("$who", who)]);
        let (joined, first) = (of("self"), of("1"));
        assert!(joined.lines().count() > 25 && joined.contains(shown), "{joined}");
        assert_eq!(joined, first, "{flags:?}");
        let output = peers.ours(&["exec", &name, "mkdir", "/tmp/made"]);
        let is_filtered = flags.contains(&seccomp.as_str());
        assert_eq!(stderr(&output).contains("No space left"), is_filtered, "{flags:?}: {}", stderr(&output));
    }
    // More only where it is asked for, and then not without the filter.
    let _guest = Guest::start(&peers, "more", &["--cap-drop", "ALL"], "./layout", SLEEP);
    let look = "grep -E '^(CapEff|CapBnd|Seccomp):' /proc/self/status | tr -d '\\t\\n'";
    let none = "CapEff:0000000000000000CapBnd:0000000000000000Seccomp:2";
    assert_eq!(exec(&peers, &["more", "sh", "-c", look]), none);
    let all = exec(&peers, &["--privileged", "more", "sh", "-c", look]);
    // Not every host has them all to give.
    let privileged = peers.ours_run(&["--privileged", "./layout", "sh", "-c", look]);
    assert_eq!(all, privileged.replace("Seccomp:0", "Seccomp:2"));
    assert_ne!(all, none);
    let mounted = peers.ours(&["exec", "--privileged", "-u", "ann", "more", "mount", "-t", "tmpfs", "x", "/tmp"]);
    assert!(!mounted.status.success());
}

#[test]
fn it_has_what_the_container_has_under_what_the_flags_say() {
    if !has("it_has_what_the_container_has_under_what_the_flags_say", &[]) {
        return;
    }
    let peers = machine(image().working_dir("srv"));
    std::fs::write(peers.path("variables"), "# mine\nB=file\nC=file\n").unwrap();
    let flags = ["-u", "ann", "-e", "B=run", "-h", "inside"];
    let _guest = Guest::start(&peers, "has", &flags, "./layout", SLEEP);
    let show = "echo $A $B $C; echo $HOSTNAME $HOME $TERM; pwd";
    for (flags, script, expected) in [
        (&[][..], show, "image run\ninside /home/ann\n/srv"),
        (&["-e", "B=exec", "--env", "A="], show, "exec\ninside /home/ann\n/srv"),
        (&["-e", "C=exec", "--env-file", "variables"], show, "image file exec\ninside /home/ann\n/srv"),
        (&["-e", "HOME=/elsewhere", "-e", "TERM=dumb"], show, "image run\ninside /elsewhere dumb\n/srv"),
        (&["-u", "root", "-w", "/etc"], show, "image run\ninside /root\n/etc"),
        (&[], "id -u; id -g; id -G", "1000\n100\n100 44"),
        (&["--user", "ann"], "id -u; id -g; id -G", "1000\n100\n100 44"),
        (&["-u", "0"], "id -u; id -g; id -G", "0\n0\n0"),
        (&["-u", "7:video"], "id -u; id -g; id -G", "7\n44\n44"),
        (&["-u", "7:8"], "id -u; id -g; id -G", "7\n8\n8"),
        (&["-t"], "echo $TERM; tty", "xterm\r\n/dev/pts/0"),
    ] {
        let printed = exec(&peers, &[flags, &["has", "sh", "-c", script]].concat());
        let lines: Vec<&str> = printed.trim_end().split('\n').map(|line| line.trim_end_matches(' ')).collect();
        assert_eq!(lines.join("\n"), expected, "{flags:?} {script}");
    }
    for (flags, expected) in [
        (&["-u", "nobody"][..], "there is no user \"nobody\" in the container's /etc/passwd"),
        (&["-u", "ann:nobody"], "there is no group \"nobody\""),
        (&["-u", ""], "it names nobody"),
        (&["-w", "/nowhere"], "/nowhere"),
        (&["-w", "relative"], "it must be an absolute path in the container"),
        (&["-e", "=x"], "a variable needs a name"),
        (&["--env-file", "none"], "none"),
        (&["-it"], "not a TTY"),
    ] {
        let said = peers.ours_fails(125, &[&["exec"], flags, &["has", "true"]].concat());
        assert!(said.contains(expected), "{flags:?}: {said}");
    }
}

#[test]
fn nothing_of_the_host_gets_in() {
    if !has("nothing_of_the_host_gets_in", &[]) {
        return;
    }
    let peers = machine(image());
    let _guest = Guest::start(&peers, "hostile", &["--cap-add", "SYS_PTRACE"], "./layout", SLEEP);
    let held = |words: &[&str]| {
        let script = r#"exec 7</ 9</etc/hostname; exec "$@""#;
        peers.run(&[&["sh", "-c", script, "sh", crate::common::tool(), "exec"], words].concat())
    };
    let output = held(&["hostile", "sh", "-c", "echo /proc/self/fd/*"]);
    assert_eq!(stdout(&output).trim(), "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3");
    let output =
        held(&["-d", "hostile", "sh", "-c", "readlink -f /proc/self/fd/[0-9] >/tmp/fds; ls /proc/$$/fd >>/tmp/fds; :"]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let read = || exec(&peers, &["hostile", "sh", "-c", "cat /tmp/fds 2>/dev/null; :"]);
    assert!(wait_until(10, || read().lines().any(|line| line == "2")), "{}", read());
    assert!(
        !read().contains("/etc/hostname") && !read().lines().any(|line| matches!(line, "3" | "7" | "9")),
        "{}",
        read()
    );
    // A directory of the host, by a descriptor of the tool's. (CVE-2024-21626)
    for n in 0..16 {
        let output = held(&["-w", &format!("/proc/self/fd/{n}"), "hostile", "ls"]);
        assert_eq!((code(output.status), stdout(&output).as_str()), (125, ""), "{n}");
        assert!(stderr(&output).contains("as the working directory in the container"), "{}", stderr(&output));
    }
    for path in ["/proc/self/cwd", "/proc/1/root", "/proc/self/task/1/root"] {
        let output = held(&["-w", path, "hostile", "pwd"]);
        assert_eq!(code(output.status), 125, "{path}: {}", stdout(&output));
    }
    // The tool's own binary as the program, and as its interpreter. (CVE-2019-5736)
    let script = "printf '#!/proc/self/exe\\n' >/tmp/script; chmod +x /tmp/script; ln -sf /proc/self/exe /tmp/link";
    exec(&peers, &["hostile", "sh", "-c", script]);
    for program in ["/proc/self/exe", "/tmp/script", "/tmp/link"] {
        let said = peers.ours_fails(126, &["exec", "hostile", program]);
        assert!(said.contains("magic links"), "{program}: {said}");
    }
    // Nor by whoever watches for it in there: it runs from what cannot be written to.
    let mut tool = spawn(&peers, &["-i", "hostile", "cat"]);
    program_of(&tool, "cat");
    let file = rustix::fs::statvfs(format!("/proc/{}/exe", tool.id())).unwrap();
    assert!(file.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    drop(tool.stdin.take());
    assert_eq!(code(tool.wait().unwrap()), 0);
    // Its users are looked up inside its root, whatever their file is.
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let passwd = |script: &str, expected: &str| {
        exec(&peers, &["hostile", "sh", "-c", script]);
        let said = peers.ours_fails(125, &["exec", "-u", "daemon", "hostile", "cat", "/etc/hostname"]);
        assert!(said.contains(expected) && (host.is_empty() || !said.contains(&host)), "{script}: {said}");
    };
    passwd("rm /etc/passwd; mkfifo /etc/passwd", "there is no user");
    passwd("rm /etc/passwd; ln -s ../../../../../../etc/group /etc/passwd", "there is no user");
    passwd("rm /etc/passwd; mkdir /etc/passwd", "there is no user");
    passwd("rmdir /etc/passwd; echo new:x:55:66::/n:/bin/sh >/etc/passwd", "there is no user");
    assert_eq!(exec(&peers, &["-u", "new", "hostile", "sh", "-c", "id -u; id -g; echo $HOME"]), "55\n66\n/n\n");
    passwd("rm /etc/passwd; ln -s /proc/1/root/etc/passwd /etc/passwd", "cannot read the container's /etc/passwd");
}

#[test]
fn a_terminal_is_the_persons() {
    if !has("a_terminal_is_the_persons", &[]) {
        return;
    }
    let peers = machine(image());
    let _guest = Guest::start(&peers, "tty", &[], "./layout", SLEEP);
    let script = "trap 'stty size' WINCH; tty; stty size; read line; echo got $line; read line; exit 5";
    let typed = words(&peers, &["-it", "tty", "sh", "-c", script]);
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    let mut session = pty::Session::of(&typed, (33, 99), "");
    session.expect("/dev/pts/");
    session.expect("33 99");
    assert!(session.is_raw());
    session.send("typed\r");
    session.expect("got typed");
    session.resize(44, 111);
    session.expect("44 111");
    session.send("\r");
    assert_eq!(session.status(), 5);
    assert!(session.is_cooked());
    // Without one its streams are no terminal, though ours are.
    let typed = words(&peers, &["-i", "tty", "sh", "-c", "tty; read line; echo got $line"]);
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    let mut session = pty::Session::of(&typed, (33, 99), "");
    session.expect("not a tty");
    session.send("typed\r");
    session.expect("got typed");
    assert_eq!(session.status(), 0);
}

#[test]
fn left_by_its_keys_it_runs_on() {
    if !has("left_by_its_keys_it_runs_on", &[]) {
        return;
    }
    let peers = machine(image());
    let _guest = Guest::start(&peers, "left", &[], "./layout", SLEEP);
    // More than a terminal's buffer after it was left, which somebody has to read.
    let script = "read line; echo got $line; while [ ! -e /tmp/$0.go ]; do sleep 0.02; done
                  head -c 100000 /dev/zero | tr '\\0' x; tty >/tmp/$0; sleep 1000";
    for (flags, keys, name) in [(&[][..], "\x10\x11", "usual"), (&["--detach-keys", "ctrl-a,x"], "\x01x", "own")] {
        let typed = words(&peers, &[flags, &["-it", "left", "sh", "-c", script, name]].concat());
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let mut session = pty::Session::of(&typed, (24, 80), "");
        // A part of them is the program's own, and so is what stands before them.
        session.send("one\r");
        session.expect("got one");
        session.send(keys);
        assert_eq!(session.status(), 0, "{name}");
        assert!(session.is_cooked());
        exec(&peers, &["left", "touch", &format!("/tmp/{name}.go")]);
        let told = || exec(&peers, &["left", "sh", "-c", &format!("cat /tmp/{name} 2>/dev/null; :")]);
        assert!(wait_until(10, || told().starts_with("/dev/pts/")), "{name}");
        session.hang_up();
    }
    assert!(wait_until(10, || keepers("left") == 2), "one keeps each");
    // Without keys nothing is one.
    let typed =
        words(&peers, &["--detach-keys", "", "-it", "left", "sh", "-c", "stty raw; echo raw; head -c 2 | od -An -tx1"]);
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    let mut session = pty::Session::of(&typed, (24, 80), "");
    session.expect("raw");
    session.send("\x10\x11");
    session.expect("10 11");
    assert_eq!(session.status(), 0);
    for keys in ["ctrl-", "abc", "ctrl-p,"] {
        let said = peers.ours_fails(125, &["exec", "--detach-keys", keys, "-it", "left", "true"]);
        assert!(said.contains("write keys as ctrl-p,ctrl-q"), "{said}");
    }
    peers.ours_ok(&["rm", "-f", "left"]);
    assert!(wait_until(10, || keepers("left") == 0));
}

#[test]
fn a_tool_that_is_killed_at_a_terminal_takes_the_program_with_it() {
    if !has("a_tool_that_is_killed_at_a_terminal_takes_the_program_with_it", &[]) {
        return;
    }
    let peers = machine(image());
    let _guest = Guest::start(&peers, "taken", &[], "./layout", SLEEP);
    let script = "trap 'echo told; exit 9' TERM; echo $$ >/tmp/pid; echo ready; while :; do sleep 0.05; done";
    let typed = words(&peers, &["-it", "taken", "sh", "-c", script]);
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    // A signal goes through to the program.
    let mut session = pty::Session::of(&typed, (24, 80), "");
    session.expect("ready");
    crate::common::kill("TERM", session.tool() as u32);
    session.expect("told");
    assert_eq!(session.status(), 9);
    let mut session = pty::Session::of(&typed, (24, 80), "");
    session.expect("ready");
    crate::common::kill("KILL", session.tool() as u32);
    assert_eq!(session.status(), 137);
    let lives = || exec(&peers, &["taken", "sh", "-c", "kill -0 $(cat /tmp/pid) 2>/dev/null && echo yes; :"]);
    assert!(wait_until(10, || lives().is_empty()));
    assert!(wait_until(10, || session.is_cooked()));
    assert!(wait_until(10, || keepers("taken") == 0));
}

/// How many processes of ours there are for an `exec -it` in a container.
fn keepers(container: &str) -> usize {
    let is_one = |entry: &std::fs::DirEntry| {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        line.starts_with(crate::common::tool()) && line.contains(&format!("-it\0{container}\0sh\0-c\0"))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(is_one).count()
}

#[test]
fn detached_it_runs_on_and_ends_with_the_container() {
    if !has("detached_it_runs_on_and_ends_with_the_container", &[]) {
        return;
    }
    let peers = machine(image());
    let mut guest = Guest::start(&peers, "on", &[], "./layout", SLEEP);
    let beat = "i=0; while :; do i=$((i+1)); echo $i; echo $i >/tmp/$0; sleep 0.05; done";
    let lives = |name: &str| {
        let read = || exec(&peers, &["on", "sh", "-c", &format!("cat /tmp/{name} 2>/dev/null; :")]);
        let before = read();
        wait_until(10, || !read().trim().is_empty() && read() != before)
    };
    for (flags, name) in [(&["-d"][..], "plain"), (&["-d", "-i"], "input"), (&["-dit"], "terminal")] {
        let output = peers.ours(&[&["exec"], flags, &["on", "sh", "-c", beat, name]].concat());
        assert_eq!((stdout(&output).as_str(), stderr(&output).as_str(), code(output.status)), ("", "", 0), "{flags:?}");
        assert!(lives(name) && lives(name), "{flags:?}");
    }
    // More than a terminal's buffer, which somebody has to read.
    let much = "head -c 1000000 /dev/zero | tr '\\0' x; echo done >/tmp/much; sleep 1000";
    exec(&peers, &["-dt", "on", "sh", "-c", much]);
    assert!(wait_until(10, || exec(&peers, &["on", "sh", "-c", "cat /tmp/much; :"]) == "done\n"));
    let told = peers.ours_fails(127, &["exec", "-d", "on", "nothing"]);
    assert!(told.contains("not found"), "{told}");
    let pids = format!("/sys/fs/cgroup/pids/{}", group_of(&guest));
    let processes = || std::fs::read_to_string(format!("{pids}/cgroup.procs")).unwrap_or_default();
    let before = processes();
    peers.ours_ok(&["rm", "-f", "on"]);
    assert_eq!(guest.end(), 137);
    for pid in before.split_whitespace() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
    // And who kept the terminals open.
    let keeper = |entry: &std::fs::DirEntry| {
        let is = std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name == "mc-terminal\n");
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        is && line.contains("\0on\0sh\0-c\0")
    };
    let none = || !std::fs::read_dir("/proc").unwrap().flatten().any(|entry| keeper(&entry));
    assert!(wait_until(10, none));
}

/// A container's control group, by name.
fn group_of(guest: &Guest) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", guest.first_process())).unwrap();
    groups
        .lines()
        .find_map(|line| line.rsplit('/').next().filter(|name| name.starts_with("mycontainer-")))
        .unwrap()
        .into()
}

#[test]
fn signals_are_passed_on_and_it_does_not_outlive_the_tool() {
    if !has("signals_are_passed_on_and_it_does_not_outlive_the_tool", &[]) {
        return;
    }
    let peers = machine(image());
    let _guest = Guest::start(&peers, "told", &[], "./layout", SLEEP);
    let script = "trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    let mut tool = spawn(&peers, &["told", "sh", "-c", script]);
    let mut output = tool.stdout.take().unwrap();
    let mut next = |expected: &str| {
        let mut line = vec![0; expected.len()];
        output.read_exact(&mut line).unwrap();
        assert_eq!(String::from_utf8_lossy(&line), expected);
    };
    let kill = |tool: &Child, signal: &str| {
        let pid = tool.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    };
    next("ready\n");
    kill(&tool, "-USR1");
    next("usr1\n");
    kill(&tool, "-TERM");
    next("term\n");
    assert_eq!(code(tool.wait().unwrap()), 9);
    let mut tool = spawn(&peers, &["told", "sleep", "1000"]);
    let program = program_of(&tool, "sleep");
    kill(&tool, "-KILL");
    let _ = tool.wait();
    let lives = || std::fs::read_to_string(format!("/proc/{program}/comm")).is_ok_and(|name| name == "sleep\n");
    // Nobody may have reaped it as yet.
    let is_dead = || std::fs::read_to_string(format!("/proc/{program}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    assert!(wait_until(10, || !lives() || is_dead()));
}

#[test]
fn only_a_container_that_runs_is_entered() {
    if !has("only_a_container_that_runs_is_entered", &[]) {
        return;
    }
    let peers = machine(image());
    let id = peers.ours_ok(&["create", "--name", "made", "./layout"]).trim().to_owned();
    for words in ["made", &id, &id[..12]] {
        let said = peers.ours_fails(125, &["exec", words, "true"]);
        assert!(said.contains("the container made is not running"), "{said}");
    }
    for words in ["nothing", "", "0123456789ab"] {
        let said = peers.ours_fails(125, &["exec", words, "true"]);
        assert!(said.contains(&format!("there is no container {words:?}")), "{said}");
    }
    for (words, expected) in [(&["exec"][..], "exec needs CONTAINER COMMAND"), (&["exec", "made"], "exec needs")] {
        let said = peers.ours_fails(125, words);
        assert!(said.contains(expected), "{said}");
    }
    let record = std::fs::read(peers.ours_dir().join("containers").join(&id).join("created.json")).unwrap();
    for last in ["1", "2"] {
        let dir = peers.ours_dir().join("containers").join("abc".to_owned() + &"0".repeat(60) + last);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("created.json"), &record).unwrap();
    }
    let said = peers.ours_fails(125, &["exec", "abc00", "true"]);
    assert!(said.contains("\"abc00\" is the beginning of more than one container's id"), "{said}");

    let guest = Guest::start(&peers, "paused", &[], "./layout", SLEEP);
    let group = group_of(&guest);
    let v1 = format!("/sys/fs/cgroup/freezer/{group}/freezer.state");
    let (file, [freeze, thaw]) = match std::path::Path::new(&v1).exists() {
        true => (v1, ["FROZEN", "THAWED"]),
        false => (format!("/sys/fs/cgroup/{group}/cgroup.freeze"), ["1", "0"]),
    };
    std::fs::write(&file, freeze).unwrap();
    let mut tool = spawn(&peers, &["paused", "true"]);
    let ended = wait_until(20, || tool.try_wait().unwrap().is_some());
    std::fs::write(&file, thaw).unwrap();
    let output = tool.wait_with_output().unwrap();
    assert!(ended && code(output.status) == 125, "{output:?}");
    assert!(stderr(&output).contains("the container paused is paused"), "{output:?}");
    exec(&peers, &["paused", "true"]);

    // Of one whose record does not say what it may, nothing is assumed.
    let records = peers.path("state/run/mycontainer/containers");
    let running = std::fs::read_dir(&records).unwrap().flatten().next().unwrap().path();
    let text = std::fs::read_to_string(&running).unwrap();
    assert!(text.contains(r#","confines":{}"#), "{text}");
    std::fs::write(&running, text.replace(r#","confines":{}"#, "")).unwrap();
    let said = peers.ours_fails(125, &["exec", "paused", "true"]);
    assert!(said.contains("was started by another release"), "{said}");
}

#[test]
fn one_that_is_being_made_is_entered_when_it_is_whole_or_not_at_all() {
    if !has("one_that_is_being_made_is_entered_when_it_is_whole_or_not_at_all", &[]) {
        return;
    }
    let peers = machine(image());
    peers.ours_run(&["./layout", "true"]);
    let mut early = 0;
    // Many mounts: so it is at work for a while when its first process is there.
    let places: Vec<String> = (0..600).map(|n| format!("/many/{n}")).collect();
    let places: Vec<&str> = places.iter().flat_map(|place| ["--tmpfs", place]).collect();
    for round in 0..4 {
        let name = format!("round{round}");
        let start =
            [&["run", "--rm", "--network", "none", "--name", &name, "-h", "inside"], &places[..], &["./layout"]]
                .concat();
        let mut tool =
            peers.ours_command(&[&start[..], &["sleep", "1000"]].concat()).stdout(Stdio::null()).spawn().unwrap();
        loop {
            let output = peers.ours(&["exec", &name, "sh", "-c", "hostname; ls -d /many/599; cat /proc/1/comm"]);
            if output.status.success() || !stdout(&output).is_empty() {
                assert_eq!(stdout(&output), "inside\n/many/599\nsleep\n", "{}", stderr(&output));
                break;
            }
            let said = stderr(&output);
            early += u32::from(said.contains("it is starting or ending"));
            assert!(said.contains("there is no container") || said.contains("it is starting or ending"), "{said}");
        }
        peers.ours_ok(&["rm", "-f", &name]);
        let _ = tool.wait();
    }
    assert!(early > 0, "none came too early");
}

/// Root in a container can open anew what its standard streams are; a file of the host's must not be among that.
#[test]
fn a_file_behind_a_stream_is_out_of_reach() {
    let Some(life) = Life::new("a_file_behind_a_stream_is_out_of_reach") else { return };
    life.detached(&["--name", "one"], "exec sleep 1000");
    let root = busybox_root().to_str().unwrap();
    let run = ["run", "--rm", "-i", "--network", "none", root];
    let dir = std::env::temp_dir().join(format!("mctest-streams-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name);
    for before in [&["exec", "-i", "one"][..], &run] {
        let with = |script: &str, stdin: &str, stdout: &str, stderr: &str| {
            let file = |name: &str| std::fs::OpenOptions::new().append(true).create(true).open(path(name)).unwrap();
            let mut command = life.command(&[before, &["sh", "-c", script][..]].concat());
            command.stdin(std::fs::File::open(path(stdin)).unwrap()).stdout(file(stdout)).stderr(file(stderr));
            assert_eq!(code(command.status().unwrap()), 0, "{script}");
        };
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        std::fs::write(path("in"), "typed\n").unwrap();
        std::fs::write(path("err"), "of before\n").unwrap();
        let _ = std::fs::remove_file(path("out"));
        // What is opened anew is a pipe, at which a reader waits for ever.
        let script =
            "read line; echo got $line; echo changed >/proc/self/fd/0; timeout 0.2 head -c 3 /proc/self/fd/2; :";
        with(script, "in", "out", "err");
        assert_eq!((read("in"), read("out")), ("typed\n".into(), "got typed\n".into()), "{before:?}");
        assert!(read("err").starts_with("of before\n"), "{before:?}");
        // In one file the order is that in which they were written.
        std::fs::remove_file(path("out")).unwrap();
        with("for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done", "in", "out", "out");
        let both: String = (1..=5).map(|n| format!("out {n}\nerr {n}\n")).collect();
        assert_eq!(read("out"), both, "{before:?}");
    }
    let _ = std::fs::remove_dir_all(dir);
}

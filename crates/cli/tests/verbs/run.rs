//! `mycontainer run`: what a person sees of it. Exit codes, streams, environment, names, roots, signals.
//!
//! What the container itself sees is in `inside.rs`, limits are in `limits.rs`, wrong use in `wrong_use.rs`, the
//! network and the terminal in files of their own. Everything here runs without a network, to be quick.

use crate::common::{
    Clean, Running, Scratch, busybox_root, can_run, host_ok, in_private_mounts, run, run_ok, sh, sh_ok, stderr, stdout,
    tool, unique, wait_until,
};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

// --- exit codes ----------------------------------------------------------------------------------------------------

#[test]
fn the_exit_code_is_the_programs() {
    if !can_run("the_exit_code_is_the_programs") {
        return;
    }
    let _clean = Clean::watch();
    for expected in [0, 1, 3, 77, 124, 125, 126, 127, 128, 200, 255] {
        let output = sh(&[], &format!("exit {expected}"));
        assert_eq!(output.status.code(), Some(expected));
        assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()), "nothing of ours beside it");
    }
}

#[test]
fn a_program_that_cannot_be_run_gives_126_and_one_that_is_not_there_127() {
    if !can_run("a_program_that_cannot_be_run_gives_126_and_one_that_is_not_there_127") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("programs");
    scratch.file("plain", "#!/bin/sh\n", 0o644);
    scratch.file("noformat", "\x7f\x01\x02 no program at all\n", 0o755);
    scratch.file("lost", "#!/no/such/interpreter\n", 0o755);
    fs::create_dir(scratch.0.join("directory")).unwrap();
    symlink("/proc/self/exe", scratch.0.join("magic")).unwrap();
    let volume = format!("{}:/x:ro", scratch.0.display());
    let cases: &[(&str, i32)] = &[
        ("/x/plain", 126),
        ("/x/noformat", 126),
        ("/x/lost", 126),
        ("/x/directory", 126),
        ("/x/magic", 126),
        ("/dev/null", 126),
        ("/proc/self/exe", 126),
        ("/x/missing", 127),
        ("/x/plain/below", 127),
        ("missing", 127),
        ("x/missing", 127),
        ("", 127),
    ];
    for init in [false, true] {
        for (program, expected) in cases {
            // A development build of the tool is linked dynamically: its init needs the host's libraries.
            let root = if init { "host" } else { busybox_root().to_str().unwrap() };
            let flags: &[&str] = if init { &["--init", "-v", &volume] } else { &["-v", &volume] };
            let output = run(&[&["--network", "none"], flags, &[root, *program]].concat());
            assert_eq!(output.status.code(), Some(*expected), "{program:?}, init {init}: {}", stderr(&output));
            assert!(stderr(&output).starts_with("mycontainer"), "{program:?}: {}", stderr(&output));
            assert!(stderr(&output).contains(program), "{program:?} is named: {}", stderr(&output));
        }
    }
}

#[test]
fn a_death_by_signal_gives_128_and_its_number() {
    if !can_run("a_death_by_signal_gives_128_and_its_number") {
        return;
    }
    let _clean = Clean::watch();
    // Killed from outside. PID 1 of a pid namespace ignores from inside what it does not handle.
    let mut container = Running::start(&[], "echo ready; sleep 100 & wait");
    crate::common::kill("KILL", container.first_process());
    let (code, _, error) = container.end();
    assert_eq!((code, error.as_str()), (137, ""));
    // A fault of its own kills PID 1, too.
    let crash = "perl -e 'unpack \"p\", pack \"J\", 8'";
    let output = run(&["--network", "none", "--ulimit", "core=0", "host", "sh", "-c", &format!("exec {crash}")]);
    assert_eq!(output.status.code(), Some(139), "{}", stderr(&output));
    let output = sh(&[], "sh -c 'kill -9 $$'; exit $?");
    assert_eq!(output.status.code(), Some(137));
}

// --- streams -------------------------------------------------------------------------------------------------------

/// `run WORDS` with `input` as its standard input.
fn run_with_input(words: &[&str], input: impl Into<Stdio>) -> Output {
    Command::new(tool()).args(["run", "--rm"]).args(words).stdin(input).output().unwrap()
}

#[test]
fn without_i_standard_input_is_empty_and_left_alone() {
    if !can_run("without_i_standard_input_is_empty_and_left_alone") {
        return;
    }
    let _clean = Clean::watch();
    let root = busybox_root().to_str().unwrap();
    let script = r#"printf 'one\ntwo\n' | { "$0" run --rm --network none "$1" cat; cat; }"#;
    let output = Command::new("sh").args(["-c", script, tool(), root]).output().unwrap();
    assert_eq!(stdout(&output), "one\ntwo\n", "it was left for the next reader: {}", stderr(&output));
    assert_eq!(sh_ok(&[], "cat; readlink /proc/self/fd/0"), "/dev/null\n");
    // A script whose standard input is closed.
    let script = r#"exec "$0" run --rm --network none -i "$1" sh -c 'cat; echo done' <&-"#;
    let output = Command::new("sh").args(["-c", script, tool(), root]).output().unwrap();
    assert_eq!(stdout(&output), "done\n", "{}", stderr(&output));
}

/// Sends `blocks` MiB that differ from each other through `run -i ROOT COMMAND` and compares what comes back.
fn round_trip(root: &str, command: &[&str], blocks: u64) {
    let block = || {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut block = Vec::with_capacity(1 << 20);
        while block.len() < 1 << 20 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            block.extend_from_slice(&seed.to_le_bytes());
        }
        block
    };
    let mut child = Command::new(tool())
        .args(["run", "--rm", "--network", "none", "-i", root])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let mut block = block();
        for number in 0..blocks {
            block[..8].copy_from_slice(&number.to_le_bytes());
            input.write_all(&block).unwrap();
        }
    });
    let mut output = child.stdout.take().unwrap();
    let (mut expected, mut got) = (block(), vec![0; 1 << 20]);
    for number in 0..blocks {
        expected[..8].copy_from_slice(&number.to_le_bytes());
        output.read_exact(&mut got).unwrap_or_else(|e| panic!("it ends in MiB {number}: {e}"));
        assert!(expected == got, "MiB {number} is not what was sent");
    }
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0, "more came than was sent");
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_pipe_goes_through_byte_for_byte() {
    if !can_run("a_pipe_goes_through_byte_for_byte") {
        return;
    }
    let _clean = Clean::watch();
    round_trip(busybox_root().to_str().unwrap(), &["cat"], 64);
    round_trip(busybox_root().to_str().unwrap(), &["sh", "-c", "cat | cat"], 16);
}

#[test]
fn a_gibibyte_goes_through_cat_on_host() {
    if !can_run("a_gibibyte_goes_through_cat_on_host") {
        return;
    }
    let _clean = Clean::watch();
    round_trip("host", &["cat"], if crate::common::in_vm() { 64 } else { 1024 });
}

#[test]
fn files_as_streams_are_handed_over() {
    if !can_run("files_as_streams_are_handed_over") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("streams");
    let input = scratch.file("in", "from a file\n", 0o600);
    let output = scratch.path("out");
    let status = Command::new(tool())
        .args([
            "run",
            "--rm",
            "--network",
            "none",
            "-i",
            busybox_root().to_str().unwrap(),
            "sh",
            "-c",
            "cat; echo err >&2",
        ])
        .stdin(File::open(input).unwrap())
        .stdout(File::create(&output).unwrap())
        .stderr(File::create(scratch.path("err")).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(output).unwrap(), "from a file\n");
    assert_eq!(fs::read_to_string(scratch.path("err")).unwrap(), "err\n");
}

#[test]
fn output_and_errors_stay_apart_and_whole() {
    if !can_run("output_and_errors_stay_apart_and_whole") {
        return;
    }
    let _clean = Clean::watch();
    let output = sh(&[], "echo to-out; echo to-err >&2; exit 4");
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("to-out\n", "to-err\n"));
    // Much, and then a sudden end.
    let output = sh(&[], "head -c 20000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2; kill -9 $$; exit 5");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!((output.stdout.len(), output.stderr.len()), (20_000_000, 3_000_000));
    assert!(output.stdout.iter().all(|byte| *byte == b'x'));
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    if !can_run("a_reader_that_goes_away_ends_it") {
        return;
    }
    let _clean = Clean::watch();
    let script = r#"timeout 20 "$0" run --rm --network none "$1" yes 2>/dev/null | head -n 2; echo end"#;
    let root = busybox_root().to_str().unwrap();
    let output = Command::new("sh").args(["-c", script, tool(), root]).output().unwrap();
    assert_eq!(stdout(&output), "y\ny\nend\n");
}

#[test]
fn a_directory_as_a_stream_is_refused() {
    if !can_run("a_directory_as_a_stream_is_refused") {
        return;
    }
    let _clean = Clean::watch();
    let root = busybox_root().to_str().unwrap();
    let output = run_with_input(&["--network", "none", "-i", root, "true"], File::open("/").unwrap());
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("standard input is a directory"), "{}", stderr(&output));
    let mut command = Command::new(tool());
    command.args(["run", "--rm", "--network", "none", root, "true"]).stdout(File::open("/").unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("standard output is a directory"), "{}", stderr(&output));
    // One that is not connected does no harm.
    let output = run_with_input(&["--network", "none", root, "true"], File::open("/").unwrap());
    assert!(output.status.success(), "{}", stderr(&output));
}

// --- the process ---------------------------------------------------------------------------------------------------

/// The environment of a container: sorted lines.
fn environment(flags: &[&str], own: &[(&str, &str)]) -> Vec<String> {
    let root = busybox_root().to_str().unwrap();
    let mut command = Command::new(tool());
    command.args(["run", "--rm", "--network", "none", "--hostname", "box"]).args(flags).args([
        root,
        "cat",
        "/proc/self/environ",
    ]);
    let output = command.envs(own.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{flags:?}: {}", stderr(&output));
    let mut lines: Vec<String> = stdout(&output).split_terminator('\0').map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn the_environment_is_the_flags_alone() {
    if !can_run("the_environment_is_the_flags_alone") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("env");
    let file = scratch.file(
        "env",
        "# a comment\n\nFILE=from file\nSPACE=  kept \nOWN_A\nUNSET_HERE\nQ=\"kept\"\n  IN=1\n",
        0o644,
    );
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let own = [("OWN_A", "a of mine"), ("SECRET", "x")];
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["HOME=/root", "HOSTNAME=box", path]),
        (&["-e", "A=1", "--env=B=x=y", "-e", "E="], &["A=1", "B=x=y", "E=", "HOME=/root", "HOSTNAME=box", path]),
        (&["-e", "OWN_A", "-e", "UNSET_HERE"], &["HOME=/root", "HOSTNAME=box", "OWN_A=a of mine", path]),
        (
            &["-e", "A=1", "-e", "A=2", "-e", "HOME=/x", "-e", "PATH=/bin"],
            &["A=2", "HOME=/x", "HOSTNAME=box", "PATH=/bin"],
        ),
        (
            &["--env-file", &file],
            &[
                "FILE=from file",
                "HOME=/root",
                "HOSTNAME=box",
                "IN=1",
                "OWN_A=a of mine",
                path,
                "Q=\"kept\"",
                "SPACE=  kept ",
            ],
        ),
    ];
    for (flags, expected) in cases {
        assert_eq!(environment(flags, &own), *expected, "{flags:?}");
    }
    // A flag wins over a file, wherever it stands.
    for flags in [["--env-file", &file, "-e", "FILE=flag"], ["-e", "FILE=flag", "--env-file", &file]] {
        assert!(environment(&flags, &own).contains(&"FILE=flag".to_owned()), "{flags:?}");
    }
}

#[test]
fn the_working_directory_is_made_when_it_is_missing() {
    if !can_run("the_working_directory_is_made_when_it_is_missing") {
        return;
    }
    let _clean = Clean::watch();
    for flags in [&["-w", "/made/for/this"][..], &["--workdir=/tmp"], &["-w", "/etc/../home/./x"]] {
        let output =
            run(&[&["--network", "none", "--ephemeral"], flags, &[busybox_root().to_str().unwrap(), "pwd"]].concat());
        let last = flags.last().unwrap().trim_start_matches("--workdir=");
        let expected = if last.contains("..") { "/home/x" } else { last };
        assert_eq!(stdout(&output), format!("{expected}\n"), "{}", stderr(&output));
    }
    assert!(!busybox_root().join("made").exists());
    let output = sh(&["-w", "/etc/passwd"], "pwd");
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("/etc/passwd"), "{}", stderr(&output));
    assert_eq!(sh_ok(&[], "pwd"), "/\n");
}

#[test]
fn users_are_looked_up_in_the_container() {
    if !can_run("users_are_looked_up_in_the_container") {
        return;
    }
    let _clean = Clean::watch();
    let ask =
        "echo $(id -u):$(id -g) $(id -G) $HOME; grep -E '^(CapEff|CapPrm|CapAmb)' /proc/self/status | tr -d '\\n\\t'";
    let none = "CapPrm:0000000000000000CapEff:0000000000000000CapAmb:0000000000000000";
    let cases: &[(&str, &str)] = &[
        ("ann", "1000:100 100 44 /home/ann"),
        ("1000", "1000:100 100 44 /home/ann"),
        ("ann:video", "1000:44 44 /home/ann"),
        ("ann:7", "1000:7 7 /home/ann"),
        ("4242", "4242:0 0 /"),
        ("4242:4343", "4242:4343 4343 /"),
    ];
    for (user, expected) in cases {
        assert_eq!(sh_ok(&["-u", user], ask), format!("{expected}\n{none}"), "{user}");
    }
    for user in ["root", "0", "0:0"] {
        assert!(sh_ok(&["--user", user], ask).starts_with("0:0 0 /root\nCapPrm:00000000a80425fb"), "{user}");
    }
    assert_eq!(sh_ok(&["-u", "ann", "--tmpfs", "/t"], "echo x > /t/y; cat /t/y"), "x\n");
}

#[test]
fn a_user_can_open_its_streams() {
    assert_eq!(sh_ok(&["-u", "ann"], "echo out > /dev/stdout"), "out\n");
}

#[test]
fn the_entrypoint_replaces_the_program() {
    if !can_run("the_entrypoint_replaces_the_program") {
        return;
    }
    let _clean = Clean::watch();
    let root = busybox_root().to_str().unwrap();
    assert_eq!(run_ok(&["--network", "none", "--entrypoint", "echo", root, "a", "b  c"]), "a b  c\n");
    assert_eq!(run_ok(&["--network", "none", "--entrypoint", "/bin/pwd", root]), "/\n");
    assert_eq!(run_ok(&["--network", "none", "--entrypoint", "", root, "echo", "x"]), "x\n");
    assert_eq!(run_ok(&["--network", "none", root, "echo", "--rm", "-i", "--", "x"]), "--rm -i -- x\n");
}

#[test]
fn without_a_command_the_shell_runs() {
    if !can_run("without_a_command_the_shell_runs") {
        return;
    }
    let _clean = Clean::watch();
    let root = busybox_root().to_str().unwrap();
    for (root, expected) in [(root, "sh"), ("host", "bash")] {
        let mut command = Command::new(tool());
        let mut child = command
            .args(["run", "--rm", "--network", "none", "-i", root])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"cat /proc/1/comm; exit 9\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((stdout(&output).trim(), output.status.code()), (expected, Some(9)));
    }
}

#[test]
fn init_reaps_orphans_and_passes_exit_codes_and_signals_on() {
    if !can_run("init_reaps_orphans_and_passes_exit_codes_and_signals_on") {
        return;
    }
    let _clean = Clean::watch();
    // A development build of the tool is linked dynamically: its init needs the host's libraries, hence `host`.
    let init = |script: &str| run(&["--network", "none", "--init", "host", "sh", "-c", script]);
    assert!(stdout(&init("cat /proc/1/cmdline; echo; echo $$")).starts_with("mycontainer-init\0"));
    assert_eq!(stdout(&init("echo $$")), "2\n");
    for expected in [0, 5, 255] {
        assert_eq!(init(&format!("exit {expected}")).status.code(), Some(expected));
    }
    assert_eq!(init("kill -9 $$").status.code(), Some(137));
    // Twenty orphans: none is left as a zombie. Where PID 1 does not reap, all are: the test can tell.
    let orphans =
        "for n in $(seq 20); do sh -c 'sleep 0.05 &'; done; sleep 0.5; cat /proc/[0-9]*/stat | grep -c ') Z 1 '";
    assert_eq!(stdout(&init(orphans)), "0\n");
    let without = run(&["--network", "none", "host", "perl", "-e", &format!("system(q{{{orphans}}})")]);
    assert_eq!(stdout(&without), "20\n");
    let mut container = Running::start_in(
        "host",
        &["--init"],
        "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
    );
    container.signal("TERM");
    assert_eq!(container.end(), (7, "got\n".into(), String::new()));
    // As PID 1 it would ignore this.
    let mut container = Running::start_in("host", &["--init"], "echo ready; exec sleep 100");
    container.signal("TERM");
    assert_eq!(container.end().0, 143);
}

// --- names and records ---------------------------------------------------------------------------------------------

#[test]
fn a_name_is_one_containers_while_it_lives() {
    if !can_run("a_name_is_one_containers_while_it_lives") {
        return;
    }
    let _clean = Clean::watch();
    let mut first = Running::start(&["-i"], "echo ready; read x");
    let output = sh(&["--name", &first.name], "true");
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains(&first.name) && stderr(&output).contains(&first.id()[..8]), "{}", stderr(&output));
    assert_eq!(first.end().0, 1, "end of input; the refused one has not disturbed it");
    // Free again.
    assert_eq!(sh_ok(&["--name", &first.name], "echo mine"), "mine\n");
    assert!(!Path::new("/var/lib/mycontainer/names").join(&first.name).exists());
}

#[test]
fn a_name_is_free_after_its_tool_was_killed() {
    if !can_run("a_name_is_free_after_its_tool_was_killed") {
        return;
    }
    let _clean = Clean::watch();
    let mut first = Running::start(&[], "echo ready; sleep 1000 & sleep 1000");
    let pid = first.first_process();
    first.signal("KILL");
    assert_eq!(first.end().0, 137);
    assert!(wait_until(3, || !Path::new(&format!("/proc/{pid}/root/bin")).exists()), "the container outlives its tool");
    // Another test's tool may be clearing it away at this very moment, and then holds its record.
    let mut output = sh(&["--name", &first.name], "echo mine");
    let is_free = wait_until(3, || {
        let is_free = output.status.success();
        if !is_free {
            output = sh(&["--name", &first.name], "echo mine");
        }
        is_free
    });
    assert!(is_free && stdout(&output) == "mine\n", "{}", stderr(&output));
}

#[test]
fn the_record_tells_what_was_asked_for() {
    if !can_run("the_record_tells_what_was_asked_for") {
        return;
    }
    let _clean = Clean::watch();
    let mut container =
        Running::start(&["-i", "--label", "app=web", "-l", "bare", "--label", "a=b=c"], "echo ready; read x");
    let record = container.record();
    assert!(record.contains(r#""labels":{"a":"b=c","app":"web","bare":""}"#), "{record}");
    for part in
        [container.id().as_str(), &container.name, busybox_root().to_str().unwrap(), &container.tool.id().to_string()]
    {
        assert!(record.contains(part), "{part}: {record}");
    }
    let mode = fs::metadata("/run/mycontainer").unwrap().mode() & 0o777;
    assert_eq!(mode, 0o700, "others need not know who runs what");
    container.end();
}

#[test]
fn the_host_name_is_the_ids_first_digits_or_what_was_asked_for() {
    if !can_run("the_host_name_is_the_ids_first_digits_or_what_was_asked_for") {
        return;
    }
    let _clean = Clean::watch();
    let mut container = Running::start(&["-i"], "echo ready; hostname; cat /etc/hostname; echo $HOSTNAME; read x");
    let id = container.id();
    assert!(id.len() == 64 && id.bytes().all(|b| b"0123456789abcdef".contains(&b)), "{id}");
    assert_eq!(container.end().1, format!("{0}\n{0}\n{0}\n", &id[..8]));
    let ask = "hostname; cat /etc/hostname; echo $HOSTNAME";
    assert_eq!(sh_ok(&["--hostname", "web-1.example"], ask), "web-1.example\n".repeat(3));
    assert_eq!(sh_ok(&["-h", "web"], ask), "web\n".repeat(3));
}

// --- roots ---------------------------------------------------------------------------------------------------------

/// Every path below a directory with what could change of it.
fn listing(root: &Path) -> Vec<String> {
    let output = Command::new("find").arg(root).args(["-printf", "%P %y %m %U %G %s %T@ %l\n"]).output().unwrap();
    let mut lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_directory_is_used_in_place() {
    if !can_run("a_directory_is_used_in_place") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("inplace");
    crate::common::make_busybox_root(&scratch.0);
    let root = scratch.0.to_str().unwrap();
    run_ok(&[
        "--network",
        "none",
        root,
        "sh",
        "-c",
        "echo new > /made; mkdir /dir; rm /etc/group; ln -s a /dir/link; umask",
    ]);
    assert_eq!(fs::read_to_string(scratch.0.join("made")).unwrap(), "new\n");
    assert_eq!(fs::read_link(scratch.0.join("dir/link")).unwrap(), Path::new("a"));
    assert!(!scratch.0.join("etc/group").exists());
    assert_eq!(fs::metadata(scratch.0.join("made")).unwrap().mode() & 0o777, 0o644, "the usual umask");
    // Relative, with a trailing slash, and through a symlink.
    symlink(&scratch.0, scratch.0.join("self")).unwrap();
    for words in [["./self", "true"], ["./", "true"], [".", "true"]] {
        let mut command = Command::new(tool());
        let output =
            command.args(["run", "--rm", "--network", "none"]).args(words).current_dir(&scratch.0).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    }
    // What was mounted for the container has not stayed: /proc, /dev and the rest are empty on the host.
    for dir in ["proc", "sys", "dev"] {
        assert_eq!(fs::read_dir(scratch.0.join(dir)).unwrap().count(), 0, "{dir}");
    }
}

#[test]
fn an_ephemeral_run_leaves_the_directory_as_it_was() {
    if !can_run("an_ephemeral_run_leaves_the_directory_as_it_was") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("ephemeral");
    crate::common::make_busybox_root(&scratch.0);
    let before = listing(&scratch.0);
    let script = "echo new > /made; rm -r /home; echo x >> /etc/passwd; chmod 777 /etc; mv /var /rav; cat /made";
    let words =
        ["--network", "none", "--ephemeral", "-w", "/not/there", scratch.0.to_str().unwrap(), "sh", "-c", script];
    assert_eq!(run_ok(&words), "new\n");
    assert_eq!(listing(&scratch.0), before);
}

#[test]
fn a_read_only_root_cannot_be_written() {
    if !can_run("a_read_only_root_cannot_be_written") {
        return;
    }
    let _clean = Clean::watch();
    let script = "touch /x 2>&1; touch /etc/passwd 2>&1; rm /etc/passwd 2>&1; mkdir /etc/y 2>&1; \
                  echo x > /dev/shm/x && echo y > /t/y && cat /dev/shm/x /t/y; true";
    for root in [busybox_root().to_str().unwrap(), "host"] {
        let output = run_ok(&["--network", "none", "--read-only", "--tmpfs", "/t", root, "sh", "-c", script]);
        assert_eq!(output.matches("ead-only file system").count(), 4, "{root}: {output}");
        assert!(output.ends_with("x\ny\n"), "{root}: {output}");
    }
}

/// Runs the tool with a data directory of the test's own, so that what it keeps can be counted.
fn with_data(data: &Scratch, words: &[&str]) -> Output {
    let script = r#"mount --bind "$1" /var/lib/mycontainer; shift; exec "$0" run --rm --network none "$@""#;
    let _ = fs::create_dir_all("/var/lib/mycontainer");
    in_private_mounts(script, &[&[data.0.to_str().unwrap()], words].concat())
}

fn kept_roots(data: &Scratch) -> Vec<String> {
    let entries =
        fs::read_dir(data.0.join("roots")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name != "index").collect()
}

#[test]
fn an_archive_is_unpacked_once_whatever_it_is_called() {
    if !can_run("an_archive_is_unpacked_once_whatever_it_is_called") {
        return;
    }
    let _clean = Clean::watch();
    let scratch = Scratch::new("archives");
    let archive = |name: &str, filter: &[&str]| {
        let mut command = Command::new("tar");
        let made = command
            .arg("-C")
            .arg(busybox_root())
            .args(filter)
            .args(["-cf", &scratch.path(name), "."])
            .status()
            .unwrap();
        assert!(made.success(), "tar {filter:?}");
        scratch.path(name)
    };
    let archives = [archive("plain.zst", &[]), archive("gzip.tar", &["-z"]), archive("zstd", &["--zstd"])];
    for path in archives {
        let data = Scratch::new("data");
        let write = "echo from-inside > /etc/passwd; rm /bin/vi; echo x > /new; cat /new";
        let output = with_data(&data, &[&path, "sh", "-c", write]);
        assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("x\n", ""), "{path}");
        let [kept] = &kept_roots(&data)[..] else { panic!("{path}: {:?}", kept_roots(&data)) };
        assert!(kept.starts_with("sha256-"), "{kept}");
        let before = listing(&data.0.join("roots").join(kept));
        assert!(before.len() > 100, "{before:?}");
        // Again: nothing is unpacked, and what the first one wrote is not there.
        let output = with_data(&data, &["--explain=json", &path, "sh", "-c", "cat /etc/passwd /new; ls /bin/vi"]);
        assert!(
            stdout(&output).contains("ann:x:1000") && stdout(&output).ends_with("/bin/vi\n"),
            "{}",
            stdout(&output)
        );
        assert!(
            stderr(&output).contains("find-archive") && !stderr(&output).contains("unpack-archive"),
            "{}",
            stderr(&output)
        );
        assert!(!stderr(&output).contains("hash-archive"), "not even read: {}", stderr(&output));
        // A copy under another name is the same archive.
        fs::copy(&path, scratch.path("copy")).unwrap();
        let output = with_data(&data, &[&scratch.path("copy"), "true"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(kept_roots(&data), [kept.as_str()]);
        assert_eq!(listing(&data.0.join("roots").join(kept)), before);
        assert_eq!(fs::read_dir(data.0.join("containers")).unwrap().count(), 0, "no layer is left");
    }
}

#[test]
fn what_is_written_to_the_host_root_goes_with_the_container() {
    if !can_run("what_is_written_to_the_host_root_goes_with_the_container") {
        return;
    }
    let _clean = Clean::watch();
    let name = unique("written");
    let before = fs::read("/etc/passwd").unwrap();
    let script = format!(
        "echo x > /{name} && echo y >> /etc/passwd && tail -n 1 /etc/passwd && rm -r /usr/share && cat /{name}; ls /usr/share"
    );
    let output = run(&["--network", "none", "host", "sh", "-c", &script]);
    assert_eq!(stdout(&output), "y\nx\n", "{}", stderr(&output));
    assert!(!Path::new(&format!("/{name}")).exists());
    assert_eq!(fs::read("/etc/passwd").unwrap(), before);
    assert!(Path::new("/usr/share/doc").exists() || Path::new("/usr/share").exists());
    assert_eq!(host_ok(&[], &format!("ls /{name} 2>&1; true")).matches("No such file").count(), 1);
}

// --- the secrets of the host ---------------------------------------------------------------------------------------

#[test]
fn every_hidden_path_of_the_host_is_empty_in_its_view() {
    if !can_run("every_hidden_path_of_the_host_is_empty_in_its_view") {
        return;
    }
    let _clean = Clean::watch();
    // Through symlinks, too: /var/run and the like lead to the same places.
    let there: Vec<&str> = engine::HIDDEN.iter().copied().filter(|path| Path::new(path).exists()).collect();
    assert!(there.len() > 5, "this host has some of them: {there:?}");
    let script = r#"for path do
        if [ -d "$path" ]; then echo "$path $(ls -A "$path" | wc -l) $(touch "$path/x" 2>/dev/null && echo writable)"
        else echo "$path $(cat "$path" 2>/dev/null | wc -c) "; fi; done"#;
    let output = run_ok(&[&["--network", "none", "host", "sh", "-c", script, "sh"], &there[..]].concat());
    let expected: Vec<String> = there.iter().map(|path| format!("{path} 0 ")).collect();
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn homes_and_temporary_directories_are_the_containers_own() {
    if !can_run("homes_and_temporary_directories_are_the_containers_own") {
        return;
    }
    let _clean = Clean::watch();
    let paths: Vec<&str> = engine::EMPTIED.iter().map(|(path, _)| *path).collect();
    let script = r#"for path do echo "$path $(stat -c %a "$path") $(ls -A "$path" | wc -l)"; touch "$path/x"; done"#;
    let output = run_ok(&[&["--network", "none", "host", "sh", "-c", script, "sh"], &paths[..]].concat());
    let expected: Vec<String> = engine::EMPTIED.iter().map(|(path, mode)| format!("{path} {mode} 0")).collect();
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    for path in paths {
        assert!(!Path::new(path).join("x").exists(), "{path}/x came out");
    }
    // The issue's own words, once more and by name.
    let output = host_ok(
        &[],
        "ls -A /run /var/run/ /root/.ssh /home /var/lib/mycontainer /run/mycontainer 2>/dev/null | grep -v :; true",
    );
    assert_eq!(output.trim(), "");
}

#[test]
fn no_password_hash_and_no_process_of_the_host_is_seen() {
    if !can_run("no_password_hash_and_no_process_of_the_host_is_seen") {
        return;
    }
    let _clean = Clean::watch();
    let output = host_ok(&[], "cut -d: -f2 /etc/shadow /etc/gshadow | sort -u; stat -c '%a %u %g' /etc/shadow");
    let stat = fs::metadata("/etc/shadow").unwrap();
    assert_eq!(output, format!("*\n{:o} {} {}\n", stat.mode() & 0o777, stat.uid(), stat.gid()));
    let names = |file: &str| {
        fs::read_to_string(file).unwrap().lines().map(|l| l.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let inside = host_ok(&[], "cut -d: -f1 /etc/shadow");
    assert_eq!(inside.lines().collect::<Vec<_>>(), names("/etc/shadow"), "all users are there, to be changed");
    // The host's own processes: this test has a descriptor of a file that only its /proc shows.
    let marker = unique("marker");
    let output = host_ok(&["-e", "LC_ALL=C"], "ls /proc | grep -c '^[0-9]'; cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
    assert!(!output.contains(&marker) && output.lines().next().unwrap().parse::<u32>().unwrap() <= 4, "{output}");
}

#[test]
fn homes_that_passwd_puts_elsewhere_are_hidden() {
    if !can_run("homes_that_passwd_puts_elsewhere_are_hidden") {
        return;
    }
    let _clean = Clean::watch();
    let home = Scratch::under(Path::new("/opt"), "home");
    home.file("secret", "secret", 0o644);
    let other = Scratch::under(Path::new("/opt"), "plain");
    other.file("shown", "shown", 0o644);
    let scratch = Scratch::new("passwd");
    let passwd =
        fs::read_to_string("/etc/passwd").unwrap() + &format!("eve:x:1234:1234::{}:/bin/sh\n", home.0.display());
    let passwd = scratch.file("passwd", passwd, 0o644);
    let script = r#"mount --bind "$1" /etc/passwd; exec "$0" run --rm --network none host ls -A "$2" "$3""#;
    let (home, other) = (home.0.display().to_string(), other.0.display().to_string());
    let output = in_private_mounts(script, &[&passwd, &home, &other]);
    assert_eq!(stdout(&output), format!("{home}:\n\n{other}:\nshown\n"), "{}", stderr(&output));
    // A person who mounts it there wants it there.
    let volume = format!("{home}:{home}");
    let script = r#"mount --bind "$1" /etc/passwd; exec "$0" run --rm --network none -v "$2" host ls -A "$3""#;
    assert_eq!(stdout(&in_private_mounts(script, &[&passwd, &volume, &home])), "secret\n");
}

#[test]
fn other_disks_of_the_host_are_shown_copy_on_write_unless_they_are_hidden() {
    if !can_run("other_disks_of_the_host_are_shown_copy_on_write_unless_they_are_hidden") {
        return;
    }
    let _clean = Clean::watch();
    let shown = Scratch::under(Path::new("/opt"), "disk");
    let scratch = Scratch::new("disks");
    // A disk at a place in view, one below a hidden place, and a file system of the kernel's own.
    let script = r#"cd "$1"; mkdir a b u w; echo disk > a/file
        mount -t tmpfs t u; mkdir u/u u/w
        mount -t overlay -o lowerdir=a,upperdir=u/u,workdir=u/w disk "$2"
        mount --bind "$2" /srv
        mkdir "$2/tmp"; mount -t tmpfs t "$2/tmp"; echo hidden > "$2/tmp/file"
        "$0" run --rm --network none host sh -c 'cat "$0/file"; ls -A /srv "$0/tmp"; echo x > "$0/file"; rm -r "$0/tmp"; cat "$0/file"' "$2"
        cat "$2/file""#;
    let output = in_private_mounts(script, &[scratch.0.to_str().unwrap(), shown.0.to_str().unwrap()]);
    assert_eq!(stdout(&output), format!("disk\n{}/tmp:\n\n/srv:\nx\ndisk\n", shown.0.display()), "{}", stderr(&output));
}

// --- signals -------------------------------------------------------------------------------------------------------

#[test]
fn signals_reach_the_program_without_a_terminal() {
    if !can_run("signals_reach_the_program_without_a_terminal") {
        return;
    }
    let _clean = Clean::watch();
    let traps: String = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM"]
        .map(|name| format!("trap 'echo {name}; exit 42' {name};"))
        .concat();
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM"] {
        let mut container = Running::start(&[], &format!("{traps} echo ready; while :; do sleep 0.05; done"));
        container.signal(signal);
        assert_eq!(container.end(), (42, format!("{signal}\n"), String::new()));
    }
    let mut container = Running::start(&[], "trap 'echo again' USR1; echo ready; while :; do sleep 0.02; done");
    for _ in 0..3 {
        container.signal("USR1");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    container.signal("WINCH");
    crate::common::kill("KILL", container.first_process());
    assert_eq!(container.end(), (137, "again\nagain\nagain\n".into(), String::new()));
}

#[test]
fn the_third_interrupt_kills_a_program_that_ignores_them() {
    if !can_run("the_third_interrupt_kills_a_program_that_ignores_them") {
        return;
    }
    let _clean = Clean::watch();
    for signals in [["INT", "INT", "INT"], ["TERM", "INT", "TERM"]] {
        let mut container = Running::start(&[], "trap '' INT TERM; echo ready; while :; do sleep 0.05; done");
        for (n, signal) in signals.iter().enumerate() {
            std::thread::sleep(std::time::Duration::from_millis(60));
            assert!(container.tool.try_wait().unwrap().is_none(), "it is still there before number {}", n + 1);
            container.signal(signal);
        }
        assert_eq!(container.end(), (137, String::new(), String::new()));
    }
}

#[test]
fn signals_that_the_tool_was_started_without_reach_the_program_as_usual() {
    if !can_run("signals_that_the_tool_was_started_without_reach_the_program_as_usual") {
        return;
    }
    let _clean = Clean::watch();
    // nohup and background jobs of a shell ignore some; the program must not inherit that, nor a mask of ours.
    let script = r#"trap '' INT QUIT HUP PIPE USR1; exec "$0" run --rm --network none "$1" grep -E '^Sig(Blk|Ign)' /proc/self/status"#;
    let output = Command::new("sh").args(["-c", script, tool(), busybox_root().to_str().unwrap()]).output().unwrap();
    // Signals 32 and 33 are the C library's own; its posix_spawn, with which this test starts programs, ignores them.
    let dispositions = |output: &str| output.replace("SigIgn:\t0000000180000000", "SigIgn:\t0000000000000000");
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    assert_eq!(dispositions(&stdout(&output)), none, "{}", stderr(&output));
    assert_eq!(dispositions(&host_ok(&["--init"], "grep -E '^Sig(Blk|Ign)' /proc/self/status")), none);
}

#[test]
fn explain_tells_the_steps_on_standard_error_only() {
    if !can_run("explain_tells_the_steps_on_standard_error_only") {
        return;
    }
    let _clean = Clean::watch();
    let output = sh(&["--explain=json"], "echo out");
    assert_eq!(stdout(&output), "out\n");
    for line in stderr(&output).lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
    for step in ["write-record", "clone-namespaces", "mount-proc", "pivot-root", "find-program", "remove-record"] {
        assert!(stderr(&output).contains(&format!("\"step\":\"{step}\"")), "{step} is told");
    }
    let output = sh(&["--explain"], "echo out");
    assert!(stdout(&output) == "out\n" && stderr(&output).contains("pivot-root"), "{}", stderr(&output));
}

#[test]
fn explain_tells_the_exec() {
    assert!(stderr(&sh(&["--explain=json"], "true")).contains("\"step\":\"exec\""));
}

#[test]
fn groups_and_scores_are_as_asked_for_also_of_exec() {
    let Some(life) = crate::common::life::Life::new("groups_and_scores_are_as_asked_for_also_of_exec") else { return };
    let flags = ["--name", "gg", "--group-add", "video", "--group-add", "4242", "--oom-score-adj", "321"];
    let shows = "id -G; cat /proc/self/oom_score_adj";
    life.detached(&flags, &format!("{{ {shows}; }} >/got; sleep 1000"));
    assert!(wait_until(5, || life.tool(&["exec", "gg", "cat", "/got"]).stdout == b"0 44 4242\n321\n"));
    assert_eq!(life.ok(&["exec", "gg", "id", "-G"]), "0 44 4242");
    // With the groups that the user has anyway, each once.
    assert_eq!(life.ok(&["exec", "-u", "ann", "gg", "id", "-G"]), "100 44 4242");
    for (flag, value, said) in [
        ("--group-add", "nobodys", "there is no group \"nobodys\" in the container's /etc/group"),
        ("--oom-score-adj", "1001", "it is no number from -1000 to 1000"),
        ("--label-file", "/nothing", "cannot read it"),
    ] {
        let told = life.fails(125, &life.words(&["run", "--rm"], &[flag, value], "true"));
        assert!(told.contains(said), "{told}");
    }
    let scratch = Scratch::new("labels");
    let file = scratch.file("labels", "# comment\nfirst=1\n\n  second=a=b\nthird\n", 0o644);
    life.detached(&["--name", "ll", "--label-file", &file, "-l", "first=2"], "sleep 1000");
    let labels = life.inspect("ll")["Config"]["Labels"].clone();
    assert_eq!(labels, serde_json::json!({ "first": "2", "second": "a=b", "third": "" }));
}

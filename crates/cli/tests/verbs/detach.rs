//! `run -d`, and `run` in the foreground of a container that stays: what is told, what is connected, and what is left.

use crate::common::life::Life;
use crate::common::pty::PATIENCE;
use crate::common::{Scratch, busybox_root, code, kill, stderr, stdout, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Says which signal came, and ends with 3.
const TELLS: &str = "for s in HUP INT TERM USR1; do trap \"echo got $s; exit 3\" $s; done; echo ready; \
                     while :; do sleep 0.05; done";

#[test]
fn the_id_is_printed_when_the_program_runs() {
    let Some(life) = Life::new("the_id_is_printed_when_the_program_runs") else { return };
    let scratch = Scratch::new("detach");
    let (cid, pid) = (scratch.path("cid"), scratch.path("pid"));
    let begun = Instant::now();
    let id = life.detached(&["--name", "dd", "--cidfile", &cid, "--pidfile", &pid], "sleep 1000");
    assert!(begun.elapsed() < PATIENCE, "it waits for the end");
    // The program, not what becomes it.
    let first = life.pid("dd");
    assert!(std::fs::read_link(format!("/proc/{first}/exe")).unwrap().ends_with("bin/busybox"));
    assert_eq!(std::fs::read_to_string(&cid).unwrap(), id);
    assert_eq!(std::fs::read_to_string(&pid).unwrap(), first.to_string());
    assert_eq!(life.field(&id[..12], "Name"), "/dd");
    assert_eq!(life.ok(&["ps", "-q", "--no-trunc"]), id);
    // Its monitor is nobody's job: no terminal, a session of its own, a child of init's.
    let status = std::fs::read_to_string(format!("/proc/{}/stat", life.monitor("dd"))).unwrap();
    let of_stat: Vec<&str> = status.rsplit(')').next().unwrap().split_whitespace().collect();
    let (parent, session, terminal) = (of_stat[1], of_stat[3], of_stat[4]);
    assert_eq!((session, terminal), (life.monitor("dd").to_string().as_str(), "0"), "child of {parent}");
    // What is said goes nowhere but to the log, and nobody can type.
    let told = life.tool(&[
        "run",
        "-d",
        "--rm",
        "--network",
        "none",
        busybox_root().to_str().unwrap(),
        "sh",
        "-c",
        "echo out; echo err >&2; cat; sleep 0.2",
    ]);
    assert_eq!((stdout(&told).trim_end().len(), stderr(&told)), (64, String::new()));
    let passing = life.note(stdout(&told).trim_end().to_owned());
    assert!(wait_until(10, || life.ok(&["ps", "-aq", "--no-trunc"]) == id), "--rm is still there");
    life.assert_at_rest(&passing);
    for (flags, said) in [(["--cidfile", &cid], "cannot write the id to"), (["-a", "stdout"], "--attach and --detach")]
    {
        let words = life.words(&["run", "-d"], &flags, "true");
        let told = life.fails(125, &words);
        assert!(told.contains(said), "{told}");
    }
    assert_eq!(life.ok(&["ps", "-aq", "--no-trunc"]), id);
}

#[test]
fn what_cannot_be_started_is_told_and_stays() {
    let Some(life) = Life::new("what_cannot_be_started_is_told_and_stays") else { return };
    let root = busybox_root().to_str().unwrap();
    for (expected, said, flags, program) in [
        (127, "no-such-program", &[][..], "no-such-program"),
        (126, "/etc/passwd", &[], "/etc/passwd"),
        (125, "/bin/busybox", &["-v", "/etc:/bin/busybox"], "true"),
        (125, "nobody-here", &["-u", "nobody-here"], "true"),
    ] {
        for detach in [&["-d"][..], &[]] {
            let words = [&["run"], detach, &["--network", "none", "--name", "dd"], flags, &[root, program]].concat();
            let told = life.fails(expected, &words);
            assert!(told.starts_with("mycontainer: ") && told.contains(said), "{words:?}: {told}");
            let (status, exit_code, error) = life.state("dd");
            assert_eq!((status.as_str(), exit_code), ("created", expected.into()), "{words:?}");
            assert!(told.contains(&error) && error.contains(said), "{words:?}: {error}");
            assert_eq!(life.ok(&["ps", "-a", "--format", "{{.Status}}"]), "Created");
            assert_eq!(life.ok(&["wait", "dd"]), expected.to_string());
            let id = life.note(life.field("dd", "Id"));
            life.assert_at_rest(&id);
            // It is as wrong as before.
            assert!(life.fails(1, &["start", "dd"]).contains(said));
            assert!(life.fails(expected, &["start", "-a", "dd"]).contains(said));
            life.assert_at_rest(&id);
            life.ok(&["rm", "dd"]);
            let words = [&words[..1], &["--rm"], &words[1..]].concat();
            assert!(life.fails(expected, &words).contains(said), "{words:?}");
            assert_eq!(life.ok(&["ps", "-aq"]), "", "{words:?}");
        }
    }
}

#[test]
fn in_the_foreground_it_is_as_with_rm_and_stays() {
    let Some(life) = Life::new("in_the_foreground_it_is_as_with_rm_and_stays") else { return };
    for (script, out, err, expected) in [
        ("echo out; echo err >&2; exit 7", "out\n", "err\n", 7),
        ("cat; echo end", "end\n", "", 0),
        ("printf 'no line'", "no line", "", 0),
        ("trap '' HUP; sh -c 'kill -15 $PPID'; echo alive", "alive\n", "", 0),
    ] {
        let words = life.words(&["run"], &["--name", "ff"], script);
        let output = life.tool(&words);
        let told = (stdout(&output), stderr(&output), code(output.status));
        assert_eq!(told, (out.into(), err.into(), expected), "{script}");
        assert_eq!(life.state("ff"), ("exited".into(), expected.into(), String::new()), "{script}");
        let status = life.ok(&["ps", "-a", "--format", "{{.Status}}"]);
        assert!(status.starts_with(&format!("Exited ({expected}) ")) && status.ends_with(" ago"), "{status}");
        assert_eq!(life.ok(&["wait", "ff"]), expected.to_string());
        assert_eq!(life.ok(&["ps", "-q"]), "");
        let id = life.note(life.field("ff", "Id"));
        life.assert_at_rest(&id);
        life.ok(&["rm", "ff"]);
    }
}

#[test]
fn what_is_typed_reaches_it_and_its_end_too() {
    let Some(life) = Life::new("what_is_typed_reaches_it_and_its_end_too") else { return };
    // More than pipes hold, and a program that is slow to read it.
    let typed: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
    for script in ["cat", "sleep 0.5; cat"] {
        let words = life.words(&["run", "-i"], &[], script);
        let mut tool = life.meanwhile(&words);
        let mut input = tool.stdin.take().unwrap();
        let again = typed.clone();
        let writes = std::thread::spawn(move || input.write_all(&again).unwrap());
        let output = tool.wait_with_output().unwrap();
        writes.join().unwrap();
        assert_eq!((code(output.status), stderr(&output)), (0, String::new()), "{script}");
        assert!(output.stdout == typed, "{script}: {} bytes of {}", output.stdout.len(), typed.len());
    }
    // A program that does not read does not keep anybody waiting.
    let words = life.words(&["run", "-i"], &[], "exec <&-; sleep 0.3; echo end");
    let mut tool = life.meanwhile(&words);
    let _ = tool.stdin.take().unwrap().write_all(&typed);
    let output = tool.wait_with_output().unwrap();
    assert_eq!((code(output.status), stdout(&output)), (0, "end\n".into()));
}

#[test]
fn much_is_printed_whole_also_for_a_slow_reader() {
    let Some(life) = Life::new("much_is_printed_whole_also_for_a_slow_reader") else { return };
    let script = "head -c 30000000 /dev/urandom >/tmp/x; md5sum </tmp/x >&2; cat /tmp/x";
    for pause in [Duration::ZERO, Duration::from_millis(2)] {
        let words = life.words(&["run"], &[], script);
        let mut tool = life.meanwhile(&words);
        let mut sum =
            std::process::Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut from, mut to) = (tool.stdout.take().unwrap(), sum.stdin.take().unwrap());
        let mut space = vec![0; 65_536];
        let mut whole = 0;
        loop {
            let got = from.read(&mut space).unwrap();
            if got == 0 {
                break;
            }
            whole += got;
            to.write_all(&space[..got]).unwrap();
            // For the first part of it: that is enough to have everything between full.
            if whole < 8_000_000 {
                std::thread::sleep(pause);
            }
        }
        drop(to);
        let output = tool.wait_with_output().unwrap();
        let sum = sum.wait_with_output().unwrap();
        assert_eq!((whole, code(output.status), stdout(&sum)), (30_000_000, 0, stderr(&output)), "{pause:?}");
    }
}

#[test]
fn signals_go_to_the_program_or_end_the_attachment() {
    let Some(life) = Life::new("signals_go_to_the_program_or_end_the_attachment") else { return };
    let start = |name: &str, flags: &[&str]| {
        let words = life.words(&["run"], &[&["--name", name], flags].concat(), TELLS);
        let mut tool = life.meanwhile(&words);
        let mut output = BufReader::new(tool.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        (tool, output)
    };
    for signal in ["TERM", "HUP", "INT", "USR1"] {
        let (mut tool, mut output) = start("ss", &[]);
        kill(signal, tool.id());
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!((rest, code(tool.wait().unwrap())), (format!("got {signal}\n"), 3));
        assert_eq!(life.state("ss"), ("exited".into(), 3, String::new()));
        life.ok(&["rm", "ss"]);
    }
    // Who is attached goes, in whatever way: the container does not care.
    for (flags, signal) in [(&["--sig-proxy=false"][..], "TERM"), (&["--sig-proxy=false"], "INT"), (&[], "KILL")] {
        let (mut tool, output) = start("ss", flags);
        let first = life.pid("ss");
        kill(signal, tool.id());
        let ended = wait_until(10, || tool.try_wait().unwrap().is_some());
        assert!(ended, "{flags:?} {signal}");
        drop(output);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(life.pid("ss"), first, "{flags:?} {signal}");
        life.ok(&["stop", "ss"]);
        assert_eq!(life.state("ss"), ("exited".into(), 3, String::new()));
        life.ok(&["rm", "ss"]);
    }
}

#[test]
fn only_what_was_asked_for_is_connected() {
    let Some(life) = Life::new("only_what_was_asked_for_is_connected") else { return };
    for (flags, out, err) in [
        (&["-a", "stdout"][..], "out\n", ""),
        (&["-a", "STDERR"], "", "err\n"),
        (&["--attach", "stdout", "--attach=stderr"], "out\n", "err\n"),
        (&["-i", "-a", "stdin"], "", ""),
        (&["-i", "-a", "stdin", "-a", "stdout"], "out\ntyped\n", ""),
    ] {
        let words = life.words(&["run"], flags, "echo out; echo err >&2; cat; exit 3");
        let mut tool = life.meanwhile(&words);
        tool.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        let output = tool.wait_with_output().unwrap();
        let told = (stdout(&output), stderr(&output), code(output.status));
        assert_eq!(told, (out.into(), err.into(), 3), "{flags:?}");
    }
    let words = life.words(&["run"], &["-a", "stdsomething"], "true");
    life.fails(125, &words);
}

#[test]
fn keys_leave_it_running() {
    let Some(life) = Life::new("keys_leave_it_running") else { return };
    for (flags, keys) in [(&[][..], "\x10\x11"), (&["--detach-keys", "a,ctrl-b,c"], "a\x02c")] {
        let words =
            life.words(&["run", "-it", "--name", "kk"], flags, "echo ready; while read x; do echo \"[$x]\"; done");
        let mut terminal = life.on_terminal(&words);
        terminal.expect("ready");
        // The first key alone is the program's.
        terminal.send("one\ra\r");
        terminal.expect("[one]");
        terminal.expect("[a]");
        terminal.send(keys);
        assert_eq!(terminal.status(), 0);
        assert!(terminal.is_cooked());
        assert_eq!(life.state("kk").0, "running");
        let mut again = life.on_terminal(&["attach", "--detach-keys", "x", "kk"]);
        assert!(wait_until(5, || again.is_raw()));
        again.send("two\r");
        again.expect("[two]");
        again.send("x");
        assert_eq!(again.status(), 0);
        // At its end who is attached hears the exit code.
        let mut last = life.on_terminal(&["attach", "kk"]);
        assert!(wait_until(5, || last.is_raw()));
        last.send("three\r\x04");
        last.expect("[three]");
        assert_eq!(last.status(), 0);
        assert!(last.is_cooked());
        assert_eq!(life.state("kk").0, "exited");
        life.ok(&["rm", "kk"]);
    }
}

#[test]
fn its_terminal_has_our_size() {
    let Some(life) = Life::new("its_terminal_has_our_size") else { return };
    let words = life.words(&["run", "-it", "--name", "tt"], &[], "stty size; read x; stty size; tty; exit 5");
    let mut terminal = life.on_terminal(&words);
    terminal.expect("24 80");
    terminal.resize(33, 99);
    std::thread::sleep(Duration::from_millis(200));
    terminal.send("\r");
    terminal.expect("33 99");
    terminal.expect("/dev/");
    assert_eq!(terminal.status(), 5);
    assert_eq!(life.state("tt"), ("exited".into(), 5, String::new()));
}

#[test]
fn names_are_taken_and_given_up() {
    let Some(life) = Life::new("names_are_taken_and_given_up") else { return };
    let first = life.detached(&["--name", "nn"], "sleep 1000");
    let words = life.words(&["run", "-d"], &["--name", "nn"], "sleep 1000");
    let in_use = format!("the name \"nn\" is in use by container {}", &first[..8]);
    let told = life.fails(125, &words);
    assert!(told.contains(&in_use), "{told}");
    // Also of one that has ended.
    life.ok(&["stop", "-t", "0", "nn"]);
    let told = life.fails(125, &words);
    assert!(told.contains(&in_use), "{told}");
    assert_eq!(life.ok(&["ps", "-aq", "--no-trunc"]), first);
    life.ok(&["rename", "nn", "old"]);
    let second = life.detached(&["--name", "nn"], "sleep 1000");
    life.ok(&["rename", "nn", "other"]);
    assert_eq!((life.field("other", "Id"), life.field("old", "Id")), (second.clone(), first));
    assert!(life.fails(1, &["inspect", "nn"]).contains("nn"));
    // One that is replaced goes, whether it runs or not.
    for name in ["other", "old"] {
        let third = life.detached(&["--replace", "--name", name], "sleep 1000");
        assert_eq!(life.field(name, "Id"), third);
    }
    life.assert_at_rest(&second);
    let created = life.note(life.ok(&["create", "--replace", "--name", "old", busybox_root().to_str().unwrap()]));
    // And no other, though its id begins with what is a name here.
    let digits = &created[..4];
    let beside = life.note(life.ok(&["create", "--replace", "--name", digits, busybox_root().to_str().unwrap()]));
    let left = life.ok(&["ps", "-aq", "--no-trunc"]);
    assert!(left.contains(&created) && left.contains(&beside), "{left}");
    life.ok(&["rm", &beside]);
    assert_eq!(life.field("old", "Id"), created);
    life.ok(&["rm", "-f", "old", "other"]);
    assert_eq!(life.names("/var/lib/mycontainer/names"), [""; 0]);
    // Who names none gets a name of two words.
    let unnamed = life.detached(&[], "sleep 1000");
    let name = life.field(&unnamed, "Name");
    let words: Vec<&str> = name.trim_start_matches('/').split('_').collect();
    assert!(words.len() == 2 && words.iter().all(|word| word.len() > 1), "{name}");
    life.ok(&["rm", "-f", &name[1..]]);
    assert_eq!(life.ok(&["ps", "-aq"]), "");
}

/// KB of a process's code that are in memory: of the mapping that can be run and is the binary's.
fn code_in_memory(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("it runs");
    let mut in_code = false;
    let mut all = 0;
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, rights, _, _, _, file] => in_code = *rights == "r-xp" && !file.contains(".so"),
            ["Rss:", size, "kB"] if in_code => all += size.parse::<u64>().unwrap(),
            _ => {}
        }
    }
    all
}

#[test]
fn a_monitor_that_waits_has_let_go_of_its_code() {
    let Some(life) = Life::new("a_monitor_that_waits_has_let_go_of_its_code") else { return };
    let script = "trap 'echo got; kill $!' USR1; while :; do sleep 1000 & wait; done";
    life.detached(&["--name", "dd"], script);
    let monitor = life.monitor("dd");
    for (nth, round) in ["it was started", "something was printed"].iter().enumerate() {
        assert!(wait_until(10, || code_in_memory(monitor) < 450), "{round}: {} KB", code_in_memory(monitor));
        assert_ne!(code_in_memory(monitor), 0);
        // It can run what it let go of.
        life.ok(&["kill", "-s", "USR1", "dd"]);
        assert!(wait_until(5, || life.ok(&["logs", "dd"]).lines().count() == nth + 1), "{round}");
    }
    life.ok(&["stop", "-t", "0", "dd"]);
    assert_eq!(life.state("dd").1, 137);
}

#[test]
fn every_verb_that_starts_tells_of_a_firewall_in_its_way() {
    let test = "every_verb_that_starts_tells_of_a_firewall_in_its_way";
    // Without ip_tables in the kernel there is no such firewall.
    let drops = "iptables-legacy -P FORWARD DROP 2>/dev/null || touch /run/no-ip-tables";
    let Some(life) = Life::prepared(test, drops) else { return };
    if !crate::common::need(test, !life.path("/run/no-ip-tables").exists(), "this kernel has no ip_tables") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let run = |flags: &[&str], script: &str| {
        [&["run", "--ephemeral"], flags, &[root, "sh", "-c", script]].concat().into_iter().map(str::to_owned).collect()
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let is_told = "mycontainer: ";
    let command = "iptables-legacy -I FORWARD -i mycontainer0 -j ACCEPT";
    // Each finds a network that is new: it is told once of a network's rules.
    for (words, expected) in [
        (run(&["-d", "--name", "aa"], "sleep 1000"), 0),
        (words("restart -t 0 aa"), 0),
        (words("start aa"), 0),
        (run(&["-d", "--rm", "--name", "bb"], "sleep 1000"), 0),
        (run(&["--rm"], "exit 3"), 3),
        (run(&["--name", "cc"], "exit 3"), 3),
        (words("start -a cc"), 3),
    ] {
        for name in ["aa", "bb"] {
            life.tool(&["stop", "-t", "0", name]);
        }
        let is_gone = || !life.host.try_sh("ip link show mycontainer0").status.success();
        assert!(wait_until(10, is_gone), "{words:?}: the network stays");
        let output = life.tool(&words);
        let told = stderr(&output);
        assert!(told.starts_with(is_told) && told.matches(command).count() == 1, "{words:?}: {told:?}");
        assert_eq!(code(output.status), expected, "{words:?}");
    }
    for id in life.ok(&["ps", "-aq", "--no-trunc"]).lines() {
        life.note(id.to_owned());
    }
}

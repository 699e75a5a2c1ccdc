//! `start` and `stop` of containers that stay: what they keep, how they end, and what becomes of two commands at once.

use crate::common::life::Life;
use crate::common::{Scratch, code, kill, make_busybox_root, stderr, stdout, wait_until};
use crate::fixtures::formats;
use crate::fixtures::image::TestImage;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Nothing but SIGKILL ends it.
const DEAF: &str = "trap '' TERM INT; echo ready; while :; do sleep 0.1; done";

#[test]
fn what_was_written_is_kept() {
    let Some(life) = Life::new("what_was_written_is_kept") else { return };
    let scratch = Scratch::new("kept");
    formats::write_layout(&scratch.0.join("layout"), "tag", &TestImage::busybox().user("0"));
    make_busybox_root(&scratch.0.join("root"));
    let tar = ["-C", &scratch.path("root"), "-cf", &scratch.path("a.tar"), "."];
    assert!(std::process::Command::new("tar").args(tar).status().unwrap().success());
    let script =
        "cat /kept 2>/dev/null; date >/dev/null; echo again >>/kept; chmod 700 /tmp; mkdir -p /d/e; stat -c %a /tmp";
    for (root, flags) in [("layout", &[][..]), ("a.tar", &[]), ("root", &["--ephemeral"]), ("root", &[])] {
        let root = scratch.path(root);
        let words = [&["run", "--network", "none", "--name", "kk"], flags, &[&root, "sh", "-c", script]].concat();
        assert_eq!(life.ok(&words), "700", "{root}");
        let id = life.note(life.field("kk", "Id"));
        assert_eq!(life.ok(&["start", "-a", "kk"]), "again\n700", "{root} {flags:?}");
        life.assert_at_rest(&id);
        assert_eq!(life.ok(&["start", "kk"]), "kk");
        assert_eq!(life.ok(&["wait", "kk"]), "0");
        assert_eq!(life.ok(&["start", "-a", &id[..9]]), "again\nagain\nagain\n700", "{root} {flags:?}");
        life.ok(&["rm", "kk"]);
        // A directory used in place is the only one that has changed.
        let is_in_place = root.ends_with("root") && flags.is_empty();
        assert_eq!(scratch.0.join("root/kept").exists(), is_in_place, "{root} {flags:?}");
    }
}

#[test]
fn start_attends_when_asked() {
    let Some(life) = Life::new("start_attends_when_asked") else { return };
    let words = life.words(&["create", "-i"], &["--name", "aa"], "echo out; echo err >&2; cat; exit 6");
    let id = life.note(life.ok(&words));
    assert_eq!(life.state("aa"), ("created".into(), 0, String::new()));
    // Without -i nobody types, and nobody says that nothing more comes: the program waits.
    let mut tool = life.meanwhile(&["start", "-a", "aa"]);
    let mut output = std::io::BufReader::new(tool.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    drop(tool.stdin.take());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((line.as_str(), life.state("aa").0.as_str()), ("out\n", "running"));
    life.ok(&["kill", "aa"]);
    assert_eq!(code(tool.wait().unwrap()), 137);
    let mut tool = life.meanwhile(&["start", "-ai", "aa"]);
    std::io::Write::write_all(&mut tool.stdin.take().unwrap(), b"typed\n").unwrap();
    let output = tool.wait_with_output().unwrap();
    let told = (stdout(&output), stderr(&output), code(output.status));
    assert_eq!(told, ("out\ntyped\n".into(), "err\n".into(), 6));
    life.assert_at_rest(&id);
}

#[test]
fn several_are_started_and_one_that_runs_is_left_alone() {
    let Some(life) = Life::new("several_are_started_and_one_that_runs_is_left_alone") else { return };
    for name in ["aa", "bb"] {
        life.note(life.ok(&life.words(&["create"], &["--name", name], "sleep 1000")));
    }
    life.detached(&["--name", "cc"], "sleep 1000");
    let before = life.pid("cc");
    let output = life.tool(&["start", "aa", "nothing", "cc", "bb"]);
    assert_eq!((stdout(&output), code(output.status)), ("aa\ncc\nbb\n".into(), 1));
    assert!(stderr(&output).contains("there is no container \"nothing\""), "{}", stderr(&output));
    assert_eq!(life.pid("cc"), before);
    assert_eq!(life.ok(&["ps", "--format", "{{.Names}}"]), "cc\nbb\naa");
    assert!(life.fails(125, &["start", "-a", "aa", "bb"]).contains("only one container can be attended to"));
    life.ok(&["pause", "aa"]);
    assert_eq!(life.ok(&["start", "aa"]), "aa");
    assert_eq!(life.state("aa").0, "paused");
    // One that goes when it ends cannot be started: there is none.
    life.detached(&["--rm", "--name", "rr"], "sleep 1000");
    life.ok(&["stop", "-t", "0", "rr"]);
    assert!(life.fails(1, &["start", "rr"]).contains("there is no container \"rr\""));
}

#[test]
fn how_it_ended_is_known() {
    let Some(life) = Life::new("how_it_ended_is_known") else { return };
    for (script, end, expected) in [
        ("exit 0", "", 0),
        ("exit 255", "", 255),
        ("kill -SEGV $$; sleep 1", "", 0),
        ("sleep 1000", "kill -s KILL", 137),
        ("trap 'exit 9' TERM; while :; do sleep 0.05; done", "stop", 9),
        ("trap 'exit 9' USR1; while :; do sleep 0.05; done", "kill -s USR1", 9),
        (DEAF, "stop -t 1", 137),
    ] {
        let id = life.detached(&["--name", "ee"], script);
        // A program has to have set its traps.
        std::thread::sleep(Duration::from_millis(200));
        let mut wait = (!end.is_empty()).then(|| life.meanwhile(&["wait", "ee"]));
        if !end.is_empty() {
            std::thread::sleep(Duration::from_millis(200));
            life.ok(&[&end.split(' ').collect::<Vec<_>>()[..], &["ee"]].concat());
        }
        if let Some(wait) = wait.take() {
            assert_eq!(stdout(&wait.wait_with_output().unwrap()), format!("{expected}\n"), "{script}");
        }
        life.until("ee", "exited");
        assert_eq!(life.state("ee"), ("exited".into(), expected, String::new()), "{script}");
        assert_eq!(life.ok(&["wait", "ee"]), expected.to_string(), "{script}");
        let format = "{{.State}} {{.Status}}";
        let status = life.ok(&["ps", "-a", "--format", format]);
        assert!(status.starts_with(&format!("exited Exited ({expected}) ")), "{status}");
        assert_eq!(life.ok(&["ps", "-aq", "-f", &format!("exited={expected}")]), id[..12], "{script}");
        assert_eq!(life.ok(&["ps", "-aq", "-f", "exited=77"]), "");
        let shown = life.inspect("ee");
        let time = |field: &str| shown["State"][field].as_str().unwrap().to_owned();
        assert!(time("StartedAt") < time("FinishedAt") && time("StartedAt").as_str() > "2020", "{shown:#}");
        assert!(shown["Created"].as_str().unwrap() < time("StartedAt").as_str(), "{shown:#}");
        life.assert_at_rest(&id);
        life.ok(&["rm", "ee"]);
    }
}

#[test]
fn stop_does_as_it_was_made() {
    let Some(life) = Life::new("stop_does_as_it_was_made") else { return };
    let tells = "for s in INT TERM USR1; do trap \"echo $s >/got; exit 3\" $s; done; while :; do sleep 0.05; done";
    for (flags, stop, got) in [
        (&[][..], &[][..], "TERM"),
        (&["--stop-signal", "SIGUSR1"], &[], "USR1"),
        (&["--stop-signal", "2"], &[], "INT"),
        (&["--stop-signal", "INT"], &["-s", "USR1"], "USR1"),
    ] {
        life.detached(&[flags, &["--name", "ss"]].concat(), tells);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(life.ok(&[&["stop"], stop, &["ss"]].concat()), "ss");
        assert_eq!(life.state("ss").1, 3);
        life.ok(&["start", "ss"]);
        assert_eq!(life.ok(&["exec", "ss", "cat", "/got"]), got, "{flags:?} {stop:?}");
        life.ok(&["rm", "-f", "ss"]);
    }
    for (flags, stop, at_least, at_most) in [
        (&["--stop-timeout", "1"][..], &[][..], 1000, 5000),
        (&["--stop-timeout", "1000"], &["-t", "0"], 0, 4000),
        (&["--stop-timeout", "-1"], &["-t", "1"], 1000, 5000),
    ] {
        life.detached(&[flags, &["--name", "ss"]].concat(), DEAF);
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        life.ok(&[&["stop"], stop, &["ss"]].concat());
        let took = begun.elapsed().as_millis();
        assert!((at_least..at_most).contains(&took), "{flags:?} {stop:?}: {took} ms");
        assert_eq!(life.state("ss"), ("exited".into(), 137, String::new()));
        life.ok(&["rm", "ss"]);
    }
    // A service manager that ends the monitor ends the container as `stop` does.
    let id = life.detached(&["--name", "ss", "--restart", "always", "--stop-signal", "USR1"], tells);
    std::thread::sleep(Duration::from_millis(200));
    kill("TERM", life.monitor("ss"));
    life.until("ss", "exited");
    assert_eq!(life.state("ss"), ("exited".into(), 3, String::new()));
    life.assert_at_rest(&id);
}

fn spawn(life: &Life, words: &[&str]) -> Child {
    life.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Of several commands at once: how many ended with 0, and what the others said.
fn at_once(life: &Life, all: &[&[&str]]) -> (Vec<bool>, Vec<String>) {
    let rivals: Vec<Child> = all.iter().map(|words| spawn(life, words)).collect();
    let outputs = rivals.into_iter().map(|rival| rival.wait_with_output().unwrap());
    let ended: Vec<(bool, String)> = outputs.map(|output| (output.status.success(), stderr(&output))).collect();
    ended.into_iter().unzip()
}

fn is_told(said: &str) -> bool {
    said.contains("there is no container") || said.contains("another command is at work")
}

#[test]
fn of_two_that_start_it_it_runs_once() {
    let Some(life) = Life::new("of_two_that_start_it_it_runs_once") else { return };
    // Each start of it counts.
    let scratch = Scratch::new("starts");
    let volume = format!("{}:/count", scratch.0.display());
    let words = life.words(&["create"], &["--name", "ss", "-v", &volume], "echo x >>/count/n; sleep 1000");
    let id = life.note(life.ok(&words));
    for round in 1..=8 {
        let start: &[&str] = &["start", "ss"];
        let (won, said) = at_once(&life, &[start, start, start]);
        assert!(won.contains(&true), "{said:?}");
        for (won, said) in won.iter().zip(&said) {
            // Who comes when it runs finds it running; who comes meanwhile is told.
            assert!(if *won { said.is_empty() } else { is_told(said) }, "{said}");
        }
        assert_eq!(life.state("ss").0, "running");
        let count = || std::fs::read_to_string(scratch.0.join("n")).unwrap_or_default().lines().count();
        assert!(wait_until(5, || count() == round), "{round}: it was started {} times", count());
        life.ok(&["kill", "ss"]);
        life.until("ss", "exited");
        life.assert_at_rest(&id);
    }
}

#[test]
fn of_start_and_rm_one_wins() {
    let Some(life) = Life::new("of_start_and_rm_one_wins") else { return };
    let (mut started, mut removed) = (0, 0);
    for round in 0..16 {
        let words = life.words(&["create"], &["--name", "ss"], "sleep 1000");
        let id = life.note(life.ok(&words));
        let pair: [&[&str]; 2] =
            if round % 2 == 0 { [&["start", "ss"], &["rm", "ss"]] } else { [&["rm", "ss"], &["start", "ss"]] };
        let (won, said) = at_once(&life, &pair);
        let (has_started, has_removed) = if round % 2 == 0 { (won[0], won[1]) } else { (won[1], won[0]) };
        match (has_started, has_removed) {
            (true, false) => {
                started += 1;
                let is_told = said.iter().any(|said| is_told(said) || said.contains("the container ss is running"));
                assert!(is_told, "{said:?}");
                assert_eq!(life.state("ss").0, "running");
                life.ok(&["rm", "-f", "ss"]);
            }
            (false, true) => {
                removed += 1;
                assert!(said.iter().any(|said| is_told(said)), "{said:?}");
            }
            other => panic!("{round}: started and removed {other:?}: {said:?}"),
        }
        life.assert_at_rest(&id);
        assert_eq!(life.ok(&["ps", "-aq"]), "");
        assert_eq!(life.names("/var/lib/mycontainer/names"), [""; 0]);
        assert_eq!(life.names("/var/lib/mycontainer/containers"), [""; 0]);
    }
    eprintln!("started {started}, removed {removed}");
}

#[test]
fn of_three_that_remove_it_one_does() {
    let Some(life) = Life::new("of_three_that_remove_it_one_does") else { return };
    for round in 0..8 {
        let words = life.words(&["create"], &["--name", "ss"], "exit 0");
        let id = life.note(life.ok(&words));
        if round % 2 == 0 {
            life.ok(&["start", "-a", "ss"]);
        }
        let (won, said) = at_once(&life, &[&["rm", "ss"], &["rm", &id], &["rm", "ss"]]);
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{round}: {said:?}");
        assert_eq!(said.iter().filter(|said| is_told(said)).count(), 2, "{round}: {said:?}");
        life.assert_at_rest(&id);
        assert_eq!(life.ok(&["ps", "-aq"]), "");
        assert_eq!(life.names("/var/lib/mycontainer/containers"), [""; 0]);
        assert_eq!(life.names("/var/lib/mycontainer/names"), [""; 0]);
    }
}

/// A pipe that takes nothing more: who writes to it waits until it is read.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    for block in [&[b'\n'; 4096][..], b"\n"] {
        while std::io::Write::write(&mut writer, block).is_ok() {}
    }
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn who_comes_while_one_is_removed_is_told() {
    let Some(life) = Life::new("who_comes_while_one_is_removed_is_told") else { return };
    let id = life.detached(&["--name", "ss"], "sleep 1000");
    // It waits where it tells of its first step: it has sent a signal, and has removed nothing.
    let (mut steps, full) = full_pipe();
    let mut remove = life.command(&["rm", "-f", "--explain", "ss"]).stderr(full).stdout(Stdio::null()).spawn().unwrap();
    let at_work = "another command is at work";
    // Looked at from outside: who tried the lock could be who has it when the first comes for it.
    let is_locked = |text: String| text.contains("FLOCK") && text.contains("WRITE");
    let has_lock = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fdinfo", remove.id())).into_iter().flatten().flatten();
        fds.filter_map(|fd| std::fs::read_to_string(fd.path()).ok()).any(is_locked)
    };
    assert!(wait_until(10, has_lock), "it has not locked the container");
    for words in [&["rm", "ss"][..], &["rm", "-f", "ss"], &["rm", "-f", &id], &["start", "ss"]] {
        let said = stderr(&life.tool(words));
        assert!(said.contains(at_work), "{words:?}: {said}");
    }
    assert!(remove.try_wait().unwrap().is_none(), "it did not wait");
    std::io::Read::read_to_string(&mut steps, &mut String::new()).unwrap();
    assert_eq!(code(remove.wait().unwrap()), 0);
    life.assert_at_rest(&id);
    for words in [&["rm", "-f", "ss"][..], &["start", "ss"], &["rename", "ss", "tt"]] {
        assert!(life.fails(1, words).contains("there is no container"));
    }
}

#[test]
fn of_rm_f_and_its_end_or_a_second_rm_f_nothing_is_left() {
    let Some(life) = Life::new("of_rm_f_and_its_end_or_a_second_rm_f_nothing_is_left") else { return };
    for (round, script) in
        ["sleep 1000", "sleep 0.02", "sleep 0.05", "sleep 1000", "exit 1", "sleep 0.03"].iter().enumerate()
    {
        let flags: &[&str] = if round % 2 == 0 { &["--name", "ss"] } else { &["--name", "ss", "--rm"] };
        let id = life.detached(flags, script);
        let remove: &[&str] = &["rm", "-f", "ss"];
        let stop: &[&str] = &["stop", "-t", "0", "ss"];
        let (won, said) = at_once(&life, &[remove, stop, remove]);
        let may_be_gone = round % 2 == 1;
        assert!(won[0] != won[2] || (may_be_gone && !won[0]), "{round}: {won:?} {said:?}");
        for (won, said) in won.iter().zip(&said) {
            assert!(*won || is_told(said) || said.contains("is not running"), "{said}");
        }
        life.assert_at_rest(&id);
        assert_eq!(life.ok(&["ps", "-aq"]), "");
        assert_eq!(life.names("/var/lib/mycontainer/containers"), [""; 0]);
    }
}

#[test]
fn of_two_that_run_with_one_name_one_does() {
    let Some(life) = Life::new("of_two_that_run_with_one_name_one_does") else { return };
    for round in 0..6 {
        let passing: &[&str] = if round % 2 == 0 { &[] } else { &["--rm"] };
        let words = life.words(&["run", "-d"], &[passing, &["--name", "ss"]].concat(), "sleep 1000");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (won, said) = at_once(&life, &[&words, &words, &words]);
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|said| said.contains("is in use by container")).count(), 2, "{said:?}");
        let id = life.note(life.field("ss", "Id"));
        assert_eq!(life.ok(&["ps", "-aq", "--no-trunc"]), id);
        assert_eq!(life.names("/var/lib/mycontainer/containers"), std::slice::from_ref(&id));
        life.ok(&["rm", "-f", "ss"]);
        life.assert_at_rest(&id);
    }
}

/// What killed commands leave is looked for by every command; where there are many containers, once a second.
#[test]
fn where_there_are_many_not_every_start_looks_for_dead_ones() {
    let Some(life) = Life::new("where_there_are_many_not_every_start_looks_for_dead_ones") else { return };
    let (records, swept) = ("/run/mycontainer/containers", "/run/mycontainer/swept");
    life.host.sh(&format!("mkdir -p {records}; for i in $(seq 200); do : >{records}/$(printf %064d $i); done"));
    let run = || {
        life.ok(&life.words(&["run", "--rm"], &[], "true"));
        life.names(records).len()
    };
    let mut left = vec![run()];
    assert!((1..200).contains(&left[0]), "a part of them is looked at: {left:?}");
    assert!(life.path(swept).exists());
    left.extend((0..4).map(|_| run()));
    // A machine that is busy may take a second for one of them.
    assert!(left.windows(2).any(|pair| pair[0] == pair[1]), "every one looks: {left:?}");
    std::thread::sleep(Duration::from_millis(1100));
    assert!(run() < left[4], "nobody ever looks again: {left:?}");
    for _ in 0..40 {
        if life.names(records).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1100));
        run();
    }
    assert_eq!(life.names(records), [""; 0]);
    run();
    assert!(!life.path(swept).exists(), "it stays where there are few");
}

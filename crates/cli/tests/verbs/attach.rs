//! `attach`: what several people see of one container, whatever each of them does.

use crate::common::life::Life;
use crate::common::{busybox_root, code, kill, stderr, stdout, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Waits until so many are attached by the container's socket: the monitor has that many that were accepted there.
fn until_attached(life: &Life, words: &str, number: usize) {
    let (monitor, id) = (life.monitor(words), life.field(words, "Id"));
    let attached = || {
        let files = std::fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().flatten();
        let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let open: Vec<String> = targets.map(|target| target.to_string_lossy().into_owned()).collect();
        let sockets = std::fs::read_to_string(format!("/proc/{monitor}/net/unix")).unwrap();
        let of_it = sockets.lines().filter(|line| line.ends_with(&id));
        // The sixth word is the state, 3 where somebody is connected; the seventh the number.
        let words = of_it.map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.filter(|words| words[5] == "03" && open.contains(&format!("socket:[{}]", words[6]))).count()
    };
    assert!(wait_until(10, || attached() == number), "{} are attached", attached());
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

fn end(tool: Child) -> (i32, String, String) {
    let output = tool.wait_with_output().unwrap();
    (code(output.status), stdout(&output), stderr(&output))
}

#[test]
fn everybody_sees_the_same_from_when_he_came() {
    let Some(life) = Life::new("everybody_sees_the_same_from_when_he_came") else { return };
    life.detached(&["-i", "--name", "aa"], "echo early; while read x; do echo out $x; echo err $x >&2; done; exit 4");
    let mut first = life.meanwhile(&["attach", "aa"]);
    until_attached(&life, "aa", 1);
    let (mut input, mut output) = (first.stdin.take().unwrap(), BufReader::new(first.stdout.take().unwrap()));
    input.write_all(b"one\n").unwrap();
    assert_eq!(line(&mut output), "out one\n");
    // What the program writes to the other stream has come, too, before the next one does.
    assert!(wait_until(10, || stderr(&life.tool(&["logs", "aa"])) == "err one\n"));
    let second = life.meanwhile(&["container", "attach", "--no-stdin", "aa"]);
    until_attached(&life, "aa", 2);
    // Without --interactive of its own `start -a` is one more that looks.
    let third = life.meanwhile(&["start", "-a", "aa"]);
    until_attached(&life, "aa", 3);
    input.write_all(b"two\n").unwrap();
    assert_eq!(line(&mut output), "out two\n");
    // One that is killed is missed by nobody.
    let mut doomed = life.meanwhile(&["attach", "--no-stdin", "aa"]);
    until_attached(&life, "aa", 4);
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    until_attached(&life, "aa", 3);
    // The end of one's input is the end of the program's.
    input.write_all(b"three").unwrap();
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(end(first), (4, String::new(), "err one\nerr two\n".into()));
    for other in [second, third] {
        assert_eq!(end(other), (4, "out two\n".into(), "err two\n".into()));
    }
    assert_eq!(life.state("aa"), ("exited".into(), 4, String::new()));
}

#[test]
fn who_reads_slowly_loses_nothing_and_nobody_else_does() {
    let Some(life) = Life::new("who_reads_slowly_loses_nothing_and_nobody_else_does") else { return };
    // Numbered lines: what is lost, doubled or torn shows.
    life.detached(&["-i", "--name", "aa"], "read x; seq 1 400000");
    let mut quick = life.meanwhile(&["attach", "aa"]);
    let mut slow = life.meanwhile(&["attach", "--no-stdin", "aa"]);
    until_attached(&life, "aa", 2);
    quick.stdin.take().unwrap().write_all(b"\n").unwrap();
    let outputs = [quick.stdout.take().unwrap(), slow.stdout.take().unwrap()];
    let readers = outputs.into_iter().enumerate().map(|(nth, mut output)| {
        std::thread::spawn(move || {
            let (mut whole, mut space) = (Vec::new(), vec![0; 4096]);
            loop {
                match output.read(&mut space).unwrap() {
                    0 => return whole,
                    got => whole.extend_from_slice(&space[..got]),
                }
                if nth == 1 && whole.len() < 1_000_000 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        })
    });
    let expected: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
    for whole in readers.collect::<Vec<_>>().into_iter().map(|reader| reader.join().unwrap()) {
        assert!(whole == expected.as_bytes(), "{} bytes of {}", whole.len(), expected.len());
    }
    assert_eq!(code(quick.wait().unwrap()), 0);
    assert_eq!(code(slow.wait().unwrap()), 0);
}

#[test]
fn who_stands_still_holds_nobody_up_for_ever() {
    let Some(life) = Life::new("who_stands_still_holds_nobody_up_for_ever") else { return };
    let id = life.detached(&["-i", "--name", "aa"], "read x; seq 1 400000; echo end");
    // It never reads: the pipe to it is full.
    let mut still = life.meanwhile(&["attach", "aa"]);
    until_attached(&life, "aa", 1);
    still.stdin.take().unwrap().write_all(b"\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(life.state("aa").0, "running", "it waits for its reader");
    kill("STOP", still.id());
    kill("KILL", still.id());
    still.wait().unwrap();
    life.until("aa", "exited");
    assert_eq!(life.state("aa"), ("exited".into(), 0, String::new()));
    life.assert_at_rest(&id);
}

#[test]
fn signals_go_to_it_unless_they_shall_not() {
    let Some(life) = Life::new("signals_go_to_it_unless_they_shall_not") else { return };
    let script = "trap 'echo got TERM' TERM; trap 'exit 5' INT; while :; do sleep 0.05; done";
    life.detached(&["--name", "aa"], script);
    let mut aloof = life.meanwhile(&["attach", "--sig-proxy=false", "aa"]);
    let mut close = life.meanwhile(&["attach", "aa"]);
    until_attached(&life, "aa", 2);
    kill("TERM", aloof.id());
    aloof.wait().unwrap();
    let mut output = String::new();
    aloof.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "");
    let mut output = BufReader::new(close.stdout.take().unwrap());
    kill("TERM", close.id());
    assert_eq!(line(&mut output), "got TERM\n");
    kill("INT", close.id());
    assert_eq!(code(close.wait().unwrap()), 5);
}

#[test]
fn what_cannot_be_attached_to_says_so() {
    let Some(life) = Life::new("what_cannot_be_attached_to_says_so") else { return };
    let root = busybox_root().to_str().unwrap();
    let words = life.words(&["run", "--rm"], &["--name", "fore"], "echo ready; exec sleep 1000");
    let mut fore = life.meanwhile(&words);
    assert_eq!(line(&mut BufReader::new(fore.stdout.take().unwrap())), "ready\n");
    life.ok(&["create", "--name", "made", root]);
    life.detached(&["--name", "ended"], "exit 3");
    life.until("ended", "exited");
    life.detached(&["-it", "--name", "tty"], "sleep 1000");
    for (words, said) in [
        (&["attach", "nothing"][..], "there is no container \"nothing\""),
        (&["attach", "made"], "the container made is not running\n  hint: `mycontainer start` starts it"),
        (&["attach", "ended"], "the container ended is not running"),
        (&["attach", "fore"], "runs in the foreground of another command"),
        (&["attach", "tty"], "the input device is not a TTY"),
    ] {
        let told = life.fails(1, words);
        assert!(told.contains(said), "{words:?}: {told}");
    }
    for words in [&["attach"][..], &["attach", "a", "b"], &["attach", "--detach-keys", "ab", "tty"]] {
        life.fails(125, words);
    }
    kill("TERM", fore.id());
    kill("KILL", life.pid("fore"));
    fore.wait().unwrap();
}

#[test]
fn one_that_is_started_again_ends_the_attachment_with_its_first_end() {
    let test = "one_that_is_started_again_ends_the_attachment_with_its_first_end";
    let Some(life) = Life::new(test) else { return };
    life.detached(&["-i", "--name", "aa", "--restart", "always"], "read x; echo $x; exit 6");
    let mut first = life.meanwhile(&["attach", "aa"]);
    until_attached(&life, "aa", 1);
    first.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(end(first), (6, "hello\n".into(), String::new()));
    // And there is one again to attach to.
    assert!(wait_until(10, || life.state("aa").0 == "running"));
    let mut second = life.meanwhile(&["attach", "aa"]);
    until_attached(&life, "aa", 1);
    second.stdin.take().unwrap().write_all(b"again\n").unwrap();
    assert_eq!(end(second), (6, "again\n".into(), String::new()));
}

/// A reader that is another program: what is printed is its input, at its own pace.
#[test]
fn a_pipe_to_another_program_is_served() {
    let Some(life) = Life::new("a_pipe_to_another_program_is_served") else { return };
    let words = life.words(&["run"], &[], "seq 1 200000");
    let mut tool = life.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let counted = Command::new("wc").arg("-l").stdin(tool.stdout.take().unwrap()).output().unwrap();
    assert_eq!((stdout(&counted).trim(), code(tool.wait().unwrap())), ("200000", 0));
    // One that ends early ends who is attached, as it would any other program, and not the container.
    for before in [&["run"][..], &["start"]] {
        let words = life.words(&["run"], &["--name", "ee"], "seq 1 200000; exec sleep 1000");
        let start = ["start", "-a", "ee"].map(str::to_owned).to_vec();
        let words = if before == ["run"] { words } else { start };
        let mut tool = life.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let head = Command::new("head").args(["-n", "1"]).stdin(tool.stdout.take().unwrap()).output().unwrap();
        assert_eq!((stdout(&head), code(tool.wait().unwrap())), ("1\n".into(), 141));
        let is_at_rest = || std::fs::read_link(format!("/proc/{}/exe", life.pid("ee"))).is_ok();
        assert!(wait_until(5, is_at_rest) && life.state("ee").0 == "running");
        life.ok(&["stop", "-t", "0", "ee"]);
    }
}

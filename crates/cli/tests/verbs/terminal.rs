//! Interactive use, as a person has it: through a real pseudo terminal, under a shell with job control.

use crate::common::pty::{Session, wait_at_most, wait_for};
use crate::common::traces::{comm, processes_with, unique};
use crate::common::{busybox_root, can_run, need, run, run_ok, stderr, tool};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::process::{Command, Stdio};
use std::time::Duration;

/// An interactive bash in a view of the host, with this name; its first prompt is there.
fn bash(name: &str, more: &[&str]) -> Session {
    let words = [&["-it", "--network", "none", "--name", name], more, &["host", "bash", "--norc"]].concat();
    let mut session = Session::run(&words);
    session.expect("# ");
    // Else there are marks for pasted text around every line.
    session.send("bind 'set enable-bracketed-paste off'\r");
    session.expect("# ");
    session
}

/// A session with a program of the busybox root.
fn busybox(flags: &[&str], command: &[&str]) -> Session {
    let root = busybox_root().to_str().unwrap();
    Session::run(&[flags, &["--network", "none", root], command].concat())
}

fn pid(pid: i32) -> Pid {
    Pid::from_raw(pid).unwrap()
}

/// Waits until nothing lives that was started with this word, except the leader, which has it in its arguments.
fn all_gone(session: &Session, word: &str) {
    let others = || processes_with(word).into_iter().filter(|pid| *pid != session.leader()).collect::<Vec<_>>();
    let gone = wait_at_most(Duration::from_secs(3), || others().is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", others().iter().map(|pid| (*pid, comm(*pid))).collect::<Vec<_>>());
}

/// The guard of the tool in this session: its child by birth, which init or the nearest reaper has adopted by now or
/// later. Found by its name and by the arguments that it has in common with the tool.
fn guard(word: &str) -> i32 {
    wait_for("the guard", || processes_with(word).into_iter().find(|pid| comm(*pid) == "mc-terminal"))
}

#[test]
fn a_shell_has_a_prompt_line_editing_and_an_exit_code() {
    if !can_run("a_shell_has_a_prompt_line_editing_and_an_exit_code") {
        return;
    }
    let mut session = bash(&unique("edit"), &[]);
    assert!(session.is_raw());
    // Two to the left, one letter; then back to the beginning; then one rubbed out.
    session.send("cho ab$((1+1))d\x1b[Dc\x01e\x05eX\x7f\r");
    session.expect("ab2cde\r\n");
    session.send("tty; test -t 0 && test -t 1 && test -t 2 && echo three\r");
    session.expect("/dev/pts/0\r\nthree\r\n");
    // From the history.
    session.send("echo $((40+2))\r");
    session.expect("\r\n42\r\n");
    session.send("\x1b[A\r");
    session.expect("\r\n42\r\n");
    session.send("exit 7\r");
    assert_eq!(session.status(), 7);
    assert!(session.is_cooked());
}

#[test]
fn the_window_s_size_is_there_at_the_start_and_follows() {
    if !can_run("the_window_s_size_is_there_at_the_start_and_follows") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let program = "trap 'stty size' WINCH; stty size; while :; do sleep 1000 & wait; done";
    let words = ["-it", "--network", "none", root, "sh", "-c", program];
    let mut session = Session::run_with(&words, (33, 101), "");
    session.expect("33 101\r\n");
    wait_for("raw mode", || session.is_raw().then_some(()));
    for (rows, columns) in [(44, 122), (10, 20)] {
        session.resize(rows, columns);
        session.expect(&format!("{rows} {columns}\r\n"));
    }
    kill_process(pid(session.tool()), Signal::KILL).unwrap();
}

#[test]
fn the_terminal_is_raw_while_a_container_runs_and_only_then() {
    if !can_run("the_terminal_is_raw_while_a_container_runs_and_only_then") {
        return;
    }
    for (program, status) in [("exit 0", 0), ("kill -9 $$; sleep 9", 0), ("exit 200", 200)] {
        let name = unique("raw");
        let program = format!("echo up; read x; {}", program.replace("kill -9 $$; sleep 9", "exit 0"));
        let mut session = busybox(&["-it", "--name", &name], &["sh", "-c", &program]);
        session.expect("up");
        wait_for("raw mode", || session.is_raw().then_some(()));
        session.send("\r");
        assert_eq!(session.status(), status);
        assert!(session.is_cooked());
        all_gone(&session, &name);
    }
    // A command that is not there leaves the terminal as it was, too.
    let mut session = busybox(&["-it"], &["no-such-program"]);
    assert_eq!(session.status(), 127);
    assert!(session.is_cooked());
}

#[test]
fn sigterm_to_the_tool_ends_the_program_and_gives_the_terminal_back() {
    if !can_run("sigterm_to_the_tool_ends_the_program_and_gives_the_terminal_back") {
        return;
    }
    let name = unique("term");
    let polite = "trap 'echo told; exit 3' TERM; echo up; while :; do sleep 1000 & wait; done";
    let mut session = busybox(&["-it", "--name", &name], &["sh", "-c", polite]);
    session.expect("up");
    wait_for("raw mode", || session.is_raw().then_some(()));
    kill_process(pid(session.tool()), Signal::TERM).unwrap();
    session.expect("told");
    assert_eq!(session.status(), 3);
    assert!(session.is_cooked());
    all_gone(&session, &name);
    // One that does not listen is killed when it is asked again and again.
    let mut session = busybox(&["-it"], &["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1000 & wait; done"]);
    session.expect("up");
    wait_for("raw mode", || session.is_raw().then_some(()));
    let tool = pid(session.tool());
    // Apart, for what is pending already is not counted twice.
    for _ in 0..4 {
        let _ = kill_process(tool, Signal::TERM);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(session.status(), 137);
    assert!(session.is_cooked());
}

#[test]
fn kill_9_of_the_tool_gives_the_terminal_back_and_ends_the_container() {
    if !can_run("kill_9_of_the_tool_gives_the_terminal_back_and_ends_the_container") {
        return;
    }
    for whole_group in [false, true] {
        let name = unique("kill");
        let mut session = bash(&name, &[]);
        session.send("sleep 1000 & echo up\r");
        session.expect("\r\nup\r\n");
        assert!(session.is_raw());
        let tool = pid(session.tool());
        guard(&name);
        match whole_group {
            false => kill_process(tool, Signal::KILL).unwrap(),
            // The tool is a job of its own, so it leads its group.
            true => kill_process_group(tool, Signal::KILL).unwrap(),
        }
        let back = wait_at_most(Duration::from_secs(1), || session.is_cooked().then_some(()));
        assert!(back.is_some(), "the terminal is still raw a second after kill -9 (group: {whole_group})");
        assert_eq!(session.status(), 137);
        all_gone(&session, &name);
    }
}

#[test]
fn without_its_guard_a_killed_tool_leaves_the_terminal_raw() {
    // The test of the test above: nothing but the guard sets the terminal back.
    if !can_run("without_its_guard_a_killed_tool_leaves_the_terminal_raw") {
        return;
    }
    let name = unique("unguarded");
    let mut session = bash(&name, &[]);
    kill_process(pid(guard(&name)), Signal::KILL).unwrap();
    kill_process(pid(session.tool()), Signal::KILL).unwrap();
    assert_eq!(session.status(), 137);
    assert!(session.is_raw());
    all_gone(&session, &name);
}

#[test]
fn control_keys_are_the_container_s() {
    if !can_run("control_keys_are_the_container_s") {
        return;
    }
    for more in [&[][..], &["--init"]] {
        let mut session = bash(&unique("keys"), more);
        // Ctrl-C interrupts the program in the foreground and not the shell.
        // Said by the program itself, for a key that comes before it is in the foreground is the shell's.
        session.send("sh -c 'echo go; exec sleep 1000'\r");
        session.expect("go\r\n");
        session.send("\x03");
        session.expect("^C");
        session.expect("# ");
        session.send("echo \"was $?\"\r");
        session.expect("\r\nwas 130\r\n");
        // Ctrl-Z stops it, fg goes on with it.
        session.send("sh -c 'echo one; read x; echo got $x'\r");
        session.expect("one\r\n");
        session.send("\x1a");
        session.expect("Stopped");
        session.expect("# ");
        session.send("jobs\r");
        session.expect("[1]+  Stopped");
        session.expect("# ");
        session.send("fg\r");
        session.expect("read x");
        session.send("two\r");
        session.expect("\r\ngot two\r\n");
        session.expect("# ");
        // Ctrl-\ as well; Ctrl-D at last ends the shell.
        session.send("sh -c 'echo go; exec sleep 1000'\r");
        session.expect("go\r\n");
        session.send("\x1c");
        session.expect("Quit");
        session.expect("# ");
        session.send("false\r");
        session.expect("# ");
        session.send("\x04");
        assert_eq!(session.status(), 1, "{more:?}: the status of the last command");
        assert!(session.is_cooked());
    }
}

#[test]
fn an_init_with_a_terminal_ends_with_the_program_s_status() {
    if !can_run("an_init_with_a_terminal_ends_with_the_program_s_status") {
        return;
    }
    let mut session = bash(&unique("init"), &["--init"]);
    session.send("cat /proc/1/comm; echo $$\r");
    let text = session.expect("\r\n2\r\n");
    assert!(text.contains("mycontainer") || text.contains("exe"), "PID 1 is {text:?}");
    session.send("exit 9\r");
    assert_eq!(session.status(), 9);
    assert!(session.is_cooked());
    let mut session = Session::run(&["-it", "--init", "--network", "none", "host", "sleep", "1000"]);
    wait_for("raw mode", || session.is_raw().then_some(()));
    std::thread::sleep(Duration::from_millis(100));
    session.send("\x03");
    assert_eq!(session.status(), 130);
}

#[test]
fn a_big_paste_arrives_whole() {
    if !can_run("a_big_paste_arrives_whole") {
        return;
    }
    let line = |n: usize| format!("{n:06} {}\n", "abcdefghij0123456789".repeat(2));
    let paste: String = (0..1400).map(line).collect();
    assert!(paste.len() > 64 << 10);
    let mut session =
        busybox(&["-it"], &["sh", "-c", "stty -echo; echo up; cat >/tmp/paste-$$; md5sum </tmp/paste-$$"]);
    session.expect("up");
    wait_for("raw mode", || session.is_raw().then_some(()));
    session.send(paste.replace('\n', "\r"));
    session.send("\x04");
    let mut judge = Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut judge.stdin.take().unwrap(), paste.as_bytes()).unwrap();
    let judged = judge.wait_with_output().unwrap();
    session.expect(String::from_utf8_lossy(&judged.stdout).trim());
    assert_eq!(session.status(), 0);
}

#[test]
fn a_flood_of_output_arrives_whole() {
    if !can_run("a_flood_of_output_arrives_whole") {
        return;
    }
    for flags in ["-it", "-t", "-i"] {
        let mut session = busybox(&[flags], &["seq", "200000"]);
        assert_eq!(session.status(), 0, "{flags}");
        let seen = session.seen();
        assert!(!seen.contains("\r\r"), "{flags}: line ends are made once");
        let numbers = seen.split('\n').map(|line| line.trim_end_matches('\r')).take(200_000);
        let wrong = numbers.enumerate().find(|(n, text)| *text != (n + 1).to_string());
        assert_eq!(wrong, None, "{flags}");
    }
}

#[test]
fn a_terminal_without_input() {
    if !can_run("a_terminal_without_input") {
        return;
    }
    // In a terminal: what is typed is ours as before, so Ctrl-C is a signal to the tool, which passes it on.
    let program = "trap 'exit 5' INT; test -t 0 && test -t 1 && tty; while :; do sleep 1000 & wait; done";
    let mut session = busybox(&["-t"], &["sh", "-c", program]);
    session.expect("/dev/pts/0");
    assert!(session.is_cooked());
    session.send("\x03");
    assert_eq!(session.status(), 5);
    // In a pipe: there is a terminal inside all the same, with its line ends.
    let root = busybox_root().to_str().unwrap();
    let text = run_ok(&["-t", "--network", "none", root, "sh", "-c", "tty; echo two"]);
    assert_eq!(text, "/dev/pts/0\r\ntwo\r\n");
    assert_eq!(run(&["-t", "--network", "none", root, "sh", "-c", "exit 4"]).status.code(), Some(4));
}

#[test]
fn it_without_a_terminal_is_an_error() {
    if !can_run("it_without_a_terminal_is_an_error") {
        return;
    }
    let output = run(&["-it", "--network", "none", "host", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("not a TTY") && stderr(&output).contains("hint: "), "{}", stderr(&output));
    let mut session = Session::run_with(&["-it", "--network", "none", "host", "true"], (24, 80), "</dev/null");
    session.expect("not a TTY");
    assert_eq!(session.status(), 125);
}

#[test]
fn a_closed_window_ends_the_container() {
    if !can_run("a_closed_window_ends_the_container") {
        return;
    }
    for (flags, command) in
        [("-it", "exec bash --norc"), ("-it", "echo '# '; exec sleep 1000"), ("-t", "echo '# '; exec sleep 1000")]
    {
        let name = unique("hup");
        let words = [flags, "--network", "none", "--name", &name, "host", "bash", "-c", command];
        let mut session = Session::run(&words);
        session.expect("# ");
        session.tool();
        session.hang_up();
        let gone = wait_at_most(Duration::from_secs(3), || {
            processes_with(&name).into_iter().all(|pid| pid == session.leader()).then_some(())
        });
        for pid in processes_with(&name).into_iter().filter(|_| gone.is_none()) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        assert!(gone.is_some(), "{flags} {command:?}: the container goes on without its terminal");
    }
}

#[test]
fn without_t_the_tool_s_terminal_is_out_of_reach() {
    if !can_run("without_t_the_tool_s_terminal_is_out_of_reach") {
        return;
    }
    // The program must not hold the person's terminal: it could read what is typed later, or type itself. (TIOCSTI)
    let program = "for fd in 0 1 2; do test -t $fd && echo terminal-at-$fd; done; (: </dev/tty) 2>/dev/null && echo has-tty; \
                   readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; echo to-err >&2; echo done";
    for flags in [&[][..], &["-i"]] {
        let mut session = busybox(flags, &["sh", "-c", program]);
        assert_eq!(session.status(), 0);
        let seen = session.seen();
        assert!(seen.contains("done\r\n") && seen.contains("to-err\r\n"), "{seen}");
        for leak in ["terminal-at", "has-tty", "/dev/pts"] {
            assert!(!seen.contains(leak), "{flags:?}: {seen}");
        }
        assert!(session.is_cooked());
    }
    // What is typed arrives with -i, and Ctrl-D is its end.
    let mut session = busybox(&["-i"], &["sh", "-c", "echo up; cat"]);
    session.expect("up\r\n");
    session.send("hello\r");
    session.expect("hello\r\nhello\r\n");
    session.send("\x04");
    assert_eq!(session.status(), 0);
}

#[test]
fn without_t_ctrl_c_reaches_the_program() {
    if !can_run("without_t_ctrl_c_reaches_the_program") {
        return;
    }
    let mut session = busybox(&[], &["sh", "-c", "trap 'exit 6' INT; echo up; while :; do sleep 1000 & wait; done"]);
    session.expect("up");
    session.send("\x03");
    assert_eq!(session.status(), 6);
    // PID 1 without a handler does not feel it, as the kernel has it; asked for the fourth time it is killed.
    let mut session = busybox(&[], &["sh", "-c", "echo up; exec sleep 1000"]);
    session.expect("up");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(30));
        session.send("\x03");
    }
    assert_eq!(session.status(), 137);
}

#[test]
fn it_works_in_a_pipe_without_any_terminal() {
    if !can_run("it_works_in_a_pipe_without_any_terminal") {
        return;
    }
    if !need("it_works_in_a_pipe_without_any_terminal", std::path::Path::new("/usr/bin/ps").exists(), "no ps") {
        return;
    }
    // As `make run CMD="ps -e"` in a pipe: a session without a controlling terminal.
    let output = Command::new("setsid")
        .args(["--wait", tool(), "run", "--rm", "--network", "none", "host", "ps", "-e", "-o", "pid=,comm="])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(crate::common::stdout(&output).trim(), "1 ps");
    assert_eq!(stderr(&output), "");
}

//! `kill`, `stop` and `wait`: how containers end, and who hears of it.

use crate::common::{stderr, stdout};
use crate::fixtures::guest::{Guest, machine, pause};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use crate::fixtures::peers::Peers;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn image() -> TestImage {
    TestImage::busybox()
}

/// A command that goes on meanwhile.
fn meanwhile(peers: &Peers, words: &[&str]) -> Child {
    peers.ours_command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Says which signal came, and ends with its number.
const TELLS: &str = "for s in HUP INT TERM USR1 USR2; do trap \"echo got $s; exit 3\" $s; done; echo ready; \
                     while :; do sleep 0.05; done";
/// Nothing but SIGKILL ends it.
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 1; done";

#[test]
fn a_signal_has_names_and_a_number() {
    if !has("a_signal_has_names_and_a_number", &[]) {
        return;
    }
    let peers = machine(image());
    for (flags, got) in [
        (&["-s", "TERM"][..], "got TERM"),
        (&["--signal", "SIGUSR1"], "got USR1"),
        (&["--signal=12"], "got USR2"),
        (&["-s", "hup"], "got HUP"),
    ] {
        let mut guest = Guest::start(&peers, "guest", &[], "./layout", TELLS);
        assert_eq!(peers.ours_ok(&[&["kill"], flags, &["guest"]].concat()), "guest\n");
        assert_eq!((guest.line().as_str(), guest.end()), (got, 3), "{flags:?}");
    }
    let mut guest = Guest::start(&peers, "guest", &[], "./layout", DEAF);
    for (flags, said) in [("-s=NONSENSE", "there is no such signal"), ("-s=0", "no such signal"), ("-s=99", "no such")]
    {
        let told = peers.ours_fails(125, &["kill", flags, "guest"]);
        assert!(told.contains(said), "{told}");
    }
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let output = peers.ours(&["container", "kill", "nothing", "made", "guest"]);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("guest\n", Some(1)));
    let said = stderr(&output);
    assert!(said.contains("there is no container \"nothing\""), "{said}");
    assert!(said.contains("the container made is not running"), "{said}");
    assert_eq!(guest.end(), 137);
}

#[test]
fn stop_asks_first_and_kills_then() {
    if !has("stop_asks_first_and_kills_then", &[]) {
        return;
    }
    let peers = machine(image());
    for (root, flags, got) in [
        ("./layout", &[][..], "got TERM"),
        ("./layout", &["-s", "INT"], "got INT"),
        ("localhost/stops:1", &[], "got USR1"),
        ("localhost/stops:1", &["--signal", "HUP"], "got HUP"),
    ] {
        crate::fixtures::formats::write_docker_archive(
            &peers.path("stops"),
            &["localhost/stops:1"],
            &image().stop_signal("SIGUSR1"),
        );
        peers.ours_ok(&["load", "-q", "-i", "stops"]);
        let mut guest = Guest::start(&peers, "guest", &[], root, TELLS);
        assert_eq!(peers.ours_ok(&[&["stop"], flags, &["guest"]].concat()), "guest\n");
        // It is gone when the command has ended.
        assert_eq!(peers.names("run/mycontainer/containers"), [""; 0]);
        assert_eq!((guest.line().as_str(), guest.end()), (got, 3), "{root} {flags:?}");
    }
    // Side by side: three that do not listen take the time of one.
    let mut guests: Vec<Guest> =
        ["aa", "bb", "cc"].iter().map(|name| Guest::start(&peers, name, &[], "./layout", DEAF)).collect();
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let begun = Instant::now();
    let output = peers.ours(&["container", "stop", "--time", "1", "aa", "nothing", "bb", "made", "cc", "aa"]);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_millis(2500), "{took:?}");
    let mut stopped: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    stopped.sort();
    assert_eq!((stopped.join(" ").as_str(), output.status.code()), ("aa aa bb cc made", Some(1)));
    assert!(stderr(&output).contains("there is no container \"nothing\""), "{}", stderr(&output));
    assert!(guests.iter_mut().all(|guest| guest.end() == 137));
    peers.ours_fails(125, &["stop", "-t", "soon", "aa"]);
    // For ever.
    let mut guest = Guest::start(&peers, "dd", &[], "./layout", DEAF);
    let mut stop = meanwhile(&peers, &["stop", "-t", "-1", "dd"]);
    pause(1500);
    assert!(stop.try_wait().unwrap().is_none());
    peers.ours_ok(&["kill", "dd"]);
    assert!(stop.wait_with_output().unwrap().status.success());
    assert_eq!(guest.end(), 137);
}

#[test]
fn who_waits_hears_the_exit_code() {
    if !has("who_waits_hears_the_exit_code", &[]) {
        return;
    }
    let peers = machine(image());
    let mut guest = Guest::start(&peers, "guest", &[], "./layout", "echo ready; sleep 2; exit 42");
    let waits: Vec<Child> = (0..3).map(|_| meanwhile(&peers, &["wait", "guest"])).collect();
    for wait in waits {
        let output = wait.wait_with_output().unwrap();
        assert!(output.status.success() && stdout(&output) == "42\n", "{output:?}");
    }
    assert_eq!(guest.end(), 42);
    // Several, of which the last ends first.
    let mut one = Guest::start(&peers, "one", &[], "./layout", "echo ready; sleep 1.5; exit 1");
    let mut two = Guest::start(&peers, "two", &[], "./layout", "echo ready; sleep 0.5; exit 2");
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let output = peers.ours(&["container", "wait", "one", "nothing", "two", "made"]);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("1\n2\n0\n", Some(1)));
    assert_eq!((one.end(), two.end()), (1, 2));
    // By a signal; and a program that cannot be started at all has Docker's code.
    let mut guest = Guest::start(&peers, "guest", &[], "./layout", DEAF);
    let wait = meanwhile(&peers, &["wait", "guest"]);
    pause(300);
    peers.ours_ok(&["kill", "guest"]);
    assert_eq!(stdout(&wait.wait_with_output().unwrap()), "137\n");
    assert_eq!(guest.end(), 137);
    // Its tool is killed: nobody knows.
    let mut guest = Guest::start(&peers, "guest", &[], "./layout", DEAF);
    let wait = meanwhile(&peers, &["wait", "guest"]);
    pause(300);
    let _ = guest.tool.kill();
    let _ = guest.tool.wait();
    let output = wait.wait_with_output().unwrap();
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(1)));
    assert!(stderr(&output).contains("nobody knows how the container guest ended"), "{}", stderr(&output));
    peers.ours_fails(1, &["rm", "-f", "guest"]);
}

//! Health checks: how containers are, who says so, and what a check may do.

use crate::common::{code, stderr, stdout, wait_until};
use crate::fixtures::guest::{machine, pause};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use crate::fixtures::peers::Peers;
use serde_json::{Value, json};

fn image() -> TestImage {
    TestImage::busybox().cmd(&["sleep", "1000"])
}

fn place(name: &str, image: TestImage) -> Option<Peers> {
    has(name, &[]).then(|| machine(image))
}

/// A container of the layout in the background; its id.
#[track_caller]
fn begin(peers: &Peers, name: &str, flags: &[&str]) -> String {
    let words = ["run", "-d", "--network", "none", "--name", name];
    peers.ours_ok(&[&words, flags, &["./layout"]].concat()).trim_end().to_owned()
}

#[track_caller]
fn state(peers: &Peers, name: &str) -> Value {
    let shown: Value = serde_json::from_str(&peers.ours_ok(&["inspect", name])).unwrap();
    shown[0]["State"].clone()
}

#[track_caller]
fn wait_for(peers: &Peers, name: &str, status: &str) -> Value {
    let is_so = || state(peers, name)["Health"]["Status"] == status;
    assert!(wait_until(20, is_so), "{name} does not become {status}: {:#}", state(peers, name));
    state(peers, name)["Health"].clone()
}

fn status(peers: &Peers, flags: &[&str]) -> String {
    peers.ours_ok(&[&["ps", "--format", "{{.Names}} {{.Status}}"], flags].concat())
}

#[test]
fn a_check_tells_how_a_container_is() {
    let Some(peers) = place("a_check_tells_how_a_container_is", image()) else { return };
    let check = "test -e /well || { echo it is ill; exit 3; }";
    begin(&peers, "one", &["--health-cmd", check, "--health-interval", "300ms", "--health-retries", "2"]);
    begin(&peers, "slow", &["--health-cmd", "true"]);
    begin(&peers, "plain", &[]);
    assert_eq!(state(&peers, "slow")["Health"], json!({ "Status": "starting", "FailingStreak": 0, "Log": [] }));
    assert_eq!(state(&peers, "plain").get("Health"), None);
    let health = wait_for(&peers, "one", "unhealthy");
    assert!(health["FailingStreak"].as_u64() >= Some(2), "{health:#}");
    let last = health["Log"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["ExitCode"], &last["Output"]), (&json!(3), &json!("it is ill\n")));
    assert!(last["Start"].as_str() < last["End"].as_str(), "{last:#}");
    let listed = status(&peers, &[]);
    assert!(listed.lines().any(|l| l.starts_with("one Up ") && l.ends_with(" (unhealthy)")), "{listed}");
    assert!(listed.lines().any(|l| l.starts_with("slow Up ") && l.ends_with(" (health: starting)")), "{listed}");
    assert!(listed.lines().any(|l| l.starts_with("plain Up ") && !l.contains('(')), "{listed}");
    for (filter, expected) in [("none", "plain "), ("starting", "slow "), ("unhealthy", "one "), ("healthy", "")] {
        let listed = status(&peers, &["-f", &format!("health={filter}")]);
        assert!(listed.starts_with(expected) && listed.lines().count() == expected.len().min(1), "{filter}: {listed}");
    }
    peers.ours_ok(&["exec", "-u", "0", "one", "touch", "/well"]);
    let health = wait_for(&peers, "one", "healthy");
    assert_eq!(health["FailingStreak"], 0);
    // The last five are kept, the newest last.
    let is_whole = || {
        let log = state(&peers, "one")["Health"]["Log"].clone();
        log.as_array().is_some_and(|log| log.len() == 5 && log.iter().all(|one| one["ExitCode"] == 0))
    };
    assert!(wait_until(20, is_whole), "{:#}", state(&peers, "one"));
    // One that does not run is not well; when it is started it is looked at anew.
    peers.ours_ok(&["stop", "-t", "0", "one"]);
    assert_eq!(state(&peers, "one")["Health"]["Status"], "unhealthy");
    let listed = status(&peers, &["-a", "-f", "name=one"]);
    assert!(listed.starts_with("one Exited (137)") && !listed.contains("healthy"), "{listed}");
    peers.ours_ok(&["start", "one"]);
    assert!(state(&peers, "one")["Health"]["Log"].as_array().unwrap().len() < 5);
    wait_for(&peers, "one", "healthy");
    peers.ours_ok(&["rm", "-f", "one", "slow", "plain"]);
    assert_eq!(peers.names("lib/mycontainer/containers"), [""; 0]);
}

#[test]
fn the_image_has_the_first_word_and_the_person_the_last() {
    let check = json!({ "Test": ["CMD-SHELL", "echo $HOME; id -un; pwd"], "Interval": 200_000_000 });
    let image = image().user("ann").working_dir("/tmp").healthcheck(check.clone());
    let Some(peers) = place("the_image_has_the_first_word_and_the_person_the_last", image) else { return };
    begin(&peers, "own", &[]);
    let health = wait_for(&peers, "own", "healthy");
    assert_eq!(health["Log"][0]["Output"], "/home/ann\nann\n/tmp\n");
    let config = peers.ours_ok(&["inspect", "-f", "{{json .Config.Healthcheck}}", "own"]);
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap(), check);
    begin(&peers, "other", &["--health-cmd", "echo no >&2; false", "--health-retries=1"]);
    assert_eq!(wait_for(&peers, "other", "unhealthy")["Log"][0]["Output"], "no\n");
    for (name, flag) in [("off", "--no-healthcheck"), ("none", "--health-cmd=none")] {
        begin(&peers, name, &[flag]);
        assert_eq!(peers.ours_ok(&["inspect", "-f", "{{.Config.Healthcheck.Test}}", name]), "[NONE]\n");
        assert_eq!(state(&peers, name).get("Health"), None);
    }
    // One that goes when it ends is looked after, too, in front and in the background.
    begin(&peers, "goes", &["--rm"]);
    let words = ["run", "--rm", "--network", "none", "--name", "front", "./layout", "sleep", "5"];
    let mut front = peers.ours_command(&words).spawn().unwrap();
    wait_for(&peers, "goes", "healthy");
    assert!(wait_until(10, || peers.ours(&["inspect", "front"]).status.success()));
    wait_for(&peers, "front", "healthy");
    peers.ours_ok(&["kill", "front", "goes"]);
    assert_eq!(code(front.wait().unwrap()), 137);
    assert!(wait_until(10, || peers.ours_ok(&["ps", "-aq"]).lines().count() == 4));
    peers.ours_ok(&["rm", "-f", "own", "other", "off", "none"]);
    assert_eq!(peers.names("lib/mycontainer/containers"), [""; 0]);
}

#[test]
fn a_start_has_its_time() {
    let Some(peers) = place("a_start_has_its_time", image()) else { return };
    let quick = ["--health-interval=100ms", "--health-retries=1"];
    let long = ["--health-start-period=1h", "--health-start-interval=100ms", "--health-cmd=test -e /well"];
    begin(&peers, "starts", &[&quick[..], &long].concat());
    let has_failed = || state(&peers, "starts")["Health"]["Log"].as_array().unwrap().len() >= 3;
    assert!(wait_until(20, has_failed));
    assert_eq!(state(&peers, "starts")["Health"]["Status"], "starting");
    assert_eq!(state(&peers, "starts")["Health"]["FailingStreak"], 0);
    peers.ours_ok(&["exec", "starts", "touch", "/well"]);
    wait_for(&peers, "starts", "healthy");
    peers.ours_ok(&["exec", "starts", "rm", "/well"]);
    wait_for(&peers, "starts", "unhealthy");
    peers.ours_ok(&["rm", "-f", "starts"]);
}

#[test]
fn what_takes_too_long_or_prints_too_much() {
    let Some(peers) = place("what_takes_too_long_or_prints_too_much", image()) else { return };
    let quick = ["--health-interval=100ms", "--health-retries=1"];
    begin(
        &peers,
        "late",
        &[&quick[..], &["--health-timeout=300ms", "--health-cmd=echo begun; exec sleep 777"]].concat(),
    );
    let health = wait_for(&peers, "late", "unhealthy");
    assert_eq!(health["Log"][0]["ExitCode"], -1);
    assert_eq!(health["Log"][0]["Output"], "Health check exceeded timeout (300ms): begun\n");
    // What was killed is gone, in the container too: there is at most the probe of this moment.
    pause(1500);
    let listed = peers.ours_ok(&["exec", "late", "ps", "-o", "args"]);
    assert!(listed.matches("sleep 777").count() <= 1, "{listed}");
    // It does not stand still at a full pipe, and of its words the first are kept.
    let script = "head -c 1000000 /dev/zero | tr '\\0' x";
    begin(&peers, "loud", &[&quick[..], &["--health-cmd", script]].concat());
    let output = wait_for(&peers, "loud", "healthy")["Log"][0]["Output"].as_str().unwrap().to_owned();
    assert_eq!(output, "x".repeat(4096) + "...");
    // What is not there.
    begin(&peers, "gone", &[&quick[..], &[r#"--health-cmd=["/no/such"]"#]].concat());
    let last = wait_for(&peers, "gone", "unhealthy")["Log"][0].clone();
    assert!(last["ExitCode"] == 127 && last["Output"].as_str().unwrap().contains("/no/such"), "{last:#}");
    // A process that it leaves behind does not hold it up.
    begin(&peers, "leaves", &[&quick[..], &["--health-cmd=sleep 20 & echo done"]].concat());
    assert_eq!(wait_for(&peers, "leaves", "healthy")["Log"][0]["Output"], "done\n");
    peers.ours_ok(&["rm", "-f", "late", "loud", "gone", "leaves"]);
}

#[test]
fn one_that_stands_still_is_not_probed() {
    let Some(peers) = place("one_that_stands_still_is_not_probed", image()) else { return };
    let quick = ["--health-interval=100ms", "--health-timeout=500ms", "--health-retries=1"];
    begin(&peers, "still", &[&quick[..], &["--health-cmd=sleep 0.05"]].concat());
    wait_for(&peers, "still", "healthy");
    peers.ours_ok(&["pause", "still"]);
    pause(700);
    let before = state(&peers, "still");
    assert_eq!((&before["Status"], &before["Health"]["Status"]), (&json!("paused"), &json!("healthy")));
    pause(1000);
    assert_eq!(state(&peers, "still")["Health"], before["Health"]);
    peers.ours_ok(&["unpause", "still"]);
    assert!(wait_until(10, || state(&peers, "still")["Health"] != before["Health"]));
    assert_eq!(state(&peers, "still")["Health"]["Status"], "healthy");
    peers.ours_ok(&["rm", "-f", "still"]);
}

/// Bytes that a process has for itself, and the number of its descriptors and children.
fn costs(pid: &str) -> (u64, usize) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (kilobytes << 10, std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

#[test]
fn a_monitor_does_not_grow() {
    let Some(peers) = place("a_monitor_does_not_grow", image()) else { return };
    let flags = ["--health-interval=1ms", "--health-cmd=head -c 5000 /dev/zero; echo x >>/count"];
    let id = begin(&peers, "busy", &flags);
    let count = || peers.ours_ok(&["exec", "busy", "cat", "/count"]).lines().count();
    wait_for(&peers, "busy", "healthy");
    assert!(wait_until(60, || count() > 20));
    let record = std::fs::read_to_string(peers.path(&format!("state/run/mycontainer/containers/{id}"))).unwrap();
    let pid = serde_json::from_str::<Value>(record.lines().next().unwrap()).unwrap()["tool_pid"].to_string();
    let (before, descriptors_before) = costs(&pid);
    let probes = count();
    assert!(wait_until(60, || count() > probes + 100));
    peers.ours_ok(&["pause", "busy"]);
    pause(500);
    let (after, descriptors) = costs(&pid);
    assert!(after < before + (64 << 10), "{before} bytes before, {after} after {} probes", count_of(&peers, &id));
    assert!(descriptors <= descriptors_before + 3, "{descriptors_before} before, {descriptors} after");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert!(children.split_whitespace().count() <= 2, "{children}");
    // A probe that is only starting is no reason not to remove it.
    peers.ours_ok(&["unpause", "busy"]);
    peers.ours_ok(&["rm", "-f", "busy"]);
}

fn count_of(peers: &Peers, id: &str) -> usize {
    let file = peers.ours_dir().join("containers").join(id).join("upper/count");
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[test]
fn flags_that_are_wrong() {
    let Some(peers) = place("flags_that_are_wrong", image()) else { return };
    for (flags, why) in [
        (&["--health-interval=5"][..], "it is no time"),
        (&["--health-timeout=999us"], "below 1ms"),
        (&["--health-retries=-1"], "it is no number of failures"),
        (&["--no-healthcheck", "--health-cmd=true"], "contradict each other"),
    ] {
        let output = peers.ours(&[&["run", "--rm"], flags, &["./layout", "true"]].concat());
        assert!(code(output.status) == 125 && stderr(&output).contains(why), "{flags:?}: {}", stderr(&output));
    }
    let output = peers.ours(&["ps", "-f", "health=ill"]);
    assert!(stderr(&output).contains("a health is one of"), "{}{}", stdout(&output), stderr(&output));
}

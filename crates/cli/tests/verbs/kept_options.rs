//! What a container was made with is what it is started with, however often: it is written down in between.

use crate::common::wait_until;
use crate::fixtures::guest::machine;
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use serde_json::{Value, json};

/// Tells how it is run, waits, and says which signal ends it.
const TELLS: &str = "exec >>/out/log; trap 'echo got 37; exit 5' 37; ulimit -Sn; ulimit -Hn; grep CapBnd /proc/self/status; \
                     echo $A; echo ready; while :; do sleep 0.05; done";

#[test]
fn every_start_has_the_flags_of_the_first() {
    if !has("every_start_has_the_flags_of_the_first", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox().stop_signal("SIGRTMIN+3"));
    std::fs::create_dir(peers.path("out")).unwrap();
    let log = || std::fs::read_to_string(peers.path("out/log")).unwrap_or_default();
    let volume = format!("{}:/out", peers.path("out").display());
    for flags in [&[][..], &["--stop-signal", "RTMAX-27"]] {
        let limits = ["--ulimit", "nofile=100:200", "-m", "64m", "--memory-swap", "-1", "--pids-limit", "-1"];
        let words =
            ["run", "-d", "--network", "none", "--name", "kept", "--cap-drop", "ALL", "-e", "A=own", "-v", &volume];
        peers.ours_ok(&[&words, &limits[..], flags, &["./layout", "sh", "-c", TELLS]].concat());
        let shown: Value = serde_json::from_str(&peers.ours_ok(&["inspect", "kept"])).unwrap();
        let host = &shown[0]["HostConfig"];
        assert_eq!((&host["MemorySwap"], &host["PidsLimit"]), (&json!(-1), &json!(-1)));
        let mut told = String::new();
        for start in 1..=3 {
            let said = |what: &str| log().matches(what).count();
            assert!(wait_until(10, || said("ready") == start), "{}", log());
            peers.ours_ok(&["stop", "kept"]);
            assert_eq!(said("got 37"), start, "{}", log());
            told = log();
            assert_eq!(peers.ours_ok(&["inspect", "-f", "{{.State.ExitCode}}", "kept"]), "5\n");
            peers.ours_ok(&["start", "kept"]);
        }
        let lines: Vec<&str> = told.lines().collect();
        let (first, rest) = lines.split_at(lines.len() / 3);
        assert_eq!(first, ["100", "200", "CapBnd:\t0000000000000000", "own", "ready", "got 37"]);
        assert_eq!(rest, [first, first].concat());
        peers.ours_ok(&["rm", "-f", "kept"]);
        std::fs::remove_file(peers.path("out/log")).unwrap();
    }
}

#[test]
fn a_path_that_no_record_holds_is_told() {
    use std::os::unix::ffi::OsStrExt;
    if !has("a_path_that_no_record_holds_is_told", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let bad = peers.dir().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir_all(bad.join("root/bin")).unwrap();
    let layout = peers.path("layout").display().to_string();
    for words in [
        &["create", "-v", "./root:/x", &layout, "true"][..],
        &["create", "./root", "true"],
        &["run", "-d", "--network=none", "--device", "./root/null:/dev/x", &layout, "true"],
    ] {
        // The name in Latin-1, which no word of a test can be.
        let script = format!("cd caf*; exec {} \"$@\"", crate::common::tool());
        let output = peers.run(&[&["sh", "-c", &script, "sh"], words].concat());
        let said = crate::common::stderr(&output);
        assert!(crate::common::code(output.status) == 125 && said.contains("it is not UTF-8"), "{words:?}: {said}");
    }
    assert_eq!(peers.names("lib/mycontainer/containers"), [""; 0]);
}

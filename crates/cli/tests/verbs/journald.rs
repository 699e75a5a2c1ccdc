//! `--log-driver journald` beside systemd's own journal, which runs in a mount namespace of the test's and keeps what it is
//! told below the test's /run.

use crate::common::{stderr, stdout, tool, wait_until};
use crate::fixtures::guest::machine;
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use crate::fixtures::peers::Peers;
use std::path::Path;
use std::process::{Child, Stdio};

const JOURNALD: &str = "/lib/systemd/systemd-journald";
/// Of the machine whose journal it is.
const MACHINE: &str = "0123456789abcdef0123456789abcdef";
/// It hears of nothing but what is sent to its socket, and keeps that in memory.
const START: &str = "
    mkdir -p /run/journal.d /run/log/journal
    printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\nRateLimitIntervalSec=0\\n' >/run/journal.d/conf
    echo 0123456789abcdef0123456789abcdef >/run/journal.d/id
    mount --bind /run/journal.d/conf /etc/systemd/journald.conf
    mount --bind /run/journal.d/id /etc/machine-id
    exec /lib/systemd/systemd-journald";

struct Journald(Child);

impl Journald {
    fn start(peers: &Peers) -> Journald {
        let _ = std::fs::remove_file(peers.path("state/run/systemd/journal/socket"));
        let journald = Journald(peers.command(&["sh", "-ec", START]).spawn().unwrap());
        assert!(wait_until(20, || peers.path("state/run/systemd/journal/socket").exists()), "it does not listen");
        journald
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The records of a container, in their order.
fn records(peers: &Peers, name: &str) -> Vec<serde_json::Value> {
    let dir = format!("/run/log/journal/{MACHINE}");
    let said =
        peers.ok(&["journalctl", "-D", &dir, "-o", "json", "--no-pager", "--all", &format!("CONTAINER_NAME={name}")]);
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages(peers: &Peers, name: &str) -> Vec<String> {
    records(peers, name).iter().map(|record| record["MESSAGE"].as_str().unwrap_or("no text").to_owned()).collect()
}

#[test]
fn the_journal_has_what_a_container_prints() {
    const TEST: &str = "the_journal_has_what_a_container_prints";
    if !has(TEST, &["journalctl"])
        || !crate::common::need(TEST, Path::new(JOURNALD).exists(), "there is no systemd-journald")
    {
        return;
    }
    let peers = machine(TestImage::busybox());
    let journald = Journald::start(&peers);
    let flags = ["--network", "none", "--log-driver", "journald", "--log-opt", "tag={{.Name}}/{{.ID}}"];
    let more = ["--log-opt", "labels=com.example/role", "--label", "com.example/role=a db"];
    let script = "echo out; echo wrong >&2; printf '\\377\\n'; printf 'no newline'; head -c 40000 /dev/zero | tr '\\0' x; echo; echo end; \
                  while [ ! -e /go ]; do sleep 0.1; done; echo later; while [ ! -e /stop ]; do sleep 0.1; done; printf last";
    let words = [&["run", "-d", "--name", "says"], &flags[..], &more, &["./layout", "sh", "-c", script]].concat();
    let id = peers.ours_ok(&words).trim_end().to_owned();
    assert!(
        wait_until(20, || messages(&peers, "says").last().is_some_and(|last| last == "end")),
        "{:?}",
        messages(&peers, "says")
    );
    let all = records(&peers, "says");
    // The two streams are two pipes: what comes first of both is not said.
    let (out, wrong): (Vec<_>, Vec<_>) = all.iter().partition(|record| record["PRIORITY"] == "6");
    assert_eq!(
        wrong.iter().map(|one| (&one["MESSAGE"], &one["PRIORITY"])).collect::<Vec<_>>(),
        [(&"wrong".into(), &"3".into())]
    );
    assert_eq!(out[0]["MESSAGE"], "out");
    assert_eq!(out[1]["MESSAGE"], serde_json::json!([255]), "bytes that are no text are kept");
    for record in &all {
        let short = &id[..12];
        assert_eq!(record["CONTAINER_ID_FULL"], id.as_str());
        assert_eq!(record["CONTAINER_ID"], short);
        assert_eq!(record["CONTAINER_TAG"], format!("says/{short}"));
        assert_eq!(record["SYSLOG_IDENTIFIER"], record["CONTAINER_TAG"]);
        assert_eq!(record["COM_EXAMPLE_ROLE"], "a db", "{record}");
        assert_eq!(record["_TRANSPORT"], "journal");
    }
    // A long line in its pieces, of which the last alone is no part.
    let (last, parts) = out[2..out.len() - 1].split_last().unwrap();
    let is_part = |record: &serde_json::Value| record["CONTAINER_PARTIAL_MESSAGE"] == "true";
    assert!(!is_part(last) && !parts.is_empty() && parts.iter().all(|part| is_part(part)), "{parts:?}");
    let long: String = parts.iter().chain([last]).map(|record| record["MESSAGE"].as_str().unwrap()).collect();
    assert_eq!(long, format!("no newline{}", "x".repeat(40_000)));
    shows_what_was_printed(&peers, &id);
    // While it is started anew nothing is lost.
    drop(journald);
    peers.ours_ok(&["exec", "says", "touch", "/go"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(messages(&peers, "says").len(), all.len(), "nobody is there to take it");
    let _journald = Journald::start(&peers);
    let is_last = |text: &str| messages(&peers, "says").last().is_some_and(|last| last == text);
    assert!(wait_until(20, || is_last("later")), "{:?}", messages(&peers, "says"));
    let following = peers.command(&[tool(), "logs", "-f", "-n", "1", "says"]).stdout(Stdio::piped()).spawn().unwrap();
    peers.ours_ok(&["exec", "says", "touch", "/stop"]);
    assert_eq!(peers.ours_ok(&["wait", "says"]), "0\n");
    assert!(wait_until(20, || is_last("last")));
    let followed = following.wait_with_output().unwrap();
    assert_eq!((followed.status.code(), &*stdout(&followed)), (Some(0), "later\nlast"));
    assert!(peers.ours_ok(&["logs", "says"]).ends_with("end\nlater\nlast"));
    peers.ours_ok(&["rm", "says"]);
}

/// What `logs` shows is what the container has printed, to the time.
fn shows_what_was_printed(peers: &Peers, id: &str) {
    let logs = |flags: &[&str]| peers.ours(&[&["logs"], flags, &["says"]].concat());
    let long = format!("no newline{}\n", "x".repeat(40_000));
    let all = format!("out\n\u{fffd}\n{long}end\n");
    // Anybody may tell the journal that it is of a container.
    let forged = format!(
        "printf 'MESSAGE=forged\\nPRIORITY=6\\nCONTAINER_ID_FULL={id}\\nCONTAINER_NAME=forged\\n' | \
                          setpriv --reuid=65534 --clear-groups logger --journald"
    );
    peers.sh(&forged);
    assert!(wait_until(20, || messages(peers, "forged") == ["forged"]));
    let cases: [(&[&str], &str); 5] = [
        (&[], &all),
        (&["-n", "1"], "end\n"),
        (&["-n", "0"], ""),
        (&["--until", "1h"], ""),
        (&["--since", "1h", "-n", "1", "--details"], "COM_EXAMPLE_ROLE=a+db end\n"),
    ];
    for (flags, expected) in cases {
        let said = logs(flags);
        assert_eq!((said.status.code(), &*stdout(&said)), (Some(0), expected), "{flags:?}: {}", stderr(&said));
        if flags.is_empty() {
            assert_eq!(stderr(&said), "wrong\n");
        }
    }
    let said = stdout(&logs(&["-t", "-n", "1"]));
    let (time, rest) = said.split_once(' ').unwrap();
    assert!(time.len() == 30 && time.starts_with("20") && time.ends_with("000Z") && rest == "end\n", "{said}");
}

//! `stats`: what containers use, as the kernel counts it.

use crate::common::host::Host;
use crate::common::{code, stdout};
use crate::fixtures::guest::{Guest, machine, pause};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use serde_json::Value;
use std::process::Stdio;

/// `12.34%`.
fn percent(text: &Value) -> f64 {
    text.as_str().unwrap().strip_suffix('%').unwrap().parse().unwrap()
}

#[test]
fn who_works_is_told_from_who_sleeps() {
    if !has("who_works_is_told_from_who_sleeps", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let headings = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS\n";
    assert_eq!(peers.ours_ok(&["stats", "--no-stream"]), headings);
    let limit = ["-m", "64m"];
    // 20 MiB that nobody but it has.
    let hold = "x=$(head -c 20971520 /dev/zero | tr '\\0' x); echo ready; sleep 1000; :";
    let _sleeps = Guest::start(&peers, "sleeps", &limit, "./layout", hold);
    let mut works = Guest::start(&peers, "works", &limit, "./layout", "echo ready; while :; do :; done");
    let text = peers.ours_ok(&["stats", "--no-stream", "--format", "json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| lines.iter().find(|line| line["Name"] == name).unwrap_or_else(|| panic!("{text}"));
    let (sleeps, works_) = (of("sleeps"), of("works"));
    assert!(percent(&works_["CPUPerc"]) > 20.0 && percent(&sleeps["CPUPerc"]) < 10.0, "{text}");
    assert_eq!((&sleeps["PIDs"], &works_["PIDs"]), (&"2".into(), &"1".into()), "{text}");
    let usage = sleeps["MemUsage"].as_str().unwrap();
    let (used, limit) = usage.split_once(" / ").unwrap();
    let used: f64 = used.strip_suffix("MiB").unwrap().parse().unwrap();
    assert!((20.0..50.0).contains(&used) && limit == "64MiB", "{usage}");
    assert!((percent(&sleeps["MemPerc"]) - used / 64.0 * 100.0).abs() < 0.1, "{text}");
    assert_eq!(sleeps["NetIO"], "0B / 0B");
    let table = peers.ours_ok(&["container", "stats", "--no-stream", "works"]);
    assert!(table.starts_with("CONTAINER ID   NAME      CPU %  ") && table.lines().count() == 2, "{table}");
    assert_eq!(peers.ours_ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "works"]), "works 1\n");
    let ids = peers.ours_ok(&["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}"]);
    assert!(ids.lines().all(|id| id.len() == 64) && ids.lines().count() == 2, "{ids}");
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    for (code, words, said) in [
        (1, &["made"][..], "the container made is not running"),
        (1, &["nothing"], "there is no container"),
        (1, &["--format", "{{.Nonsense}}"], "Nonsense"),
        (125, &["--format", "{{"], "the template is wrong"),
    ] {
        let told = peers.ours_fails(code, &[&["stats", "--no-stream"], words].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
    // Again and again, until it has ended.
    let mut command = peers.ours_command(&["stats", "--format", "{{.Name}} {{.CPUPerc}}", "works"]);
    let stream = command.stdout(Stdio::piped()).spawn().unwrap();
    pause(2500);
    peers.ours_ok(&["kill", "works"]);
    assert_eq!(works.end(), 137);
    let output = stream.wait_with_output().unwrap();
    let text = stdout(&output);
    let pictures: Vec<&str> = text.split("\x1b[H\x1b[J").collect();
    assert!(code(output.status) == 0 && pictures.len() >= 3, "{pictures:?}");
    assert!(pictures[0].is_empty() && pictures[1].starts_with("works ") && pictures[2].starts_with("works "));
}

#[test]
fn what_goes_over_its_network_is_counted() {
    let Some(host) = Host::new("what_goes_over_its_network_is_counted", "") else { return };
    let mut guest = host.start(&[], "read x; true");
    let ask =
        || host.sh(&format!("{} stats --no-stream --format '{{{{.NetIO}}}}' {}", crate::common::tool(), guest.id));
    // 20 packets of a thousand bytes, and as many answers.
    host.net(&format!("ping -q -c20 -i0.01 -s1000 -W1 {}", guest.address));
    let text = ask();
    let size = |text: &str| text.trim().strip_suffix("kB").unwrap().parse::<f64>().unwrap();
    let (received, sent) = text.split_once(" / ").unwrap();
    assert!((20.0..30.0).contains(&size(received)) && (20.0..30.0).contains(&size(sent)), "{text}");
    guest.end_ok();
}

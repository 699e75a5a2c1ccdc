//! `logs`: what a container has printed, by stream, from the end, of a time, with times.

use crate::common::{stderr, stdout, wait_until};
use crate::fixtures::guest::machine;
use crate::fixtures::has;
use crate::fixtures::image::TestImage;

/// A log as Docker and we write it, in two files.
const OLD: &str = "{\"log\":\"first\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:01:05.000000000Z\"}\n\
                   {\"log\":\"wrong\\n\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"x\"},\"time\":\"2026-01-02T03:02:05.5Z\"}\n";
const NEW: &str = "{\"log\":\"third, \",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:03:05.000000000Z\"}\n\
                   {\"log\":\"in two\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:03:05.000000000Z\"}\n\
                   {\"log\":\"\\ufffd\\n\",\"stream\":\"stdout\",\"raw\":\"/wo=\",\"time\":\"2026-01-02T03:04:05.000000000Z\"}\n";

#[test]
fn what_was_printed_is_shown() {
    if !has("what_was_printed_is_shown", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let id = peers.ours_ok(&["create", "--name", "talks", "./layout"]).trim_end().to_owned();
    let dir = peers.ours_dir().join("containers").join(&id);
    let logs = |words: &[&str]| {
        let output = peers.ours_command(&[&["logs"], words].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
        (output.stdout.clone(), stderr(&output))
    };
    assert_eq!(logs(&["talks"]), (Vec::new(), String::new()), "it has not printed anything");
    std::fs::write(dir.join("log.json.1"), OLD).unwrap();
    std::fs::write(dir.join("log.json"), NEW).unwrap();
    let (first, third, last) = (&b"first\n"[..], &b"third, in two\n"[..], &b"\xff\n"[..]);
    for (words, out, err) in [
        (&["talks"][..], [first, third, last].concat(), "wrong\n"),
        (&["-f", &id[..10]], [first, third, last].concat(), "wrong\n"),
        (&["--tail", "all", "talks"], [first, third, last].concat(), "wrong\n"),
        (&["-n", "0", "talks"], vec![], ""),
        (&["-n2", "talks"], [third, last].concat(), ""),
        (&["talks", "--tail=3"], [third, last].concat(), "wrong\n"),
        (&["--since", "2026-01-02T03:02:05.5Z", "talks"], [third, last].concat(), "wrong\n"),
        (&["--until", "2026-01-02T04:02+01:00", "talks"], first.to_vec(), ""),
        (&["--since", "10m", "talks"], vec![], ""),
        (
            &["-tn2", "talks"],
            b"2026-01-02T03:03:05.000000000Z third, in two\n2026-01-02T03:04:05.000000000Z \xff\n".to_vec(),
            "",
        ),
        // As Docker: a line without them has a blank.
        (&["--details", "talks"], [&b" "[..], first, b" ", third, b" ", last].concat(), "tag=x wrong\n"),
        (
            &["--details", "-n3", "-t", "--until", "2026-01-02T03:02:05.5Z", "talks"],
            vec![],
            "2026-01-02T03:02:05.500000000Z tag=x wrong\n",
        ),
    ] {
        assert_eq!(logs(words), (out, err.to_owned()), "{words:?}");
    }
    std::fs::write(dir.join("log.json"), NEW.to_owned() + "{\"log\":\"to").unwrap();
    let note = "mycontainer: one record of the log cannot be read, and was passed over\n";
    assert_eq!(logs(&["-n1", "talks"]), (last.to_vec(), note.to_owned()));
    // Nobody reads the rest.
    let many = NEW.repeat(20_000);
    std::fs::write(dir.join("log.json"), many).unwrap();
    let script = "\"$1\" logs talks | head -n 1";
    let output = peers.command(&["sh", "-c", script, "sh", crate::common::tool()]).output().unwrap();
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("first\n", "wrong\n"));
    let said = peers.ours_fails(1, &["logs", "nobody"]);
    assert!(said.contains("there is no container \"nobody\""), "{said}");
    for (words, said) in [
        (&["logs"][..], "logs needs CONTAINER"),
        (&["logs", "-n", "many", "talks"], "it is no number of lines"),
        (&["logs", "--since", "yesterday", "talks"], "it is no time"),
        (&["logs", "--detail", "talks"], "logs has no flag --detail"),
    ] {
        let told = peers.ours_fails(125, words);
        assert!(told.contains(said), "{words:?}: {told}");
    }
    peers.ours_ok(&["rm", "talks"]);
}

#[test]
fn options_of_logs_are_held_against_the_driver() {
    if !has("options_of_logs_are_held_against_the_driver", &[]) {
        return;
    }
    for (words, said) in [
        (&["--log-driver", "syslog"][..], "json-file, k8s-file, journald and none"),
        (&["--log-opt", "compress=true"], "max-file of 2 or more, and max-size"),
        (&["--log-opt", "env-regex=a("], "it is no regular expression"),
        (&["--log-opt", "max-file=3"], "does nothing without max-size"),
        (&["--log-driver=none", "--log-opt=max-size=1m"], "nothing that the log driver none can do"),
    ] {
        let output = crate::common::run(&[words, &["host", "true"]].concat());
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{words:?}");
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn labels_and_variables_stand_beside_each_line() {
    if !has("labels_and_variables_stand_beside_each_line", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox().env("OF_IMAGE=1"));
    let flags = ["--network", "none", "--label", "role=a db", "--label", "hidden=x", "-e", "A=1", "-e", "B=2"];
    let options = ["--log-opt", "labels=role,none", "--log-opt", "env=A,OF_IMAGE,HOME"];
    let script = "echo out; echo wrong >&2; printf half; sleep 0.1; echo ' line'";
    let words = [&["run", "--name", "says"], &flags[..], &options, &["./layout", "sh", "-c", script]].concat();
    peers.ours_ok(&words);
    let logs = |words: &[&str]| {
        let output = peers.ours_command(&[&["logs"], words, &["says"]].concat()).output().unwrap();
        (stdout(&output), stderr(&output))
    };
    let details = "A=1,OF_IMAGE=1,role=a+db";
    let expected = (format!("{details} out\n{details} half line\n"), format!("{details} wrong\n"));
    assert_eq!(logs(&["--details"]), expected);
    assert_eq!(logs(&[]), ("out\nhalf line\n".to_owned(), "wrong\n".to_owned()));
    // Docker and others read them, too.
    let path = peers.ours_ok(&["inspect", "--format", "{{.LogPath}}", "says"]);
    let id = std::path::Path::new(path.trim_end()).parent().unwrap().file_name().unwrap().to_owned();
    let log = std::fs::read_to_string(peers.ours_dir().join("containers").join(id).join("log.json")).unwrap();
    assert_eq!(log.lines().count(), 3);
    for line in log.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["attrs"], serde_json::json!({"A": "1", "OF_IMAGE": "1", "role": "a db"}), "{line}");
    }
    let options =
        ["--log-opt", "labels-regex=^(role|other)", "--log-opt", "env-regex=^OF_", "--log-opt", "tag={{.Name}}!"];
    let words = [&["run", "--name", "means"], &flags[..], &options, &["./layout", "echo", "out"]].concat();
    peers.ours_ok(&words);
    assert_eq!(peers.ours_ok(&["logs", "--details", "means"]), "OF_IMAGE=1,role=a+db,tag=means%21 out\n");
    // There is no place for them in a kubelet's format.
    let said = peers.ours_fails(125, &["create", "--log-driver=k8s-file", "--log-opt=labels=role", "./layout"]);
    assert!(said.contains("labels is nothing that the log driver k8s-file can do"), "{said}");
}

#[test]
fn what_a_container_prints_is_kept() {
    if !has("what_a_container_prints_is_kept", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    for (driver, file) in [("json-file", "log.json"), ("k8s-file", "log")] {
        let name = format!("prints-{driver}");
        let flags = ["run", "--name", &name, "--network", "none", "--log-driver", driver, "./layout"];
        let script = "echo out; echo wrong >&2; for n in $(seq 2000); do echo $n; done; printf end";
        let numbers: String = (1..=2000).map(|n| format!("{n}\n")).collect();
        let printed = format!("out\n{numbers}end");
        assert_eq!(peers.ours_ok(&[&flags[..], &["sh", "-c", script]].concat()), printed);
        let output = peers.ours_command(&["logs", &name]).output().unwrap();
        assert_eq!((stdout(&output), stderr(&output)), (printed.clone(), "wrong\n".to_owned()), "{driver}");
        let path = peers.ours_ok(&["inspect", "--format", "{{.LogPath}}", &name]);
        let path = std::path::PathBuf::from(path.trim_end());
        let id = path.parent().unwrap().file_name().unwrap();
        assert_eq!(path.file_name().unwrap(), file);
        assert!(peers.ours_dir().join("containers").join(id).join(file).is_file(), "{}", path.display());
        // Another start goes on where the first one stopped.
        peers.ours_ok(&["start", "--attach", &name]);
        assert_eq!(peers.ours_ok(&["logs", &name]), format!("{printed}\n{printed}"), "{driver}");
    }
    let silent = ["run", "--name", "silent", "--network", "none", "--log-driver", "none", "./layout", "echo", "x"];
    assert_eq!(peers.ours_ok(&silent), "x\n");
    assert_eq!(peers.ours_ok(&["inspect", "--format", "{{.LogPath}}", "silent"]), "\n");
    assert!(peers.ours_fails(1, &["logs", "silent"]).contains("none"));
}

#[test]
fn full_files_are_compressed_and_read_back() {
    if !has("full_files_are_compressed_and_read_back", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let options = ["--log-opt", "max-size=20k", "--log-opt", "max-file=20", "--log-opt", "compress=true"];
    // In bursts: a file may be full before the one before it is compressed.
    let script =
        "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); [ $((i%400)) = 0 ] && sleep 0.2; done; sleep 60";
    let words =
        [&["run", "-d", "--name", "packs", "--network", "none"], &options[..], &["./layout", "sh", "-c", script]];
    peers.ours_ok(&words.concat());
    let path = peers.ours_ok(&["inspect", "--format", "{{.LogPath}}", "packs"]);
    let id = std::path::Path::new(path.trim_end()).parent().unwrap().file_name().unwrap().to_owned();
    let dir = peers.ours_dir().join("containers").join(id);
    let files = || {
        let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("log.json")).collect();
        names.sort();
        names
    };
    let is_packed = || files().iter().all(|name| name == "log.json" || name.ends_with(".gz")) && files().len() > 5;
    assert!(wait_until(20, || peers.ours_ok(&["logs", "-n", "1", "packs"]) == "line 1999\n"));
    assert!(wait_until(20, is_packed), "{:?}", files());
    // Who has compressed one is gone, but for the last two at most: a monitor lives for months.
    let pid = peers.ours_ok(&["inspect", "--format", "{{.State.Pid}}", "packs"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim_end())).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    let children = std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
    let has_packed = |pid: &&str| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == "mc-log\n");
    let packers = children.split_whitespace().filter(has_packed).count();
    assert!(packers <= 2, "{packers} of {}: {children}", files().len());
    // Another reads them, too: in the order of their numbers.
    let numbers = (1..files().len()).rev();
    let of_peer: String = numbers
        .map(|n| {
            let output =
                std::process::Command::new("gzip").arg("-dc").arg(dir.join(format!("log.json.{n}.gz"))).output();
            stdout(&output.unwrap())
        })
        .chain([std::fs::read_to_string(dir.join("log.json")).unwrap()])
        .collect();
    let lines: Vec<String> = (0..2000).map(|n| format!("line {n}")).collect();
    let records = of_peer.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let texts: Vec<String> = records.map(|record| record["log"].as_str().unwrap().trim_end().to_owned()).collect();
    assert!(texts == lines, "{} lines", texts.len());
    assert!(peers.ours_ok(&["logs", "packs"]).lines().eq(&lines));
    assert!(peers.ours_ok(&["logs", "-n", "1500", "packs"]).lines().eq(&lines[500..]));
    // What a monitor that was killed has left: a file that was full, a draft, both forms of one.
    peers.ours_ok(&["stop", "-t", "0", "packs"]);
    std::process::Command::new("gzip").arg("-dk").arg(dir.join("log.json.2.gz")).status().unwrap();
    std::process::Command::new("gzip").arg("-d").arg(dir.join("log.json.3.gz")).status().unwrap();
    std::fs::write(dir.join("log.json.gz.new"), "half").unwrap();
    peers.ours_ok(&["start", "packs"]);
    assert!(wait_until(20, is_packed), "{:?}", files());
    assert!(peers.ours_ok(&["logs", "packs"]).lines().take(2000).eq(&lines));
    peers.ours_ok(&["rm", "-f", "packs"]);
    // Nothing compresses for it any more.
    assert!(!dir.exists());
}

//! `generate systemd`: units that systemd has nothing to say against, and by which a real one runs containers.

use crate::common::life::Life;
use crate::common::traces::unique;
use crate::common::{Scratch, busybox_root, code, need, stderr, stdout, tool, user_of_tool, wait_until};
use crate::fixtures::has;
use std::process::Command;

/// What a shell, systemd or a careless writer could take for something else.
const HOSTILE: &[&str] = &[
    "a b",
    "",
    "$HOME",
    "${HOME}",
    "$$",
    "100%",
    "%n",
    "%%",
    "\"",
    "'",
    "it's \"so\"",
    "\\",
    "\\n",
    "a\\",
    ";",
    "#x",
    "-x",
    "@x",
    "a\nb",
    "tab\there",
    "\u{1}",
    "ä€",
    "*",
    "~",
    "`id`",
    "$(id)",
    "{a,b}",
    "a=b",
    "|",
    "&",
];

/// What `systemd-analyze verify` says of a unit.
fn verify(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.file(name, text, 0o644);
    let output = Command::new("systemd-analyze").args(["verify", "--man=no", &path]).output().unwrap();
    let told = stderr(&output);
    // It tells of other units of this machine, too.
    let of_it: Vec<&str> = told.lines().filter(|line| line.contains(name)).collect();
    of_it.join("\n")
}

/// A line of a unit, after its key.
fn lines<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Where the tool is: as an ordinary user it is not what is called, but what that becomes.
fn path() -> String {
    tool().to_owned() + if user_of_tool().is_some() { ".bin" } else { "" }
}

fn line<'a>(unit: &'a str, key: &str) -> &'a str {
    let all = lines(unit, key);
    assert_eq!(all.len(), 1, "{key}: {unit}");
    all[0]
}

#[test]
fn a_unit_says_how_it_is_started_and_stopped() {
    let Some(life) = Life::new("a_unit_says_how_it_is_started_and_stopped") else { return };
    let root = busybox_root().to_str().unwrap();
    let create = ["create", "--name", "web", "--stop-signal", "INT", "--stop-timeout", "5", root, "sleep", "1000"];
    let id = life.note(life.ok(&create));
    let unit = life.ok(&["generate", "systemd", "web"]);
    assert!(unit.starts_with(&format!("# container-{id}.service\n# Written by mycontainer ")), "{unit}");
    assert_eq!(line(&unit, "ExecStart"), format!("{} start --attach {id}", path()));
    assert_eq!(line(&unit, "ExecStop"), format!("{} stop --ignore {id}", path()));
    for (key, expected) in [
        ("Type", "exec"),
        ("Restart", "on-failure"),
        ("KillMode", "mixed"),
        ("SuccessExitStatus", "130"),
        ("TimeoutStopSec", "65"),
        ("After", "network-online.target"),
        ("Wants", "network-online.target"),
        ("RequiresMountsFor", "/var/lib/mycontainer"),
        ("WantedBy", if user_of_tool().is_some() { "default.target" } else { "multi-user.target" }),
    ] {
        assert_eq!(line(&unit, key), expected, "{unit}");
    }
    for key in ["RestartSec", "TimeoutStartSec", "Environment", "WorkingDirectory", "Requires"] {
        assert_eq!(lines(&unit, key), [""; 0], "{unit}");
    }
    let flags = "--name --no-header --restart-policy always --restart-sec 7 -t 3 --start-timeout 9 --container-prefix box \
                 --separator _ --after a.service --wants b.service --requires c@1.service -e A=1 --env B=%x";
    let words: Vec<&str> = ["generate", "systemd"].into_iter().chain(flags.split_whitespace()).chain(["web"]).collect();
    let unit = life.ok(&words);
    assert!(unit.starts_with("[Unit]\nDescription=Container web\n"), "{unit}");
    assert_eq!(line(&unit, "ExecStart"), format!("{} start --attach web", path()));
    assert_eq!(line(&unit, "ExecStop"), format!("{} stop --ignore --timeout=3 web", path()));
    for (key, expected) in [
        ("Restart", &["always"][..]),
        ("RestartSec", &["7"]),
        ("TimeoutStopSec", &["63"]),
        ("TimeoutStartSec", &["9"]),
        ("After", &["network-online.target", "a.service"]),
        ("Wants", &["network-online.target", "b.service"]),
        ("Requires", &["c@1.service"]),
        ("Environment", &["A=1", "B=%%x"]),
    ] {
        assert_eq!(lines(&unit, key), expected, "{unit}");
    }
    // As a file: by whichever name it shall have.
    let scratch = Scratch::new("units");
    let there = scratch.0.display().to_string();
    for (flags, name) in [
        (&[][..], format!("container-{id}.service")),
        (&["--name"], "container-web.service".into()),
        (&["-n", "--container-prefix", ""], "web.service".into()),
    ] {
        let words = [&["generate", "systemd", "--files"], flags, &["web"]].concat();
        let words = [&["sh", "-c", "cd \"$0\" && exec \"$@\"", &there, tool()], &words[..]].concat();
        let output = life.host.command(words[0], &words[1..]).output().unwrap();
        let path = scratch.path(&name);
        assert_eq!((stdout(&output), stderr(&output)), (format!("{path}\n"), String::new()));
        assert!(std::fs::read_to_string(path).unwrap().starts_with(&format!("# {name}\n")));
    }
    // One with a policy of its own is told of it.
    life.ok(&["update", "--restart", "always", "web"]);
    let output = life.tool(&["generate", "systemd", "web"]);
    assert!(stderr(&output).contains("update --restart no web"), "{}", stderr(&output));
    assert_eq!(stderr(&life.tool(&["generate", "systemd", "--new", "web"])), "");
}

#[test]
fn a_new_one_is_made_by_the_same_words() {
    let Some(life) = Life::new("a_new_one_is_made_by_the_same_words") else { return };
    let root = busybox_root().to_str().unwrap();
    let scratch = Scratch::new("typed");
    let there = scratch.path("here and 50%");
    std::fs::create_dir(&there).unwrap();
    for (typed, expected) in [
        (&["run", "-d", "--name", "web"][..], &[][..]),
        (&["create", "--name=web", "-it", "--init=false"], &["--tty", "--init=false"]),
        (&["container", "create", "--name", "web", "--restart", "always", "--rm"], &[]),
        (&["run", "--detach", "--rm", "--name", "web", "--pidfile", "/run/pid", "--cidfile", "/run/cid"], &[]),
        (
            &[
                "run",
                "-dtv",
                "/tmp:/x y",
                "--network",
                "none",
                "-e",
                "PASSED",
                "-e",
                "MISSING",
                "--name",
                "web",
                "-e",
                "A=b c",
            ],
            &["--tty", "\"--volume=/tmp:/x y\"", "--network=none", "--env=PASSED=50%%", "\"--env=A=b c\""],
        ),
        (&["run", "--explain", "-d", "--net=none", "--name", "other"], &["--network=none"]),
    ] {
        if typed.contains(&"always") && typed.contains(&"--rm") {
            // Both together are no container.
            life.fails(125, &[typed, &[root, "sleep", "1000"]].concat());
            continue;
        }
        let words = [typed, &[root, "sh", "-c", "sleep 1000"]].concat();
        let words = [&["-c", "cd \"$0\" && exec \"$@\"", &there, tool()], &words[..]].concat();
        let output = life.host.command("sh", &words).env("PASSED", "50%").env_remove("MISSING").output().unwrap();
        assert_eq!(code(output.status), 0, "{}", stderr(&output));
        let name = if typed.contains(&"other") { "other" } else { "web" };
        let id = life.note(life.field(name, "Id"));
        if name == "other" {
            life.ok(&["rename", "other", "web"]);
        }
        let output = life.tool(&["generate", "systemd", "--new", &id]);
        assert_eq!((stderr(&output), code(output.status)), (String::new(), 0), "{typed:?}");
        let unit = stdout(&output);
        let start = ["run", "--rm", "--replace", "--name=web"].iter().chain(expected);
        let words: Vec<&str> = start.copied().chain([root, "sh", "-c", "\"sleep 1000\""]).collect();
        assert_eq!(line(&unit, "ExecStart"), format!("{} {}", path(), words.join(" ")), "{typed:?}");
        // An id would be another one each time.
        assert_eq!(line(&unit, "ExecStop"), format!("{} stop --ignore web", path()));
        assert!(unit.contains(&format!("Description=Container {id}\n")), "{unit}");
        assert_eq!(line(&unit, "WorkingDirectory"), there.replace('%', "%%"));
        life.ok(&["rm", "-f", "web"]);
    }
}

#[test]
fn what_no_unit_can_run_says_so() {
    let Some(life) = Life::new("what_no_unit_can_run_says_so") else { return };
    let root = busybox_root().to_str().unwrap();
    life.detached(&["--rm", "--name", "passing"], "sleep 1000");
    life.note(life.ok(&["create", "--name", "made", root]));
    let words = life.words(&["run", "--rm"], &["--name", "fore"], "echo ready; exec sleep 1000");
    let mut fore = life.meanwhile(&words);
    assert!(wait_until(5, || !life.ok(&["ps", "-q", "-f", "name=fore"]).is_empty()));
    for (code, words, said) in [
        (1, &["nothing"][..], "there is no container \"nothing\""),
        (1, &["passing"], "goes when it ends"),
        (1, &["fore"], "runs in the foreground of another command"),
        (125, &[], "needs CONTAINER"),
        (125, &["made", "passing"], "one too many"),
        (125, &["--restart-policy", "sometimes", "made"], "it is one of no, on-success"),
        (125, &["--restart-sec", "-1", "made"], "no number of seconds"),
        (125, &["--container-prefix", "a b", "made"], "a unit's name has"),
        (125, &["--after", "a\nExecStartPre=/bin/x", "made"], "a unit's name has"),
        (125, &["--template", "made"], "has no flag --template"),
        (125, &["--pod-prefix", "x", "made"], "has no flag --pod-prefix"),
    ] {
        let told = life.fails(code, &[&["generate", "systemd"], words].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
    // What another release has written down does not say how it was made.
    let record = life.path("/var/lib/mycontainer/containers").join(life.field("made", "Id")).join("created.json");
    let mut old: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("made_by").expect("it is written down");
    std::fs::write(&record, old.to_string()).unwrap();
    let told = life.fails(1, &["generate", "systemd", "--new", "made"]);
    assert!(told.contains("nobody wrote down how the container made was made"), "{told}");
    life.ok(&["generate", "systemd", "made"]);
    life.ok(&["kill", "fore"]);
    fore.wait().unwrap();
}

#[test]
fn systemd_understands_every_unit() {
    if !has("systemd_understands_every_unit", &["systemd-analyze"]) {
        return;
    }
    let Some(life) = Life::new("systemd_understands_every_unit") else { return };
    let root = busybox_root().to_str().unwrap();
    let scratch = Scratch::new("verify");
    let words = [&["create", "--name", "web", "-v", "/tmp:/a b;c", root, "echo"], HOSTILE].concat();
    life.note(life.ok(&words));
    for flags in
        [&[][..], &["--new"], &["-n", "--new", "--restart-policy", "on-abort", "-e", "A=b \"c\" 50%", "-t", "1"]]
    {
        let unit = life.ok(&[&["generate", "systemd"], flags, &["web"]].concat());
        assert_eq!(verify(&scratch, "try.service", &unit), "", "{unit}");
    }
    let unit = life.ok(&["generate", "systemd", "web"]);
    let bad = verify(
        &scratch,
        "try.service",
        &unit.replace("Type=exec", "Type=nothing").replace("KillMode=mixed", "KillMode=x"),
    );
    assert!(bad.contains("service type") && bad.contains("kill mode"), "{bad}");
}

/// In the virtual machine: `tests/vm/run tests/vm/systemd`.
#[test]
fn a_real_systemd_runs_them() {
    let test = "a_real_systemd_runs_them";
    let why = "it needs a systemd of its own, as in tests/vm/systemd";
    // That is one of the few that also CI does not have beside each test.
    if std::env::var_os("MYCONTAINER_SYSTEMD").is_none() {
        eprintln!("skipped {test}: {why}");
        return;
    }
    if !need(test, std::path::Path::new("/run/systemd/private").exists(), why) {
        return;
    }
    let ours = |words: &[&str]| {
        let output = Command::new(tool()).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output).trim_end().to_owned()
    };
    let systemctl = |words: &[&str]| {
        let output = Command::new("systemctl").args(words).output().unwrap();
        (stdout(&output).trim_end().to_owned(), code(output.status))
    };
    let root = busybox_root().to_str().unwrap();
    let script = "trap 'exit 143' TERM; printf '<%s>' \"$@\" >/got; while :; do sleep 0.1; done";
    let expected: String = HOSTILE.iter().map(|word| format!("<{word}>")).collect();
    for new in [true, false] {
        let name = unique("unit");
        let words = ["create", "--network", "none", "--ephemeral", "--name", &name, root, "sh", "-c", script, "sh"];
        ours(&[&words, HOSTILE].concat());
        let flags: &[&str] = if new { &["--new"] } else { &[] };
        // The machine of the test has neither of these.
        let unit = ours(&[&["generate", "systemd", "-n", "--container-prefix", ""], flags, &[&name]].concat());
        let unit = unit.replace("network-online.target", "").replace("[Unit]", "[Unit]\nDefaultDependencies=no");
        let service = format!("{name}.service");
        std::fs::write(format!("/run/systemd/system/{service}"), unit).unwrap();
        assert_eq!(systemctl(&["daemon-reload"]), (String::new(), 0));
        for _ in 0..2 {
            assert_eq!(systemctl(&["start", &service]), (String::new(), 0));
            let got = || Command::new(tool()).args(["exec", &name, "cat", "/got"]).output().unwrap();
            assert!(wait_until(60, || stdout(&got()) == expected), "{new}: {:?} {}", stdout(&got()), stderr(&got()));
            assert_eq!(systemctl(&["is-active", &service]), ("active".into(), 0));
            assert_eq!(systemctl(&["stop", &service]), (String::new(), 0));
            assert_eq!(systemctl(&["is-active", &service]), ("inactive".into(), 3), "{new}: it did not end well");
            let state =
                Command::new(tool()).args(["inspect", "--format", "{{.State.Status}}", &name]).output().unwrap();
            assert_eq!(stdout(&state).trim_end(), if new { "" } else { "exited" });
        }
        std::fs::remove_file(format!("/run/systemd/system/{service}")).unwrap();
        ours(&["rm", "--ignore", &name]);
    }
}

//! `--all`, `--ignore`, `--cidfile` and `--latest`: which containers a verb of many is for. And how long `rm` waits.

use crate::common::life::Life;
use crate::common::{busybox_root, code, stderr, stdout, user_of_tool};

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn all_is_every_one_that_the_verb_is_for() {
    let Some(life) = Life::new("all_is_every_one_that_the_verb_is_for") else { return };
    let root = busybox_root().to_str().unwrap();
    life.note(life.ok(&["create", "--name", "made", root]));
    for (verb, exit_code) in [(&["stop", "-t", "0", "--all"][..], 137), (&["kill", "-a"], 137)] {
        for name in ["aa", "bb"] {
            life.tool(&["rm", name]);
            life.detached(&["--name", name], "sleep 1000");
        }
        assert_eq!(sorted(&life.ok(verb)), ["aa", "bb"], "{verb:?}");
        for name in ["aa", "bb"] {
            life.until(name, "exited");
            assert_eq!(life.state(name).1, exit_code);
        }
        // Now there is none, and that is nobody's fault.
        assert_eq!(life.ok(verb), "");
    }
    // Of those that run `rm` tells, and goes on with the others.
    life.detached(&["--name", "runs"], "sleep 1000");
    let output = life.tool(&["rm", "--all"]);
    assert_eq!((sorted(&stdout(&output)), code(output.status)), (vec!["aa".into(), "bb".into(), "made".into()], 1));
    assert!(stderr(&output).contains("the container runs is running"), "{}", stderr(&output));
    assert_eq!(life.ok(&["rm", "-af"]), "runs");
    assert_eq!(life.ok(&["ps", "-aq"]), "");
    for verb in ["stop", "kill", "rm"] {
        let told = life.fails(125, &[verb]);
        assert!(told.contains("needs CONTAINER [CONTAINER...], or --all"), "{told}");
        let told = life.fails(125, &[verb, "--all", "aa"]);
        assert!(told.contains("name none beside it"), "{told}");
    }
}

#[test]
fn what_is_ignored_is_only_that_there_is_none() {
    let Some(life) = Life::new("what_is_ignored_is_only_that_there_is_none") else { return };
    life.detached(&["--name", "aa"], "sleep 1000");
    for verb in [&["stop", "-t", "0"][..], &["rm"]] {
        let told = life.fails(1, &[verb, &["nothing"]].concat());
        assert!(told.contains("there is no container \"nothing\""), "{told}");
        if verb == ["rm"] {
            life.ok(&["start", "aa"]);
            let told = life.fails(1, &["rm", "--ignore", "nothing", "aa"]);
            assert!(told.contains("is running") && !told.contains("nothing"), "{told}");
            life.ok(&["stop", "-t", "0", "aa"]);
        }
        assert_eq!(life.ok(&[verb, &["--ignore", "nothing", "aa"]].concat()), "aa", "{verb:?}");
    }
}

#[test]
fn all_is_those_of_which_the_verb_changes_something() {
    let Some(life) = Life::new("all_is_those_of_which_the_verb_changes_something") else { return };
    for name in ["aa", "bb"] {
        life.note(life.ok(&life.words(&["create", "--name", name], &[], "sleep 1000")));
    }
    life.detached(&["--name", "cc"], "sleep 1000");
    let state = |name: &str| life.state(name).0;
    assert_eq!(sorted(&life.ok(&["start", "--all"])), ["aa", "bb"]);
    assert_eq!(life.ok(&["start", "--all"]), "");
    life.ok(&["stop", "-t0", "aa"]);
    assert_eq!(sorted(&life.ok(&["pause", "--all"])), ["bb", "cc"]);
    assert_eq!((state("aa"), state("bb")), ("exited".into(), "paused".into()));
    life.ok(&["unpause", "bb"]);
    assert_eq!(life.ok(&["unpause", "-a"]), "cc");
    let pid = life.pid("cc");
    assert_eq!(sorted(&life.ok(&["restart", "-t0", "--running"])), ["bb", "cc"]);
    assert_ne!(life.pid("cc"), pid);
    assert_eq!(sorted(&life.ok(&["restart", "-t0", "--all"])), ["aa", "bb", "cc"]);
    assert_eq!(state("aa"), "running");
    for words in [&["start", "--all", "aa"][..], &["restart", "--running", "aa"], &["pause", "-a", "aa"]] {
        let told = life.fails(125, words);
        assert!(told.contains("name none beside it"), "{told}");
    }
    let told = life.fails(125, &["start", "--all", "--attach"]);
    assert!(told.contains("only one container can be attended to"), "{told}");
}

#[test]
fn ids_stand_in_files_too() {
    let Some(life) = Life::new("ids_stand_in_files_too") else { return };
    let dir = life.path("/run/files");
    std::fs::create_dir(&dir).unwrap();
    let file = |name: &str| format!("/run/files/{name}");
    for name in ["aa", "bb"] {
        life.detached(&["--name", name, "--cidfile", &file(name)], "sleep 1000");
    }
    let id = std::fs::read_to_string(dir.join("aa")).unwrap();
    // As an editor leaves it.
    std::fs::write(dir.join("aa"), id.clone() + "\n\n").unwrap();
    for verb in [&["pause"][..], &["unpause"], &["restart", "-t0"], &["stop", "-t0"]] {
        let told = life.ok(&[verb, &["--cidfile", &file("aa")]].concat());
        assert_eq!(told, id, "{verb:?}");
    }
    assert_eq!(life.ok(&["kill", "--cidfile", &file("bb")]).len(), 64);
    life.until("bb", "exited");
    let told = life.fails(1, &["rm", "--cidfile", &file("none"), "bb"]);
    assert!(told.contains("cannot read the id in /run/files/none: No such file"), "{told}");
    assert_eq!(life.ok(&["rm", "--ignore", "--cidfile", &file("none"), "bb"]), "bb");
    assert_eq!(life.ok(&["rm", "--cidfile", &file("aa")]), id);
    let told = life.fails(1, &["stop", "--cidfile", &file("aa")]);
    assert!(told.contains("there is no container"), "{told}");
}

#[test]
fn the_latest_needs_no_name() {
    let Some(life) = Life::new("the_latest_needs_no_name") else { return };
    let told = life.fails(1, &["stop", "-l"]);
    assert!(told.contains("there is no container"), "{told}");
    life.detached(&["--name", "old"], "sleep 1000");
    let id = life.detached(&["--name", "new"], "echo said; sleep 1000");
    assert_eq!(life.ok(&["exec", "-l", "echo", "-l"]), "-l");
    assert!(life.ok(&["top", "-l", "--", "-o", "args"]).contains("sleep 1000"));
    assert_eq!(life.ok(&["logs", "--latest"]), "said");
    assert_eq!(life.ok(&["inspect", "-l", "--format", "{{.Name}}"]), "/new");
    assert_eq!(life.ok(&["container", "inspect", "-l", "--format", "{{.Name}}"]), "/new");
    assert_eq!(life.ok(&["stats", "-l", "--no-stream", "--format", "{{.Name}}"]), "new");
    assert_eq!(life.ok(&["port", "-l"]), "");
    let told = life.fails(1, &["diff", "-l"]);
    assert!(told.contains("the container new is made of no image"), "{told}");
    // Without control groups nothing is paused.
    let pausing: &[&[&str]] = if user_of_tool().is_some() { &[] } else { &[&["pause", "-l"], &["unpause", "-l"]] };
    for verb in pausing.iter().chain(&[&["restart", "-t0", "-l"][..], &["kill", "-l"]]) {
        assert_eq!(life.ok(verb), id, "{verb:?}");
    }
    assert_eq!(life.ok(&["wait", "-l"]), "137");
    assert_eq!(life.ok(&["start", "-l"]), id);
    assert_eq!(life.ok(&["stop", "-t0", "-l"]), id);
    for (words, said) in [
        (&["stop", "-l", "old"][..], "--latest is one container: name none beside it"),
        (&["stop", "-la"], "name none beside it"),
        (&["logs", "-l", "old"], "one too many"),
        (&["exec", "-l"], "exec needs CONTAINER COMMAND"),
    ] {
        let told = life.fails(125, words);
        assert!(told.contains(said), "{words:?}: {told}");
    }
    assert_eq!(life.ok(&["rm", "--latest=false", "new"]), "new");
    assert_eq!(life.ok(&["rm", "-fl"]).len(), 64);
    assert_eq!(life.ok(&["ps", "-aq"]), "");
}

#[test]
fn what_is_removed_can_have_time_to_end() {
    let Some(life) = Life::new("what_is_removed_can_have_time_to_end") else { return };
    let dir = life.path("/run/files");
    std::fs::create_dir(&dir).unwrap();
    let script = "trap 'echo saved >/out/saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    for (name, flags, is_saved) in [("asked", &["-f", "-t", "20"][..], true), ("killed", &["-f"], false)] {
        let id = life.detached(&["--name", name, "-v", "/run/files:/out"], script);
        let ready = || life.ok(&["logs", name]).contains("ready");
        assert!(crate::common::wait_until(10, ready));
        assert_eq!(life.ok(&[&["rm"], flags, &[name]].concat()), name);
        assert_eq!(std::fs::remove_file(dir.join("saved")).is_ok(), is_saved, "{name}");
        life.assert_at_rest(&id);
    }
    let id = life.detached(&["--name", "deaf"], "trap '' TERM; while :; do sleep 0.05; done");
    assert_eq!(life.ok(&["rm", "--force", "--time=0", "deaf"]), "deaf");
    life.assert_at_rest(&id);
    life.note(life.ok(&["create", "--name", "made", busybox_root().to_str().unwrap()]));
    let told = life.fails(125, &["rm", "-t", "1", "made"]);
    assert!(told.contains("say --force beside it"), "{told}");
    assert_eq!(life.ok(&["rm", "-f", "-t", "1", "made"]), "made");
}

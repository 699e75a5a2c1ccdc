//! `--all` and `--ignore` of `stop`, `kill` and `rm`.

mod common;

use common::life::Life;
use common::{busybox_root, code, stderr, stdout};

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

//! `completion`: what bash, fish and zsh themselves make of it.

use crate::common::{code, stderr, tool};
use crate::fixtures::has;
use crate::fixtures::peers::Peers;

/// A place in which the tool is found by its name, with a volume and a network.
fn place(name: &str, shell: &str) -> Option<Peers> {
    if !has(name, &[shell]) {
        return None;
    }
    let peers = Peers::new();
    peers.sh(&format!("ln -s {} state/bin/mycontainer; mycontainer volume create zebra9 >/dev/null; mycontainer network create yak7 >/dev/null", tool()));
    peers.sh("mkdir -p root/bin; cp $(command -v busybox) root/bin/sh; tar -C root -cf root.tar .; mycontainer import root.tar localhost:5000/app:1 >/dev/null");
    Some(peers)
}

const LINES: &[(&str, &str)] = &[
    ("mycontainer vol", "volume"),
    ("mycontainer volume rm zeb", "zebra9"),
    ("mycontainer network rm yak", "yak7"),
    ("mycontainer run --network ya", "yak7"),
    ("mycontainer volume ls --form", "--format"),
    ("mycontainer rmi local", "localhost:5000/app:1"),
    ("mycontainer run --rm --eph", "--ephemeral"),
    ("mycontainer completion z", "zsh"),
    ("mycontainer run localhost:5000/app:1 --eph", ""),
];

#[test]
fn bash() {
    let Some(peers) = place("bash", "bash") else { return };
    let script = "set -u; source <(mycontainer completion bash)
        COMP_LINE=$1 COMP_POINT=${#1}; words=${1//:/ : }; COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _mycontainer; echo \"${COMPREPLY[*]-}\"";
    for (line, expected) in LINES {
        assert_eq!(peers.ok(&["bash", "-c", script, "bash", line]), format!("{expected}\n"), "{line}");
    }
    // bash has what is before the last colon already.
    assert_eq!(peers.ok(&["bash", "-c", script, "bash", "mycontainer rmi localhost:50"]), "5000/app:1\n");
    assert_eq!(peers.ok(&["bash", "-c", script, "bash", "mycontainer rmi localhost:5000/app:"]), "1\n");
}

#[test]
fn fish() {
    let Some(peers) = place("fish", "fish") else { return };
    for (line, expected) in LINES {
        let script = format!("mycontainer completion fish | source; complete -C '{line}' | string split -f1 \\t; true");
        let offered = peers.ok(&["fish", "--no-config", "-c", &script]);
        assert_eq!(offered.lines().next().unwrap_or_default(), *expected, "{line}: {offered}");
    }
}

#[test]
fn zsh() {
    let Some(peers) = place("zsh", "zsh") else { return };
    // Through a terminal of its own, as there is no other way to ask zsh.
    let script = r#"zmodload zsh/zpty; zpty -b shell zsh -f -i
        zpty -w shell "autoload -U compinit; compinit -u -d dump; source <(mycontainer completion zsh); PS1=REA''DY"
        # By its prompt: what is typed before that is not for the line editor.
        zpty -r -m shell text '*READY*'
        # The rest of the word, which was not typed, comes from nobody else.
        zpty -w -n shell "$1"$'\t'
        zpty -r -m shell text "*$2*"; print completed"#;
    let words = ["timeout", "60", "zsh", "-f", "-c", script, "zsh", "mycontainer vol", "ume"];
    assert_eq!(peers.ok(&words), "completed\n");
}

#[test]
fn another_shell() {
    let output = std::process::Command::new(tool()).args(["completion", "csh"]).output().unwrap();
    assert!(code(output.status) == 125 && stderr(&output).contains("bash, zsh and fish"), "{}", stderr(&output));
}

//! The layer of an image's next container, made while one runs (root of the host only, and where there is EROFS).

use crate::fixtures::has;
use crate::fixtures::peers::Peers;

/// What a script prints on a host that has the image `one`. The script has `run`, `spares` (what there is, without ids), and
/// `mounts` (how many of them are mounted).
fn said(test: &str, script: &str) -> Option<String> {
    if !has(test, &["busybox"]) {
        return None;
    }
    if !std::fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("\terofs\n")) {
        println!("skipped {test}: this kernel has no EROFS");
        return None;
    }
    let peers = Peers::new();
    peers.sh("mkdir -p root/bin; cp $(command -v busybox) root/bin/busybox; ln -s busybox root/bin/sh; echo content >root/file");
    let head = format!(
        r#"tool={}
        data=/var/lib/mycontainer
        run() {{ $tool run --rm --network none "$@"; }}
        spares() {{ ls $data/spare | sed 's/-.*//' | tr '\n' ' '; }}
        # This machine's own are seen, too.
        before=0
        mounts() {{ echo $(($(grep -c "$data/spare/ready-[^ ]* " /proc/self/mountinfo) - before)); }}
        before=$(mounts)
        # A program that runs until it is told, so that there is time for all that is done beside it.
        slowly() {{ (sleep 0.3; echo) | run -i one sh -c "$1; read line"; }}
        tar -C root -c . | $tool import - one >/dev/null
        "#,
        crate::common::tool()
    );
    Some(peers.sh(&format!("{head}{script}")))
}

#[test]
fn each_container_has_a_layer_of_its_own() {
    let script = r#"
        slowly 'cat /file'; spares; mounts
        # Nothing was written: there is one to be removed, and one to be taken.
        slowly 'echo changed >/file; chmod 700 /; mkdir /new; cat /file'; spares; mounts
        slowly 'cat /file; stat -c %a /; ls /new' 2>&1; spares; mounts
        ls $data/containers
        run --explain one sh -c : 2>&1 | grep -c take-layer
        "#;
    let expected =
        "content\nready used 1\nchanged\nready 1\ncontent\n755\nls: /new: No such file or directory\nready used 1\n1\n";
    if let Some(said) = said("each_container_has_a_layer_of_its_own", script) {
        assert_eq!(said, expected);
    }
}

/// Its mount is found in one place, whoever has taken it, and what a container mounts does not come up on the host.
#[test]
fn what_is_taken_is_seen_as_before() {
    let script = r#"
        slowly :
        mkdir volume; touch volume/here
        mkfifo fifo; (run --name taken -i -v $PWD/volume:/mnt one sh -c 'echo more >/more; read line' <fifo) &
        exec 9>fifo; until $tool diff taken 2>/dev/null | grep more; do sleep 0.1; done
        sleep 0.3
        grep -c "$data/containers" /proc/self/mountinfo || :
        $tool exec taken sh -c 'cat /more; ls /mnt'
        $tool ps -s --format '{{.Size}}' | cut -d' ' -f1
        exec 9>&-; wait
        ls $data/containers; mounts
        "#;
    if let Some(said) = said("what_is_taken_is_seen_as_before", script) {
        assert_eq!(said, "A /more\n0\nmore\nhere\n5B\n1\n");
    }
}

#[test]
fn it_goes_with_its_image() {
    let script = r#"
        slowly :; spares; mounts
        $tool rmi one >/dev/null; spares; mounts
        # Where only the mount of the image has gone, the next that runs takes the layer away.
        tar -C root -c . | $tool import - one >/dev/null; slowly :
        echo two >root/file
        tar -C root -c . | $tool import - two >/dev/null
        umount $data/images/mounts/*; (sleep 0.3; echo) | run -i two sh -c 'cat /file; read line'
        spares; mounts
        $tool rmi one two >/dev/null; spares; mounts; ls $data/images/mounts
        "#;
    if let Some(said) = said("it_goes_with_its_image", script) {
        assert_eq!(said, "ready used 1\n0\ntwo\nready used 1\n0\n");
    }
}

/// There is no next container of a directory that would remove it.
#[test]
fn what_a_directory_had_is_removed_at_once() {
    let script = r#"
        slowly :; spares
        steps() { run --explain "$@" 2>&1 | grep -o 'set-layer-aside\|remove-layer'; }
        # It gets the places that things are mounted on, which would be written otherwise.
        run $PWD/root sh -c :
        steps --ephemeral $PWD/root sh -c :
        steps one sh -c :
        "#;
    if let Some(said) = said("what_a_directory_had_is_removed_at_once", script) {
        assert_eq!(said, "ready used remove-layer\nset-layer-aside\n");
    }
}

/// Of many images it is the latest few that have one.
#[test]
fn there_are_few() {
    let script = r#"
        for n in 1 2 3 4 5 6 7 8 9 10 11; do
            echo $n >root/file
            tar -C root -c . | $tool import - many$n >/dev/null
            (sleep 0.2; echo) | run -i many$n sh -c 'read line'
        done
        ls $data/spare | grep -c ready; mounts
        "#;
    if let Some(said) = said("there_are_few", script) {
        assert_eq!(said, "8\n8\n");
    }
}

/// As after `kill -9` and after another start of the machine.
#[test]
fn what_was_begun_or_is_of_another_boot_is_made_anew() {
    let script = r#"
        slowly :; ready=$(cd $data/spare; echo ready-*)
        # It was mounted before the machine was started anew.
        umount $data/spare/$ready/root; slowly 'cat /file'; spares; mounts
        # The one that made it was killed, with its mount and without.
        mv $data/spare/$ready $data/spare/new-${ready#ready-}; slowly 'cat /file'; spares; mounts
        umount $data/spare/$ready/root; mv $data/spare/$ready $data/spare/new-${ready#ready-}
        slowly 'cat /file'; spares; mounts
        # The one that has taken it was killed.
        mkfifo fifo; $tool run --rm --network none --name killed -i one sh -c 'read line' <fifo & exec 9>fifo
        until $tool exec killed sh -c : 2>/dev/null; do sleep 0.1; done
        kill -9 $!; wait; exec 9>&-
        $tool ps -aq; ls $data/containers; grep -c "$data/containers" /proc/self/mountinfo || :
        slowly 'cat /file'; spares; mounts
        "#;
    let expected = "content\nready used 1\ncontent\nready used 1\ncontent\nready used 1\n0\ncontent\nready used 1\n";
    if let Some(said) = said("what_was_begun_or_is_of_another_boot_is_made_anew", script) {
        assert_eq!(said, expected);
    }
}

#[test]
fn many_at_once_take_one_each() {
    let script = r#"
        slowly :
        for n in 1 2 3 4 5 6 7 8 9 10 11 12; do run one sh -c "cat /file; echo $n >/file; cat /file" & done | sort -n | uniq -c | tr -s ' ' | tr '\n' ','
        wait; ls $data/containers
        slowly 'cat /file'
        "#;
    let numbers: String = (1..=12).map(|n| format!(" 1 {n},")).collect();
    if let Some(said) = said("many_at_once_take_one_each", script) {
        assert_eq!(said, format!(" 12 content,{numbers}content\n"));
    }
}

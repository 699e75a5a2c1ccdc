//! `image prune`, `system df` and `system prune`: what nobody needs, how much it is, and that it goes.

use crate::common::{stderr, stdout};
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::{formats, has};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

/// `localhost/app:1` of 2001 and `:2` of 2011, which share a layer, and an image without a name.
fn machine() -> Peers {
    let peers = Peers::new();
    let made = |year: &str| {
        let image = TestImage::busybox().layer(Layer::new().file("x", vec![b'x'; 1 << 20], 0o644));
        image.label("year", year).edit_config("/created", json!(format!("{year}-01-01T00:00:00Z")))
    };
    for (file, name, year) in [("1", "localhost/app:1", "2001"), ("2", "localhost/app:2", "2011"), ("3", "", "1991")] {
        let image = made(year).layer(Layer::new().file("year", year.repeat(100_000), 0o644));
        formats::write_layout(&peers.path(file), name, &image);
        peers.ours_ok(&["load", "-q", "-i", file]);
    }
    peers
}

fn answered(peers: &Peers, words: &[&str], answer: &str) -> std::process::Output {
    let mut command = peers.ours_command(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn images_without_a_name_go() {
    if !has("images_without_a_name_go", &[]) {
        return;
    }
    let peers = machine();
    let count = || peers.ours_ok(&["images", "-q"]).lines().count();
    for answer in ["n\n", "", "\n", "no\n"] {
        let output = answered(&peers, &["image", "prune"], answer);
        let asked = "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ";
        assert_eq!((stdout(&output).as_str(), output.status.code(), count()), (asked, Some(1), 3), "{answer:?}");
        assert!(stderr(&output).contains("-f removes without asking"), "{}", stderr(&output));
    }
    let output = answered(&peers, &["image", "prune"], "y\n");
    let said = stdout(&output);
    assert!(
        said.contains("Deleted Images:\ndeleted: sha256:") && said.contains("\n\nTotal reclaimed space: "),
        "{said}"
    );
    assert_eq!((count(), output.status.code()), (2, Some(0)));
    assert!(!said.ends_with(" 0B\n"), "{said}");
    assert_eq!(peers.ours_ok(&["image", "prune", "-f"]), "Total reclaimed space: 0B\n");

    for (filter, left) in
        [("until=1h", 2), ("label=year=1971", 2), ("label!=year", 2), ("until=2005-01-01", 1), ("label=year=2011", 0)]
    {
        let filter = if filter == "until=1h" { "label=none" } else { filter };
        peers.ours_ok(&["image", "prune", "-a", "-f", "--filter", filter]);
        assert_eq!(count(), left, "{filter}");
    }
    let left = |dir: &str| std::fs::read_dir(peers.ours_dir().join("images").join(dir)).map_or(0, Iterator::count);
    assert_eq!(left("blobs/sha256") + left("layers") + left("merged") + left("partial"), 0);
    for (words, why) in [
        (&["image", "prune", "--filter", "dangling=true"][..], "the keys are until, label"),
        (&["image", "prune", "--filter", "until=yesterday"], "write how long ago"),
        (&["image", "prune", "x"], "takes no words"),
        (&["system", "prune", "--networks"], "system prune has no flag --networks"),
        (&["image", "prune", "--volumes"], "image prune has no flag --volumes"),
    ] {
        let said = peers.ours_fails(125, words);
        assert!(said.contains(why), "{words:?}: {said}");
    }
}

#[test]
fn all_of_the_system() {
    if !has("all_of_the_system", &[]) {
        return;
    }
    let peers = machine();
    let table = peers.ours_ok(&["system", "df"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!(lines[1][..3], ["Images", "3", "0"]);
    assert_eq!(lines[1][4..], [lines[1][3], "(100%)"], "{table}");
    assert_eq!(lines[2], ["Local", "Volumes", "0", "0", "0B", "0B", "(0%)"]);
    let json = peers.ours_ok(&["system", "df", "--format", "json"]);
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = json.iter().map(|row| (&row["Type"], &row["TotalCount"])).collect();
    assert_eq!(told, [(&json!("Images"), &json!("3")), (&json!("Local Volumes"), &json!("0"))]);
    let each =
        peers.ours_ok(&["system", "df", "-v", "--format", "{{.Tag}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}}"]);
    let shared: Vec<&str> = each.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert!(each.lines().count() == 3 && shared.iter().all(|size| *size == shared[0] && *size != "0B"), "{each}");
    assert!(peers.ours_ok(&["system", "df", "-v"]).starts_with("Images space usage:\n\nREPOSITORY "));

    let output = answered(&peers, &["system", "prune"], "y\n");
    assert!(
        stdout(&output).contains(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - all dangling images\n"
        ),
        "{}",
        stdout(&output)
    );
    assert_eq!(peers.ours_ok(&["images", "-q"]).lines().count(), 2);
    let said = peers.ours_ok(&["system", "prune", "-a", "-f"]);
    assert!(said.contains("untagged: localhost/app:1\n") && said.contains("Total reclaimed space: "), "{said}");
    assert_eq!(
        peers.ours_ok(&["system", "df", "--format", "{{.TotalCount}} {{.Size}} {{.Reclaimable}}"]),
        "0 0B 0B (0%)\n0 0B 0B (0%)\n"
    );
}

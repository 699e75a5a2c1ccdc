//! `images`, `tag`, `rmi`, `history`: what is here, how it is called, and how it goes.

use crate::common::{stderr, stdout};
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::{formats, has};
use serde_json::{Value, json};

/// A machine with `localhost/app:1` and `:2`, `localhost/lib/base:1` and an image without a name.
fn machine() -> (Peers, Vec<TestImage>) {
    let peers = Peers::new();
    let made = |year: &str, label: &str| {
        let history = json!([
            { "created": format!("{year}-01-01T00:00:00Z"), "created_by": "COPY busybox /" },
            { "created": format!("{year}-02-03T04:05:06Z"), "created_by": format!("ENV {}", "long ".repeat(20)), "empty_layer": true },
        ]);
        TestImage::busybox()
            .label("its.year", label)
            .edit_config("/created", json!(format!("{year}-02-03T04:05:06Z")))
            .edit_config("/history", history)
    };
    let images = vec![made("2001", "one"), made("2011", "two"), made("2021", "three"), made("1991", "lost")];
    for (file, name, image) in [
        ("1", "localhost/app:1", &images[0]),
        ("2", "localhost/app:2", &images[1]),
        ("3", "localhost/lib/base:1", &images[2]),
    ] {
        formats::write_docker_archive(&peers.path(file), &[name], image);
        peers.ours_ok(&["load", "-q", "-i", file]);
    }
    formats::write_layout(&peers.path("4"), "tag", &images[3]);
    peers.ours_ok(&["load", "-q", "-i", "4"]);
    (peers, images)
}

#[test]
fn the_list_is_dockers() {
    if !has("the_list_is_dockers", &[]) {
        return;
    }
    let (peers, images) = machine();
    let id = |n: usize| images[n].id()[7..19].to_owned();
    let size = peers.ours_ok(&["images", "--format", "{{.Size}}", "localhost/app:1"]);
    let size = size.trim_end();
    let list = peers.ours_ok(&["images"]);
    let lines: Vec<Vec<&str>> =
        list.lines().map(|line| line.split("  ").map(str::trim).filter(|s| !s.is_empty()).collect()).collect();
    assert_eq!(lines[0], ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(lines[1][..3], ["localhost/lib/base", "1", &id(2)]);
    assert_eq!(lines[2][..3], ["localhost/app", "2", &id(1)]);
    assert!(lines[2][3].ends_with("years ago") && lines[2][4] == size, "{list}");
    assert_eq!(lines[4][..3], ["<none>", "<none>", &id(3)]);
    for alias in [&["image", "ls"][..], &["image", "list"], &["images", "-a"]] {
        assert_eq!(peers.ours_ok(alias), list, "{alias:?}");
    }
    let names = |words: &[&str]| {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let mut names: Vec<String> =
            peers.ours_ok(&[&format, words].concat()).lines().map(|s| s.replace("localhost/", "")).collect();
        names.sort();
        names.join(" ")
    };
    for (words, expected) in [
        (&["localhost/app"][..], "app:1 app:2"),
        (&["localhost/app:2"], "app:2"),
        (&["nothing"], ""),
        (&["localhost/*"], "app:1 app:2"),
        (&["-f", "reference=*/*/*"], "lib/base:1"),
        (&["-f", "reference=*/*:1", "-f", "reference=*/*/*:1"], "app:1 lib/base:1"),
        (&["-f", "dangling=true"], "<none>:<none>"),
        (&["-f", "dangling=false"], "app:1 app:2 lib/base:1"),
        (&["-f", "label=its.year=two"], "app:2"),
        (&["-f", "label=its.year", "-f", "dangling=false"], "app:1 app:2 lib/base:1"),
        (&["-f", "label!=its.year=two", "localhost/app"], "app:1"),
        (&["-f", "before=localhost/app:2"], "<none>:<none> app:1"),
        (&["-f", "since=localhost/app:2"], "lib/base:1"),
        (&["-f", "until=2011-02-03T04:05:06Z"], "<none>:<none> app:1"),
        (&["-f", "until=1h"], "<none>:<none> app:1 app:2 lib/base:1"),
    ] {
        assert_eq!(names(words), expected, "{words:?}");
    }
    assert_eq!(peers.ours_ok(&["images", "-q", "localhost/app:1"]), format!("{}\n", id(0)));
    assert_eq!(peers.ours_ok(&["images", "-q", "--no-trunc", "localhost/app:1"]), format!("{}\n", images[0].id()));
    assert!(peers.ours_ok(&["images", "--digests"]).contains("DIGEST"));
    let table = peers.ours_ok(&["images", "--format", "table {{.ID}}\\t{{.Tag}}", "localhost/app:1"]);
    assert_eq!(table, format!("IMAGE ID       TAG\n{}   1\n", id(0)));
    let json: Value = serde_json::from_str(&peers.ours_ok(&["images", "--format", "json", "localhost/app:1"])).unwrap();
    assert_eq!((&json["Repository"], &json["Tag"], &json["ID"]), (&json!("localhost/app"), &json!("1"), &json!(id(0))));
    assert_eq!(json["CreatedAt"], "2001-02-03 04:05:06 +0000 UTC");
    for (words, code, why) in [
        (&["images", "-f", "color=red"][..], 125, "the keys are dangling, label"),
        (&["images", "-f", "dangling=perhaps"], 125, "dangling is true or false"),
        (&["images", "-f", "since=nothing"], 1, "there is no image \"nothing\""),
        (&["images", "--format", "{{.Nonsense}}"], 1, "Nonsense"),
        (&["images", "--format", "{{.ID"], 125, "the template is wrong"),
        (&["images", "--tree"], 125, "images has no flag --tree"),
        (&["images", "a", "b"], 125, "one too many"),
    ] {
        let said = peers.ours_fails(code, words);
        assert!(said.contains(why), "{words:?}: {said}");
    }
}

#[test]
fn an_empty_store_has_an_empty_list() {
    if !has("an_empty_store_has_an_empty_list", &[]) {
        return;
    }
    let peers = Peers::new();
    let heading = "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n";
    assert_eq!(peers.ours_ok(&["images"]), heading);
    assert_eq!(peers.ours_ok(&["images", "-q"]), "");
    assert_eq!(peers.ours_ok(&["images", "--format", "json"]), "");
}

#[test]
fn names_are_given_and_taken() {
    if !has("names_are_given_and_taken", &[]) {
        return;
    }
    let (peers, images) = machine();
    peers.ours_ok(&["tag", "localhost/app:1", "localhost/other"]);
    peers.ours_ok(&["image", "tag", &images[0].id()[7..15], "alpine:mine"]);
    let tags = peers.ours_ok(&["inspect", "-f", "{{json .RepoTags}}", "alpine:mine"]);
    let tags: Vec<String> = serde_json::from_str(&tags).unwrap();
    assert_eq!(tags, ["alpine:mine", "localhost/app:1", "localhost/other:latest"]);
    // A name that another image had.
    peers.ours_ok(&["tag", "localhost/app:2", "alpine:mine"]);
    assert_eq!(peers.ours_ok(&["inspect", "-f", "{{.Id}}", "alpine:mine"]), images[1].id() + "\n");
    for (words, why) in [
        (&["tag", "nothing", "x"][..], "there is no image \"nothing\""),
        (&["tag", "localhost/app:1", "UPPER"], "UPPER"),
        (&["tag", "localhost/app:1", &format!("x@{}", images[0].digest())], "a digest is not a name to give"),
    ] {
        let said = peers.ours_fails(1, words);
        assert!(said.contains(why), "{words:?}: {said}");
    }

    assert_eq!(peers.ours_ok(&["rmi", "alpine:mine"]), "Untagged: alpine:mine\n");
    // By its id it has two names of two repositories.
    let said = peers.ours_fails(1, &["rmi", &images[0].id()[7..19]]);
    assert!(said.contains("has several names") && said.contains("--force"), "{said}");
    let removed = peers.ours_ok(&["image", "rm", "-f", &images[0].id()[7..19]]);
    assert_eq!(
        removed,
        format!("Untagged: localhost/app:1\nUntagged: localhost/other:latest\nDeleted: {}\n", images[0].id())
    );
    // It goes on after an error.
    let output = peers.ours(&["rmi", "localhost/app:1", "localhost/app:2"]);
    assert_eq!(
        (stdout(&output), output.status.code()),
        (format!("Untagged: localhost/app:2\nDeleted: {}\n", images[1].id()), Some(1))
    );
    assert!(stderr(&output).contains("there is no image \"localhost/app:1\""), "{}", stderr(&output));
    let output = peers.ours(&["rmi", "-f", "localhost/app:1"]);
    assert!(output.status.success() && stderr(&output).contains("there is no image"), "as with Docker");
    assert_eq!(peers.ours_ok(&["images", "-q"]).lines().count(), 2);
    peers.ours_ok(&["rmi", "localhost/lib/base:1", &images[3].id()]);
    let left = |dir: &str| std::fs::read_dir(peers.ours_dir().join("images").join(dir)).map_or(0, Iterator::count);
    assert_eq!(left("blobs/sha256") + left("layers") + left("merged") + left("partial"), 0, "nothing is left of them");
    peers.ours_fails(125, &["rmi"]);
}

#[test]
fn an_image_that_runs_stays() {
    if !has("an_image_that_runs_stays", &[]) {
        return;
    }
    let (peers, _) = machine();
    let script = format!(
        "mkfifo go; {0} run --rm --network none -i localhost/app:1 sh -c 'echo ready; read x; cat /bin/busybox | wc -c' <go >out & p=$!; exec 3>go; \
         while ! grep -q ready out; do sleep 0.05; done; {0} rmi localhost/app:1; echo $?; {0} system df --format '{{{{.Active}}}}'; \
         {0} image prune -a -f >/dev/null; {0} images -q | wc -l; echo >&3; wait $p; echo $?; {0} rmi localhost/app:1 | head -1",
        crate::common::tool()
    );
    let output = peers.run(&["sh", "-c", &script]);
    // Of images and of volumes: how many are used.
    assert_eq!(stdout(&output), "1\n1\n0\n1\n0\nUntagged: localhost/app:1\n", "{}", stderr(&output));
    assert!(stderr(&output).contains("is needed by the container"), "{}", stderr(&output));
}

#[test]
fn how_an_image_was_made() {
    if !has("how_an_image_was_made", &[]) {
        return;
    }
    let (peers, images) = machine();
    let table = peers.ours_ok(&["history", "localhost/app:1"]);
    let lines: Vec<&str> = table.lines().collect();
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]);
    assert!(
        lines[1].starts_with(&images[0].id()[7..19]) && lines[1].contains("ENV long long") && lines[1].contains('…'),
        "{table}"
    );
    assert!(
        lines[1].contains("0B") && lines[2].starts_with("<missing>") && lines[2].contains("COPY busybox /"),
        "{table}"
    );
    let full = peers.ours_ok(&["image", "history", "--no-trunc", "localhost/app:1"]);
    assert!(full.contains(&images[0].id()) && full.contains(&"long ".repeat(19)), "{full}");
    let bytes = peers.ours_ok(&["history", "--human=false", "--format", "{{.CreatedAt}} {{.Size}}", "localhost/app:1"]);
    assert!(bytes.starts_with("2001-02-03T04:05:06Z 0\n2001-01-01T00:00:00Z "), "{bytes}");
    assert!(bytes.trim_end().rsplit(' ').next().unwrap().parse::<u64>().unwrap() > 500_000, "{bytes}");
    assert_eq!(peers.ours_ok(&["history", "-q", "localhost/app:1"]).lines().next(), Some(&images[0].id()[7..19]));
    peers.ours_fails(1, &["history", "nothing"]);
    // A layer that no history tells of.
    let silent = TestImage::busybox().layer(Layer::new().file("x", "x", 0o644));
    formats::write_docker_archive(&peers.path("silent"), &["localhost/silent:1"], &silent);
    peers.ours_ok(&["load", "-q", "-i", "silent"]);
    assert!(peers.ours_ok(&["history", "-q", "localhost/silent:1"]).lines().count() >= 2);
}

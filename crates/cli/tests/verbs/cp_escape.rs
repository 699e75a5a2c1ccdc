//! `cp` with containers and tars that try to lead it elsewhere: nothing of the host is read or written but what was named,
//! and nothing waits. (CVE-2018-15664, CVE-2019-14271)

use crate::common::{code, owner_of_root};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::tar::{Entry, Kind, archive};
use std::path::PathBuf;

fn image() -> TestImage {
    TestImage::busybox().layer(Layer::new().dir("w", 0o755))
}

/// A directory of the host that a container should never reach, and what is in it.
struct Marked(PathBuf);

const SECRET: &str = "a secret of the host";

impl Marked {
    fn new(peers: &Peers) -> Marked {
        let dir = peers.path("marked");
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        for name in ["f", "sub/f", "passwd"] {
            std::fs::write(dir.join(name), SECRET).unwrap();
        }
        Marked(dir)
    }

    #[track_caller]
    fn check(&self, peers: &Peers, what: &str) {
        let dir = self.0.to_string_lossy();
        let found =
            peers.ok(&["sh", "-ec", "cd $1; find . | sort; stat -c '%n %a %u:%g %h' $(find . | sort)", "sh", &dir]);
        let expected = ".\n./f\n./passwd\n./sub\n./sub/f\n. 755 0:0 3\n./f 644 0:0 1\n./passwd 644 0:0 1\n./sub 755 0:0 2\n./sub/f 644 0:0 1\n";
        assert_eq!(found, expected.replace("0:0", &owner_of_root()), "{what}");
        for name in ["f", "sub/f", "passwd"] {
            assert_eq!(std::fs::read_to_string(self.0.join(name)).unwrap(), SECRET, "{what}: {name}");
        }
    }
}

#[test]
fn a_tar_leads_nowhere_else() {
    if !has("a_tar_leads_nowhere_else", &[]) {
        return;
    }
    let peers = machine(image());
    let marked = Marked::new(&peers);
    let outside = marked.0.to_string_lossy().into_owned();
    let up = format!("../../../../../../../../{outside}");
    let id = peers.ours_ok(&["create", "--name", "made", "./layout"]).trim_end().to_owned();
    let upper = peers.ours_dir().join("containers").join(&id).join("upper");
    // The same names in the container, outside of the directory that all goes to.
    let inner = upper.join(outside.trim_start_matches('/'));
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("f"), "inner").unwrap();
    let _guest = Guest::start(
        &peers,
        "runs",
        &["--rm"],
        "./layout",
        &format!("mkdir -p {outside}/sub; printf inner >{outside}/f; echo ready; sleep 1000"),
    );
    let file = |name: &str| Entry::new(name, Kind::File(b"evil".to_vec())).mode(0o4777).owner(7, 7);
    let link = |name: &str, target: &str| Entry::new(name, Kind::Symlink(target.to_owned()));
    let hard = |name: &str, target: &str| Entry::new(name, Kind::Hardlink(target.to_owned()));
    let dir = |name: &str| Entry::new(name, Kind::Dir).mode(0o777).owner(7, 7);
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("climbs", vec![file(&format!("{up}/f"))]),
        ("climbs later", vec![dir("a"), file(&format!("a/{up}/f"))]),
        ("absolute", vec![file(&format!("{outside}/f"))]),
        ("link, then through it", vec![link("l", &outside), file("l/f")]),
        ("climbing link, then through it", vec![link("l", &up), file("l/f"), dir("l/sub")]),
        ("link for a directory", vec![link("l", &outside), dir("l"), file("l/f")]),
        ("directory, then link", vec![dir("l"), link("l", &outside), file("l/f")]),
        ("two links", vec![link("a", "b"), link("b", &outside), file("a/f")]),
        ("link for a file", vec![link("l", &format!("{outside}/f")), file("l")]),
        ("hard link outside", vec![hard("h", &format!("{outside}/f")), file("h")]),
        ("hard link climbs", vec![hard("h", &format!("{up}/f")), file("h")]),
        ("hard link through a link", vec![link("l", &outside), hard("h", "l/f"), file("h")]),
        ("hard link to a link", vec![link("l", &format!("{outside}/f")), hard("h", "l"), file("h/x")]),
        ("device through a link", vec![link("l", &outside), Entry::new("l/n", Kind::Char(1, 3))]),
        ("link through a link", vec![link("l", &outside), link("l/f", "x")]),
        ("magic link", vec![link("l", "/proc/self/cwd"), file("l/marked/f"), link("m", "/proc/1/root"), file("m/f")]),
    ];
    std::fs::create_dir(peers.path("empty")).unwrap();
    for container in ["made", "runs"] {
        for (n, (name, entries)) in cases.iter().enumerate() {
            let at = format!("{container}:/w/{n}");
            peers.ours_ok(&["cp", "empty", &at]);
            peers.ours_fed(&["cp", "-", &at], &archive(entries));
            marked.check(&peers, name);
            // Nor did it leave the directory in the container.
            let inside = peers.sh(&format!("{} cp {container}:{outside}/f - | tar -xO", crate::common::tool()));
            assert_eq!(inside, "inner", "{container} {name}");
        }
    }
    // In the root, links lead where they lead in the container.
    let entries = [link("to", "/w"), file("to/through")];
    assert!(peers.ours_fed(&["cp", "-", "made:/"], &archive(&entries)).status.success());
    assert_eq!(std::fs::read_to_string(upper.join("w/through")).unwrap(), "evil");
    let entries = [link("away", &outside), file("away/f")];
    assert!(peers.ours_fed(&["cp", "-", "made:/"], &archive(&entries)).status.success());
    assert_eq!(std::fs::read_to_string(inner.join("f")).unwrap(), "evil");
    marked.check(&peers, "the root");
}

#[test]
fn links_in_a_container_lead_nowhere_else() {
    if !has("links_in_a_container_lead_nowhere_else", &[]) {
        return;
    }
    let peers = machine(image());
    let marked = Marked::new(&peers);
    let outside = marked.0.display();
    let script = format!(
        "cd /w; ln -s {outside} abs; ln -s ../../../../../../..{outside} up; ln -s {outside}/f file; \
         ln -s /proc/1/root root; ln -s /proc/self/root self; mkdir d; ln -s {outside} d/sub; echo ready; sleep 1000"
    );
    let _guest = Guest::start(&peers, "evil", &["--rm"], "./layout", &script);
    std::fs::write(peers.path("mine"), "mine").unwrap();
    std::fs::create_dir(peers.path("out")).unwrap();
    for path in ["abs/f", "up/f", "file", "abs", "root/w/file", "self/w/file"] {
        for flags in [&["-L"][..], &["-q"]] {
            let from = format!("evil:/w/{path}");
            let _ = peers.ours(&[&["cp"], flags, &[&from, "out"]].concat());
            let _ = peers.ours(&[&["cp"], flags, &["mine", &from]].concat());
            let _ = peers.ours(&[&["cp"], flags, &["out", &from]].concat());
        }
    }
    marked.check(&peers, "evil");
    let found = peers.sh("grep -rls secret out || true");
    assert_eq!(found, "");
    // A link of the container's, copied to the host, is not followed by what is copied after it.
    peers.ours_ok(&["cp", "evil:/w/d", "out"]);
    assert!(peers.path("out/d/sub").is_symlink());
    peers.ours_ok(&["exec", "evil", "sh", "-c", "rm /w/d/sub; mkdir /w/d/sub; echo evil >/w/d/sub/f"]);
    let said = peers.ours_fails(1, &["cp", "evil:/w/d", "out"]);
    assert!(said.contains("cannot overwrite the non-directory"), "{said}");
    marked.check(&peers, "evil");
}

#[test]
fn a_container_that_swaps_directories_and_links_leads_nowhere() {
    if !has("a_container_that_swaps_directories_and_links_leads_nowhere", &[]) {
        return;
    }
    let peers = machine(image());
    let marked = Marked::new(&peers);
    let outside = marked.0.display();
    // Whatever it is given meanwhile, it goes on.
    let script = format!(
        "mkdir -p /w/d/sub; cd /w; for n in $(seq 100); do echo inner >d/$n; echo inner >d/sub/$n; done; \
         echo inner >d/f; echo inner >d/sub/f; echo inner >d/passwd; echo ready; while :; do \
         mv d x; rm -rf d; ln -s {outside} d; rm -rf d; mv x d; \
         mv d/sub y; rm -rf d/sub; ln -s {outside}/sub d/sub; rm -rf d/sub; mv y d/sub; done 2>/dev/null"
    );
    let _guest = Guest::start(&peers, "evil", &["--rm"], "./layout", &script);
    peers.sh("mkdir in in/sub; echo evil >in/f; echo evil >in/passwd; echo evil >in/sub/f; mkfifo in/pipe in/sub/pipe; chmod 666 in/pipe; chown -R 7:7 in");
    let tar = std::fs::read({
        peers.sh("tar -C in -cf in.tar .");
        peers.path("in.tar")
    })
    .unwrap();
    let (mut went_out, mut went_in) = (0, 0);
    for round in 0..60 {
        let out = format!("out-{round}");
        std::fs::create_dir(peers.path(&out)).unwrap();
        for (flags, from) in [
            ("-a", "evil:/w/d"),
            ("-L", "evil:/w/d"),
            ("-q", "evil:/w/d/."),
            ("-q", "evil:/w/d/f"),
            ("-q", "evil:/w/d/sub/f"),
        ] {
            went_out += u32::from(peers.ours(&["cp", flags, from, &out]).status.success());
        }
        for words in [
            ["cp", "-a", "in/.", "evil:/w/d"],
            ["cp", "-q", "in/f", "evil:/w/d/f"],
            ["cp", "-q", "in/f", "evil:/w/d/sub"],
            ["cp", "-a", "in/sub", "evil:/w/d"],
        ] {
            went_in += u32::from(peers.ours(&words).status.success());
        }
        went_in += u32::from(peers.ours_fed(&["cp", "-", "evil:/w/d"], &tar).status.success());
        marked.check(&peers, &out);
    }
    assert_eq!(peers.sh("grep -rls secret out-* || true"), "", "the container was given a file of the host's");
    assert!(went_out > 20 && went_in > 20, "{went_out} {went_in}: the race was not run");
}

#[test]
fn pipes_and_devices_are_never_opened() {
    if !has("pipes_and_devices_are_never_opened", &["timeout"]) {
        return;
    }
    let peers = machine(image());
    let script = "cd /w; mkdir d; mkfifo d/pipe pipe; mknod d/zero c 1 5; mknod zero c 1 5; echo x >d/file; echo ready; sleep 1000";
    let _guest = Guest::start(&peers, "runs", &["--rm"], "./layout", script);
    std::fs::create_dir(peers.path("out")).unwrap();
    for (from, to) in
        [("runs:/w/d", "out"), ("runs:/w/pipe", "out"), ("runs:/w/zero", "out"), ("out/pipe", "runs:/root")]
    {
        peers.ok(&["timeout", "20", crate::common::tool(), "cp", from, to]);
    }
    assert_eq!(
        peers.sh("stat -c '%n %F %t,%T' out/pipe out/zero out/d/pipe out/d/zero"),
        "out/pipe fifo 0,0\nout/zero character special file 1,5\nout/d/pipe fifo 0,0\nout/d/zero character special file 1,5\n"
    );
    let said = peers.ours_fails(1, &["cp", "out/d/file", "runs:/w/zero"]);
    assert!(said.contains("must be a directory or a regular file"), "{said}");
    // What the kernel shows is not files.
    for (from, to) in [
        ("runs:/proc/1/environ", "x"),
        ("runs:/proc", "x"),
        ("runs:/sys/kernel", "x"),
        ("out/d/file", "runs:/sys/fs/cgroup"),
        ("out/d", "runs:/proc/sys"),
    ] {
        let output = peers.ours(&["cp", from, to]);
        assert_eq!(code(output.status), 1, "{from} {to}");
    }
    // Nor does the whole of a container have them.
    peers.ok(&["timeout", "60", crate::common::tool(), "cp", "runs:/", "all"]);
    assert_eq!(
        peers.sh("cat all/w/d/file; ls all/proc all/sys; test -c all/dev/null && readlink all/bin/sh"),
        "x\nall/proc:\n\nall/sys:\nbusybox\n"
    );
}

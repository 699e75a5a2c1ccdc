//! `cp`: Docker's table of what goes where, in every direction; what files keep; and tars. (Containers and tars that try to
//! lead it elsewhere: `cp_escape.rs`.)

use crate::common::{code, stderr, stdout};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::tar::{Entry, Kind, archive};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn image() -> TestImage {
    TestImage::busybox().layer(Layer::new().dir("w", 0o755))
}

/// Lists what is below `$1`, a line each: `NAME/`, `NAME=CONTENT`, `NAME -> TARGET`.
const LIST: &str = "cd $1; find . | sort | while read -r f; do n=${f#./}; \
    if [ -L \"$f\" ]; then echo \"$n -> $(readlink \"$f\")\"; elif [ -f \"$f\" ]; then echo \"$n=$(cat \"$f\")\"; \
    elif [ -d \"$f\" ]; then echo \"$n/\"; else echo \"$n?\"; fi; done";

/// A place that is copied from and to, as the table sees it.
enum Spot {
    Host(PathBuf),
    /// A created container, by its name and its layer.
    Created(&'static str, PathBuf),
    /// One that runs.
    Running(&'static str),
}

impl Spot {
    /// `PATH` in `/w`, or what stands for it, as `cp` is told it.
    fn words(&self, path: &str) -> String {
        match self {
            Spot::Host(dir) => format!("{}/{path}", dir.display()),
            Spot::Created(name, _) | Spot::Running(name) => format!("{name}:/w/{path}"),
        }
    }

    /// Runs a script with `/w`, or what stands for it, as its first argument.
    #[track_caller]
    fn sh(&self, peers: &Peers, script: &str) -> String {
        match self {
            Spot::Host(dir) | Spot::Created(_, dir) => peers.ok(&["sh", "-ec", script, "sh", &dir.to_string_lossy()]),
            Spot::Running(name) => peers.ours_ok(&["exec", name, "sh", "-ec", script, "sh", "/w"]),
        }
    }

    fn list(&self, peers: &Peers) -> Vec<String> {
        self.sh(peers, LIST).lines().map(str::to_owned).collect()
    }
}

/// What is made at the destination, and what at the source.
const THERE: &str = "rm -rf $1/*; cd $1; mkdir -p dir clash/d clash/f/f empty; rmdir clash/d; printf old >file; \
    printf old >clash/d; ln -s file tofile; ln -s dir todir; ln -s tofile twice; ln -s made dangling; \
    ln -s none/made lost; ln -s loop loop";
const HERE: &str = "rm -rf $1/*; cd $1; mkdir -p d/sub; printf f >f; printf x >d/x; printf y >d/sub/y; \
    ln -s f link; ln -s d dlink";

/// SRC, DEST, and what there is then that was not there before, or what is said.
type Row = (&'static str, &'static str, Result<&'static [&'static str], &'static str>);

const TABLE: &[Row] = &[
    // Docker's own rows.
    ("f", "new", Ok(&["new=f"])),
    ("f", "new/", Err("there is no directory")),
    ("f", "file", Ok(&["file=f"])),
    ("f", "dir", Ok(&["dir/f=f"])),
    ("d", "new", Ok(&["new/", "new/sub/", "new/sub/y=y", "new/x=x"])),
    ("d", "file", Err("which is a file")),
    ("d", "dir", Ok(&["dir/d/", "dir/d/sub/", "dir/d/sub/y=y", "dir/d/x=x"])),
    ("d/.", "dir", Ok(&["dir/sub/", "dir/sub/y=y", "dir/x=x"])),
    // What follows from them.
    ("f", "dir/", Ok(&["dir/f=f"])),
    ("f", "dir/.", Ok(&["dir/f=f"])),
    ("f", "file/", Err("Not a directory")),
    ("f", "none/new", Err("there is no directory")),
    ("f/", "new", Err("Not a directory")),
    ("f/.", "new", Err("Not a directory")),
    ("none", "new", Err("No such file")),
    ("d", "new/", Ok(&["new/", "new/sub/", "new/sub/y=y", "new/x=x"])),
    ("d/", "dir", Ok(&["dir/d/", "dir/d/sub/", "dir/d/sub/y=y", "dir/d/x=x"])),
    ("d/.", "new", Ok(&["new/", "new/sub/", "new/sub/y=y", "new/x=x"])),
    ("d/.", "new/.", Ok(&["new/", "new/sub/", "new/sub/y=y", "new/x=x"])),
    ("d/.", "file", Err("which is a file")),
    ("d", "none/new", Err("there is no directory")),
    ("d/sub/..", "dir", Ok(&["dir/d/", "dir/d/sub/", "dir/d/sub/y=y", "dir/d/x=x"])),
    // A symlink SRC is itself copied.
    ("link", "new", Ok(&["new -> f"])),
    ("link", "dir", Ok(&["dir/link -> f"])),
    ("dlink", "dir", Ok(&["dir/dlink -> d"])),
    ("dlink/", "dir", Ok(&["dir/dlink/", "dir/dlink/sub/", "dir/dlink/sub/y=y", "dir/dlink/x=x"])),
    ("dlink/.", "dir", Ok(&["dir/sub/", "dir/sub/y=y", "dir/x=x"])),
    ("-L link", "new", Ok(&["new=f"])),
    ("-L link", "dir", Ok(&["dir/link=f"])),
    ("-L dlink", "dir", Ok(&["dir/dlink/", "dir/dlink/sub/", "dir/dlink/sub/y=y", "dir/dlink/x=x"])),
    // A symlink DEST is followed.
    ("f", "tofile", Ok(&["file=f", "tofile -> file", "twice -> tofile"])),
    ("f", "twice", Ok(&["file=f"])),
    ("f", "todir", Ok(&["dir/f=f"])),
    ("d/.", "todir", Ok(&["dir/sub/", "dir/sub/y=y", "dir/x=x"])),
    ("f", "dangling", Ok(&["made=f"])),
    ("d", "dangling", Ok(&["made/", "made/sub/", "made/sub/y=y", "made/x=x"])),
    ("f", "lost", Err("there is no directory")),
    ("f", "loop", Err("symbolic links")),
    ("link", "file", Ok(&["file -> f"])),
    // A directory never becomes a file, nor the reverse.
    ("d", "clash", Err("cannot overwrite the non-directory")),
    ("f", "clash/f", Err("cannot overwrite the directory")),
    ("f", "clash", Err("cannot overwrite the directory")),
];

#[test]
fn dockers_table_in_every_direction() {
    if !has("dockers_table_in_every_direction", &[]) {
        return;
    }
    let peers = machine(image());
    let created = |name| {
        let id = peers.ours_ok(&["create", "--name", name, "./layout"]).trim_end().to_owned();
        let dir = peers.ours_dir().join("containers").join(id).join("upper/w");
        std::fs::create_dir(&dir).unwrap();
        Spot::Created(name, dir)
    };
    let host = |name| {
        std::fs::create_dir(peers.path(name)).unwrap();
        Spot::Host(peers.path(name))
    };
    let _guests = ["r1", "r2"].map(|name| Guest::start(&peers, name, &["--rm"], "./layout", "echo ready; sleep 1000"));
    let (here, there) = (host("here"), host("there"));
    let (c1, c2, r1, r2) = (created("c1"), created("c2"), Spot::Running("r1"), Spot::Running("r2"));
    for (from, to) in [(&here, &c1), (&here, &r1), (&c1, &there), (&r1, &there), (&c1, &r2), (&r1, &c2), (&c1, &c2)] {
        from.sh(&peers, HERE);
        for (source, destination, expected) in TABLE {
            to.sh(&peers, THERE);
            let before = to.list(&peers);
            let (flags, source) = source.strip_prefix("-L ").map_or((&["-q"][..], *source), |s| (&["-L"], s));
            let (source, destination) = (from.words(source), to.words(destination));
            let output = peers.ours(&[&["cp"], flags, &[&source, &destination]].concat());
            let mut after = to.list(&peers);
            after.retain(|line| !before.contains(line));
            let what = format!("{source} {destination}: {}", stderr(&output));
            match expected {
                Ok(lines) => {
                    assert!(output.status.success(), "{what}");
                    let lines: Vec<&str> =
                        lines.iter().filter(|line| !before.iter().any(|b| b == *line)).copied().collect();
                    assert_eq!(after, lines, "{what}");
                    assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()), "{what}");
                }
                Err(text) => {
                    assert_eq!(code(output.status), 1, "{what}");
                    assert!(stderr(&output).contains(text), "{what}");
                    assert_eq!(after, [""; 0], "{what}");
                }
            }
        }
    }
}

/// All that a file can have, of everything below a directory: kind, mode, owner, links, size, time, target, attributes,
/// digest.
const DESCRIBE: &str = r#"
import os, sys, stat, hashlib
top = sys.argv[1].encode()
owners = sys.argv[2] == "owners"
for dir, dirs, files in os.walk(top):
    for name in sorted(dirs + files):
        path = os.path.join(dir, name)
        s = os.lstat(path)
        line = [os.path.relpath(path, top), oct(s.st_mode), s.st_rdev, s.st_nlink if not stat.S_ISDIR(s.st_mode) else 0]
        line += [s.st_mtime_ns, s.st_size if not stat.S_ISDIR(s.st_mode) else 0]
        line += [(s.st_uid, s.st_gid)] if owners else []
        line += [os.readlink(path)] if stat.S_ISLNK(s.st_mode) else []
        line += [(x, os.getxattr(path, x, follow_symlinks=False)) for x in sorted(os.listxattr(path, follow_symlinks=False))]
        if stat.S_ISREG(s.st_mode) and s.st_size < 1 << 20:
            line.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
        print(sorted(map(str, line)) if False else line)
"#;

/// A tree of everything.
const MAKE: &str = r#"
import os, sys, socket
os.chdir(sys.argv[1])
os.umask(0)
os.mkdir("t"); os.chdir("t")
os.mkdir("closed", 0o700); os.mkdir("set", 0o2755); os.mkdir("closed/deep", 0o500)
def file(name, text, mode, owner=(0, 0)):
    open(name, "wb").write(text); os.chown(name, *owner); os.chmod(name, mode)
file("plain", b"plain", 0o644); file("root-suid", b"s", 0o4755); file("ann-suid", b"s", 0o6755, (1000, 100))
file("closed/deep/none", b"n", 0o000); file(b"\xff\n\xfe", b"odd", 0o600); file("twin", b"twin", 0o640, (5, 6))
os.link("twin", "closed/twin"); os.symlink("/etc/shadow", "link"); os.symlink("nowhere", b"d\xe4ngling")
os.lchown("link", 7, 8)
os.mkfifo("pipe", 0o620); os.mknod("null", 0o20666, os.makedev(1, 3)); os.mknod("loop", 0o60600, os.makedev(7, 0))
os.link("pipe", "pipe-twin")
os.setxattr("plain", "user.note", b"\0\xffvalue")
os.setxattr("plain", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
fd = os.open("holes", os.O_CREAT | os.O_WRONLY, 0o644)
os.pwrite(fd, b"begin", 0); os.pwrite(fd, b"middle", 3 << 30); os.ftruncate(fd, 8 << 30)
socket.socket(socket.AF_UNIX).bind("socket")
for dir, dirs, files in os.walk(b".", topdown=False):
    for n, name in enumerate(dirs + files):
        os.utime(os.path.join(dir, name), ns=(1, 1234567890_123456789 + n), follow_symlinks=False)
"#;

fn describe(peers: &Peers, dir: &Path, owners: bool) -> String {
    let owners = if owners { "owners" } else { "none" };
    peers.ok(&["python3", "-c", DESCRIBE, &dir.to_string_lossy(), owners])
}

#[test]
fn everything_that_a_file_has_comes_along() {
    if !has("everything_that_a_file_has_comes_along", &["python3"]) {
        return;
    }
    let peers = machine(image());
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let _guest = Guest::start(&peers, "runs", &["--rm"], "./layout", "echo ready; sleep 1000");
    peers.ok(&["python3", "-c", MAKE, "."]);
    for container in ["made", "runs"] {
        let inside = format!("{container}:/w");
        let output = peers.ours(&["cp", "-a", "t", &inside]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("\"socket\" was left out"), "{}", stderr(&output));
        let out = format!("out-{container}");
        std::fs::create_dir(peers.path(&out)).unwrap();
        peers.ours_ok(&["cp", "-a", &format!("{inside}/t"), &out]);
        // But for the socket.
        let _ = std::fs::remove_file(peers.path("t/socket"));
        peers.sh("touch -m -d @1234567890.123456789 t");
        let (before, after) =
            (describe(&peers, &peers.path("t"), true), describe(&peers, &peers.path(&out).join("t"), true));
        assert_eq!(before, after, "{container}");
        let holes = peers.sh(&format!("stat -c '%s %b' {out}/t/holes"));
        let (size, blocks) = holes.trim().split_once(' ').unwrap();
        assert_eq!(size, (8_u64 << 30).to_string());
        assert!(blocks.parse::<u64>().unwrap() < 1000, "the holes are filled: {blocks} blocks");
        peers.sh("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"t/socket\")'");
    }
}

#[test]
fn owners_are_the_destinations_unless_they_are_kept() {
    if !has("owners_are_the_destinations_unless_they_are_kept", &[]) {
        return;
    }
    let peers = machine(image());
    let id = peers.ours_ok(&["create", "--name", "made", "./layout"]).trim_end().to_owned();
    let upper = peers.ours_dir().join("containers").join(&id).join("upper");
    let stat = |path: &Path| peers.ok(&["stat", "-c", "%u:%g %a", &path.to_string_lossy()]).trim_end().to_owned();
    let on_host = |seen: &str| seen.replace("0:0", &crate::common::owner_of_root());
    let root = crate::common::owner_of_root();
    let make = "mkdir d; for n in a r; do echo x >d/$n; done; chown 1000:100 d d/a";
    peers.sh(&format!("{make}; chown {root} d/r; chmod 6755 d/a d/r; chmod 2775 d"));
    peers.ours_ok(&["cp", "d", "made:/plain"]);
    peers.ours_ok(&["container", "cp", "--archive", "d", "made:/kept"]);
    // A set-user-ID bit is worth what its owner is: it does not become root's.
    for (name, expected) in [
        ("plain", "0:0 2775"),
        ("plain/a", "0:0 755"),
        ("plain/r", "0:0 6755"),
        ("kept", "1000:100 2775"),
        ("kept/a", "1000:100 6755"),
        ("kept/r", "0:0 6755"),
    ] {
        assert_eq!(stat(&upper.join(name)), on_host(expected), "{name}");
    }
    peers.ours_ok(&["cp", "made:/kept", "out"]);
    peers.ours_ok(&["cp", "-a", "made:/kept", "out-kept"]);
    for (name, expected) in [("out", "0:0 2775"), ("out/a", "0:0 755"), ("out-kept/a", "1000:100 6755")] {
        assert_eq!(stat(&peers.path(name)), on_host(expected), "{name}");
    }
}

#[test]
fn tars_come_and_go() {
    if !has("tars_come_and_go", &["bsdtar", "python3"]) {
        return;
    }
    let peers = machine(image());
    let tool = crate::common::tool();
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let _guest = Guest::start(&peers, "runs", &["--rm"], "./layout", "echo ready; sleep 1000");
    peers.ok(&["python3", "-c", MAKE, "."]);
    std::fs::remove_file(peers.path("t/socket")).unwrap();
    std::fs::remove_file(peers.path("t/holes")).unwrap();
    // GNU tar has no hard links of pipes.
    std::fs::remove_file(peers.path("t/pipe-twin")).unwrap();
    for container in ["made", "runs"] {
        // GNU tar's own, with all its kinds of headers, and packed.
        peers.sh(&format!("tar --xattrs --xattrs-include='*' --format=pax -c t | {tool} cp - {container}:/w"));
        peers.sh(&format!("rm -rf {container}; mkdir {container}; {tool} cp {container}:/w/t - >{container}.tar"));
        peers.sh(&format!("tar --xattrs --xattrs-include='*' -xpf {container}.tar -C {container}"));
        let kept = |dir: &Path| describe(&peers, dir, true);
        assert_eq!(kept(&peers.path("t")), kept(&peers.path(container).join("t")), "{container}");
        peers.sh(&format!("tar -zc -C t plain | {tool} cp - {container}:/tmp"));
        peers.sh(&format!("{tool} cp {container}:/tmp/plain - | tar -xO | cmp - t/plain"));
        let list = |source: &str| peers.sh(&format!("{tool} cp {container}:{source} - | bsdtar -tf -"));
        assert_eq!(
            list("/w/t/closed"),
            "t/closed/\n".replace("t/", "") + "closed/twin\nclosed/deep/\nclosed/deep/none\n"
        );
        assert_eq!(list("/w/t/closed/."), "./\ntwin\ndeep/\ndeep/none\n");
        assert_eq!(list("/w/t/link"), "link\n");
        assert_eq!(list("w/t/twin"), "twin\n");
    }
    // From one container to another through a pipe, and straight.
    peers.sh(&format!("{tool} cp made:/w/t/plain - | {tool} cp - runs:/root"));
    assert_eq!(peers.ours_ok(&["exec", "runs", "cat", "/root/plain"]), "plain");
    for (words, text) in [
        (["cp", "-", "made:/w/t/plain"], "must be a directory"),
        (["cp", "-", "made:/nothing"], "must be a directory"),
        (["cp", "-", "made:/w/t/plain/x"], "Not a directory"),
    ] {
        let output = peers.ours_fed(&words, &archive(&[]));
        assert!(code(output.status) == 1 && stderr(&output).contains(text), "{words:?} {}", stderr(&output));
    }
    let whole = archive(&[Entry::new("one", Kind::File(vec![1; 2000])), Entry::new("two", Kind::File(vec![2; 2000]))]);
    for (bytes, text) in [(&whole[..3000], "truncated"), (&b"no tar at all"[..], "not a tar"), (b"", "empty")] {
        let output = peers.ours_fed(&["cp", "-", "made:/w"], bytes);
        assert!(code(output.status) == 1 && stderr(&output).contains(text), "{}", stderr(&output));
    }
    // What came before the end is there.
    peers.ours_ok(&["cp", "made:/w/one", "one"]);
    assert_eq!(std::fs::read(peers.path("one")).unwrap(), [1; 2000]);
}

#[test]
fn what_is_mounted_is_part_of_one_that_runs() {
    if !has("what_is_mounted_is_part_of_one_that_runs", &["python3"]) {
        return;
    }
    let peers = machine(image());
    for dir in ["bound", "frozen"] {
        std::fs::create_dir(peers.path(dir)).unwrap();
        std::fs::write(peers.path(dir).join("there"), dir).unwrap();
    }
    peers.ours_ok(&["volume", "create", "vol"]);
    std::fs::write(peers.path("f"), "f").unwrap();
    let bound = format!("{}:/bound", peers.path("bound").display());
    let frozen = format!("{}:/frozen:ro", peers.path("frozen").display());
    let flags = ["--rm", "-v", &bound, "-v", &frozen, "-v", "vol:/vol", "--tmpfs", "/mem"];
    let _guest = Guest::start(&peers, "runs", &flags, "./layout", "echo ready; sleep 1000");
    for dir in ["bound", "vol", "mem"] {
        peers.ours_ok(&["cp", "f", &format!("runs:/{dir}")]);
        assert_eq!(peers.ours_ok(&["exec", "runs", "cat", &format!("/{dir}/f")]), "f", "{dir}");
        peers.ours_ok(&["cp", &format!("runs:/{dir}/f"), &format!("back-{dir}")]);
    }
    assert_eq!(peers.sh("cat bound/f back-bound back-vol back-mem"), "ffff");
    peers.ours_ok(&["cp", "runs:/frozen/there", "there"]);
    let said = peers.ours_fails(1, &["cp", "f", "runs:/frozen/new"]);
    assert!(said.contains("Read-only file system"), "{said}");
    peers.ours_ok(&["cp", "runs:/", "all"]);
    assert_eq!(peers.sh("cat all/bound/there all/frozen/there all/vol/f"), "boundfrozenf");
    let _still = Guest::start(&peers, "frozen", &["--rm", "--read-only"], "./layout", "echo ready; sleep 1000");
    let said = peers.ours_fails(1, &["cp", "f", "frozen:/w"]);
    assert!(said.contains("Read-only file system"), "{said}");
    peers.ours_ok(&["cp", "frozen:/etc/passwd", "passwd"]);
    // One that does not run has nothing mounted.
    let created = |name: &str, flags: &[&str]| {
        let words = [&["create", "--name", name], flags, &["./layout"]].concat();
        let id = peers.ours_ok(&words).trim_end().to_owned();
        peers.ours_dir().join("containers").join(id).join("upper")
    };
    created("made", &["--read-only"]);
    peers.ours_ok(&["cp", "made:/etc/passwd", "passwd"]);
    let said = peers.ours_fails(1, &["cp", "f", "made:/w"]);
    assert!(said.contains("Read-only file system"), "{said}");
    let upper = created("other", &["-v", "vol:/w/vol"]);
    std::os::unix::fs::symlink("w/vol", upper.join("to")).unwrap();
    std::fs::create_dir_all(upper.join("w/vol/deep")).unwrap();
    for path in ["/w/vol", "/w/vol/deep", "/w/vol/new", "/to/new", "/to/deep/."] {
        let said = peers.ours_fails(1, &["cp", "f", &format!("other:{path}")]);
        assert!(said.contains("mounted only while the container runs"), "{path} {said}");
    }
    peers.ours_ok(&["cp", "f", "other:/w"]);
}

#[test]
fn roots_of_every_kind() {
    if !has("roots_of_every_kind", &[]) {
        return;
    }
    let peers = machine(image());
    let tool = crate::common::tool();
    std::fs::write(peers.path("f"), "f").unwrap();
    peers.sh(&format!("mkdir -p root/w; {tool} export $({tool} create ./layout) >root.tar"));
    peers.ours_ok(&["create", "--name", "of-directory", "./root"]);
    peers.ours_ok(&["create", "--name", "of-tar", "./root.tar"]);
    for name in ["of-directory", "of-tar"] {
        peers.ours_ok(&["cp", "f", &format!("{name}:/w")]);
        peers.ours_ok(&["cp", &format!("{name}:/w/f"), name]);
        assert_eq!(std::fs::read_to_string(peers.path(name)).unwrap(), "f", "{name}");
    }
    assert_eq!(std::fs::read_to_string(peers.path("root/w/f")).unwrap(), "f");
    // One that is to leave its directory as it is does so, whoever writes into it.
    peers.ours_ok(&["create", "--name", "ephemeral", "--ephemeral", "./root"]);
    peers.ours_ok(&["cp", "f", "ephemeral:/w/kept"]);
    assert!(!peers.path("root/w/kept").exists());
    peers.ours_ok(&["cp", "ephemeral:/w/kept", "kept"]);
    assert_eq!(std::fs::read(peers.path("kept")).unwrap(), b"f");
    assert!(peers.sh(&format!("{tool} export ephemeral | tar t")).lines().any(|name| name == "w/kept"));
    // It is in what is made of it.
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    peers.ours_ok(&["cp", "f", "made:/w"]);
    assert_eq!(peers.ours_ok(&["diff", "made"]), "C /w\nA /w/f\n");
    peers.ours_ok(&["commit", "made", "with-it"]);
    assert_eq!(peers.ours_run(&["--rm", "with-it", "cat", "/w/f"]), "f");
    // A copy into a copy of itself would not end.
    peers.sh(&format!("mkdir -p a/b; echo x >a/x; {tool} cp a made:/"));
    for (from, to) in [
        ("made:/a", "made:/a/b"),
        ("made:/a", "made:/a/new"),
        ("made:/a/.", "made:/a/b"),
        ("made:/a/.", "made:/a"),
        ("root", "of-directory:/w"),
    ] {
        let said = peers.ours_fails(1, &["cp", from, to]);
        assert!(said.contains("into itself"), "{from} {to}: {said}");
    }
    peers.ours_ok(&["cp", "made:/a/x", "made:/a/x"]);
    peers.ours_ok(&["cp", "made:/a/x", "x"]);
    assert_eq!(std::fs::read_to_string(peers.path("x")).unwrap(), "x\n");
}

#[test]
fn wrong_use_is_told() {
    if !has("wrong_use_is_told", &["script"]) {
        return;
    }
    let peers = machine(image());
    let tool = crate::common::tool();
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    std::fs::write(peers.path("f"), "f").unwrap();
    std::fs::write(peers.path("a:b"), "f").unwrap();
    for (words, status, text) in [
        (&["f", "g"][..], 1, "neither \"f\" nor \"g\" is in a container"),
        (&["-", "g"], 1, "is in a container"),
        (&["-", "-"], 1, "is in a container"),
        (&["nobody:/f", "g"], 1, "there is no container \"nobody\""),
        (&["f", "made:/none/f"], 1, "there is no directory made:/none/"),
        (&["", "made:/"], 1, "the source is empty"),
        (&["f"], 125, "DEST"),
        (&["--pause", "f", "made:/"], 125, "--pause"),
    ] {
        let said = peers.ours_fails(status, &[&["cp"], words].concat());
        assert!(said.contains(text), "{words:?}: {said}");
    }
    peers.ours_ok(&["cp", "./a:b", "made:"]);
    peers.ours_ok(&["cp", "made:a:b", "there"]);
    // A terminal is told how much it was, and gets no tar.
    let terminal = |words: &str| stdout(&peers.run(&["script", "-qec", &format!("{tool} cp {words}"), "/dev/null"]));
    assert_eq!(terminal("f made:/tmp"), "mycontainer: copied 1B to made:/tmp\r\n");
    assert_eq!(terminal("-q f made:/tmp"), "");
    assert!(terminal("made:/tmp -").contains("a tar is not for a terminal"));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let full = peers.ours_command(&["cp", "made:/bin", "-"]).stdout(full).output().unwrap();
    assert!(code(full.status) == 1 && stderr(&full).contains("No space left"), "{}", stderr(&full));
}

#[test]
fn a_killed_copy_leaves_a_container_that_works() {
    if !has("a_killed_copy_leaves_a_container_that_works", &[]) {
        return;
    }
    let peers = machine(image());
    let id = peers.ours_ok(&["create", "--name", "made", "./layout"]).trim_end().to_owned();
    peers.sh("mkdir many; for n in $(seq 200); do echo $n >many/$n; done");
    peers.killed(
        30,
        |_| ["cp", "many", "made:/w"].map(str::to_owned).to_vec(),
        |n, killed| {
            let output = peers.ours(&["cp", "made:/w/many/200", "last"]);
            assert!(killed || output.status.success(), "{n}: {}", stderr(&output));
            peers.only_whole(std::slice::from_ref(&id));
        },
    );
    peers.ours_ok(&["cp", "many", "made:/w"]);
    peers.sh(&format!(
        "{} cp made:/w/many - | tar -x --transform s,many,back,; diff -r many back",
        crate::common::tool()
    ));
    peers.ours_ok(&["rm", "made"]);
    let mounts = Command::new("cat").arg("/proc/self/mounts").stdin(Stdio::null()).output().unwrap();
    assert!(!stdout(&mounts).contains(&id[..12]));
}

//! Wrong use, and hosts that lack something: each failure is one line that names what failed, on what and why, perhaps
//! a second with what to do; it has Docker's exit code, and leaves nothing on the host.

use crate::common::{Clean, Running, Scratch, busybox_root, can_run, in_private_mounts, need, stderr, stdout, tool};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What was tried, exit code, and what standard error must name.
type Case<'a> = (&'a [&'a str], i32, &'a [&'a str]);

fn mycontainer(words: &[&str]) -> Output {
    Command::new(tool()).args(words).stdin(Stdio::null()).output().unwrap()
}

/// One or two lines: what failed, and a hint.
fn assert_well_said(output: &Output, code: i32, named: &[&str], tried: &str) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{tried}: {error}");
    assert_eq!(stdout(output), "", "{tried}: nothing on standard output");
    // What is told before an image is asked for.
    let lines: Vec<&str> = error.lines().filter(|line| !line.starts_with("Unable to find image ")).collect();
    assert!((1..=2).contains(&lines.len()), "{tried}: one or two lines: {error}");
    assert!(lines[0].starts_with("mycontainer: ") && lines[0].len() > 25, "{tried}: {error}");
    assert!(lines.get(1).is_none_or(|hint| hint.starts_with("  hint: ")), "{tried}: {error}");
    for part in named {
        assert!(error.contains(part), "{tried}: names {part:?}: {error}");
    }
    for noise in ["panicked", "Some(", "Os {", "Error(", "\\\""] {
        assert!(!error.contains(noise), "{tried}: {noise} is for us, not for a person: {error}");
    }
}

/// Runs each case; `run` and `--network none` stand before its words.
fn all_well_said(cases: &[Case<'_>]) {
    let clean = Clean::watch();
    for (words, code, named) in cases {
        let output = mycontainer(&[&["run", "--rm", "--network", "none"], *words].concat());
        assert_well_said(&output, *code, named, &format!("{words:?}"));
        clean.check(&format!("{words:?}"));
    }
}

#[test]
fn words_that_are_not_understood() {
    let root = "/no/such/root";
    let cases: &[Case<'_>] = &[
        (&["--memroy", "1g", root], 125, &["--memroy", "did you mean --memory?"]),
        (&["--cap-ad=X", root], 125, &["--cap-ad", "did you mean --cap-add?"]),
        (&["--readonly", root], 125, &["--readonly", "did you mean --read-only?"]),
        (&["--xyzzy", root], 125, &["--xyzzy", "mycontainer help run"]),
        (&["-Z", root], 125, &["-Z"]),
        (&["--runtime", "runc", root], 125, &["run has no flag --runtime: this is the runtime itself", "leave it out"]),
        (
            &["--storage-opt=size=1g", root],
            125,
            &["no flag --storage-opt: layers are directories", "--tmpfs PATH:size="],
        ),
        (&["--memory"], 125, &["--memory", "needs a value"]),
        (&["-v"], 125, &["-v", "needs a value"]),
        (&["--rm=maybe", root], 125, &["--rm", "maybe"]),
        (&[], 125, &["ROOT", "mycontainer run -it host"]),
        (&["--name", "a/b", root], 125, &["--name", "a/b"]),
        (&["--hostname", "", root], 125, &["--hostname"]),
        (&["-w", "relative", root], 125, &["-w", "relative", "absolute"]),
        (&["-e", "=x", root], 125, &["-e", "=x"]),
        (&["--env-file", "/no/such/file", root], 125, &["--env-file", "/no/such/file"]),
        (&["-v", "/tmp:relative", root], 125, &["-v", "/tmp:relative", "absolute"]),
        (&["-v", "tmp", root], 125, &["-v", "tmp"]),
        (&["-v", "da/ta:/data", root], 125, &["da/ta:/data", "name of a volume"]),
        (&["-v", "/tmp:/t:rx", root], 125, &["rx"]),
        (&["--mount", "type=bind,src=/tmp", root], 125, &["--mount", "target"]),
        (&["--mount", "type=wat,dst=/t", root], 125, &["--mount", "wat"]),
        (&["--tmpfs", "relative", root], 125, &["--tmpfs", "relative"]),
        (&["--cap-add", "NET_WHAT", root], 125, &["--cap-add", "NET_WHAT"]),
        (&["--cap-drop", "", root], 125, &["--cap-drop"]),
        (&["--ulimit", "nofile=9:3", root], 125, &["--ulimit", "nofile=9:3"]),
        (&["--ulimit", "files=9", root], 125, &["--ulimit", "files=9"]),
        (&["--network", "front/end", root], 125, &["--network", "front/end", "name of a network"]),
        (&["--dns", "example.org", root], 125, &["--dns", "example.org"]),
        (&["--add-host", "db", root], 125, &["--add-host", "db"]),
        (&["--sysctl", "net.ipv4.ip_forward", root], 125, &["--sysctl", "NAME=VALUE"]),
        (&["--security-opt", "apparmor=x", root], 125, &["--security-opt", "apparmor=x"]),
        (&["--shm-size", "much", root], 125, &["--shm-size", "much"]),
        (&["--device", "relative", root], 125, &["--device", "relative"]),
        (&["--explain=xml", root], 125, &["--explain", "xml"]),
    ];
    all_well_said(cases);
    assert_well_said(&mycontainer(&["rum", "host"]), 125, &["rum", "did you mean run?"], "rum");
    assert_well_said(&mycontainer(&["frobnicate"]), 125, &["frobnicate", "mycontainer help"], "frobnicate");
    assert_well_said(&mycontainer(&["help", "rum"]), 125, &["rum"], "help rum");
}

#[test]
fn roots_that_are_none() {
    if !can_run("roots_that_are_none") {
        return;
    }
    let scratch = Scratch::new("roots");
    let path = |name: &str| scratch.path(name);
    let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    fs::create_dir_all(scratch.0.join("empty")).unwrap();
    fs::create_dir_all(scratch.0.join("in/etc")).unwrap();
    scratch.file("in/etc/much", (0..200_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>(), 0o644);
    for (name, filter) in [("whole.tar", "--"), ("whole.gz", "-z"), ("whole.zst", "--zstd")] {
        let filter: &[&str] = if filter == "--" { &[] } else { &[filter] };
        let made =
            Command::new("tar").args(filter).args(["-C", &path("in"), "-cf", &path(name), "."]).status().unwrap();
        assert!(made.success());
        let whole = fs::read(path(name)).unwrap();
        scratch.file(&name.replace("whole", "cut"), &whole[..whole.len() / 2], 0o644);
    }
    scratch.file("no-bytes", "", 0o644);
    scratch.file("no-entries", [0; 10_240], 0o644);
    scratch.file("text", "root file systems are no poems\n".repeat(100), 0o644);
    let cases: &[Case<'_>] = &[
        (&["/no/such/root", "true"], 125, &["/no/such/root"]),
        (&["localhost:1/ubuntu:24.04", "true"], 125, &["cannot reach localhost:1"]),
        (&[&path("text/below"), "true"], 125, &["text/below"]),
        (&[&path("socket"), "true"], 125, &["socket"]),
        (&[&path("fifo"), "true"], 125, &["fifo", "pipe"]),
        (&["/dev/null", "true"], 125, &["/dev/null", "device"]),
        (&[&path("no-bytes"), "true"], 125, &["no-bytes", "empty"]),
        (&[&path("no-entries"), "true"], 125, &["no-entries", "empty"]),
        (&[&path("text"), "true"], 125, &["text", "not a tar archive"]),
        (&[&path("cut.tar"), "true"], 125, &["cut.tar", "truncated"]),
        (&[&path("cut.gz"), "true"], 125, &["cut.gz", "truncated"]),
        (&[&path("cut.zst"), "true"], 125, &["cut.zst", "truncated"]),
        (&[&path("empty")], 125, &["neither bash nor sh"]),
        (&[&path("empty"), "ls"], 127, &["ls", "PATH"]),
        (&[&path("empty"), "/bin/ls"], 127, &["/bin/ls"]),
        (&["--ephemeral", "host", "true"], 125, &["--ephemeral"]),
    ];
    all_well_said(cases);
}

#[test]
fn flags_that_the_root_or_the_host_does_not_bear_out() {
    if !can_run("flags_that_the_root_or_the_host_does_not_bear_out") {
        return;
    }
    let root = busybox_root().to_str().unwrap();
    let scratch = Scratch::new("wrong");
    let bad_json = format!("seccomp={}", scratch.file("bad.json", "{ \"defaultAction\": ", 0o644));
    let bad_action = format!("seccomp={}", scratch.file("action.json", r#"{"defaultAction":"SCMP_ACT_SHRUG"}"#, 0o644));
    let plain = scratch.file("plain", "#!/bin/sh\n", 0o644);
    let script = scratch.file("script", "#!/no/such/interpreter -x\n", 0o755);
    let volume = format!("{}:{}", scratch.0.display(), scratch.0.display());
    let dir = scratch.0.to_str().unwrap();
    let file_on_dir = format!("{plain}:/etc");
    let dir_on_file = format!("{dir}:/etc/passwd");
    let cases: &[Case<'_>] = &[
        (&["-m", "1k", root, "true"], 125, &["1024", "512 KiB"]),
        (&["-v", "/no/such/source:/x", root, "true"], 125, &["/no/such/source", "create it first"]),
        (&["--mount", "type=bind,src=/no/such/source,dst=/x", root, "true"], 125, &["/no/such/source"]),
        (&["-v", &file_on_dir, root, "true"], 125, &["/etc"]),
        (&["-v", &dir_on_file, root, "true"], 125, &["/etc/passwd"]),
        (&["-v", "/tmp:/x", "--tmpfs", "/x", root, "true"], 125, &["/x", "twice"]),
        (&["-v", "/tmp:/x", "-v", "/tmp:/x/", root, "true"], 125, &["/x", "twice"]),
        (&["--tmpfs", "/x:size=wat", root, "true"], 125, &["/x", "wat"]),
        (&["--tmpfs", "/x:colour=red", root, "true"], 125, &["/x", "colour"]),
        (&["-u", "bob", root, "true"], 125, &["bob", "/etc/passwd"]),
        (&["-u", "ann:nobody", root, "true"], 125, &["nobody", "/etc/group"]),
        (&["-u", "0x0", root, "true"], 125, &["0x0"]),
        (&["-u", "", root, "true"], 125, &["--user"]),
        (&["-u", "4294967295", root, "true"], 125, &["4294967295"]),
        (&["--device", "/dev/no-such", root, "true"], 125, &["/dev/no-such"]),
        (&["--device", "/etc/passwd", root, "true"], 125, &["/etc/passwd", "no device"]),
        (&["--security-opt", "seccomp=/no/such.json", root, "true"], 125, &["/no/such.json"]),
        (&["--security-opt", &bad_json, root, "true"], 125, &["seccomp"]),
        (&["--security-opt", &bad_action, root, "true"], 125, &["SCMP_ACT_SHRUG"]),
        (&["--sysctl", "kernel.panic=1", root, "true"], 125, &["kernel.panic"]),
        (&["-w", "/etc/passwd", root, "true"], 125, &["/etc/passwd", "working directory"]),
        (&["-i", "-t", root, "true"], 125, &["TTY"]),
        (&[root, "no-such-command"], 127, &["no-such-command", "PATH"]),
        (&["-v", &volume, root, &plain], 126, &[&plain, "x bit"]),
        (&["-v", &volume, root, &script], 126, &[&script, "/no/such/interpreter"]),
        (&["-v", &volume, root, dir], 126, &[dir, "directory"]),
    ];
    all_well_said(cases);
}

#[test]
fn a_name_that_is_taken() {
    if !can_run("a_name_that_is_taken") {
        return;
    }
    let _clean = Clean::watch();
    let mut container = Running::start(&["-i"], "echo ready; read x");
    let output = mycontainer(&["run", "--rm", "--network", "none", "--name", &container.name, "host", "true"]);
    assert_well_said(&output, 125, &[&container.name, &container.id()[..8], "--name"], "a taken name");
    assert_eq!(container.end().0, 1, "the first has not noticed");
}

#[test]
fn a_full_disk() {
    if !can_run("a_full_disk") {
        return;
    }
    let clean = Clean::watch();
    let _ = fs::create_dir_all("/var/lib/mycontainer");
    let scratch = Scratch::new("full");
    fs::create_dir_all(scratch.0.join("in/etc")).unwrap();
    scratch.file("in/etc/much", vec![7; 300_000], 0o644);
    let archive = scratch.path("archive");
    assert!(Command::new("tar").args(["-C", &scratch.path("in"), "-cf", &archive, "."]).status().unwrap().success());
    // Nothing may be left on the full disk either: it is looked at before its namespace goes.
    let script = r#"mount -t tmpfs -o $1 t /var/lib/mycontainer; mkdir /var/lib/mycontainer/containers; shift
        if [ "$1" = fill ]; then head -c 1m /dev/zero > /var/lib/mycontainer/fill 2>/dev/null || true; fi; shift
        code=0; "$0" run --rm --network none "$@" || code=$?
        find /var/lib/mycontainer -mindepth 2 -not -path '*/roots/index*' >&2; exit $code"#;
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        ("size=16k", "fill", &["host", "true"], &["No space left", "/var/lib/mycontainer"]),
        ("nr_inodes=3", "", &["host", "true"], &["No space left", "/var/lib/mycontainer"]),
        ("size=100k", "", &[&archive, "true"], &["archive", "no space left", "/var/lib/mycontainer"]),
    ];
    for (options, fill, words, named) in cases {
        let output = in_private_mounts(script, &[&[*options, *fill], *words].concat());
        let error = stderr(&output).to_lowercase();
        assert_eq!(output.status.code(), Some(125), "{options} {words:?}: {error}");
        let named: Vec<String> = named.iter().map(|part| part.to_lowercase()).collect();
        assert!(named.iter().all(|part| error.contains(part)), "{options} {words:?}: {named:?} in {error}");
        assert!(error.lines().count() <= 2, "{options} {words:?}: {error}");
        clean.check(options);
    }
}

#[test]
fn a_user_or_a_root_without_rights() {
    if !can_run("a_user_or_a_root_without_rights") {
        return;
    }
    let clean = Clean::watch();
    // Where anybody may run it: the tool's own directory may be root's.
    let scratch = Scratch::new("rights");
    let copy = scratch.file("mycontainer", fs::read(tool()).unwrap(), 0o755);
    let root = busybox_root().to_str().unwrap();
    for root in ["host", root] {
        let words = ["--reuid", "65534", "--regid", "65534", "--clear-groups", &copy, "run", "--rm", root, "true"];
        // Somebody without a home of their own, that is; others run it.
        let output =
            Command::new("setpriv").args(words).env("HOME", "/root").env_remove("XDG_DATA_HOME").output().unwrap();
        let named = ["/root/.local", "Permission denied", "XDG_DATA_HOME", "sudo"];
        assert_well_said(&output, 125, &named, &format!("nobody runs {root}"));
        let words = ["--bounding-set", "-sys_admin", &copy, "run", "--rm", "--network", "none", root, "true"];
        let output = Command::new("setpriv").args(words).output().unwrap();
        assert_well_said(&output, 125, &["CAP_SYS_ADMIN"], &format!("root without CAP_SYS_ADMIN runs {root}"));
        clean.check(root);
    }
}

#[test]
fn a_kernel_without_overlay() {
    if !can_run("a_kernel_without_overlay") || !need("a_kernel_without_overlay", has_strace(), "it needs strace") {
        return;
    }
    let _clean = Clean::watch();
    // The first file system that is opened is the overlay; the kernel says ENODEV to a type that it does not know.
    let root = busybox_root().to_str().unwrap();
    for words in [&["host", "true"][..], &["--ephemeral", root, "true"]] {
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-e", "trace=fsopen", "-e", "inject=fsopen:error=ENODEV:when=1"]);
        let output = command.args([tool(), "run", "--rm", "--network", "none"]).args(words).output().unwrap();
        assert_well_said(&output, 125, &["overlay", "modprobe overlay"], &format!("{words:?}"));
    }
}

fn has_strace() -> bool {
    Path::new("/usr/bin/strace").exists() || Command::new("strace").arg("-V").output().is_ok()
}

//! What a verb may cost of what does not vary from run to run: system calls, instructions, switches of processes, the
//! binary's bytes, the crates of the runtime. Of the binary that people get, whose path is in MYCONTAINER_RELEASE (`make test` builds it).
//!
//! Each limit is what it was when somebody last looked, and a little more. Who needs more has a reason, and writes the new
//! figure here; who has saved something, too. (What takes time is the benchmark's, `make bench`.)

use crate::common::host::Host;
use crate::common::{busybox_root, need, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The binary, or why not.
fn release(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("MYCONTAINER_RELEASE").map(PathBuf::from).filter(|path| path.is_file());
    need(test, path.is_some(), "MYCONTAINER_RELEASE names no binary").then_some(path?)
}

/// A host on which another container is, so that the bridge is there, and a bundle; the binary is there by both its names.
fn host(test: &str, tool: &Path) -> Option<(Host, Other)> {
    let host = Host::new(test, "")?;
    let root = busybox_root().to_str().unwrap();
    host.ours_ok(&["run", "-d", "--ephemeral", "--name", "other", root, "sleep", "1000"]);
    host.sh(&format!(
        "mkdir /run/bin /run/bundle && cd /run/bin && ln -s {root} ../bundle/rootfs && ln -s {0} mycontainer && ln -s {0} mycontainer-runtime &&
         cd ../bundle && ../bin/mycontainer-runtime spec &&
         sed -i 's/\"terminal\": true/\"terminal\": false/; s|\"sh\"|\"true\"|' config.json",
        tool.display()
    ));
    Some((host, Other))
}

/// The container that is there, which goes with the test.
struct Other;

impl Other {
    fn end(self, host: &Host) {
        host.ours_ok(&["rm", "-f", "other"]);
    }
}

/// What is counted; ROOT is a directory with busybox.
const VERBS: &[(&str, &str)] = &[
    ("run, no network", "/run/bin/mycontainer run --rm --network none ROOT true"),
    ("run, bridge", "/run/bin/mycontainer run --rm ROOT true"),
    ("run in the background", "/run/bin/mycontainer run -d --rm --network none ROOT true"),
    ("exec", "/run/bin/mycontainer exec other true"),
    ("ps", "/run/bin/mycontainer ps"),
    ("inspect", "/run/bin/mycontainer inspect other"),
    ("help", "/run/bin/mycontainer help run"),
    ("runtime run", "/run/bin/mycontainer-runtime --root /run/bundle/state run -b /run/bundle budget"),
];

fn command(words: &str) -> String {
    words.replace("ROOT", busybox_root().to_str().unwrap())
}

/// System calls of the tool and of what it makes, with those of the program in the container.
const CALLS: &[usize] = &[712, 818, 940, 400, 56, 156, 24, 680];

#[test]
fn system_calls() {
    let Some(tool) = release("system_calls") else { return };
    let Some((host, other)) = host("system_calls", &tool) else { return };
    let counted = VERBS.iter().map(|(name, words)| {
        let count = || -> usize {
            host.sh(&format!("strace -f -qq -o /run/calls {} >/dev/null", command(words)));
            // A call that another process interrupts stands on two lines.
            host.sh("grep -vc -e ' resumed>' -e '^[0-9]* *[-+][-+][-+]' /run/calls").trim().parse().unwrap()
        };
        // Who waits for another asks once or twice for how it is.
        (*name, (0..3).map(|_| count()).min().unwrap())
    });
    within("system calls", counted, CALLS);
    other.end(&host);
}

/// Instructions outside of the kernel of the tool and of what it makes, up to where the program in the container begins. That
/// is from one instruction to the next, and a million take half a minute: so not of all verbs. They vary by less than one in
/// a hundred, and a limit is seven hundredths more than was counted.
const INSTRUCTIONS: &[(&str, usize)] = &[
    ("run, no network", 800_000),
    ("run, bridge", 955_000),
    ("exec", 372_000),
    ("ps", 225_000),
    ("inspect", 527_000),
    ("help", 355_000),
    ("runtime run", 637_000),
];

#[test]
fn instructions() {
    let Some(tool) = release("instructions") else { return };
    let Some((host, other)) = host("instructions", &tool) else { return };
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/steps.c");
    host.sh(&format!("gcc -O2 -static -o /run/steps {source}"));
    let counted = INSTRUCTIONS.iter().map(|(name, _)| {
        let words = command(VERBS.iter().find(|verb| verb.0 == *name).expect("a verb of the table").1);
        // The first run of all leaves what the others find, such as the compiled filter. Who executes itself anew hands each
        // variable on, of which `make` and cargo have many.
        host.sh(&format!(
            "{words} >/dev/null; \
             env -i PATH=\"$PATH\" /run/steps /run/count instructions 10000000 busybox {words} >/dev/null"
        ));
        (*name, host.sh("cat /run/count").trim().parse().unwrap())
    });
    let limits: Vec<usize> = INSTRUCTIONS.iter().map(|(_, most)| *most).collect();
    within("instructions", counted, &limits);
    other.end(&host);
}

/// Times that the tool and what it makes gave up a processor by themselves: what waits for another waits for its turn.
const SWITCHES: &[usize] = &[9, 15, 7, 12, 3, 3, 3, 10];

#[test]
fn switches() {
    let Some(tool) = release("switches") else { return };
    let Some((host, other)) = host("switches", &tool) else { return };
    let counted = VERBS.iter().map(|(name, words)| {
        let script = format!(
            "import os\nwords = '{}'.split()\npid = os.posix_spawn(words[0], words, os.environ)\nprint(os.wait4(pid, 0)[2].ru_nvcsw)",
            command(words)
        );
        let count = || -> usize {
            let counted = host.sh(&format!("python3 -c \"{script}\""));
            counted.lines().last().unwrap().parse().unwrap()
        };
        (*name, (0..20).map(|_| count()).min().unwrap())
    });
    within("switches", counted, SWITCHES);
    other.end(&host);
}

/// The limits are those of the binary with musl's library. Where that cannot be had it has glibc's, which nobody has counted
/// as closely: there a third more is let pass.
fn limit(limit: usize) -> usize {
    let is_musl = std::env::var("MYCONTAINER_RELEASE").is_ok_and(|path| path.contains("-musl/"));
    if is_musl { limit } else { limit + limit / 3 }
}

fn within(what: &str, counted: impl Iterator<Item = (&'static str, usize)>, limits: &[usize]) {
    let all: Vec<(&str, usize)> = counted.collect();
    eprintln!("{what}: {all:?}");
    let over: Vec<String> = all
        .iter()
        .zip(limits)
        .filter(|((_, count), most)| *count > limit(**most))
        .map(|((name, count), most)| format!("{name}: {count} {what}, at most {}", limit(*most)))
        .collect();
    assert!(over.is_empty() && all.len() == limits.len(), "{over:#?}");
}

/// Bytes of the binary: all that anybody has to download.
const BYTES: usize = 11_400_000;

#[test]
fn bytes_of_the_binary() {
    let Some(tool) = release("bytes_of_the_binary") else { return };
    let bytes = usize::try_from(std::fs::metadata(tool).unwrap().len()).unwrap();
    assert!(bytes <= limit(BYTES), "{bytes} bytes, at most {}", limit(BYTES));
}

/// Crates of others and of ours in the runtime, without those that only tests and builds need, macros among them.
const CRATES: usize = 35;

#[test]
fn crates_of_the_runtime() {
    let words = [
        "tree",
        "-p",
        "mycontainer-runtime",
        "-e",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--locked",
        "--offline",
    ];
    let output = Command::new(env!("CARGO")).args(words).output().expect("cargo is there");
    assert!(output.status.success(), "{}", stderr(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut crates: Vec<&str> =
        told.lines().filter_map(|line| line.split(' ').next()).filter(|n| !n.is_empty()).collect();
    crates.sort_unstable();
    crates.dedup();
    assert!(crates.len() <= CRATES, "{} crates, at most {CRATES}: {crates:?}", crates.len());
}

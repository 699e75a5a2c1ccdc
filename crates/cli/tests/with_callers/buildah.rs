//! Buildah with our runtime: image builds whose steps run in containers, and `buildah run`.

use crate::callers::{Place, Rows, Shared, has_callers, outcome, said};
use crate::common::{code, stderr, stdout, unique};
use std::process::Output;
use std::sync::Arc;

static BUILDAH: Shared<Buildah> = Shared::new();

/// Buildah in a place of its own, with an image called `localhost/box`.
struct Buildah {
    place: Place,
    program: Vec<String>,
}

impl Buildah {
    /// That which all tests of this file share; `None` where this test cannot run.
    fn get(test: &str) -> Option<Arc<Buildah>> {
        has_callers(test, &["buildah"]).then(|| BUILDAH.get(Buildah::start))
    }

    fn start() -> Buildah {
        let place = Place::new("buildah");
        let root = place.path("storage");
        let storage =
            format!("[storage]\ndriver = \"overlay\"\ngraphroot = {root:?}\nrunroot = \"/run/buildah-test\"\n");
        let storage = format!("CONTAINERS_STORAGE_CONF={}", place.file("storage.conf", storage));
        let settings = "[engine]\ncgroup_manager = \"cgroupfs\"\n";
        let settings = format!("CONTAINERS_CONF={}", place.file("containers.conf", settings));
        let program = ["env", &storage, &settings, "buildah", "--root", &root, "--runroot", "/run/buildah-test"];
        let program = program.iter().map(|word| (*word).to_owned()).collect();
        let buildah = Buildah { place, program };
        let from = buildah.ok(&["from", "scratch"]);
        buildah.ok(&["copy", "-q", from.trim(), &buildah.place.path("root"), "/"]);
        buildah.ok(&["config", "--cmd", "sh", "--env", "PATH=/usr/bin:/bin", from.trim()]);
        buildah.ok(&["commit", "-q", "--rm", from.trim(), "localhost/box"]);
        buildah
    }

    fn run(&self, words: &[&str]) -> Output {
        let program = self.program.iter().map(String::as_str);
        self.place.run(&program.chain(words.iter().copied()).collect::<Vec<_>>())
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// A working container.
    #[track_caller]
    fn from(&self, image: &str) -> Working<'_> {
        let name = self.ok(&["from", "--name", &unique("working"), image]).trim_end().to_owned();
        Working { buildah: self, name }
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.place.until_none("control groups", "find /sys/fs/cgroup -type d -name '*buildah*'");
            self.place.until_none("containers", &format!("{} containers -q", self.program.join(" ")));
            self.place.until_none("states", "find /run -type d -name 'buildah-buildah*'");
            self.place.until_none("mounts", "grep /merged /proc/self/mounts || true");
        }
    }
}

struct Working<'a> {
    buildah: &'a Buildah,
    name: String,
}

impl Working<'_> {
    /// `buildah run FLAGS... NAME -- WORDS...` with the runtime under test.
    fn run(&self, flags: &[&str], words: &[&str]) -> Output {
        let runtime = self.buildah.place.runtime();
        let start = ["run", "--runtime", &runtime, "--isolation", "oci"];
        self.buildah.run(&[&start, flags, &[self.name.as_str(), "--"], words].concat())
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let removed = self.buildah.run(&["rm", &self.name]);
        assert!(std::thread::panicking() || removed.status.success(), "{}", stderr(&removed));
    }
}

#[test]
fn builds_in_steps() {
    let Some(buildah) = Buildah::get("builds_in_steps") else { return };
    buildah.place.file("context/hello", "from the context\n");
    buildah.place.file(
        "context/Containerfile",
        "FROM localhost/box AS first\nENV A=b\nRUN echo $A > /made && ln -s made /link\nRUN mkdir /deep && echo deep > /deep/file\n\
         FROM localhost/box\nCOPY --from=first /deep /deep\nCOPY --from=first /made /link /\nWORKDIR /work\nRUN chown ann .\n\
         COPY hello .\nUSER ann\nRUN id -un > who && [ \"$(pwd)\" = /work ] && [ -w /dev/null ]\n\
         RUN --mount=type=tmpfs,dst=/scratch touch /scratch/x && stat -f -c %T /scratch > kind\n\
         RUN [\"/bin/sh\", \"-c\", \"cat /made /deep/file who kind hello > all\"]\n",
    );
    let runtime = buildah.place.runtime();
    let (image, context) = (unique("built"), buildah.place.path("context"));
    let build = ["bud", "--runtime", &runtime, "--isolation", "oci"];
    buildah.ok(&[&build[..], &["--layers", "-q", "-t", &image, &context]].concat());
    let working = buildah.from(&image);
    assert_eq!(outcome(&working.run(&[], &["cat", "/work/all"])).1, "b\ndeep\nann\ntmpfs\nfrom the context\n");
    drop(working);

    buildah.place.file("failing/Containerfile", "FROM localhost/box\nRUN exit 42\n");
    let failed = buildah.run(&[&build[..], &["--layers", "--force-rm", &buildah.place.path("failing")]].concat());
    assert!(!failed.status.success() && stderr(&failed).contains("exit status 42"), "{}", stderr(&failed));
    buildah.place.file("missing/Containerfile", "FROM localhost/box\nRUN [\"nonesuch\"]\n");
    let failed = buildah.run(&[&build[..], &["--layers", "--force-rm", &buildah.place.path("missing")]].concat());
    assert!(!failed.status.success() && stderr(&failed).contains("not found"), "{}", stderr(&failed));

    // Limits of a build are those of its containers.
    buildah.place.file(
        "limited/Containerfile",
        "FROM localhost/box\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true\n",
    );
    let said = buildah.ok(&[&build[..], &["--memory", "64m", &buildah.place.path("limited")]].concat());
    assert!(said.contains("67108864"), "{said}");
    buildah.ok(&["rmi", "-f", &image]);
}

#[test]
fn runs_in_a_working_container() {
    let Some(buildah) = Buildah::get("runs_in_a_working_container") else { return };
    let working = buildah.from("localhost/box");
    let output = working.run(&[], &["sh", "-c", "echo out; echo err >&2; echo kept > /kept"]);
    assert_eq!((code(output.status), stdout(&output)), (0, "out\n".into()));
    assert!(stderr(&output).contains("err\n"), "{}", stderr(&output));
    assert_eq!(code(working.run(&[], &["sh", "-c", "exit 7"]).status), 7);
    buildah.place.file("mounted/file", "from outside\n");
    let mount = format!("{}:/mounted:ro", buildah.place.path("mounted"));
    let mut rows = Rows::default();
    for (flags, script, expected) in [
        (&[][..], "cat /kept; id -u", "kept\n0\n"),
        (&["--user", "ann"], "id -u", "1000\n"),
        (&["--workingdir", "/tmp", "--env", "A=b c"], "pwd; echo $A", "/tmp\nb c\n"),
        (&["--hostname", "its-name"], "hostname", "its-name\n"),
        (&["-v", &mount], "cat /mounted/file; touch /mounted/x 2>/dev/null || echo no", "from outside\nno\n"),
        (&["--cap-drop", "all"], "grep CapBnd /proc/self/status | cut -f2", "0000000000000000\n"),
        (&["--network", "none"], "ls /sys/class/net", "lo\n"),
        (&["--network", "host"], "ls /sys/class/net | grep -c lo", "1\n"),
    ] {
        let output = working.run(flags, &["sh", "-c", script]);
        rows.same(format!("{flags:?} {script}"), said(&output), expected);
    }
    for (name, words, text) in
        [("not in PATH", &["nonesuch"][..], "not found"), ("not executable", &["/etc/passwd"], "permission denied")]
    {
        let output = working.run(&[], words);
        let said = stderr(&output).to_lowercase();
        assert!(!output.status.success() && said.contains(text), "{name}: {said}");
    }

    let runtime = buildah.place.runtime();
    let run = ["run", "--runtime", &runtime, "--isolation", "oci", "-t", &working.name, "sh"];
    let words: Vec<&str> = buildah.program.iter().map(String::as_str).chain(run).collect();
    let mut session = buildah.place.on_terminal(&words);
    session.expect("/ # ");
    session.send("tty; echo sum $((6*7))\r");
    session.expect("/dev/pts/0\r");
    session.expect("sum 42\r");
    session.send("exit 5\r");
    assert_eq!(session.status(), 5);
}

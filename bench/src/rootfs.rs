//! What the runs need on disk, made by the bench itself in a scratch directory that goes with it (unless it is killed:
//! then the directory stays, and the next run makes another).
//!
//! ```text
//! <temporary directory>/mycontainer-bench-<pid>/
//!   root/        the root file system: a static /bin/true, a /bin/sleep that never ends, and the empty directories that mounts go on
//!   root.tar     the same for tools that only take images
//!   floor        the compiled floor
//!   filter       Docker's default seccomp filter, compiled
//!   peak         tells a command's peak memory
//!   steps        tells how many system calls it does, or instructions
//!   caller       creates, starts and deletes a container of an OCI runtime
//!   bundle/      config.json for OCI runtimes
//! ```

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FLOOR: &str = include_str!("../floor.c");
const PEAK: &str = include_str!("../peak.c");
const CALLER: &str = include_str!("../caller.c");
const STEPS: &str = include_str!("../steps.c");
const TRUE: &str = "int main(void) { return 0; }\n";
/// What runs until it is killed.
const SLEEP: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";

/// The scratch directory. Removed on drop: by then the workers that may have mounted something in it must be gone.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, and fails when it is already there.
    pub(crate) fn new() -> Result<Scratch> {
        Scratch::at(std::env::temp_dir().join(format!("mycontainer-bench-{}", std::process::id())))
    }

    /// Makes one elsewhere.
    pub(crate) fn at(path: PathBuf) -> Result<Scratch> {
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A container that some peer left half made may have the root mounted: removing through a mount would remove
        // what is mounted.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if mounts.contains(&*self.0.to_string_lossy()) {
            eprintln!("mycontainer-bench: something is still mounted in {}, so it stays", self.0.display());
        } else if let Err(e) = fs::remove_dir_all(&self.0) {
            eprintln!("mycontainer-bench: cannot remove {}: {e}", self.0.display());
        }
    }
}

/// Makes the root file system and its tar.
pub(crate) fn make(scratch: &Scratch) -> Result<()> {
    let root = scratch.path("root");
    for directory in ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var"] {
        fs::create_dir_all(root.join(directory)).with_context(|| format!("cannot make {directory} in the root"))?;
    }
    compile(scratch, TRUE, &root.join("bin/true"))?;
    compile(scratch, SLEEP, &root.join("bin/sleep"))?;
    let tar = Command::new("tar").arg("-cf").arg(scratch.path("root.tar")).arg("-C").arg(&root).arg(".").status();
    if !tar.context("cannot run tar")?.success() {
        bail!("tar could not pack the root");
    }
    Ok(())
}

/// Makes a root file system with busybox.
pub(crate) fn make_busybox(scratch: &Scratch) -> Result<()> {
    make(scratch)?;
    let bin = scratch.path("root").join("bin");
    for program in ["true", "sleep"] {
        fs::remove_file(bin.join(program))?;
    }
    fs::copy("/bin/busybox", bin.join("busybox")).context("cannot copy busybox (scripts/setup-bench installs it)")?;
    for applet in ["sh", "sleep", "true", "yes", "head"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    Ok(())
}

/// Compiles the floor, and what tells peak memory and counts.
pub(crate) fn make_programs(scratch: &Scratch) -> Result<()> {
    compile(scratch, FLOOR, &scratch.path("floor"))?;
    compile(scratch, PEAK, &scratch.path("peak"))?;
    compile(scratch, STEPS, &scratch.path("steps"))?;
    compile(scratch, CALLER, &scratch.path("caller"))
}

/// Compiles one C file into a static program: with musl when it is there, for its start-up costs a third of glibc's.
fn compile(scratch: &Scratch, source: &str, program: &Path) -> Result<()> {
    let file = scratch.path("source.c");
    fs::write(&file, source).context("cannot write a C file")?;
    let arch = std::env::consts::ARCH;
    // musl-gcc has no kernel headers of its own; the host's come last, so that they shadow none of musl's.
    let kernel_headers = ["-idirafter", "/usr/include", "-idirafter", &format!("/usr/include/{arch}-linux-gnu")];
    let attempts = [("musl-gcc", &kernel_headers[..]), ("cc", &[])];
    let mut complaints = String::new();
    for (compiler, extra) in attempts {
        let output =
            Command::new(compiler).args(["-O2", "-static"]).args(extra).arg(&file).arg("-o").arg(program).output();
        match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => complaints += &format!("{compiler}: {}\n", String::from_utf8_lossy(&output.stderr).trim()),
            Err(e) => complaints += &format!("{compiler}: {e}\n"),
        }
    }
    bail!("no C compiler could build {}:\n{complaints}", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_compile_and_do_what_they_are_for() {
        let scratch = Scratch::new().unwrap();
        make(&scratch).unwrap();
        make_programs(&scratch).unwrap();
        let root = scratch.path("root").to_string_lossy().into_owned();
        let peak_of_true = scratch.path("peak-kib");
        let status = |program: &str, arguments: &[&str]| {
            Command::new(scratch.path(program)).args(arguments).status().unwrap().code()
        };
        assert_eq!(status("peak", &[&peak_of_true.to_string_lossy(), &format!("{root}/bin/true")]), Some(0));
        fs::read_to_string(peak_of_true).unwrap().trim().parse::<u64>().unwrap();
        let counted = |what: &str, most: &str, words: &[&str]| {
            let to = scratch.path("count").to_string_lossy().into_owned();
            let status = status("steps", &[&[&*to, what, most, "last"], words].concat());
            (status, fs::read_to_string(to).unwrap_or_default().trim().parse::<crate::contenders::Count>().ok())
        };
        let is_true = format!("{root}/bin/true");
        for (what, least, most) in [("calls", 1, 40), ("instructions", 40, 20_000)] {
            let (status, count) = counted(what, "100000", &[&is_true]);
            let Some(crate::contenders::Count::Exactly(count)) = count else { panic!("{what}: {count:?}") };
            assert!(status == Some(0) && (least..most).contains(&count), "{what}: {status:?}, {count}");
        }
        let of_shell = counted("calls", "10", &["/bin/sh", "-c", "(exit 3)"]);
        assert_eq!(of_shell, (Some(3), Some(crate::contenders::Count::MoreThan(10))));
        if !rustix::process::geteuid().is_root() {
            eprintln!("the floor itself was not tried: only root may make its container");
            return;
        }
        for (arguments, expected) in [
            (&[&*root, "/bin/true"][..], 0),
            (&["-o", &root, "/bin/true"], 0),
            (&[&root, "/bin/nothing"], 125),
            (&["/nonexistent", "/bin/true"], 125),
            (&[&root], 125),
        ] {
            assert_eq!(status("floor", arguments), Some(expected), "{arguments:?}");
        }
    }
}

//! `mycontainer run` and `mycontainer create`.

mod flags;

use crate::progress::Progress;
use crate::report::Failure;
use crate::verb::{About, Flags, Verb};
use crate::{exit, report};
use engine::RunOptions;
use engine::containers::CreateOptions;
use std::io::Write;
use std::process::ExitCode;

/// What the flags of `run` ask for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    options: RunOptions,
    // Taken for Docker's sake: so far every container is removed.
    rm: bool,
    // Of `create`.
    cidfile: Option<std::path::PathBuf>,
    quiet: bool,
}

/// `mycontainer create`.
pub(crate) static CREATE: Verb<Request> = Verb {
    about: About {
        also: &["container create"],
        flags: Flags::First,
        intro: "Makes a container that does not run, and prints its id. ROOT is as for `run`, but for `host`; COMMAND and\n\
                the flags are written down with it, for `export` and `commit`. It stays until `rm`, over reboots, too.\n\
                `start` comes in a later release, and with it the flags that say how a container runs.",
        example: "create alpine",
        cousin: Some(&RUN),
        ..About::new("create", "ROOT [COMMAND [ARGUMENT...]]", "Make a container that does not run")
    },
    groups: flags::OF_CREATE,
    act: create,
};

/// Makes a container from its words.
fn create(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut words = words.into_iter();
    let mut options = CreateOptions { run: request.options, cidfile: request.cidfile };
    options.run.root = words.next().unwrap_or_default();
    options.run.command = words.collect();
    let (id, notes) = engine::containers::create(&options, &Progress::new(request.quiet)).map_err(Failure::of_run)?;
    let _ = writeln!(std::io::stdout(), "{id}");
    notes.iter().for_each(|note| report::note(note));
    Ok(ExitCode::SUCCESS)
}

/// `mycontainer run`.
pub(crate) static RUN: Verb<Request> = Verb {
    about: About {
        flags: Flags::First,
        intro: "Runs COMMAND in a new container, and removes it at the end. ROOT is\n  \
                host         a copy-on-write view of this machine's own /, with its secrets hidden\n  \
                IMAGE        an image by its name, as alpine or host:5000/a/b:tag, or its id: pulled if it is missing\n  \
                DIRECTORY    a root file system, used in place; or an OCI image layout\n  \
                ARCHIVE      a tar of `docker export` or `podman export`, plain, gzip or zstd: unpacked once\n\
                A word that may be an image and a path is the image if it has been pulled, then the path; ./NAME is the path.",
        outro: "Exit code: the command's own; 125 when mycontainer failed, 126 when COMMAND cannot be executed,\n\
                127 when it is not there, 128 + n when it died by signal n.",
        example: "run -it host",
        also: &["container run"],
        ..About::new("run", "ROOT [COMMAND [ARGUMENT...]]", "Run a command in a new container")
    },
    groups: flags::FLAGS,
    act: run,
};

/// Runs a container from its words.
fn run(mut request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut words = words.into_iter();
    request.options.root = words.next().unwrap_or_default();
    request.options.command = words.collect();
    // What a container has the kernel run of this binary is loaded by the container's own loader, if the binary needs one:
    // that must not be able to write to it. A static one ends by itself. (CVE-2019-5736, see runtime::seal)
    if !cfg!(target_feature = "crt-static") {
        runtime::seal::ensure().map_err(|error| Failure::of_run(error.into()))?;
    }
    step::arm_faults();
    let outcome = engine::run(&request.options, &Progress::new(request.quiet)).map_err(Failure::of_run)?;
    outcome.notes.iter().for_each(|note| report::note(note));
    if outcome.oom_killed {
        report::note("the container was killed because it reached its memory limit");
    }
    Ok(exit(outcome.exit_code))
}

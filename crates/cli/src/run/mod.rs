//! `mycontainer run` and `mycontainer create`.

pub(crate) mod elsewhere;
pub(crate) mod flags;
mod more;

pub(crate) use flags::host_name;

use crate::progress::Progress;
use crate::report::Failure;
use crate::verb::{About, Flags, Verb};
use crate::{exit, report};
use engine::containers::{CreateOptions, Ran, RunOrder};
use engine::{Attachment, DetachKeys, Endpoint, NamespaceMode, RunOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the flags of `run` ask for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    options: RunOptions,
    /// What flags of their own say of its network.
    endpoint: Endpoint,
    quiet: bool,
    cidfile: Option<PathBuf>,
    replace: bool,
    detach: bool,
    pid_file: Option<PathBuf>,
    /// Input, output, error.
    attached: [bool; 3],
    detach_keys: Option<DetachKeys>,
    keeps_signals: bool,
    says_network: bool,
}

impl Request {
    /// What is made, from the words after the flags.
    fn made_of(&mut self, words: Vec<String>) -> Result<CreateOptions, Failure> {
        let mut words = words.into_iter();
        let mut run = std::mem::take(&mut self.options);
        run.settle_network(&self.endpoint)
            .map_err(|error| Failure::misuse(error.to_string(), "see `mycontainer help run`"))?;
        run.root = words.next().unwrap_or_default();
        run.command = words.collect();
        Ok(CreateOptions {
            run,
            cidfile: self.cidfile.take(),
            replace: self.replace,
            says_network: self.says_network,
            made_by: typed(),
        })
    }

    /// How a person is connected, if something was said of it.
    fn attachment(&mut self, options: &RunOptions) -> Result<Option<Attachment>, Failure> {
        let is_said = self.attached.contains(&true);
        if is_said && self.detach {
            return Err(Failure::misuse("--attach and --detach contradict each other", "leave one of them away"));
        }
        if !is_said && self.detach_keys.is_none() && !self.keeps_signals {
            return Ok(None);
        }
        let [input, output, error] = if is_said { self.attached } else { [true; 3] };
        Ok(Some(Attachment {
            input: input && options.interactive,
            output,
            error,
            tty: options.tty,
            sig_proxy: !self.keeps_signals,
            detach_keys: self.detach_keys.take().unwrap_or_default(),
        }))
    }
}

/// The words after the tool's name. They are text: the flags have been understood.
pub(crate) fn typed() -> Vec<String> {
    std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect()
}

/// `mycontainer create`.
pub(crate) static CREATE: Verb<Request> = Verb {
    about: About {
        also: &["container create"],
        flags: Flags::First,
        intro: "Makes a container that does not run, and prints its id. ROOT is as for `run`, but for `host`; COMMAND and\n\
                the flags are written down with it, for `start`. It stays until `rm`, over reboots, too; with --rm until it\n\
                has run.",
        example: "create alpine",
        cousin: Some(&RUN),
        ..About::new("create", "ROOT [COMMAND [ARGUMENT...]]", "Make a container that does not run")
    },
    groups: flags::OF_CREATE,
    act: create,
};

/// Makes a container from its words.
fn create(mut request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let options = request.made_of(words)?;
    options.run.log.check().map_err(Failure::of_run)?;
    options.run.warnings().iter().for_each(|warning| report::note(warning));
    let (id, notes) = engine::containers::create(&options, &Progress::new(request.quiet)).map_err(Failure::of_run)?;
    let _ = writeln!(std::io::stdout(), "{id}");
    notes.iter().for_each(|note| report::note(note));
    Ok(ExitCode::SUCCESS)
}

/// `mycontainer run`.
pub(crate) static RUN: Verb<Request> = Verb {
    about: About {
        flags: Flags::First,
        intro: "Runs COMMAND in a new container, which stays when it ends, but for --rm. ROOT is\n  \
                host         a copy-on-write view of this machine's own /, with its secrets hidden; never stays\n  \
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
    let create = request.made_of(words)?;
    create.run.log.check().map_err(Failure::of_run)?;
    let attachment = request.attachment(&create.run)?;
    create.run.warnings().iter().for_each(|warning| report::note(warning));
    // What a container has the kernel run of this binary others must not get hold of: those who see the container's
    // processes, and its own loader, if the binary needs one. Else it ends by itself. (CVE-2019-5736, see runtime::seal)
    let is_seen = create.run.pid != NamespaceMode::Private || create.run.pod.is_some();
    if is_seen || !cfg!(target_feature = "crt-static") {
        runtime::seal::ensure().map_err(|error| Failure::of_run(error.into()))?;
    }
    step::arm_faults();
    let order = RunOrder { create, detach: request.detach, pid_file: request.pid_file.take(), attachment };
    match engine::containers::run(&order, &Progress::new(request.quiet), &mut report::note).map_err(Failure::of_run)? {
        Ran::Detached(id) if request.detach => {
            let _ = writeln!(std::io::stdout(), "{id}");
            Ok(ExitCode::SUCCESS)
        }
        Ran::Detached(_) => Ok(ExitCode::SUCCESS),
        Ran::Ended(outcome) => {
            outcome.notes.iter().for_each(|note| report::note(note));
            if outcome.oom_killed {
                report::note("the container was killed because it reached its memory limit");
            }
            Ok(exit(outcome.exit_code))
        }
    }
}

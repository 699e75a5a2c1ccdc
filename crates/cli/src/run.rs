//! `mycontainer run`.

use crate::{exit, help, parse, report};
use engine::RunOptions;
use std::ffi::OsString;
use std::process::ExitCode;
use step::Format;

/// What the words of `run` ask for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) options: RunOptions,
    pub(crate) explain: Option<Format>,
    pub(crate) help: bool,
}

/// Runs a container from its words.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    let request = match parse::run(words) {
        Ok(request) => request,
        Err(misuse) => return report::usage(&misuse.what, &misuse.hint),
    };
    if request.help {
        return help::show(&help::run());
    }
    if request.options.root.is_empty() {
        return report::usage("run needs a ROOT", "try `mycontainer run -it host`, or see `mycontainer help run`");
    }
    if let Some(format) = request.explain {
        match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3) {
            Ok(stderr) => step::explain(format, stderr),
            Err(errno) => return report::usage(&format!("cannot explain on standard error: {errno}"), "open it"),
        }
    }
    // What a container has the kernel run of this binary is loaded by the container's own loader, if the binary needs one:
    // that must not be able to write to it. A static one ends by itself. (CVE-2019-5736, see runtime::seal)
    if !cfg!(target_feature = "crt-static")
        && let Err(error) = runtime::seal::ensure()
    {
        return report::failure(&error.into());
    }
    step::arm_faults();
    match engine::run(&request.options) {
        Ok(outcome) => {
            outcome.notes.iter().for_each(|note| report::note(note));
            if outcome.oom_killed {
                report::note("the container was killed because it reached its memory limit");
            }
            exit(outcome.exit_code)
        }
        Err(error) => report::failure(&error),
    }
}

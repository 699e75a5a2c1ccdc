//! `exec`: one more program in a container.

use crate::exit;
use crate::report::Failure;
use crate::verb::{About, Flags, Group, Verb, latest, switch, value};
use engine::containers::{self, ExecOptions};
use engine::{DetachKeys, ParseError};
use std::process::ExitCode;

/// `mycontainer exec`.
pub(crate) static EXEC: Verb<ExecOptions> = Verb {
    about: About {
        also: &["container exec"],
        flags: Flags::First,
        intro: "Runs one more COMMAND in a container that runs: in its namespaces and control group, with its variables,\n\
                user, directory, capabilities, limits and system call filter. With a terminal of its own, -it, it is left\n\
                running with ctrl-p ctrl-q.",
        outro: "Exit code: the command's own, 0 when it is left running; 125 when mycontainer failed, 126 when COMMAND cannot\n\
                be executed, 127 when it is not there, 128 + n when it died by signal n. That CONTAINER is not there, or does\n\
                not run, is a failure of mycontainer.",
        example: "exec -it NAME sh",
        ..About::new("exec", "CONTAINER COMMAND [ARGUMENT...]", "Run one more command in a container")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("interactive", Some('i'), "Connect standard input", |r: &mut ExecOptions| &mut r.interactive),
            switch("tty", Some('t'), "Give it a terminal", |r| &mut r.tty),
            switch("detach", Some('d'), "Return when it runs, and let it run on; what it prints is dropped", |r| {
                &mut r.detach
            }),
            value("detach-keys", None, "KEYS", "Leave it running with these (default: ctrl-p,ctrl-q)", |r, v| {
                r.detach_keys = DetachKeys::parse(v)?;
                Ok(())
            }),
            value("env", Some('e'), "NAME[=VALUE]", "Set a variable, or pass on the tool's own", |r, v| r.add_env(v)),
            value("env-file", None, "FILE", "Set the variables of a file, one a line", |r, v| r.add_env_file(v)),
            value("workdir", Some('w'), "DIR", "Start in this directory", |r, v| {
                if !v.starts_with('/') {
                    return Err(ParseError::new(v, "it must be an absolute path in the container"));
                }
                r.workdir = Some(v.into());
                Ok(())
            }),
            value("user", Some('u'), "USER[:GROUP]", "Run as this user of the container, by name or number", |r, v| {
                r.user = Some(v.to_owned());
                Ok(())
            }),
            switch("privileged", None, "Give it every capability, whatever the container has", |r| &mut r.privileged),
            latest(),
        ],
    }],
    act: exec,
};

fn exec(mut options: ExecOptions, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut words = words.into_iter();
    options.container = words.next().unwrap_or_default();
    options.command = words.collect();
    // The container runs already, and could use what it gets to see of this binary to write to it. (CVE-2019-5736)
    runtime::seal::ensure().map_err(|error| Failure::of_run(error.into()))?;
    step::arm_faults();
    containers::exec(&options).map(exit).map_err(Failure::of_run)
}

//! The OCI runtime's command line: what containerd, Docker, Podman and buildah call.
//!
//! Reached as `mycontainer-runtime VERB` (a link to the binary) or `mycontainer runtime VERB`. Verbs, flags and texts are
//! those of runc and crun, both, for callers know them by heart: flags may stand before or after the id, an error goes to
//! standard error and to the log that `--log` names, and some callers look for certain words in it.
//!
//! A verb is a row of [`VERBS`]: its flags are data, from which parser and help come, and its work stands in a file.

mod checkpoint;
mod create;
mod events;
mod exec;
mod features;
mod global;
mod manage;
mod mounts;
mod report;
mod show;
mod spec;
mod update;
mod words;

use global::Global;
use std::ffi::OsString;
use std::process::ExitCode;
pub(crate) use words::overview;
use words::{Flag, Words};

/// Name under which the binary is the OCI runtime.
pub(crate) const NAME: &str = "mycontainer-runtime";

/// One verb.
pub(crate) struct Verb {
    name: &'static str,
    /// What stands beside the flags.
    operands: &'static str,
    help: &'static str,
    /// Flags, in groups that several verbs share.
    flags: &'static [&'static [Flag]],
    run: fn(&Global, &Words) -> Result<i32, Failure>,
}

/// Why a verb failed: our own words, or a room's error.
#[derive(Debug)]
pub(crate) enum Failure {
    Usage(String),
    Runtime(runtime::Error),
    Engine(engine::Error),
}

impl From<runtime::Error> for Failure {
    fn from(error: runtime::Error) -> Failure {
        Failure::Runtime(error)
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Failure {
        Failure::Engine(error)
    }
}

/// A failure of the words, or one that no room has an error for.
pub(crate) fn usage(text: impl Into<String>) -> Failure {
    Failure::Usage(text.into())
}

/// Every verb, in the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        operands: "ID",
        help: "Make a container; its program waits for start",
        flags: &[create::FLAGS],
        run: create::create,
    },
    Verb {
        name: "start",
        operands: "ID",
        help: "Start the program of a created container",
        flags: &[],
        run: manage::start,
    },
    Verb {
        name: "run",
        operands: "ID",
        help: "Make a container and start its program",
        flags: &[create::FLAGS, create::RUN_FLAGS],
        run: create::run,
    },
    Verb { name: "state", operands: "ID", help: "Show a container's state as JSON", flags: &[], run: show::state },
    Verb { name: "list", operands: "", help: "List the containers", flags: &[show::LIST_FLAGS], run: show::list },
    Verb {
        name: "kill",
        operands: "ID [SIGNAL]",
        help: "Send a signal (default: TERM) to a container's first process",
        flags: &[manage::KILL_FLAGS],
        run: manage::kill,
    },
    Verb {
        name: "delete",
        operands: "ID",
        help: "Remove what is left of a stopped container",
        flags: &[manage::DELETE_FLAGS],
        run: manage::delete,
    },
    Verb { name: "pause", operands: "ID", help: "Have all processes stand still", flags: &[], run: manage::pause },
    Verb { name: "resume", operands: "ID", help: "Have them go on", flags: &[], run: manage::resume },
    Verb {
        name: "ps",
        operands: "ID [PS OPTIONS]",
        help: "List a container's processes",
        flags: &[show::PS_FLAGS],
        run: show::ps,
    },
    Verb {
        name: "exec",
        operands: "ID [COMMAND [ARGUMENTS]]",
        help: "Run one more process in a running container",
        flags: &[exec::FLAGS],
        run: exec::exec,
    },
    Verb {
        name: "update",
        operands: "ID",
        help: "Change the limits of a container",
        flags: &[update::FLAGS],
        run: update::update,
    },
    Verb {
        name: "events",
        operands: "ID",
        help: "Show what a container uses, and when memory runs out",
        flags: &[events::FLAGS],
        run: events::events,
    },
    Verb {
        name: "mounts",
        operands: "add|remove ID FILE",
        help: "Add mounts to a running container, or take them away",
        flags: &[],
        run: mounts::mounts,
    },
    Verb {
        name: "checkpoint",
        operands: "ID",
        help: "Write a running container's state to disk, by CRIU",
        flags: &[checkpoint::CRIU_FLAGS, checkpoint::CHECKPOINT_FLAGS],
        run: checkpoint::checkpoint,
    },
    Verb {
        name: "restore",
        operands: "ID",
        help: "Make a container from what checkpoint wrote",
        flags: &[checkpoint::CRIU_FLAGS, checkpoint::RESTORE_FLAGS],
        run: checkpoint::restore,
    },
    Verb {
        name: "spec",
        operands: "",
        help: "Write a config.json to begin with",
        flags: &[spec::FLAGS],
        run: spec::spec,
    },
    Verb {
        name: "features",
        operands: "",
        help: "Show as JSON what is implemented and what this host has",
        flags: &[],
        run: features::features,
    },
];

/// The words after the runtime's name.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    let (mut global, rest) = match words::global(words) {
        Ok(parsed) => parsed,
        Err(failure) => return report::failure(&Global::default(), &failure),
    };
    if global.version {
        return crate::help::show(&features::version());
    }
    let Some((name, rest)) = rest.split_first() else { return crate::help::show(&words::overview()) };
    let Some(verb) = VERBS.iter().find(|verb| name == verb.name) else {
        if name == "help" || global.help {
            return crate::help::show(&words::help_of(rest.first()));
        }
        let near = crate::report::suggestion(&name.to_string_lossy(), VERBS.iter().map(|verb| verb.name), "");
        let hint = near.map(|near| format!("; {near}")).unwrap_or_default();
        return report::failure(&global, &usage(format!("there is no verb {name:?}{hint}")));
    };
    let words = match words::parse(verb, &mut global, rest) {
        Ok(words) => words,
        Err(failure) => return report::failure(&global, &failure),
    };
    if global.help {
        return crate::help::show(&words::help(verb));
    }
    if global.debug {
        report::tell_steps(&global);
    }
    step::arm_faults();
    match (verb.run)(&global, &words) {
        Ok(status) => crate::exit(status),
        Err(failure) => report::failure(&global, &failure),
    }
}

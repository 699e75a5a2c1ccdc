//! The `mycontainer` binary: words in, words out. No container logic here.
//!
//! A verb's flags stand once, as data (`flags`), from which the parser, the help and the table in docs/ come. Only the
//! verb that was asked for is looked at. Exit codes are Docker's: the program's own, 125 for a failure of ours, 126 for a
//! program that cannot be executed, 127 for one that is not there, 128 and the signal's number for a death by signal.
//! Under the name `mycontainer-runtime`, or after the word `runtime`, the words are an OCI runtime's (`oci`).

mod flags;
mod help;
mod oci;
mod parse;
mod report;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

/// What `mycontainer` understands, for the overview and for suggestions.
pub(crate) const VERBS: &[(&str, &str)] = &[
    ("run", "Run a command in a new container"),
    ("runtime", "Act as an OCI runtime, as `mycontainer-runtime` does"),
    ("help", "Show this overview, or the flags of a verb"),
    ("version", "Show the version"),
];

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let rest: Vec<OsString> = words.collect();
    if name == runtime::reaper::NAME {
        return exit(runtime::reaper::run(&rest));
    }
    if std::path::Path::new(&name).file_name().is_some_and(|name| name == oci::NAME) {
        return oci::main(&rest);
    }
    let verb = rest.first().map(|verb| verb.to_string_lossy().into_owned());
    match verb.as_deref() {
        Some("run") => run::main(&rest[1..]),
        Some("runtime") => oci::main(&rest[1..]),
        Some("version" | "--version" | "-V") => help::show(concat!("mycontainer ", env!("CARGO_PKG_VERSION"), "\n")),
        Some("help" | "--help" | "-h") => help::main(&rest[1..]),
        None => help::main(&[]),
        Some(unknown) => {
            let known = VERBS.iter().map(|(verb, _)| *verb);
            report::usage(
                &format!("there is no verb {unknown:?}"),
                &report::suggestion(unknown, known, "").unwrap_or_else(|| "see `mycontainer help`".into()),
            )
        }
    }
}

/// A container's status as ours.
pub(crate) fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status & 0xff).unwrap_or(125))
}

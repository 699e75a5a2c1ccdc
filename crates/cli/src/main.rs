//! The `mycontainer` binary: words in, words out. No container logic here.
//!
//! A verb and its flags stand once, as data (`verb`), from which the parser, the help and the page in docs/ come; all are
//! listed in `verbs`, and only the one that was asked for is looked at. Exit codes are Docker's: the program's own, 125 for a failure of ours, 126 for a
//! program that cannot be executed, 127 for one that is not there, 128 and the signal's number for a death by signal.
//! Under the name `mycontainer-runtime`, or after the word `runtime`, the words are an OCI runtime's (`oci`).

mod completion;
mod containers;
mod generate;
mod help;
mod images;
mod inspect;
mod login;
mod networks;
mod oci;
mod parse;
mod pods;
mod progress;
mod report;
mod run;
mod system;
mod table;
mod template;
mod verb;
mod verbs;
mod volumes;

use report::Failure;
use std::ffi::OsString;
use std::process::ExitCode;
use verbs::Asked;

#[global_allocator]
static ALLOCATOR: sys::arena::Arena = sys::arena::Arena;

fn main() -> ExitCode {
    if runtime::seal::lent() {
        return report::failure(&Failure::misuse(
            "this is the host's binary, and no program of a container's",
            "a container that needs it has one of its own: `-v /usr/local/bin/mycontainer:/usr/local/bin/mycontainer:ro`",
        ));
    }
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let rest: Vec<OsString> = words.collect();
    if name == runtime::reaper::NAME {
        return exit(runtime::reaper::run(&rest));
    }
    if std::path::Path::new(&name).file_name().is_some_and(|name| name == oci::NAME) {
        return oci::main(&rest);
    }
    if rest.is_empty() {
        return help::show(&help::overview());
    }
    match verbs::find(&rest) {
        Ok(Asked::Verb(verb, taken)) => verb.main(&rest[taken..]),
        Ok(Asked::Noun(noun)) => help::show(&help::of_noun(noun)),
        Err(failure) => report::failure(&failure),
    }
}

/// A container's status as ours.
pub(crate) fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status & 0xff).unwrap_or(125))
}

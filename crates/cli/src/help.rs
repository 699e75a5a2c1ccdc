//! `help`: an overview, or the flags of a verb, made from the same table as the parser.

use crate::VERBS;
use crate::flags::{Flag, Group, RUN};
use crate::report;
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

/// `mycontainer help [VERB]`.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    match words.first().map(|word| word.to_string_lossy().into_owned()).as_deref() {
        None => show(&overview()),
        Some("run") => show(&run()),
        Some("runtime") => crate::oci::main(&words[1..1]),
        Some("help" | "version") => show(&overview()),
        Some(other) => report::usage(&format!("there is no verb {other:?}"), "see `mycontainer help`"),
    }
}

/// Prints, and does not mind a reader that has seen enough.
pub(crate) fn show(text: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn overview() -> String {
    let mut text = String::from(
        "mycontainer runs containers on Linux: one static binary, no daemon.\n\n\
         usage: mycontainer VERB [FLAGS] ...\n\n",
    );
    for (verb, what) in VERBS {
        let _ = writeln!(text, "  {verb:<10} {what}");
    }
    text + "\n`mycontainer help run` shows the flags of run. Try: sudo mycontainer run -it host\n"
}

/// The help of `run`.
pub(crate) fn run() -> String {
    let mut text = String::from(
        "usage: mycontainer run [FLAGS] ROOT [COMMAND [ARGUMENTS]]\n\n\
         Runs COMMAND in a new container, and removes it at the end. ROOT is\n  \
         host         a copy-on-write view of this machine's own /, with its secrets hidden\n  \
         DIRECTORY    a root file system, used in place\n  \
         ARCHIVE      a tar of `docker export` or `podman export`, plain, gzip or zstd: unpacked once\n",
    );
    for group in Group::ALL {
        let _ = writeln!(text, "\n{}:", group.heading());
        for flag in RUN.iter().filter(|flag| flag.group == group) {
            let _ = writeln!(text, "  {:<32} {}", spelled(flag), flag.help);
        }
    }
    text + "\nExit code: the command's own; 125 when mycontainer failed, 126 when COMMAND cannot be executed,\n\
            127 when it is not there, 128 + n when it died by signal n.\n"
}

fn spelled(flag: &Flag) -> String {
    let short = flag.short.map_or("    ".into(), |letter| format!("-{letter}, "));
    let value = match flag.value {
        Some(name) if name.starts_with('[') => format!("[={}]", &name[1..name.len() - 1]),
        Some(name) => format!(" {name}"),
        None => String::new(),
    };
    format!("{short}--{}{value}", flag.long)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/flags.md, made from the table.
    fn page() -> String {
        let mut text = String::from(
            "# The flags of `run`\n\n\
             Names and meanings are Docker's, so that fingers need not relearn; `--ephemeral` and `--explain` are our own.\n\
             This page is made from the table that the parser reads (`UPDATE_DOCS=1 cargo test -p mycontainer`).\n",
        );
        for group in Group::ALL {
            let _ = write!(text, "\n## {}\n\n| Flag | What it does |\n|---|---|\n", group.heading());
            for flag in RUN.iter().filter(|flag| flag.group == group) {
                let _ = writeln!(text, "| `{}` | {} |", spelled(flag).trim(), flag.help);
            }
        }
        text
    }

    #[test]
    fn the_page_of_flags_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flags.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(there, page(), "run UPDATE_DOCS=1 cargo test -p mycontainer");
    }

    #[test]
    fn every_flag_is_in_the_help_and_fits() {
        let text = run();
        for flag in RUN {
            assert!(text.contains(&format!("--{}", flag.long)), "--{}", flag.long);
        }
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }
}

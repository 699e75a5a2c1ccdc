//! `export`: a container's files as a tar.

use crate::report::Failure;
use crate::verb::{About, Group, Verb, value};
use engine::images::NewFile;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    output: Option<PathBuf>,
}

/// `mycontainer export`.
pub(crate) static EXPORT: Verb<Request> = Verb {
    about: About {
        also: &["container export"],
        intro: "Writes the root file system of a container, running or created, as a tar: what `run ./FILE` takes, and what\n\
                `docker import` and `podman import` do. What is mounted in it is not part of it. In place of a container it\n\
                may be an image.",
        outro: "A file has its name only when it is whole.",
        example: "export -o alpine.tar alpine",
        ..About::new("export", "CONTAINER", "Write a container's files as a tar")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[value(
            "output",
            Some('o'),
            "FILE",
            "Write to this file, not to standard output",
            |r: &mut Request, v| {
                r.output = Some(v.into()).filter(|_| v != "-");
                Ok(())
            },
        )],
    }],
    act: export,
};

fn export(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let container = words.first().map_or("", String::as_str);
    match &request.output {
        None if std::io::stdout().is_terminal() => {
            return Err(Failure::new("a tar is not for a terminal").hint("name a file by -o, or redirect"));
        }
        None => engine::containers::export(container, &mut std::io::stdout().lock())?,
        Some(path) => {
            let file = NewFile::create(path)?;
            engine::containers::export(container, &mut file.writer()?)?;
            file.keep()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

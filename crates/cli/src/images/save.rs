//! `save`: images into an archive.

use crate::report::Failure;
use crate::verb::{About, Group, Verb, value};
use engine::ParseError;
use engine::images::{self, Format, NewFile};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    output: Option<PathBuf>,
    format: Format,
}

/// `mycontainer save`.
pub(crate) static SAVE: Verb<Request> = Verb {
    about: About {
        also: &["image save"],
        outro: "`load` reads it, here or with Docker or Podman. A file has its name only when it is whole.",
        example: "save -o alpine.tar alpine",
        ..About::new("save", "IMAGE [IMAGE...]", "Write images into an archive")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("format", None, "FORMAT", "docker-archive (default) or oci-archive", |r, v| {
                r.format = match v {
                    "docker-archive" => Format::Docker,
                    "oci-archive" => Format::Oci,
                    other => return Err(ParseError::new(other, "it is docker-archive or oci-archive")),
                };
                Ok(())
            }),
            value("output", Some('o'), "FILE", "Write to this file, not to standard output", |r, v| {
                r.output = Some(v.into()).filter(|_| v != "-");
                Ok(())
            }),
        ],
    }],
    act: save,
};

fn save(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let store = images::store()?;
    let write = |out: Box<dyn Write + Send>, shown: &Path| {
        images::save(&store, &words, request.format, out, &shown.to_string_lossy())
    };
    match &request.output {
        None if std::io::stdout().is_terminal() => {
            return Err(Failure::new("an archive is not for a terminal").hint("name a file by -o, or redirect"));
        }
        None => write(Box::new(std::io::stdout()), Path::new("standard output"))?,
        Some(path) => {
            let file = NewFile::create(path)?;
            write(Box::new(file.writer()?), path)?;
            file.keep()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

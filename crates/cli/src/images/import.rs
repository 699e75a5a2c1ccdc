//! `import`: a root file system becomes an image.

use super::say;
use crate::report::Failure;
use crate::verb::{About, Group, Verb, value};
use engine::images::{self, ImportFrom, ImportOrder};
use engine::{ParseError, RunOptions};
use image::archive::Change;
use std::io::IsTerminal;
use std::process::ExitCode;

/// `mycontainer import`.
pub(crate) static IMPORT: Verb<ImportOrder> = Verb {
    about: About {
        also: &["image import"],
        intro: "Makes an image of one layer from a root file system, and prints its id. FILE is a tar of `docker export`,\n\
                `podman export` or any other, plain, gzip or zstd; - is standard input, and a URL (http, https) is fetched.",
        outro: "Instructions for --change: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER,\n\
                VOLUME, WORKDIR. `load` is for what `docker save` wrote.",
        example: "import root.tar mine:1",
        ..About::new("import", "FILE|URL|- [NAME[:TAG]]", "Make an image of a root file system")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value(
                "change",
                Some('c'),
                "INSTRUCTION",
                "Set its configuration, as 'CMD [\"sh\"]' or 'ENV A=1'",
                |r, v| {
                    r.changes.push(Change::parse(v).map_err(|error| ParseError::new(v, error.to_string()))?);
                    Ok(())
                },
            ),
            value("message", Some('m'), "TEXT", "Why, for its history", |r, v| {
                r.message = v.to_owned();
                Ok(())
            }),
            value("platform", None, "OS/ARCH", "For which machine it is (default: this one)", |r, v| {
                r.platform = Some(RunOptions::platform(v)?);
                Ok(())
            }),
        ],
    }],
    act: import,
};

fn import(mut order: ImportOrder, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut words = words.into_iter();
    let from = words.next().unwrap_or_default();
    order.name = words.next();
    order.from = match from.as_str() {
        "-" if std::io::stdin().is_terminal() => {
            return Err(Failure::new("there is nothing to import: standard input is a terminal").hint("name a file"));
        }
        "-" => ImportFrom::Input,
        url if is_url(url) => ImportFrom::Url(from),
        _ => ImportFrom::File(from.into()),
    };
    say(images::import(&order)?.id.as_str());
    Ok(ExitCode::SUCCESS)
}

fn is_url(word: &str) -> bool {
    word.split_once("://")
        .is_some_and(|(scheme, _)| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)))
}

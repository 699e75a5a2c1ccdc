//! `cp`: files into a container, out of it, or from one to another.

use crate::report::{Failure, note};
use crate::table::size;
use crate::verb::{About, Group, Verb, switch};
use engine::containers::{self, CopyOrder};
use std::io::{BufReader, IsTerminal};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    order: CopyOrder,
    quiet: bool,
}

/// `mycontainer cp`.
pub(crate) static CP: Verb<Request> = Verb {
    about: About {
        also: &["container cp"],
        intro: "Copies files and directories out of a container or into one, running or created: one of SRC and DEST, or\n\
                both, are CONTAINER:PATH. In a container that runs, the volumes and whatever else is mounted are part of\n\
                it, but for the kernel's own (/proc, /sys). `-` is a tar on standard input or output.",
        outro: "Of a directory SRC it copies the directory, of SRC/. what is in it. DEST that is a directory gets the copy\n\
                inside; else the copy is called DEST, and only the directory above must be there.\n\
                What is copied into a container belongs to its root, what is copied out of it to whoever copies, unless\n\
                --archive is given; in a tar, owners are kept. Sockets are left out.",
        example: "cp notes.txt NAME:/tmp",
        ..About::new("cp", "SRC DEST", "Copy files into a container, or out of it")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("archive", Some('a'), "Keep owner and group of every file", |r: &mut Request| &mut r.order.archive),
            switch("follow-link", Some('L'), "Where SRC is a symbolic link, copy what it leads to", |r| {
                &mut r.order.follow
            }),
            switch("quiet", Some('q'), "Do not say how much was copied, which only a terminal is told", |r| {
                &mut r.quiet
            }),
        ],
    }],
    act: cp,
};

fn cp(mut request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut words = words.into_iter();
    request.order.from = words.next().unwrap_or_default();
    request.order.to = words.next().unwrap_or_default();
    let is_attended = std::io::stdout().is_terminal();
    if request.order.is_to_stream() && is_attended {
        return Err(Failure::new("a tar is not for a terminal").hint("redirect it to a file or into tar"));
    }
    let mut input = BufReader::with_capacity(256 << 10, std::io::stdin());
    let copied = containers::copy(&request.order, &mut input, &mut std::io::stdout().lock())?;
    copied.left.iter().for_each(|left| note(left));
    if is_attended && !request.quiet {
        note(&format!("copied {} to {}", size(copied.bytes), request.order.to));
    }
    Ok(ExitCode::SUCCESS)
}

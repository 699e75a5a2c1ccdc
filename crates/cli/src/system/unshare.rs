//! `unshare`: a program in the user namespace of an ordinary user's containers.

use crate::report::Failure;
use crate::verb::{About, Flags, Verb};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `mycontainer unshare`.
pub(crate) static UNSHARE: Verb<()> = Verb {
    about: About {
        also: &["system unshare"],
        flags: Flags::First,
        intro: "Runs COMMAND, or your shell, in the user and mount namespaces that your containers are made in: there you\n\
                are root, and files that belong to users of your containers can be looked at, changed and removed. As root\n\
                there is no such namespace.",
        example: "unshare ls -ln ~/.local/share/mycontainer",
        ..About::new("unshare", "[COMMAND [ARGUMENT...]]", "Run a program where your containers are made, without root")
    },
    groups: &[],
    act: |(), words| {
        if runtime::is_root_of_host() {
            let hint = "root's containers are made on the host itself";
            return Err(Failure::new("unshare is for users other than root").hint(hint));
        }
        let shell =
            || std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
        let (program, arguments) = match words.split_first() {
            Some((program, arguments)) => (program.clone(), arguments),
            None => (shell(), &[][..]),
        };
        let error = Command::new(&program).args(arguments).exec();
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Err(Failure::new(format!("cannot execute {program}: {error}")).code(code))
    },
};

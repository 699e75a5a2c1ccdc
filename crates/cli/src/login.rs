//! `login` and `logout`: who we are to a registry.
//!
//! A password is read from the terminal without an echo, or from standard input; on the command line everybody on this
//! machine sees it.

use crate::help::show;
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, switch, value};
use engine::images;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

#[derive(Default)]
pub(crate) struct Request {
    username: Option<String>,
    password: Option<String>,
    from_stdin: bool,
    get_login: bool,
}

/// `mycontainer login`.
pub(crate) static LOGIN: Verb<Request> = Verb {
    about: About {
        outro: "Without REGISTRY it is Docker Hub. The login is tried first, and then kept where Docker keeps it:\n\
                ~/.docker/config.json, or what $REGISTRY_AUTH_FILE or $DOCKER_CONFIG names, or a credential helper.",
        example: "login -u NAME --password-stdin localhost:5000",
        is_apart: true,
        ..About::new("login", "[REGISTRY]", "Log in to a registry")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("get-login", None, "Print the name we are logged in by, and do nothing", |r| &mut r.get_login),
            value("password", Some('p'), "PASSWORD", "The password; everybody on this machine sees it here", |r, v| {
                r.password = Some(v.to_owned());
                Ok(())
            }),
            switch("password-stdin", None, "Read the password from standard input", |r| &mut r.from_stdin),
            value("username", Some('u'), "NAME", "The name", |r, v| {
                r.username = Some(v.to_owned());
                Ok(())
            }),
        ],
    }],
    act: login,
};

/// `mycontainer logout`.
pub(crate) static LOGOUT: Verb<()> = Verb {
    about: About {
        outro: "Without REGISTRY it is Docker Hub. What Podman is logged in to is forgotten, too.",
        is_apart: true,
        ..About::new("logout", "[REGISTRY]", "Log out of a registry")
    },
    groups: &[],
    act: |(), words| {
        let registry = words.first().map(String::as_str).unwrap_or_default();
        let shown = shown(registry);
        let from = images::logout(registry)?;
        Ok(show(&if from.is_empty() {
            format!("Not logged in to {shown}\n")
        } else {
            format!("Removing login credentials for {shown}\n")
        }))
    },
};

fn shown(registry: &str) -> &str {
    if registry.is_empty() { "docker.io" } else { registry }
}

fn login(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let registry = words.first().map(String::as_str).unwrap_or_default();
    if request.get_login {
        let name = images::logged_in_as(registry)?;
        let name = name.ok_or_else(|| Failure::new(format!("not logged in to {}", shown(registry))))?;
        return Ok(show(&format!("{name}\n")));
    }
    if request.from_stdin && request.password.is_some() {
        return Err(Failure::misuse("--password and --password-stdin contradict each other", "use --password-stdin"));
    }
    if request.from_stdin && request.username.is_none() {
        return Err(Failure::misuse("--password-stdin needs a name beside it", "give it by -u NAME"));
    }
    if request.password.is_some() {
        report::note("warning: everybody on this machine sees a password on the command line: use --password-stdin");
    }
    let username = request.username.map_or_else(|| ask("Username: ", "-u NAME", true), Ok)?;
    let password = match request.password {
        Some(password) => password,
        None if request.from_stdin => piped()?,
        None => ask("Password: ", "--password-stdin", false)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::new("a login needs a name and a password").hint("give them by -u and --password-stdin"));
    }
    let place = images::login(registry, &username, &password)?;
    if place.starts_with('/') {
        report::note(&format!("warning: the password is kept in {place}, not encrypted; a credential helper would"));
    }
    Ok(show("Login Succeeded\n"))
}

/// The password of a pipe, without the newline that ends it.
fn piped() -> Result<String, Failure> {
    let mut password = String::new();
    let read = std::io::stdin().read_to_string(&mut password);
    read.map_err(|error| Failure::new(format!("cannot read the password from standard input: {error}")))?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal; `flag` is what a script gives instead.
fn ask(what: &str, flag: &str, echo: bool) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        let what = what.trim_end_matches(": ").to_lowercase();
        return Err(Failure::new(format!("cannot ask for the {what}: standard input is no terminal"))
            .hint(format!("give it by {flag}")));
    }
    let say = |text: &str| {
        let _ = std::io::stderr().write_all(text.as_bytes());
    };
    if !echo {
        // Asked only when nothing is shown any more.
        let typed = hidden(|| say(what));
        say("\n");
        return typed;
    }
    say(what);
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Failure::new(format!("cannot read from the terminal: {error}")))?;
    Ok(line.trim().to_owned())
}

/// The terminal as it was, given back in any case.
struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// A line that is typed without being seen. The keys that end a program come as letters meanwhile, so that none of them
/// leaves the terminal without its echo.
fn hidden(ask: impl FnOnce()) -> Result<String, Failure> {
    let failed = |error| Failure::new(format!("cannot hide what is typed on the terminal: {error}"));
    let before = tcgetattr(rustix::stdio::stdin()).map_err(failed)?;
    let mut quiet = before.clone();
    quiet.local_modes -= LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON;
    quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
    quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
    let _restore = Restore(before);
    tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &quiet).map_err(failed)?;
    ask();
    let mut typed: Vec<u8> = Vec::new();
    for byte in std::io::stdin().lock().bytes() {
        match byte.map_err(|error| Failure::new(format!("cannot read from the terminal: {error}")))? {
            b'\r' | b'\n' | 0x04 => break,
            // Control and C, backslash, Z.
            0x03 | 0x1c | 0x1a => return Err(Failure::new("the login was given up").code(130)),
            0x7f | 0x08 => while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => typed.clear(),
            byte => typed.push(byte),
        }
    }
    String::from_utf8(typed).map_err(|_| Failure::new("the password is not UTF-8"))
}

//! `start`, `restart` and `attach`: containers in the background.

use super::end::signal;
use super::meant::Meant;
use crate::exit;
use crate::images::{for_each, say};
use crate::report::{Failure, note};
use crate::run::flags::boolean;
use crate::verb::{About, Flag, Group, Verb, also, latest, switch, value};
use engine::containers::{self, AttachOrder, Listed, StartOrder, StopOrder};
use engine::{DetachKeys, ParseError};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Request {
    attach: bool,
    interactive: bool,
    no_input: bool,
    keeps_signals: bool,
    detach_keys: DetachKeys,
    meant: Meant,
}

#[derive(Debug, Default)]
pub(crate) struct Again {
    order: StopOrder,
    running: bool,
    meant: Meant,
}

const DETACH_KEYS: Flag<Request> =
    value("detach-keys", None, "KEYS", "Leave it running with these (default: ctrl-p,ctrl-q)", |r: &mut Request, v| {
        r.detach_keys = DetachKeys::parse(v)?;
        Ok(())
    });

const SIG_PROXY: Flag<Request> = value("sig-proxy", None, "[BOOL]", "Pass signals on to it (default: true)", |r, v| {
    r.keeps_signals = !boolean(v)?;
    Ok(())
});

/// `mycontainer start`.
pub(crate) static START: Verb<Request> = Verb {
    about: About {
        also: &["container start"],
        intro: "Starts containers that were created or have ended, as they were created. With --attach or --interactive it\n\
                is one, and its exit code is the exit code.",
        example: "start NAME",
        ..About::new("start", "[CONTAINER...]", "Start containers that do not run")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("attach", Some('a'), "Print what it prints, and wait for its end", |r: &mut Request| &mut r.attach),
            switch("interactive", Some('i'), "As --attach, and connect standard input", |r| &mut r.interactive),
            DETACH_KEYS,
            SIG_PROXY,
            latest(),
            switch("all", None, "Every container that does not run", |r| &mut r.meant.all),
        ],
    }],
    act: start,
};

fn start(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let is_attended = request.attach || request.interactive;
    let words = request.meant.words(&START.about, words, |one| !one.is_running())?;
    if is_attended && (words.len() > 1 || request.meant.all) {
        return Err(Failure::misuse("only one container can be attended to", "leave --attach and --interactive away"));
    }
    runtime::seal::ensure().map_err(|error| Failure::of_run(error.into()))?;
    step::arm_faults();
    let attach = is_attended.then_some(AttachOrder {
        input: request.interactive,
        sig_proxy: !request.keeps_signals,
        detach_keys: request.detach_keys,
    });
    let order = StartOrder { attach };
    if let ([word], true) = (words.as_slice(), is_attended) {
        let code = containers::start(word, &order, &mut note).map_err(Failure::of_run)?;
        return Ok(code.map_or(ExitCode::SUCCESS, exit));
    }
    Ok(for_each(&words, |word| {
        containers::start(word, &order, &mut note)?;
        say(word);
        Ok(())
    }))
}

/// `mycontainer restart`.
pub(crate) static RESTART: Verb<Again> = Verb {
    about: About {
        also: &["container restart"],
        intro: "Stops containers as `stop` does, and starts them. One that does not run is started.",
        example: "restart NAME",
        ..About::new("restart", "[CONTAINER...]", "Stop containers and start them")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("signal", Some('s'), "SIGNAL", "Send this signal first: a name or a number", |r: &mut Again, v| {
                r.order.signal = Some(signal(v)?);
                Ok(())
            }),
            also(
                &["time"],
                value("timeout", Some('t'), "SECONDS", "Wait so long until SIGKILL; -1: for ever", |r, v| {
                    r.order.timeout = Some(patience(v)?);
                    Ok(())
                }),
            ),
            value("cidfile", None, "FILE", "The container whose id is in this file", |r, v| {
                r.meant.cidfiles.push(v.into());
                Ok(())
            }),
            latest(),
            switch("running", None, "Every container that runs", |r| &mut r.running),
            switch("all", Some('a'), "Every container", |r| &mut r.meant.all),
        ],
    }],
    act: |mut request, words| {
        runtime::seal::ensure().map_err(|error| Failure::of_run(error.into()))?;
        step::arm_faults();
        let every: fn(&Listed) -> bool = if request.running { Listed::is_running } else { |_| true };
        request.meant.all |= request.running;
        let words = request.meant.words(&RESTART.about, words, every)?;
        Ok(for_each(&words, |word| {
            containers::restart(word, request.order, &mut note)?;
            say(word);
            Ok(())
        }))
    },
};

/// Seconds until SIGKILL; none is for ever.
pub(crate) fn patience(text: &str) -> Result<Option<Duration>, ParseError> {
    let seconds: i64 = text.parse().map_err(|_| ParseError::new(text, "it is no number of seconds"))?;
    Ok(u32::try_from(seconds).ok().map(|seconds| Duration::from_secs(seconds.into())))
}

/// `mycontainer attach`.
pub(crate) static ATTACH: Verb<Request> = Verb {
    about: About {
        also: &["container attach"],
        intro: "Connects this terminal with a container that runs in the background: what it prints from now on is printed,\n\
                and what is typed goes to it if it was made with --interactive. The exit code is the container's; it is\n\
                left running with ctrl-p ctrl-q if it has a terminal.",
        example: "attach NAME",
        ..About::new("attach", "CONTAINER", "Connect to a container that runs")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("no-stdin", None, "Do not connect standard input", |r: &mut Request| &mut r.no_input),
            DETACH_KEYS,
            SIG_PROXY,
            latest(),
        ],
    }],
    act: |request, words| {
        let order = AttachOrder {
            input: !request.no_input,
            sig_proxy: !request.keeps_signals,
            detach_keys: request.detach_keys,
        };
        let word = words.first().map(String::as_str).unwrap_or_default();
        Ok(containers::attach(word, &order)?.map_or(ExitCode::SUCCESS, exit))
    },
};

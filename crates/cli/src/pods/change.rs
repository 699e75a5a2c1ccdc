//! What is done with pods: each verb with all containers of a pod.

use crate::containers::{patience, signal};
use crate::images::{for_each, is_agreed, say};
use crate::report::{self, Failure, note};
use crate::verb::{About, Group, Verb, also, latest_pod, switch, value};
use engine::pods;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Request {
    all: bool,
    force: bool,
    ignore: bool,
    signal: Option<i32>,
    patience: Option<Option<Duration>>,
}

/// The pods that words name, or all.
fn meant(about: &About, words: Vec<String>, all: bool) -> Result<Vec<String>, Failure> {
    match (words.is_empty(), all) {
        (false, false) => Ok(words),
        (true, true) => Ok(pods::list()?.into_iter().map(|(pod, ..)| pod.name).collect()),
        (true, false) => {
            let hint = format!("try `mycontainer {}`, or see `mycontainer help {}`", about.example, about.name);
            Err(Failure::misuse(format!("{} needs POD [POD...], or --all", about.name), hint))
        }
        (false, true) => {
            let hint = format!("see `mycontainer help {}`", about.name);
            Err(Failure::misuse("--all is every pod: name none beside it", hint))
        }
    }
}

fn each(
    about: &About,
    request: &Request,
    words: Vec<String>,
    act: impl Fn(&str) -> Result<(), engine::Error>,
) -> Result<ExitCode, Failure> {
    Ok(for_each(&meant(about, words, request.all)?, |word| match act(word) {
        Err(engine::Error::NoSuchPod { .. }) if request.ignore => Ok(()),
        done => {
            done?;
            say(word);
            Ok(())
        }
    }))
}

/// What starts a container runs from a binary that cannot be changed through it, as `start` does.
fn ensure_sealed() -> Result<(), Failure> {
    runtime::seal::ensure().map_err(|error| Failure::of_run(error.into()))?;
    step::arm_faults();
    Ok(())
}

/// `mycontainer pod start`.
pub(crate) static START: Verb<Request> = Verb {
    about: About { example: "pod start web", ..About::new("pod start", "[POD...]", "Start the containers of pods") },
    groups: &[Group {
        heading: "Flags",
        flags: &[latest_pod(), switch("all", Some('a'), "Every pod", |r: &mut Request| &mut r.all)],
    }],
    act: |request, words| {
        ensure_sealed()?;
        each(&START.about, &request, words, |word| pods::start(word, &mut note))
    },
};

/// `mycontainer pod stop`.
pub(crate) static STOP: Verb<Request> = Verb {
    about: About {
        intro: "Ends the containers of pods as `stop` does, all of a pod at once and its infra container last.",
        example: "pod stop web",
        ..About::new("pod stop", "[POD...]", "End the containers of pods")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            also(
                &["timeout"],
                value(
                    "time",
                    Some('t'),
                    "SECONDS",
                    "Wait so long until SIGKILL; -1: for ever",
                    |r: &mut Request, v| {
                        r.patience = Some(patience(v)?);
                        Ok(())
                    },
                ),
            ),
            switch("ignore", Some('i'), "That there is no such pod is no error", |r| &mut r.ignore),
            latest_pod(),
            switch("all", Some('a'), "Every pod", |r| &mut r.all),
        ],
    }],
    act: |request, words| each(&STOP.about, &request, words, |word| pods::stop(word, request.patience)),
};

/// `mycontainer pod restart`.
pub(crate) static RESTART: Verb<Request> = Verb {
    about: About {
        example: "pod restart web",
        ..About::new("pod restart", "[POD...]", "End the containers of pods and start them")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[latest_pod(), switch("all", Some('a'), "Every pod", |r: &mut Request| &mut r.all)],
    }],
    act: |request, words| {
        ensure_sealed()?;
        each(&RESTART.about, &request, words, |word| pods::restart(word, &mut note))
    },
};

/// `mycontainer pod kill`.
pub(crate) static KILL: Verb<Request> = Verb {
    about: About {
        example: "pod kill web",
        ..About::new("pod kill", "[POD...]", "Send a signal to the containers of pods")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("signal", Some('s'), "SIGNAL", "Send this signal (default: KILL)", |r: &mut Request, v| {
                r.signal = Some(signal(v)?);
                Ok(())
            }),
            latest_pod(),
            switch("all", Some('a'), "Every pod", |r| &mut r.all),
        ],
    }],
    act: |request, words| {
        const SIGKILL: i32 = 9;
        each(&KILL.about, &request, words, |word| pods::kill(word, request.signal.unwrap_or(SIGKILL)))
    },
};

/// `mycontainer pod pause`.
pub(crate) static PAUSE: Verb<Request> = Verb {
    about: About {
        example: "pod pause web",
        ..About::new("pod pause", "[POD...]", "Let the containers of pods stand still")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[latest_pod(), switch("all", Some('a'), "Every pod", |r: &mut Request| &mut r.all)],
    }],
    act: |request, words| each(&PAUSE.about, &request, words, |word| pods::set_paused(word, true)),
};

/// `mycontainer pod unpause`.
pub(crate) static UNPAUSE: Verb<Request> = Verb {
    about: About {
        example: "pod unpause web",
        ..About::new("pod unpause", "[POD...]", "Let the containers of pods run on")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[latest_pod(), switch("all", Some('a'), "Every pod", |r: &mut Request| &mut r.all)],
    }],
    act: |request, words| each(&UNPAUSE.about, &request, words, |word| pods::set_paused(word, false)),
};

/// `mycontainer pod rm`.
pub(crate) static RM: Verb<Request> = Verb {
    about: About {
        intro: "Removes pods with all of their containers, and the volumes of these that nobody named. One in which a\n\
                container runs only with --force.",
        example: "pod rm web",
        ..About::new("pod rm", "[POD...]", "Remove pods")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("force", Some('f'), "End containers that run", |r: &mut Request| &mut r.force),
            also(
                &["timeout"],
                value("time", Some('t'), "SECONDS", "With --force: wait so long until SIGKILL", |r, v| {
                    r.patience = Some(patience(v)?);
                    Ok(())
                }),
            ),
            switch("ignore", Some('i'), "That there is no such pod is no error", |r| &mut r.ignore),
            latest_pod(),
            switch("all", Some('a'), "Every pod", |r| &mut r.all),
        ],
    }],
    act: |request, words| {
        let (force, patience) = (request.force, request.patience);
        if patience.is_some() && !force {
            return Err(Failure::misuse(
                "--time is for --force: else nothing is ended",
                "see `mycontainer help pod rm`",
            ));
        }
        step::arm_faults();
        let code = each(&RM.about, &request, words, |word| pods::remove(word, force, patience))?;
        engine::containers::tidy().iter().for_each(|text| note(text));
        Ok(code)
    },
};

/// `mycontainer pod prune`.
pub(crate) static PRUNE: Verb<Request> = Verb {
    about: About::new("pod prune", "", "Remove every pod in which nothing runs"),
    groups: &[Group {
        heading: "Flags",
        flags: &[switch("force", Some('f'), "Do not ask first", |r: &mut Request| &mut r.force)],
    }],
    act: |request, _| {
        if !request.force && !is_agreed("WARNING! This will remove all stopped pods with their containers.") {
            return Err(Failure::new("nothing was removed: it was not agreed to").hint("-f removes without asking"));
        }
        let (removed, errors) = pods::prune()?;
        removed.iter().for_each(|id| say(id));
        Ok(errors.into_iter().fold(ExitCode::SUCCESS, |_, error| report::failure(&error.into())))
    },
};

//! `pod logs`, `pod top` and `pod stats`: what the containers of pods do.

use crate::containers::{OF_PODS, Pods, StatsRequest, processes_shown, tail, time, watch};
use crate::report::{self, Failure};
use crate::verb::{About, Flags, Group, Verb, also, latest_pod, switch, value};
use engine::Error;
use engine::containers::{Watched, processes};
use engine::pods::{self, PodLogs};
use std::process::ExitCode;

/// `mycontainer pod logs`.
pub(crate) static LOGS: Verb<PodLogs> = Verb {
    about: About {
        intro: "Shows what the containers of a pod have printed, each line after the first 12 digits of its container's id.\n\
                The order is that of each stream of a container; lines of several are mixed as they come.",
        example: "pod logs -f web",
        ..About::new("pod logs", "POD", "Show what the containers of a pod have printed")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("container", Some('c'), "CONTAINER", "Only of this one", |r: &mut PodLogs, v| {
                r.container = Some(v.to_owned());
                Ok(())
            }),
            switch("follow", Some('f'), "Go on with what is yet to come, until all have ended", |r| {
                &mut r.query.follow
            }),
            switch("names", Some('n'), "The container's name before each line", |r| &mut r.names),
            value("tail", None, "NUMBER", "So many lines of each from the end, or all (default)", |r, v| {
                r.query.tail = tail(v)?;
                Ok(())
            }),
            switch("timestamps", Some('t'), "Show when each line was printed", |r| &mut r.query.timestamps),
            value("since", None, "TIME", "Nothing that was printed before", |r, v| {
                r.query.since = Some(time(v)?);
                Ok(())
            }),
            value("until", None, "TIME", "Nothing that was printed after", |r, v| {
                r.query.until = Some(time(v)?);
                Ok(())
            }),
            latest_pod(),
        ],
    }],
    act: |wanted, words| {
        pods::logs(words.first().map_or("", String::as_str), &wanted, &mut report::note)?;
        Ok(ExitCode::SUCCESS)
    },
};

/// `mycontainer pod top`.
pub(crate) static TOP: Verb<()> = Verb {
    about: About {
        flags: Flags::First,
        intro: "Shows the processes of all containers of a pod that run, as `top` does.",
        example: "pod top web -o pid,cmd",
        ..About::new("pod top", "POD [OPTION...]", "Show the processes of a pod")
    },
    groups: &[Group { heading: "Flags", flags: &[latest_pod()] }],
    act: |(), words| {
        let (pod, options) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        processes_shown(options, || {
            let mut all = Vec::new();
            for member in pods::running(pod)? {
                match processes(&member.id) {
                    Ok(of_one) => all.extend(of_one),
                    // It has ended meanwhile, or is between two starts.
                    Err(Error::NotRunning { .. } | Error::NoProcess { .. } | Error::NoSuchContainer { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if all.is_empty() {
                return Err(Failure::new(format!("no container of the pod {pod} runs")));
            }
            Ok(all)
        })
    },
};

/// `mycontainer pod stats`.
pub(crate) static STATS: Verb<StatsRequest> = Verb {
    about: About {
        intro: "Shows what the containers of pods use, again each second, until they have ended or you press Ctrl-C. Without\n\
                words it is those of every pod that run when this begins.",
        outro: "Fields for --format: Pod Container ID Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs.",
        ..About::new("pod stats", "[POD...]", "Show what the containers of pods use")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.Name}} {{.CPUPerc}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            switch("no-stream", None, "Show it once, over half a second", |r: &mut StatsRequest| &mut r.once),
            also(&["notrunc"], switch("no-trunc", None, "Show ids in full", |r| &mut r.in_full)),
            latest_pod(),
        ],
    }],
    act: stats,
};

fn stats(request: StatsRequest, words: Vec<String>) -> Result<ExitCode, Failure> {
    let named = match words.is_empty() {
        true => pods::list()?.into_iter().map(|(pod, ..)| pod.id).collect(),
        false => words,
    };
    let mut of_pods = Pods::new();
    for pod in &named {
        let id = pods::inspect(pod)?.id;
        of_pods.extend(pods::running(pod)?.into_iter().map(|member| (member.id, id.clone())));
    }
    let ids: Vec<String> = of_pods.keys().cloned().collect();
    // No words would be every container.
    let watched = if ids.is_empty() { Watched::none()? } else { Watched::new(&ids)? };
    watch(&request, OF_PODS, &watched, &of_pods)
}

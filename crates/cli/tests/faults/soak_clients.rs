//! Many who work at once with containers of their own and with some that all of them want: nothing hangs, nobody is told a
//! lie, what fails says why, and nothing is left.
//!
//! `make soak` has fifty of them for two minutes; MYCONTAINER_SOAK_SEED repeats their choices, not the machine's.

use crate::common::soak::{Random, Soak};
use crate::common::{busybox_root, code, stderr, stdout, unique, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Prints what it was given, and ends with 3 when it is asked to.
const PROGRAM: &str = "trap 'exit 3' TERM; echo out $WHO; echo err $WHO >&2; while :; do sleep 0.1; done";

/// What all of them want.
const SHARED: [&str; 4] = ["shared-a", "shared-b", "shared-c", "shared-d"];

/// What may be said to who comes too late, or too early.
const TOLD: [&str; 8] = [
    "there is no container",
    "another command is at work",
    "is not running",
    "is running",
    "is in use by container",
    "has no process: it is starting or ending",
    "is paused",
    "is not paused",
];

struct Crowd {
    soak: Soak,
    found: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<&'static str, [usize; 2]>>,
    ids: Mutex<BTreeSet<String>>,
    rounds: AtomicUsize,
}

impl Crowd {
    /// One of them, until the time is over.
    fn client(&self, nth: usize, mut random: Random, until: Instant) {
        while Instant::now() < until && self.found.lock().unwrap().len() < 20 {
            if let Err(said) = self.own(nth, &mut random) {
                self.found.lock().unwrap().push(format!("client {nth}: {said}"));
            }
            for _ in 0..3 {
                if let Err(said) = self.shared(&mut random) {
                    self.found.lock().unwrap().push(format!("client {nth}: {said}"));
                }
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn run_words(&self, name: &str, random: &mut Random) -> Vec<String> {
        let mut words: Vec<&str> = vec!["run", "-d", "--name", name, "-e", &self.soak.mark];
        let who = format!("WHO={name}");
        words.extend(["-e", &who, "--ephemeral"]);
        if random.below(4) > 0 {
            words.extend(["--network", "none"]);
        }
        if random.below(4) == 0 {
            words.extend(["--restart", "always"]);
        }
        if random.below(8) == 0 {
            words.extend(["--health-cmd", "true", "--health-interval", "100ms"]);
        }
        words.extend([busybox_root().to_str().unwrap(), "sh", "-c", PROGRAM]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// A container that nobody else knows: all that is told of it is as it must be.
    fn own(&self, nth: usize, random: &mut Random) -> Result<(), String> {
        let name = &unique(&format!("own-{nth:02}"));
        let id = self.soak.ok(&self.run_words(name, random))?;
        self.ids.lock().unwrap().insert(id.clone());
        let must = |what: &str, is: String, expected: &str| {
            if is == expected { Ok(()) } else { Err(format!("{name}: {what} is {is:?}, not {expected:?}")) }
        };
        let state = |format: &str| self.soak.ok(&["inspect", "--format", format, name]);
        must("after run", state("{{.State.Status}} {{.Id}}")?, &format!("running {id}"))?;
        for round in 1..=2 {
            must("exec", self.soak.ok(&["exec", name, "sh", "-c", "echo $WHO $((6 * 7))"])?, &format!("{name} 42"))?;
            let code_of = self.soak.tool(&["exec", name, "sh", "-c", "exit 7"])?;
            must("exec's code", code(code_of.status).to_string(), "7")?;
            // What the program has printed is in the log a moment later.
            let (out, err) = (format!("out {name}\n").repeat(round), format!("err {name}\n").repeat(round));
            let mut logged = (String::new(), String::new());
            wait_until(20, || {
                let output = self.soak.tool(&["logs", name]);
                logged = output.map(|output| (stdout(&output), stderr(&output))).unwrap_or_default();
                logged == (out.clone(), err.clone())
            });
            must("the log", logged.0, &out)?;
            must("the log", logged.1, &err)?;
            let by_signal = random.below(2) == 0;
            let (end, expected) = if by_signal { ("kill", "137") } else { ("stop", "3") };
            let waits = self.soak.spawn(&["wait", name]);
            let words: &[&str] = if by_signal { &["kill", name] } else { &["stop", "-t", "30", name] };
            let ended = self.soak.ok(words);
            let waited = crate::common::soak::finish(waits, 60)?;
            ended?;
            must("wait", stdout(&waited) + &stderr(&waited), &format!("{expected}\n"))?;
            // `kill` does not wait for the end, and who waits hears of it when it has come.
            must(end, state("{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}")?, &format!("exited {expected} 0"))?;
            if round == 1 {
                self.soak.ok(&["start", name])?;
                must("after start", state("{{.State.Status}}")?, "running")?;
            }
        }
        if random.below(2) == 0 {
            self.soak.ok(&["start", name])?;
            self.soak.ok(&["rm", "-f", name])?;
        } else {
            self.soak.ok(&["rm", name])?;
        }
        let gone = self.soak.tool(&["inspect", name])?;
        must("after rm, inspect's code", code(gone.status).to_string(), "1")?;
        let groups = crate::common::host::control_groups(&id[..8]);
        must("after rm, its control groups", groups.join(" "), "")
    }

    /// One that others start, stop and remove at the same time: it goes well, or it is told why not.
    fn shared(&self, random: &mut Random) -> Result<(), String> {
        let name = *random.one(&SHARED);
        let run = self.run_words(name, random);
        let ways: [(&'static str, Vec<&str>); 14] = [
            ("run", run.iter().map(String::as_str).collect()),
            ("run", run.iter().map(String::as_str).collect()),
            ("start", vec!["start", name]),
            ("start", vec!["start", name]),
            ("stop", vec!["stop", "-t", "1", name]),
            ("kill", vec!["kill", name]),
            ("restart", vec!["restart", "-t", "0", name]),
            ("rm", vec!["rm", name]),
            ("rm -f", vec!["rm", "-f", name]),
            ("exec", vec!["exec", name, "true"]),
            ("logs", vec!["logs", name]),
            ("pause", vec!["pause", name]),
            ("unpause", vec!["unpause", name]),
            ("inspect", vec!["inspect", name]),
        ];
        let (verb, words) = random.one(&ways);
        let output = self.soak.tool(words).map_err(|said| format!("{verb} {name}: {said}"))?;
        let (code, said) = (code(output.status), stderr(&output));
        self.counts.lock().unwrap().entry(verb).or_default()[usize::from(code != 0)] += 1;
        if *verb == "run" && code == 0 {
            self.ids.lock().unwrap().insert(stdout(&output).trim_end().to_owned());
        }
        // The program of an exec goes with its container.
        let may_die = *verb == "exec" && code == 137;
        let is_told = |line: &str| TOLD.iter().any(|told| line.contains(told));
        let of_program = |line: &str| *verb == "logs" && line.starts_with("err shared-");
        let is_right = match code {
            0 => said.lines().all(of_program),
            _ => may_die || said.lines().next().is_some_and(is_told),
        };
        if is_right { Ok(()) } else { Err(format!("{verb} {name}: {code}: {said}")) }
    }
}

fn crowd(test: &str, clients: usize, time: Duration) {
    let Some(soak) = Soak::new(test) else { return };
    let mut random = Random::told();
    let crowd = Crowd {
        soak,
        found: Mutex::default(),
        counts: Mutex::default(),
        ids: Mutex::default(),
        rounds: AtomicUsize::new(0),
    };
    let until = Instant::now() + time;
    std::thread::scope(|scope| {
        for nth in 0..clients {
            let random = Random::of(random.below(1 << 40) as u64);
            let crowd = &crowd;
            scope.spawn(move || crowd.client(nth, random, until));
        }
    });
    let mut found = std::mem::take(&mut *crowd.found.lock().unwrap());
    found.extend(crowd.soak.lies_at_last());
    let ids = crowd.ids.lock().unwrap().clone();
    let rounds = crowd.rounds.load(Ordering::Relaxed);
    println!("{clients} clients, {rounds} rounds, {} containers; of the shared ones:", ids.len());
    for (verb, [well, told]) in &*crowd.counts.lock().unwrap() {
        println!("  {verb}: {well} times, told why not {told} times");
    }
    for id in crowd.soak.ok(&["ps", "-aq"]).unwrap_or_default().lines() {
        found.extend(crowd.soak.ok(&["rm", "-f", id]).err());
    }
    found.extend(crowd.soak.left(&ids).into_iter().map(|left| format!("left: {left}")));
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
    assert!(rounds >= clients, "everybody has done it once");
}

#[test]
fn ten_clients_at_once() {
    crowd("ten_clients_at_once", 10, Duration::from_secs(5));
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn fifty_clients_for_two_minutes() {
    crowd("fifty_clients_for_two_minutes", 50, Duration::from_secs(120));
}

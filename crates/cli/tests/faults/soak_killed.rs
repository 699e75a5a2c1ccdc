//! `kill -9` of any process of ours (a command, a monitor, a probe, the janitor) or of a container, at any instant of any
//! verb: afterwards what is told of every container is true, it can be started and removed, and nothing is left.
//!
//! `make soak` does it 300 times; `MYCONTAINER_SOAK_SEED` repeats a run's choices, not the machine's.

use crate::common::soak::{Random, Soak, finish};
use crate::common::{Scratch, busybox_root, unique};
use crate::fixtures::formats;
use crate::fixtures::image::TestImage;
use std::collections::{BTreeMap, BTreeSet};

/// What there is before the verb.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    Created,
    Running,
    Paused,
    Exited,
    /// As after the machine went down.
    Fallen,
}

use Before::{Created, Exited, Fallen, Nothing, Paused, Running};

/// Every verb that does something with containers, volumes or all there is, with what it finds. NAME is the container; FLAGS
/// are those of a new one, ROOT its root and program; FILES is a directory outside.
const VERBS: &[(Before, &str)] = &[
    (Nothing, "run -d FLAGS ROOT"),
    (Nothing, "run -d --rm FLAGS ROOT"),
    (Nothing, "run FLAGS ROOT"),
    (Nothing, "run --rm FLAGS ROOT"),
    (Nothing, "create FLAGS ROOT"),
    (Created, "start NAME"),
    (Exited, "start NAME"),
    (Exited, "start -a NAME"),
    (Running, "stop -t 1 NAME"),
    (Paused, "stop -t 1 NAME"),
    (Running, "restart -t 1 NAME"),
    (Exited, "restart NAME"),
    (Running, "kill NAME"),
    (Running, "kill -s TERM NAME"),
    (Created, "rm NAME"),
    (Exited, "rm -v NAME"),
    (Running, "rm -f NAME"),
    (Paused, "rm -f -v NAME"),
    (Running, "pause NAME"),
    (Paused, "unpause NAME"),
    (Running, "exec NAME sleep 0.1"),
    (Running, "exec -d NAME sleep 0.1"),
    (Running, "attach --no-stdin NAME"),
    (Running, "logs -f NAME"),
    (Running, "logs NAME"),
    (Running, "cp FILES/in NAME:/in"),
    (Running, "cp NAME:/bin FILES/out"),
    (Exited, "cp FILES/in NAME:/in"),
    (Exited, "cp NAME:/bin FILES/out"),
    (Running, "commit NAME localhost/soak:1"),
    (Exited, "commit NAME localhost/soak:1"),
    (Running, "export -o FILES/tar NAME"),
    (Exited, "export -o FILES/tar NAME"),
    (Running, "update --memory 96m --restart on-failure NAME"),
    (Exited, "update --memory 96m NAME"),
    (Running, "rename NAME NAME-b"),
    (Created, "rename NAME NAME-b"),
    (Running, "wait NAME"),
    (Running, "stats --no-stream NAME"),
    (Running, "top NAME"),
    (Running, "inspect NAME"),
    (Running, "ps -a"),
    (Exited, "diff NAME"),
    (Running, "events --since 1m --until 0s"),
    (Nothing, "volume create NAME-v"),
    (Exited, "volume rm -f NAME-v"),
    (Exited, "volume prune -a -f"),
    (Exited, "system prune -a -f --volumes"),
    (Running, "system prune -f"),
    (Fallen, "system boot"),
];

/// Prints, ends when it is asked to, and has a child most of the time.
const PROGRAM: &str = "trap 'exit 3' TERM; n=0; while :; do echo line $n; n=$((n+1)); sleep 0.02; done";

const IMAGE: &str = "localhost/soak-base:1";

struct Game {
    soak: Soak,
    random: Random,
    files: Scratch,
    /// The ids of all containers that there were.
    ids: BTreeSet<String>,
    /// How often each kind of process was killed.
    killed: BTreeMap<String, usize>,
    found: Vec<String>,
}

impl Game {
    fn new(test: &str) -> Option<Game> {
        let (soak, files) = (Soak::new(test)?, Scratch::new("soak"));
        formats::write_layout(&files.0.join("layout"), IMAGE, &TestImage::busybox().user("0"));
        files.file("in", vec![b'x'; 300_000], 0o644);
        let (random, ids) = (Random::told(), BTreeSet::new());
        let game = Game { soak, random, files, ids, killed: BTreeMap::new(), found: Vec::new() };
        game.load();
        Some(game)
    }

    /// Loads the image, and mounts it: that is done once, with its first container, and stays so.
    fn load(&self) {
        self.soak.ok(&["load", "-q", "-i", &self.files.path("layout")]).unwrap();
        self.soak.ok(&["run", "--rm", "--network", "none", IMAGE, "true"]).unwrap();
        self.soak.remember_mounts();
    }

    /// What a new container has, by chance.
    fn flags(&mut self, name: &str) -> Vec<String> {
        let mut flags = vec!["--name".to_owned(), name.to_owned(), "-e".to_owned(), self.soak.mark.clone()];
        let volume = format!("{name}-v:/vol");
        let optional: &[&[&str]] = &[
            &["--network", "none"],
            &["--restart", "always"],
            &["--memory", "64m"],
            &["-v", &volume, "-v", "/unnamed"],
            &["--health-cmd", "true", "--health-interval", "30ms"],
            &["--log-driver", "k8s-file", "--log-opt", "max-size=2k", "--log-opt", "max-file=3"],
        ];
        // Without root there are no limits here.
        for more in optional.iter().filter(|more| crate::common::user_of_tool().is_none() || more[0] != "--memory") {
            if self.random.below(2) == 0 {
                flags.extend(more.iter().map(|word| (*word).to_owned()));
            }
        }
        flags
    }

    fn root(&mut self) -> Vec<String> {
        let directory = busybox_root().to_str().unwrap();
        let roots: [&[&str]; 2] = [&["--ephemeral", directory], &[IMAGE]];
        let root = *self.random.one(&roots);
        root.iter().chain(&["sh", "-c", PROGRAM]).map(|word| (*word).to_owned()).collect()
    }

    /// Brings a container there. What of it does not go well is a complaint.
    fn prepare(&mut self, before: Before, name: &str) -> Result<(), String> {
        if before == Nothing {
            return Ok(());
        }
        let mut words = [vec!["create".to_owned()], self.flags(name)].concat();
        if before == Fallen {
            words.extend(["--restart".to_owned(), "always".to_owned()]);
        }
        words.extend(self.root());
        let id = self.soak.ok(&words)?;
        self.ids.insert(id.clone());
        if before == Created {
            return Ok(());
        }
        self.soak.ok(&["start", name])?;
        match before {
            Paused => drop(self.soak.ok(&["pause", name])?),
            Exited => drop(self.soak.ok(&["stop", "-t", "0", name])?),
            Fallen => {
                crate::common::kill("KILL", self.soak.life.monitor(name));
                let is_seen = crate::common::wait_until(5, || self.soak.life.state(name).0 == "exited");
                let life = self.soak.life.path(&format!("/var/lib/mycontainer/containers/{id}/life.json"));
                let text = std::fs::read_to_string(&life).map_err(|error| error.to_string())?;
                std::fs::write(&life, text.replace("\"exit_code\":137", "\"exit_code\":255")).unwrap();
                if !is_seen {
                    return Err("its monitor was killed, and it has not ended".to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Kills one process of ours: as often the command as any other kind. Its name.
    fn kill_one(&mut self, tool: u32) -> String {
        let mut all = if self.random.below(4) == 0 { Vec::new() } else { self.soak.processes() };
        // The janitor is there nearly always, and has little to do.
        if self.random.below(4) > 0 {
            all.retain(|(_, name)| name != "mc-idle");
        }
        let names: BTreeSet<&String> = all.iter().map(|(_, name)| name).collect();
        let names: Vec<&String> = names.into_iter().collect();
        let (victim, name) = if names.is_empty() {
            (tool as i32, "the command".to_owned())
        } else {
            let name = (*self.random.one(&names)).clone();
            let of_it: Vec<i32> = all.iter().filter(|(_, its)| *its == name).map(|(pid, _)| *pid).collect();
            (*self.random.one(&of_it), name)
        };
        // By the pidfd of a process that is ours still: the number may be another's by now.
        let pid = rustix::process::Pid::from_raw(victim).unwrap();
        let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
            return "nobody".to_owned();
        };
        if !self.soak.is_ours(victim)
            || rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).is_err()
        {
            return "nobody".to_owned();
        }
        *self.killed.entry(name.clone()).or_default() += 1;
        name
    }

    fn round(&mut self, round: usize) {
        let (before, verb) = VERBS[round % VERBS.len()];
        let needs_group = matches!(before, Paused) || verb.starts_with("pause") || verb.contains("--memory");
        if needs_group && crate::common::user_of_tool().is_some() {
            return;
        }
        let name = unique("soak");
        if let Err(said) = self.prepare(before, &name) {
            self.found.push(format!("{round}, before {verb}: {said}"));
        }
        let flags = self.flags(&name);
        let root = self.root();
        let words: Vec<String> = verb
            .split(' ')
            .flat_map(|word| match word {
                "FLAGS" => flags.clone(),
                "ROOT" => root.clone(),
                word => vec![word.replace("NAME", &name).replace("FILES", self.files.0.to_str().unwrap())],
            })
            .collect();
        let delay = self.random.instant();
        let child = self.soak.spawn(&words);
        std::thread::sleep(delay);
        let victim = self.kill_one(child.id());
        let what = format!("{round}, {victim} killed after {delay:?} of {}", words.join(" "));
        eprintln!("{what}");
        let mut found = Vec::new();
        if before == Running && ["attach", "logs -f", "wait"].iter().any(|goes_on| verb.starts_with(goes_on))
            || verb.starts_with("run FLAGS")
            || verb.starts_with("run --rm")
            || verb.starts_with("start -a")
        {
            // These end with the container.
            std::thread::sleep(delay);
            found.extend(self.soak.tool(&["stop", "-t", "1", &name]).err());
            // A command that was killed before has another goes on for it; one that waits for ever is seen below.
            if self.is_there(&name).is_some_and(|seen| seen.starts_with("running")) {
                found.extend(self.soak.tool(&["kill", &name]).err());
            }
        }
        found.extend(finish(child, 30).err());
        let must_stay = before != Nothing && !verb.starts_with("rm ") && !verb.starts_with("system prune -a");
        found.extend(self.look(&name, must_stay));
        found.extend(self.clear());
        let found: Vec<String> = found.into_iter().map(|said| format!("{what}: {said}")).collect();
        // At once: who waits for minutes wants to look.
        found.iter().for_each(|said| eprintln!("COMPLAINT {said}"));
        self.found.extend(found);
        if verb.starts_with("system prune -a") {
            self.load();
        }
    }

    /// What it does, and since when.
    fn is_there(&self, name: &str) -> Option<String> {
        self.soak.ok(&["inspect", "--format", "{{.State.Status}} {{.State.StartedAt}}", name]).ok()
    }

    /// What is wrong with the container of this name, or that it has been renamed to.
    fn look(&mut self, name: &str, must_stay: bool) -> Vec<String> {
        let mut found = self.soak.lies_at_last();
        let listed = match self.soak.ok(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}} {{.Names}}"]) {
            Ok(listed) => listed,
            Err(said) => {
                found.push(said);
                return found;
            }
        };
        if listed.is_empty() && must_stay {
            found.push("it is gone".to_owned());
        }
        for line in listed.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (id, state, called) = (words[0].to_owned(), words[1], words[2]);
            self.ids.insert(id.clone());
            if ![name.to_owned(), format!("{name}-b")].contains(&called.to_owned()) {
                found.push(format!("it is called {called}"));
            }
            let tries: &[&[&str]] = match state {
                "running" if crate::common::user_of_tool().is_some() => &[&["exec", called, "true"]],
                "running" => &[&["exec", called, "true"], &["pause", called], &["unpause", called]],
                // One that was killed while it stands still ends only when it goes on.
                "paused" => &[&["unpause", called]],
                "restarting" => &[],
                _ => &[&["start", called], &["exec", called, "true"]],
            };
            // A signal that was sent may end it while it is tried: that is seen, and no complaint.
            let seen = self.is_there(called);
            // Also between that list and here; then the list must say so, too.
            if state == "running" && seen.as_ref().is_none_or(|seen| seen.starts_with("exited")) {
                let listed = || self.soak.ok(&["ps", "-q", "--no-trunc"]).unwrap_or_default();
                if !crate::common::wait_until(1, || !listed().contains(&id)) {
                    found.push(format!("ps says that {called} runs, and inspect {seen:?}"));
                }
                continue;
            }
            for words in tries {
                let failed = self.soak.ok(words).err();
                let is_as_it_was = || !crate::common::wait_until(1, || self.is_there(called) != seen);
                found.extend(failed.filter(|_| state != "running" || is_as_it_was()));
            }
            found.extend(self.soak.lies_at_last());
        }
        found
    }

    /// Removes all there is: what is wrong, and what is left.
    fn clear(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for name in self.soak.ok(&["ps", "-a", "--format", "{{.Names}}"]).unwrap_or_default().lines() {
            found.extend(self.soak.ok(&["rm", "-f", "-v", name]).err());
        }
        // A command that clears away, also when there was none.
        match self.soak.ok(&["create", "--network", "none", busybox_root().to_str().unwrap(), "true"]) {
            Ok(id) => found.extend(self.soak.ok(&["rm", &id]).err()),
            Err(said) => found.push(said),
        }
        found.extend(self.soak.ok(&["volume", "prune", "-a", "-f"]).err());
        found.extend(self.soak.left(&self.ids).into_iter().map(|left| format!("left: {left}")));
        found
    }

    /// Goes on until so many processes were killed, from one of the verbs on.
    fn play(mut self, kills: usize, first: usize) {
        let mut count = 0;
        while self.killed.values().sum::<usize>() < kills {
            self.round(first + count);
            count += 1;
        }
        println!("{count} commands, {} containers, killed: {:?}", self.ids.len(), self.killed);
        let (found, seed) = (std::mem::take(&mut self.found), "its seed is above");
        if !found.is_empty() {
            // What is left would be a second complaint about the same.
            std::mem::forget(self.files);
            panic!("{} complaints, {seed}:\n{}", found.len(), found.join("\n"));
        }
    }
}

#[test]
fn any_process_killed_at_any_instant_of_any_verb() {
    let Some(mut game) = Game::new("any_process_killed_at_any_instant_of_any_verb") else { return };
    // Other verbs each time.
    let first = game.random.below(VERBS.len());
    game.play(12, first);
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn any_process_killed_300_times() {
    let Some(game) = Game::new("any_process_killed_300_times") else { return };
    game.play(300, 0);
}

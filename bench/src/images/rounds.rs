//! Each task once a round, in an order that is shuffled anew. The first round is not timed: it tells who works here, and
//! warms the page cache.

use super::tasks::{Part, Task, Who};
use crate::rootfs::Scratch;
use crate::timer::{Dice, Samples, Workers};
use crate::worker::{Request, Until, View};
use anyhow::{Context, Result};

/// As long as a pull may take on a machine that is busy.
const TIMEOUT_S: u16 = 600;

/// The times of one line of one table.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The table.
    pub(crate) group: String,
    /// The line.
    pub(crate) who: Who,
    /// Its times.
    pub(crate) samples: Samples,
    /// The peak memory of its largest process, in any of the runs.
    pub(crate) peak_kib: u64,
}

/// What was not measured, and why.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    /// What.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
}

/// Tries and times the tasks.
pub(crate) fn measure(
    mut tasks: Vec<Task>,
    rounds: usize,
    scratch: &Scratch,
    workers: &mut Workers,
) -> Result<(Vec<Outcome>, Vec<Absent>)> {
    let mut absent = Vec::new();
    eprintln!("trying {} tasks", tasks.len());
    for task in &mut tasks {
        admit(task, scratch, workers, &mut absent)?;
    }
    tasks.retain(|task| !task.parts.is_empty());
    let mut outcomes: Vec<Vec<Outcome>> = tasks.iter().map(|task| task.parts.iter().map(outcome).collect()).collect();
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    let mut dice = Dice::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        dice.shuffle(&mut order);
        for &index in &order {
            for (part, outcome) in tasks[index].parts.iter().zip(&mut outcomes[index]) {
                let (done, peak_kib) = run(part, tasks[index].view, scratch, workers)?;
                match done {
                    Ok(micros) => {
                        outcome.samples.micros.push(micros);
                        outcome.peak_kib = outcome.peak_kib.max(peak_kib);
                    }
                    Err(why) => {
                        eprintln!("{}: {}", what(part), why);
                        outcome.samples.failed += 1;
                    }
                }
            }
        }
    }
    Ok((outcomes.into_iter().flatten().collect(), absent))
}

/// Runs a task's parts once; the first that does not work goes, and those after it.
fn admit(task: &mut Task, scratch: &Scratch, workers: &mut Workers, absent: &mut Vec<Absent>) -> Result<()> {
    for (number, part) in task.parts.iter().enumerate() {
        let (done, _) = match part.is_there {
            true => run(part, task.view, scratch, workers)?,
            false => (Err("not installed".to_owned()), 0),
        };
        if let Err(why) = done {
            eprintln!("not measured: {}: {why}", what(part));
            absent.push(Absent { what: what(part), why });
            task.parts.truncate(number);
            break;
        }
    }
    Ok(())
}

/// Runs one command: its time or why it failed, and its peak memory.
fn run(part: &Part, view: View, scratch: &Scratch, workers: &mut Workers) -> Result<(Result<u64, String>, u64)> {
    let [peak, file] = ["peak", "peak-kib"].map(|name| scratch.path(name).to_string_lossy().into_owned());
    let program = crate::contenders::which(&part.argv[0]).unwrap_or_else(|| part.argv[0].clone());
    let argv = [peak, file.clone(), program].into_iter().chain(part.argv[1..].iter().cloned()).collect();
    let stderr = Some(scratch.path("stderr"));
    let request =
        Request { argv, timeout_s: TIMEOUT_S, stderr, setup: part.setup.clone(), until: Until::End, crowd: None };
    let done = workers.try_request(view, &request)?;
    if done.is_err() {
        return Ok((done, 0));
    }
    let kib = std::fs::read_to_string(file).context("there is no file of the peak memory")?;
    Ok((done, kib.trim().parse().unwrap_or(0)))
}

fn outcome(part: &Part) -> Outcome {
    Outcome { group: part.group.clone(), who: part.who, samples: Samples::default(), peak_kib: 0 }
}

fn what(part: &Part) -> String {
    format!("{}: {}", part.group, part.who.name())
}

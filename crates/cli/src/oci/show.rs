//! `state`, `list` and `ps`: what there is.

use super::global::Global;
use super::words::{Flag, Words, switch, value};
use super::{Failure, report, usage};
use runtime::{Error, Known, Status};
use serde_json::json;
use std::fmt::Write;

pub(crate) const LIST_FLAGS: &[Flag] =
    &[value("format", Some('f'), "FORMAT", "table (default) or json"), switch("quiet", Some('q'), "Ids only")];

pub(crate) const PS_FLAGS: &[Flag] = &[value("format", Some('f'), "FORMAT", "table (default) or json")];

/// What `state` and `list` tell of a container: the specification's state, and what runc has beside it.
fn told(known: &mut Known) -> Result<serde_json::Value, Error> {
    let state = known.state()?;
    let mut value = serde_json::to_value(&state).unwrap_or_default();
    if let Some((rootfs, created, owner)) = known.origin() {
        value["rootfs"] = json!(rootfs);
        value["created"] = json!(created);
        value["owner"] = json!(owner_name(owner));
    }
    Ok(value)
}

fn owner_name(uid: u32) -> String {
    if uid == 0 { "root".into() } else { uid.to_string() }
}

/// `state ID`
pub(crate) fn state(global: &Global, words: &Words) -> Result<i32, Failure> {
    let value = told(&mut global.runtime()?.find(words.id()?)?)?;
    print(&format!("{value:#}\n"));
    Ok(0)
}

/// `list`
pub(crate) fn list(global: &Global, words: &Words) -> Result<i32, Failure> {
    if let Some(word) = words.operands().first() {
        return Err(usage(format!("it takes flags only, and {word:?} is none")));
    }
    let runtime = global.runtime()?;
    let ids = runtime.ids()?;
    if words.has("quiet") {
        print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
        return Ok(0);
    }
    let mut all = Vec::new();
    for id in ids {
        match runtime.find(&id).and_then(|mut known| told(&mut known)) {
            Ok(value) => all.push(value),
            // Gone since it was listed.
            Err(Error::NoSuchContainer(_)) => {}
            // One that cannot be read is no reason to keep quiet about the others.
            Err(error) => report::warn(global, &format!("cannot list {id}: {error}")),
        }
    }
    match words.get("format") {
        None | Some("table") => print(&table(&all)),
        Some("json") if all.is_empty() => print("null\n"),
        Some("json") => print(&format!("{}\n", serde_json::Value::Array(all))),
        Some(other) => return Err(usage(format!("--format is table or json, not {other:?}"))),
    }
    Ok(0)
}

fn table(all: &[serde_json::Value]) -> String {
    let headings = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let keys = ["id", "pid", "status", "bundle", "created", "owner"];
    let cell = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<Vec<String>> = std::iter::once(headings.map(str::to_owned).to_vec())
        .chain(all.iter().map(|value| keys.iter().map(|key| cell(&value[*key])).collect()))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(9);
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}   ");
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    })
}

/// `ps ID [PS OPTIONS]`: the ids as JSON, or the rows of ps(1) that are about them.
pub(crate) fn ps(global: &Global, words: &Words) -> Result<i32, Failure> {
    let [id, options @ ..] = words.operands() else { return Err(usage("it needs the id of a container")) };
    let mut known = global.runtime()?.find(id)?;
    match known.status()? {
        Status::Created | Status::Running | Status::Paused => {}
        status => return Err(Error::WrongStatus { what: "list the processes of", id: id.clone(), status }.into()),
    }
    let pids = known.processes()?;
    match words.get("format") {
        Some("json") => print(&format!("{}\n", json!(pids))),
        None | Some("table") => print(&rows_of(&ps_output(options)?, &pids)?),
        Some(other) => return Err(usage(format!("--format is table or json, not {other:?}"))),
    }
    Ok(0)
}

fn ps_output(options: &[String]) -> Result<String, Failure> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let ran = std::process::Command::new("ps").args(options).output();
    let output =
        ran.map_err(|e| usage(format!("cannot run ps, which makes the table: {e}; --format json needs none")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(usage(format!("ps {}: {said}", options.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The heading, and the rows with one of the ids in the column PID.
fn rows_of(output: &str, pids: &[i32]) -> Result<String, Failure> {
    let mut lines = output.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| usage("the options give ps no column PID"))?;
    let is_ours = |line: &&str| {
        line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok()).is_some_and(|pid: i32| pids.contains(&pid))
    };
    Ok(std::iter::once(heading).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}

/// Prints, and does not mind a reader that has seen enough.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps_shows_the_containers_processes_only() {
        let output = "UID   PID  PPID CMD\nroot    1     0 init\nroot   12     1 sh 1\nroot   13    12 cat 12\n";
        assert_eq!(rows_of(output, &[12]).unwrap(), "UID   PID  PPID CMD\nroot   12     1 sh 1\n");
        assert!(rows_of("CMD\nsh\n", &[12]).is_err());
    }
}

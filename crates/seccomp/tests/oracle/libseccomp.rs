//! libseccomp, in a Python process.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use oci_spec::runtime::LinuxSeccomp;
use seccomp::Instruction;
use serde_json::Value;

/// `oracle.py`, which answers sections with programs.
pub(crate) struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Those of the names given to [`Oracle::start`] that it knows.
    pub(crate) known: HashSet<String>,
}

impl Oracle {
    /// `None`, after a line that says why, where it cannot run.
    pub(crate) fn start<Name: AsRef<str>>(names: &[Name]) -> Option<Oracle> {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        match Oracle::try_start(&names) {
            Ok(oracle) => Some(oracle),
            Err(why) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot ask libseccomp: {why}");
                eprintln!("skipped: cannot ask libseccomp: {why}");
                None
            }
        }
    }

    fn try_start(names: &[&str]) -> Result<Oracle, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/oracle.py");
        let mut child = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let mut input = child.stdin.take().unwrap();
        // A failure to write shows as one to read.
        let _ = writeln!(input, "{}", serde_json::to_string(names).unwrap());
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut oracle = Oracle { child, input: Some(input), output, known: HashSet::new() };
        let Some(answer) = oracle.answer() else {
            let mut why = String::new();
            oracle.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            return Err(why.trim().to_owned());
        };
        let flags = answer["names"].as_array().unwrap();
        let known = names.iter().zip(flags).filter(|(_, known)| **known == Value::Bool(true));
        oracle.known = known.map(|(name, _)| (*name).to_owned()).collect();
        Ok(oracle)
    }

    fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).ok()
    }

    /// Its program for a section, `None` if it refuses a rule.
    pub(crate) fn compile(&mut self, section: &LinuxSeccomp) -> Option<Vec<Instruction>> {
        writeln!(self.input.as_mut().unwrap(), "{}", serde_json::to_string(section).unwrap()).unwrap();
        let answer = self.answer().expect("the oracle answers");
        let hex = answer.get("bpf")?.as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap();
        let instruction = |at: usize| Instruction::from_bytes(std::array::from_fn(|index| byte(at * 8 + index)));
        Some((0..hex.len() / 16).map(instruction).collect())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

//! libseccomp, in a Python process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use oci_spec::runtime::LinuxSeccomp;
use seccomp::{Arch, Instruction};
use serde_json::{Value, json};

/// What libseccomp calls a system call of no ABI.
const NO_NAME: i64 = -1;
/// Its pseudo numbers of what socketcall and ipc do, less the command.
const SOCKETCALL: i64 = -100;
const IPC: i64 = -200;

/// `oracle.py`, which answers sections with programs.
pub(crate) struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Its numbers on the architectures that it knows.
    numbers: HashMap<Arch, HashMap<&'static str, i64>>,
}

impl Oracle {
    /// `None`, after a line that says why, where it cannot run.
    pub(crate) fn start() -> Option<Oracle> {
        match Oracle::try_start() {
            Ok(oracle) => Some(oracle),
            Err(why) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot ask libseccomp: {why}");
                eprintln!("skipped: cannot ask libseccomp: {why}");
                None
            }
        }
    }

    fn try_start() -> Result<Oracle, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/oracle.py");
        let mut child = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let mut input = child.stdin.take().unwrap();
        let names: Vec<&str> = seccomp::names().collect();
        // A failure to write shows as one to read.
        let _ = writeln!(input, "{}", json!({"archs": Arch::ALL.map(Arch::to_oci), "names": names}));
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut oracle = Oracle { child, input: Some(input), output, numbers: HashMap::new() };
        let answer = oracle.answer()?;
        for arch in Arch::ALL {
            if let Some(numbers) = answer[arch.to_oci().to_string()].as_array() {
                let numbers = numbers.iter().map(|number| number.as_i64().unwrap());
                oracle.numbers.insert(arch, names.iter().copied().zip(numbers).collect());
            }
        }
        Ok(oracle)
    }

    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).map_err(|_| {
            let mut why = String::new();
            self.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            why.trim().to_owned()
        })
    }

    /// Whether it can be asked about `arch`.
    pub(crate) fn knows(&self, arch: Arch) -> bool {
        self.numbers.contains_key(&arch)
    }

    /// Whether it and our table give `name` the same number on `arch`. Where the call goes through socketcall or ipc,
    /// it has a pseudo number for the name.
    pub(crate) fn agrees(&self, name: &str, arch: Arch) -> bool {
        let theirs = self.numbers[&arch].get(name).copied().unwrap_or(NO_NAME);
        match seccomp::number(name, arch) {
            Some(ours) => theirs == i64::from(ours) || self.multiplexed(name, arch).is_some(),
            None => theirs < 0,
        }
    }

    /// Whether we know a number for `name` on `arch` and it does not.
    pub(crate) fn lacks(&self, name: &str, arch: Arch) -> bool {
        seccomp::number(name, arch).is_some() && self.numbers[&arch].get(name).is_none_or(|theirs| *theirs < 0)
    }

    /// Whether it knows the name on any ABI; it passes over others.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.numbers[&Arch::X86_64].get(name).is_some_and(|number| *number != NO_NAME)
    }

    /// The call's entrance on `arch` if that is not its own alone, and its command there.
    pub(crate) fn multiplexed(&self, name: &str, arch: Arch) -> Option<(u32, u64)> {
        let pseudo = *self.numbers[&Arch::X86].get(name)?;
        let (entrance, command) = match pseudo {
            -120..SOCKETCALL => ("socketcall", SOCKETCALL - pseudo),
            -224..IPC => ("ipc", IPC - pseudo),
            _ => return None,
        };
        Some((seccomp::number(entrance, arch)?, command as u64))
    }

    /// Its program for a section, `None` if it refuses a rule.
    pub(crate) fn compile(&mut self, section: &LinuxSeccomp, native: Arch) -> Option<Vec<Instruction>> {
        let asked = json!({"native": native.to_oci(), "section": section});
        writeln!(self.input.as_mut().unwrap(), "{asked}").unwrap();
        let answer = self.answer().unwrap_or_else(|why| panic!("the oracle is gone: {why}"));
        let hex = answer.get("bpf")?.as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap();
        let instruction = |at: usize| {
            let mut bytes: [u8; 8] = std::array::from_fn(|index| byte(at * 8 + index));
            if native.is_big_endian() {
                bytes[0..2].reverse();
                bytes[4..8].reverse();
            }
            let instruction = Instruction::from_bytes(bytes);
            if native.is_big_endian() { in_one_order(instruction) } else { instruction }
        };
        Some((0..hex.len() / 16).map(instruction).collect())
    }
}

/// A verdict that libseccomp writes a second time, because the first is too far for a jump, has the byte order of the
/// machine that it runs on rather than of the filter's. Nobody meets that but who asks it about other machines.
fn in_one_order(instruction: Instruction) -> Instruction {
    const RETURN: u16 = 0x06;
    let is_verdict = |value: u32| match value >> 16 {
        0x0005 | 0x7ff0 => true,
        action => [0, 0x8000, 0x0003, 0x7ffc, 0x7fff, 0x7fc0].contains(&action) && value & 0xffff == 0,
    };
    let swapped = instruction.code == RETURN && !is_verdict(instruction.k);
    Instruction { k: if swapped { instruction.k.swap_bytes() } else { instruction.k }, ..instruction }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

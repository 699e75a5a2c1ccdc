//! Seccomp sections and profile files of any bytes: no panic, and whatever compiles is a program that the kernel takes and
//! that decides every call.
//!
//! `cargo +nightly fuzz run seccomp fuzz/corpus/seccomp fuzz/seeds/seccomp` (after `mkdir -p fuzz/corpus/seccomp`). The
//! first byte says for which native ABI, and by its highest bit whether the rest is a bundle's section or a profile file.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::LinuxSeccomp;
use seccomp::interpret::{Call, longest_path, run};
use seccomp::{Arch, Program, compile, parse_docker_profile};

fuzz_target!(|input: &[u8]| {
    let Some((mode, json)) = input.split_first() else { return };
    let native = Arch::ALL[usize::from(mode & 0x7f) % Arch::ALL.len()];
    let section: Option<LinuxSeccomp> = if mode & 0x80 == 0 {
        serde_json::from_slice(json).ok()
    } else {
        std::str::from_utf8(json).ok().and_then(|text| parse_docker_profile(text, &HashSet::new(), (6, 1), native).ok())
    };
    let Some(section) = section else { return };
    let Ok(program) = compile(&section, native) else { return };
    let instructions = &program.instructions;
    assert!(longest_path(instructions).is_some_and(|longest| longest <= instructions.len()));
    assert_eq!(Program::from_bytes(&program.to_bytes(), program.flags).unwrap(), program);
    let mut values = vec![0, 1, u64::from(u32::MAX), u64::MAX];
    for condition in section.syscalls().iter().flatten().flat_map(|rule| rule.args().iter().flatten()).take(4) {
        values.extend([
            condition.value(),
            condition.value().wrapping_add(1),
            condition.value_two().unwrap_or_default(),
        ]);
    }
    let names = section.syscalls().iter().flatten().flat_map(|rule| rule.names()).take(4);
    let names: Vec<&str> = names.map(String::as_str).chain(["socketcall"]).collect();
    for arch in Arch::ALL {
        let numbers = names.iter().filter_map(|name| seccomp::number(name, arch));
        for number in numbers.chain([0, 4000, 0x4000_0001, u32::MAX]) {
            for (at, value) in values.iter().enumerate() {
                let args = std::array::from_fn(|arg| values[(at + arg) % values.len()] ^ (value & arg as u64));
                let call = Call { number, arch: arch.audit_token(), instruction_pointer: 0, args };
                assert!(run(instructions, &call).is_some(), "{call:x?}");
            }
        }
    }
});

//! Our programs against libseccomp's: the same section, every system call number of every ABI, arguments around every
//! bound, the same verdict.
//!
//! `oracle.py` has libseccomp compile a section the way runc does; both programs are then interpreted. runc's stub for
//! unknown calls is added to libseccomp's verdict here. Needs python3 and libseccomp.so.2; without them the tests say
//! that they are skipped, and fail where CI=true.

mod libseccomp;
mod model;
mod random;

use std::collections::HashSet;

use libseccomp::Oracle;
use oci_spec::runtime::{Arch as OciArch, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSyscall};
use random::Random;
use seccomp::interpret::{Call, longest_path, run};
use seccomp::{Arch, Instruction, compile, default_profile};

const X32_BIT: u32 = 0x4000_0000;
/// The errno by which Docker's section is told: libseccomp alone judges it. Random ones never have it.
const STRICT: u32 = 1;
const ENOSYS: u32 = 0x0005_0000 | 38;

const DOCKER_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Those on which Docker's profile depends, but for some.
const MORE_CAPABILITIES: [Capability; 7] = [
    Capability::SysAdmin,
    Capability::SysPtrace,
    Capability::SysTime,
    Capability::SysModule,
    Capability::SysNice,
    Capability::DacReadSearch,
    Capability::SysRawio,
];

/// Docker's profile for x86-64, on the ABIs of aarch64 as well.
fn docker_section(capabilities: &[Capability], kernel: (u32, u32)) -> LinuxSeccomp {
    let capabilities = capabilities.iter().copied().collect();
    let mut section = default_profile(&capabilities, kernel, Arch::X86_64);
    let mut architectures = section.architectures().clone().unwrap();
    architectures.extend([OciArch::ScmpArchAarch64, OciArch::ScmpArchArm]);
    section.set_architectures(Some(architectures));
    section
}

/// The section without what this libseccomp is too old to know.
fn only_known(section: &mut LinuxSeccomp, known: &HashSet<String>) {
    let mut rules: Vec<LinuxSyscall> = section.syscalls().clone().unwrap_or_default();
    for rule in &mut rules {
        // This one it lacks on x32.
        let known = |name: &&String| known.contains(*name) && *name != "map_shadow_stack";
        let names = rule.names().iter().filter(known).cloned().collect();
        rule.set_names(names);
    }
    section.set_syscalls(Some(rules));
}

fn names(section: &LinuxSeccomp) -> Vec<String> {
    section.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
}

/// The ABIs that the section's filter knows.
fn abis(section: &LinuxSeccomp) -> Vec<Arch> {
    let native = Arch::native().unwrap();
    let listed = section.architectures().iter().flatten().map(|name| Arch::from_oci(*name, native).unwrap());
    std::iter::once(native).chain(listed).collect()
}

/// runc's stub: ENOSYS above the newest number that the section names.
fn is_unknown(section: &LinuxSeccomp, call: &Call) -> bool {
    if matches!(section.default_action(), Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace) {
        return false;
    }
    let abis = abis(section);
    let x32 = call.arch == Arch::X32.audit_token() && call.number >= X32_BIT;
    let mut abis = abis.iter().filter(|abi| abi.audit_token() == call.arch && (**abi == Arch::X32) == x32);
    let Some(abi) = abis.next() else {
        return false;
    };
    if *abi == Arch::Arm && call.number >= 0xf0000 {
        return false;
    }
    let numbers = names(section).iter().filter_map(|name| seccomp::number(name, *abi)).collect::<Vec<_>>();
    numbers
        .into_iter()
        .filter(|number| *abi != Arch::Arm || *number < 0xf0000)
        .max()
        .is_some_and(|newest| call.number > newest)
}

/// Random profiles find many calls that libseccomp 2.5.4 decides otherwise than the section reads (most with several
/// conditions on 64-bit ABIs, some plain: not all are understood). There the plain model judges; for calls through
/// socketcall and ipc, which the model does not know, nobody does. Docker's profile gets no such allowance.
fn model_agrees(section: &LinuxSeccomp, call: &Call, got: u32) -> bool {
    let x32 = call.arch == Arch::X32.audit_token() && call.number >= X32_BIT;
    let all = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];
    let mut fitting = all.into_iter().filter(|arch| arch.audit_token() == call.arch && (*arch == Arch::X32) == x32);
    let Some(arch) = fitting.next() else {
        return false;
    };
    if arch == Arch::X86 && [102, 117].contains(&call.number) {
        return true;
    }
    model::verdict(section, call, arch) == got
}

/// Asks both programs about `call`.
fn compare(section: &LinuxSeccomp, ours: &[Instruction], theirs: &[Instruction], call: &Call) -> Result<(), String> {
    let (got, _) = run(ours, call).expect("our program is valid");
    let (mut expected, _) = run(theirs, call).expect("libseccomp's program is valid");
    if got != expected && is_unknown(section, call) {
        expected = ENOSYS;
    }
    if got == expected {
        return Ok(());
    }
    if section.default_errno_ret() != Some(STRICT) && model_agrees(section, call, got) {
        return Ok(());
    }
    Err(format!("{call:x?}: ours {got:#x}, libseccomp {expected:#x}"))
}

/// Every number with a few arguments, the numbers under conditions with many.
fn compare_all(
    section: &LinuxSeccomp,
    ours: &[Instruction],
    theirs: &[Instruction],
    random: &mut Random,
) -> Result<(), String> {
    let mut bounds = vec![0, u64::MAX];
    let mut conditional = HashSet::new();
    for rule in section.syscalls().iter().flatten() {
        for condition in rule.args().iter().flatten() {
            conditional.extend(rule.names().iter().cloned());
            for value in [condition.value(), condition.value_two().unwrap_or_default()] {
                bounds.extend([value.wrapping_sub(1), value, value.wrapping_add(1), !value, value ^ (1 << 32)]);
            }
        }
    }
    let singles = [0xf_0001, 0xf_0002, 0xf_0007, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let numbers: Vec<u32> = (0..=1023).chain(X32_BIT..=X32_BIT + 1023).chain(singles).collect();
    for arch in [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm] {
        let mut hot: HashSet<u32> = conditional.iter().filter_map(|name| seccomp::number(name, arch)).collect();
        hot.extend(conditional.iter().filter_map(|name| seccomp::number(name, Arch::X32)));
        hot.extend(["socketcall", "ipc"].iter().filter_map(|name| seccomp::number(name, arch)));
        for number in &numbers {
            let x32 = number & X32_BIT != 0;
            for _ in 0..if hot.contains(number) { 60 } else { 1 } {
                let mut args = [0; 6].map(|_: u64| *random.choose(&bounds));
                // The command of socketcall and ipc, which no condition names.
                if arch == Arch::X86 && random.below(3) == 0 {
                    args[0] = random.below(26);
                }
                if matches!(arch, Arch::X86 | Arch::Arm) && !x32 {
                    args = args.map(|arg| arg & 0xffff_ffff);
                }
                let call = Call { number: *number, arch: arch.audit_token(), instruction_pointer: 0, args };
                compare(section, ours, theirs, &call)?;
            }
        }
    }
    let other = Call { number: 0, arch: 0x8000_0016, instruction_pointer: 0, args: [0; 6] };
    compare(section, ours, theirs, &other)
}

#[test]
fn docker_default_profile() {
    let everything = docker_section(&MORE_CAPABILITIES, (6, 18));
    let Some(mut oracle) = Oracle::start(&names(&everything)) else { return };
    for (capabilities, kernel) in [
        (&DOCKER_CAPABILITIES[..], (5, 15)),
        (&DOCKER_CAPABILITIES, (4, 4)),
        (&[][..], (6, 18)),
        (&MORE_CAPABILITIES, (6, 18)),
    ] {
        let mut section = docker_section(capabilities, kernel);
        only_known(&mut section, &oracle.known);
        let ours = compile(&section, Arch::native().unwrap()).unwrap().instructions;
        let theirs = oracle.compile(&section).unwrap();
        println!(
            "Docker's profile on {} ABIs: {} instructions, longest path {:?}; libseccomp {}, {:?}",
            abis(&section).len() - 1,
            ours.len(),
            longest_path(&ours).unwrap(),
            theirs.len(),
            longest_path(&theirs).unwrap()
        );
        assert!(longest_path(&ours).unwrap() < 40);
        if let Err(difference) = compare_all(&section, &ours, &theirs, &mut Random(1)) {
            panic!("{difference}");
        }
    }
}

/// Runs `count` random sections through both.
fn compare_random(count: u64, generate: impl Fn(&mut Random, &[String]) -> LinuxSeccomp) {
    let Some(mut oracle) = Oracle::start(&random::NAMES) else { return };
    let mut names: Vec<String> = oracle.known.iter().cloned().collect();
    names.sort();
    let (mut same, mut refused) = (0, 0);
    for seed in 1..=count {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let section = generate(&mut random, &names);
        let ours = compile(&section, Arch::native().unwrap());
        let theirs = oracle.compile(&section);
        let (ours, theirs) = match (ours, theirs) {
            (Ok(ours), Some(theirs)) => (ours.instructions, theirs),
            (_, None) => {
                refused += 1;
                continue;
            }
            (ours, theirs) => panic!(
                "seed {seed}: ours {:?}, libseccomp accepted {}\n{}",
                ours.map(|program| program.instructions.len()),
                theirs.is_some(),
                serde_json::to_string(&section).unwrap()
            ),
        };
        if let Err(difference) = compare_all(&section, &ours, &theirs, &mut random) {
            panic!("seed {seed}: {difference}\n{}", serde_json::to_string(&section).unwrap());
        }
        same += 1;
    }
    println!("{same} random profiles decide alike, {refused} are refused by libseccomp");
}

#[test]
fn random_profiles() {
    compare_random(400, |random, names| random::section(random, names, false));
}

#[test]
fn random_profiles_with_wide_values() {
    compare_random(200, |random, names| random::section(random, names, true));
}

#[test]
fn docker_profile_compiles_fast() {
    let from = std::time::Instant::now();
    for _ in 0..100 {
        let section = default_profile(&HashSet::from(DOCKER_CAPABILITIES), (6, 18), Arch::X86_64);
        compile(&section, Arch::X86_64).unwrap();
    }
    println!("default_profile and compile: {} us", from.elapsed().as_micros() / 100);
}

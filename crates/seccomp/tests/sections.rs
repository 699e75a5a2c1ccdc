//! What sections mean where rules overlap, which flags they give and which sections are errors.

use oci_spec::runtime::LinuxSeccomp;
use seccomp::interpret::{Call, run};
use seccomp::{Arch, compile, default_profile, flag};
use serde_json::{Value, json};

fn compile_json(section: Value) -> Result<seccomp::Program, String> {
    let section: LinuxSeccomp = serde_json::from_value(section).unwrap();
    compile(&section, Arch::X86_64).map_err(|error| error.to_string())
}

fn condition(index: u64, op: &str, value: u64) -> Value {
    json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": value})
}

/// The errno that `read` gets from rules of these conditions, whose errnos are 1, 2, ...: 0 if none holds.
fn decides(rules: &[&[Value]], order: &[usize], args: [u64; 2]) -> u32 {
    let rule = |which: &usize| json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": which + 1, "args": rules[*which]});
    let rules: Vec<Value> = order.iter().map(rule).collect();
    let program = compile_json(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})).unwrap();
    let args = [args[0], args[1], 0, 0, 0, 0];
    let call = Call { number: 0, arch: Arch::X86_64.audit_token(), instruction_pointer: 0, args };
    run(&program.instructions, &call).unwrap().0 & 0xffff & !0x8000
}

/// The outcomes are libseccomp 2.5.4's for both orders of the rules, but for the reverse of "higher argument" and the last
/// case, which follow from the same meaning and were not asked of it.
#[test]
fn of_overlapping_rules_the_more_specific_decides_in_either_order() {
    let c = condition;
    for (what, one, two, args, winner) in [
        ("equality before upper bound", vec![c(0, "EQ", 5)], vec![c(0, "LT", 10)], [5, 0], 1),
        ("equality before lower bound", vec![c(0, "EQ", 5)], vec![c(0, "GT", 1)], [5, 0], 1),
        ("of equalities the larger value", vec![c(0, "EQ", 5)], vec![c(0, "NE", 7)], [5, 0], 2),
        ("inequality with the larger value", vec![c(0, "NE", 5)], vec![c(0, "NE", 7)], [6, 0], 2),
        ("of masks the larger value", vec![c(0, "MASKED_EQ", 4)], vec![c(0, "MASKED_EQ", 1)], [5, 0], 1),
        ("upper before lower bound", vec![c(0, "LT", 10)], vec![c(0, "GT", 1)], [5, 0], 1),
        ("the tighter upper bound", vec![c(0, "LT", 10)], vec![c(0, "LT", 20)], [5, 0], 1),
        ("the tighter upper bound, of two kinds", vec![c(0, "LE", 10)], vec![c(0, "LT", 20)], [5, 0], 1),
        ("the tighter lower bound", vec![c(0, "GT", 1)], vec![c(0, "GT", 3)], [5, 0], 2),
        ("the higher argument", vec![c(0, "EQ", 5)], vec![c(1, "GT", 1)], [5, 5], 2),
        ("the higher argument of more", vec![c(1, "EQ", 5)], vec![c(0, "EQ", 5), c(1, "EQ", 5)], [5, 5], 1),
        ("no condition replaces one", vec![], vec![c(0, "EQ", 5)], [5, 0], 1),
        ("disjoint", vec![c(0, "NE", 5)], vec![c(0, "EQ", 5)], [5, 0], 2),
        ("neither", vec![c(0, "EQ", 5)], vec![c(0, "EQ", 6)], [7, 0], 0),
    ] {
        for order in [[0, 1], [1, 0]] {
            assert_eq!(decides(&[&one, &two], &order, args), winner, "{what}, rules in order {order:?}");
        }
    }
}

#[test]
fn flags() {
    let notify = json!([{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]);
    let (tsync, log, wait) = ("TSYNC", "LOG", "WAIT_KILLABLE_RECV");
    for (what, flags, syscalls, expected) in [
        ("none given", None, json!([]), flag::SPEC_ALLOW),
        ("an empty list", Some(vec![]), json!([]), 0),
        ("two", Some(vec![tsync, log]), json!([]), flag::TSYNC | flag::LOG),
        ("waiting without a listener", Some(vec![wait]), json!([]), 0),
        ("a listener", None, notify.clone(), flag::SPEC_ALLOW | flag::NEW_LISTENER),
        ("waiting for it", Some(vec![wait]), notify.clone(), flag::WAIT_KILLABLE_RECV | flag::NEW_LISTENER),
        ("all threads beside it", Some(vec![tsync]), notify, flag::NEW_LISTENER),
    ] {
        let flags =
            flags.map(|flags| flags.iter().map(|name| format!("SECCOMP_FILTER_FLAG_{name}")).collect::<Vec<_>>());
        let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": syscalls});
        assert_eq!(compile_json(section).unwrap().flags, expected, "{what}");
    }
}

/// What moby/profiles' `default.json` says of single processors.
#[test]
fn dockers_profile_minds_the_processor() {
    const EPERM: u32 = 0x0005_0001;
    const ALLOW: u32 = 0x7fff_0000;
    const NEW_USER: u64 = 0x1000_0000;
    for (what, native, arch, name, args, expected) in [
        ("clone's flags come first", Arch::Ppc64le, Arch::Ppc64le, "clone", [NEW_USER, 0], EPERM),
        ("its stack comes second", Arch::Ppc64le, Arch::Ppc64le, "clone", [0, NEW_USER], ALLOW),
        ("but not there", Arch::S390x, Arch::S390x, "clone", [NEW_USER, 0], ALLOW),
        ("where they come second", Arch::S390x, Arch::S390x, "clone", [0, NEW_USER], EPERM),
        ("also for the smaller one", Arch::S390x, Arch::S390, "clone", [0, NEW_USER], EPERM),
        ("clone3 is not there", Arch::Mips64, Arch::Mips64, "clone3", [0, 0], 0x0005_0000 | 89),
        ("its own calls", Arch::Riscv64, Arch::Riscv64, "riscv_flush_icache", [0, 0], ALLOW),
        ("its own calls", Arch::Ppc64le, Arch::Ppc64le, "swapcontext", [0, 0], ALLOW),
        ("the other byte order's list has it not", Arch::Ppc64, Arch::Ppc64, "swapcontext", [0, 0], EPERM),
        ("its own calls", Arch::S390x, Arch::S390x, "s390_runtime_instr", [0, 0], ALLOW),
        ("companions", Arch::Mipsel64n32, Arch::Mipsel, "read", [0, 0], ALLOW),
        ("companions", Arch::Mips64, Arch::Mips64n32, "read", [0, 0], ALLOW),
        ("no companions", Arch::Ppc64, Arch::Ppc, "read", [0, 0], 0),
    ] {
        let section = default_profile(&Default::default(), (6, 1), native);
        let program = compile(&section, native).unwrap();
        let number = seccomp::number(name, arch).unwrap();
        let args = [args[0], args[1], 0, 0, 0, 0];
        let call = Call { number, arch: arch.audit_token(), instruction_pointer: 0, args };
        assert_eq!(run(&program.instructions, &call).unwrap().0, expected, "{native:?}: {what}");
    }
}

/// As the kernel's headers for the processor number it, not as this machine does.
#[test]
fn calls_that_the_profile_is_too_old_for_give_the_enosys_of_the_kernel() {
    for (native, enosys) in [
        (Arch::X86_64, 38),
        (Arch::S390x, 38),
        (Arch::Mips, 89),
        (Arch::Mipsel64, 89),
        (Arch::Mips64n32, 89),
        (Arch::Parisc, 251),
        (Arch::Parisc64, 251),
    ] {
        let section: LinuxSeccomp = serde_json::from_value(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
        }))
        .unwrap();
        let program = compile(&section, native).unwrap();
        let call = Call { number: 9000, arch: native.audit_token(), instruction_pointer: 0, args: [0; 6] };
        assert_eq!(run(&program.instructions, &call).unwrap().0, 0x0005_0000 | enosys, "{native:?}");
    }
}

/// What hands the listener over must not wait for the listener, on the ABI of the thread that does it.
#[test]
fn of_notifications_only_the_one_of_handing_over_is_refused() {
    for (name, native, refused) in [
        ("sendmsg", Arch::X86_64, true),
        ("sendmsg", Arch::X86, true),
        ("socketcall", Arch::X86, true),
        ("socketcall", Arch::S390x, true),
        ("socketcall", Arch::X86_64, false),
        ("sendmmsg", Arch::X86_64, false),
        ("sendto", Arch::X86, false),
        ("write", Arch::X86_64, false),
        ("execve", Arch::X86_64, false),
        ("seccomp", Arch::X86_64, false),
    ] {
        let section: LinuxSeccomp = serde_json::from_value(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
            "syscalls": [{"names": [name], "action": "SCMP_ACT_NOTIFY"}],
        }))
        .unwrap();
        assert_eq!(compile(&section, native).is_err(), refused, "{name} on {native:?}");
    }
}

#[test]
fn errors() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    let five = |errno: u64| json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": [condition(0, "EQ", 5)]});
    let many: Vec<Value> = (0..4097)
        .map(|value| json!({"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [condition(0, "EQ", value * 2)]}))
        .collect();
    for (section, told) in [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "cannot be the default action"),
        (rule(json!({"names": ["read", "sendmsg"], "action": "SCMP_ACT_NOTIFY"})), "cannot be used for sendmsg"),
        (
            rule(json!({"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY", "args": [condition(0, "EQ", 99)]})),
            "cannot be used for sendmsg",
        ),
        (rule(json!({"names": [""], "action": "SCMP_ACT_KILL"})), "empty system call name"),
        (rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1})), "cannot use errnoRet 1"),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536})),
            "65536 for read is too large",
        ),
        (rule(json!({"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [condition(6, "EQ", 0)]})), "argument 6"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [five(1), five(2)]}), "read contradict each other"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many}), "more than 4096 rules"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many[..4000]}), "the kernel takes at most 4096"),
    ] {
        let error = compile_json(section).expect_err(told);
        assert!(error.contains(told), "'{error}' does not say '{told}'");
    }
}

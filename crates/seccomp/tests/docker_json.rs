//! Profile files: what Docker's format means, and what a file that is not one is told.
//!
//! Docker's meaning is that of moby/profiles, `seccomp/seccomp.go` and `seccomp_linux.go`.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxSeccomp};
use seccomp::interpret::{Call, run};
use seccomp::{Arch, compile, parse_docker_profile};
use serde_json::{Value, json};

const EPERM: u32 = 0x0005_0001;
const ALLOW: u32 = 0x7fff_0000;

fn parse_on(profile: &str, capabilities: &[Capability], kernel: (u32, u32), arch: Arch) -> LinuxSeccomp {
    let capabilities = capabilities.iter().copied().collect();
    parse_docker_profile(profile, &capabilities, kernel, arch).unwrap_or_else(|error| panic!("{profile}: {error}"))
}

/// For no capabilities, on Linux 5.15 and x86-64.
fn parse(profile: &str) -> Result<LinuxSeccomp, String> {
    parse_docker_profile(profile, &HashSet::new(), (5, 15), Arch::X86_64).map_err(|error| error.to_string())
}

/// A profile that denies, with one rule: allows `mount` where `rule`'s conditions leave it in.
fn with_rule(mut rule: Value) -> String {
    rule["names"] = json!(["mount"]);
    rule["action"] = json!("SCMP_ACT_ALLOW");
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}).to_string()
}

#[test]
fn rules_apply_as_their_includes_and_excludes_say() {
    let admin: &[Capability] = &[Capability::SysAdmin];
    let both: &[Capability] = &[Capability::SysAdmin, Capability::SysTime];
    let x86 = Arch::X86_64;
    for (what, filter, capabilities, kernel, arch, applies) in [
        ("nothing asked", json!({}), &[][..], (5, 15), x86, true),
        ("null filters", json!({"includes": null, "excludes": null}), &[], (5, 15), x86, true),
        ("empty filters", json!({"includes": {}, "excludes": {}}), &[], (5, 15), x86, true),
        (
            "empty and null lists",
            json!({"includes": {"caps": [], "arches": null, "minKernel": null}, "excludes": {"caps": null, "arches": []}}),
            &[],
            (5, 15),
            x86,
            true,
        ),
        ("capability had", json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}}), admin, (5, 15), x86, true),
        ("capability not had", json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}}), &[], (5, 15), x86, false),
        ("all included", json!({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_TIME"]}}), both, (5, 15), x86, true),
        ("one missing", json!({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_TIME"]}}), admin, (5, 15), x86, false),
        ("unknown included", json!({"includes": {"caps": ["CAP_OF_TOMORROW"]}}), both, (5, 15), x86, false),
        ("unknown excluded", json!({"excludes": {"caps": ["CAP_OF_TOMORROW"]}}), both, (5, 15), x86, true),
        ("name without CAP_", json!({"includes": {"caps": ["SYS_ADMIN"]}}), admin, (5, 15), x86, false),
        ("excluded, had", json!({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}), admin, (5, 15), x86, false),
        ("excluded, not had", json!({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}), &[], (5, 15), x86, true),
        ("any excluded", json!({"excludes": {"caps": ["CAP_SYS_TIME", "CAP_SYS_ADMIN"]}}), admin, (5, 15), x86, false),
        ("architecture", json!({"includes": {"arches": ["amd64"]}}), &[], (5, 15), x86, true),
        (
            "one of the architectures",
            json!({"includes": {"arches": ["s390x", "arm64"]}}),
            &[],
            (5, 15),
            Arch::Aarch64,
            true,
        ),
        ("another architecture", json!({"includes": {"arches": ["arm64"]}}), &[], (5, 15), x86, false),
        (
            "OCI's name for it",
            json!({"includes": {"arches": ["SCMP_ARCH_X86_64", "x86_64"]}}),
            &[],
            (5, 15),
            x86,
            false,
        ),
        ("excluded architecture", json!({"excludes": {"arches": ["s390x", "amd64"]}}), &[], (5, 15), x86, false),
        ("kernel as old", json!({"includes": {"minKernel": "5.15"}}), &[], (5, 15), x86, true),
        ("kernel newer", json!({"includes": {"minKernel": "4.19"}}), &[], (5, 4), x86, true),
        ("kernel older", json!({"includes": {"minKernel": "5.15"}}), &[], (5, 4), x86, false),
        ("versions are numbers", json!({"includes": {"minKernel": "5.9"}}), &[], (5, 15), x86, true),
        ("kernel excluded", json!({"excludes": {"minKernel": "5.15"}}), &[], (6, 1), x86, false),
        ("kernel too old to be excluded", json!({"excludes": {"minKernel": "5.15"}}), &[], (5, 4), x86, true),
        ("no kernel included", json!({"includes": {"minKernel": ""}}), &[], (5, 15), x86, true),
        (
            "no kernel excluded, which Docker reads as 0.0",
            json!({"excludes": {"minKernel": ""}}),
            &[],
            (5, 15),
            x86,
            false,
        ),
        (
            "included by one, excluded by another",
            json!({"includes": {"arches": ["amd64"]}, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}),
            admin,
            (5, 15),
            x86,
            false,
        ),
        (
            "all kinds included, one missing",
            json!({"includes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["amd64"], "minKernel": "6.0"}}),
            admin,
            (5, 15),
            x86,
            false,
        ),
    ] {
        let section = parse_on(&with_rule(filter), capabilities, kernel, arch);
        assert_eq!(section.syscalls().as_deref().map(<[_]>::len), Some(usize::from(applies)), "{what}");
        let program = compile(&section, arch).unwrap();
        let number = seccomp::number("mount", arch).unwrap();
        let call = Call { number, arch: arch.audit_token(), instruction_pointer: 0, args: [0; 6] };
        let (verdict, _) = run(&program.instructions, &call).unwrap();
        assert_eq!(verdict, if applies { ALLOW } else { EPERM }, "{what}");
    }
}

/// What the file's fields become, as the runtime-spec writes it.
#[test]
fn fields() {
    let denies = |more: Value| {
        let mut whole = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        whole
    };
    let rule = |more: Value| denies(json!({"syscalls": [more]}));
    let read = |more: Value| {
        let mut whole = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule(whole)
    };
    let map = json!([
        {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_OF_TOMORROW"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    ]);
    let allowed_read = read(json!({}));
    let condition = json!({"index": 1, "value": 7, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"});
    for (what, file, expected) in [
        (
            "the least",
            json!({"defaultAction": "SCMP_ACT_ALLOW"}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}),
        ),
        (
            "nulls",
            denies(json!({"defaultErrnoRet": null, "architectures": null, "archMap": null, "flags": null,
                "listenerPath": null, "listenerMetadata": null, "syscalls": null})),
            denies(json!({})),
        ),
        ("default errno", denies(json!({"defaultErrnoRet": 38})), denies(json!({"defaultErrnoRet": 38}))),
        ("names", allowed_read.clone(), allowed_read.clone()),
        ("the name of old", rule(json!({"name": "read", "action": "SCMP_ACT_ALLOW"})), allowed_read.clone()),
        ("empty name beside names", read(json!({"name": ""})), allowed_read.clone()),
        ("null name beside names", read(json!({"name": null})), allowed_read.clone()),
        (
            "names that are null, beside the name of old",
            rule(json!({"name": "read", "names": null, "action": "SCMP_ACT_ALLOW"})),
            allowed_read.clone(),
        ),
        ("comments", read(json!({"comment": "why", "errno": "EPERM"})), allowed_read.clone()),
        ("null args and errnoRet", read(json!({"args": null, "errnoRet": null})), allowed_read),
        (
            "errnoRet",
            read(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 22})),
            read(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 22})),
        ),
        ("args", read(json!({"args": [condition.clone()]})), read(json!({"args": [condition]}))),
        (
            "valueTwo left out",
            read(json!({"args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]})),
            read(json!({"args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]})),
        ),
        (
            "architectures",
            denies(json!({"architectures": ["SCMP_ARCH_X86_64"], "archMap": []})),
            denies(json!({"architectures": ["SCMP_ARCH_X86_64"]})),
        ),
        (
            "archMap, whose other entries may name anything",
            denies(json!({"architectures": [], "archMap": map})),
            denies(json!({"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]})),
        ),
        (
            "archMap without us",
            denies(json!({"archMap": [{"architecture": "SCMP_ARCH_S390X", "subArchitectures": null}]})),
            denies(json!({})),
        ),
        (
            "archMap with null for sub-architectures",
            denies(json!({"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}]})),
            denies(json!({"architectures": ["SCMP_ARCH_X86_64"]})),
        ),
        (
            "flags",
            denies(json!({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]})),
            denies(json!({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]})),
        ),
    ] {
        let section = parse(&file.to_string()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected: LinuxSeccomp = serde_json::from_value(expected).unwrap();
        assert_eq!(section, expected, "{what}");
    }
}

/// What is wrong with a file is told by name or by line and column; nothing in it makes us panic.
#[test]
fn hostile_files_are_errors_that_say_why() {
    let rule = |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rule}]}}"#);
    let condition =
        |condition: &str| rule(&format!(r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{condition}]}}"#));
    let filter = |filter: &str| rule(&format!(r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", {filter}}}"#));
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for (what, file, told) in [
        ("empty", String::new(), "EOF"),
        ("white space", " \n\t".into(), "EOF"),
        ("not JSON", "\u{7f}ELF\0\0".into(), "line 1 column 1"),
        ("no object", "[]".into(), "expected"),
        ("null", "null".into(), "expected"),
        ("no default action", "{}".into(), "defaultAction"),
        ("cut off", r#"{"defaultAction": "SCMP_ACT_ALLOW", "sysc"#.into(), "EOF"),
        ("more after it", r#"{"defaultAction": "SCMP_ACT_ALLOW"} {}"#.into(), "trailing"),
        ("deeply nested", nested(1 << 20), "expected"),
        ("deeply nested where names are due", rule(&format!(r#"{{"names": {}}}"#, nested(1000))), "expected a string"),
        ("a field twice", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [], "syscalls": []}"#.into(), "duplicate"),
        ("unknown default", r#"{"defaultAction": "SCMP_ACT_PERHAPS"}"#.into(), "SCMP_ACT_PERHAPS"),
        ("null default", r#"{"defaultAction": null}"#.into(), "line 1"),
        ("unknown action", rule(r#"{"names": ["read"], "action": "ALLOW"}"#), "`ALLOW`"),
        ("no action", rule(r#"{"names": ["read"]}"#), "action"),
        ("null rule", rule("null"), "expected"),
        ("rules in an object", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}"#.into(), "sequence"),
        ("names of numbers", rule(r#"{"names": [1], "action": "SCMP_ACT_ALLOW"}"#), "expected a string"),
        ("names as text", rule(r#"{"names": "read", "action": "SCMP_ACT_ALLOW"}"#), "sequence"),
        ("unknown operator", condition(r#"{"index": 0, "value": 0, "op": "SCMP_CMP_IS"}"#), "SCMP_CMP_IS"),
        ("no operator", condition(r#"{"index": 0, "value": 0}"#), "op"),
        ("negative value", condition(r#"{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}"#), "`-1`"),
        ("65 bits", condition(r#"{"index": 0, "value": 18446744073709551616, "op": "SCMP_CMP_EQ"}"#), "expected u64"),
        ("negative index", condition(r#"{"index": -1, "value": 0, "op": "SCMP_CMP_EQ"}"#), "`-1`"),
        ("value as text", condition(r#"{"index": 0, "value": "0x1", "op": "SCMP_CMP_EQ"}"#), "0x1"),
        ("negative errnoRet", filter(r#""errnoRet": -1"#), "`-1`"),
        ("33 bits of errnoRet", filter(r#""errnoRet": 4294967296"#), "4294967296"),
        ("unknown flag", r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FAST"]}"#.into(), "FAST"),
        (
            "unknown architecture",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}"#.into(),
            "unknown architecture 'SCMP_ARCH_Z80'",
        ),
        (
            "unknown sub-architecture of ours",
            r#"{"defaultAction": "SCMP_ACT_ALLOW",
                "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_Z80"]}]}"#
                .into(),
            "unknown architecture 'SCMP_ARCH_Z80'",
        ),
        (
            "architectures and archMap",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#
                .into(),
            "both 'architectures' and 'archMap'",
        ),
        ("name and names", filter(r#""name": "write""#), "both 'name' and 'names'"),
        ("kernel of three numbers", filter(r#""includes": {"minKernel": "5.15.1"}"#), "minKernel '5.15.1'"),
        ("kernel of one number", filter(r#""includes": {"minKernel": "5"}"#), "minKernel '5'"),
        ("kernel without a number", filter(r#""includes": {"minKernel": "5."}"#), "minKernel '5.'"),
        ("kernel 0.0", filter(r#""excludes": {"minKernel": "0.0"}"#), "minKernel '0.0'"),
        ("signed kernel", filter(r#""includes": {"minKernel": "+5.1"}"#), "minKernel '+5.1'"),
        ("kernel of many digits", filter(r#""includes": {"minKernel": "99999999999.1"}"#), "minKernel '99999999999.1'"),
        (
            "wrong kernel in a rule that is left out anyway",
            filter(r#""includes": {"arches": ["s390x"], "minKernel": "x"}, "excludes": {"arches": ["amd64"]}"#),
            "minKernel 'x'",
        ),
        ("kernel as a number", filter(r#""includes": {"minKernel": 5.15}"#), "expected a string"),
        ("capabilities as text", filter(r#""includes": {"caps": "CAP_SYS_ADMIN"}"#), "sequence"),
        ("filter as a list of lists", filter(r#""includes": [[]]"#), "expected"),
        ("too large", " ".repeat((4 << 20) + 1), "4194305 bytes are more than the 4194304"),
    ] {
        match parse(&file) {
            Ok(section) => panic!("{what}: read as {section:?}"),
            Err(error) => assert!(error.contains(told), "{what}: '{error}' does not say '{told}'"),
        }
    }
}

/// A comment is skipped, however deep, without a stack to overflow. Any other key could be a misspelt one.
#[test]
fn comments_are_skipped_and_unknown_keys_refused() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    parse(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "comment": {deep}}}"#)).unwrap();
    for key in ["Syscalls", "syscall", "default_action"] {
        let error = parse(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "{key}": []}}"#)).unwrap_err();
        assert!(error.contains(key), "{key}: {error}");
    }
}

/// Every prefix of a good file, and every file with one byte of it changed, is read or refused, never a panic. What is
/// read is compiled too.
#[test]
fn damaged_files_do_not_panic() {
    let good = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}],
        "syscalls": [{
            "names": ["socket", "clone"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.1", "arches": ["amd64"]},
            "args": [{"index": 5, "value": 4294967299_u64, "valueTwo": 9, "op": "SCMP_CMP_GE"}],
        }],
    })
    .to_string();
    let mut read = 0;
    let mut attempt = |file: &[u8]| {
        let section = std::str::from_utf8(file).ok().and_then(|file| parse(file).ok());
        if let Some(section) = section {
            let _ = compile(&section, Arch::X86_64);
            read += 1;
        }
    };
    for length in 0..good.len() {
        attempt(&good.as_bytes()[..length]);
    }
    let mut damaged = good.clone().into_bytes();
    for at in 0..good.len() {
        for byte in *b"0\"{}[],:9-\\ x\xff" {
            damaged[at] = byte;
            attempt(&damaged);
        }
        damaged[at] = good.as_bytes()[at];
    }
    assert!(read > 100, "damage that leaves a profile must be among it, was in {read}");
}

#!/usr/bin/env python3
"""Writes src/syscall_table.rs: every system call's name and its number on each ABI.

    tools/syscall_table.py LINUX_RAW_SYS CROSS > src/syscall_table.rs

LINUX_RAW_SYS is the `src` of the crate linux-raw-sys, whose `__NR_*` constants are those of the headers of Linux 6.17.
It lacks four ABIs. Theirs are in CROSS, which holds Debian's linux-libc-dev-{mips,s390x,hppa,sh4}-cross unpacked
(Linux 6.1); calls made since then have one number everywhere, which is taken from m68k, after a check that the headers
of 6.17 agree on it. Names that only libseccomp knows (pseudo names of multiplexed calls, ARM's private calls) come from
libseccomp.so.2; where headers and libseccomp know a number and differ, the script fails, but for the DISPUTED ones.
"""
import ctypes
import re
import sys

RAW, CROSS = sys.argv[1:3]
# Column: libseccomp's token, where the headers' numbers are.
ABIS = {
    "x86_64": (0xC000003E, "x86_64"),
    "x86": (0x40000003, "x86"),
    "x32": (0x4000003E, "x32"),
    "aarch64": (0xC00000B7, "aarch64"),
    "arm": (0x40000028, "arm"),
    "mips": (0x00000008, "mips"),
    "mips64": (0x80000008, "mips64"),
    "mips64n32": (0xA0000008, "mips-linux-gnu/include/asm/unistd_n32.h"),
    "ppc": (0x00000014, "powerpc"),
    "ppc64": (0x80000015, "powerpc64"),
    "s390": (0x00000016, "s390x-linux-gnu/include/asm/unistd_32.h"),
    "s390x": (0x80000016, "s390x"),
    "parisc": (0x0000000F, "hppa-linux-gnu/include/asm/unistd_32.h"),
    "parisc64": (0x8000000F, "hppa-linux-gnu/include/asm/unistd_64.h"),
    "riscv64": (0xC00000F3, "riscv64"),
    "loongarch64": (0xC0000102, "loongarch64"),
    "m68k": (0x00000004, "m68k"),
    "sh": (0x4000002A, "sh4-linux-gnu/include/asm/unistd_32.h"),
}
MIPS_N32 = 6000
# The last number, without its base, that the headers of 6.1 have.
LAST_OF_6_1 = 450
X32_BIT = 0x40000000
ARM_PRIVATE, ARM_PRIVATE_HERE = 0xF0000, 0x7000
# Constants that look like system calls in the headers and are none.
NO_CALLS = re.compile(r"\w*SYSCALL_(BASE|MASK)|\w*Linux(_syscalls)?|syscalls|arch_specific_syscall|(unused|reserved)\d+")

library = ctypes.CDLL("libseccomp.so.2")


def numbers(source):
    if "/" not in source:
        text = open(f"{RAW}/{source}/general.rs").read()
        found = re.finditer(r"pub const __NR_(\w+): u32 = (\d+);", text)
    else:
        text = open(f"{CROSS}/usr/{source}").read()
        found = re.finditer(r"#define __NR_(\w+)\s+(?:\(__NR_Linux \+ )?(\d+)\)?", text)
    base = MIPS_N32 if "n32" in source else 0
    return {m[1]: int(m[2]) + base for m in found if not NO_CALLS.fullmatch(m[1])}


headers = {abi: numbers(source) for abi, (_, source) in ABIS.items()}
for name, number in headers["m68k"].items():
    if number <= LAST_OF_6_1:
        continue
    for abi, (_, source) in ABIS.items():
        base = {"mips": 4000, "mips64": 5000, "mips64n32": MIPS_N32, "x32": X32_BIT}.get(abi, 0)
        if "/" in source:
            headers[abi].setdefault(name, number + base)
        elif headers[abi].get(name, number + base) != number + base:
            sys.exit(f"{name} on {abi}: {headers[abi][name]}, not {number + base}")

names = set().union(*headers.values())
names |= set(re.findall(r"__SNR_(\w+)", open("/usr/include/seccomp-syscalls.h").read()))


def resolve(abi, name):
    return library.seccomp_syscall_resolve_name_arch(ABIS[abi][0], name.encode())


def stored(abi, number):
    if abi == "x32":
        return number & ~X32_BIT
    return number - ARM_PRIVATE + ARM_PRIVATE_HERE if number >= ARM_PRIVATE else number


def row(name):
    for abi in ABIS:
        number, other = headers[abi].get(name), resolve(abi, name)
        if number is not None and other >= 0 and number != other:
            print(f"{name} on {abi}: {number} in the headers, {other} in libseccomp", file=sys.stderr)
        if number is None:
            if other >= 0:
                print(f"{name} on {abi}: only libseccomp has it, {other}", file=sys.stderr)
            number = other if other >= 0 else None
        yield -1 if number is None else stored(abi, number)


print(f"""//! The numbers of all system calls. Written by tools/syscall_table.py: do not edit.
//!
//! From the headers of Linux 6.17 and 6.1 and from libseccomp 2.5.4. Sorted by name; the columns are those that
//! `Arch::column` tells, x32 without its bit 30, ARM's private calls from {ARM_PRIVATE_HERE:#x}, -1 where an ABI lacks the call.

/// How many ABIs have numbers of their own.
pub(crate) const COLUMNS: usize = {len(ABIS)};

#[rustfmt::skip]
pub(crate) const TABLE: &[(&str, [i16; COLUMNS])] = &[""")
for name in sorted(names):
    columns = list(row(name))
    if any(number >= 0 for number in columns) or -1000 < resolve("x86", name) < -1:
        print(f'    ("{name}", {columns}),')
print("];")

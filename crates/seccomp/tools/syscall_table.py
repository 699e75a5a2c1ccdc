#!/usr/bin/env python3
"""Writes src/syscall_table.rs: every system call's name and its number on each ABI.

    tools/syscall_table.py DIRECTORY > src/syscall_table.rs

DIRECTORY is the `src` of the crate linux-raw-sys, whose `__NR_*` constants are those of the kernel's headers. Names that
only libseccomp knows (pseudo names of multiplexed calls, ARM's private calls) come from libseccomp.so.2; where both know
a number and differ, the script fails.
"""
import ctypes
import re
import sys

TOKENS = {"x86_64": 0xC000003E, "x86": 0x40000003, "x32": 0x4000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}
X32_BIT = 0x40000000
# Constants that look like system calls in the headers and are none.
NO_CALLS = {"OABI_SYSCALL_BASE", "SYSCALL_BASE", "SYSCALL_MASK"}

library = ctypes.CDLL("libseccomp.so.2")
headers = {}
for arch in TOKENS:
    text = open(f"{sys.argv[1]}/{arch}/general.rs").read()
    found = re.finditer(r"pub const __NR_(\w+): u32 = (\d+);", text)
    headers[arch] = {m[1]: int(m[2]) for m in found if m[1] not in NO_CALLS}
names = set().union(*headers.values())
names |= set(re.findall(r"__SNR_(\w+)", open("/usr/include/seccomp-syscalls.h").read()))

print("//! The numbers of all system calls. Written by tools/syscall_table.py: do not edit.")
print("//!")
print("//! From the headers of Linux 6.17 and from libseccomp 2.5.4. Sorted by name; the columns are those of `Arch::ALL`,")
print("//! x32 without its bit 30, -1 where an ABI lacks the call.")
print()
print("#[rustfmt::skip]")
print("pub(crate) const TABLE: &[(&str, [i32; 5])] = &[")
for name in sorted(names):
    row = []
    for arch, token in TOKENS.items():
        number = headers[arch].get(name)
        other = library.seccomp_syscall_resolve_name_arch(token, name.encode())
        if number is not None and other >= 0 and number != other:
            sys.exit(f"{name} on {arch}: {number} in the headers, {other} in libseccomp")
        if number is None:
            number = other if other >= 0 else -1
        row.append(number & ~X32_BIT if arch == "x32" and number >= 0 else number)
    if any(number >= 0 for number in row) or -1000 < library.seccomp_syscall_resolve_name_arch(TOKENS["x86"], name.encode()) < -1:
        print(f'    ("{name}", {row}),')
print("];")

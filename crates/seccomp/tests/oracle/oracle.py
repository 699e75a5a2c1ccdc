"""The oracle: what runc makes libseccomp do with OCI seccomp sections.

The first line is `{"archs": [...], "names": [...]}`, the answer the number of each name on each architecture (negative:
none, or a pseudo number), null for an architecture that this libseccomp lacks. Every other line is
`{"native": arch, "section": {...}}`, answered by `{"bpf": hex}`, in the architecture's byte order, or by
`{"refused": name}` where a rule is refused. Written from runc's use of the library (libcontainer/seccomp). The library's
own native architecture is x86-64; for another one that is taken out of the filter first, as all architectures of a filter
must have one byte order. The -ENOSYS stub that runc puts before the program is left to the test. Exits with 77 if there
is no libseccomp.
"""
import ctypes
import errno
import json
import os
import sys
import tempfile

try:
    lib = ctypes.CDLL("libseccomp.so.2")
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

ACTIONS = {
    "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x30000,
    "SCMP_ACT_ERRNO": 0x50000, "SCMP_ACT_TRACE": 0x7FF00000, "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_NOTIFY": 0x7FC00000,
}
OPERATORS = {name: number for number, name in enumerate(["", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])}


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


lib.seccomp_init.restype = ctypes.c_void_p
lib.seccomp_init.argtypes = [ctypes.c_uint32]
lib.seccomp_release.argtypes = [ctypes.c_void_p]
lib.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
lib.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
lib.seccomp_arch_resolve_name.restype = ctypes.c_uint32
lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
# Filters with SCMP_ACT_NOTIFY and the like are asked for by level; no kernel is asked here.
lib.seccomp_api_set(6)


def action(name, value_of):
    value = ACTIONS[name]
    return value | (1 if value_of is None else value_of) if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else value


def token(arch):
    return lib.seccomp_arch_resolve_name(arch[len("SCMP_ARCH_"):].lower().encode())


def compile(native, section):
    default = action(section["defaultAction"], section.get("defaultErrnoRet"))
    context = lib.seccomp_init(default)
    try:
        if native != "SCMP_ARCH_X86_64":
            assert lib.seccomp_arch_remove(context, token("SCMP_ARCH_X86_64")) == 0
            assert lib.seccomp_arch_add(context, token(native)) == 0
        for arch in section.get("architectures") or []:
            assert lib.seccomp_arch_add(context, token(arch)) in (0, -errno.EEXIST), f"{arch} beside {native}"
        for rule in section["syscalls"]:
            verdict = action(rule["action"], rule.get("errnoRet"))
            for name in rule["names"]:
                number = lib.seccomp_syscall_resolve_name(name.encode())
                if verdict == default or number == -1:
                    continue
                conditions = [
                    Compare(arg["index"], OPERATORS[arg["op"][len("SCMP_CMP_"):]], arg["value"], arg.get("valueTwo") or 0)
                    for arg in rule.get("args") or []
                ]
                twice = len({condition.arg for condition in conditions}) < len(conditions)
                for group in [[condition] for condition in conditions] if twice else [conditions]:
                    array = (Compare * len(group))(*group)
                    if lib.seccomp_rule_add_array(context, verdict, number, len(group), array) < 0:
                        return {"refused": name}
        with tempfile.TemporaryFile() as file:
            assert lib.seccomp_export_bpf(context, file.fileno()) == 0
            file.seek(0)
            return {"bpf": file.read().hex()}
    finally:
        lib.seccomp_release(context)


def numbers(arch, names):
    if token(arch) == 0:
        return None
    return [lib.seccomp_syscall_resolve_name_arch(token(arch), name.encode()) for name in names]


asked = json.loads(sys.stdin.readline())
print(json.dumps({arch: numbers(arch, asked["names"]) for arch in asked["archs"]}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(compile(asked["native"], asked["section"])), flush=True)

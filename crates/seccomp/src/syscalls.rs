//! System calls by name.
//!
//! Where an ABI has `socketcall` or `ipc` (x86, o32 MIPS, PowerPC, z/Architecture, 68000, SuperH), the socket and System
//! V IPC calls have two entrances: a number of their own (most of them, since Linux 4.3 and 5.1) and a sub-command of
//! the other. A rule for one must hold at both, or it can be walked around.

use crate::Arch;
use crate::arch::X32_BIT;
use crate::syscall_table::{COLUMNS, TABLE};

/// ARM numbers its private calls (cacheflush and others) from here, far above all others.
pub(crate) const ARM_PRIVATE: u32 = 0x000f_0000;
/// Where the table, whose numbers have 16 bits, has them instead.
const ARM_PRIVATE_IN_TABLE: u32 = 0x7000;

/// A name that some ABI knows.
#[derive(Clone, Copy)]
pub(crate) struct Syscall {
    numbers: &'static [i16; COLUMNS],
    /// The name of the entrance that it shares with others where an ABI has that, and its sub-command there.
    pub(crate) multiplexed: Option<(&'static str, u32)>,
}

impl Syscall {
    /// `None` for names that no supported ABI has: newer than the table, of another architecture, or misspelt.
    pub(crate) fn find(name: &str) -> Option<Syscall> {
        let row = TABLE.binary_search_by_key(&name, |(known, _)| known).ok()?;
        Some(Syscall { numbers: &TABLE[row].1, multiplexed: multiplexed(name) })
    }

    /// Its number on `arch`, as `seccomp_data.nr` has it.
    pub(crate) fn number(self, arch: Arch) -> Option<u32> {
        let number = u32::try_from(self.numbers[arch.column()]).ok()?;
        Some(match arch {
            Arch::X32 => number | X32_BIT,
            Arch::Arm if number >= ARM_PRIVATE_IN_TABLE => number - ARM_PRIVATE_IN_TABLE + ARM_PRIVATE,
            _ => number,
        })
    }
}

/// The number of the system call `name` on `arch`, `None` if it has none there or it is newer than Linux 6.17.
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    Syscall::find(name)?.number(arch)
}

/// Every name that some ABI knows, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// include/uapi/linux/net.h and include/uapi/linux/ipc.h
fn multiplexed(name: &str) -> Option<(&'static str, u32)> {
    let command = match name {
        "socket" => 1,
        "bind" => 2,
        "connect" => 3,
        "listen" => 4,
        "accept" => 5,
        "getsockname" => 6,
        "getpeername" => 7,
        "socketpair" => 8,
        "send" => 9,
        "recv" => 10,
        "sendto" => 11,
        "recvfrom" => 12,
        "shutdown" => 13,
        "setsockopt" => 14,
        "getsockopt" => 15,
        "sendmsg" => 16,
        "recvmsg" => 17,
        "accept4" => 18,
        "recvmmsg" => 19,
        "sendmmsg" => 20,
        "semop" => return Some(("ipc", 1)),
        "semget" => return Some(("ipc", 2)),
        "semctl" => return Some(("ipc", 3)),
        "semtimedop" => return Some(("ipc", 4)),
        "msgsnd" => return Some(("ipc", 11)),
        "msgrcv" => return Some(("ipc", 12)),
        "msgget" => return Some(("ipc", 13)),
        "msgctl" => return Some(("ipc", 14)),
        "shmat" => return Some(("ipc", 21)),
        "shmdt" => return Some(("ipc", 22)),
        "shmget" => return Some(("ipc", 23)),
        "shmctl" => return Some(("ipc", 24)),
        _ => return None,
    };
    Some(("socketcall", command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_so_that_it_can_be_searched() {
        assert!(TABLE.is_sorted_by(|(one, _), (next, _)| one < next));
    }

    #[test]
    fn numbers() {
        for (name, arch, expected) in [
            ("read", Arch::X86_64, Some(0)),
            ("read", Arch::X86, Some(3)),
            ("read", Arch::X32, Some(0x4000_0000)),
            ("execve", Arch::X32, Some(0x4000_0208)),
            ("read", Arch::Aarch64, Some(63)),
            ("cacheflush", Arch::Arm, Some(0xf0002)),
            ("open", Arch::Aarch64, None),
            ("clone3", Arch::X86_64, Some(435)),
            ("read", Arch::Mipsel, Some(4003)),
            ("read", Arch::Mips64, Some(5000)),
            ("read", Arch::Mips64n32, Some(6000)),
            ("socket", Arch::Mips, Some(4183)),
            ("clone3", Arch::Sh, None),
            ("mseal", Arch::Mips64n32, Some(6462)),
            ("mseal", Arch::Sheb, Some(462)),
            ("mseal", Arch::S390, Some(462)),
            ("riscv_hwprobe", Arch::Riscv64, Some(258)),
            ("riscv_hwprobe", Arch::Loongarch64, None),
            ("read", Arch::Loongarch64, Some(63)),
            ("swapcontext", Arch::Ppc64le, Some(249)),
            ("mseal", Arch::Aarch64, Some(462)),
            ("no_such_call", Arch::X86_64, None),
        ] {
            assert_eq!(number(name, arch), expected, "{name} on {arch:?}");
        }
    }
}

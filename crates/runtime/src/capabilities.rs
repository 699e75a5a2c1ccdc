//! Capability names and numbers. [capabilities(7), include/uapi/linux/capability.h]

use oci_spec::runtime::Capability;

/// Every capability by the kernel's number, `CAP_CHOWN` being 0.
pub const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The capability's bit in a kernel capability set.
pub fn bit(capability: Capability) -> u64 {
    ALL.iter().position(|known| *known == capability).map_or(0, |number| 1 << number)
}

/// The bits of several.
pub fn bits<'a>(capabilities: impl IntoIterator<Item = &'a Capability>) -> u64 {
    capabilities.into_iter().fold(0, |bits, capability| bits | bit(*capability))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (capability, number) in [
            (Capability::Chown, 0),
            (Capability::SysAdmin, 21),
            (Capability::Mknod, 27),
            (Capability::CheckpointRestore, 40),
        ] {
            assert_eq!(bit(capability), 1 << number, "{capability:?}");
        }
        assert_eq!(bits(&ALL), (1 << 41) - 1);
    }
}

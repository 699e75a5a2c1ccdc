//! What can be wrong with a seccomp section or a profile file.

/// Why a section cannot become a program. Nothing has been changed on the host when one is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The section names an architecture without a system call table here.
    #[error("cannot filter system calls of {name}: there is no table of them")]
    UnsupportedArch {
        /// As the section has it.
        name: String,
    },
    /// `errnoRet` where the action takes none: the runtime-spec demands that this fails.
    #[error("cannot use errnoRet {errno} with {action} for {what}: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take one")]
    ErrnoWithoutUse {
        /// The action beside it.
        action: String,
        /// The value given.
        errno: u32,
        /// "the default action" or the system call's name.
        what: String,
    },
    /// An errno or trace value that does not fit into the 16 bits that the kernel has for it.
    #[error("errnoRet {errno} for {what} is too large: the kernel has 16 bits for it")]
    ErrnoTooLarge {
        /// The value given.
        errno: u32,
        /// "the default action" or the system call's name.
        what: String,
    },
    /// Podman's `defaultErrno` without the number beside it, which alone is understood here.
    #[error("the seccomp profile has defaultErrno {name:?} and no number: write defaultErrnoRet")]
    ErrnoByName {
        /// The name given.
        name: String,
    },
    /// A condition on an argument that does not exist.
    #[error("a condition for {syscall} compares argument {index}: system calls have arguments 0 to 5")]
    BadArgument {
        /// The system call's name.
        syscall: String,
        /// The index given.
        index: usize,
    },
    /// Two rules with the same conditions and different actions; libseccomp refuses them too.
    #[error("the rules for {syscall} contradict each other: two have the same conditions and different actions")]
    Contradiction {
        /// The system call's name.
        syscall: String,
    },
    /// A rule without a system call's name in it.
    #[error("a rule of the seccomp profile has an empty system call name")]
    EmptyName,
    /// `SCMP_ACT_NOTIFY` for everything would also stop the call that hands the listener over.
    #[error("SCMP_ACT_NOTIFY cannot be the default action: handing its listener over would itself be stopped")]
    NotifyByDefault,
    /// `SCMP_ACT_NOTIFY` for the call that hands the listener over, see `rules`.
    #[error("SCMP_ACT_NOTIFY cannot be used for {syscall}: handing its listener over would itself be stopped")]
    NotifyHandOver {
        /// The system call's name.
        syscall: String,
    },
    /// More conditional rules for one system call than a program can hold.
    #[error("the seccomp profile has more than {limit} rules with conditions for {syscall}")]
    TooManyRules {
        /// The system call's name.
        syscall: String,
        /// How many there may be.
        limit: usize,
    },
    /// The program is longer than the kernel takes (`BPF_MAXINSNS`).
    #[error("the seccomp profile compiles to {length} instructions: the kernel takes at most {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// Bytes that are not a whole number of instructions, or more than the kernel takes.
    #[error("{length} bytes are not a seccomp program: instructions have 8 bytes and there are 1 to 4096 of them")]
    BadBytes {
        /// How many bytes there were.
        length: usize,
    },
    /// A profile file that is no JSON, or not of a profile's shape.
    #[error("cannot read the seccomp profile: {source}")]
    Json {
        /// What the parser says, with line and column.
        #[from]
        source: serde_json::Error,
    },
    /// A profile file that no profile needs to be as large as.
    #[error("cannot read the seccomp profile: {length} bytes are more than the {limit} that are read")]
    FileTooLarge {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Two fields of a profile file that exclude each other.
    #[error("the seccomp profile has both '{one}' and '{other}': use one of them")]
    BothGiven {
        /// The first.
        one: &'static str,
        /// The second.
        other: &'static str,
    },
    /// An architecture's name that nobody knows.
    #[error("the seccomp profile names an unknown architecture '{name}'")]
    UnknownArch {
        /// As the file has it.
        name: String,
    },
    /// `minKernel` that is no `<version>.<major revision>`.
    #[error("the seccomp profile has an invalid minKernel '{text}': expected two numbers, like 5.15")]
    BadKernelVersion {
        /// As the file has it.
        text: String,
    },
}

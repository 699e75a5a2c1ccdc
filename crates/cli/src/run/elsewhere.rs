//! Flags of Docker's that can have no meaning here, and what to do instead: who types one is told that, not that it is
//! unknown.

/// Why a flag is not there, and what is in its place; of `run` and `create`.
pub(crate) fn told(verb: &str, flag: &str) -> Option<(&'static str, &'static str)> {
    let is_of_containers = matches!(verb, "run" | "create");
    match flag {
        "runtime" if is_of_containers => Some((
            "this is the runtime itself, in place of runc, and starts its containers by no other",
            "leave it out; Docker and Podman can have this one beside others, as mycontainer-runtime",
        )),
        "storage-opt" if is_of_containers => Some((
            "layers are directories of one file system, and nothing limits the size of one",
            "--read-only with --tmpfs PATH:size=SIZE limits what it can write, as does -v of a file system of that size",
        )),
        _ => None,
    }
}

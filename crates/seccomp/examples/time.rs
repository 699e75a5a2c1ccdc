//! What a filter costs before it is loaded: `cargo run --release -p mycontainer-seccomp --example time`.
//!
//! Docker's section as JSON is parsed and compiled, then hashed and read from a cache in a temporary directory. Medians.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use oci_spec::runtime::{Capability, LinuxSeccomp};
use seccomp::cache::Cache;
use seccomp::interpret::longest_path;
use seccomp::{Arch, compile, default_profile};

fn median(mut act: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..1001)
        .map(|_| {
            let from = Instant::now();
            act();
            from.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let arch = Arch::native().expect("an architecture with filters");
    let section = default_profile(&HashSet::from([Capability::SysChroot]), (6, 1), arch);
    let json = serde_json::to_vec(&section).expect("a section is JSON");
    let program = compile(&section, arch).expect("Docker's profile compiles");
    let longest = longest_path(&program.instructions).expect("a valid program");
    println!("{} bytes of JSON, {} instructions, longest path {longest}", json.len(), program.instructions.len());

    let parse = || serde_json::from_slice::<LinuxSeccomp>(&json).expect("it was written here");
    println!("parse            {:?}", median(|| drop(parse())));
    println!("compile          {:?}", median(|| drop(compile(&section, arch))));
    println!("parse + compile  {:?}", median(|| drop(compile(&parse(), arch))));

    let directory = std::env::temp_dir().join(format!("seccomp-time-{}", std::process::id()));
    let cached = || {
        let cache = Cache::open(&directory).expect("the temporary directory is to be trusted");
        cache.program(&json, arch, || compile(&parse(), arch)).expect("it compiles")
    };
    assert_eq!(cached(), program);
    println!("open + hash + read {:?}", median(|| drop(cached())));
    let _ = std::fs::remove_dir_all(directory);
}

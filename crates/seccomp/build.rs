//! Names this compiler by its own sources, for the cache of compiled programs: another compiler has other names.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=src");
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate's directory");
    let listed = std::fs::read_dir(PathBuf::from(root).join("src")).expect("src can be listed");
    let mut sources: Vec<PathBuf> = listed.map(|entry| entry.expect("src can be listed").path()).collect();
    sources.sort();
    let mut hasher = DefaultHasher::new();
    for source in &sources {
        source.file_name().hash(&mut hasher);
        std::fs::read(source).expect("a source can be read").hash(&mut hasher);
    }
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo names the version");
    println!("cargo::rustc-env=SECCOMP_COMPILER={version}-{:016x}", hasher.finish());
}

//! Tells the linker of the static binary where a start's functions lie: start.ld says why.

fn main() {
    println!("cargo:rerun-if-changed=start.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    // A script that adds to the linker's own, as GNU ld and lld have it.
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "musl") {
        let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{dir}/start.ld");
    }
}

//! Runs the bundle in a directory, waits for its end and removes it: the library without the command line.
//!
//! `cargo run -p mycontainer-runtime --example run_bundle -- DIRECTORY` as root. The directory holds `rootfs` and a
//! `config.json` without a terminal.

use runtime::{Error, Launch, Runtime};

fn main() -> Result<(), Error> {
    let bundle = std::env::args_os().nth(1).unwrap_or_else(|| ".".into()).into();
    let runtime = Runtime::new("/run/mycontainer-example");
    let running = runtime.run("hello", &Launch { bundle, ..Launch::default() })?;
    let exit = running.process().wait()?;
    for note in running.delete()? {
        eprintln!("{note}");
    }
    std::process::exit(exit.shell_status())
}

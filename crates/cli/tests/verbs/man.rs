//! `generate man`: pages that groff has nothing to say against, and that show what the help does.

use crate::common::{Scratch, stderr, stdout, tool};
use crate::fixtures::has;
use std::process::Command;

#[test]
fn groff_understands_every_page() {
    if !has("groff_understands_every_page", &["groff"]) {
        return;
    }
    let scratch = Scratch::new("man");
    let dir = scratch.path("man1");
    let made = Command::new(tool()).args(["generate", "man", &dir]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let listed = stdout(&made);
    let mut pages: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|page| page.unwrap().path().display().to_string()).collect();
    assert_eq!(listed.lines().count(), pages.len());
    pages.sort();
    for page in &pages {
        let read = Command::new("groff").args(["-man", "-ww", "-Tascii", "-P-c", page]).output().unwrap();
        assert!(read.status.success() && read.stderr.is_empty(), "{page}: {}", stderr(&read));
    }
    let run = Command::new("groff")
        .args(["-man", "-Tascii", "-P-cbou", &format!("{dir}/mycontainer-run.1")])
        .output()
        .unwrap();
    let text = stdout(&run);
    for part in ["mycontainer-run - Run a command in a new container", "-m, --memory SIZE", "127 when it is not there"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let failed = Command::new(tool()).args(["generate", "man", "/dev/null/x"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
}

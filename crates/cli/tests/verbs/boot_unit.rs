//! contrib/mycontainer-boot.service: systemd itself has nothing to say against it.

use crate::common::{Scratch, stderr, tool};
use crate::fixtures::has;
use std::process::Command;

#[test]
fn systemd_understands_the_unit() {
    if !has("systemd_understands_the_unit", &["systemd-analyze"]) {
        return;
    }
    let unit = include_str!("../../../../contrib/mycontainer-boot.service");
    assert!(unit.contains("ExecStart=-/usr/local/bin/mycontainer system boot\n"));
    let scratch = Scratch::new("unit");
    let verify = |text: &str| {
        let path = scratch.file("mycontainer-boot.service", text, 0o644);
        Command::new("systemd-analyze").args(["verify", "--man=no", &path]).output().unwrap()
    };
    let good = verify(&unit.replace("/usr/local/bin/mycontainer", tool()));
    assert!(good.status.success() && !stderr(&good).contains("mycontainer-boot"), "{}", stderr(&good));
    let bad = verify(&unit.replace("Type=oneshot", "Type=nothing"));
    assert!(stderr(&bad).contains("mycontainer-boot"), "{}", stderr(&bad));
}

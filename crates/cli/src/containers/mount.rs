//! `mount` and `unmount`: the root of a container at a path of the host.

use super::meant::Meant;
use crate::images::{for_each, say};
use crate::report::Failure;
use crate::verb::{About, Group, Verb, latest, switch};
use engine::containers::{Listed, mount, mounted, unmount};
use std::process::ExitCode;

/// `mycontainer mount`.
pub(crate) static MOUNT: Verb<Meant> = Verb {
    about: About {
        also: &["container mount"],
        intro: "Mounts the root of a container and says where: to look into it, or to change it, whether it runs or not.\n\
                It stays until `unmount`, or until the container is removed. Without a CONTAINER it lists those that are\n\
                mounted. Without root a mount is seen only by programs of `mycontainer unshare`.",
        example: "mount NAME",
        ..About::new("mount", "[CONTAINER...]", "Mount the roots of containers, or list those that are mounted")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[latest(), switch("all", Some('a'), "Every container", |r: &mut Meant| &mut r.all)],
    }],
    act: |meant, words| {
        if words.is_empty() && !meant.all {
            return list();
        }
        let one = |word: &str| {
            let path = mount(word)?;
            say(&path.display().to_string());
            Ok(())
        };
        Ok(for_each(&meant.words(&MOUNT.about, words, |_: &Listed| true)?, one))
    },
};

/// `mycontainer unmount`.
pub(crate) static UNMOUNT: Verb<Meant> = Verb {
    about: About {
        also: &["umount", "container unmount", "container umount"],
        example: "unmount NAME",
        ..About::new("unmount", "[CONTAINER...]", "Unmount the roots of containers")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[latest(), switch("all", Some('a'), "Every container", |r: &mut Meant| &mut r.all)],
    }],
    act: |meant, words| {
        let one = |word: &str| {
            unmount(word)?;
            say(word);
            Ok(())
        };
        Ok(for_each(&meant.words(&UNMOUNT.about, words, |_: &Listed| true)?, one))
    },
};

fn list() -> Result<ExitCode, Failure> {
    for one in mounted()? {
        say(&format!("{} {}", one.name, one.path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

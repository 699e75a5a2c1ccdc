//! `system check`: whether what is on disk is what it should be.

use super::say;
use crate::report::Failure;
use crate::table::size;
use crate::verb::{About, Group, Verb, switch};
use engine::images;
use image::{Damage, Examine, Repair};
use std::process::ExitCode;

/// `mycontainer system check`.
pub(crate) static CHECK: Verb<Examine> = Verb {
    about: About {
        intro: "Holds every layer, manifest and configuration that an image or a container needs against its digest, and what\n\
                was made of the layers against what is made of them anew. The exit code is 1 when something is damaged and\n\
                stays so.",
        outro: "It needs as much room on the disk as the largest layer. --repair makes damaged layers anew of what was\n\
                fetched, and removes what was fetched and is damaged: `pull` brings it again, and layers that are there are\n\
                not fetched twice. Containers that run keep what they have until they are started again.",
        ..About::new("system check", "", "Look for damage in the store of images, and repair it")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("quick", Some('q'), "Look only whether all is there, in its full length", |r: &mut Examine| {
                &mut r.quick
            }),
            switch("repair", Some('r'), "Mend or remove what is damaged", |r| &mut r.repair),
        ],
    }],
    act: |order, _| check(order),
};

fn check(order: Examine) -> Result<ExitCode, Failure> {
    let (mut found, mut left) = (0, 0);
    let examined = images::check(&images::store()?, order, &mut |damage| {
        found += 1;
        left += usize::from(damage.repair == Repair::None);
        say(&told(&damage));
    })?;
    say(&format!(
        "Checked {}: {} of {}, {} ready to be mounted; {found} damaged, {} repaired",
        count(examined.images, "image"),
        count(examined.blobs, "layer"),
        size(examined.bytes),
        examined.trees,
        found - left,
    ));
    if left == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!("the store of images is damaged in {}", count(left, "place"))).hint(if order.repair {
        "`pull` these images again, or remove them with `rmi`"
    } else {
        "`system check --repair` mends what can be mended"
    }))
}

fn told(damage: &Damage) -> String {
    let Damage { what, why, of, .. } = damage;
    let became = match damage.repair {
        Repair::None => "",
        Repair::Made => ": made anew",
        Repair::Removed => ": removed, to be pulled again",
    };
    format!("{what} ({of}): {why}{became}")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

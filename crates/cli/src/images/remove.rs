//! `rmi`: an image is removed, or loses a name.

use super::{for_each, say};
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, switch};
use engine::images;
use image::Removed;

#[derive(Debug, Default)]
pub(crate) struct Request {
    force: bool,
}

/// `mycontainer rmi`.
pub(crate) static RMI: Verb<Request> = Verb {
    about: About {
        also: &["image rm", "image remove"],
        outro: "A name is taken from its image; the image goes with its last name, and with it the layers that no other image\n\
                and no container needs.",
        example: "rmi alpine",
        ..About::new("rmi", "IMAGE [IMAGE...]", "Remove images")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[switch("force", Some('f'), "Remove it with all its names; that it is not there is no failure", |r| {
            &mut r.force
        })],
    }],
    act: |request, words| {
        let store = images::store()?;
        Ok(for_each(&words, |words| remove(&store, words, request.force)))
    },
};

fn remove(store: &image::Images, words: &str, force: bool) -> Result<(), Failure> {
    match images::remove(store, words, force) {
        Ok(removed) => removed.iter().for_each(|removed| say(&told(removed, ["Untagged", "Deleted"]))),
        Err(error @ engine::Error::Image(image::Error::NoSuchImage { .. })) if force => {
            report::note(&error.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// As Docker prints it.
pub(super) fn told(removed: &Removed, [untagged, deleted]: [&str; 2]) -> String {
    match removed {
        Removed::Untagged(name) => {
            let familiar = images::reference(name).map_or_else(|_| name.clone(), |name| name.familiar());
            format!("{untagged}: {}", crate::table::harmless(&familiar))
        }
        Removed::Deleted(id) => format!("{deleted}: {id}"),
    }
}

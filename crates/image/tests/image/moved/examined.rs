//! The store held against itself, and what is needed while nothing names it.

use super::*;
use image::{Damage, Examine, Images, Order, Repair};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const NAME: &str = "localhost/a:1";

/// A layout with an image of two layers, and a store beside it that has it.
struct Stored {
    scratch: Scratch,
    made: Made,
    manifest: Descriptor,
    layers: [Vec<u8>; 2],
}

impl Stored {
    fn new() -> Stored {
        let scratch = Scratch::new();
        let layers = [layer("one", &[b'1'; 9000]), layer("two", &[b'2'; 9000])];
        let mut made = Made::default();
        let manifest = made.image(&registry::Platform::here().architecture, &[&layers[0], &layers[1]]);
        made.name(&manifest, "one");
        made.write(&scratch.0.join("layout"));
        let stored = Stored { scratch, made, manifest, layers };
        stored.receive();
        stored
    }

    fn images(&self) -> Images {
        Images::open(&self.scratch.0.join("data")).unwrap()
    }

    fn receive(&self) {
        let found = image_in(&self.scratch, "layout", None);
        let platform = registry::Platform::here();
        let order = Order { platform: &platform, names: &[NAME.into()], repository: None, events: &image::Silent };
        self.images().receive(&*found.source, &order).unwrap();
    }

    fn examine(&self, quick: bool, repair: bool) -> Vec<Damage> {
        let mut found = Vec::new();
        let images = self.images();
        let examined = images.examine(Examine { quick, repair }, &[], &mut |damage| found.push(damage)).unwrap();
        assert_eq!(examined.images, 1);
        found
    }

    fn path(&self, name: &str) -> PathBuf {
        let first = Digest::of(&self.layers[0]);
        self.scratch.0.join("data/images").join(match name {
            "blob" => format!("blobs/sha256/{}", first.hex()),
            "layer" => format!("layers/{}.erofs", first.hex()),
            "manifest" => format!("blobs/sha256/{}", self.manifest.digest.hex()),
            "config" => self.made.blobs.iter().map(|(name, _)| name.clone()).next().unwrap(),
            _ => {
                let merged = std::fs::read_dir(self.scratch.0.join("data/images/merged")).unwrap().next();
                format!("merged/{}", merged.unwrap().unwrap().file_name().to_str().unwrap())
            }
        })
    }

    fn harm(&self, name: &str, how: Harm) {
        let path = self.path(name);
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        match how {
            // In a layer that is content; in what is merged, an inode.
            Harm::Flip => {
                let at = if length > 4096 { 4096 + 100 } else { length / 2 };
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            }
            Harm::Cut => file.set_len(length / 2).unwrap(),
            Harm::Remove => std::fs::remove_file(&path).unwrap(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Flip,
    Cut,
    Remove,
}

#[test]
fn what_is_damaged_is_found_and_mended() {
    use Harm::{Cut, Flip, Remove};
    use Repair::{Made as Anew, None as Nothing, Removed};
    // What is harmed and how; whether a quick look finds it; what is told of it, and what becomes of it; whether it takes
    // another pull.
    for (name, how, quick, what, why, repair, pull) in [
        ("layer", Flip, false, "the layer sha256:", "not what its blob makes", Anew, false),
        ("layer", Cut, true, "the layer sha256:", "it is cut short", Anew, false),
        ("merged", Flip, false, "the merged layers merged/", "not what its blob makes", Anew, false),
        ("merged", Cut, true, "the merged layers merged/", "it is cut short", Anew, false),
        ("blob", Flip, false, "the blob sha256:", "does not have the digest", Removed, true),
        ("blob", Cut, true, "the blob sha256:", "bytes in place of", Removed, true),
        ("blob", Remove, true, "the blob sha256:", "it is not there", Nothing, true),
        ("manifest", Flip, true, "the image sha256:", "is damaged", Removed, true),
        ("config", Flip, true, "the image sha256:", "is damaged", Removed, true),
        ("config", Remove, true, "the image sha256:", "No such file", Removed, true),
    ] {
        let stored = Stored::new();
        assert_eq!((stored.examine(false, false), stored.examine(true, true)), (vec![], vec![]));
        stored.harm(name, how);
        let case = format!("{name} {how:?}");
        assert_eq!(!stored.examine(true, false).is_empty(), quick, "{case}");
        let right = |found: &[Damage], became| {
            let [damage] = found else { panic!("{case}: {found:?}") };
            assert!(damage.what.starts_with(what) && damage.why.contains(why), "{case}: {damage:?}");
            assert_eq!((damage.of.as_str(), damage.repair), (NAME, became), "{case}");
        };
        right(&stored.examine(false, false), Nothing);
        right(&stored.examine(false, true), repair);
        if pull {
            stored.receive();
        }
        assert_eq!(stored.examine(false, false), vec![], "{case}");
        let left = std::fs::read_dir(stored.scratch.0.join("data/images/new")).unwrap().count();
        assert_eq!(left, 0, "{case}");
    }
}

#[test]
fn a_layer_without_its_blob_goes() {
    let stored = Stored::new();
    stored.harm("blob", Harm::Flip);
    stored.harm("layer", Harm::Cut);
    let repaired: Vec<Repair> = stored.examine(false, true).iter().map(|damage| damage.repair).collect();
    assert_eq!(repaired, [Repair::Removed; 2]);
    stored.receive();
    assert_eq!(stored.examine(false, false), vec![]);
}

/// Another layer's damage does not make what is merged of it look damaged.
#[test]
fn one_flipped_byte_is_told_once() {
    let stored = Stored::new();
    // In the inodes of the layer, from which what is merged is made.
    let path = stored.path("layer");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&[0x55; 8], length - 4096 + 24).unwrap();
    assert_eq!(stored.examine(false, false).len(), 1);
    assert_eq!(stored.examine(false, true).len(), 1);
    assert_eq!(stored.examine(false, false), vec![]);
}

#[test]
fn what_is_held_stays_until_the_store_is_closed() {
    for holds in [true, false] {
        let stored = Stored::new();
        let (images, other) = (stored.images(), stored.images());
        let found = image_in(&stored.scratch, "layout", None);
        let platform = registry::Platform::here();
        let order = Order { platform: &platform, names: &[], repository: None, events: &image::Silent };
        let received = match holds {
            true => images.receive_and_hold(&*found.source, &order).unwrap(),
            false => images.receive(&*found.source, &order).unwrap(),
        };
        // As `prune` does, with no container known.
        other.remove(received.manifest.as_str(), true, &|_| None).unwrap();
        other.collect(&Vec::new, true, None).unwrap();
        assert_eq!(stored.path("layer").exists(), holds);
        assert_eq!(images.of_manifest(&received.manifest).is_ok(), holds);
        drop(images);
        other.collect(&Vec::new, true, None).unwrap();
        assert!(!stored.path("layer").exists() && !stored.path("blob").exists());
        let leases = std::fs::read_dir(stored.scratch.0.join("data/images/leases")).unwrap().count();
        assert_eq!(leases, 0);
    }
}

//! Moves an image or tars a tree, to be timed: `move_image layout|oci|docker FROM NAME TO`, `move_image export DIR`.

use image::archive::{AS_ON_DISK, DockerArchive, LayoutSink, OciArchive, Platforms, copy, export_tree, open, pick};
use rustix::fd::AsFd;
use std::fs::File;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let scratch = std::env::temp_dir();
    let found = |from: &str, name: &str| pick(open(Path::new(from), &scratch)?, Some(name), from);
    match words[..] {
        ["export", dir] => export_tree(File::open(dir)?.as_fd(), AS_ON_DISK, &mut std::io::stdout().lock())?,
        ["layout", from, name, to] => {
            let sink = LayoutSink::open(Path::new(to), Some(name))?;
            copy(&*found(from, name)?.source, &sink, &Platforms::All, &image::Silent).map(drop)?;
        }
        ["oci", from, name, to] => {
            let archive = OciArchive::new(Box::new(File::create(to)?), to);
            copy(&*found(from, name)?.source, &*archive.image(&[name.into()]), &Platforms::All, &image::Silent)?;
            archive.finish().map(drop)?;
        }
        ["docker", from, name, to] => {
            let archive = DockerArchive::new(Box::new(File::create(to)?), to, &scratch);
            copy(&*found(from, name)?.source, &*archive.image(&[name.into()]), &Platforms::All, &image::Silent)?;
            archive.finish().map(drop)?;
        }
        _ => return Err("see the source".into()),
    }
    Ok(())
}

//! `layer IMAGE [MERGED] < TAR`: writes a layer's image, and one that is merged of it alone; says how long each took.

use image::erofs::{Limits, merge, write_layer};
use std::fs::File;
use std::time::Instant;

fn main() {
    let mut paths = std::env::args_os().skip(1);
    let create = |path| File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    let out = create(paths.next().expect("usage: layer IMAGE [MERGED] < TAR"));
    let tar = std::io::BufReader::with_capacity(256 << 10, std::io::stdin().lock());
    let start = Instant::now();
    match write_layer(tar, &out, &Limits::default()) {
        Ok(layer) => println!("{layer:?} in {:?}", start.elapsed()),
        Err(fault) => return println!("{fault}"),
    }
    if let Some(merged) = paths.next().map(create) {
        let start = Instant::now();
        merge(&[&out], &merged).unwrap();
        println!("merged: {} bytes in {:?}", merged.metadata().unwrap().len(), start.elapsed());
    }
}

//! `layer IMAGE < TAR`: writes one layer's image and says how long it took.

fn main() {
    let path = std::env::args_os().nth(1).expect("usage: layer IMAGE < TAR");
    let out = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    let tar = std::io::BufReader::with_capacity(256 << 10, std::io::stdin().lock());
    let start = std::time::Instant::now();
    match image::erofs::write_layer(tar, &out, &image::erofs::Limits::default()) {
        Ok(layer) => println!("{layer:?} in {:?}", start.elapsed()),
        Err(fault) => println!("{fault}"),
    }
}

//! How fast a blob comes: `speed HOST/NAME@DIGEST SIZE [TIMES]`. Its bytes are counted and left.

use registry::{Access, Descriptor, Environment, Reference, Registries};
use std::io::Read;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, size, ..] = arguments.as_slice() else { return Err("speed HOST/NAME@DIGEST SIZE [TIMES]".into()) };
    let reference = Reference::parse(name)?;
    let digest = reference.digest().ok_or("no digest")?.clone();
    let descriptor = Descriptor::new("", digest, size.parse()?);
    let times = arguments.get(2).map_or(Ok(1), |times| times.parse())?;
    let remote = Registries::load(Environment::of_process())?.open(&reference, Access::Pull)?;
    let mut buffer = vec![0; 256 << 10];
    for _ in 0..times {
        let before = Instant::now();
        let mut reader = remote.blob(&descriptor, 0)?;
        let mut total = 0;
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                got => total += got,
            }
        }
        let seconds = before.elapsed().as_secs_f64();
        println!("{total} bytes in {:.1} ms: {:.0} MB/s", seconds * 1e3, total as f64 / seconds / 1e6);
    }
    Ok(())
}

//! One stage of a pull alone, and nothing else: what no pull can be faster than, whoever writes it.
//!
//! ```text
//! mycontainer-bench stage read ADDRESS PATH...           a registry's blobs over HTTP, to nowhere
//! mycontainer-bench stage decompress THREADS FILE...     with the libraries that our tool uses, to nowhere
//! mycontainer-bench stage write FILE SIZE                one new file, and fdatasync
//! ```

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

const BUFFER: usize = 256 << 10;

/// Runs a stage.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["read", address, ref paths @ ..] => paths.iter().try_for_each(|path| read(address, path)),
        ["decompress", threads, ref files @ ..] => decompress(threads.parse()?, files),
        ["write", file, size] => write(file, size.parse()?),
        _ => bail!("there is no such stage"),
    }
}

fn read(address: &str, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).context("cannot connect to the registry")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let (mut line, mut size) = (String::new(), None);
    stream.read_line(&mut line)?;
    if line.split(' ').nth(1) != Some("200") {
        bail!("{path}: {}", line.trim());
    }
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            size = value.trim().parse::<u64>().ok();
        }
    }
    let came = drain(&mut stream)?;
    if Some(came) != size {
        bail!("{path}: {came} bytes came of {size:?}");
    }
    Ok(())
}

/// So many threads, each of which takes the next file when it is done with one: a file is one stream.
fn decompress(threads: usize, files: &[&str]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let input = BufReader::with_capacity(BUFFER, File::open(file).with_context(|| (*file).to_owned())?);
            if file.ends_with("zstd") {
                drain(&mut zstd::stream::read::Decoder::with_buffer(input)?)?;
            } else {
                drain(&mut flate2::bufread::GzDecoder::new(input))?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

fn write(file: &str, size: u64) -> Result<()> {
    let mut out = File::create_new(file).with_context(|| file.to_owned())?;
    let block: Vec<u8> = (0..BUFFER).map(|n| (n % 251) as u8).collect();
    let mut left = size;
    while left > 0 {
        let now = left.min(BUFFER as u64);
        out.write_all(&block[..now as usize])?;
        left -= now;
    }
    Ok(out.sync_data()?)
}

/// Reads to the end: how many bytes there were.
fn drain(from: &mut dyn Read) -> Result<u64> {
    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(total),
            read => total += read as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::Scratch;
    use std::net::TcpListener;

    fn stage(words: &[&str]) -> Result<()> {
        run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_stage_does_its_part() {
        let scratch =
            Scratch::at(std::env::temp_dir().join(format!("mycontainer-stage-{}", std::process::id()))).unwrap();
        let [file, gzip, zstd] = ["file", "a.gzip", "a.zstd"].map(|name| scratch.path(name).display().to_string());
        stage(&["write", &file, "300000"]).unwrap();
        let written = std::fs::read(&file).unwrap();
        assert_eq!(written.len(), 300_000);
        assert!(stage(&["write", &file, "1"]).is_err(), "it must be a new file");

        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&written).unwrap();
        let packed = packed.finish().unwrap();
        std::fs::write(&gzip, &packed).unwrap();
        std::fs::write(&zstd, zstd::encode_all(&written[..], 1).unwrap()).unwrap();
        stage(&["decompress", "2", &gzip, &zstd]).unwrap();
        std::fs::write(&gzip, &packed[..packed.len() - 9]).unwrap();
        assert!(stage(&["decompress", "1", &gzip]).is_err(), "a cut file");
    }

    #[test]
    fn what_a_registry_sends_must_be_whole() {
        for (answer, good) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n12345", false),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n12345", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(stage(&["read", &address, "/blob"]).is_ok(), good, "{answer}");
            server.join().unwrap();
        }
    }
}

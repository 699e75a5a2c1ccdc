//! An image as `docker save` writes it, which all of us load: the root in its lowest layer, and above it layers of a
//! file each.

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes one of so many layers that is called `name`; `dir` is for it and its parts.
pub(crate) fn write(dir: &Path, root_tar: &Path, name: &str, layers: usize) -> Result<PathBuf> {
    let parts = dir.join(format!("parts-{layers}"));
    fs::create_dir_all(&parts).context("cannot make a directory for layers")?;
    fs::copy(root_tar, parts.join("0.tar")).context("cannot copy the lowest layer")?;
    for layer in 1..layers {
        let file = format!("file-{layer}");
        fs::write(parts.join(&file), &file)?;
        tar(&parts.join(format!("{layer}.tar")), &parts, &[file])?;
    }
    let files: Vec<String> = (0..layers).map(|layer| format!("{layer}.tar")).collect();
    let mut ids = Vec::new();
    for file in &files {
        let mut id = "sha256:".to_owned();
        for byte in Sha256::digest(fs::read(parts.join(file))?) {
            let _ = write!(id, "{byte:02x}");
        }
        ids.push(id);
    }
    let machine = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": machine, "os": "linux", "config": { "Cmd": ["/bin/true"] },
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    fs::write(parts.join("config.json"), config.to_string())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": files }]);
    fs::write(parts.join("manifest.json"), manifest.to_string())?;
    let archive = dir.join(format!("image-{layers}.tar"));
    let all = ["manifest.json", "config.json"].map(str::to_owned).into_iter().chain(files);
    tar(&archive, &parts, &all.collect::<Vec<_>>())?;
    Ok(archive)
}

fn tar(to: &Path, dir: &Path, files: &[String]) -> Result<()> {
    let mut command = Command::new("tar");
    command.arg("-cf").arg(to).arg("-C").arg(dir).args(["--owner=0", "--group=0"]).args(files);
    let status = command.status().context("cannot run tar")?;
    if status.success() { Ok(()) } else { bail!("tar: {status}") }
}

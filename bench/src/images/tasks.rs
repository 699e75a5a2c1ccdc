//! Who moves which image how: each a whole command as a person types it.
//!
//! A pull begins with nothing: whatever any tool has kept is removed before, and what is still to be written to disk is
//! written, both untimed. Its image is then removed by the same tool, which is timed too.

use super::docker::Docker;
use super::layers::{Cache, Image};
use crate::contenders::which;
use crate::worker::{View, myself};
use anyhow::Result;
use std::collections::HashMap;
use std::path::PathBuf;

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// This project's tool.
    Ours,
    /// The same with MYCONTAINER_LAYERS=directories.
    Directories,
    /// Another tool: its name, and how it does something else.
    Peer(&'static str, &'static str),
    /// A stage alone.
    Stage(&'static str),
}

/// Commands that belong together, in their order.
#[derive(Debug)]
pub(crate) struct Task {
    /// Where they run.
    pub(crate) view: View,
    /// They.
    pub(crate) parts: Vec<Part>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The table that it stands in.
    pub(crate) group: String,
    /// Its line.
    pub(crate) who: Who,
    /// A shell script before it, untimed.
    pub(crate) setup: String,
    /// The command.
    pub(crate) argv: Vec<String>,
    /// Whether its tools are installed.
    pub(crate) is_there: bool,
}

/// What the commands need to know.
pub(crate) struct Site<'a> {
    /// The images.
    pub(crate) cache: &'a Cache,
    /// The tool to time.
    pub(crate) tool: String,
    /// The registry that has them: `127.0.0.1:PORT`.
    pub(crate) source: &'a str,
    /// The registry that is pushed to.
    pub(crate) sink: &'a str,
    /// Its storage.
    pub(crate) sink_storage: PathBuf,
    /// The cold place and the warm one.
    pub(crate) cold: PathBuf,
    /// (The warm one.)
    pub(crate) warm: PathBuf,
    /// The private daemon.
    pub(crate) docker: Option<&'a Docker>,
    /// What our store's files of an image come to, by how many layers it has.
    pub(crate) stored: HashMap<usize, u64>,
}

impl Who {
    /// What the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Ours => "mycontainer",
            Who::Directories => "mycontainer, directories",
            Who::Peer(name, _) | Who::Stage(name) => name,
        }
    }

    /// How it does something else, if it does.
    pub(crate) fn differs(self) -> &'static str {
        if let Who::Peer(_, differs) = self { differs } else { "" }
    }
}

impl Site<'_> {
    /// All of them.
    pub(crate) fn tasks(&self) -> Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for image in self.cache.debian() {
            tasks.extend(self.pulls(image));
            tasks.extend(self.stages(image)?);
        }
        for image in self.cache.debian().filter(|image| image.tag.ends_with("gzip")) {
            tasks.extend(self.pushes(image));
            tasks.extend(self.copies(image));
        }
        Ok(tasks)
    }

    /// The words with which our tool pulls.
    pub(crate) fn pull(&self, image: &Image) -> Vec<String> {
        words(&[&self.tool, "pull", "--quiet", &format!("{}/{}", self.source, image.name())])
    }

    /// The script that leaves nothing of any tool in the cold place.
    pub(crate) fn chill(&self) -> String {
        let work = self.cold.join("work").display().to_string();
        format!(
            "umount -l '{work}/podman/overlay' 2>/dev/null || :
            rm -rf --one-file-system /var/lib/* /run/containers /run/libpod /run/podman '{work}'
            mkdir '{work}'; sync"
        )
    }

    fn pulls(&self, image: &Image) -> Vec<Task> {
        let group = format!("pull {}", image.tag);
        let name = format!("{}/{}", self.source, image.name());
        let work = self.cold.join("work").display().to_string();
        let part = |who, argv: Vec<String>| Part {
            group: group.clone(),
            who,
            setup: self.chill(),
            is_there: which(&argv[0]).is_some(),
            argv,
        };
        let rmi = |pull: &Part, argv: Vec<String>| Part {
            group: format!("rmi {}", image.tag),
            setup: "sync".to_owned(),
            argv,
            ..pull.clone()
        };

        let mut tasks = Vec::new();
        for (who, before) in [(Who::Ours, &[][..]), (Who::Directories, &["env", "MYCONTAINER_LAYERS=directories"])] {
            let pull = part(who, [words(before), self.pull(image)].concat());
            let rmi = rmi(&pull, words(&[&self.tool, "rmi", &name]));
            tasks.push(Task { view: View::Cold, parts: vec![pull, rmi] });
        }

        let root = format!("{work}/podman");
        // podman takes no path of more than 50 characters for the second.
        let podman = ["podman", "--root", &root, "--runroot", "/run/podman", "--cgroup-manager", "cgroupfs"];
        let podman = [&podman[..], &["--events-backend", "none"]].concat();
        let pull = [&podman[..], &["pull", "--quiet", "--tls-verify=false", &name]].concat();
        let pull = part(Who::Peer("podman", ""), words(&pull));
        let rmi_of_podman = rmi(&pull, words(&[&podman[..], &["rmi", &name]].concat()));
        tasks.push(Task { view: View::Cold, parts: vec![pull, rmi_of_podman] });

        let script = format!(
            "skopeo --insecure-policy copy --quiet --src-tls-verify=false docker://{name} oci:'{work}/oci':it &&
            umoci unpack --image '{work}/oci':it '{work}/bundle'"
        );
        let unpack = part(Who::Peer("skopeo and umoci", "no layers"), words(&["sh", "-c", &script]));
        let is_there = which("skopeo").is_some() && which("umoci").is_some();
        tasks.push(Task { view: View::Cold, parts: vec![Part { is_there, ..unpack }] });

        if let Some(docker) = self.docker {
            let mut pull = part(
                Who::Peer("docker", "its daemon's memory is not counted"),
                docker.words(&["pull", "--quiet", &name]),
            );
            let rmi_words = docker.words(&["rmi", "--force", &name]);
            pull.setup += &format!("\n{} >/dev/null 2>&1 || :; sync", rmi_words.join(" "));
            let rmi = rmi(&pull, rmi_words);
            tasks.push(Task { view: View::Cold, parts: vec![pull, rmi] });
        }
        tasks
    }

    /// Each stage of a pull, alone.
    fn stages(&self, image: &Image) -> Result<Vec<Task>> {
        let myself = myself()?.to_string_lossy().into_owned();
        let file = self.cold.join("work/one-file").display().to_string();
        let stage = |name, stage: &[&str], more: Vec<String>| Task {
            view: View::Cold,
            parts: vec![Part {
                group: format!("pull {}", image.tag),
                who: Who::Stage(name),
                setup: format!("rm -f '{file}'; sync"),
                argv: [words(&[&myself, "stage"]), words(stage), more].concat(),
                is_there: true,
            }],
        };
        let blobs = image.layers.iter().map(|layer| format!("/v2/{}/blobs/{}", image.repository, layer.digest));
        let files = image.layers.iter().map(|layer| layer.file.to_string_lossy().into_owned());
        // A layer is one stream, which only one core can read.
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2);
        let threads = image.layers.len().min(cores);
        let of_archives = image.layers.iter().map(|layer| layer.unpacked).sum();
        let size = self.stored.get(&image.layers.len()).copied().unwrap_or(of_archives);
        let decompress = if threads > 1 { "decompress alone, on two cores" } else { "decompress alone, on one core" };
        Ok(vec![
            stage("read alone", &["read", self.source], blobs.collect()),
            stage(decompress, &["decompress", &threads.to_string()], files.collect()),
            stage("write one file alone", &["write", &file, &size.to_string()], Vec::new()),
        ])
    }

    fn pushes(&self, image: &Image) -> [Task; 2] {
        let [from, to] = [self.source, self.sink].map(|registry| format!("{registry}/{}", image.name()));
        let ours = words(&[&self.tool, "push", "--quiet", &from, &to]);
        let layout = format!("oci:{}:{}", self.cache.layout().display(), image.reference());
        let to = format!("docker://{to}");
        let skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", &layout, &to];
        let storage = self.sink_storage.display();
        let setup = format!("rm -rf --one-file-system '{storage}/docker' /var/lib/containers; sync");
        both(&format!("push {}", image.tag), &setup, ours, words(&skopeo))
    }

    fn copies(&self, image: &Image) -> Vec<Task> {
        let to = self.warm.join("work/copy");
        let setup = format!("rm -rf --one-file-system '{}' /var/lib/containers; sync", to.display());
        let to = format!("oci:{}:it", to.display());
        let mut tasks = Vec::new();
        for (words_of_it, from) in [
            ("oci: to oci:", format!("oci:{}:{}", self.cache.layout().display(), image.reference())),
            ("docker:// to oci:", format!("docker://{}/{}", self.source, image.name())),
        ] {
            let ours = words(&[&self.tool, "image", "copy", "--quiet", &from, &to]);
            let skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", &from, &to];
            let group = format!("copy {words_of_it} {}", image.tag);
            tasks.extend(both(&group, &setup, ours, words(&skopeo)));
        }
        tasks
    }
}

/// Ours and skopeo, doing the same.
fn both(group: &str, setup: &str, ours: Vec<String>, skopeo: Vec<String>) -> [Task; 2] {
    let part = |who, argv: Vec<String>| Part {
        group: group.to_owned(),
        who,
        setup: setup.to_owned(),
        is_there: which(&argv[0]).is_some(),
        argv,
    };
    let parts = [part(Who::Ours, ours), part(Who::Peer("skopeo", ""), skopeo)];
    parts.map(|part| Task { view: View::Warm, parts: vec![part] })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

//! Which containers a verb of many is for: those that words name, those of --cidfile, or all.

use crate::report::Failure;
use crate::verb::About;
use engine::containers::{self, Listed};
use std::path::PathBuf;

/// What the flags say of it.
#[derive(Debug, Default)]
pub(crate) struct Meant {
    /// `--all`.
    pub(super) all: bool,
    /// `--cidfile`: files with ids.
    pub(super) cidfiles: Vec<PathBuf>,
    /// `--ignore`: that there is no such container, or no such file, is no error.
    pub(super) ignore: bool,
}

impl Meant {
    /// What the containers are called; with `--all` those that `is_meant`.
    pub(super) fn words(
        &self,
        about: &About,
        mut words: Vec<String>,
        is_meant: fn(&Listed) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let name = about.name;
        if self.all {
            if !words.is_empty() || !self.cidfiles.is_empty() {
                let hint = format!("see `mycontainer help {name}`");
                return Err(Failure::misuse("--all is every container: name none beside it", hint));
            }
            let called = |one: Listed| one.name.unwrap_or(one.id);
            return Ok(containers::list(true)?.into_iter().filter(is_meant).map(called).collect());
        }
        if words.is_empty() && self.cidfiles.is_empty() {
            let hint = format!("try `mycontainer {}`, or see `mycontainer help {name}`", about.example);
            return Err(Failure::misuse(format!("{name} needs CONTAINER [CONTAINER...], or --all"), hint));
        }
        for path in &self.cidfiles {
            match std::fs::read_to_string(path) {
                // The first line: what follows is nobody's.
                Ok(text) => words.push(text.lines().next().unwrap_or_default().trim().to_owned()),
                Err(error) if self.ignore && error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::new(format!("cannot read the id in {}: {error}", path.display()))),
            }
        }
        Ok(words)
    }
}

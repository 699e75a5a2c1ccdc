//! What `--change` of `commit` and `import` says: some of a Dockerfile's instructions.

use crate::config::RunConfig;

/// One change of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {}

/// Why some words are no change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadChange(String);

impl Change {
    /// Reads an instruction as Docker does: `CMD ["a", "b"]`, `ENV A=1 B="x y"`.
    pub fn parse(text: &str) -> Result<Change, BadChange> {
        todo!("{text}")
    }
}

/// Makes all changes, in order.
pub fn apply_changes(changes: &[Change], config: &mut RunConfig) -> Result<(), BadChange> {
    todo!("{changes:?} {config:?}")
}

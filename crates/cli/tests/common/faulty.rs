//! The binary that can be made to fail: built with the feature `fault-injection`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Its path: in MYCONTAINER_FAULT_BIN, else it is built here into target/fault.
pub fn fault_tool() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        if let Some(path) = std::env::var_os("MYCONTAINER_FAULT_BIN") {
            return path.into();
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let target = workspace.join("target/fault");
        let built = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", "mycontainer", "--features", "fault-injection", "--target-dir"])
            .arg(&target)
            .current_dir(workspace)
            .status()
            .unwrap();
        assert!(built.success());
        target.join("debug/mycontainer")
    })
}

//! Where things lie: the workspace, the recordings, the binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// The workspace root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The folder of recordings, where there is one: `$TRILOBITE_SHARED/conformance`, or
/// `../shared/conformance` beside the workspace.
#[must_use]
pub fn conformance() -> Option<PathBuf> {
    let shared = std::env::var_os("TRILOBITE_SHARED")
        .map_or_else(|| workspace().join("../shared"), PathBuf::from);
    let root = shared.join("conformance");
    root.is_dir().then(|| root.canonicalize().unwrap_or(root))
}

/// The binary under test: `$TRILOBITE_BIN` as it stands, or `trilobite` of the profile that this
/// program or test was built with, brought up to date once in a process.
///
/// # Errors
/// When it cannot be built.
pub fn built_binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build().map_err(|e| format!("{e:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRILOBITE_BIN") {
        return Ok(PathBuf::from(path));
    }
    // target/<profile>/compat-tests, or target/<profile>/deps/<test>-<hash>.
    let own = std::env::current_exe()?;
    let mut folder = own.parent().map(Path::to_path_buf).unwrap_or_default();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let binary = folder.join("trilobite");
    // The tests of the whole workspace have just built it, with other features of dependencies: not once more.
    if is_newer_than_sources(&binary) {
        return Ok(binary);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "trilobite",
        "--bin",
        "trilobite",
    ]);
    cargo.current_dir(workspace());
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    if let Some(target) = folder.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    let status = cargo
        .status()
        .context("cannot run cargo to build trilobite")?;
    if !status.success() {
        bail!("building trilobite failed");
    }
    Ok(binary)
}

/// Whether a file is newer than everything that the program is built from.
fn is_newer_than_sources(binary: &Path) -> bool {
    let Some(built) = modified(binary) else {
        return false;
    };
    let mut waiting = [
        "src",
        "storage",
        "promql",
        "logql",
        "Cargo.toml",
        "Cargo.lock",
    ]
    .map(|name| workspace().join(name))
    .to_vec();
    while let Some(path) = waiting.pop() {
        if modified(&path).is_none_or(|t| t >= built) {
            return false;
        }
        let inside = std::fs::read_dir(&path).into_iter().flatten().flatten();
        waiting.extend(inside.map(|entry| entry.path()));
    }
    true
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

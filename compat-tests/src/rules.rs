//! Unit tests of rules, run through the binary's own sub-command: a file passes where the genuine
//! tester passes it too, which it does with all files that are recorded.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::replay::Report;

/// Runs each file of unit tests of a folder; one that passes counts as equal.
///
/// # Errors
/// When the folder cannot be read, or the binary cannot be built or started.
pub fn unit_tests(folder: &Path, name: &str) -> Result<Option<Report>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.to_string_lossy().ends_with(".test.yml"));
    files.sort();
    if files.is_empty() {
        return Ok(None);
    }
    let binary = crate::paths::built_binary()?;
    let mut report = Report {
        file: name.to_owned(),
        ..Report::default()
    };
    for file in files {
        let output = std::process::Command::new(&binary)
            .args(["test", "rules"])
            .arg(&file)
            .output()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let id = file.file_name().unwrap_or_default().to_string_lossy();
        let problem = (!output.status.success()).then(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{}: {}", output.status, said.trim())
        });
        report.count(&id, problem);
    }
    Ok(Some(report))
}

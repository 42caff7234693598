//! What the disk below the storage folder has left.

use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that an ordinary user may still write.
///
/// # Errors
/// `Io`.
pub(crate) fn free_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).map_err(|e| Error::io(path)(e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

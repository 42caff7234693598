//! What can go wrong in storage, by what the caller can do about it.

use std::path::PathBuf;

/// An error of storage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for something that cannot be. The text says what.
    #[error("{0}")]
    BadInput(String),
    /// The memory budget is used up; try again later.
    #[error(
        "{what}: memory limit reached ({used_bytes} of {limit_bytes} bytes in use), try again later or raise --memory.limit"
    )]
    MemoryLimit {
        /// Who asked for more.
        what: &'static str,
        /// Bytes in use.
        used_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The disk's reserve is reached.
    #[error(
        "only {free_bytes} bytes are free below {path}, fewer than --storage.min-free asks for"
    )]
    DiskFull {
        /// The storage folder.
        path: PathBuf,
        /// Bytes left.
        free_bytes: u64,
    },
    /// Stored bytes are not what was written.
    #[error("{file} is corrupt at byte {offset}: {reason}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The folder or bucket belongs to somebody else or to a newer version.
    #[error("{0}")]
    NotOurs(String),
    /// A write to disk failed; nothing is acknowledged any more until the process is restarted.
    #[error("the write-ahead log failed ({0}); restart after mending the disk")]
    Poisoned(String),
    /// The storage is closed.
    #[error("storage is shutting down")]
    Closed,
    /// The bucket gave no answer. What lies on local disk is still taken and served; try again later.
    #[error("{bucket} cannot be reached: {reason}")]
    Unavailable {
        /// The bucket's URL.
        bucket: String,
        /// What went wrong last.
        reason: String,
    },
    /// The object store did not do what was asked.
    #[error("object store: {0}")]
    ObjectStore(#[from] object_store::Error),
    /// Parquet could not be read or written.
    #[error("parquet: {0}")]
    Parquet(parquet::errors::ParquetError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether what is stored could not be read, for reasons that are not the query's.
    pub(crate) const fn is_of_storage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::Unavailable { .. }
                | Self::ObjectStore(_)
                | Self::Parquet(_)
                | Self::Io { .. }
        )
    }

    /// Adds the file to what the system said.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl From<parquet::errors::ParquetError> for Error {
    /// An error of ours that went through Parquet's reader comes out as it went in.
    fn from(e: parquet::errors::ParquetError) -> Self {
        match e {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Parquet(parquet::errors::ParquetError::External(other)),
            },
            e => Self::Parquet(e),
        }
    }
}

impl From<crate::read::ReadError> for Error {
    fn from(e: crate::read::ReadError) -> Self {
        Self::Corrupt {
            file: e.0,
            offset: 0,
            reason: "unreadable".to_owned(),
        }
    }
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

//! Blocks: immutable folders of Parquet files on an object store, visible through their manifests.

mod manifest;

use std::ops::Range;

use bytes::Bytes;

use crate::error::Result;

pub use manifest::Manifest;

/// A visible block. Removal waits until nobody holds it.
#[derive(Debug)]
pub struct Block {
    manifest: Manifest,
}

impl Block {
    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Size of one of its files in bytes.
    ///
    /// # Errors
    /// `Corrupt` when the manifest does not list it.
    pub fn file_size(&self, _name: &str) -> Result<u64> {
        todo!()
    }

    /// A range of bytes of one of its files, through the cache.
    ///
    /// # Errors
    /// What the object store says, after retries.
    pub async fn read(&self, _name: &str, _range: Range<u64>) -> Result<Bytes> {
        todo!()
    }

    /// Several ranges of one of its files, adjacent ones fetched together.
    ///
    /// # Errors
    /// What the object store says, after retries.
    pub async fn read_ranges(&self, _name: &str, _ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        todo!()
    }
}

//! Brings a file of local disk into a bucket, and makes sure that it is there before anybody removes the original.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;

use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectStoreExt, PutPayload, WriteMultipart};
use tokio::io::AsyncReadExt;

use super::BlockStore;
use super::health::Operation;
use super::retry::Patience;
use crate::block::checksum::Summer;
use crate::block::manifest::ManifestFile;
use crate::error::{Error, Result};
use crate::generation::blocking;

/// Files up to this size go up in one request, larger ones in parts of it.
const PART_BYTES: u64 = 8 << 20;

/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 2;

impl BlockStore {
    /// Uploads a file of a block.
    ///
    /// # Errors
    /// `Corrupt` when the file on disk is not what was written; `Io`, `Unavailable`, `ObjectStore`.
    pub(crate) async fn upload(
        &self,
        from: &Path,
        to: &ObjectPath,
        file: &ManifestFile,
    ) -> Result<()> {
        let content = check(from, file).await?;
        match content {
            Some(content) => {
                let payload = PutPayload::from(content);
                let put = || self.store.put(to, payload.clone());
                self.ask(Operation::Put, to, Patience::Upload, put).await?;
            }
            None => {
                let put = || self.put_parts(from, to, file.bytes);
                self.ask(Operation::Put, to, Patience::Upload, put).await?;
            }
        }
        match self.size_of(to).await? {
            Some(size) if size == file.bytes => {}
            found => {
                return Err(self.unavailable(format!(
                    "it took {} bytes of {to} and now has {found:?}",
                    file.bytes
                )));
            }
        }
        self.health()
            .uploaded_bytes
            .fetch_add(file.bytes, Ordering::Relaxed);
        Ok(())
    }

    async fn put_parts(
        &self,
        from: &Path,
        to: &ObjectPath,
        bytes: u64,
    ) -> object_store::Result<()> {
        let Err(failure) = self.try_put_parts(from, to).await else {
            return Ok(());
        };
        // The answer to the last request may be all that was lost; the upload is unknown then, the object is there.
        match self.store.head(to).await {
            Ok(found) if found.size == bytes => Ok(()),
            // Whatever it was, beginning anew may help.
            _ => Err(StoreError::Generic {
                store: "upload in parts",
                source: failure.into(),
            }),
        }
    }

    async fn try_put_parts(&self, from: &Path, to: &ObjectPath) -> object_store::Result<()> {
        let upload = self.store.put_multipart(to).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES as usize);
        match write_parts(from, &mut upload).await {
            Ok(()) => upload.finish().await.map(drop),
            Err(e) => {
                // What was uploaded would be kept, and paid for. Where this fails too, the bucket's own rules clean up.
                let _ = upload.abort().await;
                Err(e)
            }
        }
    }
}

async fn write_parts(from: &Path, upload: &mut WriteMultipart) -> object_store::Result<()> {
    let failed = |e: std::io::Error| StoreError::Generic {
        store: "local disk",
        source: e.into(),
    };
    let mut file = tokio::fs::File::open(from).await.map_err(failed)?;
    let mut buffer = vec![0; PART_BYTES as usize];
    loop {
        let n = file.read(&mut buffer).await.map_err(failed)?;
        if n == 0 {
            return Ok(());
        }
        upload.wait_for_capacity(PARTS_AT_ONCE).await?;
        upload.write(buffer.get(..n).unwrap_or_default());
    }
}

/// Compares a file with its checksum; damage must not be carried into the bucket. A small file's content is answered.
async fn check(from: &Path, file: &ManifestFile) -> Result<Option<Vec<u8>>> {
    let (from, expected) = (from.to_owned(), (file.bytes, file.crc32c));
    blocking(move || {
        let mut open = match File::open(&from) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged(&from, "the file is not there"));
            }
            result => result.map_err(Error::io(&from))?,
        };
        let mut content = Vec::new();
        let mut summer = Summer::default();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = open.read(&mut buffer).map_err(Error::io(&from))?;
            let read = buffer.get(..n).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            summer.update(read);
            if expected.0 <= PART_BYTES {
                content.extend_from_slice(read);
            }
        }
        let (bytes, crc32c, _) = summer.finish();
        if (bytes, crc32c) != expected {
            return Err(damaged(&from, "its checksum does not match"));
        }
        Ok((expected.0 <= PART_BYTES).then_some(content))
    })
    .await
}

fn damaged(file: &Path, reason: &str) -> Error {
    Error::Corrupt {
        file: file.display().to_string(),
        offset: 0,
        reason: reason.to_owned(),
    }
}

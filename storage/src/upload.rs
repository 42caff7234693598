//! Brings blocks from local disk into the bucket, oldest first, and what no block holds behind them.
//!
//! A block is in the view all the time: on local disk until its files and its manifest are in the bucket, then there. Only
//! after that it leaves local disk, or stays as a part of the cache. Whatever is interrupted is done again from its beginning, with the same names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::block::Block;
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::generation::{Doomed, SignalStore, blocking};
use crate::signal::Head;

impl<H: Head> SignalStore<H> {
    /// Whether there is something to ask of the bucket, or to tell it.
    pub(crate) fn wants_bucket(&self) -> bool {
        let Some(bucket) = &self.context.bucket else {
            return false;
        };
        bucket.outage().is_some()
            || !self.listed.load(Ordering::Relaxed)
            || (H::DELETES && self.deletions.wants_bucket())
            || self.waiting().iter().any(|b| !b.is_damaged())
    }

    /// Uploads all that waits; after a start without the bucket, finds out first what it has.
    ///
    /// # Errors
    /// `Unavailable`, `NotOurs`, `ObjectStore`, `Io`: what was not done is done the next time. `Corrupt` when a block on
    /// local disk turned out to be damaged; it stays there, and all others have gone up.
    pub(crate) async fn sync_bucket(&self) -> Result<()> {
        let Some(bucket) = &self.context.bucket else {
            return Ok(());
        };
        let mut uploads = self.uploading.lock().await;
        bucket.check().await?;
        if !self.listed.load(Ordering::Relaxed) {
            self.reconcile(bucket).await?;
        }
        // Before the blocks: whoever takes the bucket over must not see what was deleted of them.
        self.sync_tombstones(bucket).await?;
        let mut damage = None;
        for block in self.waiting() {
            if block.is_damaged() {
                continue;
            }
            match self.move_up(bucket, &block).await {
                Ok(()) => {}
                Err(e @ Error::Corrupt { .. }) => damage = damage.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        let path = self.remembered_path();
        if let Ok(bytes) = blocking(move || std::fs::read(&path).map_err(Error::io(path))).await {
            let sum = crc32c::crc32c(&bytes);
            if uploads.remembered != Some(sum) {
                bucket.remember(H::SIGNAL, Bytes::from(bytes)).await?;
                fail_point::reach(FailPoint::UploadRemembered);
                uploads.remembered = Some(sum);
            }
        }
        damage.map_or(Ok(()), Err)
    }

    async fn move_up(&self, bucket: &Bucket, block: &Arc<Block>) -> Result<()> {
        let manifest = block.manifest();
        let store = &bucket.store;
        let folder = store.folder(&manifest.signal, &manifest.tenant, &manifest.ulid);
        fail_point::reach(FailPoint::UploadBeforeFiles);
        for (_, file, from) in block.local_files() {
            let to = folder.clone().join(file.name.as_str());
            let uploaded = store.upload(&from, &to, &file).await;
            if let Err(e @ Error::Corrupt { .. }) = &uploaded {
                block.note_damage(&file.name, e);
            }
            uploaded?;
            fail_point::reach(FailPoint::UploadFile);
        }
        fail_point::reach(FailPoint::UploadBeforeManifest);
        store.put_manifest(manifest).await?;
        fail_point::reach(FailPoint::UploadManifest);
        let uploaded = Arc::new(Block::new(Arc::clone(store), manifest.clone())?);

        let _removing = self.removing.lock().await;
        let view = self.view();
        if !view.blocks.iter().any(|b| Arc::ptr_eq(b, block)) {
            // It has grown too old meanwhile.
            self.doomed.lock().push(Doomed::removed(uploaded));
            return Ok(());
        }
        drop(view);
        self.enter(std::slice::from_ref(&uploaded)).await?;
        fail_point::reach(FailPoint::UploadEntered);
        self.switch(|view| {
            view.blocks.retain(|b| !Arc::ptr_eq(b, block));
            view.blocks.push(uploaded);
        });
        self.doomed.lock().push(Doomed {
            block: Arc::clone(block),
            manifest_gone: false,
            moved: true,
        });
        fail_point::reach(FailPoint::UploadBeforeRemoval);
        tracing::info!(
            block = store.label(&folder),
            bytes = block.bytes(),
            "uploaded"
        );
        Ok(())
    }

    /// Notes that blocks are in the bucket now, if that is where they are.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn enter(&self, blocks: &[Arc<Block>]) -> Result<()> {
        self.in_mirror(blocks, |bucket, block| {
            bucket.mirror.enter(block.manifest())
        })
        .await
    }

    /// Notes that blocks will not be in the bucket much longer.
    pub(crate) async fn leave(&self, blocks: &[Arc<Block>]) {
        let left = self
            .in_mirror(blocks, |bucket, block| {
                bucket.mirror.remove(block.manifest())
            })
            .await;
        if let Err(e) = left {
            tracing::warn!(error = %e, "the copy of a manifest could not be removed");
        }
    }

    async fn in_mirror(
        &self,
        blocks: &[Arc<Block>],
        each: impl Fn(&Bucket, &Block) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let Some(bucket) = self.context.bucket.as_ref().map(Arc::clone) else {
            return Ok(());
        };
        let blocks: Vec<_> = blocks
            .iter()
            .filter(|b| b.store().is_remote())
            .map(Arc::clone)
            .collect();
        blocking(move || blocks.iter().try_for_each(|block| each(&bucket, block))).await
    }
}

//! An object store in memory that stops working after a given number of changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Changes are counted down to zero; from then on each one fails.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<InMemory>,
    left: Arc<AtomicI64>,
    /// Whether the change that fails first is done nevertheless and only its answer lost.
    loses_answer: bool,
    /// Whether anything is answered at all.
    reach: Arc<AtomicBool>,
}

impl Faulty {
    pub(super) fn new(inner: &Arc<InMemory>, changes: i64, loses_answer: bool) -> Self {
        Self {
            inner: Arc::clone(inner),
            left: Arc::new(AtomicI64::new(changes)),
            loses_answer,
            reach: Arc::new(AtomicBool::new(true)),
        }
    }

    /// The same, out of reach.
    pub(super) fn unreachable(self) -> Self {
        self.reach.store(false, Ordering::SeqCst);
        self
    }

    /// Whether it is in reach.
    pub(super) fn reach(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reach)
    }

    fn answers(&self) -> Result<()> {
        if self.reach.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(down())
    }

    /// The counter; setting it high mends the store.
    pub(super) fn left(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.left)
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty memory")
    }
}

fn down() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "down".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.answers()?;
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return self.inner.put_opts(location, payload, opts).await;
        }
        if left == 0 && self.loses_answer {
            self.inner.put_opts(location, payload, opts).await?;
        }
        Err(down())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.answers()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if let Err(e) = self.answers() {
            return futures::stream::once(async { Err(e) }).boxed();
        }
        let inner = Arc::clone(&self.inner);
        let left = Arc::clone(&self.left);
        let loses_answer = self.loses_answer;
        locations
            .then(move |location| {
                let inner = Arc::clone(&inner);
                let left = left.fetch_sub(1, Ordering::SeqCst);
                async move {
                    let one = futures::stream::once(async { location }).boxed();
                    if left > 0 || (left == 0 && loses_answer) {
                        let done = inner.delete_stream(one).next().await;
                        if left > 0 {
                            return done.unwrap_or_else(|| Err(down()));
                        }
                    }
                    Err(down())
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(e) = self.answers() {
            return futures::stream::once(async { Err(e) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

//! What live readers of logs get: the entries of a batch that were taken, stream by stream.

use std::sync::Arc;

use crate::model::{EntryBuf, LogBatch, Stream, Tenant};
use crate::storage::TailEntries;

/// The entries of a batch but for the refused ones, whose positions ascend. Streams with nothing new are left out.
pub(crate) fn entries<'a>(
    tenant: &'a Tenant,
    batch: &'a LogBatch<'_>,
    refused: &'a [u32],
) -> impl Iterator<Item = TailEntries> + 'a {
    batch.streams.iter().filter_map(move |stream| {
        let mut entries = EntryBuf::default();
        for i in stream.entries.clone() {
            let is_refused = u32::try_from(i).is_ok_and(|i| refused.binary_search(&i).is_ok());
            let Some(entry) = batch.entries.get(i).filter(|_| !is_refused) else {
                continue;
            };
            let metadata = batch.metadata.get(entry.metadata.clone());
            let metadata = metadata.unwrap_or_default();
            let pairs = metadata.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
            entries.push(entry.t_ns, &entry.line, pairs);
        }
        (!entries.is_empty()).then(|| TailEntries {
            tenant: tenant.clone(),
            stream: Arc::new(Stream {
                labels: stream.labels.clone(),
            }),
            entries: Arc::new(entries),
        })
    })
}

//! Merges blocks of traces: a stream of each, the smallest trace id first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::head::clamp_ns;
use super::Index;
use super::read::{Rows, SPAN_COLUMNS, SpanColumns, index, with_scope};
use super::write::Writer;
use crate::block::Block;
use crate::error::Result;
use crate::model::{Span, TraceId};
use crate::signal::{BlockFiles, BlockStats};

struct Source {
    index: Arc<Index>,
    rows: Rows,
    ready: VecDeque<(u64, Span)>,
}

impl Source {
    async fn open(block: &Arc<Block>) -> Result<Self> {
        Ok(Self {
            index: index(block).await?,
            rows: Rows::open(block, &with_scope(&SPAN_COLUMNS), None, |_| Vec::new()).await?,
            ready: VecDeque::new(),
        })
    }

    /// Place of the next span in the order of the merged block.
    async fn next_key(&mut self) -> Result<Option<(TraceId, u64)>> {
        while self.ready.is_empty() {
            let Some(batch) = self.rows.next().await? else {
                return Ok(None);
            };
            let columns = SpanColumns::new(&self.index, &batch);
            for at in 0..batch.num_rows() {
                self.ready
                    .push_back((columns.received(at), columns.span(at)?));
            }
        }
        Ok(self.ready.front().map(|(r, span)| (span.trace_id, *r)))
    }
}

/// See [`crate::signal::Head::merge_blocks`].
pub(in crate::traces) async fn merge(
    blocks: &[Arc<Block>],
    drop_before: Option<i64>,
    files: &mut dyn BlockFiles,
) -> Result<Option<BlockStats>> {
    let mut sources = Vec::with_capacity(blocks.len());
    for block in blocks {
        sources.push(Source::open(block).await?);
    }
    let mut writer = Writer::new(files)?;
    let mut written = false;
    loop {
        let mut first: Option<((TraceId, u64), usize)> = None;
        for (at, source) in sources.iter_mut().enumerate() {
            if let Some(key) = source.next_key().await?
                && first.is_none_or(|(smallest, _)| key < smallest)
            {
                first = Some((key, at));
            }
        }
        let Some((_, at)) = first else {
            break;
        };
        if let Some((received, span)) = sources[at].ready.pop_front()
            && drop_before.is_none_or(|t| clamp_ns(span.start_ns) >= t)
        {
            writer.push(received, &span)?;
            written = true;
        }
    }
    let stats = writer.finish()?;
    Ok(written.then_some(stats))
}

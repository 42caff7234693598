//! Merges blocks of logs: stream by stream in order of labels, entries in order of time, each once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::page::key;
use super::write::Writer;
use super::{BlockIndex, BlockPage, BlockReader, index};
use crate::block::Block;
use crate::error::Result;
use crate::model::{EntryBuf, Labels};
use crate::signal::{BlockFiles, BlockStats};

/// Text of a stream that is read from a block at once.
const READ_BYTES: u32 = 1 << 20;

struct Source {
    index: Arc<BlockIndex>,
    reader: BlockReader,
}

/// The entries of one stream in one block, page by page.
struct Cursor<'a> {
    source: &'a Source,
    stream: u32,
    next_page: usize,
    /// Pages that were read together.
    read: std::vec::IntoIter<EntryBuf>,
    buf: EntryBuf,
    at: usize,
}

impl Cursor<'_> {
    /// Time of the next entry.
    async fn peek(&mut self, from: i64) -> Result<Option<i64>> {
        loop {
            if let Some(entry) = self.buf.get(self.at) {
                return Ok(Some(entry.t_ns()));
            }
            self.at = 0;
            if let Some(buf) = self.read.next() {
                self.buf = buf;
                continue;
            }
            self.buf.clear();
            let pages = self.source.index.pages(self.stream);
            let rest = pages.get(self.next_page..).unwrap_or_default();
            let mut bytes = 0;
            let count = rest
                .iter()
                .take_while(|page| {
                    let more = bytes < READ_BYTES;
                    bytes += page.line_bytes;
                    more
                })
                .count();
            if count == 0 {
                return Ok(None);
            }
            self.next_page += count;
            let pages: Vec<BlockPage> = rest[..count]
                .iter()
                .filter(|page| page.max_ns >= from)
                .copied()
                .collect();
            let read = self.source.reader.read(&pages, |t| t >= from).await?;
            self.read = read.into_iter();
        }
    }
}

/// See [`crate::signal::Head::merge_blocks`].
pub(in crate::logs) async fn merge(
    blocks: &[Arc<Block>],
    drop_before: Option<i64>,
    files: &mut dyn BlockFiles,
) -> Result<Option<BlockStats>> {
    let mut sources = Vec::with_capacity(blocks.len());
    for block in blocks {
        sources.push(Source {
            index: index(block).await?,
            reader: BlockReader::open(block).await?,
        });
    }
    let all: BTreeSet<&Labels> = sources.iter().flat_map(|s| &s.index.streams).collect();
    let mut writer = Writer::new(files)?;
    for labels in all {
        writer.start(labels)?;
        merge_stream(
            &sources,
            labels,
            drop_before.unwrap_or(i64::MIN),
            &mut writer,
        )
        .await?;
    }
    writer.finish()
}

async fn merge_stream(
    sources: &[Source],
    labels: &Labels,
    from: i64,
    writer: &mut Writer<'_>,
) -> Result<()> {
    let mut cursors = Vec::new();
    for source in sources {
        if let Some(stream) = source.index.index.find(labels.iter()) {
            cursors.push(Cursor {
                source,
                stream,
                next_page: 0,
                read: Vec::new().into_iter(),
                buf: EntryBuf::default(),
                at: 0,
            });
        }
    }
    // Entries of the time that is being written, where more than one block may hold them.
    let (mut time, mut seen) = (None, Vec::new());
    loop {
        let mut first: Option<(i64, usize)> = None;
        for (i, cursor) in cursors.iter_mut().enumerate() {
            if let Some(t) = cursor.peek(from).await?
                && first.is_none_or(|(earliest, _)| t < earliest)
            {
                first = Some((t, i));
            }
        }
        let Some((t, i)) = first else {
            return Ok(());
        };
        let alone = cursors.len() == 1;
        let cursor = &mut cursors[i];
        let at = cursor.at;
        cursor.at += 1;
        let Some(entry) = cursor.buf.get(at) else {
            continue;
        };
        if !alone {
            if time != Some(t) {
                time = Some(t);
                seen.clear();
            }
            let key = key(t, entry.line());
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
        }
        writer.push(entry)?;
    }
}

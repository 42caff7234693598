//! Log entries of one stream, in columns over one text buffer.

use std::sync::Arc;

use super::labels::Labels;

/// A log stream: a label set and a number that is stable for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Labels of the stream.
    pub labels: Labels,
}

type Part = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct Entry {
    t_ns: i64,
    line: Part,
    /// Range in `metadata`.
    metadata: Part,
}

/// Entries of one stream, reused from page to page: every line and every structured-metadata text
/// lies in one buffer.
#[derive(Clone, Debug, Default)]
pub struct EntryBuf {
    text: String,
    entries: Vec<Entry>,
    metadata: Vec<(Part, Part)>,
}

/// One entry of an [`EntryBuf`].
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    buf: &'a EntryBuf,
    entry: Entry,
}

impl EntryBuf {
    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.metadata.clear();
    }

    /// Adds an entry with its structured metadata. A page holds at most 4 GiB of text.
    pub fn push<'t>(
        &mut self,
        t_ns: i64,
        line: &str,
        metadata: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) {
        let line = self.put(line);
        let first = self.metadata.len() as u32;
        for (name, value) in metadata {
            let pair = (self.put(name), self.put(value));
            self.metadata.push(pair);
        }
        let metadata = (first, self.metadata.len() as u32);
        self.entries.push(Entry {
            t_ns,
            line,
            metadata,
        });
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of text held.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// An entry by its position.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<EntryView<'_>> {
        self.entries
            .get(i)
            .map(|&entry| EntryView { buf: self, entry })
    }

    /// The entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = EntryView<'_>> + ExactSizeIterator {
        self.entries
            .iter()
            .map(|&entry| EntryView { buf: self, entry })
    }

    fn put(&mut self, text: &str) -> Part {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        (start, self.text.len() as u32)
    }

    fn part(&self, (start, end): Part) -> &str {
        &self.text[start as usize..end as usize]
    }
}

impl<'a> EntryView<'a> {
    /// Time in nanoseconds.
    #[must_use]
    pub const fn t_ns(&self) -> i64 {
        self.entry.t_ns
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> &'a str {
        self.buf.part(self.entry.line)
    }

    /// Structured metadata, in the order in which it was written.
    pub fn metadata(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let buf = self.buf;
        let (first, last) = self.entry.metadata;
        buf.metadata[first as usize..last as usize]
            .iter()
            .map(move |&(name, value)| (buf.part(name), buf.part(value)))
    }
}

/// Streams are shared between pages.
pub type StreamRef = Arc<Stream>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_with_their_metadata() {
        let mut buf = EntryBuf::default();
        buf.push(1, "first", [("a", "1"), ("b", "2")]);
        buf.push(2, "", []);
        let all: Vec<_> = buf
            .iter()
            .map(|e| (e.t_ns(), e.line(), e.metadata().collect::<Vec<_>>()))
            .collect();
        assert_eq!(
            all,
            [(1, "first", vec![("a", "1"), ("b", "2")]), (2, "", vec![])]
        );
    }
}

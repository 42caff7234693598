//! The labels of one line while it goes through a pipeline.
//!
//! A builder is made once per stream and reset for each line. What a line adds lies in one text
//! buffer, so that a line that parses into twenty labels allocates nothing; only a combination of
//! labels that was not seen before becomes a [`LabelSet`].

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::LabelSet;

/// Where a label comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    Metadata,
    Parsed,
}

#[derive(Clone, Copy, Debug)]
struct Span(u32, u32);

#[derive(Clone, Copy, Debug)]
struct Slot {
    name: Span,
    value: Span,
    category: Category,
    live: bool,
}

/// Lines with more labels than this find them by hash; others by looking at each.
const WIDE: usize = 64;

#[derive(Debug)]
pub(crate) struct LabelBuilder {
    base: LabelSet,
    base_gone: Vec<bool>,
    text: String,
    slots: Vec<Slot>,
    /// Names that full parsers made of this line, whatever became of them since.
    seen: Vec<Span>,
    /// Hashes of the names in `seen`, once there are many.
    wide: HashSet<u64>,
    /// Metadata lies before this slot.
    metadata_end: usize,
    /// Whether a slot was set by anything but metadata and full parsers.
    has_others: bool,
    error: Option<&'static str>,
    details: String,
}

impl LabelBuilder {
    pub(crate) fn new(base: LabelSet) -> Self {
        Self {
            base_gone: vec![false; base.len()],
            base,
            text: String::new(),
            slots: Vec::new(),
            seen: Vec::new(),
            wide: HashSet::new(),
            metadata_end: 0,
            has_others: false,
            error: None,
            details: String::new(),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.base_gone.fill(false);
        self.text.clear();
        self.slots.clear();
        self.seen.clear();
        self.wide.clear();
        self.metadata_end = 0;
        self.has_others = false;
        self.error = None;
        self.details.clear();
    }

    fn part(&self, span: Span) -> &str {
        &self.text[span.0 as usize..span.1 as usize]
    }

    fn put(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span(start, self.text.len() as u32)
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.slots
            .iter()
            .position(|s| s.live && self.part(s.name) == name)
    }

    fn base_index(&self, name: &str) -> Option<usize> {
        self.base.iter().position(|(n, _)| n == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        if let Some(at) = self.slot(name) {
            return Some(self.part(self.slots[at].value));
        }
        let at = self.base_index(name)?;
        (!self.base_gone[at]).then(|| self.base.get(name)).flatten()
    }

    /// Sets a label, in place of one of that name.
    pub(crate) fn set(&mut self, category: Category, name: &str, value: &str) {
        self.has_others |= category == Category::Parsed;
        let value = self.put(value);
        if let Some(at) = self.slot(name) {
            self.slots[at].value = value;
            self.slots[at].category = category;
            return;
        }
        let name = self.put(name);
        self.slots.push(Slot {
            name,
            value,
            category,
            live: true,
        });
    }

    /// Sets a label from structured metadata, which gives way to the stream's own labels. Before any
    /// stage has run.
    pub(crate) fn set_metadata(&mut self, name: &str, value: &str) {
        if self.base.get(name).is_some() {
            let name = format!("{name}_extracted");
            self.set(Category::Metadata, &name, value);
        } else {
            self.set(Category::Metadata, name, value);
        }
        self.metadata_end = self.slots.len();
    }

    /// Sets a label from structured metadata that was set before, beside the first.
    pub(crate) fn set_metadata_twice(&mut self, name: &str, value: &str) {
        let name = format!("{name}_extracted");
        self.set(Category::Metadata, &name, value);
        self.metadata_end = self.slots.len();
    }

    /// Whether a parsed label of this name gives way to a label of the stream or of the metadata.
    fn collides(&self, name: &str) -> bool {
        self.base.get(name).is_some()
            || self.slots[..self.metadata_end]
                .iter()
                .any(|s| s.category == Category::Metadata && self.part(s.name) == name)
    }

    /// Sets a label that a parser was told to make; it replaces what other stages made.
    pub(crate) fn set_told(&mut self, name: &str, value: &str) {
        if self.collides(name) {
            let name = format!("{name}_extracted");
            self.set(Category::Parsed, &name, value);
        } else {
            self.set(Category::Parsed, name, value);
        }
    }

    /// Whether a label can be read that a parser told to make `name` would set.
    pub(crate) fn has_told(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a label that a parser found by itself, unless one found it before in this line.
    /// Answers the name's final form when it was new.
    pub(crate) fn set_found(&mut self, name: &str, value: &str) -> bool {
        let start = self.text.len() as u32;
        self.text.push_str(name);
        if self.collides(name) {
            self.text.push_str("_extracted");
        }
        let span = Span(start, self.text.len() as u32);
        if self.is_seen(span) {
            self.text.truncate(start as usize);
            return false;
        }
        self.seen.push(span);
        let value = self.put(value);
        // A name that no parser has seen can only have been set by another stage.
        let old = (self.has_others || self.metadata_end > 0)
            .then(|| {
                self.slot_among(
                    span,
                    if self.has_others {
                        usize::MAX
                    } else {
                        self.metadata_end
                    },
                )
            })
            .flatten();
        match old {
            Some(at) => {
                self.slots[at].value = value;
                self.slots[at].category = Category::Parsed;
            }
            None => self.slots.push(Slot {
                name: span,
                value,
                category: Category::Parsed,
                live: true,
            }),
        }
        true
    }

    /// The live slot of a name among the first so many.
    fn slot_among(&self, name: Span, first: usize) -> Option<usize> {
        self.slots[..self.slots.len().min(first)]
            .iter()
            .position(|s| s.live && self.part(s.name) == self.part(name))
    }

    /// Whether a full parser has found the name before in this line. Where there are many names their
    /// hashes are noted: a line of thousands of keys must not take time quadratic in them.
    fn is_seen(&mut self, name: Span) -> bool {
        if self.seen.len() < WIDE {
            return self.seen.iter().any(|s| self.part(*s) == self.part(name));
        }
        if self.wide.is_empty() {
            self.wide = self
                .seen
                .iter()
                .map(|s| xxh3_64(self.part(*s).as_bytes()))
                .collect();
        }
        let hash = xxh3_64(self.part(name).as_bytes());
        !self.wide.insert(hash)
    }

    /// Number of names that full parsers found in this line which are among those given.
    pub(crate) fn found_of(&self, names: &[String]) -> usize {
        names
            .iter()
            .filter(|n| self.seen.iter().any(|s| self.part(*s) == n.as_str()))
            .count()
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(at) = self.slot(name) {
            self.slots[at].live = false;
        }
        if let Some(at) = self.base_index(name) {
            self.base_gone[at] = true;
        }
    }

    /// Removes all labels but those that are wanted.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&str, &str) -> bool) {
        for at in 0..self.slots.len() {
            let slot = self.slots[at];
            if slot.live && !wanted(self.part(slot.name), self.part(slot.value)) {
                self.slots[at].live = false;
                if let Some(base) = self.base_index(self.part(slot.name)) {
                    self.base_gone[base] = true;
                }
            }
        }
        for (at, (name, value)) in self.base.iter().enumerate() {
            if !wanted(name, value) {
                self.base_gone[at] = true;
            }
        }
    }

    pub(crate) const fn error(&self) -> Option<&'static str> {
        self.error
    }

    pub(crate) fn details(&self) -> &str {
        &self.details
    }

    pub(crate) fn set_error(&mut self, error: &'static str, details: &str) {
        self.error = Some(error);
        self.details.clear();
        self.details.push_str(details);
    }

    pub(crate) fn clear_error(&mut self) {
        self.error = None;
    }

    pub(crate) fn clear_details(&mut self) {
        self.details.clear();
    }

    /// All labels as they are now, but not the error.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let base = self
            .base
            .iter()
            .enumerate()
            .filter(|(at, (name, _))| !self.base_gone[*at] && self.slot(name).is_none())
            .map(|(_, pair)| pair);
        let added = self
            .slots
            .iter()
            .filter(|s| s.live)
            .map(|s| (self.part(s.name), self.part(s.value)));
        base.chain(added)
    }

    fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.error.map(|e| ("__error__", e)).into_iter().chain(
            (!self.details.is_empty()).then_some(("__error_details__", self.details.as_str())),
        )
    }

    /// All labels, the error's included.
    pub(crate) fn labels(&self) -> LabelSet {
        self.iter().chain(self.errors()).collect()
    }

    /// The labels of the stream, of the metadata, and those that were parsed.
    pub(crate) fn categorized(&self) -> (LabelSet, LabelSet, LabelSet) {
        let stream = self
            .base
            .iter()
            .enumerate()
            .filter(|(at, (name, _))| !self.base_gone[*at] && self.slot(name).is_none())
            .map(|(_, pair)| pair)
            .collect();
        let of = |category: Category| {
            self.slots
                .iter()
                .filter(move |s| s.live && s.category == category)
                .map(|s| (self.part(s.name), self.part(s.value)))
        };
        (
            stream,
            of(Category::Metadata).collect(),
            of(Category::Parsed).chain(self.errors()).collect(),
        )
    }

    /// Bytes that are equal for lines of one stream only where their labels are equal.
    pub(crate) fn write_key(&self, key: &mut Vec<u8>) {
        key.clear();
        let mut put = |text: &str| {
            key.extend_from_slice(&(text.len() as u32).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        };
        for slot in self.slots.iter().filter(|s| s.live) {
            put(self.part(slot.name));
            put(self.part(slot.value));
            put(if slot.category == Category::Metadata {
                "m"
            } else {
                "p"
            });
        }
        for (name, value) in self.errors() {
            put(name);
            put(value);
        }
        key.push(0xff);
        for (at, gone) in self.base_gone.iter().enumerate() {
            if *gone {
                key.extend_from_slice(&(at as u32).to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> LabelBuilder {
        LabelBuilder::new([("app", "a"), ("env", "prod")].into_iter().collect())
    }

    #[test]
    fn parsed_labels_give_way_to_the_streams_own() {
        let mut b = builder();
        b.set_metadata("env", "clash");
        assert!(b.set_found("app", "other"));
        assert!(b.set_found("env", "x"));
        assert_eq!(
            b.labels().to_string(),
            r#"{app="a", app_extracted="other", env="prod", env_extracted="x"}"#
        );
    }

    #[test]
    fn the_first_parser_wins_and_what_was_dropped_stays_dropped() {
        let mut b = builder();
        assert!(b.set_found("v", "1"));
        assert!(!b.set_found("v", "2"));
        b.remove("v");
        assert!(!b.set_found("v", "3"));
        assert_eq!(b.get("v"), None);
        b.set_told("v", "4");
        assert_eq!(b.get("v"), Some("4"));
    }

    #[test]
    fn a_wide_line_has_each_label_once() {
        let mut b = builder();
        for i in 0..500 {
            assert!(b.set_found(&format!("k{i}"), "1"));
        }
        for i in 0..500 {
            assert!(!b.set_found(&format!("k{i}"), "2"));
        }
        assert_eq!(b.labels().len(), 502);
        assert_eq!(b.get("k499"), Some("1"));
    }

    #[test]
    fn a_full_parser_replaces_what_other_stages_set() {
        let mut b = builder();
        b.set(Category::Parsed, "v", "1");
        assert!(b.set_found("v", "2"));
        assert_eq!(b.labels().to_string(), r#"{app="a", env="prod", v="2"}"#);
    }

    #[test]
    fn categories_follow_the_last_writer() {
        let mut b = builder();
        b.set_metadata("pod", "p");
        b.set(Category::Parsed, "pod", "q");
        b.set(Category::Parsed, "env", "md");
        let (stream, metadata, parsed) = b.categorized();
        assert_eq!(stream.to_string(), r#"{app="a"}"#);
        assert!(metadata.is_empty());
        assert_eq!(parsed.to_string(), r#"{env="md", pod="q"}"#);
    }
}

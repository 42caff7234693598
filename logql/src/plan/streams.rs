//! Label builders of the streams met so far, each with the combinations of labels that its lines
//! have had.

use std::collections::HashMap;

use storage::model::{EntryView, Labels};

use crate::labels::{LabelBuilder, LabelSet};

/// How many combinations are remembered for a stream; with more, lines are likely to be unique and
/// remembering them costs more than it saves.
const MAX_KNOWN: usize = 256;

/// One stream's state.
pub(super) struct StreamState {
    pub(super) labels: LabelBuilder,
    known: HashMap<Box<[u8]>, usize>,
    key: Vec<u8>,
}

impl StreamState {
    /// The number that belongs to the builder's labels as they are now; `make` gives it where they are new.
    pub(super) fn number(&mut self, make: impl FnOnce(&LabelBuilder) -> usize) -> usize {
        self.labels.write_key(&mut self.key);
        if let Some(number) = self.known.get(self.key.as_slice()) {
            return *number;
        }
        let number = make(&self.labels);
        if self.known.len() < MAX_KNOWN {
            self.known
                .insert(self.key.clone().into_boxed_slice(), number);
        }
        number
    }

    /// Makes the builder ready for an entry.
    pub(super) fn start(&mut self, entry: &EntryView<'_>, options: Options) {
        self.labels.reset();
        for (name, value) in entry.metadata() {
            if options.hide_level && name == "detected_level" {
                continue;
            }
            self.labels.set_metadata(name, value);
            if options.twice {
                self.labels.set_metadata_twice(name, value);
            }
        }
    }
}

/// What becomes of structured metadata.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// `detected_level` is left out.
    pub(super) hide_level: bool,
    /// In `variants` Loki applies metadata a second time, and it collides with itself.
    pub(super) twice: bool,
}

#[derive(Default)]
pub(super) struct Streams(HashMap<Labels, StreamState>);

impl Streams {
    /// Forgets all combinations; their numbers have changed.
    pub(super) fn forget(&mut self) {
        self.0.values_mut().for_each(|state| state.known.clear());
    }

    pub(super) fn get(&mut self, labels: &Labels) -> &mut StreamState {
        if !self.0.contains_key(labels) {
            let state = StreamState {
                labels: LabelBuilder::new(LabelSet::from(labels)),
                known: HashMap::new(),
                key: Vec::new(),
            };
            self.0.insert(labels.clone(), state);
        }
        self.0.get_mut(labels).expect("inserted above")
    }
}

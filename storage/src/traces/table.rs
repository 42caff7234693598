//! Numbers for things that many spans share: resources, scopes, names.
//!
//! Invariant: equal things have one number, and a number never changes its thing. Resources and
//! scopes are compared by their encoding, so floats are told apart bit for bit.

use std::collections::HashMap;
use std::sync::Arc;

/// Things and their numbers, in order of first use.
pub(super) struct Table<T> {
    values: Vec<Arc<T>>,
    by_code: HashMap<Box<[u8]>, u32>,
    last: Option<(Arc<T>, u32)>,
    code_bytes: u64,
    encode: fn(&mut Vec<u8>, &T),
    scratch: Vec<u8>,
}

impl<T> Table<T> {
    pub(super) fn new(encode: fn(&mut Vec<u8>, &T)) -> Self {
        Self {
            values: Vec::new(),
            by_code: HashMap::new(),
            last: None,
            code_bytes: 0,
            encode,
            scratch: Vec::new(),
        }
    }

    /// The number of a thing, a new one where it was not met before. The spans of a request share one `Arc`, so
    /// that most calls compare a pointer.
    pub(super) fn number(&mut self, value: &Arc<T>) -> u32 {
        if let Some((last, number)) = &self.last
            && Arc::ptr_eq(last, value)
        {
            return *number;
        }
        self.scratch.clear();
        (self.encode)(&mut self.scratch, value);
        let number = match self.by_code.get(self.scratch.as_slice()) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.values.len()).expect("fewer things than spans");
                self.by_code
                    .insert(self.scratch.clone().into_boxed_slice(), number);
                self.values.push(Arc::clone(value));
                self.code_bytes += self.scratch.len() as u64;
                number
            }
        };
        self.last = Some((Arc::clone(value), number));
        number
    }

    pub(super) fn get(&self, number: u32) -> &Arc<T> {
        &self.values[number as usize]
    }

    pub(super) fn values(&self) -> &[Arc<T>] {
        &self.values
    }

    /// Bytes held, roughly: the code twice (once as the live thing) and the entries.
    pub(super) fn held_bytes(&self) -> u64 {
        self.code_bytes * 4 + self.values.len() as u64 * 96
    }
}

/// Texts and their numbers.
#[derive(Default)]
pub(super) struct Names {
    values: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, u32>,
    bytes: u64,
}

impl Names {
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.by_text.get(text) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).expect("fewer names than spans");
        let text: Arc<str> = Arc::from(text);
        self.bytes += text.len() as u64;
        self.by_text.insert(Arc::clone(&text), number);
        self.values.push(text);
        number
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    pub(super) fn get(&self, number: u32) -> &str {
        &self.values[number as usize]
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.bytes + self.values.len() as u64 * 80
    }
}

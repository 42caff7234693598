//! Texts that are kept once and named by a number.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Texts are packed into pages of this size; a longer one has a page of its own.
const PAGE_BYTES: usize = 64 << 10;

/// Texts by number, numbers by text.
#[derive(Debug)]
pub(super) struct Symbols {
    seed: u64,
    pages: Vec<String>,
    places: Vec<Place>,
    by_text: HashTable<u32>,
    page_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    page: u32,
    start: u32,
    len: u32,
}

impl Symbols {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            pages: Vec::new(),
            places: Vec::new(),
            by_text: HashTable::new(),
            page_bytes: 0,
        }
    }

    pub(super) fn text(&self, symbol: u32) -> &str {
        text(&self.pages, self.places[symbol as usize])
    }

    pub(super) fn find(&self, wanted: &str) -> Option<u32> {
        let hash = xxh3_64_with_seed(wanted.as_bytes(), self.seed);
        let same = |&s: &u32| self.text(s) == wanted;
        self.by_text.find(hash, same).copied()
    }

    pub(super) fn intern(&mut self, wanted: &str) -> u32 {
        if let Some(symbol) = self.find(wanted) {
            return symbol;
        }
        let fits = |page: &String| page.capacity() - page.len() >= wanted.len();
        if !self.pages.last().is_some_and(fits) {
            // The first pages grow with the need: most indexes of small tenants stay small.
            let size = (1024 << self.pages.len().min(6)).min(PAGE_BYTES);
            let page = String::with_capacity(size.max(wanted.len()));
            self.page_bytes += page.capacity();
            self.pages.push(page);
        }
        let at = self.pages.len() - 1;
        let page = &mut self.pages[at];
        let place = Place {
            page: at as u32,
            start: page.len() as u32,
            len: wanted.len() as u32,
        };
        page.push_str(wanted);
        let symbol = self.places.len() as u32;
        self.places.push(place);
        let (pages, places, seed) = (&self.pages, &self.places, self.seed);
        let hash = |s: &u32| xxh3_64_with_seed(text(pages, places[*s as usize]).as_bytes(), seed);
        self.by_text.insert_unique(hash(&symbol), symbol, hash);
        symbol
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.page_bytes + self.places.capacity() * size_of::<Place>() + self.by_text.capacity() * 6
    }
}

fn text(pages: &[String], place: Place) -> &str {
    let start = place.start as usize;
    &pages[place.page as usize][start..start + place.len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_numbers() {
        let mut symbols = Symbols::new(1);
        let long = "x".repeat(PAGE_BYTES + 1);
        let texts: Vec<String> = (0..5000)
            .map(|i| format!("value-{i}"))
            .chain([String::new(), long])
            .collect();
        let numbers: Vec<u32> = texts.iter().map(|t| symbols.intern(t)).collect();
        for (text, number) in texts.iter().zip(numbers) {
            assert_eq!(symbols.text(number), text);
            assert_eq!(symbols.find(text), Some(number));
            assert_eq!(symbols.intern(text), number);
        }
        assert_eq!(symbols.find("other"), None);
    }
}

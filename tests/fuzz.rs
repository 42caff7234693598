//! Every decoder, driven with mutations of the corpus in `fuzz/corpus`: no panic, no endless loop, no memory beyond reason.
//!
//! The ordinary run is short and always the same. A long one, or one of a single target:
//!
//! ```sh
//! FUZZ_SECONDS=60 FUZZ_TARGET=promql FUZZ_SEED=7 cargo test --release --test fuzz -- --nocapture
//! ```

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use trilobite::fuzz::TARGETS;

/// Inputs of the ordinary run; those that open a storage folder take some hundred times longer.
const INPUTS: u32 = 4000;
const FOLDER_INPUTS: u32 = 12;
/// Longest input that a mutation makes.
const MAX_BYTES: usize = 8 << 10;
/// What an input may take: of memory beyond a share for each of its bytes, and of time on a busy machine.
const MAX_HELD: usize = 64 << 20;
const MAX_TIME: Duration = Duration::from_secs(20);

/// Counts what is held, and the most that was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grown(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the caller.
#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// splitmix64: one seed, one run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Bytes that mean something in one of the formats: ends of numbers, marks of lengths, nesting, words of the languages.
const INTERESTING: [&[u8]; 28] = [
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    b"\x00\x00\x00\x00\x00\x00\xf0\x7f",
    b"\x02\x00\x00\x00\x00\x00\xf0\x7f",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xed\xa0\x80",
    b"[",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":",
    b"((((((((",
    b"\"",
    b"\\u0000",
    b"null",
    b"-0",
    b"1e309",
    b"9223372036854775808",
    b"18446744073709551615",
    b" by (a) ",
    b" offset -1m @ end()",
    b"[5m:1m]",
    b" | json | a=`b` ",
    b"-",
];

fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below((bytes.len() - at).min(64) + 1);
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            4 => drop(bytes.splice(at..at, random.pick(&INTERESTING).iter().copied())),
            5 => {
                let word = *random.pick(&INTERESTING);
                let end = (at + word.len()).min(bytes.len());
                drop(bytes.splice(at..end, word.iter().copied()));
            }
            6 => {
                // The beginning of one, the end of another.
                let other = random.pick(corpus);
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            7 => bytes.truncate(at),
            _ => {
                let times = random.below(200);
                let copy = bytes[at..end].repeat(times);
                bytes.splice(at..at, copy);
            }
        }
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn check(name: &str, run: fn(&[u8]), input: &[u8]) {
    let (began, before) = (Instant::now(), HELD.load(Ordering::Relaxed));
    PEAK.store(before, Ordering::Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(input)));
    assert!(outcome.is_ok(), "{name} panics at {}", hex(input));
    let took = began.elapsed();
    assert!(took < MAX_TIME, "{name} takes {took:?} for {}", hex(input));
    let held = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let limit = MAX_HELD + 2048 * input.len();
    assert!(held < limit, "{name} holds {held} bytes for {}", hex(input));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_decoder_panics_or_asks_for_more_than_its_input_is_worth() {
    let seconds = number("FUZZ_SECONDS");
    let only = std::env::var("FUZZ_TARGET").ok();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, run) in TARGETS {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let corpus = corpus(&root.join(name));
        corpus.iter().for_each(|input| check(name, run, input));
        let seed = number("FUZZ_SEED").unwrap_or(1);
        let mut random = Random(
            seed ^ name
                .bytes()
                .fold(0, |h: u64, b| h.wrapping_mul(31) ^ u64::from(b)),
        );
        let opens_folder = matches!(name, "wal_segment" | "remembered");
        let (began, mut inputs) = (Instant::now(), 0_u32);
        loop {
            let done = match seconds {
                Some(seconds) => began.elapsed() >= Duration::from_secs(seconds),
                None => inputs >= if opens_folder { FOLDER_INPUTS } else { INPUTS },
            };
            if done {
                break;
            }
            check(name, run, &mutate(&mut random, &corpus));
            inputs += 1;
        }
        println!("{name}: {inputs} inputs in {:.1?}", began.elapsed());
    }
}

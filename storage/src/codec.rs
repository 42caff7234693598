//! Bytes ↔ values, without I/O, locks or clocks.
//!
//! - [`bitstream`]: single bits, most significant first.
//! - [`gorilla`]: chunks of float samples.
//! - [`histogram`]: chunks of native histogram samples.
//! - [`varint`]: LEB128 and zigzag.
//!
//! A chunk starts with a byte that names its kind; a number is never given a second meaning. Decoders
//! take any bytes: what is no chunk is an error, never a panic, and costs no more memory than its
//! own length allows.
//!
//! Integers are not packed by `tsz-compress` here: a chunk is open for appending and interleaves
//! times with values, so that one sample is one short run of bits, while `tsz-compress` codes whole
//! columns at once. In sealed Parquet pages times are packed by `DELTA_BINARY_PACKED`, which any reader
//! understands. `benches/codec.rs` shows the three side by side.

pub mod bitstream;
pub mod gorilla;
pub mod histogram;
pub mod varint;

/// Bytes that are no chunk of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// They end too early.
    #[error("chunk ends too early")]
    Truncated,
    /// The first byte names another or an unknown kind.
    #[error("unknown kind of chunk")]
    Kind,
    /// A number is out of the range that an encoder writes.
    #[error("chunk holds an impossible number")]
    Number,
}

//! Unpacks data pages of times and values as [`super::writer`] lays them out: version 1, zstd, no nulls, DELTA_BINARY_PACKED or
//! BYTE_STREAM_SPLIT. Setting parquet's reader up costs as much as unpacking a page does; it is still asked for every page that is laid
//! out in another way.
//!
//! Source: Apache Parquet, "Encodings" and `parquet.thrift`; Apache Thrift, "Thrift compact protocol encoding".

use std::cell::RefCell;
use std::ops::Range;

use super::column::{Unpacked, Values};
use crate::codec::varint;
use crate::model::MsRange;

/// Unpacks a page of times; `None` when it is not laid out as expected.
pub(super) fn times(page: &[u8], rows: usize) -> Option<Times> {
    // Each number takes ten bytes at most, and there is a head for each block of 128.
    let most = rows.checked_mul(16)?.checked_add(1024)?;
    UNPACKED.with_borrow_mut(|payload| {
        unpack(page, rows, DELTA_BINARY_PACKED, most, payload)?;
        near_times(payload, rows).or_else(|| far_times(payload, rows))
    })
}

/// Unpacks a page of values; `None` when it is not laid out as expected.
pub(super) fn values(page: &[u8], rows: usize) -> Option<Values> {
    UNPACKED.with_borrow_mut(|bytes| {
        unpack_streams(page, rows, bytes)?;
        if let Some(value) = constant_of(bytes, rows) {
            return Some(Values::Constant { value, rows });
        }
        let mut values = Vec::with_capacity(rows);
        join_streams(bytes, rows, 0..rows, &mut values);
        Some(Values::Plain(values))
    })
}

/// As [`values`], of which only some will be asked for.
pub(super) fn streams(page: &[u8], rows: usize) -> Option<Streams> {
    let mut bytes = Vec::new();
    unpack_streams(page, rows, &mut bytes)?;
    Some(Streams { bytes, rows })
}

/// Of bytes that may be no page, with the number of rows that they should have: they unpack to so many, or to nothing.
pub(crate) fn fuzz(page: &[u8], rows: usize) {
    let lengths = [
        times(page, rows).map(|t| t.len()),
        values(page, rows).map(|v| v.len()),
        streams(page, rows).map(|s| s.len()),
    ];
    assert!(lengths.iter().flatten().all(|n| *n == rows), "{lengths:?}");
}

const DATA_PAGE: i64 = 0;
const DELTA_BINARY_PACKED: i64 = 5;
const BYTE_STREAM_SPLIT: i64 = 9;

thread_local! {
    /// Dear to make.
    static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    /// Room for a page on its way into another form.
    // Written to, and not with zeros, which the system would have at hand: whoever waits for an answer meets no memory of it for the
    // first time.
    static UNPACKED: RefCell<Vec<u8>> = RefCell::new(vec![0xff; ROOM_BYTES]);
}

/// More than a page unpacks to.
const ROOM_BYTES: usize = 96 << 10;

/// Unpacks the bytes of a page, if its header says what is expected.
fn unpack(page: &[u8], rows: usize, encoding: i64, most: usize, out: &mut Vec<u8>) -> Option<()> {
    let (header, packed) = Header::take(page)?;
    let size = usize::try_from(header.unpacked_bytes).ok()?;
    let is_expected = header.page_type == DATA_PAGE
        && header.encoding == encoding
        && usize::try_from(header.values) == Ok(rows)
        && usize::try_from(header.packed_bytes) == Ok(packed.len())
        && size <= most;
    if !is_expected {
        return None;
    }
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(zstd::bulk::Decompressor::new().ok()?),
        };
        out.clear();
        out.reserve_exact(size);
        let n = unpacker.decompress_to_buffer(packed, out).ok()?;
        (n == size).then_some(())
    })
}

fn unpack_streams(page: &[u8], rows: usize, out: &mut Vec<u8>) -> Option<()> {
    let size = rows.checked_mul(8)?;
    unpack(page, rows, BYTE_STREAM_SPLIT, size, out)?;
    (out.len() == size).then_some(())
}

/// What the header of a data page says.
#[derive(Debug, Default)]
struct Header {
    page_type: i64,
    unpacked_bytes: i64,
    packed_bytes: i64,
    values: i64,
    encoding: i64,
}

impl Header {
    /// Takes a header off a page.
    fn take(page: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = page;
        let mut header = Self {
            page_type: -1,
            encoding: -1,
            ..Self::default()
        };
        let mut fields = Fields::default();
        while let Some((id, kind)) = fields.next(&mut rest)? {
            match (id, kind) {
                (1, I32) => header.page_type = varint::take_signed(&mut rest).ok()?,
                (2, I32) => header.unpacked_bytes = varint::take_signed(&mut rest).ok()?,
                (3, I32) => header.packed_bytes = varint::take_signed(&mut rest).ok()?,
                (5, STRUCT) => {
                    let mut fields = Fields::default();
                    while let Some((id, kind)) = fields.next(&mut rest)? {
                        match (id, kind) {
                            (1, I32) => header.values = varint::take_signed(&mut rest).ok()?,
                            (2, I32) => header.encoding = varint::take_signed(&mut rest).ok()?,
                            _ => skip(&mut rest, kind, MAX_DEPTH)?,
                        }
                    }
                }
                _ => skip(&mut rest, kind, MAX_DEPTH)?,
            }
        }
        Some((header, rest))
    }
}

/// Kinds of fields in Thrift's compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const STRUCT: u8 = 12;

/// Structures within structures that are skipped.
const MAX_DEPTH: usize = 4;

/// The fields of a structure.
#[derive(Default)]
struct Fields {
    id: i64,
}

impl Fields {
    /// Number and kind of the next field; `None` within at the end.
    #[expect(
        clippy::option_option,
        reason = "no field follows, or what follows is none"
    )]
    fn next(&mut self, rest: &mut &[u8]) -> Option<Option<(i64, u8)>> {
        let (&head, tail) = rest.split_first()?;
        *rest = tail;
        if head == 0 {
            return Some(None);
        }
        self.id = match head >> 4 {
            0 => varint::take_signed(rest).ok()?,
            step => self.id.checked_add(i64::from(step))?,
        };
        Some(Some((self.id, head & 15)))
    }
}

fn skip(rest: &mut &[u8], kind: u8, depth: usize) -> Option<()> {
    match kind {
        TRUE | FALSE => {}
        I8 => *rest = rest.get(1..)?,
        I16 | I32 | I64 => drop(varint::take(rest).ok()?),
        BINARY => {
            let size = usize::try_from(varint::take(rest).ok()?).ok()?;
            *rest = rest.get(size..)?;
        }
        STRUCT => {
            let depth = depth.checked_sub(1)?;
            let mut fields = Fields::default();
            while let Some((_, kind)) = fields.next(rest)? {
                skip(rest, kind, depth)?;
            }
        }
        _ => return None,
    }
    Some(())
}

/// Times of a page, in half the room where they lie near each other.
#[derive(Debug, PartialEq)]
pub(super) enum Times {
    /// Milliseconds from a time on.
    Near { from_ms: i64, offsets_ms: Vec<u32> },
    /// Unix milliseconds.
    Far(Vec<i64>),
}

impl Times {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Near { offsets_ms, .. } => offsets_ms.len(),
            Self::Far(t_ms) => t_ms.len(),
        }
    }

    /// Those of some rows of one series, whose times ascend, that lie in a range of time.
    pub(super) fn within(&self, rows: Range<usize>, range: MsRange) -> Range<usize> {
        let count = |is_counted: fn(i64, MsRange) -> bool| match self {
            Self::Near {
                from_ms,
                offsets_ms,
            } => offsets_ms[rows.clone()]
                .partition_point(|o| is_counted(from_ms + i64::from(*o), range)),
            Self::Far(t_ms) => t_ms[rows.clone()].partition_point(|&t| is_counted(t, range)),
        };
        let before = count(|t, range| t < range.min_ms);
        let end = count(|t, range| t <= range.max_ms);
        rows.start + before..rows.start + end.max(before)
    }

    /// Adds the times of some rows.
    pub(super) fn extend(&self, rows: Range<usize>, out: &mut Vec<i64>) {
        match self {
            Self::Near {
                from_ms,
                offsets_ms,
            } => out.extend(offsets_ms[rows].iter().map(|o| from_ms + i64::from(*o))),
            Self::Far(t_ms) => out.extend_from_slice(&t_ms[rows]),
        }
    }
}

/// Times within three weeks of the first one; `None` when there are others.
fn near_times(payload: &[u8], rows: usize) -> Option<Times> {
    let mut offsets_ms = Vec::with_capacity(rows);
    let (mut from_ms, mut outside) = (None, 0);
    delta_binary_packed(payload, rows, |times| {
        let first = times.first().copied().unwrap_or(0);
        let from_ms = *from_ms.get_or_insert(first.wrapping_sub(1 << 31));
        offsets_ms.extend(times.iter().map(|t| {
            let offset = t.wrapping_sub(from_ms);
            outside |= offset >> 32;
            offset as u32
        }));
    })?;
    // Adding to it must not overflow either.
    let from_ms = from_ms.filter(|from| from.checked_add(1 << 32).is_some())?;
    (outside == 0).then_some(Times::Near {
        from_ms,
        offsets_ms,
    })
}

fn far_times(payload: &[u8], rows: usize) -> Option<Times> {
    let mut t_ms = Vec::with_capacity(rows);
    delta_binary_packed(payload, rows, |times| t_ms.extend_from_slice(times))?;
    Some(Times::Far(t_ms))
}

/// Calls a function with some of `rows` numbers at a time, which are differences, packed in blocks of miniblocks; `None` when there are
/// not so many.
fn delta_binary_packed(mut rest: &[u8], rows: usize, mut each: impl FnMut(&[i64])) -> Option<()> {
    let rest = &mut rest;
    let take = |rest: &mut &[u8]| usize::try_from(varint::take(rest).ok()?).ok();
    let (block_values, miniblocks) = (take(rest)?, take(rest)?);
    let total = take(rest)?;
    let mut last = varint::take_signed(rest).ok()?;
    let values = block_values.checked_div(miniblocks)?;
    if total != rows || rows == 0 || values == 0 || values % 32 != 0 || values > 1 << 16 {
        return None;
    }
    each(&[last]);
    let mut left = rows - 1;
    while left > 0 {
        let min_delta = varint::take_signed(rest).ok()?;
        let (widths, tail) = rest.split_at_checked(miniblocks)?;
        *rest = tail;
        for &width in widths {
            let size = values * usize::from(width) / 8;
            let mut packed = &[][..];
            if left > 0 {
                (packed, *rest) = rest.split_at_checked(size)?;
            }
            for i in 0..values / 32 {
                if left == 0 {
                    break;
                }
                let deltas = match width {
                    0 => [0; 32],
                    _ => unpack_32(packed.get(4 * usize::from(width) * i..)?, width)?,
                };
                let times = deltas.map(|delta| {
                    last = last.wrapping_add(min_delta).wrapping_add(delta as i64);
                    last
                });
                let wanted = left.min(32);
                each(&times[..wanted]);
                left -= wanted;
            }
        }
    }
    Some(())
}

/// 32 numbers of so many bits each, the lowest bits first; `None` for more than 64 bits, or not as many bytes as they take.
fn unpack_32(packed: &[u8], width: u8) -> Option<[u64; 32]> {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_32_of::<$width>(packed),)*
                _ => unpack_32_wide(packed, width),
            }
        };
    }
    // Times of samples differ by less than a day or two.
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30)
}

/// With the number of bits known, places and shifts are constants.
fn unpack_32_of<const WIDTH: usize>(packed: &[u8]) -> Option<[u64; 32]> {
    const ROOM: usize = 4 * 32 + 8;
    let mut near = [0; ROOM];
    near[..4 * WIDTH].copy_from_slice(packed.get(..4 * WIDTH)?);
    let mask = (1 << WIDTH) - 1;
    let number = |i: usize| {
        let at = i * WIDTH;
        // A number that begins within a byte lies in the eight bytes from there on.
        let bytes = near[at / 8..].first_chunk::<8>();
        (bytes.map_or(0, |b| u64::from_le_bytes(*b)) >> (at % 8)) & mask
    };
    Some(std::array::from_fn(number))
}

fn unpack_32_wide(packed: &[u8], width: u8) -> Option<[u64; 32]> {
    let mask = u64::MAX.checked_shr(64_u32.checked_sub(u32::from(width))?)?;
    let mut numbers = [0; 32];
    for (i, number) in numbers.iter_mut().enumerate() {
        let at = i * usize::from(width);
        let tail = packed.get(at / 8..)?;
        let mut near = [0; 16];
        let n = tail.len().min(16);
        near[..n].copy_from_slice(&tail[..n]);
        *number = (u128::from_le_bytes(near) >> (at % 8)) as u64 & mask;
    }
    Some(numbers)
}

/// The first bytes of all values, then the second ones, and so on.
#[derive(Debug)]
pub(super) struct Streams {
    bytes: Vec<u8>,
    rows: usize,
}

impl Streams {
    pub(super) const fn len(&self) -> usize {
        self.rows
    }

    /// Adds the values of some rows.
    pub(super) fn extend(&self, rows: Range<usize>, out: &mut Vec<f64>) {
        join_streams(&self.bytes, self.rows, rows, out);
    }
}

/// The value that all rows have, if they have one.
fn constant_of(bytes: &[u8], rows: usize) -> Option<f64> {
    let mut value = [0; 8];
    for (byte, stream) in std::iter::zip(&mut value, bytes.chunks_exact(rows.max(1))) {
        let (&first, rest) = stream.split_first()?;
        if rest != &stream[..rest.len()] {
            return None;
        }
        *byte = first;
    }
    (rows > 0).then(|| f64::from_le_bytes(value))
}

/// Adds the values of some of `total` rows.
fn join_streams(bytes: &[u8], total: usize, rows: Range<usize>, out: &mut Vec<f64>) {
    out.reserve(rows.len());
    let streams: [&[u8]; 8] = std::array::from_fn(|s| &bytes[s * total..][rows.clone()]);
    let eights = streams.map(|s| s.as_chunks::<8>().0);
    // As long as the first one is, which saves a check of each.
    let [a, b, c, d, e, f, g, h] = eights.map(|s| &s[..eights[0].len()]);
    for i in 0..a.len() {
        let rows = [a[i], b[i], c[i], d[i], e[i], f[i], g[i], h[i]].map(u64::from_le_bytes);
        out.extend_from_slice(&transposed(rows).map(f64::from_bits));
    }
    for at in 8 * a.len()..rows.len() {
        out.push(f64::from_le_bytes(streams.map(|s| s[at])));
    }
}

/// Eight by eight bytes, rows for columns: swaps blocks of four, then two, then one.
/// Source: H. S. Warren, "Hacker's Delight", 7-3.
#[inline]
fn transposed(mut rows: [u64; 8]) -> [u64; 8] {
    swap_blocks::<4>(&mut rows, 0x0000_0000_FFFF_FFFF);
    swap_blocks::<2>(&mut rows, 0x0000_FFFF_0000_FFFF);
    swap_blocks::<1>(&mut rows, 0x00FF_00FF_00FF_00FF);
    rows
}

/// Swaps blocks of so many bytes and rows across the diagonal.
#[inline]
fn swap_blocks<const SIZE: usize>(rows: &mut [u64; 8], mask: u64) {
    for i in (0..8).filter(|i| i & SIZE == 0) {
        let swapped = ((rows[i] >> (8 * SIZE)) ^ rows[i + SIZE]) & mask;
        rows[i + SIZE] ^= swapped;
        rows[i] ^= swapped << (8 * SIZE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Encoding;
    use parquet::file::properties::WriterProperties;
    use parquet::schema::types::ColumnPath;
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::block::compression;

    /// The data pages of both columns, as parquet writes them.
    fn pages(t_ms: &[i64], v: &[f64]) -> [Vec<u8>; 2] {
        let schema = Arc::new(Schema::new(vec![
            Field::new("timestamp", DataType::Int64, false),
            Field::new("value", DataType::Float64, false),
        ]));
        let properties = WriterProperties::builder()
            .set_compression(compression(3))
            .set_dictionary_enabled(false)
            .set_data_page_size_limit(1 << 30)
            .set_column_encoding(ColumnPath::from("timestamp"), Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding(ColumnPath::from("value"), Encoding::BYTE_STREAM_SPLIT);
        let mut file = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut file, Arc::clone(&schema), Some(properties.build())).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(t_ms.to_vec())),
            Arc::new(Float64Array::from(v.to_vec())),
        ];
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        writer.write(&batch).unwrap();
        let metadata = writer.close().unwrap();
        let group = metadata.row_group(0);
        [0, 1].map(|c| {
            let column = group.column(c);
            let (start, size) = column.byte_range();
            file[start as usize..(start + size) as usize].to_vec()
        })
    }

    fn bits_of(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    /// Steps of any number of bits, alone and mixed.
    fn gaps() -> impl Strategy<Value = Vec<i64>> {
        let mixed = prop_oneof![8 => Just(15_000_i64), 1 => 0..30_000_i64, 1 => any::<i64>()];
        let narrow = (0..62_u32).prop_flat_map(|bits| {
            let gap = 0..=(1_i64 << bits);
            proptest::collection::vec(gap, 1..700)
        });
        prop_oneof![1 => proptest::collection::vec(mixed, 1..700), 3 => narrow]
    }

    fn times_of(gaps: Vec<i64>) -> Vec<i64> {
        let mut t = 1_700_000_000_000_i64;
        let next = |gap: i64| {
            t = t.wrapping_add(gap);
            t
        };
        gaps.into_iter().map(next).collect()
    }

    fn all_values(packed: &[u8], rows: usize) -> Vec<f64> {
        let mut all = Vec::new();
        values(packed, rows).unwrap().extend(0..rows, &mut all);
        all
    }

    #[test]
    fn a_page_of_one_value_takes_no_room_and_only_such_a_page() {
        for value in [1.0, -0.0, 1e-300, f64::from_bits(0x7ff0_0000_0000_0002)] {
            for rows in [1, 2, 7, 300] {
                let t_ms: Vec<i64> = (0..rows as i64).map(|i| i * 15_000).collect();
                let v = vec![value; rows];
                let [_, packed] = pages(&t_ms, &v);
                let unpacked = values(&packed, rows).unwrap();
                assert!(
                    matches!(unpacked, Values::Constant { .. }),
                    "{value} {rows}"
                );
                assert_eq!(bits_of(&all_values(&packed, rows)), bits_of(&v));
            }
            // All but one: the first or the last, by its lowest or its highest bits.
            for (at, bits) in [(0, 1), (299, 1), (0, 1 << 63), (299, 1 << 63)] {
                let t_ms: Vec<i64> = (0..300).map(|i| i * 15_000).collect();
                let mut v = vec![value; 300];
                v[at] = f64::from_bits(value.to_bits() ^ bits);
                let [_, packed] = pages(&t_ms, &v);
                assert!(matches!(values(&packed, 300), Some(Values::Plain(_))));
                assert_eq!(bits_of(&all_values(&packed, 300)), bits_of(&v));
            }
        }
    }

    proptest! {
        #[test]
        fn pages_unpack_to_what_parquet_packed(
            gaps in gaps(),
            bits in proptest::collection::vec(any::<u64>(), 700),
        ) {
            let t_ms = times_of(gaps);
            let v: Vec<f64> = bits[..t_ms.len()].iter().map(|b| f64::from_bits(*b)).collect();
            let [packed_times, packed_values] = pages(&t_ms, &v);
            let rows = t_ms.len();
            let mut unpacked = Vec::new();
            times(&packed_times, rows).unwrap().extend(0..rows, &mut unpacked);
            prop_assert_eq!(unpacked, t_ms);
            let streams = streams(&packed_values, rows).unwrap();
            for part in [0..rows, rows / 3..rows, 0..rows / 2, rows / 5..rows / 2] {
                let mut some = Vec::new();
                streams.extend(part.clone(), &mut some);
                prop_assert_eq!(bits_of(&some), bits_of(&v[part]));
            }
            prop_assert_eq!(bits_of(&all_values(&packed_values, rows)), bits_of(&v));
            // The other column is another layout, and other rows are another page.
            prop_assert_eq!(times(&packed_values, rows), None);
            prop_assert!(values(&packed_values, rows + 1).is_none());
        }

        #[test]
        fn near_and_far_times_of_a_series_are_found_alike(
            near in proptest::collection::vec(0..30_000_i64, 1..100),
            gap in prop_oneof![Just(0_i64), 0..(1_i64 << 33)],
            rows in any::<[proptest::sample::Index; 2]>(),
            bounds in any::<[proptest::sample::Index; 2]>(),
        ) {
            let mut gaps = near.clone();
            gaps.push(gap);
            gaps.extend(near);
            let t_ms = times_of(gaps);
            let [packed, _] = pages(&t_ms, &vec![0.0; t_ms.len()]);
            let times = times(&packed, t_ms.len()).unwrap();
            let is_near = t_ms[t_ms.len() - 1] - t_ms[0] < 1 << 31;
            prop_assert_eq!(matches!(times, Times::Near { .. }), is_near);
            let [a, b] = rows.map(|i| i.index(t_ms.len()));
            let rows = a.min(b)..a.max(b);
            let [min, max] = bounds.map(|i| t_ms[i.index(t_ms.len())]);
            let range = MsRange::new(min, max);
            let mut found = Vec::new();
            times.extend(times.within(rows.clone(), range), &mut found);
            let expected: Vec<i64> =
                t_ms[rows].iter().copied().filter(|t| (min..=max).contains(t)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn bytes_that_are_no_page_are_left_alone(
            page in proptest::collection::vec(any::<u8>(), 0..200),
            rows in 0..1000_usize,
        ) {
            let _ = times(&page, rows);
            let _ = values(&page, rows);
        }

        #[test]
        fn damaged_pages_do_no_harm(at in 0..400_usize, byte: u8) {
            let t_ms = times_of((0..300).map(|i| 15_000 + i % 7).collect());
            let v = vec![1.5; 300];
            for mut page in pages(&t_ms, &v) {
                let n = page.len();
                page[at % n] = byte;
                let _ = times(&page, 300);
                let _ = values(&page, 300);
                let _ = times(&page[..at % n], 300);
                let _ = far_times(&page, 300);
            }
        }
    }
}

//! One record: header and body as bytes, and back.

use crate::model::{Record, Tenant};

/// Version of the record layout that is written.
const VERSION: u8 = 1;
/// `len` and `crc`.
pub(super) const PREFIX_LEN: usize = 8;
/// From `seq` to `refused len`.
const FIXED_LEN: usize = 28;
/// Bytes of a whole header.
pub(super) const HEADER_LEN: usize = PREFIX_LEN + FIXED_LEN;

/// A record read back.
#[derive(Clone, Debug)]
pub(crate) struct WalRecord<'a> {
    pub(crate) seq: u64,
    pub(crate) tenant: Tenant,
    pub(crate) refused: Vec<u32>,
    pub(crate) record: Record<'a>,
}

/// Everything of a record before its payload, but for sequence number and checksum.
pub(super) struct Head {
    bytes: Vec<u8>,
    payload_crc: u32,
}

impl Head {
    /// Sums the payload and lays out the rest. Done before the log's lock is taken.
    /// `None` when the record is longer than its length field can say.
    pub(super) fn new(tenant: &Tenant, refused: &[u32], record: Record<'_>) -> Option<Self> {
        let name = tenant.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(HEADER_LEN + name.len() + refused.len() * 2);
        bytes.extend_from_slice(&[0; PREFIX_LEN]);
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(record.kind);
        bytes.push(VERSION);
        bytes.extend_from_slice(&u16::try_from(name.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&record.flags.to_le_bytes());
        bytes.extend_from_slice(&record.received_ms.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(name);
        let refused_start = bytes.len();
        let mut before = 0;
        for &position in refused {
            // Positions ascend; wrapping keeps any other order readable too.
            put_varint(&mut bytes, position.wrapping_sub(before));
            before = position;
        }
        let refused_len = u32::try_from(bytes.len() - refused_start).ok()?;
        put(&mut bytes, 32, &refused_len.to_le_bytes());
        let len = u32::try_from(bytes.len() - PREFIX_LEN + record.payload.len()).ok()?;
        put(&mut bytes, 0, &len.to_le_bytes());
        Some(Self {
            bytes,
            payload_crc: crc32c::crc32c(record.payload),
        })
    }

    /// Bytes before the payload.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The finished bytes.
    pub(super) fn number(&mut self, seq: u64) -> &[u8] {
        put(&mut self.bytes, PREFIX_LEN, &seq.to_le_bytes());
        let summed = self.bytes.get(PREFIX_LEN..).unwrap_or_default();
        let crc = crc32c::crc32c_append(self.payload_crc, summed);
        put(&mut self.bytes, 4, &crc.to_le_bytes());
        &self.bytes
    }
}

/// At most so many bytes come before the payload.
pub(super) fn head_bound(tenant: &Tenant, refused: usize) -> u64 {
    (HEADER_LEN + tenant.as_str().len() + refused * 5) as u64
}

/// The sequence number and length of what may be a record at the start of the bytes, without a look at its
/// checksum; `None` when it cannot be one.
pub(super) fn peek(bytes: &[u8]) -> Option<(u64, usize)> {
    let len = u32::from_le_bytes(array(bytes, 0)?) as usize;
    let whole = len.checked_add(PREFIX_LEN)?;
    if len < FIXED_LEN || whole > bytes.len() || *bytes.get(17)? != VERSION {
        return None;
    }
    Some((u64::from_le_bytes(array(bytes, 8)?), whole))
}

/// The record at the start of the bytes and its length, or `None` when it is not whole and right.
pub(super) fn parse(bytes: &[u8]) -> Option<(WalRecord<'_>, usize)> {
    let (seq, whole) = peek(bytes)?;
    let bytes = bytes.get(..whole)?;
    let crc = u32::from_le_bytes(array(bytes, 4)?);
    let tenant_len = usize::from(u16::from_le_bytes(array(bytes, 18)?));
    let refused_len = u32::from_le_bytes(array(bytes, 32)?) as usize;
    let refused_start = HEADER_LEN + tenant_len;
    let payload_start = refused_start.checked_add(refused_len)?;
    let payload = bytes.get(payload_start..)?;
    let summed = bytes.get(PREFIX_LEN..payload_start)?;
    if crc32c::crc32c_append(crc32c::crc32c(payload), summed) != crc {
        return None;
    }
    let tenant = std::str::from_utf8(bytes.get(HEADER_LEN..refused_start)?).ok()?;
    let record = WalRecord {
        seq,
        tenant: Tenant::from_stored(tenant).ok()?,
        refused: take_refused(bytes.get(refused_start..payload_start)?)?,
        record: Record {
            kind: *bytes.get(16)?,
            flags: u32::from_le_bytes(array(bytes, 20)?),
            received_ms: i64::from_le_bytes(array(bytes, 24)?),
            payload,
        },
    };
    Some((record, whole))
}

fn take_refused(mut bytes: &[u8]) -> Option<Vec<u32>> {
    let mut refused = Vec::new();
    let mut before = 0u32;
    while !bytes.is_empty() {
        before = before.wrapping_add(take_varint(&mut bytes)?);
        refused.push(before);
    }
    Some(refused)
}

fn put_varint(bytes: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push((n & 0x7f) as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut n = 0u32;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

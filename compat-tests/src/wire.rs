//! Protobuf written by hand: what the feeders send is spelled out here, field by field, so that a
//! mistake in the server's own message definitions cannot hide in a shared one.
//!
//! Every function appends to a buffer or returns one; none fails.

/// Appends an unsigned LEB128 number.
pub fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The number of an `sint32` or `sint64`.
#[must_use]
pub fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// A protobuf message under construction.
#[derive(Debug, Default, Clone)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, field: u32, wire: u64) {
        varint(&mut self.0, u64::from(field) << 3 | wire);
    }

    /// A length-delimited field: text, bytes or a message.
    pub fn bytes(&mut self, field: u32, data: impl AsRef<[u8]>) -> &mut Self {
        let data = data.as_ref();
        self.key(field, 2);
        varint(&mut self.0, data.len() as u64);
        self.0.extend_from_slice(data);
        self
    }

    /// A nested message.
    pub fn message(&mut self, field: u32, inner: &Self) -> &mut Self {
        self.bytes(field, &inner.0)
    }

    /// A varint field, left out when zero, as proto3 does.
    pub fn uint(&mut self, field: u32, n: u64) -> &mut Self {
        if n != 0 {
            self.uint_always(field, n);
        }
        self
    }

    /// A varint field that is written even when zero (members of a oneof).
    pub fn uint_always(&mut self, field: u32, n: u64) -> &mut Self {
        self.key(field, 0);
        varint(&mut self.0, n);
        self
    }

    /// An `int64` field, left out when zero.
    pub fn int(&mut self, field: u32, n: i64) -> &mut Self {
        self.uint(field, n as u64)
    }

    /// A `double` field by its bits, always written.
    pub fn double_bits(&mut self, field: u32, bits: u64) -> &mut Self {
        self.fixed64(field, bits)
    }

    /// A `fixed64` field, always written.
    pub fn fixed64(&mut self, field: u32, n: u64) -> &mut Self {
        self.key(field, 1);
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    /// A `fixed32` field, always written.
    pub fn fixed32(&mut self, field: u32, n: u32) -> &mut Self {
        self.key(field, 5);
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    /// A packed list of varints, left out when empty.
    pub fn packed(&mut self, field: u32, items: impl IntoIterator<Item = u64>) -> &mut Self {
        let mut inner = Vec::new();
        for n in items {
            varint(&mut inner, n);
        }
        if !inner.is_empty() {
            self.bytes(field, inner);
        }
        self
    }

    /// A packed list of doubles by their bits, left out when empty.
    pub fn packed_doubles(
        &mut self,
        field: u32,
        items: impl IntoIterator<Item = u64>,
    ) -> &mut Self {
        let inner: Vec<u8> = items.into_iter().flat_map(u64::to_le_bytes).collect();
        if !inner.is_empty() {
            self.bytes(field, inner);
        }
        self
    }
}

/// A snappy block, the compression of remote write and of Loki's push.
#[must_use]
pub fn snappy(data: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(data)
        .expect("a request is far below snappy's 4 GiB")
}

/// A gzip stream.
#[must_use]
pub fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(data)
        .expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_the_protobuf_documentation_shows() {
        let mut m = Message::new();
        m.uint(1, 150).bytes(2, "testing").int(3, -1);
        let mut expected = vec![0x08, 0x96, 0x01, 0x12, 0x07];
        expected.extend_from_slice(b"testing");
        expected.push(0x18);
        expected.extend_from_slice(&[0xff; 9]);
        expected.push(0x01);
        assert_eq!(m.0, expected);
        assert_eq!(zigzag(-2), 3);
        assert_eq!(zigzag(2), 4);
    }
}

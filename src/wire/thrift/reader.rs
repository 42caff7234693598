//! One reader for both protocols: the differences are in headers and integers.

use bytes::{Buf, Bytes};

/// Deepest nesting of structs and lists.
const MAX_DEPTH: usize = 32;

/// Which of the two encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Binary,
    Compact,
}

/// Bytes that are no Thrift.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ThriftError(pub(crate) String);

pub(super) type Result<T> = std::result::Result<T, ThriftError>;

/// Types of values, the same for both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The value lies in the field's header in the compact protocol.
    Bool(Option<bool>),
    Byte,
    Double,
    I16,
    I32,
    I64,
    Binary,
    Struct,
    Map,
    Set,
    List,
    Uuid,
}

/// Reads values from the front of a buffer; text and bytes share it.
pub(crate) struct Reader {
    buf: Bytes,
    protocol: Protocol,
    depth: usize,
}

impl Reader {
    pub(crate) fn new(protocol: Protocol, buf: Bytes) -> Self {
        Self {
            buf,
            protocol,
            depth: 0,
        }
    }

    /// Reads the header of a message and returns its name.
    pub(super) fn message(&mut self) -> Result<String> {
        match self.protocol {
            Protocol::Compact => {
                if self.u8()? != 0x82 {
                    return Err(ThriftError("not a compact message".to_owned()));
                }
                // Version and type share a byte; senders differ in both.
                self.u8()?;
                self.uvarint()?;
                self.text()
            }
            Protocol::Binary => {
                let head = self.fixed_i32()?;
                if head < 0 {
                    let name = self.text()?;
                    self.fixed_i32()?;
                    Ok(name)
                } else {
                    // The old form has no version: the length of the name comes first.
                    let name = self.take(usize::try_from(head).map_err(|_| eof())?)?;
                    self.u8()?;
                    self.fixed_i32()?;
                    Ok(String::from_utf8_lossy(&name).into_owned())
                }
            }
        }
    }

    /// Reads a struct; `field` gets each field's id and kind and must read or skip its value.
    pub(super) fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, Kind) -> Result<()>,
    ) -> Result<()> {
        self.deeper()?;
        let mut last = 0i16;
        loop {
            let head = self.u8()?;
            let (id, kind) = match self.protocol {
                Protocol::Binary => {
                    if head == 0 {
                        break;
                    }
                    let kind = binary_kind(head)?;
                    (self.fixed_i16()?, kind)
                }
                Protocol::Compact => {
                    if head == 0 {
                        break;
                    }
                    let delta = i16::from(head >> 4);
                    let id = if delta == 0 {
                        self.i16()?
                    } else {
                        last.wrapping_add(delta)
                    };
                    (id, compact_kind(head & 0x0f)?)
                }
            };
            last = id;
            field(self, id, kind)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a list or set; `item` gets the kind of its items and must read or skip one.
    pub(super) fn list(
        &mut self,
        mut item: impl FnMut(&mut Self, Kind) -> Result<()>,
    ) -> Result<()> {
        self.deeper()?;
        let head = self.u8()?;
        let (kind, count) = match self.protocol {
            Protocol::Binary => (binary_kind(head)?, self.count_i32()?),
            Protocol::Compact => {
                let kind = match compact_kind(head & 0x0f)? {
                    Kind::Bool(_) => Kind::Bool(None),
                    kind => kind,
                };
                let count = match head >> 4 {
                    15 => usize::try_from(self.uvarint()?).map_err(|_| eof())?,
                    n => usize::from(n),
                };
                (kind, count)
            }
        };
        // Every item takes at least one byte.
        if count > self.buf.len() {
            return Err(eof());
        }
        for _ in 0..count {
            item(self, kind)?;
        }
        self.depth -= 1;
        Ok(())
    }

    pub(super) fn bool(&mut self, kind: Kind) -> Result<bool> {
        match kind {
            Kind::Bool(Some(value)) => Ok(value),
            Kind::Bool(None) => Ok(self.u8()? == 1),
            _ => Err(wrong_kind()),
        }
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        match self.protocol {
            Protocol::Binary => self.fixed_i16(),
            Protocol::Compact => i16::try_from(self.zigzag()?).map_err(|_| wrong_kind()),
        }
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        match self.protocol {
            Protocol::Binary => self.fixed_i32(),
            Protocol::Compact => i32::try_from(self.zigzag()?).map_err(|_| wrong_kind()),
        }
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        match self.protocol {
            Protocol::Binary => Ok(i64::from_be_bytes(self.fixed()?)),
            Protocol::Compact => self.zigzag(),
        }
    }

    pub(super) fn double(&mut self) -> Result<f64> {
        let bytes = self.fixed()?;
        Ok(match self.protocol {
            Protocol::Binary => f64::from_be_bytes(bytes),
            Protocol::Compact => f64::from_le_bytes(bytes),
        })
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes> {
        let n = match self.protocol {
            Protocol::Binary => self.count_i32()?,
            Protocol::Compact => usize::try_from(self.uvarint()?).map_err(|_| eof())?,
        };
        self.take(n)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Bool(Some(_)) => Ok(()),
            Kind::Bool(None) | Kind::Byte => self.u8().map(|_| ()),
            Kind::Double => self.fixed::<8>().map(|_| ()),
            Kind::I16 => match self.protocol {
                Protocol::Binary => self.fixed::<2>().map(|_| ()),
                Protocol::Compact => self.uvarint().map(|_| ()),
            },
            Kind::I32 => match self.protocol {
                Protocol::Binary => self.fixed::<4>().map(|_| ()),
                Protocol::Compact => self.uvarint().map(|_| ()),
            },
            Kind::I64 => self.i64().map(|_| ()),
            Kind::Binary => self.bytes().map(|_| ()),
            Kind::Struct => self.structure(|r, _, kind| r.skip(kind)),
            Kind::Set | Kind::List => self.list(Self::skip),
            Kind::Uuid => self.fixed::<16>().map(|_| ()),
            Kind::Map => self.skip_map(),
        }
    }

    fn skip_map(&mut self) -> Result<()> {
        self.deeper()?;
        let (key, value, count) = match self.protocol {
            Protocol::Binary => {
                let (key, value) = (self.u8()?, self.u8()?);
                let count = self.count_i32()?;
                if count == 0 {
                    self.depth -= 1;
                    return Ok(());
                }
                (binary_kind(key)?, binary_kind(value)?, count)
            }
            Protocol::Compact => {
                let count = usize::try_from(self.uvarint()?).map_err(|_| eof())?;
                if count == 0 {
                    self.depth -= 1;
                    return Ok(());
                }
                let kinds = self.u8()?;
                let plain = |kind| match kind {
                    Kind::Bool(_) => Kind::Bool(None),
                    kind => kind,
                };
                (
                    plain(compact_kind(kinds >> 4)?),
                    plain(compact_kind(kinds & 0x0f)?),
                    count,
                )
            }
        };
        if count > self.buf.len() {
            return Err(eof());
        }
        for _ in 0..count {
            self.skip(key)?;
            self.skip(value)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ThriftError("nested too deeply".to_owned()));
        }
        Ok(())
    }

    fn u8(&mut self) -> Result<u8> {
        self.fixed::<1>().map(|[b]| b)
    }

    fn fixed_i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    fn fixed_i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    fn count_i32(&mut self) -> Result<usize> {
        usize::try_from(self.fixed_i32()?).map_err(|_| eof())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = *self.buf.first_chunk::<N>().ok_or_else(eof)?;
        self.buf.advance(N);
        Ok(bytes)
    }

    fn take(&mut self, n: usize) -> Result<Bytes> {
        if n > self.buf.len() {
            return Err(eof());
        }
        Ok(self.buf.split_to(n))
    }

    fn uvarint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(wrong_kind())
    }

    fn zigzag(&mut self) -> Result<i64> {
        let n = self.uvarint()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }
}

fn binary_kind(code: u8) -> Result<Kind> {
    Ok(match code {
        2 => Kind::Bool(None),
        3 => Kind::Byte,
        4 => Kind::Double,
        6 => Kind::I16,
        8 => Kind::I32,
        10 => Kind::I64,
        11 => Kind::Binary,
        12 => Kind::Struct,
        13 => Kind::Map,
        14 => Kind::Set,
        15 => Kind::List,
        16 => Kind::Uuid,
        _ => return Err(ThriftError(format!("Unknown data type {code}"))),
    })
}

fn compact_kind(code: u8) -> Result<Kind> {
    Ok(match code {
        1 => Kind::Bool(Some(true)),
        2 => Kind::Bool(Some(false)),
        3 => Kind::Byte,
        4 => Kind::I16,
        5 => Kind::I32,
        6 => Kind::I64,
        7 => Kind::Double,
        8 => Kind::Binary,
        9 => Kind::List,
        10 => Kind::Set,
        11 => Kind::Map,
        12 => Kind::Struct,
        13 => Kind::Uuid,
        _ => return Err(ThriftError(format!("Unknown data type {code}"))),
    })
}

fn eof() -> ThriftError {
    ThriftError("EOF".to_owned())
}

fn wrong_kind() -> ThriftError {
    ThriftError("a value of another type than the field's".to_owned())
}

/// Reads an item of a list of structs.
pub(super) fn structured<T>(
    r: &mut Reader,
    kind: Kind,
    read: impl FnOnce(&mut Reader) -> Result<T>,
) -> Result<T> {
    match kind {
        Kind::Struct => read(r),
        _ => Err(wrong_kind()),
    }
}

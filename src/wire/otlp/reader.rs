//! A pull reader for JSON as OTLP senders write it: lenient where the OpenTelemetry Collector is
//! (unknown fields, `null` for anything, numbers as text), strict where it is.
//!
//! Nothing is built but what the caller keeps, and depth is bounded, so a hostile body costs no
//! more memory than its own bytes. Errors carry the Collector's own wording.

use std::borrow::Cow;

use bytes::Bytes;

/// Deepest nesting of objects and lists. Deeper values could not be decoded again from protobuf,
/// whose decoder stops at a hundred messages.
const MAX_DEPTH: usize = 96;

/// JSON that cannot be read, in the words of the Collector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct JsonError(pub(crate) String);

type Result<T> = std::result::Result<T, JsonError>;

/// Reads one value after the other from the front of a text.
pub(crate) struct JsonReader<'a> {
    buf: &'a [u8],
    pos: usize,
    depth: usize,
}

impl<'a> JsonReader<'a> {
    pub(crate) fn new(buf: &'a [u8]) -> Self {
        Self {
            buf,
            pos: 0,
            depth: 0,
        }
    }

    /// Reads an object, or `null` as an empty one, and hands each key to `field`, which must read the value.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<()> {
        match self.next_token() {
            b'n' => self.literal(b"ull"),
            b'{' => {
                self.deeper()?;
                if self.peek_token() == b'}' {
                    self.pos += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                loop {
                    let key = match self.peek_token() {
                        b'"' => self.text()?,
                        c => {
                            self.pos += 1;
                            return Err(self.error(
                                "ReadMapCB",
                                &format!("expect \" after {{, but found {}", shown(c)),
                            ));
                        }
                    };
                    if self.next_token() != b':' {
                        return Err(self.error("ReadObject", "expect : after object field"));
                    }
                    field(self, &key)?;
                    match self.next_token() {
                        b',' => {}
                        b'}' => break,
                        c => {
                            return Err(self.error(
                                "ReadObject",
                                &format!("expect {{ or , or }} or n, but found {}", shown(c)),
                            ));
                        }
                    }
                }
                self.depth -= 1;
                Ok(())
            }
            c => Err(self.error(
                "ReadObject",
                &format!("expect {{ or , or }} or n, but found {}", shown(c)),
            )),
        }
    }

    /// Reads a list, or `null` as an empty one; `item` must read one value.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        match self.next_token() {
            b'n' => self.literal(b"ull"),
            b'[' => {
                self.deeper()?;
                if self.peek_token() == b']' {
                    self.pos += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                loop {
                    item(self)?;
                    match self.next_token() {
                        b',' => {}
                        b']' => break,
                        c => {
                            return Err(self.error(
                                "ReadArray",
                                &format!("expect [ or , or ] or n, but found {}", shown(c)),
                            ));
                        }
                    }
                }
                self.depth -= 1;
                Ok(())
            }
            c => Err(self.error(
                "ReadArray",
                &format!("expect [ or , or ] or n, but found {}", shown(c)),
            )),
        }
    }

    /// Reads a list of messages.
    pub(crate) fn list<T>(
        &mut self,
        out: &mut Vec<T>,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<()> {
        self.array(|r| {
            let one = item(r)?;
            out.push(one);
            Ok(())
        })
    }

    /// Reads text, or `null` as an empty one.
    pub(crate) fn string(&mut self) -> Result<String> {
        match self.peek_token() {
            b'"' => self.text().map(Cow::into_owned),
            b'n' => {
                self.pos += 1;
                self.literal(b"ull").map(|()| String::new())
            }
            c => {
                self.pos += 1;
                Err(self.error(
                    "ReadString",
                    &format!("expects \" or n, but found {}", shown(c)),
                ))
            }
        }
    }

    /// Reads `true`, `false` or `null`.
    pub(crate) fn bool(&mut self) -> Result<bool> {
        match self.next_token() {
            b't' => self.literal(b"rue").map(|()| true),
            b'f' => self.literal(b"alse").map(|()| false),
            b'n' => self.literal(b"ull").map(|()| false),
            c => Err(self.error(
                "ReadBool",
                &format!("expect t or f, but found {}", shown(c)),
            )),
        }
    }

    /// Reads an unsigned integer, a number or text.
    pub(crate) fn u64(&mut self) -> Result<u64> {
        let (token, quoted) = self.number_token()?;
        token
            .parse()
            .map_err(|_| self.number_error("Uint64", "ParseUint", &token, quoted))
    }

    /// Reads an unsigned integer of 32 bits, a number or text.
    pub(crate) fn u32(&mut self) -> Result<u32> {
        let (token, quoted) = self.number_token()?;
        token
            .parse()
            .map_err(|_| self.number_error("Uint32", "ParseUint", &token, quoted))
    }

    /// Reads an integer, a number or text.
    pub(crate) fn i64(&mut self) -> Result<i64> {
        let (token, quoted) = self.number_token()?;
        token
            .parse()
            .map_err(|_| self.number_error("Int64", "ParseInt", &token, quoted))
    }

    /// Reads an integer of 32 bits, a number or text.
    pub(crate) fn i32(&mut self) -> Result<i32> {
        let (token, quoted) = self.number_token()?;
        token
            .parse()
            .map_err(|_| self.number_error("Int32", "ParseInt", &token, quoted))
    }

    /// Reads a float, a number or text; `NaN`, `Infinity` and `-Infinity` as text.
    pub(crate) fn f64(&mut self) -> Result<f64> {
        let (token, _) = self.number_token()?;
        let value = match token.as_ref() {
            "Infinity" | "+Infinity" | "Inf" | "+Inf" => Some(f64::INFINITY),
            "-Infinity" | "-Inf" => Some(f64::NEG_INFINITY),
            "NaN" => Some(f64::NAN),
            t => t.parse().ok(),
        };
        value.ok_or_else(|| {
            self.error(
                "ReadFloat64",
                &format!("strconv.ParseFloat: parsing {token:?}: invalid syntax"),
            )
        })
    }

    /// Reads an enum: its number or one of its names.
    pub(crate) fn enumeration(&mut self, names: &[(&str, i32)]) -> Result<i32> {
        if self.peek_token() != b'"' {
            return self.i32();
        }
        let name = self.text()?;
        match names.iter().find(|(n, _)| *n == name) {
            Some((_, number)) => Ok(*number),
            None => Err(self.error("ReadEnumValue", "unknown string value")),
        }
    }

    /// Reads an id of so many bytes, written in hexadecimal; empty where it is absent.
    pub(crate) fn id(&mut self, bytes: usize) -> Result<Bytes> {
        let text = self.string()?;
        if text.is_empty() {
            return Ok(Bytes::new());
        }
        if text.len() != 2 * bytes {
            return Err(self.error("ID.UnmarshalJSONIter", "length mismatch"));
        }
        match hex::decode(&text) {
            Ok(id) if id.iter().all(|b| *b == 0) => Ok(Bytes::new()),
            Ok(id) => Ok(Bytes::from(id)),
            Err(_) => {
                let bad = text.chars().find(|c| !c.is_ascii_hexdigit()).unwrap_or(' ');
                Err(self.error(
                    "ID.UnmarshalJSONIter",
                    &format!("encoding/hex: invalid byte: U+{:04X} '{bad}'", bad as u32),
                ))
            }
        }
    }

    /// Reads bytes in base64.
    pub(crate) fn bytes(&mut self) -> Result<Bytes> {
        use base64::Engine as _;
        let text = self.string()?;
        base64::engine::general_purpose::STANDARD
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(|e| {
                let at = match e {
                    base64::DecodeError::InvalidByte(at, _)
                    | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                    _ => 0,
                };
                self.error(
                    "base64.Decode",
                    &format!("illegal base64 data at input byte {at}"),
                )
            })
    }

    /// Passes over any value.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.peek_token() {
            b'{' => self.object(|r, _| r.skip()),
            b'[' => self.array(Self::skip),
            b'"' => self.text().map(|_| ()),
            b't' | b'f' | b'n' => self.bool().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number_token().map(|_| ()),
            c => {
                self.pos += 1;
                Err(self.error(
                    "Skip",
                    &format!("do not know how to skip: {}", i32::from(c)),
                ))
            }
        }
    }

    /// Whether only white space is left.
    #[cfg(test)]
    fn at_end(&mut self) -> bool {
        self.skip_space();
        self.pos >= self.buf.len()
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("readObject", "exceeded max depth"));
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.buf.get(self.pos), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.pos += 1;
        }
    }

    /// The next byte that is no white space, 0 at the end; it is passed over.
    fn next_token(&mut self) -> u8 {
        let c = self.peek_token();
        if self.pos < self.buf.len() {
            self.pos += 1;
        }
        c
    }

    fn peek_token(&mut self) -> u8 {
        self.skip_space();
        self.buf.get(self.pos).copied().unwrap_or(0)
    }

    fn literal(&mut self, rest: &[u8]) -> Result<()> {
        let end = self.pos + rest.len();
        if self.buf.get(self.pos..end) == Some(rest) {
            self.pos = end;
            Ok(())
        } else {
            Err(self.error("skipThreeBytes", "expect a literal"))
        }
    }

    /// The text of a number, quoted or not; `null` is 0.
    fn number_token(&mut self) -> Result<(Cow<'a, str>, bool)> {
        match self.peek_token() {
            b'"' => Ok((self.text()?, true)),
            b'n' => {
                self.pos += 1;
                self.literal(b"ull").map(|()| (Cow::Borrowed("0"), false))
            }
            _ => {
                let start = self.pos;
                while matches!(
                    self.buf.get(self.pos),
                    Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
                ) {
                    self.pos += 1;
                }
                if start == self.pos {
                    let c = self.next_token();
                    return Err(
                        self.error("readNumber", &format!("unexpected character: {}", shown(c)))
                    );
                }
                let token = self.buf.get(start..self.pos).unwrap_or_default();
                Ok((String::from_utf8_lossy(token), false))
            }
        }
    }

    fn number_error(&self, kind: &str, call: &str, token: &str, quoted: bool) -> JsonError {
        if !quoted && token.contains(['.', 'e', 'E']) {
            return self.error("assertInteger", "can not decode float as int");
        }
        self.error(
            &format!("Read{kind}"),
            &format!("strconv.{call}: parsing {token:?}: invalid syntax"),
        )
    }

    /// Text between quotes. Bytes that are not UTF-8 become replacement characters.
    fn text(&mut self) -> Result<Cow<'a, str>> {
        self.pos += 1;
        let start = self.pos;
        let rest = self.buf.get(start..).unwrap_or_default();
        let Some(stop) = memchr::memchr2(b'"', b'\\', rest) else {
            self.pos = self.buf.len();
            return Err(self.error("ReadString", "unexpected end of input"));
        };
        if rest.get(stop) == Some(&b'"') {
            self.pos = start + stop + 1;
            return Ok(String::from_utf8_lossy(
                rest.get(..stop).unwrap_or_default(),
            ));
        }
        let mut out = rest.get(..stop).unwrap_or_default().to_vec();
        self.pos = start + stop;
        loop {
            let rest = self.buf.get(self.pos..).unwrap_or_default();
            let Some(stop) = memchr::memchr2(b'"', b'\\', rest) else {
                self.pos = self.buf.len();
                return Err(self.error("ReadString", "unexpected end of input"));
            };
            out.extend_from_slice(rest.get(..stop).unwrap_or_default());
            self.pos += stop + 1;
            if rest.get(stop) == Some(&b'"') {
                return Ok(Cow::Owned(match String::from_utf8(out) {
                    Ok(s) => s,
                    Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
                }));
            }
            self.escape(&mut out)?;
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let c = self.buf.get(self.pos).copied().unwrap_or(0);
        self.pos += 1;
        match c {
            b'"' | b'\\' | b'/' => out.push(c),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut code = u32::from(self.hex4()?);
                if (0xd800..0xdc00).contains(&code)
                    && self.buf.get(self.pos..self.pos + 2) == Some(b"\\u")
                {
                    let at = self.pos;
                    self.pos += 2;
                    let low = u32::from(self.hex4()?);
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    } else {
                        self.pos = at;
                    }
                }
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return Err(self.error("readEscapedChar", "invalid escape char after \\")),
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u16> {
        let digits = self.buf.get(self.pos..self.pos + 4);
        let value = digits
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit))
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u16::from_str_radix(d, 16).ok());
        self.pos += 4;
        value.ok_or_else(|| self.error("readU4", "expects 0~9 or a~f"))
    }

    /// The Collector's form of an error: what, and the text around the place.
    fn error(&self, operation: &str, message: &str) -> JsonError {
        let head = self.pos.min(self.buf.len());
        let around = |n: usize| {
            let from = head.saturating_sub(n);
            let to = (head + n).min(self.buf.len());
            String::from_utf8_lossy(self.buf.get(from..to).unwrap_or_default()).into_owned()
        };
        JsonError(format!(
            "{operation}: {message}, error found in #{} byte of ...|{}|..., bigger context ...|{}|...",
            head.min(10),
            around(10),
            around(50)
        ))
    }
}

/// A byte as the Collector shows it: the end of the text is a NUL.
fn shown(c: u8) -> char {
    char::from(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_the_collector_words_them() {
        let read = |text: &str| {
            JsonReader::new(text.as_bytes())
                .object(|r, key| match key {
                    "resourceSpans" => r.array(JsonReader::skip),
                    _ => r.skip(),
                })
                .unwrap_err()
                .0
        };
        assert_eq!(
            read("x"),
            "ReadObject: expect { or , or } or n, but found x, error found in #1 byte of ...|x|..., bigger context ...|x|..."
        );
        assert_eq!(
            read("{\"resourceSpans\":1}"),
            "ReadArray: expect [ or , or ] or n, but found 1, error found in #10 byte of ...|ceSpans\":1}|..., bigger context ...|{\"resourceSpans\":1}|..."
        );
        assert_eq!(
            read(""),
            "ReadObject: expect { or , or } or n, but found \0, error found in #0 byte of ...||..., bigger context ...||..."
        );
    }

    #[test]
    fn text_keeps_escapes_and_pairs_of_surrogates() {
        let mut r = JsonReader::new(br#" "a\n\u00e9\ud83d\ude00\u0000" "#);
        assert_eq!(r.string().unwrap(), "a\né😀\0");
        assert!(r.at_end());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        assert!(JsonReader::new(deep.as_bytes()).skip().is_err());
    }
}

//! Quoted texts: Go's three kinds of quotes and its escapes, in both directions.

use std::fmt::Write as _;

/// Reads a quoted text that starts with `quote`: its bytes, and how many bytes of the input it took.
pub(super) fn unquote(input: &str, quote: char) -> Result<(Vec<u8>, usize), String> {
    if quote == '`' {
        let end = input[1..]
            .find('`')
            .ok_or_else(|| "unterminated raw string".to_owned())?;
        return Ok((input.as_bytes()[1..=end].to_vec(), end + 2));
    }
    let mut out = Vec::new();
    let mut rest = &input[1..];
    loop {
        let Some(c) = rest.chars().next() else {
            return Err("unterminated quoted string".to_owned());
        };
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => return Err("unterminated quoted string".to_owned()),
            '\\' => rest = escape(rest, quote, &mut out)?,
            _ if c == quote => return Ok((out, input.len() - rest.len())),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Reads what follows a backslash; returns the rest.
fn escape<'a>(input: &'a str, quote: char, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let Some(c) = input.chars().next() else {
        return Err("escape sequence not terminated".to_owned());
    };
    let rest = &input[c.len_utf8()..];
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '0'..='7' => return coded(input, 3, 8, true, out),
        'x' => return coded(rest, 2, 16, true, out),
        'u' => return coded(rest, 4, 16, false, out),
        'U' => return coded(rest, 8, 16, false, out),
        _ if c == quote => c as u8,
        _ => return Err(format!("unknown escape sequence {}", code_point(c))),
    };
    out.push(simple);
    Ok(rest)
}

/// Reads `digits` digits: a byte, or a code point.
fn coded<'a>(
    input: &'a str,
    digits: usize,
    radix: u32,
    byte: bool,
    out: &mut Vec<u8>,
) -> Result<&'a str, String> {
    let mut value: u32 = 0;
    let mut rest = input;
    for _ in 0..digits {
        let Some(c) = rest.chars().next() else {
            return Err("escape sequence not terminated".to_owned());
        };
        let digit = c
            .to_digit(radix)
            .ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
        rest = &rest[c.len_utf8()..];
    }
    if byte {
        let value = u8::try_from(value)
            .map_err(|_| "escape sequence is an invalid Unicode code point".to_owned())?;
        out.push(value);
    } else {
        let c = char::from_u32(value)
            .ok_or_else(|| "escape sequence is an invalid Unicode code point".to_owned())?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(rest)
}

/// `U+0071 'q'`
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}

/// A character in single quotes; the end of the text is U+FFFD.
pub(super) fn quote_char(c: Option<char>) -> String {
    match c {
        None => "'\u{fffd}'".to_owned(),
        Some('\'') => "'\\''".to_owned(),
        Some(c) => {
            let mut out = String::from("'");
            push_escaped(&mut out, c, '\'');
            out.push('\'');
            out
        }
    }
}

/// A text in double quotes, as Go's `%q` writes it: printable characters as they are.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c, '"');
    }
    out.push('"');
    out
}

/// As [`quote`], with `\xff` for bytes that are no UTF-8.
#[must_use]
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c, '"');
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        _ if c == quote => {
            out.push('\\');
            out.push(c);
        }
        _ if c < ' ' || c == '\u{7f}' => {
            let _ = write!(out, "\\x{:02x}", c as u32);
        }
        _ if is_printable(c) => out.push(c),
        _ if (c as u32) < 0x1_0000 => {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
        _ => {
            let _ = write!(out, "\\U{:08x}", c as u32);
        }
    }
}

/// Near enough to Go's table: separators, controls, marks of direction and private or unassigned places are escaped.
fn is_printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c as u32,
                0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff0..=0xfffb
                | 0xe000..=0xf8ff | 0xfdd0..=0xfdef | 0xe0000..=0xe0fff | 0xf0000..=0x0010_ffff)
            || (c as u32) & 0xfffe == 0xfffe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved() {
        let cases: [(&str, &[u8]); 6] = [
            (r#""a\n\t\\\"""#, b"a\n\t\\\""),
            (r"'it\'s'", b"it's"),
            (r"`raw \n`", br"raw \n"),
            (r#""\xff\101""#, b"\xffA"),
            ("\"\\u00e9\\U0001F600\"", "é😀".as_bytes()),
            ("\"é\"", "é".as_bytes()),
        ];
        for (input, expected) in cases {
            let quote = input.chars().next().unwrap();
            assert_eq!(
                unquote(input, quote),
                Ok((expected.to_vec(), input.len())),
                "{input}"
            );
        }
    }

    #[test]
    fn bad_escapes_are_told() {
        let cases = [
            (r"'\q'", "unknown escape sequence U+0071 'q'"),
            (r"'\xZZ'", "illegal character U+005A 'Z' in escape sequence"),
            (
                r"'\ud800'",
                "escape sequence is an invalid Unicode code point",
            ),
            (
                r"'\400'",
                "escape sequence is an invalid Unicode code point",
            ),
            ("'a", "unterminated quoted string"),
            ("'a\nb'", "unterminated quoted string"),
        ];
        for (input, expected) in cases {
            assert_eq!(unquote(input, '\''), Err(expected.to_owned()), "{input}");
        }
    }

    #[test]
    fn quoting_escapes_what_cannot_be_printed() {
        assert_eq!(quote("a\"b\\\n\u{0}é\u{feff}"), r#""a\"b\\\n\x00é\ufeff""#);
        assert_eq!(quote_bytes(b"a\xc5z"), r#""a\xc5z""#);
    }
}

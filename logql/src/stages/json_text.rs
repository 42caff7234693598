//! JSON read in place: values keep their text, and what is wrong is worded as the reader that Loki
//! uses words it. It is lenient where that one is: nothing behind the first object is looked at,
//! and a comma may trail.

use std::borrow::Cow;

pub(super) const NO_OBJECT: &str = "Value looks like object, but can't find closing '}' symbol";
const NO_ARRAY: &str = "Value is array, but can't find closing ']' symbol";
const NO_STRING: &str = "Value is string, but can't find closing '\"' symbol";
const NO_VALUE: &str =
    "Value looks like Number/Boolean/None, but can't find its end: ',' or '}' symbol";
const UNKNOWN: &str = "Unknown value type";
const MALFORMED: &str = "Malformed JSON error";

/// A value as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    /// Without its quotes, escapes as they are.
    Text(&'a str),
    /// Number or boolean.
    Plain(&'a str),
    Null,
    Object(&'a str),
    Array(&'a str),
}

type Error = &'static str;

fn skip(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

/// A text behind its opening quote: what is inside, and what follows.
fn quoted(text: &str) -> Result<(&str, &str), Error> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found;
        if bytes[at] == b'"' {
            return Ok((&text[..at], &text[at + 1..]));
        }
        at += 2;
        if at > bytes.len() {
            break;
        }
    }
    Err(NO_STRING)
}

fn block(text: &str, open: u8, close: u8) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let (_, rest) = quoted(&text[at + 1..]).ok()?;
                at = text.len() - rest.len();
                continue;
            }
            b if b == open => depth += 1,
            b if b == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(text.split_at(at + 1));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The value at the start of a text, and what follows.
pub(super) fn value(text: &str) -> Result<(Raw<'_>, &str), Error> {
    let text = skip(text);
    match text.as_bytes().first() {
        Some(b'"') => quoted(&text[1..]).map(|(inside, rest)| (Raw::Text(inside), rest)),
        Some(b'{') => block(text, b'{', b'}')
            .map(|(o, rest)| (Raw::Object(o), rest))
            .ok_or(NO_OBJECT),
        Some(b'[') => block(text, b'[', b']')
            .map(|(a, rest)| (Raw::Array(a), rest))
            .ok_or(NO_ARRAY),
        Some(first) => {
            let end = text
                .find([' ', '\t', '\n', '\r', ',', '}', ']'])
                .ok_or(NO_VALUE)?;
            let (plain, rest) = text.split_at(end);
            match (first, plain) {
                (b't' | b'f', "true" | "false") | (b'0'..=b'9' | b'-', _) => {
                    Ok((Raw::Plain(plain), rest))
                }
                (b'n', "null") => Ok((Raw::Null, rest)),
                _ => Err(UNKNOWN),
            }
        }
        None => Err(MALFORMED),
    }
}

/// Members of an object in order, up to where `each` stops or the text is wrong.
pub(super) fn members<'a>(
    text: &'a str,
    mut each: impl FnMut(&'a str, Raw<'a>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut rest = skip(text).strip_prefix('{').ok_or(NO_OBJECT)?;
    loop {
        rest = skip(rest);
        if rest.starts_with('}') {
            return Ok(());
        }
        rest = rest.strip_prefix('"').ok_or(NO_OBJECT)?;
        let (key, behind) = quoted(rest)?;
        let behind = skip(behind).strip_prefix(':').ok_or(MALFORMED)?;
        let (value, behind) = value(behind)?;
        if !each(key, value)? {
            return Ok(());
        }
        rest = skip(behind);
        match rest.as_bytes().first() {
            Some(b'}') => return Ok(()),
            Some(b',') => rest = &rest[1..],
            Some(_) => return Err(NO_OBJECT),
            None => return Err(NO_ARRAY),
        }
    }
}

fn elements(text: &str) -> impl Iterator<Item = Raw<'_>> {
    let mut rest = skip(text).strip_prefix('[').unwrap_or("");
    std::iter::from_fn(move || {
        let (element, behind) = value(rest).ok()?;
        rest = skip(behind).strip_prefix(',').unwrap_or("");
        Some(element)
    })
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Index(usize),
}

/// The value that a path leads to.
pub(super) fn find<'a>(text: &'a str, path: &[Step]) -> Option<Raw<'a>> {
    // The first object may lack its end: what stands before the fault is still found.
    let start = skip(text);
    let mut at = match start.as_bytes().first()? {
        b'{' => Raw::Object(start),
        b'[' => Raw::Array(start),
        _ => value(start).ok()?.0,
    };
    for step in path {
        at = match (step, at) {
            (Step::Field(name), Raw::Object(object)) => {
                let mut found = None;
                // A broken tail does not undo what was found before it.
                let _ = members(object, |key, value| {
                    if unescape(key) == name.as_str() {
                        found = Some(value);
                    }
                    Ok(found.is_none())
                });
                found?
            }
            (Step::Index(i), Raw::Array(array)) => elements(array).nth(*i)?,
            _ => return None,
        };
    }
    Some(at)
}

/// A text with its escapes resolved; a wrong escape stays as it is written.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let simple = match rest.as_bytes().get(1) {
            Some(b'n') => Some('\n'),
            Some(b't') => Some('\t'),
            Some(b'r') => Some('\r'),
            Some(b'b') => Some('\u{8}'),
            Some(b'f') => Some('\u{c}'),
            Some(c @ (b'"' | b'\\' | b'/')) => Some(*c as char),
            _ => None,
        };
        if let Some(c) = simple {
            out.push(c);
            rest = &rest[2..];
            continue;
        }
        match unicode(rest) {
            Some((c, len)) => {
                out.push(c);
                rest = &rest[len..];
            }
            None => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let high = unit(text)?;
    if !(0xd800..0xe000).contains(&high) {
        return char::from_u32(high).map(|c| (c, 6));
    }
    let low = text.get(6..).and_then(unit)?;
    let both = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
    let code = 0x10000 + ((high.wrapping_sub(0xd800)) << 10) + (low.wrapping_sub(0xdc00));
    both.then(|| char::from_u32(code).map(|c| (c, 12)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_up_to_a_fault() {
        let read = |text: &str| {
            let mut keys = String::new();
            let result = members(text, |k, _| {
                keys.push_str(k);
                Ok(true)
            });
            (keys, result)
        };
        assert_eq!(read(r#"{"a":1,"b":[{}],} x"#), ("ab".into(), Ok(())));
        assert_eq!(read(r#"{"a":1 "b":2}"#), ("a".into(), Err(NO_OBJECT)));
        assert_eq!(read("prefix {}"), (String::new(), Err(NO_OBJECT)));
        assert_eq!(read(r#"{"a":"x"#), (String::new(), Err(NO_STRING)));
        assert_eq!(read(r#"{"a":12"#), (String::new(), Err(NO_VALUE)));
        assert_eq!(read(r#"{"a":"\"#), (String::new(), Err(NO_STRING)));
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(
            unescape(r#"l\nb \u00e9 \ud83d\ude00 \/ \"q\""#),
            "l\nb é 😀 / \"q\""
        );
        assert_eq!(unescape(r"\ud83d x \q"), r"\ud83d x \q");
    }

    #[test]
    fn paths_lead_into_objects_and_arrays() {
        let text = r#"{"a":{"b":[{"c":1},{"c":2}]}}"#;
        let path = [
            Step::Field("a".into()),
            Step::Field("b".into()),
            Step::Index(1),
            Step::Field("c".into()),
        ];
        assert_eq!(find(text, &path), Some(Raw::Plain("2")));
        assert_eq!(
            find(text, &path[..1]),
            Some(Raw::Object(r#"{"b":[{"c":1},{"c":2}]}"#))
        );
        assert_eq!(find(text, &[Step::Field("z".into())]), None);
    }
}

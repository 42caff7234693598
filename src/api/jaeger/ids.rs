//! Trace ids as users write them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use storage::model::TraceId;

/// An id of 1 to 32 hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Result<TraceId, String> {
    let wrong = |part: &str| format!("strconv.ParseUint: parsing {part:?}: invalid syntax");
    if text.len() > 32 {
        return Err(format!(
            "TraceID cannot be longer than 32 hex characters: {text}"
        ));
    }
    if text.is_empty() {
        return Err(wrong(text));
    }
    if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        // The halves are parsed apart, and the message names the half at fault.
        let cut = text.len().saturating_sub(16);
        let (high, low) = match (text.get(..cut), text.get(cut..)) {
            (Some(high), Some(low)) => (high, low),
            _ => ("", text),
        };
        let bad = |part: &str| !part.bytes().all(|b| b.is_ascii_hexdigit());
        return Err(wrong(if bad(high) { high } else { low }));
    }
    let id = u128::from_str_radix(text, 16).map_err(|_| wrong(text))?;
    Ok(TraceId(id.to_be_bytes()))
}

/// An id in a path: hexadecimal, or base64 of 16 or 8 bytes in either alphabet, padded or not.
pub(super) fn from_path(text: &str) -> Result<TraceId, String> {
    from_hex(text).or_else(|hex_error| {
        if text.len() > 32 {
            return Err(hex_error);
        }
        match from_base64(text) {
            Some(Ok(id)) => Ok(id),
            Some(Err(())) => Err("invalid length for TraceID".to_owned()),
            None => Err(hex_error),
        }
    })
}

/// `None` when the text is no base64 at all.
fn from_base64(text: &str) -> Option<Result<TraceId, ()>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok();
    let bytes = decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE))?;
    Some(from_bytes(&bytes))
}

/// An id of 16 or 8 bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<TraceId, ()> {
    match bytes.len() {
        16 => bytes.try_into().map(TraceId).map_err(|_| ()),
        8 => {
            let mut id = [0; 16];
            id[8..].copy_from_slice(bytes);
            Ok(TraceId(id))
        }
        _ => Err(()),
    }
}

/// An id as the API writes it: 16 digits where the upper half is zero, else 32.
pub(super) fn short(id: TraceId) -> String {
    let text = id.to_string();
    match text.strip_prefix("0000000000000000") {
        Some(low) => low.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_id_is_one_id() {
        let id = from_hex("4afc25cc199ece38e5a5c3816c4a738b").unwrap();
        for text in [
            "4AFC25CC199ECE38E5A5C3816C4A738B",
            "SvwlzBmezjjlpcOBbEpziw==",
            "SvwlzBmezjjlpcOBbEpziw",
        ] {
            assert_eq!(from_path(text), Ok(id));
        }
        assert_eq!(short(from_hex("a1").unwrap()), "00000000000000a1");
        for (text, message) in [
            ("zz", "invalid length for TraceID"),
            ("-1", "invalid length for TraceID"),
            (
                "12 34",
                "strconv.ParseUint: parsing \"12 34\": invalid syntax",
            ),
        ] {
            assert_eq!(from_path(text), Err(message.to_owned()));
        }
    }
}

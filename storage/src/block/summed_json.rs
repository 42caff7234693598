//! Small JSON files whose last member is a checksum of every byte before it: a time or a size that changed on disk must
//! not pass for one that was written.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The member that comes last.
const CHECKSUM_KEY: &str = "\"checksum\"";

/// The bytes of the file. What is written is a struct of numbers, texts and lists of them.
pub(crate) fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    // Nothing that JSON could not say.
    let text = serde_json::to_string_pretty(content).expect("it is plain data");
    let text = text.strip_suffix("\n}").unwrap_or(&text);
    let mut text = format!("{text},\n  ");
    let sum = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("{CHECKSUM_KEY}: \"{sum:08x}\"\n}}\n"));
    text.into_bytes()
}

/// What these bytes say, and whether they had a checksum.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, bool), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let summed = text.rsplit_once(CHECKSUM_KEY);
    if let Some((covered, sum)) = summed {
        let sum = sum.trim_matches(|c: char| !c.is_ascii_hexdigit());
        if u32::from_str_radix(sum, 16) != Ok(crc32c::crc32c(covered.as_bytes())) {
            return Err("its checksum does not match".to_owned());
        }
    }
    let content = serde_json::from_str(text).map_err(|e| e.to_string())?;
    Ok((content, summed.is_some()))
}

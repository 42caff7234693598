//! Request bodies: read up to the limit, inflated up to the limit, never beyond.

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// A body that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than the limit, as sent or once inflated.
    #[error("request body too large: more than {limit_bytes} bytes (--limits.max-body-bytes)")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// Compressed bytes that cannot be inflated.
    #[error("{encoding}: {reason}")]
    Corrupt {
        /// Which coding.
        encoding: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A coding that is not taken.
    #[error("unsupported content encoding {0:?}")]
    UnsupportedEncoding(String),
    /// The connection broke.
    #[error("reading request body: {0}")]
    Broken(String),
}

/// Reads a body as it was sent.
///
/// # Errors
/// `TooLarge` or `Broken`.
pub async fn read(body: Body, limit_bytes: usize) -> Result<Bytes, BodyError> {
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(BodyError::TooLarge { limit_bytes }),
        Err(e) => Err(BodyError::Broken(e.to_string())),
    }
}

/// Bytes that a request says its body has; 0 where it does not.
#[must_use]
pub fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Bytes that a snappy block, its content, and what is decoded from that take together, about. One that declares more than the
/// limit is not going to be inflated.
#[must_use]
pub fn needed(compressed: &[u8], limit_bytes: usize) -> u64 {
    let declared = snap::raw::decompress_len(compressed).ok();
    let inflated = declared.filter(|&n| n <= limit_bytes).unwrap_or(0);
    compressed.len() as u64 + inflated as u64 / 2 * 3
}

/// Inflates a body by its `Content-Encoding`: none, `identity`, `gzip`, `deflate` (zlib), `zstd` or
/// `snappy` (the block format).
///
/// # Errors
/// Any but `Broken`.
pub fn inflate(headers: &HeaderMap, body: Bytes, limit_bytes: usize) -> Result<Bytes, BodyError> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map_or(&b""[..], |v| v.as_bytes());
    match encoding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(body),
        b"gzip" | b"x-gzip" => bounded(
            "gzip",
            flate2::read::MultiGzDecoder::new(&body[..]),
            limit_bytes,
        ),
        b"deflate" => bounded(
            "deflate",
            flate2::read::ZlibDecoder::new(&body[..]),
            limit_bytes,
        ),
        b"zstd" => {
            let decoder =
                zstd::stream::read::Decoder::new(&body[..]).map_err(|e| BodyError::Corrupt {
                    encoding: "zstd",
                    reason: e.to_string(),
                })?;
            bounded("zstd", decoder, limit_bytes)
        }
        b"snappy" => snappy(&body, limit_bytes),
        other => Err(BodyError::UnsupportedEncoding(
            String::from_utf8_lossy(other).into_owned(),
        )),
    }
}

/// Inflates a snappy block. The length that the block declares is checked before anything is allocated.
///
/// # Errors
/// `TooLarge` or `Corrupt`.
pub fn snappy(body: &[u8], limit_bytes: usize) -> Result<Bytes, BodyError> {
    let corrupt = |e: snap::Error| BodyError::Corrupt {
        encoding: "snappy",
        reason: e.to_string().trim_start_matches("snappy: ").to_owned(),
    };
    let declared = snap::raw::decompress_len(body).map_err(corrupt)?;
    // A snappy block cannot inflate to more than some 21 times its size; a larger claim is a lie.
    if declared > limit_bytes {
        return Err(BodyError::TooLarge { limit_bytes });
    }
    if declared > body.len().saturating_mul(64).saturating_add(64) {
        return Err(BodyError::Corrupt {
            encoding: "snappy",
            reason: format!("corrupt input: {} bytes cannot hold {declared}", body.len()),
        });
    }
    snap::raw::Decoder::new()
        .decompress_vec(body)
        .map(Bytes::from)
        .map_err(corrupt)
}

fn bounded(
    encoding: &'static str,
    decoder: impl Read,
    limit_bytes: usize,
) -> Result<Bytes, BodyError> {
    let mut out = Vec::new();
    decoder
        .take(limit_bytes as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|e| BodyError::Corrupt {
            encoding,
            reason: e.to_string(),
        })?;
    if out.len() > limit_bytes {
        return Err(BodyError::TooLarge { limit_bytes });
    }
    Ok(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn headers(encoding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        headers
    }

    #[test]
    fn every_coding_comes_back_as_it_was() {
        let text = b"some text, some text, some text".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        let cases = [
            ("gzip", gzip.finish().unwrap()),
            ("deflate", zlib.finish().unwrap()),
            ("zstd", zstd::encode_all(&text[..], 1).unwrap()),
            (
                "snappy",
                snap::raw::Encoder::new().compress_vec(&text).unwrap(),
            ),
            ("identity", text.clone()),
        ];
        for (encoding, body) in cases {
            let cut = Bytes::copy_from_slice(&body[..body.len() / 2]);
            assert_eq!(
                inflate(&headers(encoding), body.clone().into(), 1 << 20).unwrap(),
                text
            );
            if encoding != "identity" {
                assert!(
                    inflate(&headers(encoding), cut, 1 << 20).is_err(),
                    "{encoding}"
                );
                let too_large = BodyError::TooLarge { limit_bytes: 1000 };
                assert_eq!(
                    inflate(&headers(encoding), body.into(), 1000),
                    Err(too_large)
                );
            }
        }
    }

    #[test]
    fn a_block_that_declares_more_than_the_limit_is_refused_before_it_is_inflated() {
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert_eq!(
            snappy(&bomb, 1 << 20),
            Err(BodyError::TooLarge {
                limit_bytes: 1 << 20
            })
        );
        assert!(matches!(
            snappy(&bomb, usize::MAX),
            Err(BodyError::Corrupt { .. })
        ));
    }
}

//! Which version a write request speaks, and the words for those that speak none.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// Which version a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// `prometheus.WriteRequest`.
    One,
    /// `io.prometheus.write.v2.Request`.
    Two,
}

/// Refuses codings other than snappy. The text is the body of a 415.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), String> {
    match text(headers, CONTENT_ENCODING) {
        "" | "snappy" => Ok(()),
        other => Err(format!(
            "{other} encoding (compression) is not accepted by this server; only snappy is acceptable"
        )),
    }
}

/// The version by the content type. The text is the body of a 415.
pub(super) fn version(headers: &HeaderMap) -> Result<Version, String> {
    const MEDIA: &str = "application/x-protobuf";
    let content_type = text(headers, CONTENT_TYPE).trim();
    if content_type.is_empty() {
        return Ok(Version::One);
    }
    let mut parts = content_type.split(';');
    if parts.next() != Some(MEDIA) {
        return Err(format!(
            "expected {MEDIA} as the first (media) part, got {content_type} content-type"
        ));
    }
    for part in parts {
        let Some((name, value)) = part.split_once('=').filter(|(_, v)| !v.contains('=')) else {
            return Err(format!(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {part} in {content_type} content-type"
            ));
        };
        // A blank before the name is no reason to lose what the request brings.
        if name.trim() == "proto" {
            return match value {
                "prometheus.WriteRequest" => Ok(Version::One),
                "io.prometheus.write.v2.Request" => Ok(Version::Two),
                _ => Err(format!(
                    "got {content_type} content type; unknown type for remote write protobuf message {value}, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"
                )),
            };
        }
    }
    Ok(Version::One)
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &str) -> Result<Version, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        version(&headers)
    }

    #[test]
    fn the_content_type_decides_the_version() {
        for one in [
            "",
            "application/x-protobuf",
            " application/x-protobuf",
            "application/x-protobuf; charset=utf-8",
            "application/x-protobuf;proto=prometheus.WriteRequest",
        ] {
            assert_eq!(check(one), Ok(Version::One), "{one}");
        }
        for two in [
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "application/x-protobuf; proto=io.prometheus.write.v2.Request",
            "application/x-protobuf;charset=utf-8;proto=io.prometheus.write.v2.Request",
        ] {
            assert_eq!(check(two), Ok(Version::Two), "{two}");
        }
    }

    #[test]
    fn other_content_types_are_refused_in_words() {
        let refused = |content_type: &str, word: &str| {
            let text = check(content_type).unwrap_err();
            assert!(text.contains(word), "{text}");
        };
        refused("application/json", "got application/json content-type");
        refused(
            "application/x-protobuf;proto=nope",
            "unknown type for remote write protobuf message nope, supported",
        );
        refused(
            "application/x-protobuf;x",
            "expected parameters to be key-values, got x in",
        );
        refused("application/x-protobuf;a=b=c", "got a=b=c in");
    }

    #[test]
    fn only_snappy_is_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(check_encoding(&headers), Ok(()));
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(
            check_encoding(&headers)
                .unwrap_err()
                .starts_with("gzip encoding")
        );
    }
}

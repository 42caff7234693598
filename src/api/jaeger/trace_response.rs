//! The header `traceresponse`, with which each answer of the query API tells the trace it belongs to.
//! Source: W3C Trace Context, level 2.
//!
//! A request that names its trace in `traceparent` is answered with that trace; any other gets one of its own. No span
//! of it is recorded here, which the flags say.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};

const REQUEST: HeaderName = HeaderName::from_static("traceparent");
const ANSWER: HeaderName = HeaderName::from_static("traceresponse");

/// Adds the header to an answer.
pub(super) async fn add(request: Request, next: Next) -> Response {
    let trace_id = trace_of(request.headers()).unwrap_or_else(|| rand::random_range(1..=u128::MAX));
    let span_id = rand::random_range(1..=u64::MAX);
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&format!("00-{trace_id:032x}-{span_id:016x}-00")) {
        response.headers_mut().insert(ANSWER, value);
    }
    response
}

/// The trace that a request names; later versions of the header may add parts behind those of the first.
fn trace_of(headers: &HeaderMap) -> Option<u128> {
    let text = headers.get(REQUEST)?.to_str().ok()?;
    let mut parts = text.trim().split('-');
    let mut part = |digits: usize| {
        let part = parts.next().filter(|p| p.len() == digits)?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        part.bytes().all(lower_hex).then_some(part)
    };
    let version = part(2)?;
    let trace_id = u128::from_str_radix(part(32)?, 16).ok()?;
    let span_id = u64::from_str_radix(part(16)?, 16).ok()?;
    part(2)?;
    let ends = version != "00" || parts.next().is_none();
    (version != "ff" && ends && trace_id != 0 && span_id != 0).then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_name_its_trace() {
        let known = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let named = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST, HeaderValue::from_str(text).unwrap());
            trace_of(&headers)
        };
        let id = Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(named(&format!("00-{known}")), id);
        assert_eq!(named(&format!("01-{known}-more")), id);
        assert_eq!(named(&format!("00-{known}-more")), None);
        assert_eq!(named(&format!("ff-{known}")), None);
        assert_eq!(named(&format!("00-{}", known.to_uppercase())), None);
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(named(text), None, "{text}");
        }
    }
}

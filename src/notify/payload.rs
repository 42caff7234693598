//! Alerts as Alertmanager's API v2 takes them.
//!
//! Source: Alertmanager's `api/v2/openapi.yaml`, `postableAlerts`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Notification;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert<'a> {
    annotations: &'a BTreeMap<String, String>,
    ends_at: String,
    starts_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
}

/// The body of a request.
pub(super) fn encode(notifications: &[Notification]) -> Vec<u8> {
    let alerts: Vec<PostableAlert<'_>> = notifications
        .iter()
        .map(|n| PostableAlert {
            annotations: &n.annotations,
            ends_at: rfc3339(n.ends_at_ns),
            starts_at: rfc3339(n.starts_at_ns),
            generator_url: &n.generator_url,
            labels: n.labels.iter().collect(),
        })
        .collect();
    // Keys are texts and writing to memory cannot fail.
    serde_json::to_vec(&alerts).unwrap_or_default()
}

/// With milliseconds, in UTC.
fn rfc3339(t_ns: i64) -> String {
    let time = chrono::DateTime::from_timestamp_nanos(t_ns);
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use storage::model::Labels;

    use super::*;

    #[test]
    fn alerts_have_alertmanagers_shape() {
        let notification = Notification {
            labels: Labels::from_pairs([("alertname", "A"), ("job", "x")]),
            annotations: BTreeMap::from([("text", "t")].map(|(n, v)| (n.to_owned(), v.to_owned()))),
            starts_at_ns: 1_793_491_200_123_456_789,
            ends_at_ns: 1_793_491_440_000_000_000,
            generator_url: "http://here/graph".to_owned(),
        };
        let expected = r#"[{"annotations":{"text":"t"},"endsAt":"2026-11-01T00:04:00.000Z","startsAt":"2026-11-01T00:00:00.123Z","generatorURL":"http://here/graph","labels":{"alertname":"A","job":"x"}}]"#;
        assert_eq!(
            String::from_utf8(encode(&[notification])).unwrap(),
            expected
        );
    }
}

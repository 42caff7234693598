//! The JSON form of a push, written anew as protobuf.
//!
//! ```text
//!  {"streams": [{"stream": {"name": "value"}, "values": [["<ns>", "<line>", {"name": "value"}?], ..]}]}
//!  {"streams": [{"labels": "{..}", "entries": [{"ts": "<RFC 3339>", "line": ".."}]}]}      of `/api/prom/push`
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::PushError;
use super::labels::print_pairs;
use crate::wire::loki_push::Writer;

/// A value that is an object: by itself a struct would be read from a list of its members as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, default)]
    streams: Option<Vec<Object<Stream<'a>>>>,
}

#[derive(Deserialize)]
struct Stream<'a> {
    #[serde(borrow, default)]
    stream: Option<LabelMap<'a>>,
    #[serde(borrow, default)]
    values: Option<Vec<Entry<'a>>>,
    #[serde(borrow, default)]
    labels: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    entries: Option<Vec<Object<OldEntry<'a>>>>,
}

#[derive(Deserialize)]
struct OldEntry<'a> {
    ts: String,
    #[serde(borrow, default)]
    line: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Values of any kind are taken as their text.
#[derive(Deserialize)]
struct LabelMap<'a>(#[serde(borrow)] BTreeMap<String, &'a RawValue>);

struct Entry<'a> {
    t_ns: i64,
    line: Cow<'a, str>,
    metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

struct Metadata<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Metadata<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with text values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    pairs.push((name.0, value.0));
                }
                Ok(Metadata(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Entry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of time, line and metadata")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let time: Text<'de> = seq
                    .next_element()?
                    .ok_or_else(|| A::Error::custom("an entry without time"))?;
                let t_ns = time.0.parse().map_err(A::Error::custom)?;
                let line = seq.next_element::<Text<'de>>()?;
                let metadata = seq.next_element::<Metadata<'de>>()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry {
                    t_ns,
                    line: line.map_or(Cow::Borrowed(""), |l| l.0),
                    metadata: metadata.map_or_else(Vec::new, |m| m.0),
                })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

/// The request as protobuf.
pub(crate) fn to_protobuf(text: &[u8], old_shape: bool) -> Result<Vec<u8>, PushError> {
    if text.is_empty() {
        return Err(PushError::bad("EOF"));
    }
    let text = String::from_utf8_lossy(text);
    let bad = |e: serde_json::Error| PushError::bad(format!("loghttp.PushRequest: {e}"));
    let push: Option<Object<Push<'_>>> = serde_json::from_str(&text).map_err(bad)?;
    let mut writer = Writer::default();
    for Object(stream) in push.and_then(|p| p.0.streams).unwrap_or_default() {
        if old_shape {
            writer.stream(stream.labels.as_deref().unwrap_or("{}"));
            for Object(entry) in stream.entries.unwrap_or_default() {
                let time = chrono::DateTime::parse_from_rfc3339(&entry.ts)
                    .map_err(|e| PushError::bad(format!("parsing time {:?}: {e}", entry.ts)))?;
                let t_ns = time.timestamp_nanos_opt().unwrap_or_default();
                writer.entry(t_ns, &entry.line, []);
            }
            continue;
        }
        let labels = stream.stream.map_or_else(BTreeMap::new, |l| l.0);
        let labels: BTreeMap<String, Cow<'_, str>> = labels
            .into_iter()
            .map(|(name, value)| {
                let raw = value.get();
                let text =
                    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(raw), Cow::Owned);
                (name, text)
            })
            .collect();
        writer.stream(&print_pairs(
            labels.iter().map(|(n, v)| (n.as_str(), v.as_ref())),
        ));
        for entry in stream.values.unwrap_or_default() {
            let pairs = entry.metadata.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
            writer.entry(entry.t_ns, &entry.line, pairs);
        }
    }
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_lists_of_time_line_and_metadata() {
        let good = |values: &str| {
            let text = format!(r#"{{"streams":[{{"stream":{{"job":"x"}},"values":{values}}}]}}"#);
            to_protobuf(text.as_bytes(), false).is_ok()
        };
        for values in [
            "[]",
            "null",
            r#"[["1"]]"#,
            r#"[["1","a"]]"#,
            r#"[["1","a",{"k":"v"}]]"#,
            r#"[["1","a",{},"more"]]"#,
        ] {
            assert!(good(values), "{values}");
        }
        for values in [
            r#"[[1,"a"]]"#,
            r#"[["x","a"]]"#,
            r#"[["1",5]]"#,
            r#"[["1",null]]"#,
            r#"[["1","a","b"]]"#,
            r#"[["1","a",{"k":5}]]"#,
            r#"["1","flat"]"#,
        ] {
            assert!(!good(values), "{values}");
        }
    }

    #[test]
    fn requests_and_streams_are_objects() {
        for text in ["null", "{}", r#"{"streams":null}"#, r#"{"streams":[{}]}"#] {
            assert!(to_protobuf(text.as_bytes(), false).is_ok(), "{text}");
        }
        for text in [
            "[]",
            "[null]",
            r#"{"streams":{}}"#,
            r#"{"streams":[[]]}"#,
            "5",
            r#""x""#,
        ] {
            assert!(to_protobuf(text.as_bytes(), false).is_err(), "{text}");
        }
        let old =
            br#"{"streams":[{"labels":"{a=\"b\"}","entries":[["2026-11-01T00:00:00Z","x"]]}]}"#;
        assert!(to_protobuf(old, true).is_err());
    }
}

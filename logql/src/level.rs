//! What Loki finds out about a line when it is pushed: the label `service_name` and the structured
//! metadata `detected_level`. Pure functions, for ingest and for tests of queries.

use storage::model::Labels;

/// Labels that name a service, first come first served.
const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Labels, metadata and keys of lines that hold a level.
const LEVEL_FIELDS: [&str; 13] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SEVERITY_TEXT",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
];

const WORDS: [(&str, &str); 9] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("error", "error"),
    ("err", "error"),
    ("critical", "critical"),
    ("fatal", "fatal"),
];

/// The value of `service_name` for a stream that has none of its own.
#[must_use]
pub fn discover_service_name(labels: &Labels) -> Option<&str> {
    if labels.get("service_name").is_some() {
        return None;
    }
    let found = SERVICE_LABELS.iter().find_map(|name| labels.get(name));
    Some(found.unwrap_or("unknown_service"))
}

/// The value of `detected_level` for a line; never empty. `metadata` is the line's structured metadata.
#[must_use]
pub fn detect_level<'a>(
    labels: &'a Labels,
    metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
    line: &str,
) -> String {
    let metadata: Vec<_> = metadata.into_iter().collect();
    let from_metadata = |name: &str| metadata.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let named = LEVEL_FIELDS.iter().find_map(|name| {
        // Names of metadata have lost their dots.
        let plain = name.replace('.', "_");
        let value = labels
            .get(name)
            .or_else(|| from_metadata(name))
            .or_else(|| from_metadata(&plain));
        value.filter(|v| !v.is_empty())
    });
    if let Some(value) = named {
        return normalize(value).map_or_else(|| value.to_owned(), str::to_owned);
    }
    if let Some(number) = from_metadata("severity_number").and_then(|n| n.parse().ok()) {
        return from_number(number).to_owned();
    }
    from_line(line).unwrap_or("unknown").to_owned()
}

/// The known level that a spelling means.
fn normalize(value: &str) -> Option<&'static str> {
    Some(match value.to_ascii_lowercase().as_str() {
        "trace" | "trc" => "trace",
        "debug" | "dbg" => "debug",
        "info" | "inf" | "information" => "info",
        "warn" | "wrn" | "warning" => "warn",
        "error" | "err" => "error",
        "critical" => "critical",
        "fatal" => "fatal",
        _ => return None,
    })
}

/// OpenTelemetry's severity numbers.
const fn from_number(number: i64) -> &'static str {
    match number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "unknown",
    }
}

fn from_line(line: &str) -> Option<&'static str> {
    let trimmed = line.trim_start();
    let field = if trimmed.starts_with('{') {
        crate::stages::json_level(trimmed, &LEVEL_FIELDS)
    } else {
        logfmt_level(line)
    };
    field
        .as_deref()
        .and_then(normalize)
        .or_else(|| from_words(line))
}

fn logfmt_level(line: &str) -> Option<String> {
    if !line.contains('=') {
        return None;
    }
    line.split([' ', '\t']).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim_matches('"');
        (LEVEL_FIELDS.contains(&key) && !value.is_empty()).then(|| value.to_owned())
    })
}

/// The first word of the line that is a level.
fn from_words(line: &str) -> Option<&'static str> {
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '\\';
    let mut before = None;
    for (at, c) in line.char_indices() {
        let starts = c.is_ascii_alphabetic() && !before.is_some_and(joins);
        before = Some(c);
        if !starts {
            continue;
        }
        let rest = &line[at..];
        for (word, level) in WORDS {
            let matches = rest
                .get(..word.len())
                .is_some_and(|w| w.eq_ignore_ascii_case(word));
            if matches && !rest[word.len()..].starts_with(joins) {
                return Some(level);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_the_first_label_that_names_one() {
        let name = |pairs: &[(&str, &str)]| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            discover_service_name(&labels).map(str::to_owned)
        };
        assert_eq!(name(&[("job", "j"), ("app", "a")]), Some("a".into()));
        assert_eq!(name(&[("x", "y")]), Some("unknown_service".into()));
        assert_eq!(name(&[("service_name", "s"), ("app", "a")]), None);
    }

    #[test]
    fn levels_are_found_in_lines() {
        for (line, level) in [
            ("INFO started", "info"),
            ("[error] disk full", "error"),
            ("W0101 warn: low space", "warn"),
            ("all good", "unknown"),
            ("level=notice kept", "unknown"),
            ("level=\"\" info", "info"),
            ("lvl=err y", "error"),
            ("some info about errors", "info"),
            ("inform the debugger", "unknown"),
            ("n=Inf", "unknown"),
            ("\u{1b}[31mERROR\u{1b}[0m", "unknown"),
            (r#"{"level":"WARN"}"#, "warn"),
            (r#"{"nested":{"level":"fatal"}}"#, "fatal"),
            (r#"{"_entry": "{\"level\": \"warn\"}"}"#, "unknown"),
            (r#"{"_entry": "level=info msg=x"}"#, "info"),
        ] {
            assert_eq!(detect_level(&Labels::empty(), [], line), level, "{line}");
        }
    }

    #[test]
    fn metadata_comes_before_the_line() {
        let level = |name, value| detect_level(&Labels::empty(), [(name, value)], "error");
        assert_eq!(level("level", "Warning"), "warn");
        assert_eq!(level("severity", "notice"), "notice");
        assert_eq!(level("severity_number", "9"), "info");
    }
}

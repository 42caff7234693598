//! Names of OTLP metrics and attributes as Prometheus's: underscores for what Prometheus 2 could
//! not write, and suffixes for unit and type.
//!
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".

/// Words for the UCUM units that have one.
const UNITS: [(&str, &str); 32] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
    ("1", ""),
    ("bit", "bits"),
    ("kbit", "kilobits"),
    ("Mbit", "megabits"),
    ("Gbit", "gigabits"),
    ("KHz", "kilohertz"),
    ("MHz", "megahertz"),
];

/// Words for units below a slash.
const PER: [(&str, &str); 8] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
    ("min", "minute"),
];

/// What a metric is, as far as its name depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A monotonic sum: `_total`.
    Counter,
    /// A gauge: `_ratio` where the unit is 1.
    Gauge,
    /// Anything else.
    Other,
}

/// The name of the metric with its suffixes.
pub(crate) fn metric_name(name: &str, unit: &str, kind: Kind) -> String {
    let word_char = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut tokens: Vec<&str> = name
        .split(|c| !word_char(c))
        .filter(|token| !token.is_empty())
        .collect();
    let (main, per) = unit_words(unit);
    for suffix in [&main, &per].into_iter().filter(|s| !s.is_empty()) {
        for word in suffix.split('_') {
            if !tokens.contains(&word) || word == "per" {
                tokens.push(word);
            }
        }
    }
    match kind {
        Kind::Counter => {
            tokens.retain(|t| *t != "total");
            tokens.push("total");
        }
        Kind::Gauge if unit == "1" => {
            tokens.retain(|t| *t != "ratio");
            tokens.push("ratio");
        }
        _ => {}
    }
    let joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{joined}")
    } else {
        joined
    }
}

/// `m/s` as (`meters`, `per_second`). Annotations in braces say nothing about the unit.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let clean = |text: &str, words: &[(&str, &str)]| {
        let text = text.trim();
        if text.contains(['{', '}']) {
            return String::new();
        }
        match words.iter().find(|(symbol, _)| *symbol == text) {
            Some((_, word)) => (*word).to_owned(),
            None => {
                let parts = text.split(|c: char| !c.is_ascii_alphanumeric());
                parts
                    .filter(|p| !p.is_empty())
                    .collect::<Vec<_>>()
                    .join("_")
            }
        }
    };
    let main = clean(main, &UNITS);
    let per = clean(per, &PER);
    (
        main,
        if per.is_empty() {
            per
        } else {
            format!("per_{per}")
        },
    )
}

/// The unit as metadata shows it.
pub(crate) fn unit_text(unit: &str) -> String {
    let (main, per) = unit_words(unit);
    [main, per]
        .into_iter()
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// The label for an attribute's key.
pub(crate) fn label_name(key: &str) -> String {
    let label: String = key
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{label}")
    } else {
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_carry_unit_and_type() {
        let f = |name, unit, kind, expected| assert_eq!(metric_name(name, unit, kind), expected);
        f(
            "w.room.temperature",
            "Cel",
            Kind::Gauge,
            "w_room_temperature_celsius",
        );
        f("w.requests", "1", Kind::Counter, "w_requests_total");
        f("w.io", "By", Kind::Counter, "w_io_bytes_total");
        f("w.queue-size", "{items}", Kind::Other, "w_queue_size");
        f("w.use", "1", Kind::Gauge, "w_use_ratio");
        f("w.speed", "m/s", Kind::Gauge, "w_speed_meters_per_second");
        f("w.lat", "ms", Kind::Other, "w_lat_milliseconds");
        f("2xx.count", "", Kind::Gauge, "_2xx_count");
        f("w__a  b", "", Kind::Gauge, "w_a_b");
        f("http.seconds", "s", Kind::Other, "http_seconds");
        f("x_total", "", Kind::Counter, "x_total");
    }

    #[test]
    fn attributes_become_labels() {
        assert_eq!(label_name("http.method"), "http_method");
        assert_eq!(label_name("2nd"), "key_2nd");
    }
}

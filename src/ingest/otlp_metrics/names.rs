//! Names of OTLP metrics and attributes as Prometheus's: underscores for what Prometheus 2 could
//! not write, and suffixes for unit and type, as the translation strategy says.
//!
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility"; which units have a word: Prometheus's `otlptranslator`.

use crate::config::OtlpConfig;

/// Words for the UCUM units that have one.
const UNITS: [(&str, &str); 26] = [
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
];

/// Words for units below a slash.
const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// What a metric is, as far as its name depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A monotonic sum: `_total`.
    Counter,
    /// A gauge: `_ratio` where the unit is 1.
    Gauge,
    /// Anything else.
    Other,
}

/// How names are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Namer {
    /// Whether other characters become underscores.
    pub(super) escapes: bool,
    /// Whether unit and type become suffixes.
    pub(super) suffixes: bool,
    prefix_underscore: bool,
    keep_underscores: bool,
}

impl Namer {
    pub(super) const fn new(config: &OtlpConfig) -> Self {
        Self {
            escapes: config.strategy.escapes(),
            suffixes: config.strategy.adds_suffixes(),
            prefix_underscore: config.prefix_underscore,
            keep_underscores: config.keep_underscores,
        }
    }

    /// The name of a metric.
    ///
    /// # Errors
    /// Where nothing is left of it.
    pub(super) fn metric(&self, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
        if !self.escapes {
            return Ok(self.metric_as_is(name, unit, kind));
        }
        let made = if self.suffixes {
            with_suffixes(name, unit, kind)
        } else {
            let is_other = |c: char| !is_word(c) && c != '_';
            let parts: Vec<&str> = name.split(is_other).filter(|p| !p.is_empty()).collect();
            digit_prefixed(parts.join("_"))
        };
        if made.is_empty() {
            return Err(format!(
                "normalization for metric {name:?} resulted in empty name"
            ));
        }
        if made != name && made.chars().all(|c| c == '_') {
            return Err(format!(
                "normalization for metric {name:?} resulted in invalid name {made:?}"
            ));
        }
        Ok(made)
    }

    fn metric_as_is(&self, name: &str, unit: &str, kind: Kind) -> String {
        if !self.suffixes {
            return name.to_owned();
        }
        // The last suffix is taken off first and put back last.
        let kind_suffix = match kind {
            Kind::Gauge if unit == "1" => "ratio",
            Kind::Counter => "total",
            _ => "",
        };
        let (main, per) = unit_suffixes(unit);
        let mut name = without_suffix(without_suffix(name, kind_suffix), &per).to_owned();
        if !main.is_empty() && !name.ends_with(&*main) {
            name = format!("{name}_{main}");
        }
        for suffix in [&*per, kind_suffix] {
            if !suffix.is_empty() {
                name = format!("{name}_{suffix}");
            }
        }
        name
    }

    /// The label for an attribute's key.
    ///
    /// # Errors
    /// Where nothing is left of it.
    pub(super) fn label(&self, key: &str) -> Result<String, String> {
        if key.is_empty() {
            return Err("label name is empty".to_owned());
        }
        let only_underscores = |text: &str| text.chars().all(|c| c == '_');
        if !self.escapes {
            if only_underscores(key) {
                return Err(format!("label name {key:?} contains only underscores"));
            }
            return Ok(key.to_owned());
        }
        let mut label = self.escaped(key);
        if label.starts_with(|c: char| c.is_ascii_digit()) {
            label = format!("key_{label}");
        } else if self.prefix_underscore && label.starts_with('_') && !label.starts_with("__") {
            label = format!("key{label}");
        }
        if only_underscores(&label) {
            return Err(format!(
                "normalization for label name {key:?} resulted in invalid name {label:?}"
            ));
        }
        Ok(label)
    }

    fn escaped(&self, key: &str) -> String {
        let is_label_char = |c: char| c.is_ascii_alphanumeric();
        if self.keep_underscores {
            let escape = |c| if is_label_char(c) { c } else { '_' };
            return key.chars().map(escape).collect();
        }
        // Names in double underscores are reserved; theirs stay.
        let inner = key
            .strip_prefix("__")
            .and_then(|rest| rest.strip_suffix("__"));
        let mut label = String::with_capacity(key.len());
        for c in inner.unwrap_or(key).chars() {
            if is_label_char(c) {
                label.push(c);
            } else if !label.ends_with('_') {
                label.push('_');
            }
        }
        match inner {
            Some(_) => format!("__{label}__"),
            None => label,
        }
    }
}

/// Words of the name, then unit and type where the name does not say them.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let mut tokens: Vec<&str> = name
        .split(|c| !is_word(c))
        .filter(|token| !token.is_empty())
        .collect();
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (cleaned(&main), cleaned(&per));
    let mut main = if tokens.contains(&&*main) { "" } else { &main };
    let mut per = if per == "per_" {
        ""
    } else {
        per.strip_suffix('_').unwrap_or(&per)
    };
    if tokens.contains(&per) {
        per = "";
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    let suffix = match kind {
        Kind::Counter => "total",
        Kind::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    if !suffix.is_empty() {
        tokens.retain(|t| *t != suffix);
        tokens.push(suffix);
    }
    digit_prefixed(tokens.join("_"))
}

/// A name may not begin with a digit.
fn digit_prefixed(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{name}")
    } else {
        name
    }
}

/// Takes a suffix off, with the one character before it.
fn without_suffix<'n>(name: &'n str, suffix: &str) -> &'n str {
    let Some(rest) = name.strip_suffix(suffix).filter(|_| !suffix.is_empty()) else {
        return name;
    };
    match rest.char_indices().next_back() {
        Some((at, _)) if at > 0 => &rest[..at],
        _ => name,
    }
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// `m/s` as (`meters`, `per_second`), other characters left as they are. Annotations in braces say nothing about the unit.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |text: &str, words: &[(&str, &str)]| {
        let text = text.trim();
        if text.contains(['{', '}']) {
            return String::new();
        }
        let known = words.iter().find(|(symbol, _)| *symbol == text);
        known.map_or(text, |(_, word)| word).to_owned()
    };
    let per = word(per, &PER);
    let per = if per.is_empty() {
        per
    } else {
        format!("per_{per}")
    };
    (word(main, &UNITS), per)
}

/// Other characters as one underscore each run; none at the beginning.
fn cleaned(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_word(c) {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    match out.strip_prefix('_') {
        Some(rest) => rest.to_owned(),
        None => out,
    }
}

/// The unit as metadata shows it.
pub(super) fn unit_text(unit: &str) -> String {
    let (main, per) = unit_suffixes(unit);
    unit_parts(&cleaned(&main), &cleaned(&per))
}

/// The unit as its label shows it: with other characters where names may have them.
pub(super) fn unit_label(unit: &str, escapes: bool) -> String {
    let (main, per) = unit_suffixes(unit);
    if escapes {
        unit_parts(&cleaned(&main), &cleaned(&per))
    } else {
        unit_parts(&main, &per)
    }
}

fn unit_parts(main: &str, per: &str) -> String {
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main.to_owned(),
        _ => per.to_owned(),
    };
    let text = joined.strip_prefix('_').unwrap_or(&joined);
    text.strip_suffix('_').unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TranslationStrategy;

    fn namer(strategy: TranslationStrategy) -> Namer {
        Namer::new(&OtlpConfig {
            strategy,
            ..OtlpConfig::default()
        })
    }

    #[test]
    fn metric_names_carry_unit_and_type() {
        let namer = namer(TranslationStrategy::UnderscoreEscapingWithSuffixes);
        for (name, unit, kind, expected) in [
            (
                "w.room.temperature",
                "Cel",
                Kind::Gauge,
                "w_room_temperature_celsius",
            ),
            ("w.requests", "1", Kind::Counter, "w_requests_total"),
            ("w.io", "By", Kind::Counter, "w_io_bytes_total"),
            ("w.queue-size", "{items}", Kind::Other, "w_queue_size"),
            ("w.use", "1", Kind::Gauge, "w_use_ratio"),
            ("w.speed", "m/s", Kind::Gauge, "w_speed_meters_per_second"),
            ("w.lat", "ms", Kind::Other, "w_lat_milliseconds"),
            ("2xx.count", "", Kind::Gauge, "_2xx_count"),
            ("w__a  b", "", Kind::Gauge, "w_a_b"),
            ("http.seconds", "s", Kind::Other, "http_seconds"),
            ("x_total", "", Kind::Counter, "x_total"),
            ("total.x", "", Kind::Counter, "x_total"),
            (
                "system.cpu",
                "bit/min",
                Kind::Other,
                "system_cpu_bit_per_min",
            ),
            ("a", "a.b/c.d", Kind::Other, "a_a_b_per_c_d"),
            (
                "a.per_second",
                "m/s",
                Kind::Other,
                "a_per_second_meters_per_second",
            ),
            ("a", "m/{x}", Kind::Other, "a_meters"),
            ("a", "{x}/s", Kind::Other, "a_per_second"),
            ("ü", "", Kind::Counter, "total"),
        ] {
            assert_eq!(namer.metric(name, unit, kind).as_deref(), Ok(expected));
        }
        assert!(
            namer
                .metric("ü", "", Kind::Other)
                .unwrap_err()
                .contains("empty name")
        );
    }

    #[test]
    fn without_suffixes_only_characters_are_replaced() {
        let namer = namer(TranslationStrategy::UnderscoreEscapingWithoutSuffixes);
        for (name, expected) in [
            ("w.requests", "w_requests"),
            (".a..b.", "a_b"),
            ("a__b", "a__b"),
            ("2xx", "_2xx"),
        ] {
            assert_eq!(
                namer.metric(name, "s", Kind::Counter).as_deref(),
                Ok(expected)
            );
        }
        assert!(
            namer
                .metric("._.", "", Kind::Other)
                .unwrap_err()
                .contains("invalid name \"_\"")
        );
        assert_eq!(namer.metric("_", "", Kind::Other).as_deref(), Ok("_"));
    }

    #[test]
    fn names_in_utf8_get_suffixes_once() {
        let namer = namer(TranslationStrategy::NoUtf8EscapingWithSuffixes);
        for (name, unit, kind, expected) in [
            ("w.requests", "1", Kind::Counter, "w.requests_total"),
            ("w.requests_total", "", Kind::Counter, "w.requests_total"),
            ("w.io.bytes", "By", Kind::Counter, "w.io.bytes_total"),
            ("w.io", "By/s", Kind::Gauge, "w.io_bytes_per_second"),
            ("total", "", Kind::Counter, "total_total"),
            ("é.total", "", Kind::Counter, "é_total"),
            ("use", "1", Kind::Gauge, "use_ratio"),
        ] {
            assert_eq!(namer.metric(name, unit, kind).as_deref(), Ok(expected));
        }
        let plain = self::namer(TranslationStrategy::NoTranslation);
        assert_eq!(
            plain.metric("a.b", "s", Kind::Counter).as_deref(),
            Ok("a.b")
        );
        assert_eq!(plain.label("http.method").as_deref(), Ok("http.method"));
        assert!(plain.label("__").is_err());
    }

    #[test]
    fn attributes_become_labels() {
        let mut namer = namer(TranslationStrategy::UnderscoreEscapingWithSuffixes);
        for (key, label) in [
            ("http.method", "http_method"),
            ("2nd", "key_2nd"),
            ("_x", "key_x"),
            ("__x", "__x"),
            ("a..b", "a__b"),
            ("ü", "key_"),
        ] {
            assert_eq!(namer.label(key).as_deref(), Ok(label));
        }
        assert!(namer.label("").is_err());
        assert!(
            namer
                .label("__")
                .unwrap_err()
                .contains("invalid name \"__\"")
        );
        namer.keep_underscores = false;
        namer.prefix_underscore = false;
        for (key, label) in [("a..b", "a_b"), ("_x", "_x"), ("__a..b__", "__a_b__")] {
            assert_eq!(namer.label(key).as_deref(), Ok(label));
        }
    }

    #[test]
    fn units_are_words_in_metadata() {
        for (unit, text) in [
            ("m/s", "meters_per_second"),
            ("1", ""),
            ("a.b.", "a_b"),
            ("{x}/s", "per_second"),
        ] {
            assert_eq!(unit_text(unit), text);
        }
        assert_eq!(unit_label("a.b/s", false), "a.b_per_second");
    }
}

//! Durations, sizes and numbers as Go reads and prints them. Everything a user of Loki types or
//! sees passes through here, so each error is worded as Go words it.

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: i64 = 1_000_000_000;

const MODEL_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3600 * SECOND_NS),
    ("w", 7 * 24 * 3600 * SECOND_NS),
    ("d", 24 * 3600 * SECOND_NS),
    ("h", 3600 * SECOND_NS),
    ("m", 60 * SECOND_NS),
    ("s", SECOND_NS),
    ("ms", 1_000_000),
];

/// A text in double quotes, escaped as Go's `strconv.Quote` does.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if is_invisible(c) => {
                let code = c as u32;
                if code > 0xffff {
                    out.push_str(&format!("\\U{code:08x}"));
                } else {
                    out.push_str(&format!("\\u{code:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}')
}

/// A duration as Go's `time.ParseDuration` reads it (`1h2m`, `-1.5s`, `250us`), in nanoseconds.
///
/// # Errors
/// Go's text.
pub fn parse_go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole_len = digits(rest);
        let (whole, after) = rest.split_at(whole_len);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(unit),
                    quote(text)
                ));
            }
        };
        if whole.len() > 19 {
            return Err(invalid());
        }
        total += whole.parse::<i128>().unwrap_or(0) * scale;
        if !fraction.is_empty() {
            let f: f64 = format!("0.{fraction}").parse().unwrap_or(0.0);
            total += (f * scale as f64) as i128;
        }
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| invalid())
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}

/// A duration as Prometheus reads it (`1h30m`, `1w`), in nanoseconds.
///
/// # Errors
/// Prometheus's text.
pub fn parse_model_duration(text: &str) -> Result<i64, String> {
    match text {
        "" => return Err("empty duration string".to_owned()),
        "0" => return Ok(0),
        _ => {}
    }
    let invalid = || format!("not a valid duration string: {}", quote(text));
    let (mut rest, mut total, mut next_unit) = (text, 0_i64, 0);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(digits(rest));
        if number.is_empty() {
            return Err(invalid());
        }
        let unit_len = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        if unit.is_empty() {
            return Err(invalid());
        }
        let Some(at) = MODEL_UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(format!(
                "unknown unit {} in duration {}",
                quote(unit),
                quote(text)
            ));
        };
        if at < next_unit {
            return Err(invalid());
        }
        next_unit = at + 1;
        total = number
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(MODEL_UNITS[at].1))
            .and_then(|n| n.checked_add(total))
            .ok_or_else(|| "duration out of range".to_owned())?;
        rest = after;
    }
    Ok(total)
}

/// A duration as Go prints it: `1h30m0s`, `1.5s`, `250µs`.
#[must_use]
pub fn format_go_duration(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let sign = if ns < 0 { "-" } else { "" };
    let n = ns.unsigned_abs();
    let fraction = |value: u64, scale: u64, width: usize| {
        let (whole, part) = (value / scale, value % scale);
        if part == 0 {
            whole.to_string()
        } else {
            let part = format!("{part:0width$}");
            format!("{whole}.{}", part.trim_end_matches('0'))
        }
    };
    if n < 1_000 {
        return format!("{sign}{n}ns");
    }
    if n < 1_000_000 {
        return format!("{sign}{}µs", fraction(n, 1_000, 3));
    }
    if n < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(n, 1_000_000, 6));
    }
    let (hours, rest) = (n / 3_600_000_000_000, n % 3_600_000_000_000);
    let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
    let seconds = fraction(rest, 1_000_000_000, 9);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

/// A duration as Prometheus prints it: `1h30m`, `1d`, `90s` as `1m30s`. Parts below a millisecond are lost.
#[must_use]
pub fn format_model_duration(ns: i64) -> String {
    let mut ms = ns / 1_000_000;
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
        ms = -ms;
    }
    for (unit, size) in MODEL_UNITS {
        let size = size / 1_000_000;
        // Years, weeks and days are used only where nothing is left over.
        if matches!(unit, "y" | "w" | "d") && ms % size != 0 {
            continue;
        }
        if ms >= size {
            out.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    out
}

/// A size in bytes as people write it: `10MB`, `1.5 KiB`, `64kb`, `100`.
///
/// # Errors
/// The text of the library that Loki uses.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .unwrap_or(text.len());
    let number = text[..end].replace(',', "");
    let value = parse_float(&number)?;
    let unit = text[end..].trim().to_lowercase();
    let scale: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        "pb" | "p" => 1e15,
        "eb" | "e" => 1e18,
        "kib" | "ki" => 1024.0,
        "mib" | "mi" => 1_048_576.0,
        "gib" | "gi" => 1_073_741_824.0,
        "tib" | "ti" => 1_099_511_627_776.0,
        "pib" | "pi" => 1_125_899_906_842_624.0,
        "eib" | "ei" => 1_152_921_504_606_846_976.0,
        _ => return Err(format!("unhandled size name: {unit}")),
    };
    let bytes = value * scale;
    if bytes >= u64::MAX as f64 {
        return Err(format!("too large: {text}"));
    }
    Ok(bytes as u64)
}

/// A size as Loki prints it: `2.0kB`, `10MB`, `512B`.
pub(crate) fn format_bytes(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let exponent = ((bytes as f64).ln() / 1000_f64.ln())
        .floor()
        .clamp(0.0, 6.0);
    let value = (bytes as f64 / 1000_f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    let unit = units[exponent as usize];
    if value < 10.0 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

/// A number as Go's `strconv.ParseFloat` reads it.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    let syntax = || {
        format!(
            "strconv.ParseFloat: parsing {}: invalid syntax",
            quote(text)
        )
    };
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = bare.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        let value = parse_hex_float(hex).ok_or_else(syntax)?;
        return Ok(if text.starts_with('-') { -value } else { value });
    }
    let word = matches!(lower.as_str(), "inf" | "infinity" | "nan");
    if !word && !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(syntax());
    }
    let value: f64 = text.parse().map_err(|_| syntax())?;
    if value.is_infinite() && !word {
        return Err(format!(
            "strconv.ParseFloat: parsing {}: value out of range",
            quote(text)
        ));
    }
    Ok(value)
}

fn parse_hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()? as f64;
    Some(value * 2_f64.powi(exponent - 4 * i32::try_from(fraction.len()).ok()?))
}

/// A number as Go's `%v` prints it: `0.5`, `1.572864e+06`, `+Inf`.
pub(crate) fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        return exponent_form(digits, exponent);
    }
    format!("{value}")
}

fn exponent_form(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A sample value as Prometheus and Loki write it in answers: `3`, `0.05`, `+Inf`, `NaN`.
#[must_use]
pub fn format_value(value: f64) -> String {
    if value.is_finite() {
        format!("{value}")
    } else {
        format_float(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        assert_eq!(parse_go_duration("1h2m3s"), Ok(3_723 * SECOND_NS));
        assert_eq!(parse_go_duration("-1.5s"), Ok(-1_500_000_000));
        assert_eq!(parse_go_duration("250µs"), Ok(250_000));
        assert_eq!(parse_go_duration("0"), Ok(0));
        assert_eq!(
            parse_go_duration("zz"),
            Err("time: invalid duration \"zz\"".into())
        );
        assert_eq!(
            parse_go_duration("5"),
            Err("time: missing unit in duration \"5\"".into())
        );
        assert_eq!(
            parse_go_duration("1d"),
            Err("time: unknown unit \"d\" in duration \"1d\"".into())
        );
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (12_500_000, "12.5ms"),
            (5_400 * SECOND_NS, "1h30m0s"),
            (-90 * SECOND_NS, "-1m30s"),
        ] {
            assert_eq!(format_go_duration(ns), text);
        }
    }

    #[test]
    fn model_durations_descend() {
        assert_eq!(parse_model_duration("1h30m"), Ok(5_400 * SECOND_NS));
        assert_eq!(
            parse_model_duration("5x"),
            Err("unknown unit \"x\" in duration \"5x\"".into())
        );
        assert_eq!(
            parse_model_duration("1m1h"),
            Err("not a valid duration string: \"1m1h\"".into())
        );
        for (ns, text) in [
            (86_400 * SECOND_NS, "1d"),
            (90 * SECOND_NS, "1m30s"),
            (129_600 * SECOND_NS, "36h"),
            (0, "0s"),
        ] {
            assert_eq!(format_model_duration(ns), text);
        }
    }

    #[test]
    fn sizes_take_any_case() {
        assert_eq!(parse_bytes("64kb"), Ok(64_000));
        assert_eq!(parse_bytes("1.5MiB"), Ok(1_572_864));
        assert_eq!(parse_bytes("2 KB"), Ok(2_000));
        assert_eq!(parse_bytes("1.2s"), Err("unhandled size name: s".into()));
        assert_eq!(
            parse_bytes("zz"),
            Err("strconv.ParseFloat: parsing \"\": invalid syntax".into())
        );
        assert_eq!(format_bytes(2_000), "2.0kB");
        assert_eq!(format_bytes(10_000_000), "10MB");
    }

    #[test]
    fn floats_print_as_in_go() {
        for (value, text) in [
            (2000.0, "2000"),
            (81460.0, "81460"),
            (1_572_864.0, "1.572864e+06"),
            (1e6, "1e+06"),
            (1.5e-5, "1.5e-05"),
            (0.0125, "0.0125"),
            (823.5, "823.5"),
            (-2.0, "-2"),
            (1_234_567.5, "1.2345675e+06"),
        ] {
            assert_eq!(format_float(value), text);
        }
        assert_eq!(
            parse_float("0x10"),
            Err("strconv.ParseFloat: parsing \"0x10\": invalid syntax".into())
        );
        assert_eq!(parse_float("Inf"), Ok(f64::INFINITY));
        assert_eq!(parse_float("1e3"), Ok(1000.0));
    }
}

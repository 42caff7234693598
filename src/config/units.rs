//! Texts of durations and sizes, as Prometheus writes them, and the size of this machine.

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration that Go has: 2^63 - 1 nanoseconds.
const MAX_DURATION_MS: u64 = i64::MAX as u64 / 1_000_000;

/// Reads a Prometheus duration: `1h30m`, `30d`, `100ms`, `0`. Units go from large to small, each once.
///
/// # Errors
/// A text that quotes the input.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let quoted = || promql::lexer::quote(text);
    let fault = || format!("not a valid duration string: {}", quoted());
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let (mut rest, mut total_ms, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let (digits, behind) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, behind) = split_while(behind, |c| !c.is_ascii_digit());
        let number: u64 = digits.parse().map_err(|_| fault())?;
        if unit.is_empty() {
            return Err(fault());
        }
        let Some(at) = UNITS.iter().position(|(u, _)| *u == unit) else {
            let unit = promql::lexer::quote(unit);
            return Err(format!("unknown unit {unit} in duration {}", quoted()));
        };
        if at < next_unit {
            return Err(fault());
        }
        next_unit = at + 1;
        rest = behind;
        total_ms = number
            .checked_mul(UNITS[at].1)
            .and_then(|part| total_ms.checked_add(part))
            .filter(|total| *total <= MAX_DURATION_MS)
            .ok_or("duration out of range")?;
    }
    Ok(Duration::from_millis(total_ms))
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// Writes a duration as Prometheus does: `15s`, `1m30s`, `1d`, `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (i, (unit, ms)) in UNITS.iter().enumerate() {
        // Years and weeks only where nothing is left over: `90d` is easier to read than `12w6d`.
        let whole = rest.is_multiple_of(*ms);
        if rest >= *ms && (i >= 2 || whole) {
            out.push_str(&format!("{}{unit}", rest / ms));
            rest %= ms;
        }
    }
    out
}

/// Reads a size: `512MiB`, `1GB` (both powers of 1024, as in Prometheus), `1000`.
///
/// # Errors
/// A text that quotes the input.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let fault = || format!("not a valid size: {text:?} (examples: 512MiB, 1GiB, 0)");
    let digits = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let number: f64 = text[..digits].parse().map_err(|_| fault())?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return Err(fault()),
    };
    let bytes = number * 1024_f64.powi(power);
    if bytes.is_finite() && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err(fault())
    }
}

/// Writes a size as Prometheus does: `32MiB`, `1KiB512B`, `0B`.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let mut rest = bytes;
    let mut out = String::new();
    for (power, unit) in ["EiB", "PiB", "TiB", "GiB", "MiB", "KiB", "B"]
        .iter()
        .enumerate()
    {
        let size = 1_u64 << (10 * (6 - power));
        if rest >= size {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if out.is_empty() { "0B".to_owned() } else { out }
}

/// 60 % of the memory of this machine or of its control group, whichever is smaller.
pub(super) fn default_memory_limit() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
            line.split_whitespace()
                .nth(1)?
                .parse::<u64>()
                .ok()
                .map(|kib| kib * 1024)
        });
    let group = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter()
    .find_map(|path| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    });
    let total = machine.unwrap_or(4 << 30).min(group.unwrap_or(u64::MAX));
    total / 5 * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_in_prometheus() {
        let f = |text, ms| {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            )
        };
        f("0", 0);
        f("0s", 0);
        f("100ms", 100);
        f("1m30s", 90_000);
        f("30d", 30 * 86_400_000);
        f(
            "1y2w3d4h5m6s7ms",
            365 * 86_400_000 + 17 * 86_400_000 + 14_706_007,
        );
        for (bad, fault) in [
            ("", "empty duration string"),
            ("1", "not a valid duration string: \"1\""),
            ("s", "not a valid duration string: \"s\""),
            ("1s1m", "not a valid duration string: \"1s1m\""),
            ("1h1h", "not a valid duration string: \"1h1h\""),
            ("-1s", "not a valid duration string: \"-1s\""),
            ("1.5h", "unknown unit \".\" in duration \"1.5h\""),
            ("1x", "unknown unit \"x\" in duration \"1x\""),
            (
                "5 minutes",
                "unknown unit \" minutes\" in duration \"5 minutes\"",
            ),
            ("99999999999y", "duration out of range"),
            ("293y", "duration out of range"),
        ] {
            assert_eq!(parse_duration(bad), Err(fault.to_owned()), "{bad}");
        }
        for text in [
            "0s", "15s", "1m30s", "1d", "1d1h", "1w", "90d", "1y", "2h", "100ms",
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("32MiB"), Ok(32 << 20));
        assert_eq!(parse_bytes("1GB"), Ok(1 << 30));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("1.5k"), Ok(1536));
        for bad in ["", "x", "-1", "1 mile"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        for (bytes, text) in [
            (32 << 20, "32MiB"),
            (1536, "1KiB512B"),
            (0, "0B"),
            (3 << 30, "3GiB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }
}

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

/// Reads a Prometheus duration: `1h30m`, `30d`, `100ms`, `0`. Units go from large to small, each once.
///
/// # Errors
/// A text that quotes the input.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let fault = || format!("not a valid duration string: {text:?}");
    let (mut rest, mut total_ms, mut next_unit) = (text, 0_u64, 0);
    if rest.is_empty() {
        return Err("empty duration string".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| fault())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS
            .iter()
            .position(|(u, _)| *u == &rest[..letters])
            .ok_or_else(fault)?;
        if unit < next_unit {
            return Err(fault());
        }
        next_unit = unit + 1;
        rest = &rest[letters..];
        let part = number.checked_mul(UNITS[unit].1);
        total_ms = part
            .and_then(|p| total_ms.checked_add(p))
            .ok_or_else(fault)?;
    }
    Ok(Duration::from_millis(total_ms))
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
        // Years, weeks and days only where nothing is left over, as `1d` and not `24h`, but `25h` and not `1d1h`.
        let whole = rest.is_multiple_of(*ms);
        if rest >= *ms && (i >= 3 || whole) {
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
        _ => return Err(fault()),
    };
    let bytes = number * 1024_f64.powi(power);
    if bytes.is_finite() && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err(fault())
    }
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
        for bad in [
            "",
            "1",
            "s",
            "1s1m",
            "1.5h",
            "1x",
            "-1s",
            "99999999999y",
            "1h1h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for text in ["0s", "15s", "1m30s", "1d", "25h", "1w", "1y", "2h", "100ms"] {
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
    }
}

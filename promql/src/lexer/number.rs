//! Where a number or a duration ends.
//!
//! ```text
//! number    = "0x" hex digits | [digits] ["." digits] [("e" | "E") ["+" | "-"] digits], "_" between digits
//! duration  = digits unit { digits unit }, unit = y w d h m s ms
//! ```
//! The lexer is wider than that: what only looks like a duration (`1.5h`, `1m1h`) or like a number (`0..1`) becomes a token all
//! the same, and is refused when it is converted, with a message of its own.

/// What stands at the start of a text, and how many bytes it takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Number(usize),
    Duration(usize),
}

/// Reads a number or a duration; an error tells how many bytes were looked at.
pub(super) fn scan(input: &str) -> Result<Scanned, usize> {
    let len = |rest: &str| input.len() - rest.len();
    let (rest, finished) = number(input);
    if finished {
        return Ok(Scanned::Number(len(rest)));
    }
    match units(rest) {
        Ok(rest) if !rest.starts_with(super::is_word) => Ok(Scanned::Duration(len(rest))),
        // The character that follows is part of what was looked at.
        Ok(rest) => Err(len(rest) + rest.chars().next().map_or(0, char::len_utf8)),
        Err(rest) => Err(len(rest)),
    }
}

/// What stands behind a number; false where it breaks off (`1e`, `1_`, `1..`) or goes on as a word.
fn number(input: &str) -> (&str, bool) {
    let mut rest = input;
    let hexadecimal = take(&mut rest, "0") && take(&mut rest, "xX");
    let digits = if hexadecimal {
        take(&mut rest, "_");
        "0123456789abcdefABCDEF"
    } else {
        "0123456789"
    };
    // The first dot and the first digit are not looked at any closer, so that `0..1` is one number, if a bad one.
    take(&mut rest, ".");
    take(&mut rest, digits);
    let (mut dot, mut exponent) = (false, false);
    loop {
        let breaks_off = if take(&mut rest, ".") {
            std::mem::replace(&mut dot, true) || take(&mut rest, "_.") || hexadecimal
        } else if take(&mut rest, "eE") {
            // A hexadecimal digit, too, is read like an exponent where no run of digits has taken it.
            std::mem::replace(&mut exponent, true) || {
                take(&mut rest, "+-");
                take(&mut rest, "._eE") || rest.is_empty()
            }
        } else if take(&mut rest, "_") {
            take(&mut rest, "._eE") || rest.is_empty()
        } else if rest.starts_with(|c| digits.contains(c)) {
            rest = rest.trim_start_matches(|c| digits.contains(c));
            false
        } else {
            return (rest, !rest.starts_with(super::is_word));
        };
        if breaks_off {
            return (rest, false);
        }
    }
}

/// Takes one character if it is among these.
fn take(rest: &mut &str, among: &str) -> bool {
    let after = rest.strip_prefix(|c| among.contains(c));
    *rest = after.unwrap_or(*rest);
    after.is_some()
}

/// `unit { digits unit }`; an error holds what was not looked at.
fn units(input: &str) -> Result<&str, &str> {
    let mut rest = input;
    let mut first = true;
    loop {
        // A year can only come first.
        let letters = if first { "smhdwy" } else { "smhdw" };
        let Some(after) = rest.strip_prefix(|c| letters.contains(c)) else {
            return Err(rest);
        };
        first = false;
        rest = after.strip_prefix('s').unwrap_or(after);
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if after.len() == rest.len() {
            return Ok(rest);
        }
        rest = after;
    }
}

/// The value of a number token.
///
/// # Errors
/// In upstream's words.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    let invalid = || {
        format!(
            "error parsing number: strconv.ParseFloat: parsing {}: invalid syntax",
            super::quote(text)
        )
    };
    match text.to_ascii_lowercase().as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    if text.contains("._") {
        return Err(invalid());
    }
    let plain = text.replace('_', "");
    if let Some(hex) = plain
        .strip_prefix("0x")
        .or_else(|| plain.strip_prefix("0X"))
    {
        return u64::from_str_radix(hex, 16)
            .ok()
            .filter(|&n| i64::try_from(n).is_ok())
            .map(|n| n as f64)
            .ok_or_else(invalid);
    }
    // A leading zero means octal, where the text is an octal number at all.
    if plain.len() > 1
        && plain.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(&plain, 8)
    {
        return Ok(octal as f64);
    }
    let value: f64 = plain.parse().map_err(|_| invalid())?;
    if value.is_infinite() {
        return Err(format!(
            "error parsing number: strconv.ParseFloat: parsing {}: value out of range",
            super::quote(text)
        ));
    }
    Ok(value)
}

/// Milliseconds of a duration token: units from years to milliseconds, each at most once, larger ones first.
///
/// # Errors
/// In upstream's words.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let invalid = || format!("not a valid duration string: {}", super::quote(text));
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: i64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| !c.is_ascii_digit()).len();
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let Some(index) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(format!(
                "unknown unit {} in duration {}",
                super::quote(unit),
                super::quote(text)
            ));
        };
        if index < next_unit {
            return Err(invalid());
        }
        next_unit = index + 1;
        // The bound is that of nanoseconds in 64 bits.
        total = count
            .checked_mul(UNITS[index].1)
            .and_then(|ms| total.checked_add(ms))
            .filter(|&ms| ms <= i64::MAX / 1_000_000)
            .ok_or_else(|| "duration out of range".to_owned())?;
    }
    Ok(total)
}

/// Milliseconds as upstream writes them: `1h30m`, `90d`, `1w`, `0s`; negative ones with a sign in front.
#[must_use]
pub fn format_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
    }
    let mut rest = ms.unsigned_abs();
    // Years, weeks and days are written only where nothing smaller is left.
    let units = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    for (unit, size, exact) in units {
        if exact && !rest.is_multiple_of(size) {
            continue;
        }
        let count = rest / size;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            rest -= count * size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_number_is_found() {
        let cases = [
            ("1", Ok(Scanned::Number(1))),
            ("1.5 ", Ok(Scanned::Number(3))),
            (".5", Ok(Scanned::Number(2))),
            ("1.", Ok(Scanned::Number(2))),
            ("1e-3+", Ok(Scanned::Number(4))),
            ("0x1F)", Ok(Scanned::Number(4))),
            ("0x", Ok(Scanned::Number(2))),
            ("1_000", Ok(Scanned::Number(5))),
            ("5m", Ok(Scanned::Duration(2))),
            ("1h30m]", Ok(Scanned::Duration(5))),
            ("100ms", Ok(Scanned::Duration(5))),
            ("1.5h", Ok(Scanned::Duration(4))),
            ("5x", Err(1)),
            ("5mm", Err(3)),
            ("1h1.5m", Err(3)),
            ("0..1", Ok(Scanned::Number(4))),
            (".5.1", Ok(Scanned::Number(4))),
            ("00.5.1", Err(5)),
            ("1..5", Err(3)),
            ("1ee3", Err(3)),
            ("1e3e", Err(4)),
            ("1ees", Ok(Scanned::Duration(4))),
            ("0xee", Err(4)),
            ("0x1e3", Ok(Scanned::Number(5))),
            ("0x1.5", Err(4)),
            ("0x6AE57E", Ok(Scanned::Number(8))),
            ("0xg", Err(2)),
            ("1e", Err(2)),
            ("1_", Err(2)),
        ];
        for (input, expected) in cases {
            assert_eq!(scan(input), expected, "{input}");
        }
    }

    #[test]
    fn durations_take_each_unit_once_larger_ones_first() {
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration("1d1ms"), Ok(86_400_001));
        assert_eq!(
            parse_duration("1m1h"),
            Err("not a valid duration string: \"1m1h\"".to_owned())
        );
        assert_eq!(
            parse_duration("1.5h"),
            Err("unknown unit \".\" in duration \"1.5h\"".to_owned())
        );
        assert_eq!(
            parse_duration("300000y"),
            Err("duration out of range".to_owned())
        );
    }

    #[test]
    fn durations_are_written_in_the_largest_units_that_fit() {
        for (ms, text) in [
            (0, "0s"),
            (5_400_000, "1h30m"),
            (604_800_000, "1w"),
            (86_400_000 * 8, "8d"),
            (86_400_000 * 30, "30d"),
            (86_400_000 * 365, "1y"),
            (-3_600_000, "-1h"),
            (1500, "1s500ms"),
        ] {
            assert_eq!(format_duration(ms), text);
        }
    }

    #[test]
    fn numbers_are_decimal_hexadecimal_or_octal() {
        for (text, value) in [
            ("0x3d", 61.0),
            ("1e3", 1000.0),
            ("010", 8.0),
            ("09", 9.0),
            ("1_0.5", 10.5),
            (".5", 0.5),
            ("1.", 1.0),
        ] {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert!(parse_number("nan").unwrap().is_nan());
        assert!(parse_number("1e999").is_err());
        for text in ["0x", "0..1", "0._1", ".5.1"] {
            assert!(parse_number(text).is_err(), "{text}");
        }
    }
}

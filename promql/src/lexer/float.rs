//! Numbers as Go writes them with the fewest digits and no exponent (`'f', -1`).

/// `1000`, `0.1`, `+Inf`, `-Inf`, `NaN`.
#[must_use]
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        }
    } else {
        // Of the shortest digits that read back as the same number there may be two, equally near: Go takes the even one, as this
        // does, and Rust's own formatting the greater.
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(value);
        match text.split_once('e') {
            Some((digits, exponent)) => plain(digits, exponent.parse().unwrap_or(0)),
            None => text.strip_suffix(".0").unwrap_or(text).to_owned(),
        }
    }
}

/// `-1.25`, 3 → `-1250`.
fn plain(digits: &str, exponent: i32) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    // Digits before the point.
    let point = whole.len() as i32 + exponent;
    let Ok(point) = usize::try_from(point) else {
        let zeros = "0".repeat(point.unsigned_abs() as usize);
        return format!("{sign}0.{zeros}{digits}");
    };
    match digits.split_at_checked(point) {
        None | Some((_, "")) => format!("{sign}{digits:0<point$}"),
        Some(("", fraction)) => format!("{sign}0.{fraction}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_exponent() {
        for (value, text) in [
            (1e21, "1000000000000000000000"),
            (-1.25e20, "-125000000000000000000"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            (1.5e16, "15000000000000000"),
            (-1.5e-6, "-0.0000015"),
            (0.000_012, "0.000012"),
            (3_170_568_705_771_121.0 / 4.0, "792642176442780.2"),
            (5_879_424_008_780_759.0 / 8.0, "734928001097594.9"),
            (1e-7, "0.0000001"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_float(value), text);
        }
    }
}

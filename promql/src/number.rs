//! Numbers as text, in the forms that Go's `fmt` and `strconv` give them.

/// As `%g` and `%v`: the shortest digits that read back, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn format_g(v: f64) -> String {
    let Some(v) = finite(v) else {
        return special(v);
    };
    let text = format!("{v:e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{v}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Plain decimal digits without an exponent, as `strconv` with format `f` and precision -1.
pub(crate) fn format_f(v: f64) -> String {
    finite(v).map_or_else(|| special(v), |v| format!("{v}"))
}

/// As a label value in the OpenMetrics format: whole numbers keep a `.0`.
pub(crate) fn format_open_metrics(v: f64) -> String {
    let mut text = format_g(v);
    if v.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

fn finite(v: f64) -> Option<f64> {
    v.is_finite().then_some(v)
}

fn special(v: f64) -> String {
    let text = if v.is_nan() {
        "NaN"
    } else if v > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_go_writes_them() {
        for (v, g) in [
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (999_999.5, "999999.5"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (0.0, "0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(format_g(v), g);
        }
        assert_eq!(format_f(1e21), "1000000000000000000000");
        assert_eq!(format_open_metrics(1.0), "1.0");
        assert_eq!(format_open_metrics(0.5), "0.5");
    }
}

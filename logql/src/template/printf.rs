//! Go's `fmt.Sprintf`, for the kinds of values a template has.

use super::value::Value;
use crate::units::{format_float, quote};

/// A wider field is cut to this; nobody reads more.
const MAX_WIDTH: usize = 10_000;
/// Nothing is added to a longer text.
const MAX_TEXT_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    zero: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > MAX_TEXT_BYTES {
            break;
        }
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(c) = chars.peek() {
            match c {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                '0' => flags.zero = true,
                ' ' => flags.space = true,
                _ => break,
            }
            chars.next();
        }
        let mut number = || {
            let mut n: Option<usize> = None;
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = Some((n.unwrap_or(0) * 10 + d as usize).min(MAX_WIDTH));
                chars.next();
            }
            n
        };
        flags.width = number().unwrap_or(0);
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut n = 0;
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = (n * 10 + d as usize).min(MAX_WIDTH);
                chars.next();
            }
            flags.precision = Some(n);
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(argument) = arguments.get(used) else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        used += 1;
        out.push_str(&one(verb, &flags, argument));
    }
    if used < arguments.len() {
        let extra: Vec<_> = arguments[used..]
            .iter()
            .map(|a| format!("{}={}", a.type_name(), plain(a)))
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        other => other.show(),
    }
}

fn one(verb: char, flags: &Flags, value: &Value) -> String {
    let bad = || format!("%!{verb}({}={})", value.type_name(), plain(value));
    let cut = |text: &str| match flags.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_owned(),
    };
    let text = match (verb, value) {
        ('v' | 'd', Value::Int(n)) => integer(*n, flags, &n.unsigned_abs().to_string()),
        ('b', Value::Int(n)) => integer(*n, flags, &format!("{:b}", n.unsigned_abs())),
        ('o', Value::Int(n)) => integer(*n, flags, &format!("{:o}", n.unsigned_abs())),
        ('x', Value::Int(n)) => integer(*n, flags, &format!("{:x}", n.unsigned_abs())),
        ('X', Value::Int(n)) => integer(*n, flags, &format!("{:X}", n.unsigned_abs())),
        ('c', Value::Int(n)) => u32::try_from(*n)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('q', Value::Int(n)) => {
            let c = u32::try_from(*n)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}');
            format!("'{c}'")
        }
        ('U', Value::Int(n)) => format!("U+{n:04X}"),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'v', Value::Float(f)) => float(verb, *f, flags),
        ('t' | 'v', Value::Bool(b)) => pad(&b.to_string(), flags, false),
        ('s' | 'v', Value::Text(text)) => pad(&cut(text), flags, false),
        ('q', Value::Text(text)) => pad(&quote(&cut(text)), flags, false),
        ('x', Value::Text(text)) => pad(
            &text.bytes().map(|b| format!("{b:02x}")).collect::<String>(),
            flags,
            false,
        ),
        ('X', Value::Text(text)) => pad(
            &text.bytes().map(|b| format!("{b:02X}")).collect::<String>(),
            flags,
            false,
        ),
        ('T', value) => pad(value.type_name(), flags, false),
        ('v', value) => pad(&plain(value), flags, false),
        ('s', Value::Time(time)) => pad(&time.to_string(), flags, false),
        ('s', Value::List(items)) => {
            let items: Vec<_> = items
                .iter()
                .map(|i| one(verb, &Flags::default(), i))
                .collect();
            format!("[{}]", items.join(" "))
        }
        _ => return bad(),
    };
    match (verb, value) {
        ('c' | 'q' | 'U', Value::Int(_)) => pad(&text, flags, false),
        _ => text,
    }
}

fn integer(n: i64, flags: &Flags, digits: &str) -> String {
    let sign = if n < 0 {
        "-"
    } else if flags.plus {
        "+"
    } else if flags.space {
        " "
    } else {
        ""
    };
    let digits = match flags.precision {
        Some(precision) => format!("{digits:0>precision$}"),
        None => digits.to_owned(),
    };
    if flags.zero && !flags.minus && flags.precision.is_none() {
        let width = flags.width.saturating_sub(sign.len());
        return format!("{sign}{digits:0>width$}");
    }
    pad(&format!("{sign}{digits}"), flags, false)
}

fn float(verb: char, value: f64, flags: &Flags) -> String {
    let body = if value.is_finite() {
        match (verb, flags.precision) {
            ('f' | 'F', precision) => format!("{:.*}", precision.unwrap_or(6), value.abs()),
            ('e' | 'E', precision) => exponent(
                &format!("{:.*e}", precision.unwrap_or(6), value.abs()),
                verb,
            ),
            (_, None) => format_float(value.abs()),
            (_, Some(precision)) => significant(value.abs(), precision.max(1)),
        }
    } else {
        format_float(value.abs()).trim_start_matches('+').to_owned()
    };
    let sign = if value.is_sign_negative() && !value.is_nan() {
        "-"
    } else if flags.plus || (value.is_infinite() && verb == 'v') {
        "+"
    } else if flags.space {
        " "
    } else {
        ""
    };
    if flags.zero && !flags.minus && value.is_finite() {
        let width = flags.width.saturating_sub(sign.len());
        return format!("{sign}{body:0>width$}");
    }
    pad(&format!("{sign}{body}"), flags, true)
}

fn exponent(text: &str, verb: char) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let e = if verb == 'E' || verb == 'G' { 'E' } else { 'e' };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}{e}{sign}{:02}", exponent.abs())
}

fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{:.*e}", digits - 1, value);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || power >= digits as i32 {
        return exponent(&format!("{}e{power}", trim(mantissa)), 'e');
    }
    let decimals = usize::try_from(digits as i32 - 1 - power).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

fn pad(text: &str, flags: &Flags, _number: bool) -> String {
    let width = flags.width;
    if flags.minus {
        format!("{text:<width$}")
    } else if flags.zero {
        format!("{text:0>width$}")
    } else {
        format!("{text:>width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f(format: &str, arguments: &[Value]) -> String {
        sprintf(format, arguments)
    }

    #[test]
    fn verbs_print_as_in_go() {
        let text = |t: &str| Value::Text(t.to_owned());
        assert_eq!(
            f(
                "%-10s|%5s|%q|%x",
                &[text("info"), text("200"), text("in\"fo"), text("info")]
            ),
            r#"info      |  200|"in\"fo"|696e666f"#
        );
        assert_eq!(
            f("%05d %.2f", &[Value::Int(500), Value::Float(308.332)]),
            "00500 308.33"
        );
        assert_eq!(
            f(
                "%v %g %e",
                &[Value::Float(1e6), Value::Float(0.5), Value::Float(1234.5)]
            ),
            "1e+06 0.5 1.234500e+03"
        );
        assert_eq!(f("%d", &[text("x")]), "%!d(string=x)");
        assert_eq!(f("%s %s", &[text("x")]), "x %!s(MISSING)");
        assert_eq!(f("%%", &[Value::Int(1)]), "%%!(EXTRA int=1)");
        assert_eq!(
            f(
                "%+d|%x|%3c|%t",
                &[
                    Value::Int(5),
                    Value::Int(255),
                    Value::Int(65),
                    Value::Bool(true)
                ]
            ),
            "+5|ff|  A|true"
        );
        assert_eq!(
            f("%.3g|%6.1f|", &[Value::Float(1234.5), Value::Float(2.25)]),
            "1.23e+03|   2.2|"
        );
    }
}

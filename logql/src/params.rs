//! The parameters of Loki's query endpoints: how times, steps and limits are written, and what
//! stands in for those that are missing. Pure functions; the clock's time comes in as `now_ns`.

use crate::ast::Expr;
use crate::units::{
    SECOND_NS, format_go_duration, format_model_duration, parse_model_duration, quote,
};
use storage::read::Direction;

/// Entries in an answer where the request does not say.
pub const DEFAULT_LIMIT: usize = 100;
/// How far back a query goes where the request does not say.
pub const DEFAULT_SINCE_NS: i64 = 3600 * SECOND_NS;
/// Points in one series of an answer.
pub const MAX_POINTS: i64 = 11_000;
/// Loki's default of `max_entries_limit_per_query`.
pub const MAX_ENTRIES: usize = 5000;
/// Loki's default of `max_query_length`, 30 days and 1 hour.
pub const MAX_QUERY_LENGTH_NS: i64 = 721 * 3600 * SECOND_NS;

/// A parameter that cannot be used (400). The text is what Loki answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParamError(pub String);

/// Parameters of a range query, as asked: not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeParams {
    /// Start in nanoseconds, in.
    pub start_ns: i64,
    /// End in nanoseconds, out for log queries and in for metric queries.
    pub end_ns: i64,
    /// Step in nanoseconds, above 0.
    pub step_ns: i64,
    /// Least distance of log entries in nanoseconds; 0 for all.
    pub interval_ns: i64,
    /// Most entries, above 0.
    pub limit: usize,
    /// Order of entries.
    pub direction: Direction,
}

/// Parameters of an instant query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstantParams {
    /// The moment in nanoseconds.
    pub time_ns: i64,
    /// Most entries, above 0.
    pub limit: usize,
    /// Order of entries.
    pub direction: Direction,
}

/// A time: up to 10 digits are seconds, more are nanoseconds, with a dot float seconds rounded to
/// milliseconds, else RFC 3339.
///
/// # Errors
/// Go's text.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let invalid = || format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text));
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        // Go splits the float and rounds the fraction, which keeps whole seconds exact.
        let (whole, fraction) = (seconds.trunc(), seconds.fract());
        let fraction_ms = (fraction * 1000.0).round() as i64;
        return (whole as i64)
            .checked_mul(SECOND_NS)
            .and_then(|ns| ns.checked_add(fraction_ms * 1_000_000))
            .ok_or_else(invalid);
    }
    if let Ok(number) = text.parse::<i64>() {
        return if text.len() <= 10 {
            number.checked_mul(SECOND_NS).ok_or_else(invalid)
        } else {
            Ok(number)
        };
    }
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .and_then(|time| time.timestamp_nanos_opt())
        .ok_or_else(invalid)
}

/// A step or interval: float seconds or a Prometheus duration.
///
/// # Errors
/// Prometheus's text.
pub fn parse_step(text: &str) -> Result<i64, ParamError> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * SECOND_NS as f64;
        if ns.is_nan() || ns >= i64::MAX as f64 || ns <= i64::MIN as f64 {
            return Err(ParamError(format!(
                "cannot parse {} to a valid duration. It overflows int64",
                quote(text)
            )));
        }
        return Ok(ns as i64);
    }
    parse_model_duration(text)
        .map_err(|_| ParamError(format!("cannot parse {} to a valid duration", quote(text))))
}

/// A limit; `default` stands in for a missing one.
///
/// # Errors
/// Go's text for what is no number, Loki's for what is out of bounds.
pub fn parse_limit(text: Option<&str>, default: usize) -> Result<usize, ParamError> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(default);
    };
    let number: i64 = text.parse().map_err(|_| {
        ParamError(format!(
            "strconv.Atoi: parsing {}: invalid syntax",
            quote(text)
        ))
    })?;
    if number <= 0 {
        return Err(ParamError("limit must be a positive value".to_owned()));
    }
    // Loki keeps 32 bits, and shows them.
    Ok(number as u32 as usize)
}

/// Refuses a limit that is above the greatest for entries.
///
/// # Errors
/// Loki's text.
pub fn check_entries_limit(limit: usize, greatest: usize) -> Result<(), ParamError> {
    if limit > greatest {
        return Err(ParamError(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {greatest})"
        )));
    }
    Ok(())
}

/// A direction in any case.
///
/// # Errors
/// Loki's text.
pub fn parse_direction(text: Option<&str>) -> Result<Direction, ParamError> {
    match text.filter(|t| !t.is_empty()) {
        None => Ok(Direction::Backward),
        Some(text) if text.eq_ignore_ascii_case("forward") => Ok(Direction::Forward),
        Some(text) if text.eq_ignore_ascii_case("backward") => Ok(Direction::Backward),
        Some(text) => Err(ParamError(format!("invalid direction '{text}'"))),
    }
}

/// The step where the request does not say: a 250th of the range in whole seconds, at least one.
#[must_use]
pub const fn default_step_ns(start_ns: i64, end_ns: i64) -> i64 {
    let seconds = end_ns.saturating_sub(start_ns) / 250 / SECOND_NS;
    if seconds < 1 {
        SECOND_NS
    } else {
        seconds * SECOND_NS
    }
}

/// The ends of a metric range query, moved outwards to multiples of the step since the epoch.
#[must_use]
pub const fn align(start_ns: i64, end_ns: i64, step_ns: i64) -> (i64, i64) {
    let start = start_ns.saturating_sub(start_ns.rem_euclid(step_ns));
    let over = end_ns.rem_euclid(step_ns);
    let end = if over == 0 {
        end_ns
    } else {
        end_ns.saturating_sub(over).saturating_add(step_ns)
    };
    (start, end)
}

/// Start and end, from `start`, `end` and `since`.
///
/// # Errors
/// Loki's texts.
pub fn parse_bounds<'a>(
    get: impl Fn(&str) -> Option<&'a str>,
    now_ns: i64,
) -> Result<(i64, i64), ParamError> {
    let get = |name: &str| get(name).filter(|text| !text.is_empty());
    let time = |name: &str| {
        get(name)
            .map(|text| {
                parse_time(text)
                    .map_err(|e| ParamError(format!("could not parse '{name}' parameter: {e}")))
            })
            .transpose()
    };
    let since_ns = match get("since") {
        None => DEFAULT_SINCE_NS,
        Some(text) => parse_model_duration(text)
            .map_err(|e| ParamError(format!("could not parse 'since' parameter: {e}")))?,
    };
    let end = time("end")?;
    let end_or_now = end.unwrap_or(now_ns);
    // An end in the future does not move the default start there.
    let start = time("start")?.unwrap_or_else(|| {
        end_or_now
            .min(now_ns.max(end_or_now))
            .saturating_sub(since_ns)
    });
    Ok((start, end_or_now))
}

impl RangeParams {
    /// Reads the parameters of `/loki/api/v1/query_range`. `get` gives the last value of a name.
    ///
    /// # Errors
    /// Loki's texts, all of them 400.
    pub fn parse<'a>(
        get: impl Fn(&str) -> Option<&'a str>,
        now_ns: i64,
    ) -> Result<Self, ParamError> {
        let given = |name: &str| get(name).filter(|text| !text.is_empty());
        let limit = parse_limit(given("limit"), DEFAULT_LIMIT)?;
        let (start_ns, end_ns) = parse_bounds(&get, now_ns)?;
        if end_ns < start_ns {
            return Err(ParamError(
                "end timestamp must not be before or equal to start time".to_owned(),
            ));
        }
        let direction = parse_direction(given("direction"))?;
        let step_ns = match given("step") {
            Some(text) => parse_step(text)?,
            None => default_step_ns(start_ns, end_ns),
        };
        if step_ns <= 0 {
            return Err(ParamError(
                "zero or negative query resolution step widths are not accepted. Try a positive integer".to_owned(),
            ));
        }
        if end_ns.saturating_sub(start_ns) / step_ns > MAX_POINTS {
            return Err(ParamError(
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter".to_owned(),
            ));
        }
        let interval_ns = given("interval").map_or(Ok(0), parse_step)?;
        if interval_ns < 0 {
            return Err(ParamError("interval must be >= 0".to_owned()));
        }
        Ok(Self {
            start_ns,
            end_ns,
            step_ns,
            interval_ns,
            limit,
            direction,
        })
    }
}

impl InstantParams {
    /// Reads the parameters of `/loki/api/v1/query`.
    ///
    /// # Errors
    /// Loki's texts, all of them 400.
    pub fn parse<'a>(
        get: impl Fn(&str) -> Option<&'a str>,
        now_ns: i64,
    ) -> Result<Self, ParamError> {
        let given = |name: &str| get(name).filter(|text| !text.is_empty());
        let limit = parse_limit(given("limit"), DEFAULT_LIMIT)?;
        let time_ns =
            given("time").map_or(Ok(now_ns), |text| parse_time(text).map_err(ParamError))?;
        let direction = parse_direction(given("direction"))?;
        Ok(Self {
            time_ns,
            limit,
            direction,
        })
    }
}

/// Refuses a query over a longer time than allowed; the range of a metric query counts.
///
/// # Errors
/// Loki's text.
pub fn check_query_length(
    expr: &Expr,
    start_ns: i64,
    end_ns: i64,
    greatest_ns: i64,
) -> Result<(), ParamError> {
    let length = end_ns
        .saturating_sub(start_ns)
        .saturating_add(expr.longest_range_ns());
    if greatest_ns > 0 && length > greatest_ns {
        return Err(ParamError(format!(
            "the query time range exceeds the limit (query length: {}, limit: {})",
            format_go_duration(length),
            format_days(greatest_ns)
        )));
    }
    Ok(())
}

/// Days show even where hours are left over: `30d1h`.
fn format_days(ns: i64) -> String {
    let day = 86_400 * SECOND_NS;
    let (days, rest) = (ns / day, ns % day);
    match (days, rest) {
        (0, rest) => format_model_duration(rest),
        (days, 0) => format!("{days}d"),
        (days, rest) => format!("{days}d{}", format_model_duration(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = SECOND_NS;

    #[test]
    fn times_come_in_four_forms() {
        for (text, ns) in [
            ("1793491260", 1_793_491_260 * S),
            ("1793491260000", 1_793_491_260_000),
            ("1793491200.5", 1_793_491_200 * S + 500_000_000),
            ("1793491500.999999999", 1_793_491_501 * S),
            ("2026-11-01T01:00:00+01:00", 1_793_491_200 * S),
            ("2026-11-01T00:00:00.000000001Z", 1_793_491_200 * S + 1),
        ] {
            assert_eq!(parse_time(text), Ok(ns), "{text}");
        }
        assert_eq!(
            parse_time("1e9"),
            Err("strconv.ParseInt: parsing \"1e9\": invalid syntax".into())
        );
    }

    #[test]
    fn steps_are_seconds_or_durations() {
        assert_eq!(parse_step("90.5"), Ok(90_500_000_000));
        assert_eq!(parse_step("1m30s"), Ok(90 * S));
        assert_eq!(
            parse_step("0.5m"),
            Err(ParamError(
                "cannot parse \"0.5m\" to a valid duration".into()
            ))
        );
        assert_eq!(default_step_ns(0, 7200 * S), 28 * S);
        assert_eq!(default_step_ns(0, 10 * S), S);
    }

    #[test]
    fn ranges_are_aligned_outwards() {
        assert_eq!(align(15, 315, 60), (0, 360));
        assert_eq!(align(60, 120, 60), (60, 120));
    }

    #[test]
    fn since_counts_from_the_end() {
        let get = |name: &str| match name {
            "end" => Some("1793491260"),
            "since" => Some("1m"),
            _ => None,
        };
        assert_eq!(
            parse_bounds(get, 0),
            Ok((1_793_491_200 * S, 1_793_491_260 * S))
        );
    }
}

//! Times in templates, and Go's layouts: a time is written and read by the example of
//! `Mon Jan 2 15:04:05 MST 2006`.

use std::fmt;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike};

use super::value::Value;

/// A moment, and the zone it is shown in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// Seconds since the epoch.
    pub(super) secs: i64,
    pub(super) nanos: u32,
    /// Seconds east of Greenwich.
    offset_s: i32,
    zone: String,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Go's zero time, 1 January of year 1.
const ZERO_SECS: i64 = -62_135_596_800;

/// What a piece of a layout stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'l> {
    Literal(&'l str),
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    PaddedDay,
    ZeroDay,
    PaddedYearDay,
    ZeroYearDay,
    Hour24,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    Zone,
    /// Numeric zone: `Z` for zero, colons, seconds, hours only.
    Numeric {
        z: bool,
        colon: bool,
        seconds: bool,
        short: bool,
    },
    /// Digits behind the second; trailing zeros go where true.
    Fraction(usize, bool),
}

const PIECES: [(&str, Piece<'static>); 33] = [
    ("January", Piece::LongMonth),
    ("Jan", Piece::Month),
    ("Monday", Piece::LongWeekday),
    ("Mon", Piece::Weekday),
    ("MST", Piece::Zone),
    ("002", Piece::ZeroYearDay),
    ("__2", Piece::PaddedYearDay),
    ("_2", Piece::PaddedDay),
    ("2006", Piece::LongYear),
    ("01", Piece::ZeroMonth),
    ("02", Piece::ZeroDay),
    ("03", Piece::ZeroHour12),
    ("04", Piece::ZeroMinute),
    ("05", Piece::ZeroSecond),
    ("06", Piece::Year),
    ("15", Piece::Hour24),
    ("1", Piece::NumMonth),
    ("2", Piece::Day),
    ("3", Piece::Hour12),
    ("4", Piece::Minute),
    ("5", Piece::Second),
    ("PM", Piece::UpperPm),
    ("pm", Piece::LowerPm),
    (
        "-070000",
        Piece::Numeric {
            z: false,
            colon: false,
            seconds: true,
            short: false,
        },
    ),
    (
        "-07:00:00",
        Piece::Numeric {
            z: false,
            colon: true,
            seconds: true,
            short: false,
        },
    ),
    (
        "-0700",
        Piece::Numeric {
            z: false,
            colon: false,
            seconds: false,
            short: false,
        },
    ),
    (
        "-07:00",
        Piece::Numeric {
            z: false,
            colon: true,
            seconds: false,
            short: false,
        },
    ),
    (
        "-07",
        Piece::Numeric {
            z: false,
            colon: false,
            seconds: false,
            short: true,
        },
    ),
    (
        "Z070000",
        Piece::Numeric {
            z: true,
            colon: false,
            seconds: true,
            short: false,
        },
    ),
    (
        "Z07:00:00",
        Piece::Numeric {
            z: true,
            colon: true,
            seconds: true,
            short: false,
        },
    ),
    (
        "Z0700",
        Piece::Numeric {
            z: true,
            colon: false,
            seconds: false,
            short: false,
        },
    ),
    (
        "Z07:00",
        Piece::Numeric {
            z: true,
            colon: true,
            seconds: false,
            short: false,
        },
    ),
    (
        "Z07",
        Piece::Numeric {
            z: true,
            colon: false,
            seconds: false,
            short: true,
        },
    ),
];

fn pieces(layout: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let (mut literal, mut at) = (0, 0);
    while at < layout.len() {
        let rest = &layout[at..];
        let found = PIECES
            .iter()
            .filter(|(text, _)| rest.starts_with(text))
            .max_by_key(|(text, _)| text.len())
            .map(|(text, piece)| (text.len(), *piece))
            .filter(|(len, piece)| {
                // "Jan" within a longer word is no month.
                !matches!(piece, Piece::Month | Piece::Weekday)
                    || !rest[*len..].starts_with(|c: char| c.is_ascii_lowercase())
            })
            .or_else(|| fraction(rest));
        match found {
            Some((len, piece)) => {
                if literal < at {
                    out.push(Piece::Literal(&layout[literal..at]));
                }
                out.push(piece);
                at += len;
                literal = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    if literal < at {
        out.push(Piece::Literal(&layout[literal..]));
    }
    out
}

/// `.000` or `.999` that no digit follows.
fn fraction(rest: &str) -> Option<(usize, Piece<'static>)> {
    let digits = rest.strip_prefix(['.', ','])?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let len = digits.find(|c| c != first).unwrap_or(digits.len());
    let digit_follows = digits[len..].starts_with(|c: char| c.is_ascii_digit());
    (!digit_follows).then_some((len + 1, Piece::Fraction(len, first == '9')))
}

impl Time {
    pub(super) fn utc(secs: i64, nanos: u32) -> Self {
        Self {
            secs,
            nanos,
            offset_s: 0,
            zone: "UTC".to_owned(),
        }
    }

    /// A moment in nanoseconds since the epoch, in UTC.
    #[must_use]
    pub fn from_ns(t_ns: i64) -> Self {
        Self::utc(
            t_ns.div_euclid(1_000_000_000),
            t_ns.rem_euclid(1_000_000_000) as u32,
        )
    }

    pub(super) fn zero() -> Self {
        Self::utc(ZERO_SECS, 0)
    }

    fn local(&self) -> NaiveDateTime {
        chrono::DateTime::from_timestamp(
            self.secs.saturating_add(i64::from(self.offset_s)),
            self.nanos,
        )
        .unwrap_or_default()
        .naive_utc()
    }

    pub(super) fn unix_ms(&self) -> i64 {
        self.secs
            .wrapping_mul(1000)
            .wrapping_add(i64::from(self.nanos / 1_000_000))
    }

    pub(super) fn unix_ns(&self) -> i64 {
        self.secs
            .wrapping_mul(1_000_000_000)
            .wrapping_add(i64::from(self.nanos))
    }

    /// Methods of Go's time without arguments.
    pub(super) fn method(&self, name: &str) -> Option<Value> {
        let local = self.local();
        let int = |n: i64| Some(Value::Int(n));
        match name {
            "Unix" => int(self.secs),
            "UnixMilli" => int(self.unix_ms()),
            "UnixMicro" => int(self.unix_ns() / 1000),
            "UnixNano" => int(self.unix_ns()),
            "Year" => int(i64::from(local.year())),
            "Month" => Some(Value::Text(MONTHS[local.month0() as usize].to_owned())),
            "Day" => int(i64::from(local.day())),
            "Hour" => int(i64::from(local.hour())),
            "Minute" => int(i64::from(local.minute())),
            "Second" => int(i64::from(local.second())),
            "Nanosecond" => int(i64::from(self.nanos)),
            "YearDay" => int(i64::from(local.ordinal())),
            "Weekday" => Some(Value::Text(DAYS[weekday(local)].to_owned())),
            "String" => Some(Value::Text(self.to_string())),
            "UTC" | "Local" => Some(Value::Time(Self::utc(self.secs, self.nanos))),
            "IsZero" => Some(Value::Bool(self.secs == ZERO_SECS && self.nanos == 0)),
            _ => None,
        }
    }

    /// The time in Go's layout.
    pub(super) fn format(&self, layout: &str) -> String {
        let mut out = String::with_capacity(layout.len());
        let local = self.local();
        let hour12 = match local.hour() % 12 {
            0 => 12,
            h => h,
        };
        for piece in pieces(layout) {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::LongMonth => out.push_str(MONTHS[local.month0() as usize]),
                Piece::Month => out.push_str(&MONTHS[local.month0() as usize][..3]),
                Piece::NumMonth => out.push_str(&local.month().to_string()),
                Piece::ZeroMonth => out.push_str(&format!("{:02}", local.month())),
                Piece::LongWeekday => out.push_str(DAYS[weekday(local)]),
                Piece::Weekday => out.push_str(&DAYS[weekday(local)][..3]),
                Piece::Day => out.push_str(&local.day().to_string()),
                Piece::PaddedDay => out.push_str(&format!("{:2}", local.day())),
                Piece::ZeroDay => out.push_str(&format!("{:02}", local.day())),
                Piece::PaddedYearDay => out.push_str(&format!("{:3}", local.ordinal())),
                Piece::ZeroYearDay => out.push_str(&format!("{:03}", local.ordinal())),
                Piece::Hour24 => out.push_str(&format!("{:02}", local.hour())),
                Piece::Hour12 => out.push_str(&hour12.to_string()),
                Piece::ZeroHour12 => out.push_str(&format!("{hour12:02}")),
                Piece::Minute => out.push_str(&local.minute().to_string()),
                Piece::ZeroMinute => out.push_str(&format!("{:02}", local.minute())),
                Piece::Second => out.push_str(&local.second().to_string()),
                Piece::ZeroSecond => out.push_str(&format!("{:02}", local.second())),
                Piece::LongYear => out.push_str(&format!("{:04}", local.year())),
                Piece::Year => out.push_str(&format!("{:02}", local.year().rem_euclid(100))),
                Piece::UpperPm => out.push_str(if local.hour() < 12 { "AM" } else { "PM" }),
                Piece::LowerPm => out.push_str(if local.hour() < 12 { "am" } else { "pm" }),
                Piece::Zone => out.push_str(&self.zone),
                Piece::Numeric {
                    z,
                    colon,
                    seconds,
                    short,
                } => {
                    out.push_str(&self.numeric_zone(z, colon, seconds, short));
                }
                Piece::Fraction(digits, trims) => {
                    let all = format!("{:09}", self.nanos);
                    let part = &all[..digits.min(9)];
                    let part = if trims {
                        part.trim_end_matches('0')
                    } else {
                        part
                    };
                    if !part.is_empty() {
                        out.push('.');
                        out.push_str(part);
                    }
                }
            }
        }
        out
    }

    fn numeric_zone(&self, z: bool, colon: bool, seconds: bool, short: bool) -> String {
        if z && self.offset_s == 0 {
            return "Z".to_owned();
        }
        let sign = if self.offset_s < 0 { '-' } else { '+' };
        let n = self.offset_s.unsigned_abs();
        let (h, m, s) = (n / 3600, n / 60 % 60, n % 60);
        let separator = if colon { ":" } else { "" };
        match (short, seconds) {
            (true, _) => format!("{sign}{h:02}"),
            (false, false) => format!("{sign}{h:02}{separator}{m:02}"),
            (false, true) => format!("{sign}{h:02}{separator}{m:02}{separator}{s:02}"),
        }
    }

    /// Reads a time by a layout. A zone that the text does not name is the one given.
    pub(super) fn parse(layout: &str, text: &str, zone: &str) -> Option<Self> {
        let mut reader = Fields {
            rest: text,
            ..Fields::default()
        };
        for piece in pieces(layout) {
            reader.piece(piece)?;
        }
        if !reader.rest.is_empty() {
            return None;
        }
        reader.finish(zone)
    }
}

fn weekday(time: NaiveDateTime) -> usize {
    time.weekday().num_days_from_sunday() as usize
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

#[derive(Default)]
struct Fields<'t> {
    rest: &'t str,
    year: i32,
    month: Option<u32>,
    day: Option<u32>,
    year_day: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    pm: Option<bool>,
    offset_s: Option<i32>,
    zone: Option<String>,
}

impl Fields<'_> {
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let len = self
            .rest
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        if len < least {
            return None;
        }
        let value = self.rest[..len].parse().ok()?;
        self.rest = &self.rest[len..];
        Some(value)
    }

    fn name(&mut self, names: &[&str], short: bool) -> Option<u32> {
        let at = names.iter().position(|name| {
            let name = if short { &name[..3] } else { name };
            self.rest
                .get(..name.len())
                .is_some_and(|t| t.eq_ignore_ascii_case(name))
        })?;
        let len = if short { 3 } else { names[at].len() };
        self.rest = &self.rest[len..];
        u32::try_from(at).ok()
    }

    fn piece(&mut self, piece: Piece<'_>) -> Option<()> {
        match piece {
            Piece::Literal(text) => self.rest = self.rest.strip_prefix(text)?,
            Piece::LongMonth => self.month = Some(self.name(&MONTHS, false)? + 1),
            Piece::Month => self.month = Some(self.name(&MONTHS, true)? + 1),
            Piece::NumMonth => self.month = Some(self.number(1, 2)?),
            Piece::ZeroMonth => self.month = Some(self.number(2, 2)?),
            Piece::LongWeekday => drop(self.name(&DAYS, false)?),
            Piece::Weekday => drop(self.name(&DAYS, true)?),
            Piece::PaddedDay | Piece::Day => {
                if piece == Piece::PaddedDay {
                    self.rest = self.rest.trim_start_matches(' ');
                }
                self.day = Some(self.number(1, 2)?);
            }
            Piece::ZeroDay => self.day = Some(self.number(2, 2)?),
            Piece::PaddedYearDay | Piece::ZeroYearDay => {
                self.rest = self.rest.trim_start_matches(' ');
                self.year_day = Some(self.number(1, 3)?);
            }
            Piece::Hour24 | Piece::Hour12 => self.hour = self.number(1, 2)?,
            Piece::ZeroHour12 => self.hour = self.number(2, 2)?,
            Piece::Minute => self.minute = self.number(1, 2)?,
            Piece::ZeroMinute => self.minute = self.number(2, 2)?,
            Piece::Second | Piece::ZeroSecond => {
                self.second = self.number(if piece == Piece::Second { 1 } else { 2 }, 2)?;
                // A fraction may follow even where the layout has none.
                if self.rest.starts_with(['.', ','])
                    && self.rest[1..].starts_with(|c: char| c.is_ascii_digit())
                {
                    self.fraction()?;
                }
            }
            Piece::LongYear => self.year = i32::try_from(self.number(4, 4)?).ok()?,
            Piece::Year => {
                let year = i32::try_from(self.number(2, 2)?).ok()?;
                self.year = if year >= 69 { 1900 + year } else { 2000 + year };
            }
            Piece::UpperPm | Piece::LowerPm => {
                let (word, rest) = self.rest.split_at_checked(2)?;
                self.pm = Some(word.eq_ignore_ascii_case("pm"));
                if !word.eq_ignore_ascii_case("am") && self.pm == Some(false) {
                    return None;
                }
                self.rest = rest;
            }
            Piece::Zone => {
                let len = self
                    .rest
                    .find(|c: char| !c.is_ascii_uppercase())
                    .unwrap_or(self.rest.len());
                if len < 3 {
                    return None;
                }
                self.zone = Some(self.rest[..len].to_owned());
                self.rest = &self.rest[len..];
            }
            Piece::Numeric {
                z,
                colon,
                seconds,
                short,
            } => self.zone_offset(z, colon, seconds, short)?,
            // It was read behind the second.
            Piece::Fraction(..) => {
                if self.rest.starts_with(['.', ',']) {
                    self.fraction()?;
                }
            }
        }
        Some(())
    }

    fn fraction(&mut self) -> Option<()> {
        let digits = &self.rest[1..];
        let len = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let nine = format!("{:0<9.9}", &digits[..len]);
        self.nanos = nine.parse().ok()?;
        self.rest = &digits[len..];
        Some(())
    }

    fn zone_offset(&mut self, z: bool, colon: bool, seconds: bool, short: bool) -> Option<()> {
        if z && let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            self.offset_s = Some(0);
            return Some(());
        }
        let negative = self.rest.starts_with('-');
        self.rest = self.rest.strip_prefix(['+', '-'])?;
        let mut total = self.number(2, 2)? * 3600;
        for (wanted, scale) in [(!short, 60), (seconds, 1)] {
            if wanted {
                if colon {
                    self.rest = self.rest.strip_prefix(':')?;
                }
                total += self.number(2, 2)? * scale;
            }
        }
        let total = i32::try_from(total).ok()?;
        self.offset_s = Some(if negative { -total } else { total });
        Some(())
    }

    fn finish(self, zone: &str) -> Option<Time> {
        let hour = match self.pm {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = match self.year_day {
            Some(day) if self.month.is_none() => NaiveDate::from_yo_opt(self.year, day)?,
            _ => {
                NaiveDate::from_ymd_opt(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1))?
            }
        };
        let local = date.and_hms_nano_opt(hour, self.minute, self.second, self.nanos)?;
        let nanos = self.nanos;
        if let Some(offset_s) = self.offset_s {
            let secs = (local - TimeDelta::seconds(i64::from(offset_s)))
                .and_utc()
                .timestamp();
            let zone = if offset_s == 0 {
                "UTC".to_owned()
            } else {
                self.zone.unwrap_or_default()
            };
            return Some(Time {
                secs,
                nanos,
                offset_s,
                zone,
            });
        }
        // An abbreviation alone says nothing about the offset; Go takes it for zero.
        let Some(zone) = (self.zone.is_none())
            .then(|| zone.parse::<chrono_tz::Tz>().ok())
            .flatten()
        else {
            return Some(Time::utc(local.and_utc().timestamp(), nanos));
        };
        let time = zone.from_local_datetime(&local).earliest()?;
        let offset_s = time.offset().fix().local_minus_utc();
        Some(Time {
            secs: time.timestamp(),
            nanos,
            offset_s,
            zone: time.format("%Z").to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_write_times() {
        let time = Time::from_ns(1_793_498_394_608_762_736);
        for (layout, text) in [
            ("2006-01-02T15:04:05.000Z07:00", "2026-11-01T01:59:54.608Z"),
            ("Mon Jan 2 15:04:05 2006", "Sun Nov 1 01:59:54 2026"),
            (
                "Monday, 02-Jan-06 03:04PM MST",
                "Sunday, 01-Nov-26 01:59AM UTC",
            ),
            ("_2 002 -0700 .999", " 1 305 +0000 .608"),
        ] {
            assert_eq!(time.format(layout), text);
        }
        assert_eq!(time.to_string(), "2026-11-01 01:59:54.608762736 +0000 UTC");
    }

    #[test]
    fn layouts_read_times() {
        let unix =
            |layout: &str, text: &str, zone: &str| Time::parse(layout, text, zone).map(|t| t.secs);
        assert_eq!(unix("2006-01-02", "2026-11-01", "UTC"), Some(1_793_491_200));
        assert_eq!(unix("2006-01-02", "bad", "UTC"), None);
        assert_eq!(
            unix("2006-01-02 15:04", "2026-07-01 12:00", "Europe/Oslo"),
            Some(1_782_900_000)
        );
        assert_eq!(
            unix("2006-01-02", "2026-07-01", "No/Zone"),
            Some(1_782_864_000)
        );
        assert_eq!(
            unix(
                "02/Jan/2006:15:04:05 -0700",
                "01/Nov/2026:01:00:00 +0100",
                ""
            ),
            Some(1_793_491_200)
        );
        assert_eq!(
            unix("3:04PM", "1:30pm", "UTC").map(|s| s.rem_euclid(86_400)),
            Some(48_600)
        );
    }
}

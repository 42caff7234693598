//! Functions of calendar time, all in UTC.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// From the first moment of Go's calendar, 1 March of the year -292277022400, to the epoch, in seconds.
const FIRST_MOMENT: i64 = 9_223_372_028_741_760_000;

/// A moment, split as the calendar splits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    year: i64,
    month: i64,
    day: i64,
    /// Days since 1970-01-01.
    days: i64,
    second_of_day: i64,
}

impl Civil {
    /// From seconds since the epoch.
    /// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms" (`civil_from_days`).
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        // Go counts seconds from the first moment of its calendar in 64 bits without a sign; what lies
        // before that moment comes out at the other end.
        let since_first = seconds.wrapping_add(FIRST_MOMENT) as u64;
        let seconds = i128::from(since_first) - i128::from(FIRST_MOMENT);
        let days = seconds.div_euclid(i128::from(DAY)) as i64;
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            days,
            second_of_day: seconds.rem_euclid(i128::from(DAY)) as i64,
        }
    }

    const fn is_leap(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    pub(crate) const fn days_in_month(self) -> i64 {
        match self.month {
            2 if self.is_leap() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    pub(crate) const fn day_of_month(self) -> i64 {
        self.day
    }

    /// Sunday is 0.
    pub(crate) const fn day_of_week(self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }

    pub(crate) fn day_of_year(self) -> i64 {
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let before = BEFORE[(self.month - 1).clamp(0, 11) as usize];
        before + self.day + i64::from(self.month > 2 && self.is_leap())
    }

    pub(crate) const fn hour(self) -> i64 {
        self.second_of_day / 3600
    }

    pub(crate) const fn minute(self) -> i64 {
        self.second_of_day / 60 % 60
    }

    pub(crate) const fn month(self) -> i64 {
        self.month
    }

    pub(crate) const fn year(self) -> i64 {
        self.year
    }
}

/// A float as whole seconds, as Go converts it on amd64: out of range and NaN give the smallest.
pub(crate) fn whole_seconds(v: f64) -> i64 {
    let bound = 2_f64.powi(63);
    if (-bound..bound).contains(&v) {
        v as i64
    } else {
        i64::MIN
    }
}

/// `2026-11-01T00:00:00Z`
pub(crate) fn rfc3339_seconds(seconds: i64) -> String {
    let t = Civil::from_seconds(seconds);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        t.year,
        t.month,
        t.day,
        t.hour(),
        t.minute(),
        t.second_of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_split_as_the_calendar_does() {
        let t = Civil::from_seconds(1_793_491_200);
        assert_eq!((t.year(), t.month(), t.day_of_month()), (2026, 11, 1));
        assert_eq!((t.day_of_week(), t.day_of_year()), (0, 305));
        let leap = Civil::from_seconds(951_782_400 + 3660);
        assert_eq!(
            (leap.month(), leap.day_of_month(), leap.days_in_month()),
            (2, 29, 29)
        );
        assert_eq!((leap.hour(), leap.minute()), (1, 1));
        assert_eq!(rfc3339_seconds(-1), "1969-12-31T23:59:59Z");
    }
}

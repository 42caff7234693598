//! When a group is evaluated: at slots of time that depend on nothing but its name, file and interval, so that they stay after a
//! restart and groups do not come all at once.

use std::time::Duration;

use xxhash_rust::xxh64::xxh64;

/// How far behind the start of an interval a group's slot lies: upstream's hash of its names.
pub(super) fn offset_ns(file: &str, name: &str, interval: Duration) -> i64 {
    let interval_ns = u64::try_from(interval.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1);
    let mut bytes = Vec::new();
    for text in ["file", file, "name", name] {
        match u8::try_from(text.len()) {
            Ok(len) if len < 255 => bytes.push(len),
            _ => {
                bytes.push(255);
                bytes.extend_from_slice(&text.len().to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    i64::try_from(xxh64(&bytes, 0) % interval_ns).unwrap_or(0)
}

/// The newest slot that is not in the future.
pub(super) fn slot_before(now_ns: i64, interval: Duration, offset_ns: i64) -> i64 {
    let interval_ns = i64::try_from(interval.as_nanos())
        .unwrap_or(i64::MAX)
        .max(1);
    let shifted = now_ns - offset_ns;
    shifted - shifted.rem_euclid(interval_ns) + offset_ns
}

/// The slot to evaluate now, some time after the one before, and how many between have been missed.
pub(super) fn next_slot(before_ns: i64, now_ns: i64, interval: Duration) -> (i64, u64) {
    let interval_ns = i64::try_from(interval.as_nanos())
        .unwrap_or(i64::MAX)
        .max(1);
    // A timer may go off a little early by the wall clock.
    let steps = (now_ns - before_ns + interval_ns / 10).div_euclid(interval_ns);
    let steps = match steps {
        // Never the same slot twice.
        0 => 1,
        // A clock that was set back counts.
        steps => steps,
    };
    let missed = u64::try_from(steps - 1).unwrap_or(0);
    (before_ns + steps * interval_ns, missed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const MINUTE_NS: i64 = 60_000_000_000;

    #[test]
    fn slots_stay_where_they_are() {
        let offset = offset_ns("/etc/rules.yml", "g", MINUTE);
        assert!((0..MINUTE_NS).contains(&offset));
        assert_ne!(offset, offset_ns("/etc/rules.yml", "h", MINUTE));
        let slot = slot_before(1_793_491_200_000_000_000, MINUTE, offset);
        assert!(slot <= 1_793_491_200_000_000_000 && slot > 1_793_491_140_000_000_000);
        assert_eq!(slot_before(slot, MINUTE, offset), slot);
        assert_eq!(slot_before(slot - 1, MINUTE, offset), slot - MINUTE_NS);
        assert_eq!(slot_before(slot + MINUTE_NS - 1, MINUTE, offset), slot);
    }

    #[test]
    fn slots_follow_each_other_and_missed_ones_are_counted() {
        let f = |now_s: i64| {
            let (slot, missed) = next_slot(0, now_s * 1_000_000_000, MINUTE);
            (slot / 1_000_000_000, missed)
        };
        assert_eq!(f(60), (60, 0));
        assert_eq!(f(59), (60, 0));
        assert_eq!(f(61), (60, 0));
        assert_eq!(f(185), (180, 2));
        assert_eq!(f(1), (60, 0));
        assert_eq!(f(-3600), (-3600, 0));
    }
}

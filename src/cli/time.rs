//! Times as people write them, in milliseconds since 1970. UTC, and the calendar of ISO 8601: nothing here needs to know time
//! zones by name or leap seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::units::parse_duration;

/// A point in time, given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn as_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// For clap: a time, or how long ago.
pub(crate) fn parse(text: &str) -> Result<Moment, String> {
    parse_at(text, now_ms()).map(Moment)
}

fn parse_at(text: &str, now_ms: u64) -> Result<u64, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now_ms);
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return match seconds.parse::<f64>() {
            Ok(seconds) if (0.0..1e11).contains(&seconds) => Ok((seconds * 1000.0).round() as u64),
            _ => Err(format!("{seconds:?} is no number of seconds since 1970")),
        };
    }
    let ago = text.strip_suffix("ago").unwrap_or(text).trim();
    if let Ok(ago) = parse_duration(ago) {
        return Ok(now_ms.saturating_sub(ago.as_millis() as u64));
    }
    calendar(text).ok_or_else(|| {
        format!("{text:?} is no time: use 2026-11-20T12:00:00Z, @1795176000, or how long ago, as 15m, 2h, 7d")
    })
}

/// `2026-11-20`, `2026-11-20T12:00`, `2026-11-20 12:00:00.5Z`, `2026-11-20T12:00:00+01:00`.
fn calendar(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > days_in(year, month) {
        return None;
    }
    let midnight = days_before(year, month, day) * 86_400_000;
    let Some(separator) = bytes.get(10) else { return u64::try_from(midnight).ok() };
    if !matches!(separator, b'T' | b't' | b' ') || bytes.get(13) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    let mut at = 16;
    let mut second = 0;
    let mut millis = 0;
    if bytes.get(at) == Some(&b':') {
        second = number(17, 19)?;
        at = 19;
        if bytes.get(at) == Some(&b'.') {
            let digits = text.get(20..)?.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            let three: String = text.get(20..20 + digits)?.chars().chain("00".chars()).take(3).collect();
            millis = three.parse::<i64>().ok()?;
            at = 20 + digits;
        }
    }
    let offset_minutes = match text.get(at..)? {
        "" | "Z" | "z" => 0,
        offset => {
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            let [b'+' | b'-', b'0'..=b'9', b'0'..=b'9', b':', b'0'..=b'9', b'0'..=b'9'] = offset.as_bytes() else {
                return None;
            };
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 60 + minutes)
        }
    };
    // A leap second counts as the first second of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let in_day = ((hour * 60 + minute - offset_minutes) * 60 + second) * 1000 + millis;
    u64::try_from(midnight + in_day).ok()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01. Years begin in March, so that the leap day is the last of its year.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `2026-11-20T12:00:00.123Z`.
pub(crate) fn format(ms: u64) -> String {
    let (days, in_day) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_times_parse_with_parts_left_out_from_the_right() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("2026-11-20T12:00:00Z", 1_795_176_000_000),
            ("2026-11-20T12:00", 1_795_176_000_000),
            ("2026-11-20 12:00:00.25", 1_795_176_000_250),
            ("2026-11-20T12:00:00.123456Z", 1_795_176_000_123),
            ("2026-11-20T13:00:00+01:00", 1_795_176_000_000),
            ("2024-02-29", 1_709_164_800_000),
            ("@1795176000.5", 1_795_176_000_500),
        ] {
            assert_eq!(parse_at(text, 0), Ok(ms), "{text}");
        }
    }

    #[test]
    fn relative_times_are_ago() {
        assert_eq!(parse_at("15m", 1_000_000), Ok(100_000));
        assert_eq!(parse_at("1s ago", 5_000), Ok(4_000));
        assert_eq!(parse_at("now", 5_000), Ok(5_000));
        assert_eq!(parse_at("7d", 5_000), Ok(0), "before 1970 is 1970");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "yesterday", "2026-13-01", "2026-02-29", "2026-11-20T25:00Z", "2026-11-20T12", "@x", "@-1", "12:00"]
        {
            assert!(parse_at(text, 0).is_err(), "{text}");
        }
        for text in ["2026-11-20T12:00:00.", "2026-11-20T12:00:00+1", "2026-11-20é12:00", "é"] {
            assert!(parse_at(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn formatted_times_parse_back() {
        let mut ms = 1;
        while ms < 4_102_444_800_000 {
            assert_eq!(calendar(&format(ms)), Some(ms), "{}", format(ms));
            ms += 86_400_000 * 13 + 12_345_678;
        }
        assert_eq!(format(1_795_176_000_123), "2026-11-20T12:00:00.123Z");
    }
}

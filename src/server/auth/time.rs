//! The time a request says it was signed at.

/// A time of signing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignedAt {
    year: i64,
    month: i64,
    day: i64,
    /// Seconds since midnight.
    second: i64,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl SignedAt {
    /// `20261120T120000Z`, as in `x-amz-date`.
    pub(super) fn parse_basic(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| digits(text.get(from..to)?);
        Self::of(number(0, 4)?, number(4, 6)?, number(6, 8)?, [number(9, 11)?, number(11, 13)?, number(13, 15)?])
    }

    /// The header `Date`: `Fri, 20 Nov 2026 12:00:00 GMT`, or the same form as `x-amz-date`.
    pub(super) fn parse_date(text: &str) -> Option<Self> {
        if let Some(time) = Self::parse_basic(text) {
            return Some(time);
        }
        let (_weekday, rest) = text.split_once(", ")?;
        let mut parts = rest.split(' ');
        let mut next = || parts.next();
        let (day, month, year, time, zone) = (next()?, next()?, next()?, next()?, next()?);
        let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
        let mut clock = time.split(':').map(|part| (part.len() == 2).then(|| digits(part)).flatten());
        let clock = [clock.next()??, clock.next()??, clock.next()??];
        let ends = time.len() == 8 && year.len() == 4 && day.len() <= 2 && next().is_none();
        if !ends || !["GMT", "UTC", "+0000", "-0000"].contains(&zone) {
            return None;
        }
        Self::of(digits(year)?, month, digits(day)?, clock)
    }

    fn of(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let valid = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
        valid.then_some(Self { year, month, day, second: (hour * 60 + minute) * 60 + second })
    }

    /// Of a clock.
    pub(super) fn of_ms(ms: u64) -> Self {
        let seconds = (ms / 1000).min(253_402_300_799) as i64;
        // Years that begin in March have their leap day last.
        let days = seconds / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let of_era_year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = (era * 400 + of_era_year, month + 3);
        let (year, month) = if month > 12 { (year + 1, month - 12) } else { (year, month) };
        Self { year, month, day, second: seconds % 86_400 }
    }

    /// Milliseconds since 1970; negative before.
    pub(super) fn ms(self) -> i64 {
        let (year, month) = if self.month > 2 { (self.year, self.month - 3) } else { (self.year - 1, self.month + 9) };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * month + 2) / 5 + self.day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        (days * 86_400 + self.second) * 1000
    }

    /// `20261120`.
    pub(super) fn date(self) -> String {
        format!("{:04}{:02}{:02}", self.year, self.month, self.day)
    }

    /// `20261120T120000Z`.
    pub(super) fn basic(self) -> String {
        let (hour, minute, second) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        format!("{}T{hour:02}{minute:02}{second:02}Z", self.date())
    }
}

/// `parse` alone would take a sign.
fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_of_a_date_are_read() {
        let noon = SignedAt::parse_basic("20261120T120000Z").unwrap();
        assert_eq!(noon.ms(), 1_795_176_000_000);
        assert_eq!((noon.date().as_str(), noon.basic().as_str()), ("20261120", "20261120T120000Z"));
        for text in ["Fri, 20 Nov 2026 12:00:00 GMT", "Fri, 20 Nov 2026 12:00:00 -0000", "20261120T120000Z"] {
            assert_eq!(SignedAt::parse_date(text), Some(noon), "{text}");
        }
        assert_eq!(SignedAt::parse_basic("19700101T000000Z").unwrap().ms(), 0);
        assert_eq!(SignedAt::parse_basic("20240229T235959Z").unwrap().ms(), 1_709_251_199_000);
        assert!(SignedAt::parse_basic("00000101T000000Z").unwrap().ms() < 0);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "20261120",
            "20261120T120000",
            "2026-11-20T12:00:00Z",
            "20261320T120000Z",
            "20260229T120000Z",
            "20261100T120000Z",
            "20261120T240000Z",
            "20261120T126000Z",
            "20261120T120060Z",
            "+0261120T120000Z",
            "20261120T12000éZ",
            "20261120t120000Z",
            "Fri, 20 Nov 2026 12:00:00 CET",
            "Fri, 20 Nov 2026 12:00:00 GMT x",
            "Fri, 20 Nov 2026 12:00 GMT",
            "Fri, 20 nov 2026 12:00:00 GMT",
            "Fri 20 Nov 2026 12:00:00 GMT",
            "Fri, 020 Nov 2026 12:00:00 GMT",
            "Fri, 20 Nov 99999999999 12:00:00 GMT",
            "Fri, 20 Nov 2026 12:00:00:00 GMT",
        ] {
            assert_eq!(SignedAt::parse_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_of_a_clock_come_back(second in 0u64..253_402_300_800) {
            let time = SignedAt::of_ms(second * 1000);
            prop_assert_eq!(time.ms(), second as i64 * 1000);
            prop_assert_eq!(SignedAt::parse_basic(&time.basic()), Some(time));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = SignedAt::parse_date(&text);
        }
    }
}

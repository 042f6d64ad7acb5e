//! Sizes, durations and counts, as people write and read them.

use std::time::Duration;

/// `4096`, `64KiB` and `64k` (both 1024-fold), `1MB` (1000-fold).
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1u64,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("{unit:?} is no unit of size: use KiB, MiB, GiB, kB, MB or GB")),
    };
    scaled(number, factor as f64).map(|bytes| bytes as u64)
}

/// `500ms`, `30s`, `15m`, `12h`, `7d`, `2w`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        "" => return Err("a duration needs a unit: ms, s, m, h, d or w".to_owned()),
        _ => return Err(format!("{unit:?} is no unit of time: use ms, s, m, h, d or w")),
    };
    scaled(number, f64::from(millis)).map(|millis| Duration::from_millis(millis as u64))
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..at], text[at..].trim())
}

fn scaled(number: &str, factor: f64) -> Result<f64, String> {
    // Whole numbers stay exact beyond what a float holds only where nobody needs them to: above 8 PiB.
    let value: f64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    let value = value * factor;
    if value < 9e15 { Ok(value) } else { Err("that is too much".to_owned()) }
}

/// A value, or the word `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

pub(crate) fn parse_duration_or_none(text: &str) -> Result<OrNone<Duration>, String> {
    if text == "none" { Ok(OrNone(None)) } else { parse_duration(text).map(|d| OrNone(Some(d))) }
}

pub(crate) fn parse_bytes_or_none(text: &str) -> Result<OrNone<u64>, String> {
    if text == "none" { Ok(OrNone(None)) } else { parse_bytes(text).map(|b| OrNone(Some(b))) }
}

/// `12.3 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `2 records`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `850 ns`, `118 us`, `2.31 ms`, `4.20 s`, `3 h 5 m`.
pub(crate) fn nanos(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..10_000 => format!("{:.1} us", value / 1e3),
        10_000..1_000_000 => format!("{:.0} us", value / 1e3),
        1_000_000..10_000_000 => format!("{:.2} ms", value / 1e6),
        10_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => span(Duration::from_nanos(ns)),
    }
}

/// As [`nanos`], for a duration of any size.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => nanos(duration.as_nanos() as u64),
        1..120 => format!("{:.2} s", duration.as_secs_f64()),
        120..7_200 => format!("{} m {} s", seconds / 60, seconds % 60),
        7_200..172_800 => format!("{} h {} m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration as [`parse_duration`] takes it: `7d`, `90s`.
pub(crate) fn option(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// A rate with at most four digits before the point: `8,412`, `1.25 M`.
pub(crate) fn per_second(rate: f64) -> String {
    match rate {
        r if !r.is_finite() || r <= 0.0 => "-".to_owned(),
        r if r >= 1e9 => format!("{:.2} G", r / 1e9),
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 100.0 => count(r.round() as u64),
        r => format!("{r:.1}"),
    }
}

/// Bytes a second as decimal megabytes, the unit of disks: `1,234`, `12.3`.
pub(crate) fn megabytes(rate: f64) -> String {
    let mb = rate / 1e6;
    if mb >= 100.0 {
        count(mb.round() as u64)
    } else if mb >= 0.95 {
        format!("{mb:.1}")
    } else {
        format!("{mb:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_in_both_families_of_units() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64k", 65536),
            ("64 KiB", 65536),
            ("1.5MiB", 3 << 19),
            ("1MB", 1_000_000),
            ("2g", 2 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "-1", "1.2.3", "5 parsecs", "9999999t"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(parse_duration("7").is_err_and(|why| why.contains("unit")));
        assert_eq!(parse_duration_or_none("none"), Ok(OrNone(None)));
    }

    #[test]
    fn what_is_printed_reads_well() {
        assert_eq!((bytes(1023), bytes(1024), bytes(1 << 20)), ("1023 B".into(), "1.0 KiB".into(), "1.0 MiB".into()));
        assert_eq!((count(7), count(1234), count(1_234_567)), ("7".into(), "1,234".into(), "1,234,567".into()));
        assert_eq!(
            (nanos(850), nanos(118_400), nanos(2_310_000)),
            ("850 ns".into(), "118 us".into(), "2.31 ms".into())
        );
        assert_eq!(option(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(option(Duration::from_millis(90_500)), "90500ms");
    }
}

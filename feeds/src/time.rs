//! Points in time as providers write them (ISO 8601), as nanoseconds since 1970.

const S: u64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// `2014-01-06T07:10:55.000Z`, `2024-10-11T22:00Z`, `2024-10-12T00:00:00+02:00`: with an offset always, because a
/// time without one could be anybody's. Nothing before 1970 or after 2199.
pub fn parse_unix_ns(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |range: core::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mark = |place: usize, mark: u8| (bytes.get(place) == Some(&mark)).then_some(());
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute) = (number(11..13)?, number(14..16)?);
    for (place, letter) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':')] {
        mark(place, letter)?;
    }
    let (mut at, mut second, mut fraction_ns) = (16, 0, 0);
    if bytes.get(at) == Some(&b':') {
        second = number(17..19)?;
        at = 19;
        if bytes.get(at) == Some(&b'.') {
            let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            fraction_ns = number(at + 1..at + 1 + digits)? * 10i64.pow(9 - digits as u32);
            at += 1 + digits;
        }
    }
    let offset_s = match bytes.get(at..)? {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            let size = (hours <= 14 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            if *sign == b'-' { -size } else { size }
        }
        _ => return None,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..2200).contains(&year) || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second - offset_s;
    u64::try_from(seconds).ok()?.checked_mul(S)?.checked_add(fraction_ns as u64)
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    // The lengths of five months from March on repeat: 31, 30, 31, 30, 31.
    let days_of_months = (153 * month + 2) / 5;
    year * 365 + leaps + days_of_months + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_providers_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00Z", 0),
            ("2014-01-06T07:10:55.000Z", 1_388_992_255),
            ("2014-01-06T07:10:55+00:00", 1_388_992_255),
            ("2024-02-29T12:00:00Z", 1_709_208_000),
            ("2024-10-27T02:30:00+02:00", 1_729_989_000),
            ("2024-10-27T02:30:00+01:00", 1_729_992_600),
            ("2026-09-24T22:00Z", 1_790_287_200),
            ("2199-12-31T23:59:59Z", 7_258_118_399),
        ] {
            assert_eq!(parse_unix_ns(text), Some(seconds * S), "{text}");
        }
        assert_eq!(parse_unix_ns("1970-01-01T00:00:00.25Z"), Some(250_000_000));
    }

    #[test]
    fn a_day_follows_the_other() {
        let mut before = days_since_1970(1969, 12, 31);
        assert_eq!(before, -1);
        for year in 1970..2200 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let text = alloc::format!("{year}-{month:02}-{day:02}T00:00Z");
                    let Some(unix_ns) = parse_unix_ns(&text) else { continue };
                    assert_eq!(unix_ns, (before + 1) as u64 * 86_400 * S, "{text}");
                    before += 1;
                }
            }
        }
        assert_eq!(before + 1, 84_006, "days until 2200");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2014-01-06",
            "2014-01-06T07:10",
            "2014-01-06 07:10Z",
            "2014-02-29T00:00Z",
            "2014-13-01T00:00Z",
            "2014-01-06T24:00Z",
            "2014-01-06T07:10:60Z",
            "2014-01-06T07:10:55.Z",
            "2014-01-06T07:10ZZ",
            "1969-12-31T23:00Z",
            "1970-01-01T00:00+01:00",
            "2014-01-06T07:10+1:00",
            "+014-01-06T07:10Z",
            "2014-01-06T07:10:55.1234567890Z",
            "2014-01-06T07:1éZ",
        ] {
            assert_eq!(parse_unix_ns(text), None, "{text}");
        }
    }
}

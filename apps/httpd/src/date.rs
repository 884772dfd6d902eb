//! Dates as HTTP writes them (RFC 9110, 5.6.7), from and to seconds since 1970.

/// Bytes of a date.
pub const LEN: usize = 29;
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const LONG_DAYS: [&[u8]; 7] =
    [b"Thursday", b"Friday", b"Saturday", b"Sunday", b"Monday", b"Tuesday", b"Wednesday"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAY_S: u64 = 86_400;
/// The year 9999 ends here: later dates have no form.
const LAST_S: u64 = 253_402_300_799;

/// A moment in the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: u64,
    /// From 0.
    month: usize,
    /// From 1.
    day: u64,
    second: u64,
}

/// The calendar repeats every 400 years; a year that begins in March has its leap day at its end.
fn civil(unix_s: u64) -> Civil {
    let days = unix_s / DAY_S + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = (shifted + 2) % 12;
    Civil {
        year: era * 400 + year_of_era + u64::from(month < 2),
        month: month as usize,
        day: of_year - (153 * shifted + 2) / 5 + 1,
        second: unix_s % DAY_S,
    }
}

fn days(year: u64, month: usize, day: u64) -> u64 {
    let year = if month < 2 { year - 1 } else { year };
    let shifted = (month as u64 + 10) % 12;
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).saturating_sub(719_468)
}

fn two(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at] = b'0' + (value / 10 % 10) as u8;
    bytes[at + 1] = b'0' + (value % 10) as u8;
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn written(unix_s: u64) -> [u8; LEN] {
    let unix_s = unix_s.min(LAST_S);
    let now = civil(unix_s);
    let mut text = *b"ddd, 00 mmm 0000 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(unix_s / DAY_S % 7) as usize]);
    two(&mut text, 5, now.day);
    text[8..11].copy_from_slice(MONTHS[now.month]);
    two(&mut text, 12, now.year / 100);
    two(&mut text, 14, now.year % 100);
    two(&mut text, 17, now.second / 3_600);
    two(&mut text, 20, now.second / 60 % 60);
    two(&mut text, 23, now.second % 60);
    text
}

/// `06/Nov/1994:08:49:37 +0000`, as logs have it.
pub(crate) fn logged(unix_s: u64) -> [u8; 26] {
    let full = written(unix_s);
    let mut text = *b"00/mmm/0000:00:00:00 +0000";
    text[..2].copy_from_slice(&full[5..7]);
    text[3..6].copy_from_slice(&full[8..11]);
    text[7..11].copy_from_slice(&full[12..16]);
    text[12..20].copy_from_slice(&full[17..25]);
    text
}

/// Reads any of the three forms that HTTP knows. The name of the day is not compared with the date. `now_s` decides the
/// century of a year with two digits.
pub fn read(text: &[u8], now_s: u64) -> Option<u64> {
    match text.get(3)? {
        b',' if text.len() == LEN => {
            DAYS.iter().find(|day| day[..] == text[..3])?;
            let fits = text[4] == b' ' && text[7] == b' ' && text[11] == b' ' && &text[25..] == b" GMT";
            fits.then_some(())?;
            moment(number(&text[12..16])?, &text[8..11], number(&text[5..7])?, &text[16..25])
        }
        // asctime: `Sun Nov  6 08:49:37 1994`.
        b' ' if text.len() == 24 => {
            DAYS.iter().find(|day| day[..] == text[..3])?;
            let fits = text[7] == b' ' && text[19] == b' ';
            fits.then_some(())?;
            let day = if text[8] == b' ' { &text[9..10] } else { &text[8..10] };
            moment(number(&text[20..24])?, &text[4..7], number(day)?, &text[10..19])
        }
        // RFC 850: `Sunday, 06-Nov-94 08:49:37 GMT`.
        _ => {
            let comma = text.iter().position(|byte| *byte == b',')?;
            LONG_DAYS.iter().find(|day| **day == &text[..comma])?;
            let rest = &text[comma + 1..];
            let fits = rest.len() == 23 && rest[0] == b' ' && rest[3] == b'-' && rest[7] == b'-';
            (fits && &rest[19..] == b" GMT").then_some(())?;
            let this_year = civil(now_s.min(LAST_S)).year;
            let mut year = this_year / 100 * 100 + number(&rest[8..10])?;
            // One that seems to be more than 50 years ahead is the latest past year with these digits.
            if year > this_year + 50 {
                year -= 100;
            }
            moment(year, &rest[4..7], number(&rest[1..3])?, &rest[10..19])
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    crate::text::decimal(digits)
}

/// `clock` is ` 08:49:37`.
fn moment(year: u64, month: &[u8], day: u64, clock: &[u8]) -> Option<u64> {
    let month = MONTHS.iter().position(|name| name[..] == *month)?;
    let fits = clock.len() == 9 && clock[0] == b' ' && clock[3] == b':' && clock[6] == b':';
    fits.then_some(())?;
    let (hour, minute, second) = (number(&clock[1..3])?, number(&clock[4..6])?, number(&clock[7..9])?);
    if !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 || day == 0 {
        return None;
    }
    let at = days(year, month, day);
    // A day that the month does not have comes out as another one.
    let back = civil(at * DAY_S);
    (back.month == month && back.day == day).then_some(at * DAY_S + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_example_in_three_forms() {
        assert_eq!(&written(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&logged(784_111_777), b"06/Nov/1994:08:49:37 +0000");
        let now_s = 1_800_000_000;
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(read(text.as_bytes(), now_s), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut at = 0u64;
        while at < LAST_S {
            assert_eq!(read(&written(at), 0), Some(at));
            at += 86_400 * 13 + 4_321;
        }
        assert_eq!(&written(u64::MAX)[12..16], b"9999");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "Sun",
            "Sun,",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 CET",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1900 08:49:37 GMT",
            "Sun Nov 32 08:49:37 1994",
        ] {
            assert_eq!(read(text.as_bytes(), 0), None, "{text}");
        }
    }
}

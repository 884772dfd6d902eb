//! The battery-backed clock's registers as seconds since 1970.

/// Seconds since 1970 of second, minute, hour, day, month, year as the chip gives them, with its mode (status
/// register B). `None` when they are no date: then there is no such chip.
pub fn unix_s(registers: [u64; 6], mode: u8) -> Option<u64> {
    const BINARY: u8 = 4;
    const HOURS_24: u8 = 2;
    let decode = |value: u64| {
        if mode & BINARY != 0 {
            Some(value)
        } else {
            (value & 15 < 10 && value >> 4 < 10).then_some((value >> 4) * 10 + (value & 15))
        }
    };
    let afternoon = mode & HOURS_24 == 0 && registers[2] & 0x80 != 0;
    let hour = decode(if mode & HOURS_24 == 0 { registers[2] & 0x7f } else { registers[2] })?;
    let hour = if mode & HOURS_24 == 0 { hour % 12 + if afternoon { 12 } else { 0 } } else { hour };
    let [second, minute, day, month, year] =
        [registers[0], registers[1], registers[3], registers[4], registers[5]].map(decode);
    let (second, minute, day, month, year) = (second?, minute?, day?, month?, 2000 + year?);
    if second > 60 || minute > 59 || hour > 23 || !(1..=31).contains(&day) || !(1..=12).contains(&month) {
        return None;
    }
    // Days since 1970 by counting years from March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_as_everybody_does() {
        assert_eq!(unix_s([0, 0, 0, 1, 1, 0], 6), Some(946_684_800));
        assert_eq!(unix_s([56, 34, 12, 29, 2, 24], 6), Some(1_709_210_096));
        assert_eq!(unix_s([0x56, 0x34, 0x12, 0x29, 0x02, 0x24], 2), Some(1_709_210_096));
        assert_eq!(unix_s([0x56, 0x34, 0x92, 0x29, 0x02, 0x24], 0), Some(1_709_210_096));
        assert_eq!(unix_s([59, 59, 23, 31, 12, 99], 6), Some(4_102_444_799));
    }

    #[test]
    fn no_chip_is_no_date() {
        assert_eq!(unix_s([0xff; 6], 0xff), None);
        assert_eq!(unix_s([0xff; 6], 0), None);
        assert_eq!(unix_s([0; 6], 6), None);
    }
}

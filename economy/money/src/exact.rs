//! Multiplication and division that do not lose a bit on the way.

/// `a * b / d`, rounded half to even, through 256 bits. Nothing when `d` is zero or the result does not fit.
pub fn mul_div(a: i128, b: u128, d: u128) -> Option<i128> {
    if d == 0 {
        return None;
    }
    let (high, low) = widening_mul(a.unsigned_abs(), b);
    let (quotient, rest) = divide(high, low, d)?;
    // rest against d - rest avoids doubling beyond 128 bits.
    let up = match rest.cmp(&(d - rest)) {
        core::cmp::Ordering::Less => false,
        core::cmp::Ordering::Equal => quotient & 1 == 1,
        core::cmp::Ordering::Greater => true,
    };
    let quotient = quotient.checked_add(u128::from(up))?;
    if a < 0 { 0i128.checked_sub_unsigned(quotient) } else { i128::try_from(quotient).ok() }
}

fn widening_mul(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let bottom = a0 * b0;
    let (left, right) = (a1 * b0, a0 * b1);
    let middle = (bottom >> 64) + (left & LOW) + (right & LOW);
    let low = (middle << 64) | (bottom & LOW);
    let high = a1 * b1 + (left >> 64) + (right >> 64) + (middle >> 64);
    (high, low)
}

/// Quotient and rest of a 256-bit number; nothing when the quotient needs more than 128 bits.
fn divide(high: u128, low: u128, d: u128) -> Option<(u128, u128)> {
    if high == 0 {
        return Some((low / d, low % d));
    }
    if high >= d {
        return None;
    }
    let (mut rest, mut quotient) = (high, 0u128);
    for bit in (0..128).rev() {
        let carry = rest >> 127 == 1;
        rest = (rest << 1) | ((low >> bit) & 1);
        if carry || rest >= d {
            rest = rest.wrapping_sub(d);
            quotient |= 1 << bit;
        }
    }
    Some((quotient, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Schoolbook arithmetic on decimal digits, least significant first: slow, obvious, and nothing in common with
    /// the code above.
    fn digits(mut n: u128) -> Vec<u8> {
        let mut out = Vec::new();
        while n > 0 {
            out.push((n % 10) as u8);
            n /= 10;
        }
        out
    }

    fn naive_mul(a: &[u8], b: &[u8]) -> Vec<u8> {
        let mut out = vec![0u32; a.len() + b.len()];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                out[i + j] += u32::from(*x) * u32::from(*y);
            }
        }
        for place in 0..out.len().saturating_sub(1) {
            out[place + 1] += out[place] / 10;
            out[place] %= 10;
        }
        out.into_iter().map(|digit| digit as u8).collect()
    }

    fn compare(a: &[u8], b: &[u8]) -> core::cmp::Ordering {
        let strip = |n: &[u8]| n.len() - n.iter().rev().take_while(|digit| **digit == 0).count();
        let (m, n) = (strip(a), strip(b));
        m.cmp(&n).then_with(|| a[..m].iter().rev().cmp(b[..n].iter().rev()))
    }

    struct Random(u64);
    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
        fn wide(&mut self) -> u128 {
            let bits = self.next() % 128;
            (u128::from(self.next()) << 64 | u128::from(self.next())) >> bits
        }
    }

    #[test]
    fn agrees_with_schoolbook_arithmetic() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut fitted = 0;
        for _ in 0..20_000 {
            let (a, b, d) = (random.wide() >> 1, random.wide(), random.wide().max(1));
            let Some(q) = mul_div(a as i128, b, d) else { continue };
            fitted += 1;
            // |2ab - 2qd| <= d, and q is even when it is equal: that is what half to even means.
            let twice_ab = naive_mul(&naive_mul(&digits(a), &digits(b)), &[2]);
            let q = q as u128;
            let above = naive_mul(&digits(d), &naive_add(&naive_mul(&digits(q), &[2]), &[1]));
            let order = compare(&twice_ab, &above);
            assert!(order.is_lt() || (order.is_eq() && q.is_multiple_of(2)), "{a} {b} {d}");
            if q > 0 {
                let below = naive_mul(&digits(d), &digits_minus_one(&naive_mul(&digits(q), &[2])));
                let order = compare(&twice_ab, &below);
                assert!(order.is_gt() || (order.is_eq() && q.is_multiple_of(2)), "{a} {b} {d}");
            }
            assert_eq!(mul_div(-(a as i128), b, d), Some(-(q as i128)));
        }
        assert!(fitted > 5_000);
    }

    fn naive_add(a: &[u8], b: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut carry = 0;
        for place in 0..=a.len().max(b.len()) {
            let sum = a.get(place).unwrap_or(&0) + b.get(place).unwrap_or(&0) + carry;
            out.push(sum % 10);
            carry = sum / 10;
        }
        out
    }

    fn digits_minus_one(a: &[u8]) -> Vec<u8> {
        let mut out = a.to_vec();
        for digit in &mut out {
            if *digit > 0 {
                *digit -= 1;
                break;
            }
            *digit = 9;
        }
        out
    }

    #[test]
    fn rounds_half_to_even() {
        let halves = [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2)];
        for (a, rounded) in halves {
            assert_eq!(mul_div(a, 1, 2), Some(rounded), "{a}/2");
        }
        assert_eq!(mul_div(1, 1, 0), None);
        assert_eq!(mul_div(i128::MAX, 2, 1), None);
        assert_eq!(mul_div(i128::MIN, 1, 1), Some(i128::MIN));
        assert_eq!(mul_div(i128::MAX, u128::MAX, u128::MAX), Some(i128::MAX));
    }
}

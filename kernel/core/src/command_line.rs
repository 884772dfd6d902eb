//! The kernel's command line: microvm without ACPI names its virtio-mmio devices there, and a test what is to fail.

/// A virtio-mmio device: `virtio_mmio.device=512@0xfeb00e00:12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmioDevice {
    /// Physical address of its registers.
    pub address: u64,
    /// Their bytes.
    pub len: u64,
    /// Its interrupt: a pin of the I/O interrupt controller.
    pub interrupt: u32,
}

const KEY: &str = "virtio_mmio.device=";
/// A device's registers take at least this much (configuration begins at 0x100).
const LEN_MIN: u64 = 0x100;
/// More than this no device has.
const LEN_MAX: u64 = 0x1_0000;

/// The devices that a command line names, in its order; `Err` for a word that should name one and does not.
pub fn mmio_devices(text: &str) -> impl Iterator<Item = Result<MmioDevice, &str>> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(KEY))
        .map(|value| device(value).ok_or(value))
}

/// Something that shows what protects the kernel from itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// `check=rights`: every page of the kernel's half is looked at.
    Rights,
    /// `check=code`: the kernel writes to its own code where all memory is mapped.
    Code,
    /// `check=overflow:1`: that core runs over the end of its stack.
    Overflow(u8),
}

/// The check that a command line asks for.
pub fn check(text: &str) -> Option<Check> {
    text.split_ascii_whitespace().find_map(|word| match word.strip_prefix("check=")? {
        "rights" => Some(Check::Rights),
        "code" => Some(Check::Code),
        other => other.strip_prefix("overflow:")?.parse().ok().map(Check::Overflow),
    })
}

fn device(value: &str) -> Option<MmioDevice> {
    let (len, rest) = value.split_once('@')?;
    let mut parts = rest.split(':');
    let device = MmioDevice {
        len: number(len)?,
        address: number(parts.next()?)?,
        interrupt: u32::try_from(number(parts.next()?)?).ok()?,
    };
    let sensible = (LEN_MIN..=LEN_MAX).contains(&device.len)
        && device.address.is_multiple_of(4)
        && device.address.checked_add(device.len).is_some_and(|end| end <= 1 << 46)
        && device.interrupt < 256;
    sensible.then_some(device)
}

/// Decimal, 0x hexadecimal, or decimal with K or M.
fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn devices_are_found_among_other_words() {
        let line =
            "console=ttyS0 virtio_mmio.device=512@0xfeb00e00:12 quiet virtio_mmio.device=4K@0xd0000000:5:1";
        let found: Vec<_> = mmio_devices(line).collect();
        assert_eq!(
            found,
            [
                Ok(MmioDevice { address: 0xfeb0_0e00, len: 512, interrupt: 12 }),
                Ok(MmioDevice { address: 0xd000_0000, len: 4096, interrupt: 5 }),
            ]
        );
        assert_eq!(mmio_devices("").count(), 0);
    }

    #[test]
    fn nonsense_is_named() {
        for bad in [
            "",
            "512",
            "512@",
            "512@0x10",
            "512@zz:1",
            "1@0x1000:1",
            "512@0x1001:1",
            "512@0x1000:999",
            "9999999999999999999@0:1",
            "512@0xffffffffffffff00:1",
            "K@0x1000:1",
        ] {
            let line = std::format!("{KEY}{bad}");
            assert_eq!(mmio_devices(&line).next(), Some(Err(bad)), "{bad}");
        }
    }

    #[test]
    fn a_check_is_known_or_none() {
        assert_eq!(check("a check=overflow:3 b"), Some(Check::Overflow(3)));
        assert_eq!(check("check=rights"), Some(Check::Rights));
        assert_eq!(check("check=code"), Some(Check::Code));
        for text in ["", "check=", "check=overflow:", "check=overflow:256", "xcheck=code", "check=codes"] {
            assert_eq!(check(text), None, "{text}");
        }
    }
}

//! A network card as QEMU shows it, whole and ruined.

extern crate alloc;

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Functions by number, 64 words each.
struct Machine(BTreeMap<Function, [u32; 64]>);

impl ConfigurationSpace for Machine {
    fn read(&self, function: Function, offset: u8) -> u32 {
        assert!(offset.is_multiple_of(4));
        self.0.get(&function).map_or(!0, |words| words[usize::from(offset / 4)])
    }
}

fn at(bus: u8, device: u8, function: u8) -> Function {
    Function { bus, device, function }
}

/// A network card as QEMU shows it.
fn card() -> [u32; 64] {
    let mut words = [0; 64];
    words[0] = 0x1041_1af4;
    words[1] = 1 << 20;
    words[5] = 0xfebf_1000;
    words[8] = 0xfebf_400c;
    words[9] = 0;
    words[13] = 0x98;
    let mut vendor = |at: usize, next: u32, kind: u32, offset: u32, len: u32| {
        words[at / 4] = kind << 24 | 0x10 << 16 | next << 8 | 9;
        words[at / 4 + 1] = 4;
        words[at / 4 + 2] = offset;
        words[at / 4 + 3] = len;
    };
    vendor(0x84, 0x70, 5, 0, 0);
    vendor(0x70, 0x60, 2, 0x3000, 0x1000);
    vendor(0x60, 0x50, 4, 0x2000, 0x1000);
    vendor(0x50, 0x40, 3, 0x1000, 0x1000);
    vendor(0x40, 0, 1, 0, 0x1000);
    words[0x80 / 4] = 4;
    words[0x98 / 4] = 2 << 16 | 0x84 << 8 | 0x11;
    words[0x9c / 4] = 1;
    words[0xa0 / 4] = 0x801;
    words
}

#[test]
fn a_card_is_read() {
    let machine = Machine(BTreeMap::from([(at(0, 2, 0), card())]));
    let card = virtio(&machine, at(0, 2, 0)).unwrap();
    assert_eq!(card.kind, 1);
    assert_eq!(card.common, Place { address: 0xfebf_4000, len: 0x1000 });
    assert_eq!(card.notify.address, 0xfebf_7000);
    assert_eq!(card.notify_multiplier, 4);
    let messages = card.messages.unwrap();
    assert_eq!((messages.entries, messages.table.address), (3, 0xfebf_1000));
    assert_eq!(messages.pending.address, 0xfebf_1800);
    assert!(messages.table.shares_page(&messages.pending));
    assert!(!messages.table.shares_page(&card.common));
    assert_eq!(Place { address: 0x1ffc, len: 8 }.pages(), (0x1000, 2));
}

#[test]
fn bridges_are_followed_and_loops_are_not() {
    let bridge = |secondary: u32| {
        let mut words = [0; 64];
        words[0] = 0x1234_8086;
        words[2] = 0x0604_0000;
        words[3] = 1 << 16;
        words[6] = secondary << 8;
        words
    };
    let machine = Machine(BTreeMap::from([
        (at(0, 1, 0), bridge(1)),
        (at(0, 2, 0), bridge(0)),
        (at(1, 0, 0), card()),
        (at(1, 3, 0), bridge(1)),
    ]));
    let mut found = Vec::new();
    functions(&machine, &mut |function| found.push(function));
    assert_eq!(found, [at(0, 1, 0), at(1, 0, 0), at(1, 3, 0), at(0, 2, 0)]);
}

#[test]
fn any_changed_word_is_survived() {
    let good = card();
    let mut seed = 1_u64;
    for _ in 0..200_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut bad = good;
        bad[(seed >> 33) as usize % 64] = match seed >> 60 {
            0..=7 => (seed >> 20) as u32,
            8..=11 => !0,
            _ => bad[(seed >> 40) as usize % 64],
        };
        let machine = Machine(BTreeMap::from([(at(0, 0, 0), bad)]));
        let mut count = 0;
        functions(&machine, &mut |_| count += 1);
        assert!(count <= 1);
        if let Some(card) = virtio(&machine, at(0, 0, 0)) {
            assert!(card.common.len > 0 && card.common.pages().1 <= 257);
        }
    }
}

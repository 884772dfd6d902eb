//! A network card as QEMU shows it, whole and ruined.

extern crate alloc;

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Functions by number, 64 words each. Base addresses keep only the bits that their room leaves.
struct Machine(RefCell<BTreeMap<Function, [u32; 64]>>);

impl Machine {
    fn new<const COUNT: usize>(functions: [(Function, [u32; 64]); COUNT]) -> Machine {
        Machine(RefCell::new(BTreeMap::from(functions)))
    }
}

impl ConfigurationSpace for Machine {
    fn read(&self, function: Function, offset: u8) -> u32 {
        assert!(offset.is_multiple_of(4));
        self.0.borrow().get(&function).map_or(!0, |words| words[usize::from(offset / 4)])
    }
}

impl Configurable for Machine {
    fn write(&self, function: Function, offset: u8, value: u32) {
        let mut functions = self.0.borrow_mut();
        let Some(words) = functions.get_mut(&function) else { return };
        let word = &mut words[usize::from(offset / 4)];
        *word = match offset {
            0x04 => *word & 0xffff_0000 | value & 0xffff,
            0x14 => value & 0xffff_f000,
            0x20 => value & 0xffff_c000 | 0xc,
            0x24 => value,
            0x10..0x28 => 0,
            _ => value,
        };
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
    let machine = Machine::new([(at(0, 2, 0), card())]);
    let bases = bases(&machine, at(0, 2, 0));
    assert_eq!(bases[1].unwrap().place, Place { address: 0xfebf_1000, len: 0x1000 });
    assert_eq!(bases[4].unwrap(), Base { place: Place { address: 0xfebf_4000, len: 0x4000 }, wide: true });
    assert_eq!(machine.0.borrow()[&at(0, 2, 0)], self::card(), "measuring left something behind");
    let card = virtio(&machine, at(0, 2, 0), &bases).unwrap();
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
fn ports_are_measured_and_put_back() {
    let with = |low: u32, room: u32| {
        let mut words = card();
        (words[4], words[1]) = (low, words[1] | 7);
        (Ports(Machine::new([(at(0, 2, 0), words)]), room), words)
    };
    let (machine, words) = with(0xc041, 0xffff_ffe0);
    assert_eq!(ports(&machine, at(0, 2, 0)), Some((0xc040, 32)));
    assert_eq!(machine.0.0.borrow()[&at(0, 2, 0)], words, "measuring left something behind");
    // Not placed, among the ports of old, past the end, a length that is none, memory.
    for (low, room) in [
        (1, 0xffe0),
        (0x3f9, 0xfff8),
        (0xffe1, 0xffc0),
        (0xc001, 0xff5c),
        (0xc001, 0),
        (0xfeb0_0000, 0xffff_f000),
    ] {
        assert_eq!(ports(&with(low, room).0, at(0, 2, 0)), None, "{low:#x}, {room:#x}");
    }
}

/// A machine whose first base address is one of ports and keeps these bits.
struct Ports(Machine, u32);

impl ConfigurationSpace for Ports {
    fn read(&self, function: Function, offset: u8) -> u32 {
        self.0.read(function, offset)
    }
}

impl Configurable for Ports {
    fn write(&self, function: Function, offset: u8, value: u32) {
        if offset != 0x10 {
            return self.0.write(function, offset, value);
        }
        let mut functions = self.0.0.borrow_mut();
        functions.get_mut(&function).unwrap()[4] = value & self.1 | 1;
    }
}

#[test]
fn a_pin_leads_where_the_chipset_wires_it() {
    let mut chipset = [0; 64];
    chipset[0] = 0x2918_8086;
    chipset[3] = 0x80 << 16;
    let function = |device: u8, pin: u32| {
        let mut words = card();
        words[15] = pin << 8;
        (at(0, device, 0), words)
    };
    let machine = |there: u8| {
        Machine::new([
            function(2, 1),
            function(3, 4),
            function(4, 0),
            function(5, 9),
            function(25, 1),
            (at(0, there, 0), chipset),
        ])
    };
    let pin_of = |machine: &Machine, device: u8, turns: u8| {
        let function = at(0, device, 0);
        pin(machine, &Found { function, group: function, root: function, turns })
    };
    let known = machine(31);
    // QEMU 7.2's own table: device 2 has line G first, device 3 its fourth line G too.
    assert_eq!([2, 3].map(|device| pin_of(&known, device, 0)), [Some(22), Some(22)]);
    assert_eq!((pin_of(&known, 2, 1), pin_of(&known, 2, 2)), (Some(23), Some(20)));
    assert_eq!([4, 5, 25].map(|device| pin_of(&known, device, 0)), [None; 3]);
    assert_eq!(pin_of(&machine(30), 2, 0), None, "another chipset");
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
    let machine = Machine::new([
        (at(0, 1, 0), bridge(1)),
        (at(0, 2, 0), bridge(0)),
        (at(1, 0, 0), card()),
        (at(1, 3, 0), bridge(1)),
    ]);
    let mut found = Vec::new();
    functions(&machine, &mut |one| {
        // Behind a bridge each device turns the pin by its own number.
        assert_eq!(one.turns, if one.function.bus == 0 { 0 } else { one.function.device });
        found.push((one.function, one.group, one.root));
    });
    let shared = at(0, 1, 0);
    let other = at(0, 2, 0);
    assert_eq!(
        found,
        [
            (shared, shared, shared),
            (at(1, 0, 0), shared, shared),
            (at(1, 3, 0), shared, shared),
            (other, other, other)
        ]
    );
}

/// A port with a slot, as QEMU's `pcie-root-port` shows it.
fn root_port(secondary: u32) -> [u32; 64] {
    let mut words = [0; 64];
    words[0] = 0x000c_1b36;
    words[1] = 1 << 20;
    words[2] = 0x0604_0000;
    words[3] = 1 << 16;
    words[6] = secondary << 8;
    words[8] = 0xfe50_fe40;
    words[13] = 0x54;
    words[0x54 / 4] = 0x0142_0010;
    words[0x68 / 4] = 0x0002_007b;
    words
}

#[test]
fn what_is_behind_a_port_is_a_group_of_its_own() {
    let mut first = card();
    first[3] = 0x80 << 16;
    let machine = Machine::new([(at(0, 1, 0), root_port(1)), (at(1, 0, 0), first), (at(1, 0, 3), card())]);
    let mut found = Vec::new();
    functions(&machine, &mut |one| found.push((one.function, one.group, one.root)));
    let (root, device) = (at(0, 1, 0), at(1, 0, 0));
    assert_eq!(found, [(root, root, root), (device, device, root), (at(1, 0, 3), device, root)]);
    let mut behind = Vec::new();
    functions_behind(&machine, root, &mut |one| behind.push((one.function, one.group, one.root)));
    assert_eq!(behind, found[1..]);
    assert_eq!(port(&machine, at(0, 1, 0)), Some(Port { offset: 0x54, hot_plug: true, message: 0 }));
    assert_eq!(port(&machine, device), None);
    assert_eq!(memory_window(&machine, at(0, 1, 0)), Some(Place { address: 0xfe40_0000, len: 2 << 20 }));
}

#[test]
fn bases_get_places_of_their_own_or_none() {
    let mut fresh = card();
    (fresh[5], fresh[8]) = (0, 0xc);
    let machine = Machine::new([(at(1, 0, 0), fresh)]);
    let mut bases = bases(&machine, at(1, 0, 0));
    assert!(virtio(&machine, at(1, 0, 0), &bases).is_none(), "it has no place yet");
    let window = Place { address: 0xfe40_0000, len: 2 << 20 };
    let before = bases;
    assert_eq!(assign(&machine, at(1, 0, 0), &mut bases, Place { len: 0x4000, ..window }), None);
    assert_eq!(bases, before);
    assert_eq!(assign(&machine, at(1, 0, 0), &mut bases, window), Some(0xfe40_5000));
    assert_eq!(bases, self::bases(&machine, at(1, 0, 0)));
    let card = virtio(&machine, at(1, 0, 0), &bases).unwrap();
    assert_eq!(card.notify.address, 0xfe40_3000);
    assert_eq!(card.messages.unwrap().table.address, 0xfe40_4000);
}

#[test]
fn a_structure_outside_of_its_own_room_is_none() {
    for (word, value) in [(0x48 / 4, 0x3001), (0x58 / 4, 0x4000), (0x78 / 4, u32::MAX), (0x9c / 4, 0xff1)] {
        let mut bad = card();
        bad[word] = value;
        let machine = Machine::new([(at(0, 0, 0), bad)]);
        let found = virtio(&machine, at(0, 0, 0), &bases(&machine, at(0, 0, 0)));
        assert!(found.is_none_or(|card| card.messages.is_none()), "{word}: {found:x?}");
    }
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
        let machine = Machine::new([(at(0, 0, 0), bad)]);
        let mut count = 0;
        functions(&machine, &mut |_| count += 1);
        assert!(count <= 1);
        let _ = port(&machine, at(0, 0, 0));
        let bases = bases(&machine, at(0, 0, 0));
        if let Some(card) = virtio(&machine, at(0, 0, 0), &bases) {
            assert!(bases.iter().flatten().any(|base| base.place.holds(&card.common)));
            assert!(card.common.len > 0 && card.common.pages().1 <= 257);
        }
    }
}

//! Ports: an application reaches those of its devices and those that the image names for it, by a call that is checked,
//! and no others; the processor's own instructions stay forbidden.

use alloc::vec::Vec;

use nom_runtime::abi::call::CallError;
use nom_runtime::call::{read_port, write_port};
use nom_runtime::device::{Device, acquire, list};
use nom_trial as trial;
use nom_trial::{Attempts, read8};

use crate::device::{registers_address, text};
use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 3] = [
    ("ports_of_a_device_are_its_owners", of_a_device),
    ("ports_of_neighbours_are_refused", of_neighbours),
    ("ports_of_old_are_those_that_the_image_names", of_old),
];

/// Registers of virtio's old interface (virtio 1.2, 4.1.4.10), and of the new one.
const STATUS: u16 = 0x12;
const QUEUE_SELECT: u16 = 0x0e;
const NEW_STATUS: u64 = 0x14;
/// The second serial line, a 16550, which this image names for this application; the third is its neighbour's.
const SERIAL2: u16 = 0x2f8;
const SERIAL3: u16 = 0x3e8;

/// The first, and how many.
type Ports = (u16, u16);

/// The numbers of the devices that have ports, and which these are.
fn some() -> Result<Vec<(u32, Ports)>, NotOk> {
    let mut found = Vec::new();
    for listed in list() {
        let device = acquire(listed.number).map_err(text)?;
        trial::release(device).map_err(text)?;
        if device.ports.1 > 0 {
            found.push((listed.number, device.ports));
        }
    }
    if found.is_empty() { Err(NotOk::Skipped("no device has ports")) } else { Ok(found) }
}

/// What is written by a port is read in the registers: both lead to the same device.
fn of_a_device() -> Outcome {
    let _attempts = Attempts::begin();
    for (number, (first, len)) in some()? {
        let device = acquire(number).map_err(text)?;
        let refused = trial::port_in(first);
        ensure!(
            refused.is_err_and(|fault| fault.address == 13),
            "the instruction is let through: {refused:x?}"
        );
        for status in [0, 1, 3, 0] {
            write_port(first + STATUS, 1, status).map_err(text)?;
            let seen = [read_port(first + STATUS, 1), Ok(u32::from(new_status(&device)?))];
            ensure!(seen == [Ok(status); 2], "{status} was written, {seen:x?} is read");
        }
        write_port(first + QUEUE_SELECT, 2, 1).map_err(text)?;
        let chosen =
            [1, 2, 4].map(|bytes| read_port(first + if bytes == 4 { 0 } else { QUEUE_SELECT }, bytes));
        ensure!(chosen[..2] == [Ok(1); 2] && chosen[2].is_ok_and(|features| features != 0), "{chosen:x?}");
        let ends =
            [(first - 1, 1), (first - 1, 2), (first + len, 1), (first + len - 1, 2), (first + len - 2, 4)];
        for (port, bytes) in ends {
            let answers = [read_port(port, bytes).err(), write_port(port, bytes, 0).err()];
            ensure!(answers == [Some(CallError::NotOwner); 2], "{port:#x}, {bytes}: {answers:?}");
        }
        trial::release(device).map_err(text)?;
        let answer = read_port(first + STATUS, 1);
        ensure!(answer == Err(CallError::NotOwner), "released: {answer:?}");
    }
    Ok(())
}

fn new_status(device: &Device) -> Result<u8, NotOk> {
    read8(registers_address(device) + NEW_STATUS).map_err(|fault| alloc::format!("{fault:x?}").into())
}

/// A device's ports are not those of whoever owns another one.
fn of_neighbours() -> Outcome {
    let [(one, ports), (_, others), ..] = some()?[..] else {
        return Err(NotOk::Skipped("only one device has ports"));
    };
    let device = acquire(one).map_err(text)?;
    let answers = [ports, others].map(|(first, _)| read_port(first + STATUS, 1));
    trial::release(device).map_err(text)?;
    ensure!(answers == [Ok(0), Err(CallError::NotOwner)], "{answers:?}");
    Ok(())
}

fn of_old() -> Outcome {
    const DATA: u16 = 0;
    const MODEM: u16 = 4;
    const LOOPED: u32 = 0x10;
    // What a looped line sends it receives.
    write_port(SERIAL2 + MODEM, 1, LOOPED).map_err(text)?;
    if read_port(SERIAL2 + MODEM, 1) != Ok(LOOPED) {
        return Err(NotOk::Skipped("the machine has no second serial line"));
    }
    for byte in [0x55, 0xaa, 0] {
        write_port(SERIAL2 + DATA, 1, byte).map_err(text)?;
        let came = read_port(SERIAL2 + DATA, 1);
        ensure!(came == Ok(byte), "{byte:#x} came back as {came:x?}");
    }
    write_port(SERIAL2 + MODEM, 1, 0).map_err(text)?;
    // Its edges, a neighbour's, the kernel's own, and what could switch the machine off or reach memory.
    let foreign = [
        SERIAL2 - 1,
        SERIAL2 + 7,
        SERIAL2 + 8,
        SERIAL3,
        0x3f8,
        0x20,
        0x40,
        0x70,
        0xcf8,
        0x510,
        0x604,
        0xf4,
        0x64,
    ];
    for port in foreign {
        let answers = [read_port(port, 2).err(), write_port(port, 2, 0).err()];
        ensure!(answers == [Some(CallError::NotOwner); 2], "{port:#x}: {answers:?}");
    }
    Ok(())
}

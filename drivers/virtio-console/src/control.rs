//! The control messages of a device with ports (virtio 1.2, 5.3.6.2).

/// Feature: several ports, with control queues.
pub const FEATURE_MULTIPORT: u64 = 1 << 1;
/// Bytes of a message; a port's name may follow it.
pub const MESSAGE_LEN: usize = 8;

const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const DEVICE_REMOVE: u16 = 2;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;

/// What the device says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// There is a port of this number.
    Added(u32),
    /// It is gone.
    Removed(u32),
    /// The host connected to it (or left).
    Open(u32, bool),
    /// Something else: a name, a size, a message that makes no sense.
    Other,
}

/// Reads a message.
pub fn parse(bytes: &[u8]) -> Heard {
    let Some(message) = bytes.first_chunk::<MESSAGE_LEN>() else { return Heard::Other };
    let port = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
    let event = u16::from_le_bytes([message[4], message[5]]);
    let value = u16::from_le_bytes([message[6], message[7]]);
    match event {
        DEVICE_ADD => Heard::Added(port),
        DEVICE_REMOVE => Heard::Removed(port),
        PORT_OPEN => Heard::Open(port, value != 0),
        _ => Heard::Other,
    }
}

/// The driver is there and wants to know of the ports.
pub fn device_ready() -> [u8; MESSAGE_LEN] {
    message(0, DEVICE_READY)
}

/// The driver is ready for a port.
pub fn port_ready(port: u32) -> [u8; MESSAGE_LEN] {
    message(port, PORT_READY)
}

/// Somebody here uses the port.
pub fn port_open(port: u32) -> [u8; MESSAGE_LEN] {
    message(port, PORT_OPEN)
}

fn message(port: u32, event: u16) -> [u8; MESSAGE_LEN] {
    let mut bytes = [0; MESSAGE_LEN];
    bytes[..4].copy_from_slice(&port.to_le_bytes());
    bytes[4..6].copy_from_slice(&event.to_le_bytes());
    bytes[6] = 1;
    bytes
}

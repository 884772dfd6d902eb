//! One port of a console device.

use crate::control::{self, FEATURE_MULTIPORT, Heard};
use crate::direction::{Inbox, Outbox, Shape};
use nom_dma::DmaMemory;
use nom_virtqueue::Fault;
use nom_virtqueue::transport::{self, FEATURE_EVENT_INDEX, KIND_CONSOLE, StartError, Transport, negotiate};

/// Commands of the host are short lines.
const RECEIVE_LEN: usize = 256;
/// A statistics line fits in one or two.
const SEND_LEN: usize = 1024;
/// A control message with a name.
const CONTROL_LEN: usize = 64;
/// First queues of the ports that may be used, and of control (5.3.2).
const PORT_QUEUES: [u16; 2] = [0, 4];
const CONTROL_QUEUE: u16 = 2;

#[derive(Debug)]
struct Pair<B> {
    inbox: Inbox<B>,
    outbox: Outbox<B>,
}

/// A port that runs.
#[derive(Debug)]
pub struct Console<T: Transport> {
    transport: T,
    ports: [Option<Pair<T::Bell>>; PORT_QUEUES.len()],
    control: Option<Pair<T::Bell>>,
    /// Which port is ours, once the device has named one.
    ours: Option<usize>,
    /// Somebody is connected behind it, as far as the device tells.
    open: bool,
    /// How often somebody connected.
    peers: u64,
}

/// Starts a console device. `vector` is the MSI-X vector of its receiving queues, where it has vectors.
pub fn start<T: Transport>(
    mut transport: T,
    memory: &impl DmaMemory,
    vector: Option<u16>,
) -> Result<Console<T>, StartError> {
    let features = negotiate(&mut transport, KIND_CONSOLE, 0, FEATURE_EVENT_INDEX | FEATURE_MULTIPORT)?;
    let event_index = features & FEATURE_EVENT_INDEX != 0;
    let mut pair = |queue: u16, receive_len: usize, send_len: usize| {
        let shape = Shape { queue, len: receive_len, vector, event_index };
        let inbox = Inbox::new(&mut transport, memory, shape)?;
        let shape = Shape { queue: queue + 1, len: send_len, vector: None, event_index };
        Ok(Pair { inbox, outbox: Outbox::new(&mut transport, memory, shape)? })
    };
    let first = pair(PORT_QUEUES[0], RECEIVE_LEN, SEND_LEN)?;
    let multiport = features & FEATURE_MULTIPORT != 0;
    let control = if multiport { Some(pair(CONTROL_QUEUE, CONTROL_LEN, CONTROL_LEN)?) } else { None };
    // A device that has only one port in spite of the feature has no queues for a second.
    let second = if multiport { pair(PORT_QUEUES[1], RECEIVE_LEN, SEND_LEN).ok() } else { None };
    transport::live(&mut transport);

    let ours = if multiport { None } else { Some(0) };
    let (open, peers) = (!multiport, u64::from(!multiport));
    let mut console = Console { transport, ports: [Some(first), second], control, ours, open, peers };
    for pair in console.ports.iter_mut().chain([&mut console.control]).flatten() {
        pair.inbox.open();
    }
    if let Some(control) = &mut console.control {
        control.outbox.write(&control::device_ready());
    }
    Ok(console)
}

impl<T: Transport> Console<T> {
    /// How the device broke the contract, if it did. Nothing is read or written from then on.
    pub fn fault(&self) -> Option<Fault> {
        let pairs = self.ports.iter().chain([&self.control]).flatten();
        pairs.map(|pair| pair.inbox.fault().or(pair.outbox.fault())).fold(None, Option::or)
    }

    /// Reads what is there, as much as fits; 0 when there is nothing.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        self.listen();
        self.ours().map_or(0, |pair| pair.inbox.read(into))
    }

    /// Takes as much as there is room for and hands it to the device; 0 when the device is behind or nobody listens.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.listen();
        if !self.open {
            return 0;
        }
        self.ours().map_or(0, |pair| pair.outbox.write(bytes))
    }

    /// Names who is connected: 0 for nobody, and another number after every new connection. A device without ports
    /// cannot tell and always says 1.
    pub fn peer(&mut self) -> u64 {
        self.listen();
        if self.open { self.peers } else { 0 }
    }

    /// Asks for an interrupt at the next byte, then looks once more: false when there is something to read already or
    /// somebody came or went, and the caller must not sleep.
    #[must_use = "if this is false, nobody will wake the caller"]
    pub fn arm(&mut self) -> bool {
        // A message about ports is for nobody else: unless somebody came or went, it must not keep the caller awake.
        let before = (self.open, self.peers);
        self.listen();
        if before != (self.open, self.peers) {
            return false;
        }
        let control = self.control.as_mut().is_none_or(|control| control.inbox.arm());
        let ours = self.ours().is_none_or(|pair| pair.inbox.arm());
        control && ours
    }

    /// Takes note of an interrupt: called after one came and before the next sleep, or a line stays raised.
    pub fn acknowledge(&self) {
        // One register for the whole device.
        if let Some(pair) = &self.ports[0] {
            pair.inbox.acknowledge();
        }
    }

    /// Whether everything that was written has been read by the device.
    pub fn flushed(&mut self) -> bool {
        self.ours().is_none_or(|pair| pair.outbox.flushed())
    }

    /// Stops the device.
    pub fn stop(&mut self) -> Result<(), StartError> {
        transport::reset(&mut self.transport)
    }

    fn ours(&mut self) -> Option<&mut Pair<T::Bell>> {
        self.ports[self.ours?].as_mut()
    }

    /// Hears what the device says about its ports.
    fn listen(&mut self) {
        let Some(control) = &mut self.control else { return };
        let mut message = [0; control::MESSAGE_LEN];
        while let Some(len) = control.inbox.message(&mut message) {
            match control::parse(&message[..len]) {
                Heard::Added(port) if self.ours.is_none() => {
                    let place = port as usize;
                    if self.ports.get(place).is_some_and(Option::is_some) {
                        self.ours = Some(place);
                        control.outbox.write(&control::port_ready(port));
                        control.outbox.write(&control::port_open(port));
                    }
                }
                Heard::Removed(port) if self.ours == Some(port as usize) => self.open = false,
                Heard::Open(port, open) if self.ours == Some(port as usize) => {
                    self.peers += u64::from(open);
                    self.open = open;
                }
                _ => {}
            }
        }
    }
}

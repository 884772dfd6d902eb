//! The program that decides which frames are ours, assembled instruction by instruction.
//!
//! It reads no further than it has compared with the end of the frame, as the kernel's verifier demands. A frame that
//! is short, tagged, a fragment of something, or for anybody else is passed to the kernel untouched.

use std::net::Ipv4Addr;

/// An instruction of eBPF (`linux/bpf.h`, `struct bpf_insn`).
pub type Instruction = [u8; 8];

/// Which frames are taken away from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ours {
    /// Everything for an address that only the private stack has, and questions and answers of ARP about it.
    Address(Ipv4Addr),
    /// TCP to these ports of an address that the kernel has too. ARP, ICMP and all other ports stay the kernel's.
    Ports(Ipv4Addr, Vec<u16>),
}

/// Most ports of a shared address.
pub const PORTS_MAX: usize = 64;

// Registers. The context stays in 6, since calls and tests use the lower ones.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R5: u8 = 5;
const R6: u8 = 6;
/// Where the frame begins and ends.
const FRAME: u8 = R2;
const END: u8 = R3;

// `struct xdp_md`.
const CONTEXT_DATA: i16 = 0;
const CONTEXT_END: i16 = 4;
const CONTEXT_QUEUE: i16 = 16;

// Places in a frame.
const ETHERTYPE: i16 = 12;
const IP: i16 = 14;
const IP_FRAGMENT: i16 = IP + 6;
const IP_PROTOCOL: i16 = IP + 9;
const IP_DESTINATION: i16 = IP + 16;
const IP_FIXED_END: i32 = IP as i32 + 20;
const ARP_TARGET: i16 = IP + 24;
const ARP_END: i32 = IP as i32 + 28;
const TCP_DESTINATION: i16 = 2;
const TCP_PORTS_LEN: i32 = 4;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const PROTOCOL_TCP: i32 = 6;
/// More fragments follow, or this is not the first one.
const FRAGMENT: u16 = 0x3fff;

// What the program answers.
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const REDIRECT_MAP: i32 = 51;
const PSEUDO_MAP_FD: u8 = 1;

/// The program. `map` is the descriptor of the map of sockets.
pub fn assemble(ours: &Ours, map: i32) -> Vec<Instruction> {
    let mut code = Assembler::default();
    code.move_register(R6, R1);
    code.load(Size::Word, FRAME, R1, CONTEXT_DATA);
    code.load(Size::Word, END, R1, CONTEXT_END);
    code.need(IP_FIXED_END);
    code.load(Size::Half, R4, FRAME, ETHERTYPE);
    match ours {
        Ours::Address(address) => {
            code.jump_if(R4, half(TYPE_ARP), Label::Arp);
            code.jump_unless(R4, half(TYPE_IPV4), Label::Pass);
            code.load(Size::Word, R4, FRAME, IP_DESTINATION);
            code.load_word(R5, word(*address));
            code.jump_if_same(R4, R5, Label::Ours);
            code.jump(Label::Pass);
            code.place(Label::Arp);
            code.need(ARP_END);
            code.load(Size::Word, R4, FRAME, ARP_TARGET);
            code.load_word(R5, word(*address));
            code.jump_if_same(R4, R5, Label::Ours);
        }
        Ours::Ports(address, ports) => {
            code.jump_unless(R4, half(TYPE_IPV4), Label::Pass);
            code.load(Size::Word, R4, FRAME, IP_DESTINATION);
            code.load_word(R5, word(*address));
            code.jump_unless_same(R4, R5, Label::Pass);
            code.load(Size::Byte, R4, FRAME, IP_PROTOCOL);
            code.jump_unless(R4, PROTOCOL_TCP, Label::Pass);
            code.load(Size::Half, R4, FRAME, IP_FRAGMENT);
            code.jump_if_any(R4, half(FRAGMENT), Label::Pass);
            // The header's length in words of four bytes is the lower half of its first byte.
            code.load(Size::Byte, R4, FRAME, IP);
            code.and(R4, 15);
            code.shift_left(R4, 2);
            code.add_register(FRAME, R4);
            code.add(FRAME, i32::from(IP));
            code.need(TCP_PORTS_LEN);
            code.load(Size::Half, R4, FRAME, TCP_DESTINATION);
            for port in ports.iter().take(PORTS_MAX) {
                code.jump_if(R4, half(*port), Label::Ours);
            }
        }
    }
    code.place(Label::Pass);
    code.answer(XDP_PASS);
    code.place(Label::Ours);
    code.load(Size::Word, R2, R6, CONTEXT_QUEUE);
    code.load_map(R1, map);
    // What is ours and has no socket (a queue that nobody serves) is nobody's: the kernel would answer a shared
    // port's segments with resets.
    code.move_value(R3, XDP_DROP);
    code.call(REDIRECT_MAP);
    code.exit();
    code.finish()
}

/// A number as it lies in the frame, read by a machine of this byte order.
fn half(number: u16) -> i32 {
    i32::from(number.to_be())
}

fn word(address: Ipv4Addr) -> u32 {
    u32::from(address).to_be()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Pass,
    Ours,
    Arp,
}

#[derive(Debug, Clone, Copy)]
enum Size {
    Byte,
    Half,
    Word,
}

/// Collects instructions, and fills in where jumps go once that is known.
#[derive(Debug, Default)]
struct Assembler {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    places: Vec<(Label, usize)>,
}

impl Assembler {
    fn push(&mut self, operation: u8, to: u8, from: u8, offset: i16, value: i32) {
        let mut bytes = [0; 8];
        bytes[0] = operation;
        bytes[1] = from << 4 | to;
        bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
        bytes[4..].copy_from_slice(&value.to_ne_bytes());
        self.code.push(bytes);
    }

    fn branch(&mut self, operation: u8, to: u8, from: u8, value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(operation, to, from, 0, value);
    }

    fn place(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    /// Passes frames that are shorter than this from where the frame's register points. Uses register 4.
    fn need(&mut self, len: i32) {
        self.move_register(R4, FRAME);
        self.add(R4, len);
        self.branch(0x2d, R4, END, 0, Label::Pass);
    }

    fn load(&mut self, size: Size, to: u8, from: u8, offset: i16) {
        let operation = match size {
            Size::Byte => 0x71,
            Size::Half => 0x69,
            Size::Word => 0x61,
        };
        self.push(operation, to, from, offset, 0);
    }

    fn move_register(&mut self, to: u8, from: u8) {
        self.push(0xbf, to, from, 0, 0);
    }

    fn move_value(&mut self, to: u8, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    /// A whole word without the sign that a 64-bit move would extend.
    fn load_word(&mut self, to: u8, value: u32) {
        self.push(0xb4, to, 0, 0, value as i32);
    }

    fn add(&mut self, to: u8, value: i32) {
        self.push(0x07, to, 0, 0, value);
    }

    fn add_register(&mut self, to: u8, from: u8) {
        self.push(0x0f, to, from, 0, 0);
    }

    fn and(&mut self, to: u8, value: i32) {
        self.push(0x57, to, 0, 0, value);
    }

    fn shift_left(&mut self, to: u8, bits: i32) {
        self.push(0x67, to, 0, 0, bits);
    }

    fn jump(&mut self, label: Label) {
        self.branch(0x05, 0, 0, 0, label);
    }

    fn jump_if(&mut self, register: u8, value: i32, label: Label) {
        self.branch(0x15, register, 0, value, label);
    }

    fn jump_unless(&mut self, register: u8, value: i32, label: Label) {
        self.branch(0x55, register, 0, value, label);
    }

    fn jump_if_any(&mut self, register: u8, bits: i32, label: Label) {
        self.branch(0x45, register, 0, bits, label);
    }

    fn jump_if_same(&mut self, one: u8, other: u8, label: Label) {
        self.branch(0x1d, one, other, 0, label);
    }

    fn jump_unless_same(&mut self, one: u8, other: u8, label: Label) {
        self.branch(0x5d, one, other, 0, label);
    }

    /// Two instructions: the kernel replaces the descriptor by the map's address of 64 bits.
    fn load_map(&mut self, to: u8, map: i32) {
        self.push(0x18, to, PSEUDO_MAP_FD, 0, map);
        self.push(0, 0, 0, 0, 0);
    }

    fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    fn answer(&mut self, value: i32) {
        self.move_value(R0, value);
        self.exit();
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in &self.jumps {
            let place = self.places.iter().find(|(known, _)| known == label);
            let (_, place) = place.expect("every label that is jumped to is placed");
            let offset = (*place as i16) - (*at as i16) - 1;
            self.code[*at][2..4].copy_from_slice(&offset.to_ne_bytes());
        }
        self.code
    }
}

//! A small static program for plain Linux, compiled by the system's C compiler (`build.rs`), with what it prints and how
//! it ends wherever its calls are answered as Linux answers them: Linux itself (`tests`), and `user/personality` in a
//! guest.

#![no_std]
#![forbid(unsafe_code)]

/// The program's file.
pub static FILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/program"));

/// What it prints.
pub const OUTPUT: &str = "hello from a program for Linux
it has a number: yes
the system has a name: yes
the data segment grows: yes
memory is mapped: yes
registers survive a call: yes
reading nowhere is refused: yes
reading the kernel is refused: yes
writing constants is refused: yes
a file that is not open is refused: yes
an unknown call is refused: yes
";

/// With this it ends.
pub const CODE: u8 = 7;

/// Calls that it makes although nobody knows them.
pub const UNKNOWN: u64 = 1;

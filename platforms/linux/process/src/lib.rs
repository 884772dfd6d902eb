//! What every application has in common that runs as a Linux process: its command line, its network, its home, and how it
//! is asked to end. A `main` adds its application.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod deployed;
pub mod home;
pub mod management;
pub mod network;
pub mod notify;
pub mod outside;
pub mod privileges;
pub mod running;
pub mod start;
pub mod succession;
pub mod team;

//! The web server as a process on a TAP device, asked by Linux's own TCP without anything between.

mod restart;
mod served;
mod smuggling;

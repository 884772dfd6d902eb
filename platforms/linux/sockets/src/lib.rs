//! BSD sockets of an unmodified program on a private stack.
//!
//! Preloaded, this library takes over what the C library offers for sockets. A listener on a port that is named in the
//! environment is then on a stack of the process's own, beside the kernel on one of its interfaces:
//!
//! ```text
//! LD_PRELOAD=libnom_sockets.so NOM_PORTS=11211 NOM_INTERFACE=eth0 NOM_ADDRESS=192.168.1.77/24 memcached
//! ```
//!
//! - `settings`: what the environment says;
//! - `stack`: the stack on a thread of its own, and what it is told;
//! - `socket`, `listener`: what the program's threads share with it;
//! - `readiness`: why `poll`, `select` and `epoll` work as they are, from any thread;
//! - `table`, `calls`: the program's numbers, and the calls that are taken over.
//!
//! An application that calls the stack itself is several times cheaper: here each byte is copied twice each way, threads
//! wake each other, and readiness goes through the kernel. Limits: TCP over IPv4, accepted connections only; a process
//! that forks cannot go on with its sockets in the child; what the C library reads by itself (`fdopen`) is not seen; no
//! out-of-band bytes; the other side's port is not known and told as 0; a program that is killed, or ends by `_exit`, takes
//! along what it wrote and what was not sent yet (one that ends otherwise waits for that, five seconds at most). Each connection takes three descriptors.

// Tests of this crate call the C library's own functions.
#![cfg_attr(test, allow(dead_code))]

#[cfg(not(test))]
mod calls;
mod listener;
mod readiness;
#[cfg(not(test))]
mod real;
mod settings;
mod socket;
mod stack;
mod table;

use settings::{Settings, VARIABLES};
use stack::Stack;
use std::sync::{Arc, OnceLock};

/// What is taken over, and by whom. Nothing, when the environment named no port.
static PRIVATE: OnceLock<Private> = OnceLock::new();

pub(crate) struct Private {
    pub(crate) settings: Settings,
    pub(crate) stack: Arc<Stack>,
    /// The process that the stack's thread is in: a child that was forked has none.
    pub(crate) process: u32,
}

pub(crate) fn private() -> Option<&'static Private> {
    PRIVATE.get()
}

/// Runs before the program's `main`.
#[used]
// SAFETY: what stands in this section is a function of this type, which the loader calls once.
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    let settings = match Settings::read(|name| std::env::var(name).ok()) {
        Ok(None) => return,
        Ok(Some(settings)) => settings,
        Err(what) => give_up(&what),
    };
    for name in VARIABLES {
        // SAFETY: this runs before `main`, while the process has one thread.
        unsafe { std::env::remove_var(name) };
    }
    match Stack::start(&settings) {
        Ok(stack) => {
            let _ = PRIVATE.set(Private { settings, stack, process: std::process::id() });
        }
        Err(what) => give_up(&what),
    }
}

/// Runs when the program ends, behind everything of its own.
#[used]
// SAFETY: what stands in this section is a function of this type, which is called once, at the end.
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

extern "C" fn end() {
    if let Some(private) = private()
        && private.process == std::process::id()
    {
        private.stack.end();
    }
}

/// A program that was told to be on a private stack must not be on the kernel's unseen.
fn give_up(what: &str) -> ! {
    eprintln!("nom-sockets: {what}");
    std::process::exit(1);
}

//! The guest as a home: the kernel's pages for clock, board and counters, a console as the management channel.

use crate::team::Team;
use alloc::sync::Arc;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};
use nom_guest_devices::{Acquired, Doorbell};
use nom_runtime::abi::board::Prices;
use nom_runtime::abi::call::PAGE_LEN;
use nom_runtime::abi::device::kind;
use nom_runtime::abi::statistics::{Counter, WORDS};
use nom_runtime::abi::upcall::ENDED;
use nom_service::home::{Home, NotMine};
use nom_service::share::Share;
use nom_stack::knobs::Knobs;
use nom_virtio_console::Console;
use nom_virtqueue::transport::Mapped;

/// A guest.
pub struct Guest {
    /// Behind a cell, because asking who is connected hears what the device has to say about that.
    console: RefCell<Option<Console<Mapped>>>,
    /// Interrupts that a sleep lets in, and which of them is the console's.
    events: nom_runtime::Events,
    console_event: nom_runtime::Events,
    /// The console had something to say when the last wait ended.
    heard: bool,
    /// Where frames come through a switch.
    switch: Option<Doorbell>,
    /// Time that was spent waiting.
    waited_ns: u64,
    /// The cores, of which this is the first.
    team: Arc<Team>,
}

impl Guest {
    /// A guest that sleeps on these events, and on its console when it may have one.
    pub fn new(
        name: &str,
        memory: &nom_dma::HeapMemory,
        events: nom_runtime::Events,
        management: bool,
        switch: Option<Doorbell>,
        team: Arc<Team>,
    ) -> Self {
        let (console, console_event) = match management.then(|| open_console(name, memory)).flatten() {
            Some((console, event)) => (Some(console), event),
            None => (None, 0),
        };
        Self {
            console: RefCell::new(console),
            events: events | console_event,
            console_event,
            heard: true,
            switch,
            waited_ns: 0,
            team,
        }
    }

    /// Waits until the management channel has taken everything, at most until this time.
    pub fn flush(&mut self, until_ns: u64) {
        let Some(console) = self.console.get_mut() else { return };
        while !console.flushed() && console.fault().is_none() && nom_runtime::now_ns() < until_ns {
            core::hint::spin_loop();
        }
    }
}

fn open_console(name: &str, memory: &nom_dma::HeapMemory) -> Option<(Console<Mapped>, nom_runtime::Events)> {
    let acquired = nom_guest_devices::acquire(kind::CONSOLE).ok()?;
    let vector = acquired.vector(0);
    let Acquired { registers, device, .. } = acquired;
    match nom_virtio_console::start(registers, memory, vector) {
        Ok(console) => Some((console, device.event())),
        Err(error) => {
            nom_runtime::log!("{name}: no management channel: {error}");
            None
        }
    }
}

fn counter(which: Counter) -> u64 {
    nom_runtime::statistics().get(which as usize).map_or(0, |word| word.load(Ordering::Relaxed))
}

impl Home for Guest {
    fn now_ns(&self) -> u64 {
        nom_runtime::now_ns()
    }

    fn unix_ns(&self) -> u64 {
        nom_runtime::unix_ns().unwrap_or(0)
    }

    fn wait(&mut self, until_ns: Option<u64>) {
        let console = self.console.get_mut();
        if console.as_mut().is_some_and(|console| !console.arm()) {
            self.heard = true;
            return;
        }
        // The network's interrupt is acknowledged by its receiving half, at the next look.
        let before_ns = nom_runtime::now_ns();
        let came = nom_runtime::wait(until_ns, self.events);
        self.waited_ns += nom_runtime::now_ns().saturating_sub(before_ns);
        self.heard = came & self.console_event != 0;
        if came & ENDED != 0
            && let Some(switch) = &self.switch
        {
            switch.look();
        }
        if self.heard
            && let Some(console) = console
        {
            console.acknowledge();
        }
    }

    fn board(&self) -> &[AtomicU64] {
        nom_runtime::board()
    }

    fn publish(&mut self, prices: &Prices) -> Result<u64, NotMine> {
        nom_runtime::publish_prices(prices).map_err(|_| NotMine)
    }

    fn management_read(&mut self, bytes: &mut [u8]) -> usize {
        self.console.get_mut().as_mut().map_or(0, |console| console.read(bytes))
    }

    fn management_write(&mut self, bytes: &[u8]) -> usize {
        self.console.get_mut().as_mut().map_or(0, |console| console.write(bytes))
    }

    fn has_listeners(&self) -> bool {
        self.console.borrow().is_some()
    }

    fn management_peer(&self) -> u64 {
        self.console.borrow_mut().as_mut().map_or(0, Console::peer)
    }

    fn management_pending(&self) -> bool {
        self.heard
    }

    /// Alone on the only core, all time that it was not halted counts, the kernel's too. The kernel counts halts for
    /// all cores together, so with neighbours or more cores it is the time between this application's own waits.
    fn core_time_ns(&self) -> u64 {
        let alone = self.switch.is_none() && nom_runtime::core_count() == 1;
        let idle_ns = if alone { counter(Counter::HaltedNs) } else { self.waited_ns };
        self.now_ns().saturating_sub(idle_ns)
    }

    fn memory_bytes(&self) -> u64 {
        // What the virtual machine was given: a provider bills it whether it is used or not.
        counter(Counter::Frames) * PAGE_LEN
    }

    fn machine(&self) -> &[AtomicU64] {
        let page = nom_runtime::statistics();
        &page[..WORDS.min(page.len())]
    }

    fn others(&self) -> Option<Share> {
        self.team.others()
    }

    fn lead(&mut self, knobs: &Knobs) {
        self.team.lead(knobs);
    }

    fn drain_others(&mut self) -> bool {
        self.team.drain()
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> bool {
        nom_runtime::entropy(bytes).is_ok()
    }
}

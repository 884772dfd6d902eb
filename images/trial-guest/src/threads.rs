//! User threads: on one core and on all, blocked and woken, asleep, and when a core is taken from under them.
//!
//! From the first of these cases on the application's events come to its threads, so they are the last.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};
use nom_runtime::abi::call::CallError;
use nom_runtime::abi::statistics::Counter;
use nom_runtime::call::end_application;
use nom_runtime::channel::Channel;
use nom_runtime::task::Tasks;
use nom_runtime::thread::{
    self, Condition, JoinHandle, Mutex, SpawnError, THREADS_MAX, channel, sleep, sleep_until, spawn,
    yield_now,
};
use nom_runtime::{core_count, now_ns};
use nom_trial::disturbed;

use crate::many::{counter, order, text};
use crate::orders::{self, DONE, FOUND};
use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 13] = [
    ("thread_thousands_spawned_and_joined", thousands),
    ("thread_too_many_are_refused", too_many),
    ("thread_turns_are_in_order", turns),
    ("thread_sleepers_wake_in_order", sleepers),
    ("thread_blocked_ones_halt_the_core", halted),
    ("thread_mutex_excludes_over_cores", mutex_excludes),
    ("thread_condition_wakes_or_is_late", condition),
    ("thread_channel_loses_nothing", channel_counts),
    ("thread_woken_by_another_application", woken_by_another),
    ("task_sleepers_wake_in_order", sleeping_tasks),
    ("task_channels_and_events", tasks),
    ("thread_goes_on_when_its_core_is_given_back", core_given_back),
    ("thread_survives_the_loss_of_cores", cores_lost),
];

/// A bound on how long a case waits for what must come: virtual time, and generous.
const PATIENCE_NS: u64 = 40_000_000_000;

fn refused(error: SpawnError) -> alloc::string::String {
    format!("no thread: {error:?}")
}

/// Gives all cores of the guest to the threads.
fn all_cores() -> Outcome {
    for core in 1..core_count() {
        let limit = now_ns() + PATIENCE_NS;
        while thread::add_core(core) == Err(CallError::Taken) {
            ensure!(now_ns() < limit, "core {core} is never free");
            sleep(200_000);
        }
    }
    let limit = now_ns() + PATIENCE_NS;
    while thread::cores() < core_count() {
        ensure!(now_ns() < limit, "only {} cores came", thread::cores());
        sleep(200_000);
    }
    Ok(())
}

/// Starts the peer with this order and waits until it says that it does it.
fn started(what: u64) -> Result<Channel, NotOk> {
    let channel = order(what)?;
    let limit = now_ns() + PATIENCE_NS;
    while channel.words()[DONE].load(Ordering::Acquire) == 0 {
        ensure!(now_ns() < limit, "the peer does not begin");
        sleep(200_000);
    }
    Ok(channel)
}

fn join_all<T>(handles: Vec<JoinHandle<T>>) -> Vec<T> {
    handles.into_iter().map(JoinHandle::join).collect()
}

fn thousands() -> Outcome {
    const ROUNDS: u64 = 20;
    const THREADS: u64 = 200;
    all_cores()?;
    let mut sum = 0;
    for round in 0..ROUNDS {
        let mut handles = Vec::new();
        for number in 0..THREADS {
            handles.push(spawn(move || round * THREADS + number).map_err(refused)?);
        }
        sum += join_all(handles).into_iter().sum::<u64>();
    }
    thread::give_all_back();
    let all = ROUNDS * THREADS;
    ensure!(sum == all * (all - 1) / 2, "the values sum to {sum}");
    Ok(())
}

fn too_many() -> Outcome {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let mut handles = Vec::new();
    let answer = loop {
        let gate = gate.clone();
        match spawn(move || drop(gate.lock())) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
        ensure!(handles.len() <= THREADS_MAX, "{} threads", handles.len());
    };
    let count = handles.len();
    yield_now();
    drop(closed);
    join_all(handles);
    // Whichever bound came first: slots (a few may belong to threads that have not quite ended), or frames for stacks, or the heap for what a thread is to do.
    ensure!(
        answer == SpawnError::TooMany && count > THREADS_MAX - 20
            || answer == SpawnError::NoMemory && count > 100,
        "{answer:?} after {count} threads"
    );
    ensure!(spawn(|| 5).map_err(refused)?.join() == 5, "there is no room afterwards");
    Ok(())
}

fn turns() -> Outcome {
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut handles = Vec::new();
    for number in 0..5 {
        let order = order.clone();
        let work = move || {
            for turn in 0..4 {
                order.lock().push(turn * 10 + number);
                yield_now();
            }
        };
        handles.push(spawn(work).map_err(refused)?);
    }
    join_all(handles);
    let order = order.lock();
    let expected: Vec<u32> = (0..4).flat_map(|turn| (0..5).map(move |number| turn * 10 + number)).collect();
    ensure!(*order == expected, "{:?}", *order);
    Ok(())
}

/// Tries something with a growing time to get ready for it, since the host may hold this machine up meanwhile.
fn in_time(attempt: impl Fn(u64) -> Result<bool, NotOk>) -> Outcome {
    for doubled in 0..10 {
        if attempt(now_ns() + (2_000_000 << doubled))? {
            return Ok(());
        }
    }
    Err(NotOk::Skipped("the host holds this machine up too often"))
}

fn sleepers() -> Outcome {
    in_time(|base| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut handles = Vec::new();
        for number in 0..40_u64 {
            let order = order.clone();
            let place = number * 7 % 40;
            let work = move || {
                let at = base + place * 50_000;
                sleep_until(at);
                let early = now_ns() < at;
                order.lock().push(place);
                early
            };
            handles.push(spawn(work).map_err(refused)?);
        }
        // They fall asleep one after the other.
        yield_now();
        let all_sleep = now_ns() < base;
        let early = join_all(handles).into_iter().filter(|&early| early).count();
        ensure!(early == 0, "{early} woke before their time");
        let order = order.lock();
        ensure!(order.len() == 40 && (!all_sleep || order.is_sorted()), "woken in the order {:?}", *order);
        Ok(all_sleep)
    })
}

fn sleeping_tasks() -> Outcome {
    in_time(|base| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks = Tasks::new();
        for number in 0..50_u64 {
            let (order, own) = (order.clone(), tasks.clone());
            let place = number * 13 % 50;
            tasks.spawn(async move {
                own.sleep_until(base + place * 40_000).await;
                order.lock().push(place);
            });
        }
        // They begin one after the other, this one last.
        let all_sleep = Arc::new(AtomicU64::new(0));
        let told = all_sleep.clone();
        tasks.spawn(async move { told.store(u64::from(now_ns() < base), Ordering::Relaxed) });
        tasks.run();
        let all_sleep = all_sleep.load(Ordering::Relaxed) == 1;
        let order = order.lock();
        ensure!(order.len() == 50 && (!all_sleep || order.is_sorted()), "woken in the order {:?}", *order);
        Ok(all_sleep)
    })
}

/// While everybody sleeps nobody calls or is interrupted more than it takes to sleep.
fn halted() -> Outcome {
    let (halts, calls) = (counter(Counter::Halts), counter(Counter::Calls));
    for _ in 0..10 {
        sleep(500_000);
    }
    let (halts, calls) = (counter(Counter::Halts) - halts, counter(Counter::Calls) - calls);
    // The host may have held us up until a time was past: fewer halts then.
    ensure!(halts <= 30 && calls <= 30, "10 sleeps halted {halts} times and called {calls} times");
    Ok(())
}

fn mutex_excludes() -> Outcome {
    const THREADS: u64 = 8;
    const TURNS: u64 = 2000;
    all_cores()?;
    // Two words that are changed one after the other: a second holder would see them differ.
    let shared = Arc::new(Mutex::new([0_u64; 2]));
    let mut handles = Vec::new();
    for number in 0..THREADS {
        let shared = shared.clone();
        let work = move || {
            let mut wrong = 0;
            for turn in 0..TURNS {
                let mut words = shared.lock();
                wrong += u64::from(words[0] != words[1]);
                words[0] += 1;
                if turn % 64 == number {
                    yield_now();
                }
                words[1] += 1;
            }
            wrong
        };
        handles.push(spawn(work).map_err(refused)?);
    }
    let wrong: u64 = join_all(handles).into_iter().sum();
    thread::give_all_back();
    let words = *shared.lock();
    ensure!(wrong == 0 && words == [THREADS * TURNS; 2], "{wrong} times two had it; the sum is {words:?}");
    ensure!(shared.try_lock().is_some(), "it is not free afterwards");
    Ok(())
}

fn condition() -> Outcome {
    all_cores()?;
    let shared = Arc::new((Mutex::new(0_u64), Condition::new()));
    let mut handles = Vec::new();
    for _ in 0..6 {
        let shared = shared.clone();
        let work = move || {
            let mut taken = 0;
            loop {
                let mut tokens = shared.0.lock();
                while *tokens == 0 {
                    tokens = shared.1.wait(tokens);
                }
                if *tokens == u64::MAX {
                    return taken;
                }
                *tokens -= 1;
                taken += 1;
            }
        };
        handles.push(spawn(work).map_err(refused)?);
    }
    for turn in 0..500 {
        *shared.0.lock() += 1;
        shared.1.notify_one();
        if turn % 16 == 0 {
            yield_now();
        }
    }
    let limit = now_ns() + PATIENCE_NS;
    while *shared.0.lock() != 0 {
        ensure!(now_ns() < limit, "tokens were not taken: {}", *shared.0.lock());
        sleep(100_000);
    }
    *shared.0.lock() = u64::MAX;
    shared.1.notify_all();
    let taken: u64 = join_all(handles).into_iter().sum();
    thread::give_all_back();
    ensure!(taken == 500, "{taken} tokens of 500 were taken");
    // Nobody notifies: the time comes.
    let at = now_ns() + 300_000;
    let (guard, notified) = shared.1.wait_until(shared.0.lock(), at);
    drop(guard);
    ensure!(!notified && now_ns() >= at, "notified by nobody, or before the time");
    Ok(())
}

fn channel_counts() -> Outcome {
    const EACH: u64 = 1500;
    all_cores()?;
    for capacity in [1, 7, 64] {
        let (sender, receiver) = channel::<u64>(capacity);
        let mut producers = Vec::new();
        let mut consumers = Vec::new();
        for number in 0..4 {
            let sender = sender.clone();
            let work = move || (0..EACH).filter(|item| sender.send(number * EACH + item).is_ok()).count();
            producers.push(spawn(work).map_err(refused)?);
        }
        drop(sender);
        for _ in 0..3 {
            let receiver = receiver.clone();
            let work = move || {
                let mut items = vec![];
                while let Some(item) = receiver.receive() {
                    items.push(item);
                }
                items
            };
            consumers.push(spawn(work).map_err(refused)?);
        }
        let sent: usize = join_all(producers).into_iter().sum();
        let received = join_all(consumers);
        // What one producer sent came to each consumer in its order.
        for items in &received {
            for number in 0..4 {
                ensure!(
                    items.iter().filter(|&&item| item / EACH == number).is_sorted(),
                    "capacity {capacity}: out of order"
                );
            }
        }
        let mut all: Vec<u64> = received.into_iter().flatten().collect();
        all.sort_unstable();
        ensure!(
            sent as u64 == 4 * EACH && all.iter().copied().eq(0..4 * EACH),
            "capacity {capacity}: {sent} sent, {} received",
            all.len()
        );
    }
    thread::give_all_back();
    let (sender, receiver) = channel::<u64>(1);
    let at = now_ns() + 200_000;
    ensure!(receiver.receive_until(at).is_none() && now_ns() >= at, "received from nowhere");
    ensure!(sender.try_send(1).is_ok() && sender.try_send(2) == Err(2), "more than its capacity");
    drop(receiver);
    ensure!(sender.send(3).is_err(), "sent to nobody");
    Ok(())
}

fn woken_by_another() -> Outcome {
    const ROUNDS: u64 = 200;
    let channel = Arc::new(started(orders::ECHO)?);
    let event = channel.event();
    thread::events(event, Some(0));
    let begin = channel.words()[FOUND].load(Ordering::Acquire);
    let own = channel.clone();
    // One thread waits for the other application while another one works.
    let waits = spawn(move || {
        let mut lost = 0;
        for round in 1..=ROUNDS {
            lost += u64::from(own.notify().is_err());
            let limit = now_ns() + PATIENCE_NS;
            while own.words()[FOUND].load(Ordering::Acquire) < begin + round {
                if now_ns() >= limit {
                    return lost + 1;
                }
                thread::events(event, Some(limit));
            }
        }
        lost
    });
    let waits = waits.map_err(refused)?;
    let mut turns = 0_u64;
    while !waits.is_finished() {
        turns += 1;
        sleep(50_000);
    }
    let lost = waits.join();
    end_application("peer").map_err(text)?;
    ensure!(lost == 0, "{lost} notifications were lost");
    ensure!(turns > 0, "nobody else had a turn");
    Ok(())
}

fn tasks() -> Outcome {
    let peer = started(orders::ECHO)?;
    let event = peer.event();
    thread::events(event, Some(0));
    let tasks = Tasks::new();
    let (sender, receiver) = channel::<u64>(4);
    let sum = Arc::new(AtomicU64::new(0));
    let took = sum.clone();
    tasks.spawn(async move {
        while let Some(item) = receiver.next().await {
            took.fetch_add(item, Ordering::Relaxed);
        }
    });
    let sends = spawn(move || (1..=300).filter(|&item| sender.send(item).is_ok()).count());
    let answered = Arc::new(AtomicU64::new(0));
    let (counted, own) = (answered.clone(), tasks.clone());
    tasks.spawn(async move {
        let begin = peer.words()[FOUND].load(Ordering::Acquire);
        for round in 1..=50 {
            let _ = peer.notify();
            while peer.words()[FOUND].load(Ordering::Acquire) < begin + round {
                own.events(event).await;
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
        // A task may add another one.
        let counted = counted.clone();
        own.spawn(async move {
            counted.fetch_add(100, Ordering::Relaxed);
        });
    });
    tasks.run();
    end_application("peer").map_err(text)?;
    let sent = sends.map_err(refused)?.join();
    let (sum, answered) = (sum.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
    ensure!(sent == 300 && sum == 300 * 301 / 2, "{sent} sent, their sum is {sum}");
    ensure!(answered == 150, "{answered} events of 150 were answered");
    Ok(())
}

/// Cores are given back while threads that never block run there, and see whether any of their registers changes.
fn core_given_back() -> Outcome {
    static STOP: AtomicU64 = AtomicU64::new(0);
    if core_count() == 1 {
        return Err(NotOk::Skipped("there is one core"));
    }
    for round in 0..20 {
        STOP.store(0, Ordering::Relaxed);
        // Those threads leave no core to one that blocked, so the first one is at home and does not block.
        thread::give_all_back();
        let mut handles = Vec::new();
        for _ in 1..core_count() {
            handles.push(spawn(|| disturbed(&STOP)).map_err(refused)?);
        }
        let limit = now_ns() + PATIENCE_NS;
        let mut all_came = true;
        for core in 1..core_count() {
            while thread::add_core(core).is_err() && all_came {
                all_came = now_ns() < limit;
            }
        }
        while thread::cores() < core_count() && all_came {
            all_came = now_ns() < limit;
        }
        let until = now_ns() + 300_000;
        while now_ns() < until {}
        let given = (1..core_count()).filter(|&core| thread::give_back(core)).count() as u32;
        while thread::cores() > 1 && all_came {
            all_came = now_ns() < limit;
        }
        STOP.store(1, Ordering::Relaxed);
        let wrong: u64 = join_all(handles).into_iter().sum();
        ensure!(all_came && given == core_count() - 1, "round {round}: {given} cores came and went");
        ensure!(wrong == 0, "round {round}: {wrong} places changed");
    }
    Ok(())
}

/// Another application needs a core: the kernel asks for it, and takes it when it is not given in time. All cores are
/// busy with threads that stop when the other one, after a while, says so.
fn cores_lost() -> Outcome {
    if core_count() == 1 {
        return Err(NotOk::Skipped("there is one core"));
    }
    for round in 0..4 {
        all_cores()?;
        let peer = Arc::new(order(orders::STOP_LATER)?);
        let mut handles = Vec::new();
        for _ in 0..core_count() {
            let peer = peer.clone();
            let work = move || {
                // In every other round they let no upcall in, so they give nothing back: a core is taken.
                let closed = round % 2 == 1 && nom_runtime::upcall::disable();
                let wrong = disturbed(&peer.words()[DONE]);
                if closed {
                    nom_runtime::upcall::enable();
                }
                wrong
            };
            handles.push(spawn(work).map_err(refused)?);
        }
        let wrong: u64 = join_all(handles).into_iter().sum();
        ensure!(wrong == 0, "round {round}: {wrong} places changed");
        let limit = now_ns() + PATIENCE_NS;
        while thread::cores() == core_count() {
            ensure!(now_ns() < limit, "the kernel got no core back");
            sleep(300_000);
        }
        end_application("peer").map_err(text)?;
        thread::give_all_back();
    }
    Ok(())
}

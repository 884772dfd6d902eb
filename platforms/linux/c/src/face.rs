//! The functions of `nom.h`. Each checks what C says, and turns what went wrong into a number and a line.

use crate::event::{Event, Price};
use crate::instance::{Events, Instance};
use crate::trouble::{Code, Trouble, last, note};
use std::cell::RefCell;
use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_long};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Services that a thread has at the same time.
const SERVICES_MAX: usize = 16;
/// Longest text that is read.
const TEXT_MAX: usize = 4096;
/// Most words of a command line.
const WORDS_MAX: c_int = 256;

thread_local! {
    /// A service's name is its place, and which one it is in that place: a stale one finds nothing.
    static SERVICES: RefCell<Services> = const { RefCell::new(Services { all: Vec::new(), count: 0 }) };
}

struct Services {
    all: Vec<(c_int, Instance)>,
    count: c_int,
}

fn wrong(what: &str) -> Trouble {
    Trouble::new(Code::Argument, what)
}

/// Runs with a panic as one more thing that can go wrong.
fn caught(call: impl FnOnce() -> Result<i64, Trouble>) -> i64 {
    let failed = |_| Err(Trouble::new(Code::Failed, "the library failed; what it said is above"));
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(failed).unwrap_or_else(|trouble| note(trouble).into())
}

/// Runs with a service. One that panics is gone.
fn with(nom: c_int, call: impl FnOnce(&mut Instance) -> Result<i64, Trouble>) -> i64 {
    let take = || {
        SERVICES.with(|services| {
            let all = &mut services.borrow_mut().all;
            let place = all.iter().position(|(name, _)| *name == nom)?;
            Some(all.swap_remove(place))
        })
    };
    caught(|| {
        let none = || {
            Trouble::new(Code::Gone, format!("there is no service {nom} in this thread; nom_start makes one"))
        };
        // Out of the table meanwhile: a panic leaves it there no more.
        let (name, mut instance) = take().ok_or_else(none)?;
        let result = call(&mut instance);
        SERVICES.with(|services| services.borrow_mut().all.push((name, instance)));
        result
    })
}

/// # Safety
/// A text that ends with a zero byte, or null.
unsafe fn text<'a>(place: *const c_char, what: &str) -> Result<&'a str, Trouble> {
    if place.is_null() {
        return Err(wrong(&format!("{what} is NULL")));
    }
    // SAFETY: C says that a zero byte ends it.
    let text = unsafe { CStr::from_ptr(place) };
    let text = text.to_str().map_err(|_| wrong(&format!("{what} is not UTF-8")))?;
    if text.len() > TEXT_MAX {
        return Err(wrong(&format!("{what} has more than {TEXT_MAX} bytes")));
    }
    Ok(text)
}

/// A broken pipe is an error of the call and not the end of the process, unless the program has said something else.
fn survive_broken_pipes() {
    // SAFETY: zero is a value of this structure; both calls get a place of ours or nothing, and a known signal.
    unsafe {
        let mut known: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut known) == 0
            && known.sa_sigaction == libc::SIG_DFL
        {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        }
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_start(name: *const c_char, argc: c_int, argv: *const *const c_char) -> c_int {
    caught(|| {
        // SAFETY: as the header says.
        let name = unsafe { text(name, "name") }?;
        if argv.is_null() || !(1..=WORDS_MAX).contains(&argc) {
            return Err(wrong("argc and argv are not those of a main"));
        }
        let mut words = Vec::new();
        for place in 1..argc as usize {
            // SAFETY: `argv` has `argc` places.
            let word = unsafe { argv.add(place).read() };
            if word.is_null() {
                return Err(wrong("a word of argv is NULL"));
            }
            // SAFETY: a zero byte ends each word.
            words.push(OsString::from(OsStr::from_bytes(unsafe { CStr::from_ptr(word) }.to_bytes())));
        }
        let full = || Trouble::new(Code::Full, format!("this thread has {SERVICES_MAX} services already"));
        SERVICES
            .with(|services| (services.borrow().all.len() < SERVICES_MAX).then_some(()))
            .ok_or_else(full)?;
        survive_broken_pipes();
        let instance = Instance::start(name, words)?;
        SERVICES.with(|services| {
            let mut services = services.borrow_mut();
            services.count += 1;
            let name = services.count;
            services.all.push((name, instance));
            Ok(name.into())
        })
    }) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_listen(nom: c_int, port: c_int) -> c_int {
    with(nom, |instance| {
        let port = u16::try_from(port).map_err(|_| wrong("a port is a number up to 65535"))?;
        Ok(instance.listen(port).into())
    }) as c_int
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_wait(nom: c_int, events: *mut Event, max: c_int, timeout_us: i64) -> c_int {
    with(nom, |instance| {
        if events.is_null() || max < 1 {
            return Err(wrong("there is no place for an event"));
        }
        // SAFETY: C says that there are `max` places; nobody else has them during the call.
        let places =
            unsafe { std::slice::from_raw_parts_mut(events.cast::<MaybeUninit<Event>>(), max as usize) };
        let mut events = Events::new(places);
        instance.wait(timeout_us, &mut events)?;
        Ok(events.len() as i64)
    }) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_accept(nom: c_int, port: c_int, tag: u64) -> i64 {
    with(nom, |instance| {
        let port = u16::try_from(port).map_err(|_| wrong("a port is a number up to 65535"))?;
        instance.accept(port, tag)
    })
}

/// # Safety
/// As the header says.
unsafe fn read(nom: c_int, connection: i64, bytes: *mut u8, room: usize, keep: bool) -> c_long {
    with(nom, |instance| {
        if bytes.is_null() && room > 0 {
            return Err(wrong("bytes is NULL"));
        }
        let room = room.min(isize::MAX as usize);
        Ok(instance.read(connection, bytes, room, keep)? as i64)
    }) as c_long
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_read(nom: c_int, connection: i64, bytes: *mut u8, room: usize) -> c_long {
    // SAFETY: handed on.
    unsafe { read(nom, connection, bytes, room, false) }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_peek(nom: c_int, connection: i64, bytes: *mut u8, room: usize) -> c_long {
    // SAFETY: handed on.
    unsafe { read(nom, connection, bytes, room, true) }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_write(nom: c_int, connection: i64, bytes: *const u8, len: usize) -> c_long {
    with(nom, |instance| {
        if bytes.is_null() && len > 0 {
            return Err(wrong("bytes is NULL"));
        }
        let bytes = if len == 0 {
            &[][..]
        } else {
            // SAFETY: C says that there are `len` bytes, and does not change them during the call.
            unsafe { std::slice::from_raw_parts(bytes, len.min(isize::MAX as usize)) }
        };
        Ok(instance.write(connection, bytes)? as i64)
    }) as c_long
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_answered(nom: c_int, connection: i64, accepted: c_int) -> c_int {
    with(nom, |instance| instance.answered(connection, accepted != 0).map(|()| 0)) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_shut(nom: c_int, connection: i64) -> c_int {
    with(nom, |instance| instance.shut(connection).map(|()| 0)) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_close(nom: c_int, connection: i64) -> c_int {
    with(nom, |instance| instance.close(connection, false).map(|()| 0)) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_abort(nom: c_int, connection: i64) -> c_int {
    with(nom, |instance| instance.close(connection, true).map(|()| 0)) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_peer(nom: c_int, connection: i64) -> i64 {
    with(nom, |instance| instance.peer(connection))
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_timer(nom: c_int, after_us: u64, tag: u64) -> i64 {
    with(nom, |instance| instance.timer(after_us, tag))
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_cancel(nom: c_int, timer: i64) -> c_int {
    with(nom, |instance| instance.cancel(timer).map(|()| 0)) as c_int
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_price(nom: c_int, resource: c_int, price: *mut Price) -> c_int {
    with(nom, |instance| {
        if price.is_null() {
            return Err(wrong("price is NULL"));
        }
        let found = instance.price(resource)?;
        // SAFETY: C says that there is a place for one.
        unsafe { price.write_unaligned(found) };
        Ok(0)
    }) as c_int
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_knob(nom: c_int, key: *const c_char, value: *const c_char) -> c_int {
    with(nom, |instance| {
        // SAFETY: as the header says.
        let (key, value) = unsafe { (text(key, "key")?, text(value, "value")?) };
        instance.knob(key, value).map(|()| 0)
    }) as c_int
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nom_setting(nom: c_int, text: *mut c_char, room: usize) -> c_long {
    with(nom, |instance| {
        if text.is_null() || room == 0 {
            return Err(wrong("there is no room for a text"));
        }
        let setting = instance.setting();
        let len = setting.len().min(room - 1);
        // SAFETY: C says that there is room for `room` bytes, which is more than `len`.
        unsafe {
            std::ptr::copy_nonoverlapping(setting.as_ptr(), text.cast::<u8>(), len);
            text.add(len).write(0);
        }
        Ok(setting.len() as i64)
    }) as c_long
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_drain(nom: c_int) -> c_int {
    with(nom, |instance| {
        instance.drain();
        Ok(0)
    }) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_stop(nom: c_int) -> c_int {
    caught(|| {
        let found = SERVICES.with(|services| {
            let all = &mut services.borrow_mut().all;
            let place = all.iter().position(|(name, _)| *name == nom)?;
            Some(all.swap_remove(place).1)
        });
        let none = || Trouble::new(Code::Gone, format!("there is no service {nom} in this thread"));
        found.ok_or_else(none)?.stop();
        Ok(0)
    }) as c_int
}

#[unsafe(no_mangle)]
pub extern "C" fn nom_error() -> *const c_char {
    last()
}

//! packetdrill's table of functions, in its order.

use crate::Shared;
use crate::world::{Errno, Socket};
use libc::{c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void, size_t, ssize_t};
use libc::{epoll_event, iovec, msghdr, nfds_t, pollfd, sockaddr, sockaddr_in, socklen_t, timeval};
use nom_stack::KeepAlive;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::net::Ipv4Addr;

/// Longest gather list that is believed.
const PARTS_MAX: usize = 1024;

/// `struct packetdrill_interface`. Where C says `...` there is one more word on this machine's calling convention.
#[repr(C)]
pub struct Interface {
    userdata: *mut c_void,
    free: extern "C" fn(*mut c_void),
    socket: extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    bind: extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    listen: extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    accept: extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    connect: extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    read: extern "C" fn(*mut c_void, c_int, *mut c_void, size_t) -> ssize_t,
    readv: extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    recv: extern "C" fn(*mut c_void, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    recvfrom: extern "C" fn(
        *mut c_void,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    recvmsg: extern "C" fn(*mut c_void, c_int, *mut msghdr, c_int) -> ssize_t,
    write: extern "C" fn(*mut c_void, c_int, *const c_void, size_t) -> ssize_t,
    writev: extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    send: extern "C" fn(*mut c_void, c_int, *const c_void, size_t, c_int) -> ssize_t,
    sendto: extern "C" fn(
        *mut c_void,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    sendmsg: extern "C" fn(*mut c_void, c_int, *const msghdr, c_int) -> ssize_t,
    fcntl: extern "C" fn(*mut c_void, c_int, c_int, c_long) -> c_int,
    ioctl: extern "C" fn(*mut c_void, c_int, c_ulong, *mut c_int) -> c_int,
    close: extern "C" fn(*mut c_void, c_int) -> c_int,
    shutdown: extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    getsockopt: extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    setsockopt: extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    poll: extern "C" fn(*mut c_void, *mut pollfd, nfds_t, c_int) -> c_int,
    netdev_send: extern "C" fn(*mut c_void, *const c_void, size_t) -> c_int,
    netdev_receive: extern "C" fn(*mut c_void, *mut c_void, *mut size_t, *mut c_longlong) -> c_int,
    usleep: extern "C" fn(*mut c_void, c_uint) -> c_int,
    gettimeofday: extern "C" fn(*mut c_void, *mut timeval, *mut c_void) -> c_int,
    epoll_create: extern "C" fn(*mut c_void, c_int) -> c_int,
    epoll_ctl: extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut epoll_event) -> c_int,
    epoll_wait: extern "C" fn(*mut c_void, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pipe: extern "C" fn(*mut c_void, *mut c_int) -> c_int,
    splice: extern "C" fn(*mut c_void, c_int, *mut i64, c_int, *mut i64, size_t, c_uint) -> ssize_t,
}

/// What packetdrill calls first.
///
/// # Safety
/// `flags` is nothing or a text that ends with 0, and `interface` points to its structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, interface: *mut Interface) {
    let text = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(flags) }.to_string_lossy().into_owned()
    };
    let userdata = Box::into_raw(Box::new(Shared::new(&text))).cast();
    let table = Interface {
        userdata,
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    };
    // SAFETY: the caller's promise.
    unsafe { interface.write(table) };
}

/// What `packetdrill_interface_init` made.
fn shared<'a>(userdata: *mut c_void) -> &'a Shared {
    // SAFETY: every function gets the pointer that we put in the table, and none is called after `free`, which waits for
    // nobody since packetdrill joins its second thread before.
    unsafe { &*userdata.cast::<Shared>() }
}

/// Bytes of the caller's.
fn bytes<'a>(from: *const c_void, len: usize) -> &'a [u8] {
    if from.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: the caller says that so many bytes are there, as it would to the kernel; they stay until the call returns.
    unsafe { std::slice::from_raw_parts(from.cast(), len) }
}

/// Room of the caller's.
fn room<'a, T>(to: *mut T, len: usize) -> &'a mut [T] {
    if to.is_null() || len == 0 {
        return &mut [];
    }
    // SAFETY: as for `bytes`; nobody else looks there while the call lasts.
    unsafe { std::slice::from_raw_parts_mut(to, len) }
}

fn parts<'a>(list: *const iovec, count: usize) -> &'a mut [iovec] {
    room(list.cast_mut(), count.min(PARTS_MAX))
}

/// The answer of a call: a number, or -1 and `errno`.
fn answer<T: TryInto<i64>>(result: Result<T, Errno>) -> i64 {
    match result {
        Ok(value) => value.try_into().unwrap_or(-1),
        Err(errno) => {
            // SAFETY: the address of this thread's `errno` is always good.
            unsafe { *libc::__errno_location() = errno };
            -1
        }
    }
}

fn done(result: Result<(), Errno>) -> c_int {
    answer(result.map(|()| 0)) as c_int
}

fn address(at: *const sockaddr, len: socklen_t) -> Result<(Ipv4Addr, u16), Errno> {
    if at.is_null() || (len as usize) < size_of::<sockaddr_in>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: there are at least as many bytes as the structure has, and it may stand anywhere.
    let address = unsafe { at.cast::<sockaddr_in>().read_unaligned() };
    if i32::from(address.sin_family) != libc::AF_INET {
        return Err(libc::EAFNOSUPPORT);
    }
    Ok((Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr)), u16::from_be(address.sin_port)))
}

extern "C" fn free(userdata: *mut c_void) {
    // SAFETY: it was made by `packetdrill_interface_init`, and this is its end.
    drop(unsafe { Box::from_raw(userdata.cast::<Shared>()) });
}

extern "C" fn socket(userdata: *mut c_void, domain: c_int, kind: c_int, _protocol: c_int) -> c_int {
    let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
    if domain != libc::AF_INET || kind & 15 != libc::SOCK_STREAM {
        return answer::<i32>(Err(libc::EAFNOSUPPORT)) as c_int;
    }
    answer(shared(userdata).lock().world.socket(Socket { nonblocking, ..Socket::default() })) as c_int
}

extern "C" fn bind(userdata: *mut c_void, fd: c_int, at: *const sockaddr, len: socklen_t) -> c_int {
    done(address(at, len).and_then(|(_, port)| {
        shared(userdata).lock().world.at(fd)?.port = port;
        Ok(())
    }))
}

extern "C" fn listen(userdata: *mut c_void, fd: c_int, _backlog: c_int) -> c_int {
    done(shared(userdata).lock().world.listen(fd))
}

extern "C" fn accept(userdata: *mut c_void, fd: c_int, at: *mut sockaddr, len: *mut socklen_t) -> c_int {
    let accepted = shared(userdata).blocking(fd, false, |world| world.accept(fd));
    if let Ok((_, (peer, port))) = accepted
        && let Some(len) = room(len, 1).first_mut()
        && *len as usize >= size_of::<sockaddr_in>()
    {
        *len = size_of::<sockaddr_in>() as socklen_t;
        let address = sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: peer.to_bits().to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: the caller says that there is room for the structure, which may stand anywhere.
        unsafe { at.cast::<sockaddr_in>().write_unaligned(address) };
    }
    answer(accepted.map(|(fd, _)| fd)) as c_int
}

extern "C" fn connect(userdata: *mut c_void, fd: c_int, at: *const sockaddr, len: socklen_t) -> c_int {
    let shared = shared(userdata);
    let begun = address(at, len).and_then(|to| shared.lock().world.connect(fd, to));
    let nonblocking = shared.lock().world.at(fd).is_ok_and(|socket| socket.nonblocking);
    done(begun.and_then(|()| {
        if nonblocking {
            return Err(libc::EINPROGRESS);
        }
        shared.wait(None, |world| world.connected(fd)).unwrap_or(Err(libc::ETIMEDOUT))
    }))
}

fn receive(userdata: *mut c_void, fd: c_int, to: &mut [u8], flags: c_int) -> ssize_t {
    let (peek, at_once) = (flags & libc::MSG_PEEK != 0, flags & libc::MSG_DONTWAIT != 0);
    let got = shared(userdata).blocking(fd, at_once, |world| world.read(fd, to.len(), peek));
    answer(got.map(|got| {
        to[..got.len()].copy_from_slice(&got);
        got.len()
    })) as ssize_t
}

fn receive_parts(userdata: *mut c_void, fd: c_int, list: &mut [iovec], flags: c_int) -> ssize_t {
    let mut whole = vec![0; list.iter().map(|part| part.iov_len).sum()];
    let got = receive(userdata, fd, &mut whole, flags);
    let mut rest = &whole[..got.max(0) as usize];
    for part in list {
        let (now, later) = rest.split_at(rest.len().min(part.iov_len));
        room(part.iov_base.cast::<u8>(), now.len()).copy_from_slice(now);
        rest = later;
    }
    got
}

fn transmit(userdata: *mut c_void, fd: c_int, from: &[u8], flags: c_int) -> ssize_t {
    if flags & !(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE) != 0 {
        return answer::<i64>(Err(libc::EOPNOTSUPP)) as ssize_t;
    }
    let mut sent = 0;
    let all = shared(userdata).blocking(fd, flags & libc::MSG_DONTWAIT != 0, |world| {
        sent += world.write(fd, &from[sent..])?;
        Ok((sent == from.len()).then_some(sent))
    });
    // What does not block tells how far it came.
    answer(if sent > 0 { Ok(sent) } else { all }) as ssize_t
}

fn transmit_parts(userdata: *mut c_void, fd: c_int, list: &[iovec], flags: c_int) -> ssize_t {
    let whole: Vec<u8> = list.iter().flat_map(|part| bytes(part.iov_base, part.iov_len)).copied().collect();
    transmit(userdata, fd, &whole, flags)
}

extern "C" fn read(userdata: *mut c_void, fd: c_int, to: *mut c_void, len: size_t) -> ssize_t {
    receive(userdata, fd, room(to.cast(), len), 0)
}

extern "C" fn readv(userdata: *mut c_void, fd: c_int, list: *const iovec, count: c_int) -> ssize_t {
    receive_parts(userdata, fd, parts(list, count.max(0) as usize), 0)
}

extern "C" fn recv(userdata: *mut c_void, fd: c_int, to: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    receive(userdata, fd, room(to.cast(), len), flags)
}

extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    to: *mut c_void,
    len: size_t,
    flags: c_int,
    _at: *mut sockaddr,
    _at_len: *mut socklen_t,
) -> ssize_t {
    receive(userdata, fd, room(to.cast(), len), flags)
}

extern "C" fn recvmsg(userdata: *mut c_void, fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(message) = room(message, 1).first_mut() else {
        return answer::<i64>(Err(libc::EFAULT)) as ssize_t;
    };
    message.msg_controllen = 0;
    message.msg_flags = 0;
    receive_parts(userdata, fd, parts(message.msg_iov, message.msg_iovlen), flags)
}

extern "C" fn write(userdata: *mut c_void, fd: c_int, from: *const c_void, len: size_t) -> ssize_t {
    transmit(userdata, fd, bytes(from, len), 0)
}

extern "C" fn writev(userdata: *mut c_void, fd: c_int, list: *const iovec, count: c_int) -> ssize_t {
    transmit_parts(userdata, fd, parts(list, count.max(0) as usize), 0)
}

extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    from: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    transmit(userdata, fd, bytes(from, len), flags)
}

extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    from: *const c_void,
    len: size_t,
    flags: c_int,
    _to: *const sockaddr,
    _to_len: socklen_t,
) -> ssize_t {
    transmit(userdata, fd, bytes(from, len), flags)
}

extern "C" fn sendmsg(userdata: *mut c_void, fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(message) = room(message.cast_mut(), 1).first() else {
        return answer::<i64>(Err(libc::EFAULT)) as ssize_t;
    };
    transmit_parts(userdata, fd, parts(message.msg_iov, message.msg_iovlen), flags)
}

extern "C" fn fcntl(userdata: *mut c_void, fd: c_int, command: c_int, word: c_long) -> c_int {
    let mut state = shared(userdata).lock();
    let result = state.world.at(fd).map(|socket| match command {
        libc::F_SETFL => {
            socket.nonblocking = word & c_long::from(libc::O_NONBLOCK) != 0;
            0
        }
        _ => libc::O_RDWR | if socket.nonblocking { libc::O_NONBLOCK } else { 0 },
    });
    answer(result) as c_int
}

extern "C" fn ioctl(userdata: *mut c_void, fd: c_int, request: c_ulong, to: *mut c_int) -> c_int {
    if request != libc::FIONREAD {
        return done(Err(libc::ENOTTY));
    }
    done(shared(userdata).lock().world.available(fd).map(|len| {
        if let Some(to) = room(to, 1).first_mut() {
            *to = len as c_int;
        }
    }))
}

extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    done(shared(userdata).lock().world.close(fd))
}

extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    let (read, write) = (how != libc::SHUT_WR, how != libc::SHUT_RD);
    done(shared(userdata).lock().world.shutdown(fd, read, write))
}

extern "C" fn getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    to: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let mut state = shared(userdata).lock();
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => state.world.take_error(fd),
        (libc::SOL_TCP, libc::TCP_MAXSEG) => state.world.segment_max(fd),
        _ => Err(libc::ENOPROTOOPT),
    };
    done(value.map(|value| {
        let space = room(len, 1).first_mut();
        if let Some(space) = space.filter(|space| **space as usize >= size_of::<c_int>()) {
            room(to.cast::<u8>(), 4).copy_from_slice(&value.to_ne_bytes());
            *space = 4;
        }
    }))
}

extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    from: *const c_void,
    len: socklen_t,
) -> c_int {
    const SECOND: u64 = 1_000_000_000;
    let word = |at: usize| {
        let word = bytes(from, len as usize).get(at..at + 4).and_then(|word| word.try_into().ok());
        word.map(i32::from_ne_bytes).ok_or(libc::EINVAL)
    };
    let mut state = shared(userdata).lock();
    let set = state.world.at(fd).and_then(|socket| {
        let keep = socket.keep.get_or_insert(KeepAlive {
            idle_ns: 7_200 * SECOND,
            interval_ns: 75 * SECOND,
            probes: 9,
        });
        match (level, name) {
            // Hints, or what is so anyway: every write leaves at once.
            (libc::SOL_SOCKET, libc::SO_REUSEADDR | libc::SO_SNDBUF | libc::SO_RCVBUF)
            | (libc::SOL_TCP, libc::TCP_NODELAY) => {}
            (libc::SOL_SOCKET, libc::SO_LINGER) => socket.abrupt = word(0)? != 0 && word(4)? == 0,
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => socket.keep_alive = word(0)? != 0,
            (libc::SOL_TCP, libc::TCP_KEEPIDLE) => keep.idle_ns = word(0)? as u64 * SECOND,
            (libc::SOL_TCP, libc::TCP_KEEPINTVL) => keep.interval_ns = word(0)? as u64 * SECOND,
            (libc::SOL_TCP, libc::TCP_KEEPCNT) => keep.probes = word(0)? as u8,
            (libc::SOL_TCP, libc::TCP_USER_TIMEOUT) => {
                socket.user_timeout_ns = Some(word(0)? as u64 * 1_000_000).filter(|time_ns| *time_ns > 0);
            }
            _ => return Err(libc::ENOPROTOOPT),
        }
        Ok(())
    });
    done(set.and_then(|()| state.world.agree(fd)))
}

fn end_of(shared: &Shared, timeout_ms: c_int) -> Option<u64> {
    (timeout_ms >= 0).then(|| shared.lock().world.now_ns() + timeout_ms as u64 * 1_000_000)
}

extern "C" fn poll(userdata: *mut c_void, files: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int {
    const ALWAYS: u32 = (libc::POLLERR | libc::POLLHUP) as u32;
    let shared = shared(userdata);
    let files = room(files, count as usize);
    let end_ns = end_of(shared, timeout_ms);
    let ready = shared.wait(end_ns, |world| {
        let mut ready = 0;
        for file in &mut *files {
            let events = world.events(file.fd).unwrap_or(libc::POLLNVAL as u32);
            file.revents = (events & (file.events as u32 | ALWAYS)) as i16;
            ready += c_int::from(file.revents != 0);
        }
        (ready > 0).then_some(ready)
    });
    ready.unwrap_or(0)
}

extern "C" fn netdev_send(userdata: *mut c_void, from: *const c_void, len: size_t) -> c_int {
    let shared = shared(userdata);
    let mut state = shared.lock();
    state.world.receive(bytes(from, len));
    drop(shared.tell(state));
    0
}

extern "C" fn netdev_receive(
    userdata: *mut c_void,
    to: *mut c_void,
    len: *mut size_t,
    at_us: *mut c_longlong,
) -> c_int {
    let shared = shared(userdata);
    let mut state = shared.lock();
    let end_ns = state.world.wait_end_ns();
    let packet = loop {
        if let Some(packet) = state.world.sent() {
            break Some(packet);
        }
        let more = state.world.advance(end_ns);
        state = shared.tell(state);
        if !more {
            break state.world.sent();
        }
    };
    let Some(len) = room(len, 1).first_mut() else { return -1 };
    let Some((packet, left_us)) = packet.filter(|(packet, _)| packet.len() <= *len) else {
        // A packet of no bytes: packetdrill says what it expected, and ends.
        *len = 0;
        return 0;
    };
    room(to.cast::<u8>(), packet.len()).copy_from_slice(&packet);
    *len = packet.len();
    if let Some(at_us) = room(at_us, 1).first_mut() {
        *at_us = left_us;
    }
    0
}

extern "C" fn usleep(userdata: *mut c_void, us: c_uint) -> c_int {
    let shared = shared(userdata);
    let until_ns = shared.lock().world.now_ns() + u64::from(us) * 1_000;
    shared.pass(until_ns);
    0
}

extern "C" fn gettimeofday(userdata: *mut c_void, to: *mut timeval, _zone: *mut c_void) -> c_int {
    let now_us = shared(userdata).clock_us();
    if let Some(to) = room(to, 1).first_mut() {
        *to = timeval { tv_sec: now_us / 1_000_000, tv_usec: now_us % 1_000_000 };
    }
    0
}

extern "C" fn epoll_create(userdata: *mut c_void, _size: c_int) -> c_int {
    let watched = Some(BTreeMap::new());
    answer(shared(userdata).lock().world.socket(Socket { watched, ..Socket::default() })) as c_int
}

extern "C" fn epoll_ctl(
    userdata: *mut c_void,
    epoll: c_int,
    what: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    let mut state = shared(userdata).lock();
    let wanted = room(event, 1).first().map(|event| (event.events, event.u64));
    done(state.world.at(epoll).and_then(|socket| {
        let watched = socket.watched.as_mut().ok_or(libc::EINVAL)?;
        match (what, wanted) {
            // Edges are not told apart from levels.
            (_, Some((events, _))) if events & (libc::EPOLLET | libc::EPOLLONESHOT) as u32 != 0 => {
                Err(libc::EINVAL)
            }
            (libc::EPOLL_CTL_DEL, _) => watched.remove(&fd).map(|_| ()).ok_or(libc::ENOENT),
            (_, Some(wanted)) => {
                watched.insert(fd, wanted);
                Ok(())
            }
            _ => Err(libc::EFAULT),
        }
    }))
}

extern "C" fn epoll_wait(
    userdata: *mut c_void,
    epoll: c_int,
    to: *mut epoll_event,
    most: c_int,
    timeout_ms: c_int,
) -> c_int {
    const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
    let shared = shared(userdata);
    let to = room(to, most.max(0) as usize);
    let end_ns = end_of(shared, timeout_ms);
    let ready = shared.wait(end_ns, |world| {
        let watched = world.at(epoll).ok()?.watched.clone()?;
        let mut ready = 0;
        for (fd, (wanted, word)) in watched {
            let events = world.events(fd).unwrap_or(0) & (wanted | ALWAYS);
            if let Some(place) = to.get_mut(ready).filter(|_| events != 0) {
                *place = epoll_event { events, u64: word };
                ready += 1;
            }
        }
        (ready > 0).then_some(ready as c_int)
    });
    ready.unwrap_or(0)
}

extern "C" fn pipe(_userdata: *mut c_void, _files: *mut c_int) -> c_int {
    done(Err(libc::ENOSYS))
}

extern "C" fn splice(
    _userdata: *mut c_void,
    _from: c_int,
    _from_at: *mut i64,
    _to: c_int,
    _to_at: *mut i64,
    _len: size_t,
    _flags: c_uint,
) -> ssize_t {
    answer::<i64>(Err(libc::ENOSYS)) as ssize_t
}

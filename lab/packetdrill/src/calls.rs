//! What packetdrill calls instead of the kernel. Each takes the caller's pointers first; from there on nothing is unsafe.

use crate::Shared;
use crate::caller::{address, answer, bytes, done, pieces, place, room, rooms, shared, tell_address};
use crate::world::Socket;
use libc::{c_int, c_long, c_longlong, c_uint, c_ulong, c_void, size_t, ssize_t};
use libc::{epoll_event, iovec, msghdr, nfds_t, pollfd, sockaddr, socklen_t, timeval};
use nom_stack::KeepAlive;
use std::collections::BTreeMap;

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn free(userdata: *mut c_void) {
    // SAFETY: it was made by `packetdrill_interface_init`, and this is its end.
    drop(unsafe { Box::from_raw(userdata.cast::<Shared>()) });
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn socket(
    userdata: *mut c_void,
    domain: c_int,
    kind: c_int,
    _protocol: c_int,
) -> c_int {
    let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
    if domain != libc::AF_INET || kind & 15 != libc::SOCK_STREAM {
        return answer::<i32>(Err(libc::EAFNOSUPPORT)) as c_int;
    }
    // SAFETY: the table's promise.
    let shared = unsafe { shared(userdata) };
    answer(shared.lock().world.socket(Socket { nonblocking, ..Socket::default() })) as c_int
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn bind(
    userdata: *mut c_void,
    fd: c_int,
    at: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: the table's promise.
    let (shared, address) = unsafe { (shared(userdata), address(at, len)) };
    done(address.and_then(|(_, port)| {
        shared.lock().world.at(fd)?.port = port;
        Ok(())
    }))
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, _backlog: c_int) -> c_int {
    // SAFETY: the table's promise.
    done(unsafe { shared(userdata) }.lock().world.listen(fd))
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn accept(
    userdata: *mut c_void,
    fd: c_int,
    at: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the table's promise.
    let accepted = unsafe { shared(userdata) }.blocking(fd, false, |world| world.accept(fd));
    if let Ok((_, peer)) = accepted {
        // SAFETY: the table's promise.
        unsafe { tell_address(at, len, peer) };
    }
    answer(accepted.map(|(fd, _)| fd)) as c_int
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    at: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: the table's promise.
    let (shared, address) = unsafe { (shared(userdata), address(at, len)) };
    let begun = address.and_then(|to| shared.lock().world.connect(fd, to));
    let nonblocking = shared.lock().world.at(fd).is_ok_and(|socket| socket.nonblocking);
    done(begun.and_then(|()| {
        if nonblocking {
            return Err(libc::EINPROGRESS);
        }
        shared.wait(None, |world| world.connected(fd)).unwrap_or(Err(libc::ETIMEDOUT))
    }))
}

fn receive(shared: &Shared, fd: c_int, to: &mut [u8], flags: c_int) -> ssize_t {
    let (peek, at_once) = (flags & libc::MSG_PEEK != 0, flags & libc::MSG_DONTWAIT != 0);
    let got = shared.blocking(fd, at_once, |world| world.read(fd, to.len(), peek));
    answer(got.map(|got| {
        to[..got.len()].copy_from_slice(&got);
        got.len()
    })) as ssize_t
}

fn receive_pieces(shared: &Shared, fd: c_int, rooms: Vec<&mut [u8]>, flags: c_int) -> ssize_t {
    let mut whole = vec![0; rooms.iter().map(|room| room.len()).sum()];
    let got = receive(shared, fd, &mut whole, flags);
    let mut rest = &whole[..got.max(0) as usize];
    for room in rooms {
        let (now, later) = rest.split_at(rest.len().min(room.len()));
        room[..now.len()].copy_from_slice(now);
        rest = later;
    }
    got
}

fn transmit(shared: &Shared, fd: c_int, from: &[u8], flags: c_int) -> ssize_t {
    if flags & !(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE) != 0 {
        return answer::<i64>(Err(libc::EOPNOTSUPP)) as ssize_t;
    }
    let mut sent = 0;
    let all = shared.blocking(fd, flags & libc::MSG_DONTWAIT != 0, |world| {
        sent += world.write(fd, &from[sent..])?;
        Ok((sent == from.len()).then_some(sent))
    });
    // What does not block tells how far it came.
    answer(if sent > 0 { Ok(sent) } else { all }) as ssize_t
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn read(userdata: *mut c_void, fd: c_int, to: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, to) = unsafe { (shared(userdata), room(to.cast(), len)) };
    receive(shared, fd, to, 0)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn readv(
    userdata: *mut c_void,
    fd: c_int,
    list: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, rooms) = unsafe { (shared(userdata), rooms(list, count.max(0) as usize)) };
    receive_pieces(shared, fd, rooms, 0)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    to: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, to) = unsafe { (shared(userdata), room(to.cast(), len)) };
    receive(shared, fd, to, flags)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    to: *mut c_void,
    len: size_t,
    flags: c_int,
    _at: *mut sockaddr,
    _at_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, to) = unsafe { (shared(userdata), room(to.cast(), len)) };
    receive(shared, fd, to, flags)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn recvmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, message) = unsafe { (shared(userdata), place(message)) };
    let Some(message) = message else { return answer::<i64>(Err(libc::EFAULT)) as ssize_t };
    message.msg_controllen = 0;
    message.msg_flags = 0;
    // SAFETY: the table's promise.
    let rooms = unsafe { rooms(message.msg_iov, message.msg_iovlen) };
    receive_pieces(shared, fd, rooms, flags)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn write(
    userdata: *mut c_void,
    fd: c_int,
    from: *const c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, from) = unsafe { (shared(userdata), bytes(from, len)) };
    transmit(shared, fd, from, 0)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn writev(
    userdata: *mut c_void,
    fd: c_int,
    list: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, pieces) = unsafe { (shared(userdata), pieces(list, count.max(0) as usize)) };
    transmit(shared, fd, &pieces.concat(), 0)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    from: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, from) = unsafe { (shared(userdata), bytes(from, len)) };
    transmit(shared, fd, from, flags)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    from: *const c_void,
    len: size_t,
    flags: c_int,
    _to: *const sockaddr,
    _to_len: socklen_t,
) -> ssize_t {
    // SAFETY: the table's promise.
    let (shared, from) = unsafe { (shared(userdata), bytes(from, len)) };
    transmit(shared, fd, from, flags)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn sendmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the table's promise; nothing is written there.
    let (shared, message) = unsafe { (shared(userdata), place(message.cast_mut())) };
    let Some(message) = message else { return answer::<i64>(Err(libc::EFAULT)) as ssize_t };
    // SAFETY: the table's promise.
    let pieces = unsafe { pieces(message.msg_iov, message.msg_iovlen) };
    transmit(shared, fd, &pieces.concat(), flags)
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn fcntl(userdata: *mut c_void, fd: c_int, command: c_int, word: c_long) -> c_int {
    // SAFETY: the table's promise.
    let mut state = unsafe { shared(userdata) }.lock();
    let result = state.world.at(fd).map(|socket| match command {
        libc::F_SETFL => {
            socket.nonblocking = word & c_long::from(libc::O_NONBLOCK) != 0;
            0
        }
        _ => libc::O_RDWR | if socket.nonblocking { libc::O_NONBLOCK } else { 0 },
    });
    answer(result) as c_int
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn ioctl(userdata: *mut c_void, fd: c_int, request: c_ulong, to: *mut c_int) -> c_int {
    if request != libc::FIONREAD {
        return done(Err(libc::ENOTTY));
    }
    // SAFETY: the table's promise.
    let (shared, to) = unsafe { (shared(userdata), place(to)) };
    done(shared.lock().world.available(fd).map(|len| {
        if let Some(to) = to {
            *to = len as c_int;
        }
    }))
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    // SAFETY: the table's promise.
    done(unsafe { shared(userdata) }.lock().world.close(fd))
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    let (read, write) = (how != libc::SHUT_WR, how != libc::SHUT_RD);
    // SAFETY: the table's promise.
    done(unsafe { shared(userdata) }.lock().world.shutdown(fd, read, write))
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    to: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the table's promise.
    let (shared, len) = unsafe { (shared(userdata), place(len)) };
    let mut state = shared.lock();
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => state.world.take_error(fd),
        (libc::SOL_TCP, libc::TCP_MAXSEG) => state.world.segment_max(fd),
        _ => Err(libc::ENOPROTOOPT),
    };
    done(value.map(|value| {
        if let Some(len) = len.filter(|len| **len as usize >= size_of::<c_int>()) {
            // SAFETY: the table's promise; as many bytes are there as `len` says.
            let to: &mut [u8] = unsafe { room(to.cast(), size_of::<c_int>()) };
            to.copy_from_slice(&value.to_ne_bytes()[..to.len()]);
            *len = to.len() as socklen_t;
        }
    }))
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    from: *const c_void,
    len: socklen_t,
) -> c_int {
    const SECOND: u64 = 1_000_000_000;
    // SAFETY: the table's promise.
    let (shared, from) = unsafe { (shared(userdata), bytes(from, len as usize)) };
    let word = |at: usize| {
        let word = from.get(at..at + 4).and_then(|word| word.try_into().ok());
        word.map(i32::from_ne_bytes).ok_or(libc::EINVAL)
    };
    let mut state = shared.lock();
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

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn poll(
    userdata: *mut c_void,
    files: *mut pollfd,
    count: nfds_t,
    timeout_ms: c_int,
) -> c_int {
    const ALWAYS: u32 = (libc::POLLERR | libc::POLLHUP) as u32;
    // SAFETY: the table's promise.
    let (shared, files) = unsafe { (shared(userdata), room(files, count as usize)) };
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

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn netdev_send(userdata: *mut c_void, from: *const c_void, len: size_t) -> c_int {
    // SAFETY: the table's promise.
    let (shared, packet) = unsafe { (shared(userdata), bytes(from, len)) };
    let mut state = shared.lock();
    state.world.receive(packet);
    drop(shared.tell(state));
    0
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn netdev_receive(
    userdata: *mut c_void,
    to: *mut c_void,
    len: *mut size_t,
    at_us: *mut c_longlong,
) -> c_int {
    // SAFETY: the table's promise.
    let (shared, len, at_us) = unsafe { (shared(userdata), place(len), place(at_us)) };
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
    let Some(len) = len else { return -1 };
    let Some((packet, left_us)) = packet.filter(|(packet, _)| packet.len() <= *len) else {
        // A packet of no bytes: packetdrill says what it expected, and ends.
        *len = 0;
        return 0;
    };
    // SAFETY: the table's promise; as many bytes are there as `len` says, and it says enough.
    let to: &mut [u8] = unsafe { room(to.cast(), packet.len()) };
    to.copy_from_slice(&packet[..to.len()]);
    *len = to.len();
    if let Some(at_us) = at_us {
        *at_us = left_us;
    }
    0
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn usleep(userdata: *mut c_void, us: c_uint) -> c_int {
    // SAFETY: the table's promise.
    let shared = unsafe { shared(userdata) };
    let until_ns = shared.lock().world.now_ns() + u64::from(us) * 1_000;
    shared.pass(until_ns);
    0
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn gettimeofday(userdata: *mut c_void, to: *mut timeval, _zone: *mut c_void) -> c_int {
    // SAFETY: the table's promise.
    let (shared, to) = unsafe { (shared(userdata), place(to)) };
    let now_us = shared.clock_us();
    if let Some(to) = to {
        *to = timeval { tv_sec: now_us / 1_000_000, tv_usec: now_us % 1_000_000 };
    }
    0
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn epoll_create(userdata: *mut c_void, _size: c_int) -> c_int {
    let watched = Some(BTreeMap::new());
    // SAFETY: the table's promise.
    let shared = unsafe { shared(userdata) };
    answer(shared.lock().world.socket(Socket { watched, ..Socket::default() })) as c_int
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn epoll_ctl(
    userdata: *mut c_void,
    epoll: c_int,
    what: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: the table's promise.
    let (shared, event) = unsafe { (shared(userdata), place(event)) };
    let mut state = shared.lock();
    let wanted = event.map(|event| (event.events, event.u64));
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

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn epoll_wait(
    userdata: *mut c_void,
    epoll: c_int,
    to: *mut epoll_event,
    most: c_int,
    timeout_ms: c_int,
) -> c_int {
    const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
    // SAFETY: the table's promise.
    let (shared, to) = unsafe { (shared(userdata), room(to, most.max(0) as usize)) };
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

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn pipe(_userdata: *mut c_void, _files: *mut c_int) -> c_int {
    done(Err(libc::ENOSYS))
}

/// # Safety
/// The table's promise.
pub unsafe extern "C" fn splice(
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

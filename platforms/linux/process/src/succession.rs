//! A hot restart: this process becomes its successor (the program that lies at its path then), which goes on with the
//! device, the contents and the connections. Clients notice a pause.
//!
//! What is handed over lies in memory that belongs to nobody's file, and is gone once it was read:
//!
//! ```text
//! "nom succession 1\n"  length (8)  contents  connections (4), each: length (4)  stack's part  length (4)  application's part
//! ```

use crate::arguments::Inherited;
use nom_service::worker::Moved;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const MAGIC: &[u8] = b"nom succession 1\n";

/// The program that a restart starts.
#[derive(Debug, Clone)]
pub struct OwnProgram {
    path: PathBuf,
    words: Vec<OsString>,
}

impl OwnProgram {
    /// Ours. Found out at the start: later another one may lie at its path, which is what a restart is for.
    pub fn own() -> io::Result<Self> {
        Ok(Self { path: env::current_exe()?, words: env::args_os().skip(1).collect() })
    }

    /// Whether it can be started, while there is time to go on without.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", self.path.display());
        let found = self.path.metadata().map_err(|error| wrong(&error))?;
        let can_be_run = found.is_file() && found.permissions().mode() & 0o111 != 0;
        if can_be_run { Ok(()) } else { Err(wrong(&"this is no program")) }
    }
}

/// Writes what an application has, part by part.
pub type Contents<'a> = &'a dyn Fn(&mut dyn FnMut(&[u8]));

/// What the successor of a core gets.
#[derive(Debug)]
pub struct Left {
    /// The queue of the device, open.
    pub queue: OwnedFd,
    /// What was served, and the connections.
    state: OwnedFd,
}

impl Left {
    /// Writes it down.
    pub fn write(queue: OwnedFd, contents: Contents<'_>, moved: &[Moved]) -> io::Result<Self> {
        Ok(Self { queue, state: write(contents, moved)? })
    }
}

/// Becomes the successor, with what each core leaves and the place where the host connects. Only comes back when that
/// failed.
pub fn become_successor(program: &OwnProgram, listener: OwnedFd, cores: &[Left]) -> String {
    let failed = |error: io::Error| format!("the restart failed, and with it the connections: {error}");
    let all = cores.iter().flat_map(|left| [&left.queue, &left.state]);
    for descriptor in all.chain([&listener]) {
        if let Err(error) = fcntl_setfd(descriptor, FdFlags::empty()) {
            return failed(error.into());
        }
    }
    let inherited = Inherited {
        listener: listener.as_raw_fd(),
        cores: cores.iter().map(|left| (left.queue.as_raw_fd(), left.state.as_raw_fd())).collect(),
    };
    let mut command = Command::new(&program.path);
    command.args(Inherited::without(&program.words)).arg(inherited.word());
    failed(command.exec())
}

fn write(contents: Contents<'_>, moved: &[Moved]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("nom succession", MemfdFlags::CLOEXEC)?);
    let mut out = BufWriter::with_capacity(1 << 20, &mut file);
    out.write_all(MAGIC)?;
    out.write_all(&[0; 8])?;
    let (mut len, mut result) = (0u64, Ok(()));
    contents(&mut |part: &[u8]| {
        len += part.len() as u64;
        if result.is_ok() {
            result = out.write_all(part);
        }
    });
    result?;
    out.write_all(&(moved.len() as u32).to_le_bytes())?;
    for Moved { connection, state } in moved {
        for part in [connection, state] {
            out.write_all(&(part.len() as u32).to_le_bytes())?;
            out.write_all(part)?;
        }
    }
    out.flush()?;
    drop(out);
    file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    file.write_all(&len.to_le_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// What a predecessor left.
pub struct Predecessor {
    /// Where the host connects.
    pub listener: UnixListener,
    /// Queues of the device, open, one a core.
    pub queues: Vec<OwnedFd>,
    /// What each core left.
    pub states: Vec<State>,
}

/// What one core left.
pub struct State(Vec<u8>);

impl Predecessor {
    /// Takes over what the command line names.
    pub fn inherit(inherited: Inherited) -> Result<Self, String> {
        let take = |number| {
            nom_tap::inherit(number)
                .map_err(|error| format!("--successor is for a process that restarts itself ({error})"))
        };
        let listener = UnixListener::from(take(inherited.listener)?);
        let (mut queues, mut states) = (Vec::new(), Vec::new());
        for (queue, state) in inherited.cores {
            queues.push(take(queue)?);
            let mut bytes = Vec::new();
            let mut state = File::from(take(state)?);
            state.read_to_end(&mut bytes).map_err(|error| format!("the predecessor's state: {error}"))?;
            states.push(State(bytes));
        }
        Ok(Self { listener, queues, states })
    }
}

impl State {
    /// What the application had, as it wrote it, and the connections.
    pub fn read(&self) -> Result<(&[u8], Vec<Moved>), String> {
        parse(&self.0).ok_or_else(|| "the predecessor's state is not one of this version".into())
    }
}

fn parse(bytes: &[u8]) -> Option<(&[u8], Vec<Moved>)> {
    fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (len, after) = rest.split_first_chunk()?;
        let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        *rest = after;
        Some(part)
    }
    let (len, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (contents, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut moved = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        moved.push(Moved { connection: word(&mut rest)?.to_vec(), state: word(&mut rest)?.to_vec() });
    }
    rest.is_empty().then_some((contents, moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let moved = vec![
            Moved { connection: b"one".to_vec(), state: Vec::new() },
            Moved { connection: Vec::new(), state: b"two".to_vec() },
        ];
        let contents = |write: &mut dyn FnMut(&[u8])| {
            write(b"con");
            write(b"tents");
        };
        let mut file = File::from(write(&contents, &moved).unwrap());
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(parse(&bytes), Some((&b"contents"[..], moved)));
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None, "cut at {len}");
        }
        bytes.push(0);
        assert_eq!(parse(&bytes), None);
    }
}

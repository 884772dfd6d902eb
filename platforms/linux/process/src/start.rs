//! What a process does before it serves: reads its configuration, opens its management socket, listens for signals.

use nom_service::configuration::{Configuration, LEN_MAX, PriceSource};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Whoever started this process is the one who ends it; when that one is gone, so is this.
pub fn die_with_parent() -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).map_err(text)
}

/// Reads a configuration. A Linux process never asks for prices itself: `priced` does, and writes the board.
pub fn read_configuration(path: &Path) -> Result<Configuration, String> {
    let text = read_text(path)?;
    let mut configuration =
        Configuration::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    configuration.prices = PriceSource::Board;
    Ok(configuration)
}

/// Reads a configuration's text; more than the longest is not read.
pub fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LEN_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text)
}

/// The management socket. One that an earlier process left is replaced; what is no socket is somebody's file.
pub fn listen(path: &Path) -> Result<UnixListener, String> {
    if UnixStream::connect(path).is_ok() {
        return Err(format!("{} is in use: another process serves there", path.display()));
    }
    if fs::symlink_metadata(path).is_ok_and(|known| known.file_type().is_socket()) {
        let _ = fs::remove_file(path);
    }
    UnixListener::bind(path).map_err(|error| format!("cannot listen on {}: {error}", path.display()))
}

/// SIGTERM and SIGINT as a flag, and as bytes in a socket, which wake a sleeper.
pub fn stop_signals(asked: &Arc<AtomicBool>) -> std::io::Result<UnixStream> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    signals(&[(SIGTERM, asked), (SIGINT, asked)])
}

/// The same, and SIGUSR2 for a restart.
pub fn stop_and_restart_signals(
    asked: &Arc<AtomicBool>,
    restart: &Arc<AtomicBool>,
) -> std::io::Result<UnixStream> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR2};
    signals(&[(SIGTERM, asked), (SIGINT, asked), (SIGUSR2, restart)])
}

fn signals(flags: &[(i32, &Arc<AtomicBool>)]) -> std::io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    for (signal, flag) in flags {
        signal_hook::flag::register(*signal, Arc::clone(flag))?;
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// Tells whoever started us where we are. Nobody has to listen.
pub fn say_ready(port: u16) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready port={port}").and_then(|()| out.flush());
}

/// An error in words.
pub fn text(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_replaced_and_a_file_is_not() {
        let path = std::env::temp_dir().join(format!("nom-start-{}", std::process::id()));
        let first = listen(&path).unwrap();
        assert!(listen(&path).unwrap_err().contains("is in use"));
        drop(first);
        drop(listen(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "of somebody").unwrap();
        assert!(listen(&path).unwrap_err().contains("cannot listen"));
        assert_eq!(fs::read(&path).unwrap(), b"of somebody");
        fs::remove_file(&path).unwrap();
    }
}

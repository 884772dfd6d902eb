//! The daemon under test, which leaves neither a process nor a folder behind, also when a test fails half way.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running daemon with its board in a folder of its own.
pub struct Daemon {
    pub child: Child,
    place: PathBuf,
}

impl Daemon {
    /// Starts it for prices as the arguments say.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let place = std::env::temp_dir().join(format!("nom-priced-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_nom-priced-linux"))
            .args(arguments)
            .arg("--board")
            .arg(place.join("board"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, place }
    }

    /// The file of its board.
    pub fn board(&self) -> PathBuf {
        self.place.join("board")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

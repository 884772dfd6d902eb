//! Linux itself runs the program: what a guest is compared with.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

#[test]
fn linux_runs_it() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("linux-program-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path).unwrap();
    file.write_all(nom_linux_program::FILE).unwrap();
    drop(file);
    let output = Command::new(&path).output();
    std::fs::remove_file(&path).unwrap();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), nom_linux_program::OUTPUT);
    assert_eq!(output.status.code(), Some(i32::from(nom_linux_program::CODE)));
}

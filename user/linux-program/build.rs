//! Compiles `program.c` with the system's own C compiler, which every machine has that links Rust: a static file for
//! Linux, without any library. The same compiler makes the same bytes.

use std::path::PathBuf;
use std::process::Command;

/// Far from where our own applications lie (`user/runtime/application.ld`).
const PLACE: &str = "-Wl,-Ttext-segment=0x10000000";

fn main() {
    println!("cargo:rerun-if-changed=program.c");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names the folder")).join("program");
    let status = Command::new(&compiler)
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-ffreestanding"])
        .args(["-fno-stack-protector", "-fno-pie", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"])
        .args(["-static", "-no-pie", "-nostdlib", "-s", "-Wl,--build-id=none", "-Wl,-z,noexecstack", PLACE])
        .args(["-Wl,-z,separate-code", "-Wl,-z,max-page-size=4096", "program.c", "-o"])
        .arg(&output)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => panic!("{compiler} could not compile program.c (see above)"),
        Err(error) => panic!("cannot start {compiler}: {error}; install a C compiler, or name one in CC"),
    }
}

//! Links the kernel: static, at fixed addresses, by `kernel.ld`, without Linux' start code.

fn main() {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package");
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    // Precompiled code names the unwinder's routine in tables that the script drops: nothing unwinds here.
    println!("cargo:rustc-link-arg-bins=-Wl,--defsym=rust_eh_personality=0");
    println!("cargo:rustc-link-arg-bins=-Wl,-z,max-page-size=4096");
    println!("cargo:rustc-link-arg-bins=-T{package}/kernel.ld");
    println!("cargo:rerun-if-changed=kernel.ld");
    println!("cargo:rerun-if-changed=build.rs");
}

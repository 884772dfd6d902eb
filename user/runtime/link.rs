//! The build script of every image that runs in ring 3 of a guest (`build = "../../user/runtime/link.rs"` in its
//! manifest): links a static file without Linux' start code, laid out by `application.ld`.

fn main() {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package");
    let script = format!("{package}/../../user/runtime/application.ld");
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-s"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    // Precompiled code names the unwinder's routines, in tables that the script drops and in paths that only an
    // unwinder takes: nothing unwinds here.
    for routine in ["rust_eh_personality", "_Unwind_Resume"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--defsym={routine}=0");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-z,max-page-size=4096");
    println!("cargo:rustc-link-arg-bins=-T{script}");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-changed=../../user/runtime/link.rs");
}

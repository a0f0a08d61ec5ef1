//! Bounds the module's memory: what a hostile artifact or request can take is decided here, not by its host.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("wasm32") {
        // 256 MiB, in bytes; an encoder takes 32 while it is loaded.
        println!("cargo::rustc-link-arg-cdylib=--max-memory=268435456");
    }
}

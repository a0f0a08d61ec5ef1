//! How the library is linked: small on Linux, with names left to the server on macOS.

fn main() {
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    match (target("OS").as_str(), target("ARCH").as_str()) {
        // Equal functions once. The compiler brings the linker that can on this target alone.
        ("linux", "x86_64") => println!("cargo:rustc-link-arg=-Wl,--icf=all"),
        ("macos", _) => println!("cargo:rustc-link-arg=-Wl,-undefined,dynamic_lookup"),
        _ => {}
    }
}

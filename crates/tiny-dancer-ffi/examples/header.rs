//! Prints the header that `include/tiny_dancer.h` has to be: `make c-header` writes it, a test compares.

fn main() {
    let crate_folder = env!("CARGO_MANIFEST_DIR");
    let config = cbindgen::Config::from_file(format!("{crate_folder}/cbindgen.toml")).expect("a sound file");
    let bindings = cbindgen::Builder::new().with_crate(crate_folder).with_config(config).generate();
    bindings.expect("sources that can be read").write(std::io::stdout());
}

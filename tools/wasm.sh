#!/bin/sh
# wasm.sh PROFILE FEATURE NAME [CARGO'S ARGUMENTS]: builds one module into crates/tiny-dancer-wasm/js.
#
# wasm-opt makes it a tenth smaller where `make wasm-tools` has installed it; without it the module is as the compiler gives it.
set -eu
profile=$1 feature=$2 name=$3
shift 3
crate=crates/tiny-dancer-wasm
# A folder a module: in one, each build would throw away the others' dependencies.
target=${CARGO_TARGET_DIR:-target}/${name%.wasm}
CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=$feature" CARGO_TARGET_DIR=$target \
    cargo build --quiet --locked --profile "$profile" --package tiny-dancer-wasm --target wasm32-unknown-unknown "$@"
built=$target/wasm32-unknown-unknown/$profile/tiny_dancer_wasm.wasm
optimiser=$crate/development/node_modules/.bin/wasm-opt
[ -x "$optimiser" ] || optimiser=$(command -v wasm-opt || true)
if [ "$crate/js/$name" -nt "$built" ] && { [ -z "$optimiser" ] || ! cmp -s "$built" "$crate/js/$name"; }; then
    exit 0
fi
if [ -n "$optimiser" ]; then
    # For speed a function with one caller stays a function: V8 keeps nothing in registers in one that holds all others.
    apart=""
    [ "$profile" != edge ] || apart=--one-caller-inline-max-function-size=10
    "$optimiser" --mvp-features --enable-bulk-memory --enable-bulk-memory-opt --enable-mutable-globals --enable-sign-ext \
        --enable-nontrapping-float-to-int --enable-reference-types --enable-multivalue \
        "--$([ "$feature" = +simd128 ] && echo enable || echo disable)-simd" \
        -Oz $apart --strip-debug --strip-producers --strip-target-features "$built" -o "$crate/js/$name"
else
    cp "$built" "$crate/js/$name"
    echo "$name: $(wc -c < "$built") bytes, without wasm-opt (make wasm-tools)"
fi
touch "$crate/js/$name"

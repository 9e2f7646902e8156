# What developers run: `just RECIPE` (https://just.systems). CONTRIBUTING.md explains the test lanes.

# Lists the recipes.
default:
    @just --list --unsorted

# Fetches the dependencies and installs the optional checkers.
setup:
    cargo fetch --locked
    cargo install --locked cargo-deny typos-cli

# Checks format, lints, documentation, spelling and dependencies.
check:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    if command -v typos >/dev/null; then typos; fi
    if command -v cargo-deny >/dev/null; then cargo deny check; fi

# Runs the lints and every test that needs no server.
test *ARGS:
    tests/run --quick {{ ARGS }}

# Runs everything; installs or names what is missing.
test-servers *ARGS:
    tests/run {{ ARGS }}

# Runs the benchmarks of docs/benchmarks.md: `just bench mirror --quick`.
bench NAME="mirror" *ARGS:
    cargo bench --bench {{ NAME }} -- {{ ARGS }}

//! cargo xtask demo | test | bench: sets up the machine, builds and runs. No dependencies.

fn main() {}

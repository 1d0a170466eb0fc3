//! biotrust: the command line for technicians.

fn main() {}

//! For tests, benches and fuzz seeds: makes good evidence, and lets one thing in it be wrong.

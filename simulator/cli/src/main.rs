//! biosim: virtual devices, their controls, and the demo of the whole main job.

fn main() {}

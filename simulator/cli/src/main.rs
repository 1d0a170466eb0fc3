//! biosim: virtual devices, their controls, and the demo of the whole main job.

mod agent;
mod args;
mod control;
mod demo;
mod files;
mod interrupt;
mod jsonlines;
mod pki;
mod profile;

fn main() {}

//! biosim: virtual devices, their controls, and the demo of the whole main job.

mod agent;
mod args;
mod control;
mod ctl;
mod demo;
mod files;
mod hardware;
mod interrupt;
mod jsonlines;
mod lab;
mod management;
mod metadata;
mod mgmt;
mod pki;
mod process;
mod profile;
mod replay;
mod say;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let outcome = match args::Cli::parse().command {
        args::Command::Demo(args) => demo::run(&args),
        args::Command::Serve(args) => serve::run(&args),
        args::Command::Hardware(args) => hardware::run(&args),
        args::Command::Replay(args) => replay::run(&args),
        args::Command::Ctl(args) => ctl::run(args).map(|answer| {
            say::result(answer);
            ExitCode::SUCCESS
        }),
        args::Command::Mgmt(args) => mgmt::run(args),
    };
    outcome.unwrap_or_else(|error| {
        say::complaint(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

//! Everything that is tested from outside: the built program, as a person would use it, and the
//! shape of the source.

#![expect(clippy::unwrap_used, reason = "a test says what it means by failing")]
#![expect(clippy::print_stderr, reason = "a test says what it could not do and how far it went")]

mod architecture;
mod command_line;
mod crash;
mod damage;
mod exports;
#[cfg(feature = "cuda")]
mod gpus;
mod identity_of_results;
mod lanes;
mod measurements;
mod memory;
mod onlookers;
mod parity;
mod ranks;
mod report;
mod sandbox;
mod signals;
mod slots;
mod slurm;
mod throughput;

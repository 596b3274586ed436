//! The target `session` for cargo-fuzz; what it does is in the library.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::within_the_limit(fuzz::session, data));

#[cfg(not(fuzzing))]
fn main() {}

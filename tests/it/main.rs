//! The one integration binary: a file here is a module of it, so that the tests are linked once.
//!
//! `tidy` fails when a file of this folder is not named below; a test that nobody runs is worse than none.

mod bad_input;
mod check;
mod commands;
mod config;
mod contracts;
mod cuts;
mod db;
#[path = "../support/direct.rs"]
mod direct;
mod doctor;
mod edits;
mod examples;
mod explain;
mod fleet;
mod inspect;
mod interleavings;
mod keys;
mod lan;
mod manners;
mod new_channel;
mod operator;
mod orders;
mod people;
mod read;
mod reload;
mod scaffold;
mod scenario;
mod serve;
mod source;
mod survive;
mod tidy;
mod tour;
mod types;
mod wire;

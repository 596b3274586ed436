//! The map of the house. `ARCHITECTURE.md` has the walks through it; `tests/it/tidy.rs` checks who may import whom.
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | [`clock`], [`telemetry`], [`tasks`], [`limits`]; [`catalog`], [`rule`], [`config`], [`scaffold`], [`client`] |
//! | 1 | [`store`], [`backend`] |
//! | 2 | [`identity`], [`live`] |
//! | 3 | [`sync`], [`push`] |
//! | 4 | [`admin`] |
//! | 5 | [`http`] |
//! | 6 | [`server`] |
//! | 7 | [`simulate`], [`cli`] |
//!
//! `planted`, on floor 0, is only there with the feature of its name, which nothing that ships has.

pub mod admin;
pub mod backend;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod http;
pub mod identity;
pub mod limits;
pub mod live;
#[cfg(feature = "planted")]
pub mod planted;
pub mod push;
pub mod rule;
pub mod scaffold;
pub mod server;
pub mod simulate;
pub mod store;
pub mod sync;
pub mod tasks;
pub mod telemetry;

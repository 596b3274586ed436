//! The wire between an OpenMobster device and its server.
//!
//! This crate holds what both sides must agree on, and nothing else: identifiers ([`ids`]), the closed list of field
//! types and their canonical values ([`value`]), the schema of a channel as a device sees it ([`schema`]), mutations and
//! receipts ([`mutation`]), the frames of a session ([`frame`]), the HTTP bodies around it ([`api`], [`admin`],
//! [`inspect`]) and the row hash ([`hash`]).
//!
//! *Invariant:* no I/O, no clock, no randomness. `docs/protocol.md` is the specification for people who write a client
//! in another language; `crates/protocol/vectors/` has golden vectors for them, and `tests/vectors.rs` keeps them true.

pub mod admin;
pub mod api;
pub mod frame;
pub mod hash;
pub mod ids;
pub mod inspect;
mod json_text;
pub mod mutation;
pub mod pin;
pub mod schema;
pub mod value;

pub use frame::{Down, Up};
pub use hash::{RowHash, ScopeSum, SliceSums, SumsDigest};
pub use ids::*;
pub use json_text::{DEPTH_MAX, depth_is_allowed};
pub use mutation::{ATOMIC_MUTATIONS_MAX, Fields, Mutation, Operation, Outcome, Part, Receipt};
pub use schema::{AssignedBy, ChannelSchema, Field, KeyColumn, KeyRule, Policy};
pub use value::{FieldType, Scalar, Value, ValueError};

/// The protocol version that this crate speaks; `hello` and `welcome` carry it.
pub const PROTOCOL: u32 = 1;

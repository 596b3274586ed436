//! The OpenMobster client library: an app's own SQLite file, kept in step with a server.
//!
//! An app reads and writes ordinary typed tables, online or offline, with plain SQL. Triggers keep every write as a
//! *capture*; the engine seals captures into numbered mutations, sends them, and applies what the server sends back.
//!
//! - [`store`]: the file. Everything that reads or writes SQLite on behalf of the engine.
//! - [`engine`]: events in, actions out; no socket, no thread, no clock of its own.
//! - `mobster` (feature `http`): what an app opens: threads, HTTP and WebSocket around the two above.
//! - `tls` (feature `http`): servers that are known by a pin.
//!
//! *Invariant:* no server crate is a dependency of this one.

pub mod engine;
pub mod entropy;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
pub mod mobster;
#[cfg(feature = "planted")]
mod planted;
pub mod store;
#[cfg(feature = "http")]
pub mod tls;

pub use engine::{Action, ConnectionState, Engine, Event, Greeting, Heard, Trust};
pub use entropy::Entropy;
#[cfg(feature = "http")]
pub use mobster::{Credentials, KeyFile, KeyStore, LiveQuery, Mobster, MobsterError, Rows, Saved};
pub use store::{Answer, Audit, Lock, Rejected, Stats, Store, StoreError, StoreOptions, Write};

//! What the developer declared: `openmobster.yaml`, `channels/`, `seed/` and `scenarios/`, as pure data with positions.
//!
//! [`load()`] reads a folder into a [`Catalog`] or into all its [`Diagnostic`]s at once. This room knows the shape of the
//! files and nothing of rules' meaning, backends or the store: a scope expression is kept as written ([`ScopeDecl`]),
//! with the place where it stands, and `live` hands it to `rule`.
//!
//! *Invariant:* reads files below the project root, those that `${file:…}` names, and nothing else. A secret's value is
//! never in a diagnostic.

mod channel;
mod edit;
mod editor;
mod field;
mod keys;
mod load;
mod model;
pub mod near;
mod project;
mod read;
mod scenario;
mod scope;
mod secret;
mod seed;
mod syntax;
#[cfg(test)]
mod tests;
mod written;
mod yaml;

pub use channel::can_be_key;
pub use edit::{scalar, with_sqlite_backend};
pub use editor::{SCHEMA_DIR, schemas, wants_schemas};
pub use field::is_field_name;
pub use load::{CHANNELS_DIR, judge_channel, load, read_channel};
pub use model::*;
pub use near::{hint as near_hint, nearest};
pub use project::PROJECT_FILE;
pub use scenario::{SCENARIOS_DIR, is_scenario_name};
pub use secret::has_literal_password;
pub use seed::SEED_DIR;
pub use written::{Written, written};

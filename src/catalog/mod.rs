//! What the developer declared: `openmobster.yaml` and `channels/*.yaml`, as pure data with positions.
//!
//! [`load()`] reads a folder into a [`Catalog`] or into all its [`Diagnostic`]s at once. This room knows the shape of the
//! files and nothing of rules' meaning, backends or the store: a scope expression is kept as written ([`ScopeDecl`]),
//! with the place where it stands, and `live` hands it to `rule`.
//!
//! *Invariant:* reads files below the project root, those that `${file:…}` names, and nothing else. A secret's value is
//! never in a diagnostic.

mod channel;
mod edit;
mod field;
mod load;
mod model;
pub mod near;
mod project;
mod read;
mod scope;
mod secret;
mod seed;
#[cfg(test)]
mod tests;
mod written;
mod yaml;

pub use edit::{scalar, with_sqlite_backend};
pub use field::is_field_name;
pub use load::{CHANNELS_DIR, load};
pub use model::*;
pub use near::{hint as near_hint, nearest};
pub use project::PROJECT_FILE;
pub use seed::SEED_DIR;
pub use written::{Written, written};

//! What `omctl doctor` asks about a server's surroundings: its store, its port, each of its backends.
//!
//! *Invariant:* looks only. Nothing is created, locked or migrated.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

pub use crate::store::health::{Examined, sqlite_version};

use super::{STORE_FILE, ServerError, open_backend};
use crate::backend::{Backend, BackendError};
use crate::catalog::BackendDecl;
use crate::store;

/// The shape of the store that this binary reads and writes.
pub const STORE_SCHEMA: i64 = store::SCHEMA;

/// The store of a data directory; `None` where there is none yet.
///
/// # Errors
/// [`ServerError::Newer`], [`ServerError::Store`].
pub fn examine_store(data_dir: &Path) -> Result<Option<Examined>, ServerError> {
    let path = data_dir.join(STORE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(store::health::examine(&path)?))
}

/// Whether a server could listen there now.
///
/// # Errors
/// What the system says.
pub fn try_port(addr: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(addr).map(drop)
}

/// Opens one backend of the project.
///
/// # Errors
/// Those of opening it.
pub fn backend(name: &str, decl: &BackendDecl) -> Result<Arc<dyn Backend>, BackendError> {
    open_backend(name, decl)
}

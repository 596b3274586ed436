//! Leases: locks that other rooms (and, one day, other nodes) rely on. Each new holder gets a higher token.

use rusqlite::{OptionalExtension as _, named_params};

use super::{Store, StoreError, sqlite_error};

/// A held lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Rises with each new holder; whoever writes under a lease names it.
    pub token: u64,
}

impl Store {
    /// Takes or renews a lease for this many milliseconds; `None` while somebody else holds it.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn lease(&self, name: &str, holder: &str, ttl_ms: i64) -> Result<Option<Lease>, StoreError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.writer
            .run(move |state, connection| {
                const SELECT: &str = "SELECT holder, token, expires_ms FROM lease WHERE name = :name";
                const UPSERT: &str = "INSERT INTO lease (name, holder, token, expires_ms)
                    VALUES (:name, :holder, :token, :expires)
                    ON CONFLICT (name) DO UPDATE SET holder = :holder, token = :token, expires_ms = :expires";
                let now = state.clock.now_ms();
                let current: Option<(String, u64, i64)> = connection
                    .query_row(SELECT, named_params! { ":name": name }, |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .optional()
                    .map_err(sqlite_error)?;
                let token = match current {
                    Some((current, token, _)) if current == holder => token,
                    Some((_, _, expires)) if expires > now => return Ok(None),
                    Some((_, token, _)) => token + 1,
                    None => 1,
                };
                connection
                    .execute(
                        UPSERT,
                        named_params! { ":name": name, ":holder": holder, ":token": token, ":expires": now + ttl_ms },
                    )
                    .map_err(sqlite_error)?;
                Ok(Some(Lease { name, token }))
            })
            .await
    }
}

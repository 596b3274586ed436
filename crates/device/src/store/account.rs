//! Who the file belongs to: activation, the small values kept with it, and signing out.

use omctl_protocol::{AccountId, DeviceId, Incarnation};
use rusqlite::Connection;

use super::channels::Channels;
use super::ddl::quote;
use super::lock::{Lease, Lock};
use super::{Durability, Result, Store, StoreError, incarnation, state};

/// The tables whose content is of one account.
const CONTENT: [&str; 9] = [
    "om_state",
    "om_channels",
    "om_scopes",
    "om_stage",
    "om_outbox",
    "om_settled",
    "om_rejected",
    "om_joined",
    "om_dirty",
];

impl Store {
    /// Binds the file to a device and its account. In place of another device of the account, it goes on with the same
    /// rows and in a new incarnation: the server knows nothing of that device's outbox by the new one's name.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], [`StoreError::Locked`].
    pub fn activate(&mut self, device: DeviceId, account: AccountId) -> Result<()> {
        self.bind(device, account, &[])
    }

    /// [`Store::activate`], with notes that belong to the device: all of it, or nothing.
    pub(crate) fn bind(&mut self, device: DeviceId, account: AccountId, notes: &[(&str, &str)]) -> Result<()> {
        let next = Incarnation(self.options.entropy.uuid_v4());
        self.may_activate()?;
        self.intent(Durability::Full, |conn, channels| {
            if state::device(conn)?.is_some_and(|before| before != device) {
                incarnation::renew(conn, channels, next)?;
            }
            for (key, value) in notes {
                state::set(conn, &format!("note.{key}"), value)?;
            }
            // Commands and leases are a device's own: they end with it.
            for key in ["lock", "command", "lease_ms", "lease_used_ms"] {
                state::clear(conn, key)?;
            }
            state::set(conn, "device", device.to_string())?;
            state::set(conn, "account", account.to_string())
        })?;
        self.lease = Lease::load(&self.conn)?;
        Ok(())
    }

    /// Refuses where an activation would open what an administrator has locked: the rows would be there as before.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; signing out, which removes the rows, is always possible.
    pub(crate) fn may_activate(&self) -> Result<()> {
        match self.lock()? {
            Some(lock @ Lock::Ordered) => Err(StoreError::Locked(lock)),
            _ => Ok(()),
        }
    }

    /// The device, once it is activated.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn device(&self) -> Result<Option<DeviceId>> {
        state::device(&self.conn)
    }

    /// The account that the device acts for.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn account(&self) -> Result<Option<AccountId>> {
        state::account(&self.conn)
    }

    /// A small value that is kept with the file: a server's address, a token.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn note(&self, key: &str) -> Result<Option<String>> {
        state::get(&self.conn, &format!("note.{key}"))
    }

    /// Sets a value for [`Store::note`].
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn set_note(&mut self, key: &str, value: &str) -> Result<()> {
        self.intent(Durability::Full, |conn, _| state::set(conn, &format!("note.{key}"), value))
    }

    /// Removes everything of the account and the device: the channels' tables, what waits to be sent, what was settled or
    /// rejected, tokens. The app's own tables stay. What is removed is overwritten in the file.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]; then nothing is removed.
    pub fn sign_out(&mut self) -> Result<()> {
        let next = Incarnation(self.options.entropy.uuid_v4());
        self.destroy(|conn, channels| {
            remove_all(conn, channels)?;
            state::set(conn, "incarnation", next.to_string())
        })?;
        self.lease = Lease::default();
        Ok(())
    }
}

/// Pages that rows once left free still hold their bytes: new pages of zeros are made of them, and freed again.
pub(super) fn overwrite_free_pages(conn: &Connection) -> Result<()> {
    let pragma = |name: &str| -> Result<i64> { Ok(conn.pragma_query_value(None, name, |row| row.get(0))?) };
    let (pages, page_bytes) = (pragma("freelist_count")?, pragma("page_size")?);
    conn.execute_batch("CREATE TABLE om_zeros (z BLOB)")?;
    conn.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 / 64)
         INSERT INTO om_zeros SELECT zeroblob(?2 * 64) FROM n",
        [pages, page_bytes],
    )?;
    conn.execute_batch("DROP TABLE om_zeros")?;
    Ok(())
}

pub(super) fn remove_all(conn: &Connection, channels: &Channels) -> Result<()> {
    for channel in channels.values() {
        let names = &channel.names;
        let view = quote(&format!("backend_{}", channel.schema.channel));
        conn.execute_batch(&format!("DROP VIEW IF EXISTS {view};"))?;
        for table in [&names.table, &names.base, &names.cap, &names.row, &names.fill, &names.fill_row] {
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {table};"))?;
        }
    }
    for table in CONTENT {
        conn.execute(&format!("DELETE FROM {table}"), [])?;
    }
    Ok(())
}

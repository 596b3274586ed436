//! Removing an account: nobody can act as it any more, and what it wrote stays.
//!
//! Its row stays too, because devices, receipts and verdicts name it, but nothing in it tells of a person: address,
//! password, role and claims go. The address is free at once; who takes it is another account.

use rusqlite::named_params;

use super::accounts::{AccountRow, account_by_email};
use super::feed::Notice;
use super::{DeviceNo, Store, StoreError, sqlite_error};

/// With what the address of a removed account begins: no real one has a colon. The account's id follows.
pub(super) const REMOVED: &str = "removed:";

impl Store {
    /// Removes the account of this (lower-cased) address and takes its devices out of service: their sessions end.
    /// Returns it as it was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; those of writing.
    pub async fn remove_account(&self, email: &str) -> Result<AccountRow, StoreError> {
        let email = email.to_owned();
        self.writer
            .run(move |state, connection| {
                // A wiped device stays wiped: revoking it would let it keep its data.
                const DEVICES: &str = "UPDATE device
                    SET state = CASE state WHEN 'wiped' THEN 'wiped' ELSE 'revoked' END, fence = fence + 1
                    WHERE account = ?1 RETURNING number";
                const UPDATE: &str = "UPDATE account
                    SET email = :removed, role = NULL, claims = '{}', password = NULL, disabled = 1
                    WHERE number = :number";
                const REST: [&str; 2] =
                    ["DELETE FROM activation_code WHERE account = ?1", "DELETE FROM granted WHERE account = ?1"];
                let account = account_by_email(connection, &email)?.ok_or(StoreError::NotFound("account"))?;
                let devices: Vec<DeviceNo> = connection
                    .prepare_cached(DEVICES)
                    .and_then(|mut statement| statement.query_map([account.number], |row| row.get(0))?.collect())
                    .map_err(sqlite_error)?;
                let removed = format!("{REMOVED}{}", account.id);
                connection
                    .execute(UPDATE, named_params! { ":removed": removed, ":number": account.number })
                    .map_err(sqlite_error)?;
                for sql in REST {
                    connection.execute(sql, [account.number]).map_err(sqlite_error)?;
                }
                devices.into_iter().for_each(|device| state.publish_notice(Notice::Device(device)));
                state.publish_notice(Notice::Account(account.number));
                Ok(account)
            })
            .await
    }
}

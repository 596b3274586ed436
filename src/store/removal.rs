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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rusqlite::Connection;
    use serde_json::json;

    use super::super::accounts::{NewAccount, NewDevice};
    use super::super::tokens::{CodeUse, TokenHashes};
    use super::*;
    use crate::clock::{Clock, Entropy};

    #[tokio::test]
    async fn a_removed_account_leaves_its_devices_and_no_trace_of_a_person() {
        let (clock, entropy) = (Clock::manual(1_000), Entropy::seeded(1));
        let connection = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        let (store, _feed) = Store::inline(connection.clone(), clock, entropy, None).unwrap();
        let ana = || NewAccount {
            email: "ana@example.com".into(),
            role: Some("tech".into()),
            claims: json!({ "region": "north" }).as_object().unwrap().clone(),
            password: Some("$argon2id$x".into()),
        };
        let account = store.create_account(ana()).await.unwrap();
        let device = || NewDevice {
            id: omctl_protocol::DeviceId(uuid::Uuid::from_u128(7)),
            name: "a phone".into(),
            platform: "android".into(),
            public_key: [4; 65],
        };
        let tokens = TokenHashes { access: [1; 32], refresh: [2; 32], generation: 0 };
        store.activate_device(account.number, device(), tokens).await.unwrap();
        store.add_activation_code(account.number, [9; 32], 2_000).await.unwrap();
        let fence = store.session_fence(DeviceNo(1)).await.unwrap();

        let removed = store.remove_account("ana@example.com").await.unwrap();
        assert_eq!((removed.devices, removed.id), (1, account.id));
        assert!(matches!(store.remove_account("ana@example.com").await, Err(StoreError::NotFound(_))));
        assert_eq!(store.accounts().await.unwrap(), []);
        let (phone, owner) = store.device(device().id).await.unwrap().unwrap();
        assert_eq!(
            (phone.state.word(), fence, store.session_fence(phone.number).await.unwrap()),
            ("revoked", Some(0), None)
        );
        assert_eq!((owner.role, owner.claims.len(), owner.password, owner.disabled), (None, 0, None, true));
        assert_eq!(store.account(&owner.email).await.unwrap(), None, "not even by what stands in its place");
        let used = store.activate_by_code([9; 32], None, device(), tokens).await.unwrap();
        assert_eq!(used, CodeUse::Unknown);
        let again = store.create_account(ana()).await.unwrap();
        assert_ne!((again.number, again.id), (account.number, account.id));
        assert_eq!(store.accounts().await.unwrap().len(), 1);
    }
}

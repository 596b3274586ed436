//! Importing accounts: many are added or changed in one transaction, or none is.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::{Map, Value};

use super::accounts::{AccountChange, AccountRow, NewAccount, account_by_email, insert_account, update_account};
use super::state::WriterState;
use super::tokens::{SecretHash, insert_code};
use super::{Store, StoreError};

/// An account to add, or what to change of the one that has its address.
#[derive(Clone, Debug, Default)]
pub struct ImportAccount {
    /// Its e-mail address, lower-cased.
    pub email: String,
    /// The role, where it is named; `Some(None)` takes it away.
    pub role: Option<Option<String>>,
    /// Claims by name; `None` takes one away.
    pub claims: BTreeMap<String, Option<Value>>,
    /// Whether claims that are not named are taken away too.
    pub all_claims: bool,
    /// An activation code that it gets if it is added, and when that ends.
    pub code: Option<(SecretHash, i64)>,
}

/// What becomes of an account that is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is new.
    Added,
    /// Its role or its claims change.
    Changed,
    /// It is so already.
    Unchanged,
    /// Its claims would not be what `check` takes.
    BadClaims,
}

impl Store {
    /// Adds and changes accounts, each address at most once; changed ones' live sessions hear of it. Nothing is written
    /// unless `apply` is set and `check` takes the claims of every account.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn import_accounts(
        &self,
        accounts: Vec<ImportAccount>,
        apply: bool,
        check: fn(&Map<String, Value>) -> bool,
    ) -> Result<Vec<Imported>, StoreError> {
        let ids: Vec<_> = accounts.iter().map(|_| self.entropy.uuid_v7(&self.clock)).collect();
        self.writer
            .run(move |state, connection| {
                let mut planned = Vec::with_capacity(accounts.len());
                for account in &accounts {
                    let before = account_by_email(connection, &account.email)?;
                    planned.push(plan(account, before.as_ref(), check));
                }
                if apply && planned.iter().all(|(imported, _)| *imported != Imported::BadClaims) {
                    for ((account, (imported, change)), id) in accounts.iter().zip(&planned).zip(ids) {
                        write(state, connection, account, *imported, change, id)?;
                    }
                }
                Ok(planned.into_iter().map(|(imported, _)| imported).collect())
            })
            .await
    }
}

/// What an import means for an account as it is now.
fn plan(
    new: &ImportAccount,
    before: Option<&AccountRow>,
    check: fn(&Map<String, Value>) -> bool,
) -> (Imported, AccountChange) {
    let mut claims = match before {
        Some(before) if !new.all_claims => before.claims.clone(),
        _ => Map::new(),
    };
    for (name, value) in &new.claims {
        match value {
            Some(value) => claims.insert(name.clone(), value.clone()),
            None => claims.remove(name),
        };
    }
    let imported = match before {
        _ if !check(&claims) => Imported::BadClaims,
        None => Imported::Added,
        Some(before) if before.claims == claims && new.role.as_ref().is_none_or(|role| *role == before.role) => {
            Imported::Unchanged
        }
        Some(_) => Imported::Changed,
    };
    (imported, AccountChange { role: new.role.clone(), claims: Some(claims), ..AccountChange::default() })
}

fn write(
    state: &mut WriterState,
    connection: &Connection,
    account: &ImportAccount,
    imported: Imported,
    change: &AccountChange,
    id: uuid::Uuid,
) -> Result<(), StoreError> {
    match imported {
        Imported::Added => {
            let new = NewAccount {
                email: account.email.clone(),
                role: change.role.clone().flatten(),
                claims: change.claims.clone().unwrap_or_default(),
                password: None,
            };
            let made = insert_account(state, connection, &new, id)?;
            match account.code {
                Some((hash, expires_ms)) => insert_code(connection, made.number, hash, expires_ms),
                None => Ok(()),
            }
        }
        Imported::Changed => update_account(state, connection, &account.email, change.clone()).map(drop),
        Imported::Unchanged | Imported::BadClaims => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(role: Option<&str>, claims: Value) -> AccountRow {
        AccountRow {
            number: super::super::AccountNo(1),
            id: omctl_protocol::AccountId(uuid::Uuid::nil()),
            email: "ana@example.com".into(),
            role: role.map(str::to_owned),
            claims: claims.as_object().unwrap().clone(),
            password: None,
            disabled: false,
            created_ms: 0,
            devices: 0,
        }
    }

    #[test]
    fn what_is_not_named_stays_and_what_is_so_already_does_not_change() {
        let before = row(Some("tech"), json!({ "region": "north", "team": 1 }));
        let of = |role: Option<Option<&str>>, claims: Vec<(&str, Option<Value>)>, all_claims| {
            let new = ImportAccount {
                role: role.map(|role| role.map(str::to_owned)),
                claims: claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                all_claims,
                ..ImportAccount::default()
            };
            let (imported, change) = plan(&new, Some(&before), |claims| claims.len() < 3);
            (imported, Value::from(change.claims.unwrap()))
        };
        assert_eq!(of(None, vec![], false), (Imported::Unchanged, json!({ "region": "north", "team": 1 })));
        assert_eq!(of(Some(Some("tech")), vec![("team", Some(json!(1)))], false).0, Imported::Unchanged);
        assert_eq!(of(Some(None), vec![], false).0, Imported::Changed);
        assert_eq!(of(None, vec![("team", None)], false), (Imported::Changed, json!({ "region": "north" })));
        assert_eq!(of(None, vec![("team", Some(json!(1)))], true), (Imported::Changed, json!({ "team": 1 })));
        assert_eq!(of(None, vec![("level", Some(json!(1)))], false).0, Imported::BadClaims);
        let new = ImportAccount { claims: [("team".to_owned(), None)].into(), ..ImportAccount::default() };
        assert_eq!(plan(&new, None, |_| true).0, Imported::Added);
    }
}

//! Importing accounts: each is checked by itself, all that is wrong is said at once, and all are written or none.

use std::collections::HashSet;

use omctl_protocol::admin::{ImportOutcome, ImportRow};

use super::accounts::{check_claims, check_role};
use super::activation::{code_hash, format_code, make_code};
use super::{Identity, IdentityError, normal_email};
use crate::limits;
use crate::store::{ImportAccount, Imported};

/// What becomes of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedAccount {
    /// Its address, as it is kept.
    pub email: String,
    /// What becomes of the account.
    pub outcome: ImportOutcome,
    /// Why it is refused.
    pub message: Option<String>,
    /// Its activation code.
    pub code: Option<String>,
}

impl Identity {
    /// Adds and changes accounts, all of them or none, and says what becomes of each. Nothing is written if one is
    /// refused or if it is only tried. With `codes`, each that is added gets an activation code.
    ///
    /// # Errors
    /// [`IdentityError::BadValue`] for too many rows; those of the store.
    pub async fn import_accounts(
        &self,
        rows: Vec<ImportRow>,
        dry_run: bool,
        codes: bool,
    ) -> Result<(bool, Vec<ImportedAccount>), IdentityError> {
        if rows.len() > limits::IMPORT_ACCOUNTS_MAX {
            let message = format!("an import has at most {} accounts", limits::IMPORT_ACCOUNTS_MAX);
            return Err(IdentityError::BadValue { field: "rows", message });
        }
        let (mut seen, mut accounts) = (HashSet::new(), Vec::with_capacity(rows.len()));
        let mut replies: Vec<ImportedAccount> = Vec::with_capacity(rows.len());
        for row in &rows {
            let checked = check(row, &mut seen);
            let refused = checked.as_ref().err().cloned();
            replies.push(ImportedAccount {
                email: checked.as_ref().map_or_else(|_| row.email.trim().to_owned(), |one| one.email.clone()),
                outcome: if refused.is_some() { ImportOutcome::Refused } else { ImportOutcome::Unchanged },
                message: refused,
                code: None,
            });
            accounts.extend(checked);
        }
        let apply = !dry_run && accounts.len() == rows.len();
        let made: Vec<String> = match codes && apply {
            true => accounts.iter().map(|_| make_code(&self.inner.entropy)).collect(),
            false => Vec::new(),
        };
        let expires_ms = self.inner.clock.now_ms() + limits::ACTIVATION_CODE_LIFE.as_millis() as i64;
        for (account, code) in accounts.iter_mut().zip(&made) {
            account.code = Some((code_hash(code), expires_ms));
        }
        let imported = self.inner.store.import_accounts(accounts, apply, |claims| check_claims(claims).is_ok()).await?;
        let sound = replies.iter_mut().filter(|reply| reply.outcome != ImportOutcome::Refused);
        for (n, (reply, imported)) in sound.zip(imported).enumerate() {
            reply.outcome = match imported {
                Imported::Added => ImportOutcome::Added,
                Imported::Changed => ImportOutcome::Changed,
                Imported::Unchanged => ImportOutcome::Unchanged,
                Imported::BadClaims => ImportOutcome::Refused,
            };
            match imported {
                Imported::Added => reply.code = made.get(n).map(|code| format_code(code)),
                Imported::BadClaims => reply.message = Some("its claims are too large together".to_owned()),
                Imported::Changed | Imported::Unchanged => {}
            }
        }
        let done = apply && replies.iter().all(|reply| reply.outcome != ImportOutcome::Refused);
        if !done {
            replies.iter_mut().for_each(|reply| reply.code = None);
        }
        Ok((done, replies))
    }
}

/// One row as the store takes it, or why it is refused: a sentence that says all that is wrong with it.
fn check(row: &ImportRow, seen: &mut HashSet<String>) -> Result<ImportAccount, String> {
    let mut wrong = Vec::new();
    let email = normal_email(&row.email).map_err(|error| wrong.push(error.to_string())).unwrap_or_default();
    if !email.is_empty() && !seen.insert(email.clone()) {
        wrong.push(format!("`{email}` stands in the file twice"));
    }
    if let Some(role) = &row.role
        && let Err(error) = check_role(role.as_deref())
    {
        wrong.push(error.to_string());
    }
    let given = row.claims.iter().filter(|(_, value)| !value.is_null());
    if let Err(error) = check_claims(&given.map(|(name, value)| (name.clone(), value.clone())).collect()) {
        wrong.push(error.to_string());
    }
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    let claims = row.claims.iter().map(|(name, value)| (name.clone(), Some(value.clone()).filter(|v| !v.is_null())));
    Ok(ImportAccount {
        email,
        role: row.role.clone(),
        claims: claims.collect(),
        all_claims: row.all_claims,
        code: None,
    })
}

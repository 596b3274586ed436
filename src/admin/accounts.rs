//! Accounts: made, changed, removed, imported.

use omctl_protocol::admin::{
    AccountImport, AccountNew, AccountPatch, AccountRemoved, AccountView, CodeView, ImportOutcome, ImportReply,
    ImportedRow,
};

use super::{Admin, AdminError};
use crate::catalog::near;
use crate::identity::{IdentityError, ImportedAccount, NewAccount, PasswordChange};
use crate::store::AccountRow;

impl Admin {
    /// All accounts in the order of their addresses.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn accounts(&self) -> Result<Vec<AccountView>, AdminError> {
        Ok(self.identity.accounts().await?.into_iter().map(account_view).collect())
    }

    /// One account.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], those of the store.
    pub async fn account(&self, email: &str) -> Result<AccountView, AdminError> {
        let found = self.identity.account(email).await;
        Ok(account_view(self.named(found).await?))
    }

    /// Makes an account.
    ///
    /// # Errors
    /// As [`crate::identity::Identity::create_account`].
    pub async fn create_account(&self, new: AccountNew) -> Result<AccountView, AdminError> {
        let AccountNew { email, role, claims, password } = new;
        let row = self
            .identity
            .create_account(NewAccount { email, role, claims, password: password.map(Into::into) })
            .await?;
        tracing::info!(account = %row.email, "created account `{}`", row.email);
        Ok(account_view(row))
    }

    /// Changes an account; its live sessions hear of it.
    ///
    /// # Errors
    /// As [`crate::identity::Identity::change_account`].
    pub async fn change_account(&self, email: &str, patch: AccountPatch) -> Result<AccountView, AdminError> {
        let password = match patch.password {
            None => PasswordChange::Keep,
            Some(None) => PasswordChange::Remove,
            Some(Some(new)) => PasswordChange::Set(new.into()),
        };
        let changed = self.identity.change_account(email, patch.role, patch.claims, patch.disabled, password).await;
        let row = self.named(changed).await?;
        tracing::info!(account = %row.email, disabled = row.disabled, "changed account `{}`", row.email);
        if patch.disabled == Some(false) {
            // What was accepted before it was disabled goes on.
            self.sync.settle_waiting().await?;
        }
        Ok(account_view(row))
    }

    /// Makes an activation code.
    ///
    /// # Errors
    /// As [`crate::identity::Identity::create_code`].
    pub async fn create_code(&self, email: &str) -> Result<CodeView, AdminError> {
        let made = self.identity.create_code(email).await;
        let (code, expires_ms) = self.named(made).await?;
        Ok(CodeView { email: email.to_lowercase(), code, expires_ms })
    }

    /// Removes an account for good: its devices are taken out of service, what it wrote stays.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], those of the store.
    pub async fn remove_account(&self, email: &str) -> Result<AccountRemoved, AdminError> {
        let removed = self.identity.remove_account(email).await;
        let row = self.named(removed).await?;
        tracing::info!(account = %row.email, devices = row.devices, "removed account `{}`", row.email);
        Ok(AccountRemoved { revoked: row.devices, account: account_view(row) })
    }

    /// Adds and changes many accounts, all of them or none.
    ///
    /// # Errors
    /// As [`crate::identity::Identity::import_accounts`].
    pub async fn import_accounts(&self, import: AccountImport) -> Result<ImportReply, AdminError> {
        let AccountImport { rows, dry_run, codes } = import;
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        let (done, imported) = self.identity.import_accounts(rows, dry_run, codes).await?;
        if done {
            let count = |outcome| imported.iter().filter(|one| one.outcome == outcome).count();
            let (added, changed) = (count(ImportOutcome::Added), count(ImportOutcome::Changed));
            tracing::info!(added, changed, "imported accounts: {added} added, {changed} changed");
        }
        let view = |(line, one): (u64, ImportedAccount)| {
            let ImportedAccount { email, outcome, message, code } = one;
            ImportedRow { line, email, outcome, message, code }
        };
        Ok(ImportReply { done, rows: lines.into_iter().zip(imported).map(view).collect() })
    }

    /// Says of an account that is not there which one may have been meant.
    pub(super) async fn named<T>(&self, result: Result<T, IdentityError>) -> Result<T, AdminError> {
        let name = match result {
            Err(IdentityError::NoAccount(name)) => name,
            other => return Ok(other?),
        };
        let known = self.identity.accounts().await?;
        let hint = match near::nearest_address(&name, known.iter().map(|account| account.email.as_str())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see them: omctl account list".to_owned(),
        };
        Err(AdminError::NotFound { what: "account", name, hint: Some(hint) })
    }
}

fn account_view(row: AccountRow) -> AccountView {
    AccountView {
        id: row.id,
        email: row.email,
        role: row.role,
        claims: row.claims,
        has_password: row.password.is_some(),
        disabled: row.disabled,
        devices: row.devices,
        created_ms: row.created_ms,
    }
}

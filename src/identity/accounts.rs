//! Accounts: made and changed by administrators. The store keeps them; here is what a valid one is.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::activation::{code_hash, format_code, make_code};
use super::{Identity, IdentityError};
use crate::limits;
use crate::store::{self, AccountChange, AccountRow, StoreError};

/// Longest e-mail address in bytes (RFC 5321, section 4.5.3.1.3, less the brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// Longest role in bytes.
const ROLE_BYTES_MAX: usize = 64;

/// Longest JSON text of all claims in bytes: they are read with every session.
const CLAIMS_BYTES_MAX: usize = 16 << 10;

/// An account to make.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// Its e-mail address; case does not matter.
    pub email: String,
    /// Its role.
    pub role: Option<String>,
    /// Its claims: strings, numbers, truth values and lists of these.
    pub claims: Map<String, Value>,
    /// Without one it activates devices by codes.
    pub password: Option<SecretString>,
}

/// What becomes of an account's password.
#[derive(Clone, Debug, Default)]
pub enum PasswordChange {
    /// Nothing.
    #[default]
    Keep,
    /// A new one.
    Set(SecretString),
    /// None: codes only.
    Remove,
}

impl Identity {
    /// Makes an account.
    ///
    /// # Errors
    /// [`IdentityError::BadValue`], [`IdentityError::AccountExists`], those of the store.
    pub async fn create_account(&self, new: NewAccount) -> Result<AccountRow, IdentityError> {
        let email = normal_email(&new.email)?;
        check_role(new.role.as_deref())?;
        check_claims(&new.claims)?;
        let password = match new.password {
            Some(password) => Some(self.inner.passwords.hash(&self.inner.entropy, password).await?),
            None => None,
        };
        let row = store::NewAccount { email: email.clone(), role: new.role, claims: new.claims, password };
        self.inner.store.create_account(row).await.map_err(|error| match error {
            StoreError::Exists(_) => IdentityError::AccountExists(email),
            other => other.into(),
        })
    }

    /// All accounts in the order of their addresses.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, IdentityError> {
        Ok(self.inner.store.accounts().await?)
    }

    /// One account.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`], those of the store.
    pub async fn account(&self, email: &str) -> Result<AccountRow, IdentityError> {
        let email = email.to_lowercase();
        let found = self.inner.store.account(&email).await?;
        found.ok_or(IdentityError::NoAccount(email))
    }

    /// Changes an account; its live sessions hear of it. `None` leaves a thing as it is.
    ///
    /// # Errors
    /// [`IdentityError::BadValue`], [`IdentityError::NoAccount`], those of the store.
    pub async fn change_account(
        &self,
        email: &str,
        role: Option<Option<String>>,
        claims: Option<Map<String, Value>>,
        disabled: Option<bool>,
        password: PasswordChange,
    ) -> Result<AccountRow, IdentityError> {
        if let Some(role) = &role {
            check_role(role.as_deref())?;
        }
        if let Some(claims) = &claims {
            check_claims(claims)?;
        }
        let password = match password {
            PasswordChange::Keep => None,
            PasswordChange::Remove => Some(None),
            PasswordChange::Set(new) => Some(Some(self.inner.passwords.hash(&self.inner.entropy, new).await?)),
        };
        let email = email.to_lowercase();
        let change = AccountChange { role, claims, password, disabled };
        self.inner.store.change_account(&email, change).await.map_err(|error| match error {
            StoreError::NotFound(_) => IdentityError::NoAccount(email),
            other => other.into(),
        })
    }

    /// Removes an account; its devices are taken out of service. Returns it as it was.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`], those of the store.
    pub async fn remove_account(&self, email: &str) -> Result<AccountRow, IdentityError> {
        let email = email.to_lowercase();
        self.inner.store.remove_account(&email).await.map_err(|error| match error {
            StoreError::NotFound(_) => IdentityError::NoAccount(email),
            other => other.into(),
        })
    }

    /// Makes an activation code for an account, for people to read and type. Returned once; only its hash is kept.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`], [`IdentityError::AccountDisabled`], those of the store.
    pub async fn create_code(&self, email: &str) -> Result<(String, i64), IdentityError> {
        let account = self.account(email).await?;
        if account.disabled {
            return Err(IdentityError::AccountDisabled);
        }
        let code = make_code(&self.inner.entropy);
        let expires_ms = self.inner.clock.now_ms() + limits::ACTIVATION_CODE_LIFE.as_millis() as i64;
        self.inner.store.add_activation_code(account.number, code_hash(&code), expires_ms).await?;
        Ok((format_code(&code), expires_ms))
    }
}

/// An e-mail address as it is kept: lower-cased, of one `@`, without white space.
///
/// # Errors
/// [`IdentityError::BadValue`].
pub fn normal_email(text: &str) -> Result<String, IdentityError> {
    let email = text.trim().to_lowercase();
    let parts = email.split_once('@');
    let sound = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
        && email.len() <= EMAIL_BYTES_MAX
        && !email.chars().any(|c| c.is_whitespace() || c.is_control() || is_unseen(c) || "<>\",;:/\\".contains(c));
    match sound {
        true => Ok(email),
        false => Err(IdentityError::BadValue { field: "email", message: "not an e-mail address".to_owned() }),
    }
}

/// Marks that turn the direction of a text or take no room (Unicode's Bidi_Control, and joiners): an address with them looks
/// like another one.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

pub(super) fn check_role(role: Option<&str>) -> Result<(), IdentityError> {
    let sound = |role: &str| {
        !role.is_empty()
            && role.len() <= ROLE_BYTES_MAX
            && role != "any"
            && role.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    };
    match role {
        Some(role) if !sound(role) => Err(IdentityError::BadValue {
            field: "role",
            message: "a role is a word of letters, digits, `_` and `-`, and `any` is everybody".to_owned(),
        }),
        _ => Ok(()),
    }
}

pub(super) fn check_claims(claims: &Map<String, Value>) -> Result<(), IdentityError> {
    let scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    let sound = claims.iter().all(|(name, value)| {
        !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && match value {
                Value::Array(items) => items.iter().all(scalar),
                other => scalar(other),
            }
    });
    let small = serde_json::to_string(claims).is_ok_and(|text| text.len() <= CLAIMS_BYTES_MAX);
    match sound && small {
        true => Ok(()),
        false => Err(IdentityError::BadValue {
            field: "claims",
            message: format!(
                "a claim is a word with a text, a number, a truth value or a list of these; {CLAIMS_BYTES_MAX} bytes in all"
            ),
        }),
    }
}

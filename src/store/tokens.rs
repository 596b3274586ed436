//! Activation codes, access tokens and refresh tokens: only their SHA-256.
//!
//! A code is used at most once, by one conditional UPDATE; a refresh token is rotated at most once, by another. What was
//! already used is told apart from what never was, because the first is a sign of theft.
//!
//! *Invariant:* whoever reads this database can neither activate a device nor act as one.

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::accounts::{AccountRow, DeviceRow, NewDevice, account_by_number, device_where, insert_device};
use super::feed::Notice;
use super::state::WriterState;
use super::{AccountNo, DeviceNo, Store, StoreError, sqlite_error};
use crate::limits;

/// SHA-256 of a code or a token.
pub type SecretHash = [u8; 32];

/// The hashes of a new pair of tokens.
#[derive(Clone, Copy, Debug)]
pub struct TokenHashes {
    /// Of the access token.
    pub access: SecretHash,
    /// Of the refresh token.
    pub refresh: SecretHash,
    /// How many rotations the refresh token is away from activation.
    pub generation: u64,
}

/// How an activation by code ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CodeUse {
    /// The device is activated for this account.
    Activated(DeviceNo, AccountRow),
    /// There is no such code (for this account, if one was named).
    Unknown,
    /// Somebody was faster.
    Used,
    /// It was not used in time.
    Expired,
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The successor is the current refresh token now.
    Rotated,
    /// It was rotated moments ago: the same successor is handed out again (the first answer may be lost).
    Again,
    /// It was rotated earlier. Every token of the device is void now.
    Reused,
    /// There is no such token of this device.
    Unknown,
    /// It was not used in time.
    Expired,
}

impl Store {
    /// Keeps an activation code until it expires.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn add_activation_code(
        &self,
        account: AccountNo,
        hash: SecretHash,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |state, connection| {
                // Codes that can no longer be used are kept a while, so that they are answered as what they are.
                const PRUNE: &str = "DELETE FROM activation_code WHERE expires_ms < :long_ago";
                let long_ago = state.clock.now_ms() - 24 * 3_600_000;
                connection.execute(PRUNE, named_params! { ":long_ago": long_ago }).map_err(sqlite_error)?;
                insert_code(connection, account, hash, expires_ms)
            })
            .await
    }

    /// Makes every open code of an account unusable.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn burn_activation_codes(&self, account: AccountNo) -> Result<u64, StoreError> {
        self.writer
            .run(move |_, connection| {
                const UPDATE: &str =
                    "UPDATE activation_code SET expires_ms = 0 WHERE account = :account AND used_ms IS NULL";
                let burnt = connection.execute(UPDATE, named_params! { ":account": account }).map_err(sqlite_error)?;
                Ok(burnt as u64)
            })
            .await
    }

    /// Uses a code: at most one caller ever gets [`CodeUse::Activated`] for it. `only` names the account that it must
    /// be for.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn activate_by_code(
        &self,
        code: SecretHash,
        only: Option<AccountNo>,
        device: NewDevice,
        tokens: TokenHashes,
    ) -> Result<CodeUse, StoreError> {
        self.writer
            .run(move |state, connection| {
                const USE: &str = "UPDATE activation_code SET used_ms = :now
                    WHERE hash = :hash AND used_ms IS NULL AND expires_ms > :now
                      AND (:only IS NULL OR account = :only)
                      AND EXISTS (SELECT 1 FROM account WHERE number = activation_code.account AND disabled = 0)
                    RETURNING account";
                const WHY: &str = "SELECT used_ms IS NOT NULL, expires_ms <= :now FROM activation_code
                    WHERE hash = :hash AND (:only IS NULL OR account = :only)";
                let now = state.clock.now_ms();
                let parameters = named_params! { ":now": now, ":hash": code.as_slice(), ":only": only };
                let account: Option<AccountNo> =
                    connection.query_row(USE, parameters, |row| row.get(0)).optional().map_err(sqlite_error)?;
                let Some(account) = account else {
                    let why: Option<(bool, bool)> = connection
                        .query_row(WHY, parameters, |row| Ok((row.get(0)?, row.get(1)?)))
                        .optional()
                        .map_err(sqlite_error)?;
                    return Ok(match why {
                        Some((true, _)) => CodeUse::Used,
                        Some((false, true)) => CodeUse::Expired,
                        // Not for this caller: a disabled account's code is as good as none.
                        Some((false, false)) | None => CodeUse::Unknown,
                    });
                };
                let (number, account) = activate(state, connection, account, &device, tokens)?;
                Ok(CodeUse::Activated(number, account))
            })
            .await
    }

    /// Activates a device for an account that has proved itself otherwise (by its password).
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; those of writing.
    pub async fn activate_device(
        &self,
        account: AccountNo,
        device: NewDevice,
        tokens: TokenHashes,
    ) -> Result<DeviceNo, StoreError> {
        self.writer
            .run(move |state, connection| {
                activate(state, connection, account, &device, tokens).map(|(number, _)| number)
            })
            .await
    }

    /// The device and account of an access token, with the time at which it expires.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn access_token(&self, hash: SecretHash) -> Result<Option<(DeviceRow, AccountRow, i64)>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT device, expires_ms FROM access_token WHERE hash = ?1";
            let found: Option<(DeviceNo, i64)> = connection
                .prepare_cached(SELECT)
                .and_then(|mut statement| {
                    statement.query_row([hash.as_slice()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
                })
                .map_err(sqlite_error)?;
            let Some((number, expires_ms)) = found else { return Ok(None) };
            let both = device_where(connection, "number", number)?;
            Ok(both.map(|(device, account)| (device, account, expires_ms)))
        })
        .await
    }

    /// Replaces a refresh token by its successor, or says why not. A reuse voids every token of the device and ends its
    /// sessions. `is_ours` says that the server made the old one, whether this store knows it or not: one that counts
    /// higher than the current one was given in a history that was lost, and takes its place.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn rotate_refresh(
        &self,
        device: DeviceNo,
        old: SecretHash,
        is_ours: bool,
        successor: TokenHashes,
    ) -> Result<Rotation, StoreError> {
        self.writer
            .run(move |state, connection| {
                const USE: &str = "UPDATE refresh_token SET rotated_ms = :now
                    WHERE hash = :hash AND device = :device AND rotated_ms IS NULL AND expires_ms > :now";
                let now = state.clock.now_ms();
                let parameters = named_params! { ":now": now, ":hash": old.as_slice(), ":device": device };
                if connection.execute(USE, parameters).map_err(sqlite_error)? == 1 {
                    add_tokens(connection, device, successor, now)?;
                    return Ok(Rotation::Rotated);
                }
                Ok(match rotated_ms(connection, device, old)? {
                    None if is_ours && overtake(connection, device, successor.generation, now)? => {
                        tracing::warn!(?device, "took a refresh token of a history that this store has lost");
                        add_tokens(connection, device, successor, now)?;
                        // It is remembered as one of ours: the answer may get lost, and a later use is a theft.
                        const NOTE: &str =
                            "INSERT INTO refresh_token (hash, device, expires_ms, generation, rotated_ms)
                            VALUES (:hash, :device, :expires, :generation, :now)";
                        let noted = named_params! {
                            ":hash": old.as_slice(), ":device": device, ":now": now,
                            ":expires": now + limits::REFRESH_TOKEN_LIFE.as_millis() as i64,
                            ":generation": successor.generation.saturating_sub(1),
                        };
                        connection.execute(NOTE, noted).map_err(sqlite_error)?;
                        Rotation::Rotated
                    }
                    None => Rotation::Unknown,
                    Some(None) => Rotation::Expired,
                    Some(Some(rotated)) if now - rotated <= limits::REFRESH_GRACE.as_millis() as i64 => {
                        add_access(connection, device, successor.access, now)?;
                        Rotation::Again
                    }
                    Some(Some(_)) => {
                        void_tokens(state, connection, device)?;
                        Rotation::Reused
                    }
                })
            })
            .await
    }

    /// A refresh token came with a proof by another key: if it was ever rotated, every token of the device is void now.
    /// Returns whether that is so. A current token stays, so that who merely saw it cannot lock the owner out.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn refresh_misused(&self, device: DeviceNo, hash: SecretHash) -> Result<bool, StoreError> {
        self.writer
            .run(move |state, connection| {
                let reused = matches!(rotated_ms(connection, device, hash)?, Some(Some(_)));
                if reused {
                    void_tokens(state, connection, device)?;
                }
                Ok(reused)
            })
            .await
    }
}

/// Adds a code within the caller's transaction.
pub(super) fn insert_code(
    connection: &Connection,
    account: AccountNo,
    hash: SecretHash,
    expires_ms: i64,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO activation_code (hash, account, expires_ms) VALUES (:hash, :account, :expires)";
    connection
        .execute(INSERT, named_params! { ":hash": hash.as_slice(), ":account": account, ":expires": expires_ms })
        .map(drop)
        .map_err(sqlite_error)
}

fn activate(
    state: &mut WriterState,
    connection: &Connection,
    account: AccountNo,
    device: &NewDevice,
    tokens: TokenHashes,
) -> Result<(DeviceNo, AccountRow), StoreError> {
    let now = state.clock.now_ms();
    let account = account_by_number(connection, account)?.ok_or(StoreError::NotFound("account"))?;
    let number = insert_device(connection, account.number, device, now)?;
    add_tokens(connection, number, tokens, now)?;
    Ok((number, account))
}

fn add_tokens(connection: &Connection, device: DeviceNo, tokens: TokenHashes, now: i64) -> Result<(), StoreError> {
    // A rotated token is remembered for as long as it would have lived: until then its reuse is a sign of theft.
    const PRUNE: &str = "DELETE FROM refresh_token WHERE device = :device AND expires_ms <= :now";
    const INSERT: &str = "INSERT INTO refresh_token (hash, device, expires_ms, generation)
        VALUES (:hash, :device, :expires, :generation)";
    let expires = now + limits::REFRESH_TOKEN_LIFE.as_millis() as i64;
    connection.execute(PRUNE, named_params! { ":device": device, ":now": now }).map_err(sqlite_error)?;
    connection
        .execute(
            INSERT,
            named_params! {
                ":hash": tokens.refresh.as_slice(), ":device": device, ":expires": expires,
                ":generation": tokens.generation,
            },
        )
        .map_err(sqlite_error)?;
    add_access(connection, device, tokens.access, now)
}

fn add_access(connection: &Connection, device: DeviceNo, hash: SecretHash, now: i64) -> Result<(), StoreError> {
    const PRUNE: &str = "DELETE FROM access_token WHERE device = :device AND expires_ms <= :now";
    const INSERT: &str = "INSERT INTO access_token (hash, device, expires_ms) VALUES (:hash, :device, :expires)";
    let expires = now + limits::ACCESS_TOKEN_LIFE.as_millis() as i64;
    connection.execute(PRUNE, named_params! { ":device": device, ":now": now }).map_err(sqlite_error)?;
    connection
        .execute(INSERT, named_params! { ":hash": hash.as_slice(), ":device": device, ":expires": expires })
        .map(drop)
        .map_err(sqlite_error)
}

/// Marks a device's current refresh token as rotated, if it counts lower than the one whose successor is `generation`.
/// Where all were voided there is no current one.
fn overtake(connection: &Connection, device: DeviceNo, generation: u64, now: i64) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE refresh_token SET rotated_ms = :now
        WHERE device = :device AND rotated_ms IS NULL AND expires_ms > :now AND generation + 1 < :generation";
    let parameters = named_params! { ":now": now, ":device": device, ":generation": generation };
    Ok(connection.execute(UPDATE, parameters).map_err(sqlite_error)? > 0)
}

/// `None`: no such token; `Some(None)`: never rotated.
fn rotated_ms(connection: &Connection, device: DeviceNo, hash: SecretHash) -> Result<Option<Option<i64>>, StoreError> {
    const SELECT: &str = "SELECT rotated_ms FROM refresh_token WHERE hash = :hash AND device = :device";
    connection
        .query_row(SELECT, named_params! { ":hash": hash.as_slice(), ":device": device }, |row| row.get(0))
        .optional()
        .map_err(sqlite_error)
}

fn void_tokens(state: &mut WriterState, connection: &Connection, device: DeviceNo) -> Result<(), StoreError> {
    const ACCESS: &str = "DELETE FROM access_token WHERE device = ?1";
    // Marked as rotated long ago, not deleted: the owner's next try is told what happened.
    const REFRESH: &str = "UPDATE refresh_token SET rotated_ms = 0 WHERE device = ?1";
    const FENCE: &str = "UPDATE device SET fence = fence + 1 WHERE number = ?1";
    for sql in [ACCESS, REFRESH, FENCE] {
        connection.execute(sql, [device]).map_err(sqlite_error)?;
    }
    state.publish_notice(Notice::Device(device));
    Ok(())
}

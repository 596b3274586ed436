//! Accounts and their devices. Activation codes and tokens are beside it in `tokens.rs`.
//!
//! *Invariant:* no secret comes here but a password's Argon2id hash.

use omctl_protocol::{AccountId, DeviceId};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::feed::Notice;
use super::removal::REMOVED;
use super::state::WriterState;
use super::{AccountNo, DeviceNo, Store, StoreError, sqlite_error};

/// One account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRow {
    /// Its number here.
    pub number: AccountNo,
    /// Its id outside.
    pub id: AccountId,
    /// Its e-mail address, lower-cased.
    pub email: String,
    /// Its role.
    pub role: Option<String>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// Argon2id in PHC form; `None`: it activates by codes only.
    pub password: Option<String>,
    /// Whether it may do nothing.
    pub disabled: bool,
    /// When it was made (milliseconds since 1970).
    pub created_ms: i64,
    /// How many of its devices are active.
    pub devices: u64,
}

/// An account to make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewAccount {
    /// Its e-mail address, lower-cased.
    pub email: String,
    /// Its role.
    pub role: Option<String>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// Argon2id in PHC form.
    pub password: Option<String>,
}

/// What to change of an account; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountChange {
    /// The role; `Some(None)` takes it away.
    pub role: Option<Option<String>>,
    /// All claims.
    pub claims: Option<Map<String, Value>>,
    /// The password's hash; `Some(None)` takes it away.
    pub password: Option<Option<String>>,
    /// Whether it may do nothing.
    pub disabled: Option<bool>,
}

/// What a device may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Everything its account may.
    Active,
    /// Nothing until it is unlocked; it keeps its data and shows them to nobody.
    Locked,
    /// Nothing: its owner or an administrator took it out of service.
    Revoked,
    /// Nothing, and it is to forget its data.
    Wiped,
}

impl DeviceState {
    /// The word in the database and in JSON output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Revoked => "revoked",
            Self::Wiped => "wiped",
        }
    }

    /// Whether the device is to hear its command and nothing else.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Locked | Self::Wiped)
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Locked, Self::Revoked, Self::Wiped].into_iter().find(|state| state.word() == word)
    }
}

/// One device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRow {
    /// Its number here.
    pub number: DeviceNo,
    /// Its id outside.
    pub id: DeviceId,
    /// Whom it acts for.
    pub account: AccountNo,
    /// What its user calls it.
    pub name: String,
    /// `android`, `ios`, `web`, `simulated`, …
    pub platform: String,
    /// P-256, SEC 1 uncompressed.
    pub public_key: [u8; 65],
    /// What it may do.
    pub state: DeviceState,
    /// When it was activated.
    pub created_ms: i64,
    /// When its last session began.
    pub seen_ms: i64,
}

/// A device to make.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDevice {
    /// Its id.
    pub id: DeviceId,
    /// What its user calls it.
    pub name: String,
    /// `android`, `ios`, `web`, `simulated`, …
    pub platform: String,
    /// P-256, SEC 1 uncompressed.
    pub public_key: [u8; 65],
}

const ACCOUNT: &str = "SELECT number, id, email, role, claims, password, disabled, created_ms,
    (SELECT count(*) FROM device WHERE device.account = account.number AND device.state = 'active') FROM account";

const DEVICE: &str = "SELECT number, id, account, name, platform, public_key, state, created_ms, seen_ms FROM device";

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the address is taken; those of writing.
    pub async fn create_account(&self, new: NewAccount) -> Result<AccountRow, StoreError> {
        let id = self.entropy.uuid_v7(&self.clock);
        self.writer.run(move |state, connection| insert_account(state, connection, &new, id)).await
    }

    /// All accounts in the order of their addresses.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        self.read(|connection| {
            let sql = format!("{ACCOUNT} WHERE email NOT LIKE ?1 || '%' ORDER BY email");
            let mut statement = connection.prepare_cached(&sql).map_err(sqlite_error)?;
            let mut rows = statement.query([REMOVED]).map_err(sqlite_error)?;
            let mut accounts = Vec::new();
            while let Some(row) = rows.next().map_err(sqlite_error)? {
                accounts.push(account_of(row)?);
            }
            Ok(accounts)
        })
        .await
    }

    /// The account of this (lower-cased) address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn account(&self, email: &str) -> Result<Option<AccountRow>, StoreError> {
        let email = email.to_owned();
        self.read(move |connection| account_by_email(connection, &email)).await
    }

    /// Changes an account and tells its live sessions.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; those of writing.
    pub async fn change_account(&self, email: &str, change: AccountChange) -> Result<AccountRow, StoreError> {
        let email = email.to_owned();
        self.writer.run(move |state, connection| update_account(state, connection, &email, change)).await
    }

    /// All devices with their accounts, the latest seen first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn devices(&self) -> Result<Vec<(DeviceRow, AccountRow)>, StoreError> {
        self.read(|connection| {
            let sql = format!("{DEVICE} ORDER BY seen_ms DESC, number DESC");
            let mut statement = connection.prepare_cached(&sql).map_err(sqlite_error)?;
            let mut rows = statement.query([]).map_err(sqlite_error)?;
            let mut devices = Vec::new();
            while let Some(row) = rows.next().map_err(sqlite_error)? {
                let device = device_of(row)?;
                let account = account_by_number(connection, device.account)?;
                devices.push((device, account.ok_or_else(|| StoreError::Damaged("a device has no account".into()))?));
            }
            Ok(devices)
        })
        .await
    }

    /// A device with its account, as both are now.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn device(&self, id: DeviceId) -> Result<Option<(DeviceRow, AccountRow)>, StoreError> {
        self.read(move |connection| device_where(connection, "id", id.0.as_bytes().as_slice())).await
    }

    /// The same by the device's number.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn device_by_number(&self, number: DeviceNo) -> Result<Option<(DeviceRow, AccountRow)>, StoreError> {
        self.read(move |connection| device_where(connection, "number", number)).await
    }

    /// The device by which an operator writes for an account; made where there is none. Its key is none of the curve's, so
    /// no proof for it is ever valid.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn operator_device(&self, account: AccountNo) -> Result<DeviceNo, StoreError> {
        const NO_KEY: [u8; 65] = [0; 65];
        let id = DeviceId(self.entropy.uuid_v7(&self.clock));
        self.writer
            .run(move |state, connection| {
                const SELECT: &str = "SELECT number FROM device
                    WHERE account = :account AND public_key = :key AND state = 'active' ORDER BY number LIMIT 1";
                let found = connection
                    .query_row(SELECT, named_params! { ":account": account, ":key": NO_KEY.as_slice() }, |row| {
                        row.get(0)
                    })
                    .optional()
                    .map_err(sqlite_error)?;
                if let Some(number) = found {
                    return Ok(number);
                }
                let new = NewDevice { id, name: "omctl".into(), platform: "operator".into(), public_key: NO_KEY };
                insert_device(connection, account, &new, state.clock.now_ms())
            })
            .await
    }

    /// Takes a device out of service for good and ends its sessions.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; those of writing.
    pub async fn revoke_device(&self, id: DeviceId) -> Result<(), StoreError> {
        self.writer
            .run(move |state, connection| {
                // A wiped device stays wiped: revoking it would let it keep its data.
                const UPDATE: &str = "UPDATE device
                    SET state = CASE state WHEN 'wiped' THEN 'wiped' ELSE 'revoked' END, fence = fence + 1
                    WHERE id = :id RETURNING number";
                let number: Option<DeviceNo> = connection
                    .query_row(UPDATE, named_params! { ":id": id.0.as_bytes().as_slice() }, |row| row.get(0))
                    .optional()
                    .map_err(sqlite_error)?;
                state.publish_notice(Notice::Device(number.ok_or(StoreError::NotFound("device"))?));
                Ok(())
            })
            .await
    }
}

/// Adds an account within the caller's transaction.
pub(super) fn insert_account(
    state: &WriterState,
    connection: &Connection,
    new: &NewAccount,
    id: Uuid,
) -> Result<AccountRow, StoreError> {
    const INSERT: &str = "INSERT INTO account (id, email, role, claims, password, created_ms)
        VALUES (:id, :email, :role, :claims, :password, :now) ON CONFLICT (email) DO NOTHING";
    let made = connection
        .execute(
            INSERT,
            named_params! {
                ":id": id.as_bytes().as_slice(), ":email": new.email, ":role": new.role,
                ":claims": claims_text(&new.claims), ":password": new.password, ":now": state.clock.now_ms(),
            },
        )
        .map_err(sqlite_error)?;
    if made == 0 {
        return Err(StoreError::Exists("account"));
    }
    account_by_number(connection, AccountNo(connection.last_insert_rowid() as u64))?
        .ok_or(StoreError::NotFound("account"))
}

/// Changes an account within the caller's transaction and tells its live sessions.
pub(super) fn update_account(
    state: &mut WriterState,
    connection: &Connection,
    email: &str,
    change: AccountChange,
) -> Result<AccountRow, StoreError> {
    const UPDATE: &str = "UPDATE account
        SET role = :role, claims = :claims, password = :password, disabled = :disabled WHERE number = :number";
    let mut account = account_by_email(connection, email)?.ok_or(StoreError::NotFound("account"))?;
    account.role = change.role.unwrap_or(account.role);
    account.claims = change.claims.unwrap_or(account.claims);
    account.password = change.password.unwrap_or(account.password);
    account.disabled = change.disabled.unwrap_or(account.disabled);
    connection
        .execute(
            UPDATE,
            named_params! {
                ":role": account.role, ":claims": claims_text(&account.claims), ":password": account.password,
                ":disabled": account.disabled, ":number": account.number,
            },
        )
        .map_err(sqlite_error)?;
    state.publish_notice(Notice::Account(account.number));
    Ok(account)
}

/// Adds a device within the caller's transaction.
pub(super) fn insert_device(
    connection: &Connection,
    account: AccountNo,
    new: &NewDevice,
    now: i64,
) -> Result<DeviceNo, StoreError> {
    const INSERT: &str = "INSERT INTO device (id, account, name, platform, public_key, created_ms, seen_ms)
        VALUES (:id, :account, :name, :platform, :key, :now, :now)";
    connection
        .execute(
            INSERT,
            named_params! {
                ":id": new.id.0.as_bytes().as_slice(), ":account": account, ":name": new.name,
                ":platform": new.platform, ":key": new.public_key.as_slice(), ":now": now,
            },
        )
        .map_err(sqlite_error)?;
    Ok(DeviceNo(connection.last_insert_rowid() as u64))
}

pub(super) fn account_by_number(connection: &Connection, number: AccountNo) -> Result<Option<AccountRow>, StoreError> {
    one_account(connection, &format!("{ACCOUNT} WHERE number = ?1"), number)
}

/// A removed account has no address any more.
pub(super) fn account_by_email(connection: &Connection, email: &str) -> Result<Option<AccountRow>, StoreError> {
    if email.starts_with(REMOVED) {
        return Ok(None);
    }
    one_account(connection, &format!("{ACCOUNT} WHERE email = ?1"), email)
}

fn one_account(
    connection: &Connection,
    sql: &str,
    parameter: impl rusqlite::ToSql,
) -> Result<Option<AccountRow>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(sqlite_error)?;
    let mut rows = statement.query([parameter]).map_err(sqlite_error)?;
    rows.next().map_err(sqlite_error)?.map(account_of).transpose()
}

/// `column` is one of ours, never input.
pub(super) fn device_where(
    connection: &Connection,
    column: &'static str,
    parameter: impl rusqlite::ToSql,
) -> Result<Option<(DeviceRow, AccountRow)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{DEVICE} WHERE {column} = ?1")).map_err(sqlite_error)?;
    let mut rows = statement.query([parameter]).map_err(sqlite_error)?;
    let Some(device) = rows.next().map_err(sqlite_error)?.map(device_of).transpose()? else {
        return Ok(None);
    };
    Ok(account_by_number(connection, device.account)?.map(|account| (device, account)))
}

fn account_of(row: &Row<'_>) -> Result<AccountRow, StoreError> {
    let read = || -> rusqlite::Result<(AccountRow, String)> {
        let account = AccountRow {
            number: row.get(0)?,
            id: AccountId(Uuid::from_bytes(row.get(1)?)),
            email: row.get(2)?,
            role: row.get(3)?,
            claims: Map::new(),
            password: row.get(5)?,
            disabled: row.get(6)?,
            created_ms: row.get(7)?,
            devices: row.get(8)?,
        };
        Ok((account, row.get(4)?))
    };
    let (mut account, claims) = read().map_err(sqlite_error)?;
    account.claims =
        serde_json::from_str(&claims).map_err(|error| StoreError::Damaged(format!("claims of an account: {error}")))?;
    Ok(account)
}

fn device_of(row: &Row<'_>) -> Result<DeviceRow, StoreError> {
    let read = || -> rusqlite::Result<(DeviceRow, String)> {
        let device = DeviceRow {
            number: row.get(0)?,
            id: DeviceId(Uuid::from_bytes(row.get(1)?)),
            account: row.get(2)?,
            name: row.get(3)?,
            platform: row.get(4)?,
            public_key: row.get(5)?,
            state: DeviceState::Revoked,
            created_ms: row.get(7)?,
            seen_ms: row.get(8)?,
        };
        Ok((device, row.get(6)?))
    };
    let (mut device, state) = read().map_err(sqlite_error)?;
    device.state =
        DeviceState::parse(&state).ok_or_else(|| StoreError::Damaged(format!("a device in state `{state}`")))?;
    Ok(device)
}

fn claims_text(claims: &Map<String, Value>) -> String {
    serde_json::to_string(claims).expect("an object always has a JSON form")
}

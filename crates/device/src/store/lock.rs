//! Locks on the app's data: what a command ordered, and a lease that ran out.
//!
//! A lock hides: the store answers no app and takes no write, and what waits to be sent stays. Only an order destroys. What
//! counts is in the file, so that every process and every start sees it.

use omctl_protocol::Incarnation;
use omctl_protocol::frame::{COMMAND_MAX, Command, CommandKind};
use rusqlite::Connection;

use super::{Durability, Result, Store, StoreError, account, channels, state};

/// Why an app may not touch its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The server ordered it.
    Ordered,
    /// Too long without a word from the server; the next one reopens.
    LeaseExpired,
    /// The data was destroyed by order.
    Wiped,
}

/// The key that every process looks at.
const LOCK: &str = "lock";

/// How much of a lease may pass before it is noted in the file how much: a hundredth.
const NOTED_PARTS: i64 = 100;

impl Lock {
    /// One clause for people.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Ordered => "an administrator ordered it",
            Self::LeaseExpired => "it has not heard from its server for too long",
            Self::Wiped => "it was destroyed by order of an administrator",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::LeaseExpired => "lease_expired",
            Self::Wiped => "wiped",
        }
    }
}

/// The lock of a file, as any connection sees it.
pub(crate) fn of(conn: &Connection) -> Result<Option<Lock>> {
    let word: Option<String> = state::get(conn, LOCK)?;
    let kinds = [Lock::Ordered, Lock::LeaseExpired, Lock::Wiped];
    Ok(word.and_then(|word| kinds.into_iter().find(|kind| kind.word() == word)))
}

/// Refuses where the app may not touch its data.
pub(crate) fn check(conn: &Connection) -> Result<()> {
    match of(conn)? {
        Some(lock) => Err(StoreError::Locked(lock)),
        None => Ok(()),
    }
}

/// How much of the lease has passed. Kept in memory, and in the file now and then.
///
/// Of each interval between two looks the larger advance counts, that of the wall clock or that of the time since boot: a
/// clock that is set back gives no time back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease {
    /// How long it is; none was given yet, or the server gives none.
    length_ms: Option<i64>,
    used_ms: i64,
    wall_ms: i64,
    up_ms: Option<i64>,
    /// What has passed since it was noted in the file last.
    since_noted_ms: i64,
}

impl Lease {
    pub(crate) fn load(conn: &Connection) -> Result<Self> {
        let used_ms = state::get(conn, "lease_used_ms")?.unwrap_or(0);
        Ok(Self {
            length_ms: state::get(conn, "lease_ms")?,
            used_ms,
            since_noted_ms: 0,
            wall_ms: state::get(conn, "lease_wall_ms")?.unwrap_or(0),
            up_ms: state::get(conn, "lease_up_ms")?,
        })
    }

    /// Looks at the clocks.
    fn look(&mut self, wall_ms: i64, up_ms: Option<i64>) {
        let by_wall = wall_ms.saturating_sub(self.wall_ms);
        let by_up = match (self.up_ms, up_ms) {
            (Some(before), Some(now)) if now >= before => now - before,
            // Booted since: at least what has passed after that.
            (Some(_), Some(now)) => now,
            _ => 0,
        };
        let passed = by_wall.max(by_up).max(0);
        self.used_ms = self.used_ms.saturating_add(passed);
        self.since_noted_ms = self.since_noted_ms.saturating_add(passed);
        (self.wall_ms, self.up_ms) = (wall_ms, up_ms);
    }

    fn note(&mut self, conn: &Connection) -> Result<()> {
        state::set(conn, "lease_used_ms", self.used_ms)?;
        state::set(conn, "lease_wall_ms", self.wall_ms)?;
        if let Some(up_ms) = self.up_ms {
            state::set(conn, "lease_up_ms", up_ms)?;
        }
        self.since_noted_ms = 0;
        Ok(())
    }
}

impl Store {
    /// Why the app may not touch its data, if it may not.
    ///
    /// # Errors
    /// SQLite's.
    pub fn lock(&self) -> Result<Option<Lock>> {
        of(&self.conn)
    }

    /// Number of the newest command that was carried out.
    ///
    /// # Errors
    /// SQLite's.
    pub fn commanded(&self) -> Result<u64> {
        Ok(state::get::<i64>(&self.conn, "command")?.map_or(0, i64::unsigned_abs))
    }

    /// Carries a command out; durably, when this returns. `false`: it was before, or a newer one.
    ///
    /// # Errors
    /// SQLite's; nothing was done then.
    pub fn obey(&mut self, command: &Command) -> Result<bool> {
        if command.n <= self.commanded()? {
            return Ok(false);
        }
        if command.n > COMMAND_MAX {
            return Err(StoreError::BadCommand);
        }
        let n = state::signed(command.n);
        let is_wiped = self.lock()? == Some(Lock::Wiped);
        match command.kind {
            CommandKind::Wipe if !is_wiped => self.wipe(n)?,
            // What is destroyed does not come back.
            _ if is_wiped => self.intent(Durability::Full, |conn, _| state::set(conn, "command", n))?,
            CommandKind::Lock | CommandKind::Wipe => self.intent(Durability::Full, |conn, _| {
                state::set(conn, "command", n)?;
                state::set(conn, LOCK, Lock::Ordered.word())
            })?,
            // A word from the server, too.
            CommandKind::Unlock => {
                let mut lease = self.lease;
                self.intent(Durability::Full, |conn, _| {
                    state::set(conn, "command", n)?;
                    lease.used_ms = 0;
                    lease.note(conn)?;
                    state::clear(conn, LOCK)
                })?;
                self.lease = lease;
            }
        }
        Ok(true)
    }

    /// Destroys everything of the account, overwritten in the file. What stays is what it takes to tell the server so: who
    /// the device is, and its tokens.
    fn wipe(&mut self, n: i64) -> Result<()> {
        let next = Incarnation(self.options.entropy.uuid_v4());
        self.destroy(|conn, channels| {
            let kept = "SELECT key, value FROM om_state WHERE key IN ('device', 'account') OR key LIKE 'note.%'";
            let mut statement = conn.prepare(kept)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let kept: Vec<(String, rusqlite::types::Value)> = rows.collect::<rusqlite::Result<_>>()?;
            drop(statement);
            account::remove_all(conn, channels)?;
            for (key, value) in kept {
                state::set(conn, &key, value)?;
            }
            state::set(conn, "incarnation", next.to_string())?;
            state::set(conn, "command", n)?;
            state::set(conn, LOCK, Lock::Wiped.word())
        })?;
        self.lease = Lease::default();
        Ok(())
    }

    /// Destroys something of the file so that it is not in it any more.
    pub(super) fn destroy(&mut self, work: impl FnOnce(&Connection, &channels::Channels) -> Result<()>) -> Result<()> {
        self.conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
        let done = self.intent(Durability::Full, |conn, channels| {
            account::overwrite_free_pages(conn)?;
            work(conn, channels)
        });
        self.conn.pragma_update_and_check(None, "secure_delete", false, |_| Ok(()))?;
        done?;
        self.channels = channels::load(&self.conn)?;
        self.session = self.session.fresh();
        let busy: bool = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy {
            tracing::warn!("somebody reads this file; what was removed is in its log until the next checkpoint");
        }
        Ok(())
    }

    /// The server was heard: the lease begins anew, with this length, and what it had locked is open.
    pub(crate) fn renew_lease(&mut self, length_ms: Option<i64>) -> Result<()> {
        let mut lease = Lease { length_ms, used_ms: 0, ..self.lease };
        let is_open = self.lock()? != Some(Lock::LeaseExpired);
        if length_ms.is_none() && self.lease.length_ms.is_none() && is_open {
            return Ok(());
        }
        self.intent(Durability::Normal, |conn, _| {
            match length_ms {
                Some(length_ms) => state::set(conn, "lease_ms", length_ms)?,
                None => state::clear(conn, "lease_ms")?,
            }
            if !is_open {
                state::clear(conn, LOCK)?;
            }
            lease.note(conn)
        })?;
        self.lease = lease;
        Ok(())
    }

    /// Lets the lease go on, and locks where it has run out; where the server was heard, it begins anew. `up_ms`: since the
    /// machine was booted, where that is known.
    ///
    /// # Errors
    /// SQLite's; the look counts all the same.
    pub(crate) fn look_at_lease(&mut self, wall_ms: i64, up_ms: Option<i64>, is_heard: bool) -> Result<()> {
        let Some(length_ms) = self.lease.length_ms else {
            (self.lease.wall_ms, self.lease.up_ms) = (wall_ms, up_ms);
            return Ok(());
        };
        self.lease.look(wall_ms, up_ms);
        if is_heard {
            self.lease.used_ms = 0;
        }
        let mut lease = self.lease;
        let has_expired = lease.used_ms >= length_ms;
        let lock = self.lock()?;
        let locks = has_expired && lock.is_none();
        let opens = is_heard && lock == Some(Lock::LeaseExpired);
        if !locks && !opens && lease.since_noted_ms <= length_ms / NOTED_PARTS {
            return Ok(());
        }
        self.intent(Durability::Normal, |conn, _| {
            if locks {
                state::set(conn, LOCK, Lock::LeaseExpired.word())?;
            }
            if opens {
                state::clear(conn, LOCK)?;
            }
            lease.note(conn)
        })?;
        self.lease = lease;
        Ok(())
    }
}

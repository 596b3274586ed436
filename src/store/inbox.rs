//! Devices' sessions and their mutations: accepted durably, waiting, settled, answered again.

use std::collections::HashMap;

use omctl_protocol::{Incarnation, MutationId, Position, Receipt, Seq};
use rusqlite::{Connection, OptionalExtension as _, named_params};
use uuid::Uuid;

use super::state::WriterState;
use super::{DeviceNo, IncarnationNo, Notice, Store, StoreError, sqlite_error};

/// A device's outbox history as the server knows it, and the fence of the session that just began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncarnationState {
    /// Its number in this store.
    pub number: IncarnationNo,
    /// Everything up to here is durable here.
    pub accepted: Seq,
    /// The device holds the receipts up to here.
    pub acked: Seq,
    /// Of this session: an older one may not write any more.
    pub fence: u64,
    /// It began after a reset: the last position that both histories share.
    pub kept: Option<Position>,
    /// Something that waited in it was taken along into a later one: no device may go on in it.
    pub left_behind: bool,
}

/// A mutation that was not accepted before.
#[derive(Clone, Debug)]
pub struct NewMutation {
    /// Its number.
    pub seq: Seq,
    /// The id it is settled under.
    pub settled_as: MutationId,
    /// Of its payload and its account.
    pub digest: [u8; 16],
    /// The backend that will settle it.
    pub backend: String,
    /// As it was sent.
    pub payload: String,
    /// Where it waits already, under an earlier incarnation.
    pub moved_from: Option<(IncarnationNo, Seq)>,
}

/// Mutations to accept, for one session.
#[derive(Clone, Debug)]
pub struct Accept {
    /// Whose they are.
    pub device: DeviceNo,
    /// The session.
    pub fence: u64,
    /// The history.
    pub incarnation: IncarnationNo,
    /// The mutations.
    pub mutations: Vec<NewMutation>,
    /// The new watermark.
    pub accepted: Seq,
}

/// What is known of a mutation id.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Digest of the payload it came with.
    pub digest: [u8; 16],
    /// Where it was accepted.
    pub incarnation: IncarnationNo,
    /// Its number there.
    pub seq: Seq,
    /// Its receipt, once it is settled.
    pub receipt: Option<Receipt>,
    /// The batch that it stands in.
    pub batch: Option<u64>,
}

/// A mutation that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct InboxEntry {
    /// The history it came in.
    pub incarnation: IncarnationNo,
    /// Its number there.
    pub seq: Seq,
    /// The id it is settled under.
    pub settled_as: MutationId,
    /// As it was sent.
    pub payload: String,
    /// How often it failed alone.
    pub tries: u32,
    /// Its history began after a reset: the last position that both histories share.
    pub kept: Option<Position>,
    /// Everything of its history up to here was accepted.
    pub accepted: Seq,
}

impl Store {
    /// Begins a session: it fences every older one of the device. `kept` is noted of an incarnation that is new.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the device may not act; those of writing.
    pub async fn begin_session(
        &self,
        device: DeviceNo,
        incarnation: Incarnation,
        kept: Option<Position>,
    ) -> Result<IncarnationState, StoreError> {
        self.writer
            .run(move |state, connection| {
                const FENCE: &str = "UPDATE device SET fence = fence + 1, seen_ms = :now
                    WHERE number = :device AND state = 'active' RETURNING fence";
                const UPSERT: &str = "INSERT INTO incarnation (device, id, started_ms, seen_ms, kept)
                    VALUES (:device, :id, :now, :now, :kept)
                    ON CONFLICT (device, id) DO UPDATE SET seen_ms = :now RETURNING number, accepted, acked, kept, left_behind";
                let now = state.clock.now_ms();
                #[cfg(feature = "planted")]
                super::planted::forget_tombstones(state, connection)?;
                let fence: Option<u64> = connection
                    .query_row(FENCE, named_params! { ":now": now, ":device": device }, |row| row.get(0))
                    .optional()
                    .map_err(sqlite_error)?;
                let fence = fence.ok_or(StoreError::Fenced)?;
                state.publish_notice(Notice::Device(device));
                connection
                    .query_row(
                        UPSERT,
                        named_params! {
                            ":device": device, ":id": incarnation.0.as_bytes().as_slice(), ":now": now,
                            ":kept": kept.map(|position| position.0),
                        },
                        |row| {
                            Ok(IncarnationState {
                                number: row.get(0)?,
                                accepted: Seq(row.get(1)?),
                                acked: Seq(row.get(2)?),
                                kept: row.get::<_, Option<u64>>(3)?.map(Position),
                                left_behind: row.get(4)?,
                                fence,
                            })
                        },
                    )
                    .map_err(sqlite_error)
            })
            .await
    }

    /// The fence of a device's newest session, and whether the device may act at all.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn session_fence(&self, device: DeviceNo) -> Result<Option<u64>, StoreError> {
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT fence FROM device WHERE number = ?1 AND state = 'active'")
                .and_then(|mut statement| statement.query_row([device], |row| row.get(0)).optional())
                .map_err(sqlite_error)
        })
        .await
    }

    /// What is known of these mutation ids.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn known_mutations(&self, ids: Vec<MutationId>) -> Result<HashMap<MutationId, Accepted>, StoreError> {
        self.read(move |connection| {
            let mut known = HashMap::new();
            for id in ids {
                if let Some(accepted) = known_mutation(connection, id)? {
                    known.insert(id, accepted);
                }
            }
            Ok(known)
        })
        .await
    }

    /// Makes mutations durable that wait for their backend.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]; those of writing.
    pub async fn accept(&self, accept: Accept) -> Result<(), StoreError> {
        self.writer.run(move |state, connection| self::accept(state, connection, &accept)).await
    }

    /// The oldest mutations of a device that wait for a backend, in their order.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn inbox(&self, device: DeviceNo, backend: String, limit: usize) -> Result<Vec<InboxEntry>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT inbox.incarnation, seq, mutation, payload, tries, kept, accepted
                FROM incarnation JOIN inbox ON inbox.incarnation = incarnation.number
                WHERE incarnation.device = :device AND backend = :backend
                ORDER BY inbox.incarnation, seq LIMIT :limit";
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let rows = statement
                .query_map(named_params! { ":device": device, ":backend": backend, ":limit": limit as i64 }, |row| {
                    Ok(InboxEntry {
                        incarnation: row.get(0)?,
                        seq: Seq(row.get(1)?),
                        settled_as: MutationId(Uuid::from_bytes(row.get(2)?)),
                        payload: row.get(3)?,
                        tries: row.get(4)?,
                        kept: row.get::<_, Option<u64>>(5)?.map(Position),
                        accepted: Seq(row.get(6)?),
                    })
                })
                .map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }

    /// Which devices have mutations waiting for which backends, with their number.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn inbox_backlog(&self) -> Result<Vec<(DeviceNo, String, u64)>, StoreError> {
        self.read(|connection| {
            const SELECT: &str = "SELECT device, backend, count(*)
                FROM inbox JOIN incarnation ON inbox.incarnation = incarnation.number GROUP BY device, backend";
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }

    /// Notes that waiting mutations are about to be tried (or failed once more).
    ///
    /// # Errors
    /// Those of writing.
    pub async fn note_tries(&self, entries: Vec<(IncarnationNo, Seq)>) -> Result<(), StoreError> {
        self.writer
            .run(move |_, connection| {
                const UPDATE: &str =
                    "UPDATE inbox SET tries = tries + 1 WHERE incarnation = :incarnation AND seq = :seq";
                let mut statement = connection.prepare_cached(UPDATE).map_err(sqlite_error)?;
                for (incarnation, seq) in entries {
                    statement
                        .execute(named_params! { ":incarnation": incarnation, ":seq": seq.0 })
                        .map_err(sqlite_error)?;
                }
                Ok(())
            })
            .await
    }

    /// The receipts of an incarnation that its device does not hold yet, in the order they were settled in.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn receipts_after(&self, incarnation: IncarnationNo, acked: Seq) -> Result<Vec<Receipt>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT body FROM receipt_batch
                WHERE incarnation = :incarnation AND last_seq > :acked ORDER BY number";
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let bodies = statement
                .query_map(named_params! { ":incarnation": incarnation, ":acked": acked.0 }, |row| {
                    row.get::<_, String>(0)
                })
                .map_err(sqlite_error)?;
            let mut receipts = Vec::new();
            for body in bodies {
                receipts.extend(parse_receipts(&body.map_err(sqlite_error)?)?);
            }
            receipts.retain(|receipt| receipt.seq > acked);
            Ok(receipts)
        })
        .await
    }

    /// Notes that a device holds the receipts up to this seq.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn ack(&self, incarnation: IncarnationNo, seq: Seq) -> Result<(), StoreError> {
        self.writer
            .run(move |_, connection| {
                const UPDATE: &str = "UPDATE incarnation SET acked = max(acked, min(:seq, accepted))
                    WHERE number = :incarnation";
                connection
                    .prepare_cached(UPDATE)
                    .and_then(|mut s| s.execute(named_params! { ":seq": seq.0, ":incarnation": incarnation }))
                    .map(drop)
                    .map_err(sqlite_error)
            })
            .await
    }
}

/// Puts mutations into the inbox and moves the watermark.
pub(super) fn accept(state: &WriterState, connection: &Connection, accept: &Accept) -> Result<(), StoreError> {
    super::log::check_fence(connection, accept.device, accept.fence)?;
    const NOTE: &str = "INSERT INTO mutation (id, digest, incarnation, seq)
        VALUES (:id, :digest, :incarnation, :seq)
        ON CONFLICT (id) DO UPDATE SET incarnation = :incarnation, seq = :seq, batch = NULL";
    const INBOX: &str = "INSERT INTO inbox (incarnation, seq, mutation, backend, payload, at_ms)
        VALUES (:incarnation, :seq, :mutation, :backend, :payload, :at)";
    const MOVE: &str = "DELETE FROM inbox WHERE incarnation = :incarnation AND seq = :seq";
    const LEAVE: &str = "UPDATE incarnation SET left_behind = 1 WHERE number = :incarnation AND left_behind = 0";
    const ACCEPT: &str = "UPDATE incarnation SET accepted = max(accepted, :seq) WHERE number = :incarnation";
    let cached = |sql| connection.prepare_cached(sql).map_err(sqlite_error);
    for new in &accept.mutations {
        let id = new.settled_as.0.as_bytes().as_slice();
        if let Some((incarnation, seq)) = new.moved_from {
            cached(MOVE)?
                .execute(named_params! { ":incarnation": incarnation, ":seq": seq.0 })
                .map_err(sqlite_error)?;
            cached(LEAVE)?.execute(named_params! { ":incarnation": incarnation }).map_err(sqlite_error)?;
        }
        cached(NOTE)?
            .execute(named_params! {
                ":id": id, ":digest": new.digest, ":incarnation": accept.incarnation, ":seq": new.seq.0,
            })
            .map_err(sqlite_error)?;
        cached(INBOX)?
            .execute(named_params! {
                ":incarnation": accept.incarnation, ":seq": new.seq.0, ":mutation": id,
                ":backend": new.backend, ":payload": new.payload, ":at": state.clock.now_ms(),
            })
            .map_err(sqlite_error)?;
    }
    let moved = cached(ACCEPT)?
        .execute(named_params! { ":seq": accept.accepted.0, ":incarnation": accept.incarnation })
        .map_err(sqlite_error)?;
    // Forgotten in mid-session, which takes months: the next session begins it anew.
    if moved == 1 { Ok(()) } else { Err(StoreError::Fenced) }
}

fn known_mutation(connection: &Connection, id: MutationId) -> Result<Option<Accepted>, StoreError> {
    const SELECT: &str = "SELECT digest, mutation.incarnation, seq, receipt_batch.body, receipt_batch.number
        FROM mutation LEFT JOIN receipt_batch ON receipt_batch.number = mutation.batch WHERE mutation.id = :id";
    type Found = ([u8; 16], IncarnationNo, u64, Option<(u64, String)>);
    let found: Option<Found> = connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| {
            statement
                .query_row(named_params! { ":id": id.0.as_bytes().as_slice() }, |row| {
                    let batch: Option<u64> = row.get(4)?;
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, batch.zip(row.get::<_, Option<String>>(3)?)))
                })
                .optional()
        })
        .map_err(sqlite_error)?;
    let Some((digest, incarnation, seq, batch)) = found else { return Ok(None) };
    let receipt = match &batch {
        // The receipt names the id that the device knows, which may differ from the one it was settled under; its seq
        // in the same batch does not.
        Some((_, body)) => parse_receipts(body)?.into_iter().find(|receipt| receipt.id == id || receipt.seq.0 == seq),
        None => None,
    };
    Ok(Some(Accepted { digest, incarnation, seq: Seq(seq), receipt, batch: batch.map(|(number, _)| number) }))
}

pub(super) fn parse_receipts(body: &str) -> Result<Vec<Receipt>, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged(format!("receipts: {error}")))
}

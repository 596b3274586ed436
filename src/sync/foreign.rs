//! Writes into a backend behind sync's back, as an application makes them that knows nothing of us: how a fleet tests that
//! foreign edits are noticed.
//!
//! *Invariant:* nothing here tells the log, an outbox or a device; what comes of it is detection's work alone.

use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use omctl_protocol::{AssignedBy, ChannelName, Fields, Operation, RecordId, Value};

use super::{Sync, SyncError};
use crate::backend::{Backend, Collection, Effect, Key, Written};
use crate::live::{Home, Live, LiveChannel};
use crate::store::StoreError;

/// How often an addition is tried that somebody else is faster than.
const TRIES: u32 = 20;

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// What is done.
    pub op: Operation,
    /// The record of an update or a delete.
    pub record: Option<RecordId>,
    /// New values, by field.
    pub set: Fields,
    /// Differences that an update adds to number fields.
    pub add: Fields,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ForeignEnd {
    /// Done.
    Done {
        /// The row's key.
        key: String,
        /// What was written, by field.
        wrote: Fields,
    },
    /// Not done, and why: `gone`, or the backend's reason.
    Refused(String),
}

impl Sync {
    /// Does it; `None` where the channel is managed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no such channel; those of the backend.
    pub async fn write_foreign(&self, name: &ChannelName, foreign: Foreign) -> Result<Option<ForeignEnd>, SyncError> {
        let live = self.inner.live.current();
        let channel = live.channels.get(name).ok_or(StoreError::NotFound("channel"))?;
        let Home::Backend(backend, collection) = &channel.home else { return Ok(None) };
        for _ in 0..TRIES {
            let (effect, wrote) = match self.foreign_effect(&live, channel, (&**backend, collection), &foreign).await? {
                Ok(planned) => planned,
                Err(why) => return Ok(Some(ForeignEnd::Refused(why))),
            };
            match backend.write_foreign(collection, &effect).await? {
                Written::Done { key, .. } => {
                    let key = key.as_ref().map(Key::to_text).unwrap_or_default();
                    return Ok(Some(ForeignEnd::Done { key, wrote }));
                }
                Written::Lost => {}
                Written::Exists => return Ok(Some(ForeignEnd::Refused("exists".to_owned()))),
                Written::Refused { message, .. } => return Ok(Some(ForeignEnd::Refused(message))),
                Written::Already(_) => return Err(SyncError::Bug("a foreign write has no dedupe row".to_owned())),
            }
        }
        Ok(Some(ForeignEnd::Refused("somebody else was faster each time".to_owned())))
    }

    /// The effect, with what it writes by field; `Err` where it cannot be.
    async fn foreign_effect(
        &self,
        live: &Live,
        channel: &LiveChannel,
        (backend, collection): (&dyn Backend, &Collection),
        foreign: &Foreign,
    ) -> Result<Result<(Effect, Fields), String>, SyncError> {
        let mut set = Vec::new();
        for (name, json) in &foreign.set {
            let Some((place, field)) = channel.schema.field(name) else { return Ok(Err(format!("no field `{name}`"))) };
            let Ok(value) = field.kind.from_json(json) else { return Ok(Err(format!("`{name}` is not of its type"))) };
            match self.to_backend(live, channel, collection, place, &value) {
                Ok(value) => set.push((place, value)),
                Err(rejection) => return Ok(Err(rejection.message)),
            }
        }
        if foreign.op == Operation::Create {
            return Ok(self.foreign_insert(channel, set).map(|effect| (effect, foreign.set.clone())));
        }
        let key = foreign.record.as_ref().and_then(|record| self.key_of(channel, collection, record));
        let Some(key) = key else { return Ok(Err("gone".to_owned())) };
        let found = backend.read(collection, std::slice::from_ref(&key)).await?.into_iter().next().flatten();
        let Some(Ok(row)) = found else { return Ok(Err("gone".to_owned())) };
        if foreign.op == Operation::Delete {
            return Ok(Ok((Effect::Delete { key, expect: Vec::new() }, Fields::new())));
        }
        let (mut expect, mut wrote) = (Vec::new(), foreign.set.clone());
        for (name, json) in &foreign.add {
            if foreign.set.contains_key(name) {
                return Ok(Err(format!("`{name}` is both set and added to")));
            }
            let Some((place, field)) = channel.schema.field(name) else { return Ok(Err(format!("no field `{name}`"))) };
            let now = &row.values[place];
            let (Some(before), Some(difference)) =
                (number(now), field.kind.from_json(json).ok().and_then(|v| number(&v)))
            else {
                return Ok(Err(format!("`{name}` is no number")));
            };
            let sum = Value::Text((before + difference).normalized().to_plain_string());
            let Ok(sum) = field.kind.canonical(sum) else { return Ok(Err(format!("`{name}` is no number"))) };
            wrote.insert(name.clone(), sum.to_json());
            expect.push((place, now.clone()));
            set.push((place, sum));
        }
        Ok(Ok((Effect::Update { key, expect, set }, wrote)))
    }

    fn foreign_insert(&self, channel: &LiveChannel, set: Vec<(usize, Value)>) -> Result<Effect, String> {
        let schema = &channel.schema;
        let is_key = |place: usize| schema.is_key_field(&schema.fields[place].name);
        let (keys, set): (Vec<_>, Vec<_>) = set.into_iter().partition(|(place, _)| is_key(*place));
        // A row that is put back has the key it had.
        if schema.key.assigned_by == AssignedBy::Backend && keys.len() < schema.key.columns.len() {
            return Ok(Effect::Insert { key: None, set });
        }
        let mut key = Vec::new();
        for column in &schema.key.columns {
            let place = column.field.as_deref().and_then(|name| schema.field(name)).map(|(place, _)| place);
            key.push(match place {
                Some(place) => {
                    let given = keys.iter().find(|(one, _)| *one == place).map(|(_, value)| value.clone());
                    given.ok_or_else(|| format!("`{}` must have a value", column.column))?
                }
                None => Value::Text(self.inner.store.entropy().uuid_v7(self.inner.store.clock()).to_string()),
            });
        }
        Ok(Effect::Insert { key: Some(Key(key)), set })
    }
}

fn number(value: &Value) -> Option<BigDecimal> {
    match value {
        Value::Int(number) => Some(BigDecimal::from(*number)),
        Value::Float(number) => BigDecimal::from_str(&number.to_string()).ok(),
        Value::Text(text) => BigDecimal::from_str(text).ok(),
        Value::Null | Value::Bool(_) | Value::Bytes(_) => None,
    }
}

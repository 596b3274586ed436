//! Writes that an operator orders in the name of an account: from here on they are a device's mutations like any other.
//!
//! Each account has, once it is needed, a device of the operator: no key opens it, so nobody can act as it from outside.
//! Its outbox is one incarnation for ever. An order has a key of its own; its mutation's id is made of that and of what is
//! asked for, so the same order once more, after a lost answer or a crash, finds its mutation and gets the same receipt,
//! and another order under the same key is another mutation.

use std::time::{Duration, Instant};

use omctl_protocol::{
    AccountId, ChannelName, Fields, Incarnation, Mutation, MutationId, Operation, Receipt, RecordId, Value,
};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::accept::{Taken, Under};
use super::codec::{self, Births};
use super::{Sync, SyncError};
use crate::identity::{IdentityError, Principal};
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::store::{AccountNo, ChannelNo, StoreError};

/// How often it is looked whether an order is settled: a managed one is at once, others wait for their backend.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What an operator orders.
#[derive(Clone, Debug)]
pub struct Order {
    /// The channel.
    pub channel: ChannelName,
    /// What is done.
    pub op: Operation,
    /// The record; a create without one gets a new id.
    pub record: Option<RecordId>,
    /// The new values, by field.
    pub set: Fields,
    /// Names this order; without one it cannot be repeated.
    pub key: Option<String>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered {
    /// The record.
    pub record: RecordId,
    /// The durable answer; `None` where it is accepted and waits for its backend.
    pub receipt: Option<Receipt>,
}

impl Sync {
    /// Carries an order out as this account. What is wrong with it is in the receipt.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no such channel; [`IdentityError::AccountDisabled`]; those of the store and
    /// of reading the record.
    pub async fn order(&self, account: (AccountNo, AccountId), order: Order) -> Result<Ordered, SyncError> {
        let live = self.inner.live.current();
        let channel = live.channels.get(&order.channel).ok_or(StoreError::NotFound("channel"))?.clone();
        let names = Names::of(account.1, &order, || self.inner.store.entropy().uuid_v7(self.inner.store.clock()));
        let record = order.record.clone().unwrap_or(names.record);
        // One at a time: of two sessions of one device the newer one would fence the older.
        let ordering = self.inner.ordering.lock().await;
        if self.inner.store.known_mutations(vec![names.mutation]).await?.is_empty() {
            let device = self.inner.store.operator_device(account.0).await?;
            let who = self.inner.identity.principal_of(device).await?.ok_or(IdentityError::AccountDisabled)?;
            let old = self.seen_before(&live, &channel, &order, &record).await?;
            self.accept_order(&who, &channel, order, (names.mutation, record.clone()), old).await?;
        }
        drop(ordering);
        Ok(Ordered { record, receipt: self.receipt_of(names.mutation).await? })
    }

    async fn accept_order(
        &self,
        who: &Principal,
        channel: &LiveChannel,
        order: Order,
        (id, record): (MutationId, RecordId),
        old: Fields,
    ) -> Result<(), SyncError> {
        let state = self.inner.store.begin_session(who.device, Incarnation(who.device_id.0), None).await?;
        let seq = state.accepted.next();
        let mutation = Mutation {
            seq,
            id,
            channel: order.channel,
            v: channel.schema.version,
            op: order.op,
            record,
            old,
            new: order.set,
            at: None,
            group: None,
            atomic: None,
            again: None,
        };
        let under = Under { incarnation: state.number, fence: state.fence, accepted: state.accepted, kept: state.kept };
        match self.accept(who, under, vec![mutation]).await? {
            // Who orders keeps no outbox: the receipt is found by the mutation's id.
            Taken::Accepted { .. } => Ok(self.inner.store.ack(state.number, seq).await?),
            other => Err(SyncError::Bug(format!("an order is not taken: {other:?}"))),
        }
    }

    /// What the record holds now in the fields that the order changes: what its writer has seen, as it were. From here on
    /// the channel's policies decide about whoever is faster.
    async fn seen_before(
        &self,
        live: &Live,
        channel: &LiveChannel,
        order: &Order,
        record: &RecordId,
    ) -> Result<Fields, SyncError> {
        if order.op == Operation::Create {
            return Ok(Fields::new());
        }
        let Some(values) = self.values_now(live, channel, record).await? else { return Ok(Fields::new()) };
        let fields = channel.schema.fields.iter().zip(values);
        let wanted = fields.filter(|(field, _)| order.op == Operation::Delete || order.set.contains_key(&field.name));
        Ok(wanted.map(|(field, value)| (field.name.clone(), value.to_json())).collect())
    }

    /// A record as it is where it lives.
    async fn values_now(
        &self,
        live: &Live,
        channel: &LiveChannel,
        record: &RecordId,
    ) -> Result<Option<Vec<Value>>, SyncError> {
        let Home::Backend(backend, collection) = &channel.home else {
            let (_, heads) = self.inner.store.heads(vec![(ChannelNo(channel.number), record.clone())]).await?;
            return match heads.into_iter().next().flatten() {
                Some(head) => codec::values_of(channel, &head),
                None => Ok(None),
            };
        };
        let Some(key) = self.key_of(channel, collection, record) else { return Ok(None) };
        let rows = backend.read(collection, &[key]).await?.into_iter().flatten().filter_map(Result::ok).collect();
        let named = self.name_rows(live, channel, rows, Births::Every, &mut Vec::new()).await?;
        Ok(named.into_iter().find(|found| found.id == *record).map(|found| found.values))
    }

    /// Waits for a receipt, for as long as an answer may take.
    async fn receipt_of(&self, id: MutationId) -> Result<Option<Receipt>, SyncError> {
        let until = Instant::now() + limits::ORDER_WITHIN;
        loop {
            let known = self.inner.store.known_mutations(vec![id]).await?.remove(&id);
            let receipt = known.and_then(|accepted| accepted.receipt);
            if receipt.is_some() || Instant::now() > until {
                return Ok(receipt);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The names that an order gives by what it is.
struct Names {
    mutation: MutationId,
    record: RecordId,
}

impl Names {
    fn of(account: AccountId, order: &Order, random: impl FnOnce() -> Uuid) -> Self {
        let key = order.key.clone().unwrap_or_else(|| random().to_string());
        let asked = serde_json::json!([key, account, order.channel, order.op, order.record, order.set]).to_string();
        let name = |what: &str| {
            let digest = Sha256::new().chain_update(what).chain_update(&asked).finalize();
            let mut half = [0; 16];
            half.copy_from_slice(&digest[..16]);
            Builder::from_custom_bytes(half).into_uuid()
        };
        let record = RecordId::from(name("record").hyphenated().to_string().as_str());
        Self { mutation: MutationId(name("mutation")), record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_order_has_the_same_names_and_another_one_others() {
        let account = AccountId(Uuid::from_u128(1));
        let order = |key: Option<&str>, title: &str| Order {
            channel: "tickets".into(),
            op: Operation::Create,
            record: None,
            set: Fields::from([("title".to_owned(), title.into())]),
            key: key.map(str::to_owned),
        };
        let names = |order: &Order| Names::of(account, order, || Uuid::from_u128(7)).mutation;
        assert_eq!(names(&order(Some("a"), "x")), names(&order(Some("a"), "x")));
        assert_ne!(names(&order(Some("a"), "x")), names(&order(Some("b"), "x")));
        assert_ne!(names(&order(Some("a"), "x")), names(&order(Some("a"), "y")));
        let of_another = Names::of(AccountId(Uuid::from_u128(2)), &order(Some("a"), "x"), Uuid::nil).mutation;
        assert_ne!(names(&order(Some("a"), "x")), of_another);
    }
}

//! A server that keeps to the protocol: what a device has been through, with this one it must come to rest.
//!
//! It holds two records that anybody may see, and rejects whatever the device wants, so that what is held at the end is
//! known beforehand.

use std::collections::BTreeMap;

use omctl_protocol::frame::{Accepted, Command, CommandKind, Commit, GainedScope, Hello, Scopes, Welcome, parse_frame};
use omctl_protocol::value::encode_body;
use omctl_protocol::{
    BootId, ChannelName, Down, Epoch, Incarnation, Life, Mutation, MutationId, Outcome, PROTOCOL, Position, Receipt,
    RowHash, ScopeKey, ScopeSum, Seq, SumsDigest, Up, Value,
};
use uuid::Uuid;

use super::script::schema;

/// A version that no other server names.
const VERSION: u32 = 1_000;

const AT: Position = Position(1_000);

/// What it holds.
pub(super) const RECORDS: [(&str, &str); 2] = [("a", "server a"), ("new", "server new")];

#[derive(Debug, Default)]
pub(super) struct Server {
    accepted: BTreeMap<Incarnation, Seq>,
    now: Option<Incarnation>,
    receipts: BTreeMap<MutationId, Receipt>,
}

impl Server {
    fn epoch() -> Epoch {
        Epoch(Uuid::from_u128(77))
    }

    fn scope() -> ScopeKey {
        "honest".into()
    }

    /// Answers one frame.
    pub(super) fn hear(&mut self, line: &str) -> Vec<String> {
        match parse_frame::<Up>(line).expect("a device says frames") {
            Up::Hello(hello) => self.hello(&hello),
            Up::Mutate(mutate) => {
                let mut receipts = Vec::new();
                for mutation in &mutate.mutations {
                    receipts.extend(self.settle(mutation));
                }
                let accepted = Down::Accepted(Accepted { seq: self.accepted_now() });
                vec![accepted.to_line(), Down::Commit(Commit { position: AT, receipts, sums: None }).to_line()]
            }
            Up::Ack(ack) => {
                assert!(ack.seq <= self.accepted_now(), "nobody acknowledges what nobody has");
                Vec::new()
            }
            Up::Report(_) | Up::Bye(_) => Vec::new(),
        }
    }

    fn accepted_now(&self) -> Seq {
        self.now.and_then(|now| self.accepted.get(&now).copied()).unwrap_or_default()
    }

    fn settle(&mut self, mutation: &Mutation) -> Option<Receipt> {
        let accepted = self.now.and_then(|now| self.accepted.get_mut(&now)).expect("a greeting came first");
        assert!(mutation.seq <= accepted.next(), "{:?} leaves a gap after {accepted}", mutation.seq);
        *accepted = mutation.seq.max(*accepted);
        let receipt = Receipt {
            seq: mutation.seq,
            id: mutation.id,
            outcome: Outcome::Rejected,
            code: Some("scope_write".into()),
            message: None,
            field: None,
            position: None,
        };
        self.receipts.insert(mutation.id, receipt.clone());
        Some(receipt)
    }

    fn hello(&mut self, hello: &Hello) -> Vec<String> {
        self.now = Some(hello.incarnation);
        let accepted = *self.accepted.entry(hello.incarnation).or_default();
        let mut welcome = Welcome {
            protocol: PROTOCOL,
            epoch: Self::epoch(),
            boot: BootId(Uuid::from_u128(78)),
            position: AT,
            accepted,
            renew: false,
            reset: hello.epoch.is_some_and(|epoch| epoch != Self::epoch()),
            kept: None,
            list_scopes: false,
            lease_s: None,
        };
        welcome.renew = !welcome.reset && hello.last_seq < accepted;
        welcome.list_scopes = !welcome.reset && !welcome.renew && hello.scopes.digest.is_some();
        let first = Down::Welcome(Box::new(welcome.clone())).to_line();
        // What the other one ordered is forgotten here: the device is to be as it is.
        let unlock = Down::Command(Command {
            n: hello.command.saturating_add(1),
            kind: CommandKind::Unlock,
            signature: String::new(),
        })
        .to_line();
        if welcome.reset || welcome.renew || welcome.list_scopes {
            return vec![unlock, first];
        }
        let notes = ChannelName::from("notes");
        let lost = hello.scopes.list.iter().flatten().map(|(key, _)| key.clone()).collect();
        let gained = vec![GainedScope { scope: Self::scope(), channel: notes.clone() }];
        let (mut sum, mut rows) = (ScopeSum::default(), Vec::new());
        for (id, title) in RECORDS {
            let body = encode_body(&[Value::Text(title.into()), Value::Int(1), Value::Null]);
            let hash = RowHash::of(&notes, &id.into(), Life(1), &body);
            sum = sum.plus(hash);
            rows.push(format!("[\"{id}\",1,\"{hash}\",{}]", String::from_utf8_lossy(&body)));
        }
        let rows = format!(
            "{{\"rows\":{{\"scope\":\"{}\",\"channel\":\"notes\",\"v\":{VERSION},\"position\":{AT},\"sum\":\"{sum}\",\
             \"rows\":[{}]}}}}",
            Self::scope(),
            rows.join(",")
        );
        let known: Vec<Receipt> = self.receipts.values().filter(|receipt| receipt.seq <= accepted).cloned().collect();
        let sums = SumsDigest::of([(&Self::scope(), sum)].into_iter());
        vec![
            unlock,
            first,
            Down::Schema(Box::new(schema(&notes, VERSION))).to_line(),
            Down::Scopes(Scopes { gained, lost, digest: "honest".into() }).to_line(),
            rows,
            Down::Commit(Commit { position: AT, receipts: known, sums: Some(sums) }).to_line(),
        ]
    }
}

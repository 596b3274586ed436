//! What the figures share: a server's rooms over real files, one channel of five fields, and the clock on the wall.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use omctl::catalog::{Catalog, Channel, DeleteVsUpdate, Roles, ScopeDecl, WriteDecl};
use omctl::clock::{Clock, Entropy};
use omctl::identity::{Identity, NewAccount, Principal};
use omctl::live::{Live, LiveHandle, Numbered};
use omctl::push::Push;
use omctl::store::Store;
use omctl::sync::Sync;
use omctl::tasks::Tasks;
use omctl_protocol::api::{ActivateRequest, DeviceInfo};
use omctl_protocol::{
    AssignedBy, ChannelSchema, Fields, Incarnation, KeyColumn, KeyRule, Mutation, MutationId, Operation, SchemaVersion,
    Seq,
};
use serde_json::json;
use uuid::Uuid;

/// The rooms of a server, without its HTTP edge.
pub struct Rooms {
    pub store: Store,
    pub sync: Sync,
    pub push: Push,
    pub identity: Identity,
    pub clock: Clock,
    pub entropy: Entropy,
    pub tasks: Tasks,
}

/// A managed channel of about 200 bytes a record.
pub fn channel() -> Channel {
    let fields = [("title", "text"), ("body", "text"), ("status", "text"), ("hours", "decimal"), ("count", "int")];
    let fields = fields.map(|(name, kind)| serde_json::from_value(json!({ "name": name, "type": kind })).unwrap());
    Channel {
        name: "records".into(),
        backend: "managed".into(),
        table: "records".into(),
        filter: Vec::new(),
        schema: ChannelSchema {
            channel: "records".into(),
            version: SchemaVersion(0),
            key: KeyRule {
                assigned_by: AssignedBy::Device,
                columns: vec![KeyColumn { column: "id".into(), field: None }],
            },
            fields: fields.into(),
            writable: true,
        },
        scope: ScopeDecl::Public,
        write: WriteDecl { create: Roles::Any, update: Roles::Any, delete: Roles::Any },
        delete_vs_update: DeleteVsUpdate::UpdateWins,
        poll_every: None,
        file: "channels/records.yaml".into(),
    }
}

impl Rooms {
    pub async fn open(folder: &Path) -> Self {
        let (clock, entropy, tasks) = (Clock::System, Entropy::System, Tasks::new());
        let (store, feed) = Store::open(&folder.join("store.db"), clock.clone(), entropy.clone()).unwrap();
        let identity = Identity::new(store.clone(), clock.clone(), entropy.clone()).await.unwrap();
        let channel = Arc::new(channel());
        let registered =
            store.register_channels(vec![("managed/records".into(), channel.schema.clone())]).await.unwrap();
        let catalog = Catalog { channels: BTreeMap::from([(channel.name.clone(), channel)]), ..Catalog::default() };
        let numbered = registered.into_iter().map(|one| Numbered {
            number: one.number.0,
            epoch: one.epoch,
            schema: one.schema,
            older: one.older,
        });
        let live = LiveHandle::new(Live::build(1, &catalog, numbered.collect(), &BTreeMap::new()).unwrap());
        let push = Push::new();
        push.start(feed, &tasks);
        let sync = Sync::open(store.clone(), live, identity.clone(), tasks.clone()).await.unwrap();
        Self { store, sync, push, identity, clock, entropy, tasks }
    }

    /// An account with one device.
    pub async fn device(&self, email: &str) -> Principal {
        use base64::Engine as _;
        let new = NewAccount { email: email.into(), role: None, claims: Default::default(), password: None };
        self.identity.create_account(new).await.unwrap();
        let (code, _) = self.identity.create_code(email).await.unwrap();
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let public_key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.verifying_key().to_sec1_bytes());
        let device = DeviceInfo { name: "bench".into(), platform: "bench".into(), public_key };
        let request = ActivateRequest { code: Some(code), email: None, password: None, device };
        let reply = self.identity.activate(request, [127, 0, 0, 1].into()).await.unwrap();
        self.identity.authenticate(&reply.tokens.access_token).await.unwrap()
    }
}

/// A create of a record of about 200 bytes.
pub fn create(n: u64) -> Mutation {
    let new = json!({
        "title": format!("Record number {n} of the fleet"), "status": "open", "hours": format!("{}.25", n % 40),
        "body": format!("{:>120}", format!("some words about the matter {n}")), "count": n.to_string(),
    });
    let new: Fields = serde_json::from_value(new).unwrap();
    // Ids as devices make them: in the order of time.
    let id = Uuid::from_u128((0x0190_0000_0000_7000_8000_0000_0000_0000_u128) + (u128::from(n) << 80) + u128::from(n));
    Mutation {
        seq: Seq(n),
        id: MutationId(id),
        channel: "records".into(),
        v: SchemaVersion(1),
        op: Operation::Create,
        record: id.to_string().into(),
        old: Fields::new(),
        new,
        at: None,
        group: None,
    }
}

pub fn incarnation() -> Incarnation {
    Incarnation(Uuid::from_u128(1))
}

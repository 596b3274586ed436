//! What the figures share: a server's rooms over real files, a channel of five fields, its writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omctl::backend::Backend;
use omctl::backend::sqlite::SqliteBackend;
use omctl::catalog::{Catalog, Channel, DeleteVsUpdate, Roles, ScopeDecl, WriteDecl};
use omctl::clock::{Clock, Entropy};
use omctl::identity::{Identity, NewAccount, Principal};
use omctl::live::{self, Live, LiveHandle, Numbered};
use omctl::push::Push;
use omctl::store::Store;
use omctl::sync::Sync;
use omctl::tasks::Tasks;
use omctl_protocol::api::{ActivateRequest, DeviceInfo};
use omctl_protocol::{
    AssignedBy, ChannelSchema, Fields, Incarnation, KeyColumn, KeyRule, Mutation, MutationId, Operation, SchemaVersion,
    Seq,
};
use rusqlite::Connection;
use serde_json::json;
use uuid::Uuid;

/// The rooms of a server, without its HTTP edge.
pub struct Rooms {
    store: Store,
    pub sync: Sync,
    identity: Identity,
}

/// A channel of about 200 bytes a record.
fn channel(name: &str, backend: &str) -> Channel {
    let fields = [("title", "text"), ("body", "text"), ("status", "text"), ("hours", "decimal"), ("count", "int")];
    let fields = fields.map(|(name, kind)| serde_json::from_value(json!({ "name": name, "type": kind })).unwrap());
    Channel {
        name: name.into(),
        backend: backend.into(),
        table: name.into(),
        filter: Vec::new(),
        schema: ChannelSchema {
            channel: name.into(),
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
        file: format!("channels/{name}.yaml").into(),
    }
}

/// A project with the managed channel `records`.
pub fn catalog() -> Catalog {
    let channel = Arc::new(channel("records", "managed"));
    Catalog { channels: BTreeMap::from([(channel.name.clone(), channel)]), ..Catalog::default() }
}

/// The rooms over a SQLite database with a table `parts`, installed. With them comes the database's path.
pub async fn shop(folder: &Path) -> (Rooms, PathBuf) {
    let path = folder.join("shop.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE parts (id TEXT PRIMARY KEY, title TEXT, body TEXT, status TEXT, hours TEXT, count INTEGER)",
        )
        .unwrap();
    let channel = Arc::new(channel("parts", "shop"));
    let catalog = Catalog { channels: BTreeMap::from([(channel.name.clone(), channel.clone())]), ..Catalog::default() };
    let backend: Arc<dyn Backend> = Arc::new(SqliteBackend::open("shop", &path).unwrap());
    backend.install(&[Arc::new(live::collection(&catalog, &channel))]).await.unwrap();
    let rooms = Rooms::over(folder, &catalog, BTreeMap::from([("shop".to_owned(), backend)])).await;
    (rooms, path)
}

impl Rooms {
    pub async fn open(folder: &Path) -> Self {
        Self::over(folder, &catalog(), BTreeMap::new()).await
    }

    async fn over(folder: &Path, catalog: &Catalog, backends: BTreeMap<String, Arc<dyn Backend>>) -> Self {
        let (clock, entropy, tasks) = (Clock::System, Entropy::System, Tasks::new());
        let (store, feed) = Store::open(&folder.join("store.db"), clock.clone(), entropy.clone()).unwrap();
        let identity = Identity::new(store.clone(), clock, entropy).await.unwrap();
        let schemas = catalog.channels.values().map(|channel| (live::home_text(channel), channel.schema.clone()));
        let registered = store.register_channels(schemas.collect()).await.unwrap();
        let numbered = registered.into_iter().map(|one| Numbered {
            number: one.number.0,
            epoch: one.epoch,
            schema: one.schema,
            older: one.older,
            placed: one.placing,
        });
        let live = LiveHandle::new(Live::build(1, catalog, numbered.collect(), &backends).unwrap());
        let push = Push::new();
        push.start(feed, &tasks);
        let sync = Sync::open(store.clone(), live, identity.clone(), tasks).await.unwrap();
        sync.start().await.unwrap();
        Self { store, sync, identity }
    }

    /// Mutations that are accepted and not settled.
    pub async fn waiting(&self) -> u64 {
        self.store.inbox_backlog().await.unwrap().iter().map(|(_, _, count)| count).sum()
    }

    /// An account with one device.
    pub async fn device(&self, email: &str) -> Principal {
        use base64::Engine as _;
        account(&self.identity, email).await;
        let (code, _) = self.identity.create_code(email).await.unwrap();
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let public_key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.verifying_key().to_sec1_bytes());
        let device = DeviceInfo { name: "bench".into(), platform: "bench".into(), public_key };
        let request = ActivateRequest { code: Some(code), email: None, password: None, device };
        let reply = self.identity.activate(request, [127, 0, 0, 1].into()).await.unwrap();
        self.identity.authenticate(&reply.tokens.access_token).await.unwrap()
    }
}

pub async fn account(identity: &Identity, email: &str) {
    let new = NewAccount { email: email.into(), role: None, claims: Default::default(), password: None };
    identity.create_account(new).await.unwrap();
}

/// A create of a record of about 200 bytes.
pub fn create(channel: &str, n: u64) -> Mutation {
    let new = json!({
        "title": format!("Record number {n} of the fleet"), "status": "open", "hours": format!("{}.25", n % 40),
        "body": format!("{:>120}", format!("some words about the matter {n}")), "count": n.to_string(),
    });
    let new: Fields = serde_json::from_value(new).unwrap();
    // Ids as devices make them: in the order of time.
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000_u128 + (u128::from(n) << 80) + u128::from(n));
    Mutation {
        seq: Seq(n),
        id: MutationId(id),
        channel: channel.into(),
        v: SchemaVersion(1),
        op: Operation::Create,
        record: id.to_string().into(),
        old: Fields::new(),
        new,
        at: None,
        group: None,
        again: None,
    }
}

pub fn incarnation() -> Incarnation {
    Incarnation(Uuid::from_u128(1))
}

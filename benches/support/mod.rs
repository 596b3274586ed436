//! What the figures share: a server's rooms over real files, a channel of five fields, its writes.

pub mod toolkit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omctl::backend::Backend;
use omctl::backend::sqlite::SqliteBackend;
use omctl::catalog::{
    Catalog, Channel, DeleteVsUpdate, Place, Roles, ScopeDecl, ScopeEntry, ScopeRight, SeedFile, SeedRecord, WriteDecl,
};
use omctl::clock::{Clock, Entropy};
use omctl::identity::{Identity, NewAccount, Principal};
use omctl::live::{self, Live, LiveHandle, Numbered};
use omctl::push::Push;
use omctl::store::Store;
use omctl::sync::{Session, Sync};
use omctl::tasks::Tasks;
use omctl_protocol::api::{ActivateRequest, DeviceInfo};
use omctl_protocol::frame::{Hello, parse_frame};
use omctl_protocol::{
    AssignedBy, ChannelSchema, Down, Fields, Incarnation, KeyColumn, KeyRule, Mutation, MutationId, Operation,
    SchemaVersion, Seq, Value,
};
use rusqlite::Connection;
use serde_json::json;
use uuid::Uuid;

/// The rooms of a server, without its HTTP edge.
pub struct Rooms {
    pub store: Store,
    pub sync: Sync,
    pub push: Push,
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
            atomic: None,
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
        let schemas =
            catalog.channels.values().map(|channel| (live::home_text(catalog, channel), channel.schema.clone()));
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
        Self { store, sync, push, identity }
    }

    /// The rooms over a channel whose records belong to regions: so many records in so many regions that the devices do not
    /// see, and so many in so many that they do.
    pub async fn regions(folder: &Path, others: (usize, usize), own: (usize, usize)) -> Self {
        let mut channel = channel("regional", "managed");
        let field = json!({ "name": "region", "type": "text" });
        channel.schema.fields.push(serde_json::from_value(field).unwrap());
        let right = ScopeRight::Text("account.claims.regions".into());
        channel.scope = ScopeDecl::AnyOf(vec![vec![ScopeEntry { left: "region".into(), right, at: Place::default() }]]);
        let catalog =
            Catalog { channels: BTreeMap::from([(channel.name.clone(), Arc::new(channel))]), ..Catalog::default() };
        let rooms = Self::over(folder, &catalog, BTreeMap::new()).await;
        let text = |text: String| Value::Text(text);
        let record = |(prefix, regions): (&str, usize), n: usize| SeedRecord {
            id: format!("{prefix}-{n}").into(),
            values: vec![
                text(format!("Record number {n} of the fleet")),
                text(format!("{:>120}", format!("some words about the matter {n}"))),
                text("open".into()),
                text(format!("{}.25", n % 40)),
                Value::Int(n as i64),
                text(format!("{prefix}{}", n % regions)),
            ],
        };
        let records = (0..others.0)
            .map(|n| record(("other", others.1), n))
            .chain((0..own.0).map(|n| record(("own", own.1), n)))
            .collect();
        rooms.sync.seed(&[SeedFile { channel: "regional".into(), records }]).await.unwrap();
        rooms
    }

    /// A session that has caught up, and the digest of its scopes.
    pub async fn session(&self, who: &Principal, hello: Hello) -> (Session, String) {
        let (mut session, mut step) = Session::begin(&self.sync, who, hello).await.unwrap();
        while session.is_catching_up() {
            step.lines.extend(session.catch_up().await.unwrap().lines);
        }
        let digest =
            step.lines.iter().find_map(|line| match parse_frame(std::str::from_utf8(line).unwrap()).unwrap() {
                Down::Scopes(scopes) => Some(scopes.digest),
                _ => None,
            });
        (session, digest.unwrap())
    }

    /// Mutations that are accepted and not settled.
    pub async fn waiting(&self) -> u64 {
        self.store.inbox_backlog().await.unwrap().iter().map(|(_, _, count)| count).sum()
    }

    /// An account with one device.
    pub async fn device(&self, email: &str) -> Principal {
        self.device_of(email, &[]).await
    }

    /// An account of these regions with one device.
    pub async fn device_of(&self, email: &str, regions: &[String]) -> Principal {
        use base64::Engine as _;
        let claims = json!({ "regions": regions }).as_object().unwrap().clone();
        let new = NewAccount { email: email.into(), claims, ..NewAccount::default() };
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
        atomic: None,
        again: None,
    }
}

/// A create of such a record in a region.
pub fn in_region(n: u64, region: &str) -> Mutation {
    let mut mutation = create("regional", n);
    mutation.new.insert("region".into(), region.into());
    mutation
}

pub fn incarnation() -> Incarnation {
    Incarnation(Uuid::from_u128(1))
}

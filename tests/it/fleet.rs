//! A server in this process and devices with the real library: what the tests of whole ways share.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;

use omctl::backend::BackendError;
use omctl::clock::{Clock, Entropy};
use omctl::identity::NewAccount;
use omctl::server::{self, Running, ServerSettings};
use omctl_device::{Answer, Credentials, Mobster, Write};
use omctl_protocol::Receipt;
use rusqlite::Connection;

/// Serves the project in `root` from the data folder of this name, with every external channel installed.
pub(crate) async fn serve(root: &Path, data: &str) -> Running {
    let (catalog, _) = omctl::catalog::load(root, &|_| None, None).unwrap();
    let backends = server::open_backends(&catalog).await.unwrap();
    for (name, backend) in &backends {
        let here = catalog.channels.values().filter(|channel| channel.backend == **name);
        let collections: Vec<_> = here.map(|channel| Arc::new(omctl::live::collection(&catalog, channel))).collect();
        match backend.install(&collections).await {
            // A system that is out of reach is no reason not to serve.
            Ok(_) | Err(BackendError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let settings = ServerSettings {
        addr: ([127, 0, 0, 1], 0).into(),
        data_dir: root.join(data),
        hosts: Vec::new(),
        trusted_proxies: Vec::new(),
        tls: None,
        in_development: true,
    };
    server::start(settings, &catalog, Clock::System, Entropy::System).await.unwrap()
}

/// Activates a device for this address, whose account is made if there is none.
pub(crate) async fn activate(app: &Mobster, server: &Running, email: &str) {
    let account = NewAccount { email: email.into(), ..NewAccount::default() };
    drop(server.identity.create_account(account).await);
    let (code, _) = server.identity.create_code(email).await.unwrap();
    app.activate(&format!("http://{}", server.addr), Credentials::Code(code)).await.unwrap();
}

/// A device whose file is at `path`, activated and in sync.
pub(crate) async fn device(server: &Running, path: &Path, email: &str) -> Mobster {
    let app = Mobster::open(path).unwrap();
    activate(&app, server, email).await;
    app.sync_now().await.unwrap();
    app
}

/// The receipts of a write, once all of it is settled.
pub(crate) async fn receipts(app: &Mobster, write: Write) -> Vec<Receipt> {
    let answers = app.settled(write).await.unwrap();
    let receipt = |answer| match answer {
        Answer::Receipt(receipt) => receipt,
        refused => panic!("refused on the device: {refused:?}"),
    };
    answers.into_iter().map(receipt).collect()
}

/// Waits until a write is settled, which must not be rejected.
pub(crate) async fn is_taken(app: &Mobster, write: Write) {
    for receipt in receipts(app, write).await {
        assert!(!receipt.is_rejected(), "{receipt:?}");
    }
}

/// The rows of a query that gives one text each.
pub(crate) fn texts(file: &Path, sql: &str) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

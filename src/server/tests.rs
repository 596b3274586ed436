//! A whole server on a free port, spoken to by the real client.

use std::path::Path;

use omctl_protocol::admin::{AccountNew, SERVER_FILE};

use super::*;
use crate::client::{Client, ClientError};

fn settings(data_dir: &Path) -> ServerSettings {
    ServerSettings {
        addr: ([127, 0, 0, 1], 0).into(),
        data_dir: data_dir.to_owned(),
        hosts: Vec::new(),
        trusted_proxies: Vec::new(),
        tls: None,
        in_development: true,
    }
}

async fn started(data_dir: &Path) -> Result<Running, ServerError> {
    start(settings(data_dir), &Catalog::default(), Clock::System, Entropy::System).await
}

#[tokio::test]
async fn a_server_is_found_asked_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let running = started(&data_dir).await.unwrap();
    let client = Client::of_data_dir(&data_dir).unwrap();
    assert_eq!(client.ready().await.unwrap().status, "ok");
    let new = AccountNew { email: "ana@example.com".into(), ..AccountNew::default() };
    client.create_account(&new).await.unwrap();
    let Err(ClientError::Refused(problem)) = client.create_account(&new).await else { panic!("it exists") };
    assert_eq!((problem.status, problem.code.as_str()), (409, "exists"));
    assert_eq!(client.accounts().await.unwrap().accounts.len(), 1);
    assert_eq!(client.channels().await.unwrap().generation, 1);
    let stranger = Client::of_url(client.url(), "omadm_guess".into()).unwrap();
    let Err(ClientError::Refused(problem)) = stranger.accounts().await else { panic!("a guess is refused") };
    assert_eq!(problem.status, 401);
    assert!(running.stop().await);
    assert!(!data_dir.join(SERVER_FILE).exists());
    assert!(matches!(client.ready().await, Err(ClientError::Unreachable { .. })));
    let again = started(&data_dir).await.unwrap();
    let client = Client::of_data_dir(&data_dir).unwrap();
    assert_eq!(client.accounts().await.unwrap().accounts.len(), 1, "accounts are durable");
    again.stop().await;
}

#[tokio::test]
async fn one_data_directory_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await.unwrap();
    let before = std::fs::read(folder.path().join(SERVER_FILE)).unwrap();
    let Err(ServerError::DataDir(DataDirError::Locked { pid, .. })) = started(folder.path()).await else {
        panic!("a second server is refused")
    };
    assert_eq!(pid, Some(std::process::id()));
    assert_eq!(std::fs::read(folder.path().join(SERVER_FILE)).unwrap(), before);
    running.stop().await;
    started(folder.path()).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_taken_port_is_named_and_nothing_is_left_behind() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = started(first.path()).await.unwrap();
    let taken = ServerSettings { addr: running.addr, ..settings(second.path()) };
    let error = start(taken, &Catalog::default(), Clock::System, Entropy::System).await.err();
    assert!(matches!(error, Some(ServerError::Listen { addr, taken: true, .. }) if addr == running.addr), "{error:?}");
    assert!(!second.path().join(SERVER_FILE).exists() && !second.path().join(STORE_FILE).exists());
    running.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn what_the_server_writes_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("deep/data");
    let running = started(&data_dir).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data_dir), mode(&data_dir.join(SERVER_FILE))), (0o700, 0o600));
    running.stop().await;
}

//! What a developer feels: a start on existing data, and a saved file until it is live.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omctl::clock::{Clock, Entropy};
use omctl::identity::NewAccount;
use omctl::server::{self, ProjectFiles, Reload, Running, ServerSettings};
use omctl_device::{Credentials, Mobster};
use omctl_protocol::Value;
use serde_json::json;
use tokio::sync::mpsc;

const RECORDS: usize = 100_000;
const FIELDS: &str = "fields:\n  title: { type: text }\n  body: { type: text }\n  owner: { type: text }\n";

fn write_channel(root: &Path, scope: &str, more: &str) {
    let text = format!("scope: {scope}\nwrite: {{ create: any }}\n{FIELDS}{more}");
    std::fs::write(root.join("channels/records.yaml"), text).unwrap();
}

async fn serve(root: &Path) -> Running {
    let (catalog, _) = omctl::catalog::load(root, &|_| None, None).unwrap();
    let settings = ServerSettings {
        addr: ([127, 0, 0, 1], 0).into(),
        data_dir: root.join(".openmobster/dev"),
        hosts: Vec::new(),
        trusted_proxies: Vec::new(),
        tls: None,
        in_development: true,
    };
    server::start(settings, &catalog, Clock::System, Entropy::System).await.unwrap()
}

/// A project with 100,000 managed records of one channel.
async fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("channels")).unwrap();
    std::fs::write(root.join("openmobster.yaml"), "version: 1\nname: bench\n").unwrap();
    write_channel(root, "public", "");
    let running = serve(root).await;
    let account = NewAccount { email: "a@example.com".into(), ..NewAccount::default() };
    running.identity.create_account(account).await.unwrap();
    let (code, _) = running.identity.create_code("a@example.com").await.unwrap();
    let app = Mobster::open(&root.join("a.db")).unwrap();
    app.activate(&format!("http://{}", running.addr), Credentials::Code(code)).await.unwrap();
    app.sync_now().await.unwrap();
    let numbers = format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {RECORDS})");
    let sql =
        format!("{numbers} INSERT INTO records (title, body, owner) SELECT 'record ' || i, ?1, 'a@example.com' FROM n");
    app.set_online(true);
    let saved = app.execute(&sql, vec![Value::Text("some words about the matter ".repeat(5))]).await.unwrap();
    app.settled(saved.write).await.unwrap();
    app.close();
    running.stop().await;
    folder
}

fn middle(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() - 1])
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// The binary, from its start to the line that says it is ready, over a store of 100,000 records; beside `omctl version`,
/// which only starts and ends.
pub async fn cold_start() -> serde_json::Value {
    let folder = project().await;
    let binary = env!("CARGO_BIN_EXE_omctl");
    let (mut ready, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let began = Instant::now();
        let mut server = Command::new(binary)
            .args(["serve", "--addr", "127.0.0.1:0", "--json", "-C"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        ready.push(ms(began));
        assert!(line.contains("\"ready\""), "{line}");
        server.kill().unwrap();
        server.wait().unwrap();
        let began = Instant::now();
        Command::new(binary).arg("version").stdout(Stdio::null()).status().unwrap();
        bare.push(ms(began));
    }
    let ((p50, max), (bare, _)) = (middle(ready), middle(bare));
    json!({ "records": RECORDS, "starts": 15, "p50_ms": round(p50), "max_ms": round(max), "bare_process_p50_ms": round(bare) })
}

/// A saved file until it is live, over a store of 100,000 records: with a field more or less, and with another scope (until
/// every record is placed by it).
pub async fn reload() -> serde_json::Value {
    let folder = project().await;
    let root = folder.path().canonicalize().unwrap();
    let running = serve(&root).await;
    let (tell, mut reloads) = mpsc::unbounded_channel();
    let files = ProjectFiles { root: root.clone(), env_name: "dev".into(), environment: Arc::new(|_| None) };
    server::watch(files, running.reloader.clone(), running.tasks(), tell).unwrap();
    let (mut fields, mut inside) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let began = Instant::now();
        write_channel(&root, "public", if n % 2 == 0 { "  more: { type: int }\n" } else { "" });
        match reloads.recv().await.unwrap() {
            Reload::Live { took, .. } => inside.push(took.as_secs_f64() * 1000.0),
            other => panic!("{other:?}"),
        }
        fields.push(ms(began));
        // A field that is back: records that held something in it are looked at.
        while !running.sync.closed().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut scopes = Vec::new();
    for n in 0..4 {
        let began = Instant::now();
        write_channel(&root, if n % 2 == 0 { "{ owner: account.email }" } else { "public" }, "");
        assert!(matches!(reloads.recv().await.unwrap(), Reload::Live { .. }));
        while !running.sync.closed().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        scopes.push(ms(began));
    }
    running.stop().await;
    let ((p50, max), (inside, _), (scope, _)) = (middle(fields), middle(inside), middle(scopes));
    json!({
        "records": RECORDS, "save_to_live_p50_ms": round(p50), "save_to_live_max_ms": round(max),
        "load_and_swap_p50_ms": round(inside), "scope_changed_all_placed_p50_ms": round(scope),
    })
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

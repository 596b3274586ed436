//! The whole library over real sockets, against a small scripted server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use omctl_protocol::frame::{Challenge, Commit, GainedScope, Scopes, Welcome, parse_frame, parse_frames};
use omctl_protocol::{Down, Outcome, Position, Receipt, Up};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::store::tests::{note, notes, rows_line, welcome};

fn line(down: Down) -> String {
    down.to_line()
}

/// The frames that follow a welcome: one scope with one record.
fn first_content(welcome: Welcome) -> String {
    let scopes = Scopes {
        gained: vec![GainedScope { scope: "s".into(), channel: "notes".into() }],
        lost: vec![],
        digest: "d".into(),
    };
    [
        line(Down::Welcome(Box::new(welcome))),
        line(Down::Schema(Box::new(notes()))),
        line(Down::Scopes(scopes)),
        rows_line("s", "notes", 1, None, &[("a", Some(note("A")))]),
        line(Down::Commit(Commit { position: Position(1), receipts: vec![], sums: None })),
    ]
    .join("\n")
}

/// Applies every mutation and answers with its row and receipt.
fn settle(up: &Up) -> Option<String> {
    let Up::Mutate(mutate) = up else { return None };
    let mut lines = Vec::new();
    let mut receipts = Vec::new();
    for mutation in &mutate.mutations {
        let title = mutation.new["title"].as_str().unwrap();
        lines.push(rows_line("s", "notes", 2, None, &[(mutation.record.as_str(), Some(note(title)))]));
        receipts.push(Receipt {
            seq: mutation.seq,
            id: mutation.id,
            outcome: Outcome::Applied,
            code: None,
            message: None,
            field: None,
            position: None,
        });
    }
    lines.push(line(Down::Commit(Commit { position: Position(2), receipts, sums: None })));
    Some(lines.join("\n"))
}

/// What the server knows, and what it does to those who come.
#[derive(Default)]
struct Fake {
    /// The code by which it refuses the first device, if it does.
    refuses: Mutex<Option<&'static str>>,
    /// Ends the newest session.
    newest: Mutex<Option<oneshot::Sender<()>>>,
    /// Sessions that began.
    sessions: AtomicU32,
    /// Activations that were asked for.
    activations: AtomicU32,
    /// Upgrades and token requests that were refused.
    refusals: AtomicU32,
}

impl Fake {
    /// The code by which it refuses a request with the first device's tokens.
    fn refuses(&self, request: &str) -> Option<&'static str> {
        let of_first = request.contains("Bearer access-1") || request.contains("\"refresh_token\":\"refresh-1\"");
        (*self.refuses.lock().unwrap()).filter(|_| of_first)
    }

    fn session_begins(&self) -> oneshot::Receiver<()> {
        self.sessions.fetch_add(1, Ordering::SeqCst);
        let (end, ended) = oneshot::channel();
        if let Some(older) = self.newest.lock().unwrap().replace(end) {
            older.send(()).ok();
        }
        ended
    }
}

async fn serve_one(fake: Arc<Fake>, mut stream: TcpStream) {
    let mut head = [0; 2048];
    let seen = stream.peek(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..seen]).into_owned();
    if head.starts_with("GET /v1/live") && fake.refuses(&head).is_none() {
        assert!(head.contains("Bearer access-"), "{head}");
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send(Message::text(line(Down::Challenge(Challenge { nonce: "n1".into() })))).await.unwrap();
        let mut ended = None::<oneshot::Receiver<()>>;
        loop {
            let over = async {
                match &mut ended {
                    Some(ended) => drop(ended.await),
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = socket.next() => message,
                () = over => {
                    let frame = CloseFrame { code: CloseCode::from(4409), reason: "fenced".into() };
                    drop(socket.send(Message::Close(Some(frame))).await);
                    return;
                }
            };
            let Some(Ok(message)) = message else { return };
            let Message::Text(text) = message else { continue };
            let up: Up = parse_frame(&text).unwrap();
            let answer = match &up {
                Up::Hello(hello) => {
                    assert_eq!(hello.proof.as_ref().unwrap().nonce, "n1");
                    ended = Some(fake.session_begins());
                    // Compressed, as a binary message.
                    let bytes = zstd::encode_all(first_content(welcome()).as_bytes(), 3).unwrap();
                    Some(Message::Binary(bytes.into()))
                }
                other => settle(other).map(Message::text),
            };
            if let Some(answer) = answer {
                // The device may be gone already.
                drop(socket.send(answer).await);
            }
        }
    }
    let mut request = Vec::new();
    let (body_at, length) = loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "the request ended early");
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            if request.len() >= end + 4 + length {
                break (end + 4, length);
            }
        }
    };
    let text = String::from_utf8(request).unwrap();
    let (status, body) = answer(&fake, &text, &text[body_at..body_at + length]);
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).await.unwrap();
}

fn answer(fake: &Fake, request: &str, body: &str) -> (&'static str, String) {
    if let Some(code) = fake.refuses(request) {
        fake.refusals.fetch_add(1, Ordering::SeqCst);
        let problem = serde_json::json!({"type": "urn:omctl:problem", "status": 401, "code": code,
            "title": format!("no: {code}")});
        return ("401 Unauthorized", problem.to_string());
    }
    let id = "018f6b1e-0000-7000-8000-00000000000";
    if request.starts_with("POST /v1/activate") {
        fake.activations.fetch_add(1, Ordering::SeqCst);
        let (account, email, n) = match body {
            _ if body.contains("\"code\":\"LETMEIN\"") => (1, "ana@example.com", 1),
            _ if body.contains("\"code\":\"AGAIN\"") => (1, "ana@example.com", 2),
            _ if body.contains("\"email\":\"Ana@Example.com\"") => (5, "ana@example.com", 2),
            _ if body.contains("\"code\":\"BEN\"") => (3, "ben@example.com", 3),
            _ => panic!("{body}"),
        };
        let reply = serde_json::json!({"device": format!("{id}{n}"), "account": format!("{id}{account}"),
            "email": email, "server_key": "k", "access_token": format!("access-{n}"), "expires_in_s": 900,
            "refresh_token": format!("refresh-{n}")});
        return ("200 OK", reply.to_string());
    }
    if request.starts_with("GET /v1/schema") {
        return ("200 OK", serde_json::json!({"generation": 1, "channels": [notes()]}).to_string());
    }
    if request.starts_with("POST /v1/token") {
        // A try of the device that was here before the activation: it is as revoked as ever.
        let problem = serde_json::json!({"type": "urn:omctl:problem", "status": 401, "code": "device_revoked",
            "title": "no: device_revoked"});
        return ("401 Unauthorized", problem.to_string());
    }
    assert!(request.starts_with("POST /v1/sync"), "{request}");
    if !request.contains("om-proof: n2.") {
        let problem = serde_json::json!({"type": "urn:omctl:problem:nonce_required", "status": 401,
            "code": "nonce_required", "title": "a proof is needed", "nonce": "n2"});
        return ("401 Unauthorized", problem.to_string());
    }
    let ups: Vec<Up> = parse_frames(body).unwrap();
    let Up::Hello(hello) = &ups[0] else { panic!("{body}") };
    let mut reply = match hello.epoch {
        None => first_content(welcome()),
        Some(_) => line(Down::Welcome(Box::new(welcome()))),
    };
    for up in &ups {
        if let Some(lines) = settle(up) {
            reply = format!("{reply}\n{lines}");
        }
    }
    ("200 OK", reply)
}

fn serve() -> String {
    serve_as(Arc::default())
}

/// Starts the server on a thread of its own, which ends with the test process.
fn serve_as(fake: Arc<Fake>) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            let mut served = futures_util::stream::FuturesUnordered::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => served.push(serve_one(fake.clone(), accepted.unwrap().0)),
                    Some(()) = served.next() => {}
                }
            }
        });
    });
    told.recv().unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), work).await.expect("in time") })
}

fn titles(rows: &Rows) -> Vec<&str> {
    rows.rows.iter().map(|row| row[0].as_text().unwrap()).collect()
}

const TITLES: &str = "SELECT title FROM notes ORDER BY title";

#[test]
fn an_app_activates_goes_live_writes_and_settles() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve();
    run(async {
        let app = Mobster::open(&folder.path().join("app.db")).unwrap();
        assert!(app.has_engine());
        app.activate(&url, Credentials::Code("LETMEIN".into())).await.unwrap();
        let mut live = app.live(TITLES, vec![]).await.unwrap();
        let mut seen = live.next().await.unwrap();
        while titles(&seen) != ["A"] {
            seen = live.next().await.unwrap();
        }
        let sql = "INSERT INTO notes (title) VALUES (?1)";
        let saved = app.execute(sql, vec![Value::Text("mine".into())]).await.unwrap();
        assert_eq!(saved.rows, 1);
        let answers = app.settled(saved.write).await.unwrap();
        assert!(matches!(answers.as_slice(), [Answer::Receipt(receipt)] if receipt.outcome == Outcome::Applied));
        while titles(&seen) != ["A", "mine"] {
            seen = live.next().await.unwrap();
        }
        app.sync_now().await.unwrap();
        assert_eq!(*app.state().borrow(), ConnectionState::Live);
        app.close();
    });
}

#[test]
fn a_second_handle_writes_and_the_first_one_sends() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve();
    run(async {
        let path = folder.path().join("app.db");
        let app = Mobster::open(&path).unwrap();
        app.activate(&url, Credentials::Code("LETMEIN".into())).await.unwrap();
        app.sync_now().await.unwrap();
        let guest = Mobster::open(&path).unwrap();
        assert!(!guest.has_engine());
        assert!(matches!(guest.sync_now().await, Err(MobsterError::EngineElsewhere)));
        let mut live = app.live(TITLES, vec![]).await.unwrap();
        assert_eq!(titles(&live.next().await.unwrap()), ["A"]);
        guest.execute("INSERT INTO notes (id, title) VALUES ('g', 'guest')", vec![]).await.unwrap();
        assert_eq!(titles(&live.next().await.unwrap()), ["A", "guest"]);
        while app.stats().await.unwrap().pending > 0 {
            live.next().await.unwrap();
        }
    });
}

#[test]
fn requests_alone_bring_everything_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve();
    run(async {
        let app = Mobster::builder(&folder.path().join("app.db")).background(false).open().unwrap();
        app.activate(&url, Credentials::Code("LETMEIN".into())).await.unwrap();
        let (_, write) =
            app.transaction(|tx| tx.execute("INSERT INTO notes (title) VALUES ('early')", [])).await.unwrap();
        app.sync_now().await.unwrap();
        assert_eq!(app.settled(write).await.unwrap().len(), 1);
        assert_eq!(titles(&app.query(TITLES, vec![]).await.unwrap()), ["A", "early"]);
        assert_eq!(app.stats().await.unwrap().pending, 0);
    });
}

#[test]
fn writes_made_offline_travel_when_the_app_is_online_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve();
    run(async {
        let app = Mobster::open(&folder.path().join("app.db")).unwrap();
        app.activate(&url, Credentials::Code("LETMEIN".into())).await.unwrap();
        app.sync_now().await.unwrap();
        app.set_online(false);
        app.state().wait_for(|state| *state == ConnectionState::Offline).await.unwrap();
        let saved = app.execute("INSERT INTO notes (title) VALUES ('offline')", vec![]).await.unwrap();
        assert_eq!(app.stats().await.unwrap().pending, 1);
        app.set_online(true);
        assert_eq!(app.settled(saved.write).await.unwrap().len(), 1);
        assert_eq!(titles(&app.query(TITLES, vec![]).await.unwrap()), ["A", "offline"]);
        let held = app.held(&"notes".into()).await.unwrap();
        assert_eq!((held.len(), app.schemas().await.unwrap().len()), (2, 1));
    });
}

fn code(code: &str) -> Credentials {
    Credentials::Code(code.into())
}

async fn needs_activation(app: &Mobster) -> String {
    app.state().wait_for(|state| *state == ConnectionState::NeedsActivation).await.unwrap();
    app.problem().wait_for(Option::is_some).await.unwrap().clone().unwrap()
}

/// Opens an app that is live and that has a write which no server settled yet.
async fn live_with_unsent(path: &Path, url: &str) -> (Mobster, Write) {
    let app = Mobster::open(path).unwrap();
    app.activate(url, code("LETMEIN")).await.unwrap();
    app.sync_now().await.unwrap();
    app.set_online(false);
    app.state().wait_for(|state| *state == ConnectionState::Offline).await.unwrap();
    let saved = app.execute("INSERT INTO notes (title) VALUES ('unsent secret')", vec![]).await.unwrap();
    (app, saved.write)
}

#[test]
fn a_device_that_was_revoked_stops_and_activation_goes_on_with_its_rows_and_writes() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let url = serve_as(fake.clone());
    run(async {
        let (app, write) = live_with_unsent(&folder.path().join("app.db"), &url).await;
        let first = app.device().await.unwrap();
        *fake.refuses.lock().unwrap() = Some("device_revoked");
        app.set_online(true);
        assert_eq!(needs_activation(&app).await, "server refused: no: device_revoked");
        // Upgrade and token, and once more where it was woken meanwhile; asking for a sync is one more try.
        let before = fake.refusals.load(Ordering::SeqCst);
        assert!((2..=4).contains(&before), "{before}");
        let tried = app.sync_now().await;
        assert!(matches!(tried, Err(MobsterError::NeedsActivation { why }) if why.contains("device_revoked")));
        assert!(fake.refusals.load(Ordering::SeqCst) <= before + 4);
        assert_eq!(titles(&app.query(TITLES, vec![]).await.unwrap()), ["A", "unsent secret"]);

        // By e-mail, at a server with another data folder: the account has another id there.
        let password = |email: &str| Credentials::Password { email: email.into(), password: "p".into() };
        let other = app.activate(&url, password("ben@example.com")).await;
        assert!(matches!(other, Err(MobsterError::OtherAccount { email }) if email == "ana@example.com"));
        assert_eq!(fake.activations.load(Ordering::SeqCst), 1, "nobody was asked");
        app.activate(&url, password("Ana@Example.com")).await.unwrap();
        assert_ne!(app.device().await.unwrap(), first);
        assert_eq!(app.settled(write).await.unwrap().len(), 1);
        assert_eq!(titles(&app.query(TITLES, vec![]).await.unwrap()), ["A", "unsent secret"]);
        assert_eq!(*app.problem().borrow(), None);
    });
}

#[test]
fn requests_end_in_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let url = serve_as(fake.clone());
    run(async {
        let app = Mobster::builder(&folder.path().join("app.db")).background(false).open().unwrap();
        app.activate(&url, code("LETMEIN")).await.unwrap();
        for refusal in ["token_reused", "account_disabled"] {
            *fake.refuses.lock().unwrap() = Some(refusal);
            assert!(matches!(app.sync_now().await, Err(MobsterError::Refused { code, .. }) if code == refusal));
            assert_eq!(*app.state().borrow(), ConnectionState::NeedsActivation);
        }
        *fake.refuses.lock().unwrap() = None;
        app.sync_now().await.unwrap();
        assert_ne!(*app.state().borrow(), ConnectionState::NeedsActivation);
    });
}

#[test]
fn a_live_device_that_is_activated_again_begins_a_new_session() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let url = serve_as(fake.clone());
    run(async {
        let app = Mobster::open(&folder.path().join("app.db")).unwrap();
        app.activate(&url, code("LETMEIN")).await.unwrap();
        app.sync_now().await.unwrap();
        assert!(matches!(app.activate(&url, code("BEN")).await, Err(MobsterError::OtherAccount { .. })));
        assert_eq!(app.device().await.unwrap().unwrap().to_string(), "018f6b1e-0000-7000-8000-000000000001");
        app.activate(&url, code("AGAIN")).await.unwrap();
        app.state().wait_for(|state| *state != ConnectionState::Live).await.unwrap();
        app.sync_now().await.unwrap();
        let saved = app.execute("INSERT INTO notes (title) VALUES ('second')", vec![]).await.unwrap();
        assert_eq!(app.settled(saved.write).await.unwrap().len(), 1);
        assert_eq!(fake.sessions.load(Ordering::SeqCst), 2);
    });
}

fn holds(folder: &Path, marker: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = files.map(|path| std::fs::read(path).unwrap());
    found.any(|bytes| bytes.windows(marker.len()).any(|window| window == marker.as_bytes()))
}

#[test]
fn signing_out_asks_first_and_then_leaves_nothing_of_the_account_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let url = serve_as(fake.clone());
    run(async {
        let path = folder.path().join("app.db");
        let (app, _) = live_with_unsent(&path, &url).await;
        app.execute("CREATE TABLE own (x TEXT)", vec![]).await.unwrap();
        app.execute("INSERT INTO own VALUES ('kept for ever')", vec![]).await.unwrap();
        app.create_backend_views().await.unwrap();
        // Rows that were deleted before leave their bytes in free pages.
        app.transaction(|tx| {
            tx.execute_batch(
                "CREATE TABLE gone (x TEXT);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                 INSERT INTO gone SELECT 'deleted secret ' || i FROM n; DROP TABLE gone;",
            )
        })
        .await
        .unwrap();
        assert!(holds(folder.path(), "unsent secret") && holds(folder.path(), "deleted secret"));
        assert!(holds(folder.path(), "refresh-1"));
        let asked = app.sign_out(false).await;
        assert!(matches!(asked, Err(MobsterError::Unsent { pending: 1, rejected: 0 })));
        assert_eq!(titles(&app.query(TITLES, vec![]).await.unwrap()).len(), 2);

        app.sign_out(true).await.unwrap();
        for marker in ["unsent secret", "deleted secret", "refresh-1", "access-1", "ana@example.com"] {
            assert!(!holds(folder.path(), marker), "{marker} is left");
        }
        assert!(!folder.path().join("app.db.key").exists());
        assert_eq!((app.device().await.unwrap(), app.stats().await.unwrap()), (None, Stats::default()));
        assert!(app.query(TITLES, vec![]).await.is_err());
        let own = app.query("SELECT x FROM own", vec![]).await.unwrap();
        assert_eq!(titles(&own), ["kept for ever"]);
        assert!(matches!(app.sync_now().await, Err(MobsterError::NotActivated)));

        app.set_online(true);
        app.activate(&url, code("BEN")).await.unwrap();
        app.sync_now().await.unwrap();
        assert_eq!(titles(&app.query(TITLES, vec![]).await.unwrap()), ["A"]);
        app.sign_out(false).await.unwrap();
        assert_eq!(*app.state().borrow(), ConnectionState::Offline);
    });
}

#[test]
fn two_copies_of_one_file_do_not_take_the_session_from_each_other_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let url = serve_as(fake.clone());
    run(async {
        let (first, second) = (folder.path().join("first.db"), folder.path().join("second.db"));
        let app = Mobster::open(&first).unwrap();
        app.activate(&url, code("LETMEIN")).await.unwrap();
        app.sync_now().await.unwrap();
        let raw = rusqlite::Connection::open(&first).unwrap();
        raw.execute("VACUUM INTO ?1", [second.to_str().unwrap()]).unwrap();
        std::fs::copy(folder.path().join("first.db.key"), folder.path().join("second.db.key")).unwrap();

        let copy = Mobster::open(&second).unwrap();
        copy.sync_now().await.unwrap();
        app.problem().wait_for(|problem| *problem == Some(MobsterError::Fenced.to_string())).await.unwrap();
        assert_eq!(*app.state().borrow(), ConnectionState::Offline);
        let saved = copy.execute("INSERT INTO notes (title) VALUES ('copy')", vec![]).await.unwrap();
        assert_eq!(copy.settled(saved.write).await.unwrap().len(), 1);
        assert_eq!(fake.sessions.load(Ordering::SeqCst), 2, "the first one waits");
        // Its app's own write is a reason to come back.
        let saved = app.execute("INSERT INTO notes (title) VALUES ('first')", vec![]).await.unwrap();
        assert_eq!(app.settled(saved.write).await.unwrap().len(), 1);
        copy.problem().wait_for(|problem| *problem == Some(MobsterError::Fenced.to_string())).await.unwrap();
        assert_eq!(fake.sessions.load(Ordering::SeqCst), 3);
    });
}

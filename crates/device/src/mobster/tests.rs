//! The whole library over real sockets, against a small scripted server.

use futures_util::{SinkExt as _, StreamExt as _};
use omctl_protocol::frame::{Challenge, Commit, GainedScope, Scopes, Welcome, parse_frame, parse_frames};
use omctl_protocol::{Down, Outcome, Position, Receipt, Up};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

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

async fn serve_one(mut stream: TcpStream) {
    let mut head = [0; 2048];
    let seen = stream.peek(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..seen]).into_owned();
    if head.starts_with("GET /v1/live") {
        assert!(head.contains("Bearer access"), "{head}");
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send(Message::text(line(Down::Challenge(Challenge { nonce: "n1".into() })))).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let up: Up = parse_frame(&text).unwrap();
            let answer = match &up {
                Up::Hello(hello) => {
                    assert_eq!(hello.proof.as_ref().unwrap().nonce, "n1");
                    // Compressed, as a binary message.
                    let bytes = zstd::encode_all(first_content(welcome()).as_bytes(), 3).unwrap();
                    Some(Message::Binary(bytes.into()))
                }
                other => settle(other).map(Message::text),
            };
            if let Some(answer) = answer {
                socket.send(answer).await.unwrap();
            }
        }
        return;
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
    let (status, body) = answer(&text, &text[body_at..body_at + length]);
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).await.unwrap();
}

fn answer(request: &str, body: &str) -> (&'static str, String) {
    let id = "018f6b1e-0000-7000-8000-000000000001";
    if request.starts_with("POST /v1/activate") {
        assert!(body.contains("\"code\":\"LETMEIN\""), "{body}");
        let reply = serde_json::json!({"device": id, "account": id, "email": "a@b", "server_key": "k",
            "access_token": "access", "expires_in_s": 900, "refresh_token": "r"});
        return ("200 OK", reply.to_string());
    }
    if request.starts_with("GET /v1/schema") {
        return ("200 OK", serde_json::json!({"generation": 1, "channels": [notes()]}).to_string());
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

/// Starts the server on a thread of its own, which ends with the test process.
fn serve() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            let mut served = futures_util::stream::FuturesUnordered::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => served.push(serve_one(accepted.unwrap().0)),
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
        let again = app.activate(&url, Credentials::Code("LETMEIN".into())).await;
        assert!(matches!(again, Err(MobsterError::AlreadyActivated)));
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

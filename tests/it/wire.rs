//! Devices in raw frames: `POST /v1/sync` and the WebSocket, spoken byte by byte so that a test can misbehave.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use omctl::catalog::{self, Catalog};
use omctl_protocol::api::{PROOF_HEADER, Purpose, proof_text};
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use uuid::Uuid;

use crate::bad_input::{Answer, Phone, World};

/// A project of two managed channels: `notes` for everybody, `own` for the account that stands in `owner`; and of one
/// over `crm.db` in the folder, where that is there.
pub(crate) fn catalog(folder: &std::path::Path) -> Catalog {
    let fields = "fields:\n  title: { type: text }\n  owner: { type: text }\n";
    let write = "write: { create: any, update: any, delete: any }\n";
    let mut files = vec![
        ("channels/notes.yaml", format!("scope: public\n{write}{fields}")),
        ("channels/own.yaml", format!("scope: {{ owner: account.email }}\n{write}{fields}")),
    ];
    let mut project = "version: 1\nname: t\n".to_owned();
    if folder.join("crm.db").exists() {
        project.push_str("backends:\n  crm: { kind: sqlite, path: crm.db }\n");
        let item = "backend: crm\ntable: Item\nkey: { columns: [Id], assigned_by: backend }\nscope: public\n\
            detect: { every: 200ms }\nfields:\n  number: { type: int, column: Id }\n  Name: { type: text }\n";
        files.push(("channels/item.yaml", format!("{item}{write}")));
    }
    files.push(("openmobster.yaml", project));
    std::fs::create_dir_all(folder.join("channels")).unwrap();
    for (path, text) in files {
        std::fs::write(folder.join(path), text).unwrap();
    }
    catalog::load(folder, &|_| None, None).unwrap_or_else(|found| panic!("{found:#?}")).0
}

impl Phone {
    /// A `hello` without a cursor, to be changed.
    pub(crate) fn hello(&self, incarnation: u128, last_seq: u64) -> Value {
        json!({
            "protocol": 1, "device": self.id, "incarnation": Uuid::from_u128(incarnation), "last_seq": last_seq,
            "position": 0, "scopes": { "list": [] }, "schemas": {},
        })
    }

    fn sign(&self, purpose: Purpose, nonce: &str) -> String {
        let text = proof_text(purpose, nonce, self.id, &self.tokens.access_token);
        let signature: Signature = self.key.sign(text.as_bytes());
        BASE64.encode(signature.to_bytes())
    }
}

/// A mutation of record `record`; the id follows from both numbers.
pub(crate) fn mutation(seq: u64, channel: &str, op: &str, record: u128, old: Value, new: Value) -> Value {
    json!({
        "seq": seq, "id": Uuid::from_u128(record << 64 | u128::from(seq)), "channel": channel, "v": 1, "op": op,
        "record": Uuid::from_u128(record), "old": old, "new": new,
    })
}

/// A create of record `record`.
pub(crate) fn create(seq: u64, channel: &str, record: u128, new: Value) -> Value {
    mutation(seq, channel, "create", record, json!({}), new)
}

impl World {
    /// One `POST /v1/sync` of these lines.
    pub(crate) async fn post_lines(&self, phone: &Phone, lines: &[String]) -> Answer {
        let token = format!("Bearer {}", phone.tokens.access_token);
        let plain = [("authorization", token.as_str()), ("content-type", "application/x-ndjson")];
        let asked = self.send("POST", "/v1/sync", &plain, "").await;
        assert_eq!(asked.code(), (401, "nonce_required"));
        let nonce = asked.body["nonce"].as_str().unwrap();
        let proof = format!("{nonce}.{}", phone.sign(Purpose::Sync, nonce));
        let headers = [plain[0], plain[1], (PROOF_HEADER, proof.as_str())];
        self.send("POST", "/v1/sync", &headers, &lines.join("\n")).await
    }

    /// One exchange: `hello`, mutations, `bye`. Returns the frames that came back.
    pub(crate) async fn exchange(&self, phone: &Phone, hello: Value, mutations: Vec<Value>) -> Vec<Value> {
        let mut lines = vec![json!({ "hello": hello })];
        if !mutations.is_empty() {
            lines.push(json!({ "mutate": { "mutations": mutations } }));
        }
        lines.push(json!({ "bye": {} }));
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        let answer = self.post_lines(phone, &lines).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let frames = answer.text.lines().filter(|line| line.starts_with('{'));
        frames.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What a device that has nothing is sent of a channel: the bodies by id.
    pub(crate) async fn rows(&self, phone: &Phone, channel: &str) -> std::collections::BTreeMap<String, Value> {
        let frames = self.exchange(phone, phone.hello(u128::MAX, 0), Vec::new()).await;
        let rows = of(&frames, "rows").into_iter().filter(|rows| rows["channel"] == channel);
        let rows = rows.flat_map(|rows| rows["rows"].as_array().unwrap().clone());
        rows.map(|row| (row[0].as_str().unwrap().to_owned(), row[3].clone())).collect()
    }
}

/// The frames of one kind.
pub(crate) fn of(frames: &[Value], kind: &str) -> Vec<Value> {
    frames.iter().filter_map(|frame| frame.get(kind)).cloned().collect()
}

/// Outcome and code of each receipt.
pub(crate) fn receipts(frames: &[Value]) -> Vec<(String, String)> {
    let all =
        of(frames, "commit").into_iter().flat_map(|commit| commit["receipts"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|receipt| (text(&receipt["outcome"]), text(&receipt["code"]))).collect()
}

/// A WebSocket, client side.
pub(crate) struct Socket {
    stream: TcpStream,
}

/// One WebSocket message.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    /// A frame of ours.
    Frame(Value),
    /// Closed with this code.
    Close(u16),
    /// The connection ended without a word.
    End,
}

impl Socket {
    /// Connects, proves the device's key and says `hello`. `receive_bytes` is the system's buffer for what is not read.
    pub(crate) async fn open(world: &World, phone: &Phone, hello: Value, receive_bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(receive_bytes).unwrap();
        let mut stream = socket.connect(world.addr()).await.unwrap();
        let request = format!(
            "GET /v1/live HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             authorization: Bearer {}\r\n\r\n",
            phone.tokens.access_token
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut socket = Self { stream };
        let Got::Frame(challenge) = socket.next().await else { panic!("a challenge comes first") };
        let nonce = challenge["challenge"]["nonce"].as_str().unwrap();
        let mut hello = hello;
        hello["proof"] = json!({ "nonce": nonce, "signature": phone.sign(Purpose::Live, nonce) });
        socket.text(&json!({ "hello": hello })).await;
        socket
    }

    /// Sends a text message.
    pub(crate) async fn text(&mut self, frame: &Value) {
        self.send(1, frame.to_string().as_bytes()).await;
    }

    /// Sends a binary message. The server may close before it has read everything.
    pub(crate) async fn binary(&mut self, content: &[u8]) {
        self.send(2, content).await;
    }

    async fn send(&mut self, opcode: u8, content: &[u8]) {
        let mut head = vec![0x80 | opcode];
        // Masked, as clients must, by a key of zeros.
        match content.len() {
            short @ 0..126 => head.push(0x80 | short as u8),
            medium @ 126..0x1_0000 => {
                head.push(0x80 | 126);
                head.extend((medium as u16).to_be_bytes());
            }
            long => {
                head.push(0x80 | 127);
                head.extend((long as u64).to_be_bytes());
            }
        }
        head.extend([0; 4]);
        head.extend(content);
        drop(self.stream.write_all(&head).await);
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Got {
        self.read().await.unwrap_or(Got::End)
    }

    async fn read(&mut self) -> std::io::Result<Got> {
        loop {
            let opcode = self.stream.read_u8().await? & 0x0f;
            let length = match self.stream.read_u8().await? & 0x7f {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                short => u64::from(short),
            };
            let mut content = vec![0; length as usize];
            self.stream.read_exact(&mut content).await?;
            match opcode {
                1 => return Ok(Got::Frame(serde_json::from_slice(&content).unwrap())),
                8 => return Ok(Got::Close(u16::from_be_bytes([content[0], content[1]]))),
                _ => {}
            }
        }
    }

    /// Reads until a frame of this kind has come.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            match self.next().await {
                Got::Frame(frame) if frame.get(kind).is_some() => return frame[kind].clone(),
                Got::Frame(_) => {}
                other => panic!("{other:?} before {kind}"),
            }
        }
    }

    /// Reads to the end and returns how it ended.
    pub(crate) async fn end(&mut self) -> Got {
        loop {
            match self.next().await {
                Got::Frame(_) => {}
                end => return end,
            }
        }
    }
}

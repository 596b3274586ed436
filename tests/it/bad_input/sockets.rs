//! Attacks over the socket: messages that unpack to more than anybody has, and a device that does not read.

use std::time::Duration;

use omctl::limits;
use serde_json::json;

use super::World;
use crate::wire::{Got, Socket, catalog, create};

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    World::with(&catalog(folder.path())).await
}

const BUFFER: u32 = 64 << 10;

#[tokio::test]
async fn c26_a_packed_message_has_an_end() {
    let world = world().await;
    let phone = world.phone().await;
    let bomb = zstd::bulk::compress(&vec![b' '; 64 << 20], 1).unwrap();
    // Nearly as much as a message may have: one frame behind the other, some tens of gigabytes.
    let large = bomb.repeat((limits::BODY_BYTES_MAX - 1) / bomb.len());
    // Without the declared size that the first frame has.
    let mut streamed = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..64 {
        std::io::Write::write_all(&mut streamed, &vec![b' '; 1 << 20]).unwrap();
    }
    let garbage = vec![7; 1000];
    for (what, message) in
        [("declared", bomb.clone()), ("many", large), ("streamed", streamed.finish().unwrap()), ("garbage", garbage)]
    {
        let mut socket = Socket::open(&world, &phone, phone.hello(1, 0), BUFFER).await;
        socket.until("commit").await;
        socket.binary(&message).await;
        assert_eq!(socket.end().await, Got::Close(1007), "{what}");
    }
    // What fits is read.
    let mut socket = Socket::open(&world, &phone, phone.hello(1, 1), BUFFER).await;
    socket.until("commit").await;
    let note = json!({ "mutate": { "mutations": [create(1, "notes", 1, json!({ "title": "x" }))] } });
    socket.binary(&zstd::bulk::compress(note.to_string().as_bytes(), 1).unwrap()).await;
    assert_eq!(socket.until("accepted").await["seq"], 1);
    // Bodies over HTTP are never unpacked at all.
    let (token, body) = (format!("Bearer {}", phone.tokens.access_token), "x".repeat(1000));
    let headers = [("authorization", token.as_str()), ("content-encoding", "zstd"), ("om-proof", "x.y")];
    let answer = world.send("POST", "/v1/sync", &headers, &body).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}

#[tokio::test]
async fn c34_who_does_not_read_is_closed_and_loses_nothing() {
    const RECORDS: u64 = 64;
    let world = world().await;
    let (deaf, first, second) = (world.phone().await, world.phone().await, world.phone().await);
    let mut socket = Socket::open(&world, &deaf, deaf.hello(1, 0), BUFFER).await;
    socket.until("commit").await;
    // From here on it reads nothing: what one device writes is more than all buffers on the way hold, and what the other
    // writes behind it is more than the server's queue may.
    let title = "x".repeat(100 << 10);
    for (writer, batch) in [(&first, 0), (&second, 1)] {
        let note = |n: u64| create(n, "notes", u128::from(batch * RECORDS + n), json!({ "title": title }));
        world.exchange(writer, writer.hello(1, RECORDS), (1..=RECORDS).map(note).collect()).await;
    }
    // Longer than the server waits for a full queue, and shorter than it tries to say goodbye.
    tokio::time::sleep(limits::SESSION_FULL_STALL + Duration::from_secs(1)).await;
    assert_eq!(socket.end().await, Got::Close(1013));
    assert_eq!(world.rows(&deaf, "notes").await.len() as u64, 2 * RECORDS, "it comes back and lacks nothing");
}

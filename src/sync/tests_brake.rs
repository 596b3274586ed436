//! The brake on mass deletes over a real SQLite file that somebody else empties: two reads, limits over a day, restarts,
//! an operator's word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omctl_protocol::*;
use rusqlite::Connection;
use serde_json::json;

use super::brake::Release;
use super::tests::Bench;
use super::{Identity, Sync};
use crate::backend::Backend;
use crate::backend::sqlite::SqliteBackend;
use crate::catalog::{Channel, DeleteVsUpdate, Roles, ScopeDecl, WriteDecl};
use crate::limits;
use crate::live::Home;
use crate::tasks::Tasks;

const NOTE: &str = "note";

struct Desk {
    bench: Bench,
    others: Connection,
    backend: Arc<dyn Backend>,
    _folder: tempfile::TempDir,
}

fn channel() -> Channel {
    let schema = json!({
        "channel": NOTE, "version": 0, "writable": true,
        "fields": [{ "name": "id_there", "type": "int", "column": "Id" }, { "name": "Text", "type": "text" }],
        "key": { "assigned_by": "backend", "columns": [{ "column": "Id", "field": "id_there" }] },
    });
    Channel {
        name: NOTE.into(),
        backend: "desk".into(),
        table: "Note".into(),
        filter: Vec::new(),
        schema: serde_json::from_value(schema).unwrap(),
        scope: ScopeDecl::Public,
        write: WriteDecl { create: Roles::Any, update: Roles::Any, delete: Roles::Any },
        delete_vs_update: DeleteVsUpdate::UpdateWins,
        poll_every: None,
        file: "channels/note.yaml".into(),
    }
}

impl Desk {
    /// A table of so many rows, read once; with a change queue or without.
    async fn with(rows: usize, installed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desk.db");
        let others = Connection::open(&path).unwrap();
        others.execute_batch("CREATE TABLE Note (Id INTEGER PRIMARY KEY, Text TEXT);").unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO Note SELECT i, 'text' FROM n";
        others.execute(fill, [rows]).unwrap();
        let own = Arc::new(Mutex::new(Connection::open(&path).unwrap()));
        let backend: Arc<dyn Backend> = Arc::new(SqliteBackend::inline("desk", own).unwrap());
        let backends = BTreeMap::from([("desk".to_owned(), backend.clone())]);
        let bench = Bench::with(vec![channel()], &backends).await;
        let desk = Self { bench, others, backend, _folder: folder };
        if installed {
            let live = desk.bench.sync.inner.live.current();
            let Home::Backend(_, collection) = &live.channels[&ChannelName::from(NOTE)].home else { panic!() };
            desk.backend.install(std::slice::from_ref(collection)).await.unwrap();
        }
        desk.bench.sync.start().await.unwrap();
        pass(Duration::from_secs(1)).await;
        assert_eq!(desk.live().await, rows as u64);
        desk
    }

    /// The process ends and another one begins over the same store.
    async fn restart(&mut self) {
        let old = self.bench.sync.inner.clone();
        old.tasks.stop(Duration::from_secs(1)).await;
        let (store, live) = (old.store.clone(), old.live.clone());
        let identity = Identity::new(store.clone(), store.clock().clone(), store.entropy().clone()).await.unwrap();
        self.bench.sync = Sync::open(store, live, identity, Tasks::new()).await.unwrap();
        self.bench.sync.start().await.unwrap();
    }

    fn sql(&self, sql: &str) {
        self.others.execute_batch(sql).unwrap();
    }

    /// How many records devices have.
    async fn live(&self) -> u64 {
        self.bench.store.live_count(crate::store::ChannelNo(1)).await.unwrap()
    }

    fn held(&self) -> u64 {
        self.bench.sync.health()[&ChannelName::from(NOTE)].held_deletes
    }

    /// Lets the watcher run until one read has missed something.
    async fn missed(&self) {
        for _ in 0..300 {
            if self.bench.sync.health()[&ChannelName::from(NOTE)].missing.is_unsure() {
                return;
            }
            tokio::time::sleep(limits::QUEUE_POLL_EVERY).await;
        }
        panic!("no read missed anything");
    }

    async fn release(&self, at_most: u64) -> Release {
        self.bench.sync.release_held(&NOTE.into(), at_most).await.unwrap()
    }
}

/// Lets the watcher run on paused time.
async fn pass(time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(200)).await;
}

/// Long enough for a poll and for the read that must agree with it.
async fn two_reads() {
    pass(limits::POLL_EVERY).await;
    pass(limits::MISSING_AGAIN_AFTER).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_one_read_missed_is_not_deleted_until_another_one_agrees() {
    let desk = Desk::with(5, false).await;
    desk.sql("DELETE FROM Note WHERE Id = 3");
    desk.missed().await;
    assert_eq!(desk.live().await, 5, "one read is no proof");
    desk.sql("INSERT INTO Note VALUES (3, 'text')");
    two_reads().await;
    let head =
        desk.bench.store.heads(vec![(crate::store::ChannelNo(1), "3".into())]).await.unwrap().1.remove(0).unwrap();
    assert_eq!((desk.live().await, head.row.life), (5, Life(1)), "it was never away");
    // What was missed once before and met since begins anew.
    desk.sql("DELETE FROM Note WHERE Id = 3");
    desk.missed().await;
    assert_eq!(desk.live().await, 5);
    pass(limits::MISSING_AGAIN_AFTER).await;
    assert_eq!((desk.live().await, desk.held()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn an_emptied_table_is_held_while_everything_else_goes_on_until_an_operator_agrees() {
    let desk = Desk::with(30, false).await;
    desk.sql("DELETE FROM Note; INSERT INTO Note VALUES (99, 'new')");
    two_reads().await;
    assert_eq!((desk.live().await, desk.held()), (31, 30), "the new record is there, and no old one is gone");
    desk.sql("UPDATE Note SET Text = 'newer'; INSERT INTO Note VALUES (7, 'back')");
    two_reads().await;
    assert_eq!((desk.live().await, desk.held()), (31, 29), "what came back is not held");
    assert_eq!(desk.release(28).await, Release::More(29), "more than the operator was shown");
    assert_eq!(desk.live().await, 31);
    assert_eq!(desk.release(29).await, Release::Done(29));
    assert_eq!((desk.live().await, desk.held()), (2, 0), "at once, and not at the next read");
    assert_eq!(desk.release(29).await, Release::Done(0));
    // An operator has looked: what comes next is judged anew.
    desk.sql("DELETE FROM Note WHERE Id = 7");
    two_reads().await;
    assert_eq!((desk.live().await, desk.held()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_lets_through_is_looked_for_once_more() {
    let desk = Desk::with(30, false).await;
    desk.sql("DELETE FROM Note");
    two_reads().await;
    assert_eq!(desk.held(), 30);
    desk.sql("INSERT INTO Note VALUES (1, 'back'), (2, 'back')");
    assert_eq!(desk.release(30).await, Release::Done(28));
    two_reads().await;
    assert_eq!((desk.live().await, desk.held()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn deletes_are_counted_over_a_day_and_a_restart_changes_nothing() {
    let mut desk = Desk::with(100, false).await;
    for (ids, left) in [("1 AND 9", 91), ("11 AND 19", 82)] {
        desk.sql(&format!("DELETE FROM Note WHERE Id BETWEEN {ids}"));
        two_reads().await;
        assert_eq!((desk.live().await, desk.held()), (left, 0));
    }
    desk.restart().await;
    desk.sql("DELETE FROM Note WHERE Id BETWEEN 21 AND 29");
    two_reads().await;
    assert_eq!((desk.live().await, desk.held()), (82, 9), "27 of 100 in one day, in whichever pieces");
    desk.bench.store.clock().advance(limits::MASS_DELETE_WITHIN);
    desk.sql("INSERT INTO Note VALUES (200, 'tomorrow')");
    two_reads().await;
    assert_eq!((desk.live().await, desk.held()), (74, 0), "nine in a day are everyday work");
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_tells_of_is_believed_up_to_a_limit_of_its_own() {
    let desk = Desk::with(30, true).await;
    desk.sql("DELETE FROM Note");
    pass(limits::QUEUE_POLL_EVERY).await;
    assert_eq!((desk.live().await, desk.held()), (0, 0));

    let mut desk = Desk::with(2_000, true).await;
    desk.sql("DELETE FROM Note WHERE Id > 100; UPDATE Note SET Text = 'edited' WHERE Id = 1");
    pass(limits::QUEUE_POLL_EVERY).await;
    assert_eq!((desk.live().await, desk.held()), (2_000, 1_900), "95 % of a large channel");
    let (_, heads) = desk.bench.store.heads(vec![(crate::store::ChannelNo(1), "1".into())]).await.unwrap();
    assert!(heads[0].as_ref().unwrap().row.body.as_ref().unwrap().contains("edited"), "the rest goes on");
    desk.sql("INSERT INTO Note VALUES (1500, 'back')");
    pass(limits::QUEUE_POLL_EVERY).await;
    assert_eq!(desk.held(), 1_899);
    // The queue was consumed, so only reads can tell the next process; they hold it all the same.
    desk.restart().await;
    two_reads().await;
    assert_eq!((desk.live().await, desk.held()), (2_000, 1_899));
    assert_eq!(desk.release(1_899).await, Release::Done(1_899));
    assert_eq!(desk.live().await, 101);
}

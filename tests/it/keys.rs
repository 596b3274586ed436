//! What a record is called, with the real device library against the real server and a SQLite file of every kind of key:
//! natural, composite, made by the database and made by the device.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::time::Duration;

use omctl_device::{Mobster, Write};
use omctl_protocol::Outcome;
use rusqlite::Connection;

use crate::fleet::{device, is_taken, receipts, serve, texts};

/// What a record's id begins with.
const ID: &str = "018f6b1e-0000-7000-8000-0000000000";

const TABLES: [(&str, &str); 4] =
    [("countries", "Country"), ("stock", "Stock"), ("people", "Person"), ("papers", "Paper")];

fn project(root: &Path) {
    std::fs::create_dir(root.join("channels")).unwrap();
    let shop = Connection::open(root.join("shop.db")).unwrap();
    shop.execute_batch(
        "PRAGMA foreign_keys = ON;
         CREATE TABLE Country (Code TEXT PRIMARY KEY, Name TEXT);
         CREATE TABLE Stock (Shop TEXT, Item INTEGER, Count INTEGER, PRIMARY KEY (Shop, Item));
         CREATE TABLE Person (PersonId INTEGER PRIMARY KEY, Name TEXT, Boss INTEGER REFERENCES Person, Home TEXT REFERENCES Country);
         CREATE TABLE Paper (Guid TEXT PRIMARY KEY, Title TEXT, Author INTEGER REFERENCES Person);
         INSERT INTO Country VALUES ('DE', 'Germany'), ('FR', 'France');
         INSERT INTO Stock VALUES ('north', 1, 10), ('north', 2, 20), ('nor[\"t', 1, 1);
         INSERT INTO Person VALUES (1, 'Ada', NULL, 'DE'), (2, 'Ben', 1, 'FR');",
    )
    .unwrap();
    let settings = "version: 1\nname: keys\nbackends: { shop: { kind: sqlite, path: shop.db } }\n";
    std::fs::write(root.join("openmobster.yaml"), settings).unwrap();
    let channel = |name: &str, key: &str, fields: &str| {
        let (_, table) = TABLES.iter().find(|(channel, _)| *channel == name).unwrap();
        let text = format!(
            "backend: shop\ntable: {table}\nkey: {key}\nscope: public\n\
             write: {{ create: any, update: any, delete: any }}\nfields:\n{fields}"
        );
        std::fs::write(root.join(format!("channels/{name}.yaml")), text).unwrap();
    };
    channel("countries", "{ columns: [Code], assigned_by: app }", "  Code: { type: text }\n  Name: { type: text }\n");
    channel(
        "stock",
        "{ columns: [Shop, Item], assigned_by: app }",
        "  Shop: { type: text }\n  Item: { type: int }\n  Count: { type: int, conflict: sum }\n",
    );
    channel(
        "people",
        "{ columns: [PersonId], assigned_by: backend }",
        "  PersonId: { type: int }\n  Name: { type: text }\n  Boss: { type: ref, to: people }\n  Home: { type: ref, to: countries }\n",
    );
    channel(
        "papers",
        "{ columns: [Guid], assigned_by: device }",
        "  Title: { type: text }\n  Author: { type: ref, to: people }\n",
    );
}

/// Runs statements in one transaction; `@nn` in them is a record's id.
async fn run(app: &Mobster, statements: &[&str]) -> Write {
    let sql = statements.join(";").replace('@', ID);
    app.transaction(move |tx| tx.execute_batch(&sql)).await.unwrap().1
}

/// Waits until these devices show the tables as the database has them.
async fn agree(root: &Path, devices: &[(&Mobster, &str)]) {
    let columns = |table: &str| match table {
        "Country" => "Code || '|' || coalesce(Name, '-')",
        "Stock" => "Shop || '|' || Item || '|' || coalesce(Count, '-')",
        "Person" => "PersonId || '|' || Name || '|' || coalesce(Boss, '-') || '|' || coalesce(Home, '-')",
        _ => "Guid || '|' || Title || '|' || coalesce(Author, '-')",
    };
    for (app, file) in devices {
        for (channel, table) in TABLES {
            let expected =
                || texts(&root.join("shop.db"), &format!("SELECT {} FROM {table} ORDER BY 1", columns(table)));
            let shown =
                || texts(&root.join(file), &format!("SELECT {} FROM backend_{channel} ORDER BY 1", columns(table)));
            for _ in 0..300 {
                app.sync_now().await.unwrap();
                if shown() == expected() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(shown(), expected(), "{channel} in {file}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_keep_their_names_whoever_makes_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root);
    let server = serve(root, "data").await;
    let one = device(&server, &root.join("one.db"), "one@example.com").await;
    let two = device(&server, &root.join("two.db"), "two@example.com").await;
    let devices = [(&one, "one.db"), (&two, "two.db")];
    one.create_backend_views().await.unwrap();
    two.create_backend_views().await.unwrap();
    agree(root, &devices).await;

    // Offline, one names a chain of what is not there yet, a record that names itself, and two that name each other; the
    // references come before what they name.
    one.set_online(false);
    two.set_online(false);
    let chain = run(
        &one,
        &[
            "INSERT INTO papers (id, Title, Author) VALUES ('@aa', 'On keys', '@01')",
            "INSERT INTO people (id, Name, Boss, Home) VALUES ('@01', 'Cy', '@02', '@07')",
            "INSERT INTO people (id, Name, Boss) VALUES ('@02', 'Di', '@03')",
            "INSERT INTO people (id, Name, Boss) VALUES ('@03', 'Ed', '1')",
            "INSERT INTO countries (id, Code, Name) VALUES ('@07', 'NL', 'Netherlands')",
            "INSERT INTO people (id, Name, Boss) VALUES ('@04', 'Fi', '@04')",
            "INSERT INTO people (id, Name, Boss) VALUES ('@05', 'Gus', '@06')",
            "INSERT INTO people (id, Name, Boss) VALUES ('@06', 'Hal', '@05')",
        ],
    )
    .await;
    // One key deleted and made again in one offline window: another life of it.
    let relived = run(
        &one,
        &["DELETE FROM stock WHERE Item = 2", "INSERT INTO stock (Shop, Item, Count) VALUES ('north', 2, 7)"],
    )
    .await;
    // The same natural key on the other device.
    let second = run(&two, &["INSERT INTO countries (Code, Name) VALUES ('NL', 'Holland')"]).await;
    let composite = run(
        &two,
        &[
            "INSERT INTO stock (Shop, Item, Count) VALUES ('a,\"b]', -9223372036854775808, 3)",
            "UPDATE stock SET Count = 11 WHERE Shop = 'north' AND Item = 1",
        ],
    )
    .await;
    one.set_online(true);
    is_taken(&one, chain).await;
    is_taken(&one, relived).await;
    two.set_online(true);
    is_taken(&two, composite).await;
    let refused = receipts(&two, second).await;
    assert!(matches!(&refused[..], [receipt] if receipt.code.as_deref() == Some("exists")), "{refused:?}");
    assert_eq!(two.rejected().await.unwrap().len(), 1, "what lost is kept");
    agree(root, &devices).await;
    let shop = root.join("shop.db");
    let bosses = texts(
        &shop,
        "SELECT person.Name || ' < ' || boss.Name FROM Person person JOIN Person boss ON boss.PersonId = person.Boss ORDER BY 1",
    );
    assert_eq!(bosses, ["Ben < Ada", "Cy < Di", "Di < Ed", "Ed < Ada", "Fi < Fi", "Gus < Hal", "Hal < Gus"]);
    assert_eq!(texts(&shop, "SELECT Name FROM Country WHERE Code = 'NL'"), ["Netherlands"]);
    assert_eq!(texts(&shop, "SELECT Count || '' FROM Stock WHERE Shop = 'north' ORDER BY 1"), ["11", "7"]);
    assert_eq!(texts(&shop, "SELECT Name FROM Person p JOIN Paper ON Author = p.PersonId"), ["Cy"]);
    // What the device called it is what it is called for ever, also where the database gave it another key.
    let names = "SELECT id FROM people WHERE Name IN ('Cy', 'Fi') ORDER BY 1";
    let ids = [format!("{ID}01"), format!("{ID}04")];
    assert_eq!(texts(&root.join("one.db"), names), ids);
    assert_eq!(texts(&root.join("two.db"), names), ids);

    // A key that changes in the database is a delete and a create; on a device it cannot change.
    Connection::open(&shop)
        .unwrap()
        .execute_batch(
            "PRAGMA foreign_keys = OFF; UPDATE Country SET Code = 'XX' WHERE Code = 'FR';
             UPDATE Person SET Home = 'XX' WHERE Home = 'FR'; UPDATE Stock SET Item = 5 WHERE Shop = 'north' AND Item = 1",
        )
        .unwrap();
    agree(root, &devices).await;
    let changed = one.execute("UPDATE countries SET Code = 'YY' WHERE Code = 'DE'", vec![]).await;
    let message = "`countries.Code` is part of the key and never changes";
    assert!(format!("{changed:?}").contains(message), "{changed:?}");
    let gone = run(&one, &["DELETE FROM papers", "DELETE FROM people WHERE Name IN ('Cy', 'Di')"]).await;
    let outcomes: Vec<_> = receipts(&one, gone).await.into_iter().map(|receipt| receipt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Applied; 3]);
    agree(root, &devices).await;
    server.stop().await;
}

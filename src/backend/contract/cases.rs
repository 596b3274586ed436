//! The cases. Each states one promise and has a database of its own.

use omctl_protocol::FieldType::{
    self, Array, Bool, Bytes, Date, DateTime, Decimal, Float, Int, Json, Text, Time, Timestamp, Uuid,
};

use super::*;

/// The columns of `Thing`. `n` is the one whose backend column may convert what it is given.
pub(super) const EVERY_TYPE: [(&str, FieldType); 14] = [
    ("t", Text),
    ("i", Int),
    ("f", Float),
    ("d", Decimal),
    ("n", Decimal),
    ("b", Bool),
    ("da", Date),
    ("ti", Time),
    ("dt", DateTime),
    ("ts", Timestamp),
    ("u", Uuid),
    ("j", Json),
    ("a", Array),
    ("by", Bytes),
];

pub(super) async fn all(harness: &impl Harness) {
    rows_are_made_read_changed_and_removed(harness).await;
    a_row_that_moved_is_lost(harness).await;
    spellings_of_one_value_are_equal(harness).await;
    a_mutation_is_done_once(harness).await;
    without_install_everything_works_best_effort(harness).await;
    what_fails_takes_nothing_with_it(harness).await;
    a_whole_is_done_or_undone(harness).await;
    after_a_crash_the_answer_is_still_known(harness).await;
    keys_are_assigned_natural_or_composite(harness).await;
    refusals_say_why(harness).await;
    every_type_comes_back_to_its_limits(harness).await;
    null_is_not_empty(harness).await;
    the_filter_bounds_reads_and_is_set_on_insert(harness).await;
    foreign_edits_are_seen(harness).await;
    the_queue_lists_what_changed(harness).await;
    a_foreign_write_leaves_no_trace_of_ours(harness).await;
    pages_are_complete_and_ordered(harness).await;
    bad_rows_are_told_and_not_fatal(harness).await;
    install_then_remove_leaves_no_trace(harness).await;
    what_is_missing_is_named(harness).await;
}

fn insert(key: Option<Key>, set: &[(usize, Value)]) -> Effect {
    Effect::Insert { key, set: set.to_vec() }
}

fn update(key: &Key, expect: &[(usize, Value)], set: &[(usize, Value)]) -> Effect {
    Effect::Update { key: key.clone(), expect: expect.to_vec(), set: set.to_vec() }
}

fn delete(key: &Key, expect: &[(usize, Value)]) -> Effect {
    Effect::Delete { key: key.clone(), expect: expect.to_vec() }
}

async fn rows_are_made_read_changed_and_removed(harness: &impl Harness) {
    let (case, artists) = (Case::installed(harness).await, artists());
    let (key, row) = case.done(&artists, insert(None, &[(0, Value::Null), (1, text("Björk"))])).await;
    assert_eq!(row.expect("read back").values, [key.0[0].clone(), text("Björk")]);
    assert_eq!(case.read(&artists, &key).await, Some(vec![key.0[0].clone(), text("Björk")]));
    let (_, row) = case.done(&artists, update(&key, &[(1, text("Björk"))], &[(1, text("B"))])).await;
    assert_eq!(row.expect("read back").values[1], text("B"));
    let (gone, row) = case.done(&artists, delete(&key, &[(1, text("B"))])).await;
    assert_eq!((&gone, row), (&key, None));
    assert_eq!(case.read(&artists, &key).await, None);
    let noted = case.one(&artists, Effect::Nothing { key: Some(key.clone()) }).await;
    assert_eq!(noted, Written::Done { key: Some(key), row: None });
}

async fn a_row_that_moved_is_lost(harness: &impl Harness) {
    let (case, artists) = (Case::installed(harness).await, artists());
    case.system.foreign("INSERT INTO Artist (ArtistId, Name) VALUES (1, 'a'), (2, NULL)");
    for (number, seen) in [(1, Value::Null), (1, text("b")), (2, text("")), (3, text("a"))] {
        let seen = [(1, seen)];
        assert_eq!(case.one(&artists, update(&key(number), &seen, &[(1, text("c"))])).await, Written::Lost);
        assert_eq!(case.one(&artists, delete(&key(number), &seen)).await, Written::Lost);
    }
    // NULL expected and found is as it was read.
    case.done(&artists, update(&key(2), &[(1, Value::Null)], &[(1, text("c"))])).await;
    assert_eq!(case.read(&artists, &key(1)).await, Some(vec![Value::Int(1), text("a")]));
    // A lost write has no dedupe row: the same mutation is planned again.
    let (_, mut again) = case.plan(&artists, update(&key(1), &[(1, text("x"))], &[(1, text("y"))]));
    assert_eq!(case.write(&[(artists.clone(), again.clone())]).await, [Written::Lost]);
    again.effect = update(&key(1), &[(1, text("a"))], &[(1, text("y"))]);
    assert!(matches!(case.write(&[(artists.clone(), again)]).await[0], Written::Done { .. }));
}

async fn spellings_of_one_value_are_equal(harness: &impl Harness) {
    let (case, albums) = (Case::new(harness), albums());
    case.system.foreign("INSERT INTO Artist (ArtistId) VALUES (1)");
    case.system.foreign(
        "INSERT INTO Album (AlbumId, Title, ArtistId, Price, Released) VALUES (1, 't', 1, 0.99, '2009-01-01 10:00:00')",
    );
    let seen = [(3, text("0.99")), (4, text("2009-01-01 10:00:00"))];
    let (_, row) = case.done(&albums, update(&key(1), &seen, &[(3, text("1.5"))])).await;
    assert_eq!(row.expect("read back").values[3], text("1.5"));
}

async fn a_mutation_is_done_once(harness: &impl Harness) {
    let (case, artists) = (Case::installed(harness).await, artists());
    let one = case.plan(&artists, insert(None, &[(1, text("once"))]));
    let Written::Done { key: Some(key), .. } = case.write(std::slice::from_ref(&one)).await.remove(0) else {
        panic!("the first is done")
    };
    let mut other = one.clone();
    other.1.digest = [99; 16];
    for again in [one.clone(), other] {
        let Written::Already(applied) = case.write(&[again]).await.remove(0) else { panic!("it was done") };
        // The digest is that of what was applied: the caller sees that another payload came under this id.
        assert_eq!((applied.digest, applied.key.as_ref()), (one.1.digest, Some(&key)));
        assert_eq!((&applied.record, &applied.outcome), (&one.1.record, &one.1.outcome));
    }
    assert_eq!(case.scan(&artists, 10).await.len(), 1);
    let born = case.backend().born(&artists, &[key.clone(), super::key(77)]).await.expect(ANSWERS);
    assert_eq!(born.into_iter().collect::<Vec<_>>(), [(key.to_text(), one.1.record.clone())]);
    assert_eq!(case.backend().prune_applied(i64::MAX).await.expect(ANSWERS), 1);
    assert!(case.backend().applied(&[one.1.mutation]).await.expect(ANSWERS).is_empty());
}

async fn without_install_everything_works_best_effort(harness: &impl Harness) {
    let (case, artists) = (Case::new(harness), artists());
    let probe = case.backend().probe(&artists).await.expect(ANSWERS);
    assert_eq!((probe.delivery, probe.detection), (Delivery::BestEffort, Detection::HashDiff));
    let one = case.plan(&artists, insert(None, &[(1, text("a"))]));
    assert!(matches!(case.write(std::slice::from_ref(&one)).await[0], Written::Done { .. }));
    assert!(case.backend().applied(&[one.1.mutation]).await.expect(ANSWERS).is_empty());
    assert!(case.queue().await.0.is_empty());
    case.backend().forget_changes(&[1]).await.expect(ANSWERS);
    assert_eq!(case.backend().prune_applied(i64::MAX).await.expect(ANSWERS), 0);
    case.backend().install(&super::all()).await.expect(ANSWERS);
    let probe = case.backend().probe(&artists).await.expect(ANSWERS);
    assert_eq!((probe.delivery, probe.detection, probe.rows), (Delivery::ExactlyOnce, Detection::Queue, 1));
}

async fn what_fails_takes_nothing_with_it(harness: &impl Harness) {
    let (case, artists, albums) = (Case::installed(harness).await, artists(), albums());
    let title = |words: &str, artist: i64| vec![(1, text(words)), (2, Value::Int(artist))];
    let writes = [
        case.plan(&artists, insert(Some(key(1)), &[(1, text("a"))])),
        case.plan(&albums, insert(None, &title("orphan", 99))),
        case.plan(&artists, insert(Some(key(1)), &[(1, text("again"))])),
        case.plan(&artists, update(&key(7), &[], &[(1, text("lost"))])),
        case.plan(&albums, insert(None, &title("kept", 1))),
    ];
    let answers = case.write(&writes).await;
    let words: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Written::Done { .. } => "done",
            Written::Lost => "lost",
            Written::Exists => "exists",
            Written::Refused { code, .. } => code,
            Written::Already(_) => "already",
        })
        .collect();
    assert_eq!(words, ["done", "reference", "exists", "lost", "done"]);
    assert_eq!(case.scan(&albums, 10).await.len(), 1);
    // Only what was done has a dedupe row.
    let ids: Vec<_> = writes.iter().map(|(_, write)| write.mutation).collect();
    assert_eq!(case.backend().applied(&ids).await.expect(ANSWERS).len(), 2);
}

async fn a_whole_is_done_or_undone(harness: &impl Harness) {
    let (case, artists, albums, links) = (Case::installed(harness).await, artists(), albums(), album_genres());
    case.system.foreign("INSERT INTO Genre (Code, Name) VALUES ('rock', 'Rock')");
    let lent = |from, into| vec![Borrow { from, into }];
    let with = |(collection, write): (Arc<Collection>, Write), borrows| (collection, Write { borrows, ..write });
    let nobody = Key(vec![Value::Null]);
    let title = [(1, text("t")), (2, Value::Null)];
    // Of rows whose keys nobody knows yet: one names the other, one has the other's key in its own, one is changed again.
    let writes = [
        case.plan(&artists, insert(None, &[(1, text("a"))])),
        with(case.plan(&albums, insert(None, &title)), lent(0, Slot::Column(2))),
        with(case.plan(&links, insert(Some(Key(vec![Value::Null, text("rock")])), &[])), lent(1, Slot::KeyColumn(0))),
        with(case.plan(&albums, update(&nobody, &[], &[(1, text("u"))])), lent(1, Slot::Row)),
        with(case.plan(&artists, Effect::Nothing { key: None }), lent(0, Slot::Row)),
    ];
    let refused = [&writes[..4], &[case.plan(&albums, insert(None, &[(1, text("x")), (2, Value::Int(99))]))]].concat();
    let lost = [&writes[..2], &[case.plan(&artists, update(&key(77), &[], &[(1, text("x"))]))]].concat();
    let ids: Vec<_> = writes.iter().map(|(_, write)| write.mutation).collect();
    for (writes, place) in [(refused, 4), (lost, 2)] {
        let undone = case.backend().write_whole(&writes).await.expect(ANSWERS);
        assert!(matches!(undone, Whole::Undone { at: Some(at), .. } if at == place), "{undone:?}");
        assert!(case.scan(&artists, 10).await.is_empty() && case.scan(&albums, 10).await.is_empty());
        assert!(case.backend().applied(&ids).await.expect(ANSWERS).is_empty());
    }
    let Whole::Done(done) = case.backend().write_whole(&writes).await.expect(ANSWERS) else { panic!("it can be done") };
    let keys: Vec<Key> =
        done.iter().filter_map(|one| if let Written::Done { key, .. } = one { key.clone() } else { None }).collect();
    assert_eq!((keys.len(), &keys[1], &keys[0]), (5, &keys[3], &keys[4]));
    // Each row is as it was at the end.
    let Written::Done { row: Some(album), .. } = &done[1] else { panic!("{done:?}") };
    assert_eq!(album.values[1..3], [text("u"), keys[0].0[0].clone()]);
    assert_eq!(case.read(&links, &Key(vec![keys[1].0[0].clone(), text("rock")])).await.map(|row| row.len()), Some(3));
    assert_eq!(case.backend().applied(&ids).await.expect(ANSWERS).len(), 5);
    assert_eq!(case.queue().await.0.iter().filter(|one| one.starts_with("Artist")).count(), 1);
    // Once more: it is done already, whichever is asked first.
    let again = case.backend().write_whole(&writes[1..]).await;
    assert!(matches!(again.expect(ANSWERS), Whole::Undone { at: Some(0), why: Written::Already(_) }));
}

async fn after_a_crash_the_answer_is_still_known(harness: &impl Harness) {
    let (mut case, links) = (Case::installed(harness).await, album_genres());
    case.system.foreign("INSERT INTO Artist (ArtistId) VALUES (1)");
    case.system.foreign("INSERT INTO Album (AlbumId, Title, ArtistId) VALUES (5, 't', 1)");
    case.system.foreign("INSERT INTO Genre (Code, Name) VALUES ('a\"b', 'Rock')");
    let both = Key(vec![Value::Int(5), text("a\"b")]);
    let one = case.plan(&links, insert(Some(both.clone()), &[(2, text("n"))]));
    assert!(matches!(case.write(std::slice::from_ref(&one)).await[0], Written::Done { .. }));
    case.system.crash();
    let applied = case.backend().applied(&[one.1.mutation, MutationId(uuid(999))]).await.expect(ANSWERS);
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[&one.1.mutation].key.as_ref(), Some(&both));
    assert!(matches!(case.write(&[one]).await[0], Written::Already(_)));
    assert_eq!(case.queue().await.0, ["Album 5", "AlbumGenre [\"5\",\"a\\\"b\"]", "Artist 1", "Genre a\"b"]);
}

async fn keys_are_assigned_natural_or_composite(harness: &impl Harness) {
    let (case, links, things) = (Case::installed(harness).await, album_genres(), things());
    let (artist, _) = case.done(&artists(), insert(None, &[(1, text("a"))])).await;
    let (album, _) = case.done(&albums(), insert(None, &[(1, text("t")), (2, artist.0[0].clone())])).await;
    let rock = key("röck'\"");
    case.done(&genres(), insert(Some(rock.clone()), &[(0, rock.0[0].clone()), (1, text("Rock"))])).await;
    assert_eq!(case.one(&genres(), insert(Some(rock.clone()), &[(1, text("Other"))])).await, Written::Exists);
    let both = Key(vec![album.0[0].clone(), rock.0[0].clone()]);
    let (made, row) = case.done(&links, insert(Some(both.clone()), &[])).await;
    assert_eq!((&made, row.expect("read back").values.len()), (&both, 3));
    assert_eq!(case.one(&links, insert(Some(both.clone()), &[])).await, Written::Exists);
    case.done(&links, update(&both, &[(2, Value::Null)], &[(2, text("n"))])).await;
    case.done(&links, delete(&both, &[])).await;
    let id = key("0190163d-8694-739b-aea5-966c26f8ad91");
    case.done(&things, insert(Some(id.clone()), &[(0, text("x"))])).await;
    assert_eq!(case.one(&things, insert(Some(id), &[])).await, Written::Exists);
}

async fn refusals_say_why(harness: &impl Harness) {
    let (case, genres, albums) = (Case::installed(harness).await, genres(), albums());
    case.system.foreign("INSERT INTO Artist (ArtistId) VALUES (1)");
    case.system.foreign("INSERT INTO Album (AlbumId, Title, ArtistId) VALUES (1, 't', 1)");
    case.done(&genres, insert(Some(key("a")), &[(1, text("A"))])).await;
    for (collection, effect, expected, named) in [
        (&genres, insert(Some(key("b")), &[(1, Value::Null)]), "constraint", Some("Name")),
        (&genres, insert(Some(key("b")), &[(1, text("A"))]), "constraint", Some("Name")),
        (&genres, insert(Some(key("b")), &[(1, text("nul\0"))]), "bad_value", Some("Name")),
        (&albums, update(&key(1), &[], &[(3, text("-1"))]), "constraint", None),
        (&albums, update(&key(1), &[], &[(2, Value::Int(9))]), "reference", None),
        (&albums, update(&key(1), &[], &[(0, Value::Int(2))]), "not_allowed", Some("AlbumId")),
        (&artists(), delete(&key(1), &[]), "reference", None),
    ] {
        match case.one(collection, effect).await {
            Written::Refused { code, column, .. } => {
                assert_eq!(code, expected);
                // Not every backend names the column of a unique index; a wrong one must not be named.
                assert!(column.is_none() || column.as_deref() == named, "{column:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(case.scan(&genres, 10).await.len(), 1);
}

async fn every_type_comes_back_to_its_limits(harness: &impl Harness) {
    let (case, things) = (Case::installed(harness).await, things());
    let rows: [[Value; 14]; 2] = [
        [
            text("Zoë 🦊 \"quoted\" 'single' \\ \n\t"),
            Value::Int(i64::MAX),
            Value::Float(f64::MAX),
            text("12345678901234567890123456789012345.678"),
            text("99999999.99"),
            Value::Bool(true),
            text("9999-12-31"),
            text("23:59:59.999999999"),
            text("9999-12-30 23:59:59.999"),
            text("1970-01-01T00:00:00Z"),
            text("0190163d-8694-739b-aea5-966c26f8ad91"),
            text("{\"a\":[1,2.50,null,\"ü\"]}"),
            text("[1,\"two\",{}]"),
            Value::Bytes((0..=255).collect()),
        ],
        [
            text("007"),
            Value::Int(i64::MIN),
            Value::Float(0.1 + 0.2),
            text("-0.00000000000000000000000000000000000001"),
            text("-0.01"),
            Value::Bool(false),
            text("0001-01-01"),
            text("00:00:00"),
            text("1900-02-28 00:00:00"),
            text("2038-01-19T03:14:08.000001Z"),
            text("00000000-0000-0000-0000-000000000000"),
            text("12345678901234567890123"),
            text("[]"),
            Value::Bytes(vec![0]),
        ],
    ];
    for (number, row) in rows.into_iter().enumerate() {
        let id = key(uuid(number as u128).to_string().as_str());
        let set: Vec<(usize, Value)> = row.iter().cloned().enumerate().collect();
        let (_, back) = case.done(&things, insert(Some(id.clone()), &set)).await;
        assert_eq!(back.expect("read back").values, row);
        assert_eq!(case.read(&things, &id).await.as_deref(), Some(&row[..]));
        // What was read is what is expected at the next write, for every type.
        case.done(&things, update(&id, &set, &[(0, text("next"))])).await;
    }
    let id = key(uuid(0).to_string().as_str());
    let too_wide = update(&id, &[], &[(4, text("12345678901234567890123456789012345678"))]);
    match case.one(&things, too_wide).await {
        Written::Refused { code, .. } => assert_eq!(code, "bad_value"),
        Written::Done { row, .. } => {
            let kept = row.expect("read back").values[4].clone();
            assert_eq!(kept, text("12345678901234567890123456789012345678"), "nothing is rounded silently");
        }
        other => panic!("{other:?}"),
    }
}

async fn null_is_not_empty(harness: &impl Harness) {
    let (case, things) = (Case::installed(harness).await, things());
    let id = key("0190163d-8694-739b-aea5-966c26f8ad91");
    let (_, row) = case.done(&things, insert(Some(id.clone()), &[(0, text("")), (13, Value::Bytes(vec![]))])).await;
    let values = row.expect("read back").values;
    assert_eq!((&values[0], &values[13]), (&text(""), &Value::Bytes(vec![])));
    assert!(values[1..13].iter().all(Value::is_null));
    assert_eq!(case.one(&things, update(&id, &[(0, Value::Null)], &[])).await, Written::Lost);
    let (_, row) = case.done(&things, update(&id, &[(0, text(""))], &[(0, Value::Null)])).await;
    assert!(row.expect("read back").values[0].is_null());
    assert_eq!(case.one(&things, update(&id, &[(0, text(""))], &[])).await, Written::Lost);
}

async fn the_filter_bounds_reads_and_is_set_on_insert(harness: &impl Harness) {
    let (case, genres) = (Case::installed(harness).await, genres());
    case.system.foreign("INSERT INTO Genre (Code, Name, Archived) VALUES ('a', 'A', 0), ('b', 'B', 1)");
    case.done(&genres, insert(Some(key("c")), &[(1, text("C"))])).await;
    let codes: Vec<_> = case.scan(&genres, 10).await.iter().map(|row| row.key.to_text()).collect();
    assert_eq!(codes, ["a", "c"]);
    assert_eq!(case.read(&genres, &key("b")).await, None);
    assert_eq!(case.one(&genres, update(&key("b"), &[], &[(1, text("x"))])).await, Written::Lost);
    assert_eq!(case.one(&genres, delete(&key("b"), &[])).await, Written::Lost);
    assert_eq!(case.one(&genres, insert(Some(key("b")), &[(1, text("x"))])).await, Written::Exists);
    assert_eq!(case.backend().probe(&genres).await.expect(ANSWERS).rows, 2);
}

async fn foreign_edits_are_seen(harness: &impl Harness) {
    let (case, artists) = (Case::installed(harness).await, artists());
    case.done(&artists, insert(Some(key(1)), &[(1, text("a"))])).await;
    let quiet = case.backend().quiet_mark().await.expect(ANSWERS);
    assert_eq!(case.backend().quiet_mark().await.expect(ANSWERS), quiet);
    case.system.foreign("UPDATE Artist SET Name = 'b' WHERE ArtistId = 1");
    assert!(quiet.is_none() || case.backend().quiet_mark().await.expect(ANSWERS) != quiet);
    assert_eq!(case.one(&artists, update(&key(1), &[(1, text("a"))], &[(1, text("c"))])).await, Written::Lost);
    assert_eq!(case.read(&artists, &key(1)).await, Some(vec![Value::Int(1), text("b")]));
    case.system.foreign("DELETE FROM Artist WHERE ArtistId = 1");
    assert_eq!(case.one(&artists, delete(&key(1), &[(1, text("b"))])).await, Written::Lost);
    assert_eq!(case.read(&artists, &key(1)).await, None);
}

async fn the_queue_lists_what_changed(harness: &impl Harness) {
    let case = Case::installed(harness).await;
    case.system.foreign("INSERT INTO Genre (Code, Name) VALUES ('a', 'A'), ('b', 'B'), ('c', 'C')");
    let (keys, numbers) = case.queue().await;
    assert_eq!(keys, ["Genre a", "Genre b", "Genre c"]);
    case.backend().forget_changes(&numbers).await.expect(ANSWERS);
    assert!(case.queue().await.0.is_empty());
    // Numbers are not given again: an answer that was lost may be asked for again.
    case.system.foreign("UPDATE Genre SET Code = 'bb' WHERE Code = 'b'");
    case.backend().forget_changes(&numbers).await.expect(ANSWERS);
    case.system.foreign("DELETE FROM Genre WHERE Code = 'c'");
    case.system.foreign("INSERT INTO Artist (ArtistId) VALUES (12)");
    let (keys, numbers) = case.queue().await;
    assert_eq!(keys, ["Artist 12", "Genre b", "Genre bb", "Genre c"]);
    let only = case.backend().changes(&[artists()], 10).await.expect(ANSWERS);
    assert_eq!((only.len(), only[0].key.clone()), (1, Some(key(12))));
    // Forgetting some leaves the others, in their order.
    case.backend().forget_changes(&numbers[1..]).await.expect(ANSWERS);
    assert_eq!(case.queue().await.1, numbers[..1]);
    case.done(&artists(), update(&key(12), &[], &[(1, text("own"))])).await;
    assert!(case.queue().await.0.contains(&"Artist 12".to_owned()), "our own writes are entries too");
}

async fn a_foreign_write_leaves_no_trace_of_ours(harness: &impl Harness) {
    let case = Case::installed(harness).await;
    let foreign = async |effect: Effect| case.backend().write_foreign(&artists(), &effect).await.expect(ANSWERS);
    let Written::Done { key: Some(key), row: Some(_) } = foreign(insert(None, &[(1, text("theirs"))])).await else {
        panic!("a row is made, with a key of its own");
    };
    assert!(case.backend().born(&artists(), std::slice::from_ref(&key)).await.expect(ANSWERS).is_empty());
    assert_eq!(case.queue().await.0, [format!("Artist {key}")]);
    let lost = foreign(update(&key, &[(1, text("other"))], &[(1, text("x"))])).await;
    assert_eq!(lost, Written::Lost);
    assert!(matches!(foreign(update(&key, &[], &[(1, text("x"))])).await, Written::Done { .. }));
    assert_eq!(case.read(&artists(), &key).await.expect("it is there")[1], text("x"));
    assert!(matches!(foreign(delete(&key, &[])).await, Written::Done { row: None, .. }));
    assert_eq!(case.read(&artists(), &key).await, None);
}

async fn pages_are_complete_and_ordered(harness: &impl Harness) {
    let (case, links) = (Case::new(harness), album_genres());
    case.system.foreign("INSERT INTO Artist (ArtistId) VALUES (-5), (0), (3), (20), (100)");
    let mut expected = Vec::new();
    for album in [-1_i64, 2, 10] {
        case.system.foreign(&format!("INSERT INTO Album (AlbumId, Title, ArtistId) VALUES ({album}, 't', 3)"));
        for code in ["", "A", "a", "é"] {
            if album == -1 {
                case.system.foreign(&format!("INSERT INTO Genre (Code, Name) VALUES ('{code}', 'n{code}')"));
            }
            case.system.foreign(&format!("INSERT INTO AlbumGenre (AlbumId, Code) VALUES ({album}, '{code}')"));
            expected.push(Key(vec![Value::Int(album), text(code)]));
        }
    }
    for limit in [1, 2, 5, 12, 100] {
        let keys: Vec<_> = case.scan(&links, limit).await.into_iter().map(|row| row.key).collect();
        assert_eq!(keys, expected, "{limit} a page");
        let numbers: Vec<_> = case.scan(&artists(), limit).await.into_iter().map(|row| row.key.to_text()).collect();
        assert_eq!(numbers, ["-5", "0", "3", "20", "100"]);
    }
    assert!(case.scan(&things(), 10).await.is_empty());
}

async fn bad_rows_are_told_and_not_fatal(harness: &impl Harness) {
    let (case, things) = (Case::installed(harness).await, things());
    case.system.foreign("INSERT INTO Thing (id, d) VALUES ('a', '1'), ('b', 'many'), ('c', '3')");
    let page = case.backend().scan(&things, None, 10).await.expect(ANSWERS);
    assert_eq!(page.rows.len(), 2);
    assert_eq!((page.bad.len(), page.bad[0].column.as_str()), (1, "d"));
    assert_eq!(page.bad[0].key, Some(key("b")));
    assert!(!page.bad[0].message.contains("many"), "never the value");
    for limit in 1..4 {
        assert_eq!(case.scan(&things, limit).await.len(), 2);
    }
    let read = case.backend().read(&things, &[key("b"), key("c")]).await.expect(ANSWERS);
    assert!(matches!((&read[0], &read[1]), (Some(Err(_)), Some(Ok(_)))));
    assert_eq!(case.one(&things, update(&key("b"), &[(3, text("1"))], &[(0, text("x"))])).await, Written::Lost);
}

async fn install_then_remove_leaves_no_trace(harness: &impl Harness) {
    let case = Case::new(harness);
    let before = case.system.schema_dump();
    let all = super::all();
    case.backend().install(&all[..2]).await.expect(ANSWERS);
    case.backend().install(&all).await.expect(ANSWERS);
    let installed = case.system.schema_dump();
    case.backend().install(&all).await.expect(ANSWERS);
    assert_eq!(case.system.schema_dump(), installed, "installing again changes nothing");
    case.done(&artists(), insert(None, &[(1, text("a"))])).await;
    case.backend().remove(&all[1..]).await.expect(ANSWERS);
    let probe = case.backend().probe(&artists()).await.expect(ANSWERS);
    assert_eq!((probe.delivery, probe.detection), (Delivery::ExactlyOnce, Detection::Queue));
    let probe = case.backend().probe(&albums()).await.expect(ANSWERS);
    assert_eq!(probe.detection, Detection::HashDiff);
    case.backend().remove(&all[..1]).await.expect(ANSWERS);
    assert_eq!(case.system.schema_dump(), before);
    case.backend().remove(&all).await.expect(ANSWERS);
    // What is printed for people who run it themselves is the same.
    case.system.foreign(&case.backend().install_sql(&all));
    assert_eq!(case.backend().probe(&albums()).await.expect(ANSWERS).detection, Detection::Queue);
    case.backend().remove(&all).await.expect(ANSWERS);
    assert_eq!(case.system.schema_dump(), before);
}

async fn what_is_missing_is_named(harness: &impl Harness) {
    let case = Case::new(harness);
    let mut odd = (*artists()).clone();
    odd.columns.push(column("Gone", Text));
    let probe = case.backend().probe(&odd).await.expect(ANSWERS);
    assert_eq!(probe.missing, ["column \"Gone\" of table \"Artist\""]);
    let error = case.backend().scan(&odd, None, 10).await.expect_err("the column is not there");
    assert!(matches!(error, crate::backend::BackendError::Missing { .. }), "{error}");
    odd.table = "Nowhere".to_owned();
    assert_eq!(case.backend().probe(&odd).await.expect(ANSWERS).missing, ["table \"Nowhere\""]);
    let write = case.plan(&Arc::new(odd), insert(None, &[]));
    let error = case.backend().write(&[write]).await.expect_err("the table is not there");
    assert!(matches!(error, crate::backend::BackendError::Missing { .. }), "{error}");
    // A table that disappears while it is known.
    case.scan(&things(), 1).await;
    case.system.foreign("DROP TABLE Thing");
    let error = case.backend().scan(&things(), None, 1).await.expect_err("the table is not there");
    assert!(matches!(error, crate::backend::BackendError::Missing { .. }), "{error}");
}

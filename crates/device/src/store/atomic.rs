//! Transactions that the server applies whole or not at all.
//!
//! *Invariant:* the mutations of one stand in the outbox one behind the other, each with its place in it ([`Part`]): they
//! are joined with nothing else, sealed together, and numbered together in every incarnation.

use std::collections::{BTreeSet, VecDeque};

use omctl_protocol::{ATOMIC_MUTATIONS_MAX, Mutation, Part};
use rusqlite::{Connection, Transaction};

use super::channels::Channels;
use super::coalesce::Capture;
use super::{Result, StoreError, Write, write_checked};

/// Runs statements of the app in one atomic transaction.
pub(crate) fn write<T>(
    conn: &mut Connection,
    channels: &Channels,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<(T, Write)> {
    write_checked(conn, work, |tx, group| {
        check(tx, channels, group)?;
        tx.prepare_cached("INSERT INTO om_atomic (grp) VALUES (?1)")?.execute([group])?;
        Ok(())
    })
}

/// The same by a process that has no engine, and so knows the channels from the file only.
#[cfg(feature = "http")]
pub(crate) fn write_as_guest<T>(
    conn: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<(T, Write)> {
    let channels = super::channels::load(conn)?;
    write(conn, &channels, work)
}

/// What the server would refuse for good is refused now, while the app can still do otherwise.
fn check(tx: &Transaction<'_>, channels: &Channels, group: i64) -> Result<()> {
    let mut rows = 0;
    let mut home: Option<(String, String)> = None;
    for channel in channels.values() {
        let sql = format!("SELECT count(*) FROM {} WHERE grp = ?1", channel.names.cap);
        let count: i64 = tx.prepare_cached(&sql)?.query_row([group], |row| row.get(0))?;
        if count == 0 {
            continue;
        }
        rows += count;
        let name = channel.schema.channel.to_string();
        let Some(own) = channel.schema.atomic.clone() else {
            let hint = format!("channel `{name}` does not allow it; say `atomic: true` in channels/{name}.yaml");
            return Err(StoreError::NotAtomic(hint));
        };
        if let Some((other, home)) = &home
            && *home != own
        {
            let hint = format!("channels `{other}` and `{name}` live in different backends");
            return Err(StoreError::NotAtomic(hint));
        }
        home = Some((name, own));
    }
    if rows as usize > ATOMIC_MUTATIONS_MAX {
        let hint = format!("it changes {rows} rows, and at most {ATOMIC_MUTATIONS_MAX} go in one piece");
        return Err(StoreError::NotAtomic(hint));
    }
    Ok(())
}

/// The atomic groups that are not sealed yet.
pub(crate) fn groups(conn: &Connection) -> Result<BTreeSet<i64>> {
    let mut statement = conn.prepare_cached("SELECT grp FROM om_atomic")?;
    let groups = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(groups)
}

/// Forgets groups that are sealed: no capture names them any more.
pub(crate) fn forget(conn: &Connection) -> Result<()> {
    conn.prepare_cached("DELETE FROM om_atomic")?.execute([])?;
    Ok(())
}

/// How many of these captures are sealed together: an atomic group alone, or what stands before the next one. Captures of
/// one transaction stand one behind the other.
pub(crate) fn first_piece(captures: &VecDeque<Capture>, atomic: &BTreeSet<i64>) -> (usize, bool) {
    let group = |capture: &Capture| capture.group.filter(|group| atomic.contains(group));
    let first = captures.front().and_then(group);
    (captures.iter().take_while(|capture| group(capture) == first).count(), first.is_some())
}

/// Gives each mutation of an atomic transaction its place; they are given one behind the other.
pub(crate) fn place<'m>(mutations: impl Iterator<Item = &'m mut Mutation>) {
    let mut mutations: Vec<&mut Mutation> = mutations.collect();
    let of = u32::try_from(mutations.len()).unwrap_or(u32::MAX);
    for (at, mutation) in (0..).zip(&mut mutations) {
        mutation.atomic = Some(Part { at, of });
    }
}

/// Gives the mutations of a new incarnation their places: of a transaction that was settled, what changed nothing is not
/// offered again.
pub(crate) fn place_again(mutations: &mut [Mutation]) {
    let is_same =
        |one: &Mutation, other: &Mutation| one.atomic.is_some() == other.atomic.is_some() && one.group == other.group;
    for piece in mutations.chunk_by_mut(is_same).filter(|piece| piece[0].atomic.is_some()) {
        place(piece.iter_mut());
    }
}

#[cfg(test)]
mod tests {
    use omctl_protocol::{Operation, Outcome, Position, Seq};

    use super::super::Store;
    use super::super::tests::*;
    use super::*;

    fn run_atomic(store: &mut Store, sql: &str) -> Result<Write> {
        Ok(store.write_atomic(|tx| tx.execute_batch(sql))?.1)
    }

    type Shown = (String, Operation, Option<(u32, u32)>);

    fn shown(store: &Store) -> Vec<Shown> {
        let sealed = outbox(store);
        sealed.iter().map(|one| (one.record.to_string(), one.op, one.atomic.map(Into::into))).collect()
    }

    #[test]
    fn an_atomic_transaction_is_sealed_as_one_piece_and_joined_with_nothing() {
        let mut store = synced();
        run(&mut store, "UPDATE notes SET title = 'A1' WHERE id = 'a'");
        let write = run_atomic(
            &mut store,
            "UPDATE notes SET title = 'A2' WHERE id = 'a'; UPDATE notes SET title = 'B2' WHERE id = 'b';
             UPDATE notes SET hours = '1.5' WHERE id = 'b'; INSERT INTO notes (id) VALUES ('n');",
        )
        .unwrap();
        run(&mut store, "UPDATE notes SET title = 'A3' WHERE id = 'a'; UPDATE notes SET title = 'N3' WHERE id = 'n'");
        let before = titles(&store);
        store.seal().unwrap();
        assert_eq!(titles(&store), before);
        let (create, update) = (Operation::Create, Operation::Update);
        assert_eq!(
            shown(&store),
            [
                ("a".into(), update, None),
                ("a".into(), update, Some((0, 3))),
                ("b".into(), update, Some((1, 3))),
                ("n".into(), create, Some((2, 3))),
                ("a".into(), update, None),
                ("n".into(), update, None),
            ]
        );
        let sealed = outbox(&store);
        assert_eq!((&sealed[1].old["title"], &sealed[4].old["title"]), (&"A1".into(), &"A2".into()));
        assert_eq!(store.answers(write).unwrap(), None);
        commit(&mut store, 6, sealed[1..4].iter().map(|one| receipt(one, Outcome::Applied)).collect());
        assert_eq!(store.answers(write).unwrap().unwrap().len(), 3);
        assert!(groups(store.connection()).unwrap().is_empty());
    }

    #[test]
    fn many_transactions_are_sealed_as_they_were_made_however_many_captures_are_read_at_once() {
        let mut store = synced();
        // The 10,000th capture stands in the midst of one of them.
        for n in 0..2501 {
            let sql = format!(
                "INSERT INTO notes (id) VALUES ('a{n}'), ('b{n}'), ('c{n}'); UPDATE notes SET hours = {n} WHERE id = 'a'"
            );
            run_atomic(&mut store, &sql).unwrap();
            if n == 7 {
                run(&mut store, "UPDATE notes SET title = 'alone' WHERE id = 'b'");
            }
        }
        let before = titles(&store);
        store.seal().unwrap();
        assert_eq!(titles(&store), before);
        let sealed = "SELECT payload -> '$.atomic' FROM om_outbox ORDER BY seq";
        let mut statement = store.connection().prepare(sealed).unwrap();
        let parts = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
        let parts: Vec<Option<String>> = parts.collect::<rusqlite::Result<_>>().unwrap();
        let (first, rest) = parts.split_at(8 * 4);
        assert_eq!((parts.len(), &rest[0]), (2501 * 4 + 1, &None));
        for piece in first.chunks(4).chain(rest[1..].chunks(4)) {
            assert_eq!(piece, [0, 1, 2, 3].map(|at| Some(format!("[{at},4]"))));
        }
    }

    #[test]
    fn one_value_that_never_leaves_the_device_keeps_the_whole_transaction() {
        let mut store = synced();
        run_atomic(
            &mut store,
            "UPDATE notes SET title = 'A2' WHERE id = 'a'; UPDATE notes SET hours = 'many' WHERE id = 'b';
             INSERT INTO notes (id) VALUES ('n')",
        )
        .unwrap();
        run(&mut store, "UPDATE notes SET title = 'N' WHERE id = 'n'; UPDATE notes SET title = 'A3' WHERE id = 'a'");
        store.seal().unwrap();
        assert_eq!(shown(&store), [("a".into(), Operation::Update, None)]);
        assert_eq!(titles(&store), pairs(&[("a", "A3"), ("b", "B")]));
        let rejected = store.rejected().unwrap();
        let mut codes: Vec<(&str, &str)> =
            rejected.iter().map(|one| (one.mutation.record.as_str(), one.code.as_str())).collect();
        codes.sort_unstable();
        assert_eq!(codes, [("a", "atomic"), ("b", "bad_value"), ("n", "atomic"), ("n", "depends_on")]);
    }

    #[test]
    fn what_cannot_be_atomic_is_refused_before_it_is_saved() {
        let mut store = synced();
        let error = |store: &mut Store, sql: &str| run_atomic(store, sql).unwrap_err().to_string();
        let said = error(&mut store, "UPDATE notes SET title = 'x' WHERE id = 'a'; INSERT INTO tickets (n) VALUES (1)");
        assert!(
            said.contains("channel `tickets` does not allow it; say `atomic: true` in channels/tickets.yaml"),
            "{said}"
        );
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 501)
                    INSERT INTO notes (id) SELECT 'n' || i FROM n";
        assert!(error(&mut store, many).contains("it changes 501 rows, and at most 500 go in one piece"));
        let elsewhere =
            omctl_protocol::ChannelSchema { channel: "other".into(), atomic: Some("crm".into()), ..notes() };
        store.install_schema(&elsewhere).unwrap();
        let said = error(&mut store, "INSERT INTO notes (id) VALUES ('n'); INSERT INTO other (id) VALUES ('o')");
        assert!(said.contains("channels `notes` and `other` live in different backends"), "{said}");
        assert_eq!((titles(&store), store.stats().unwrap().pending), (pairs(&[("a", "A"), ("b", "B")]), 0));
    }

    #[test]
    fn a_new_incarnation_keeps_the_pieces_together() {
        let mut store = synced();
        let both = "UPDATE notes SET title = 'A2' WHERE id = 'a'; UPDATE notes SET title = 'B2' WHERE id = 'b';
                    INSERT INTO notes (id) VALUES ('n');";
        run_atomic(&mut store, both).unwrap();
        run(&mut store, "UPDATE notes SET title = 'A3' WHERE id = 'a'");
        store.seal().unwrap();
        let sealed = outbox(&store);
        let at = |one: &Mutation, position: u64| omctl_protocol::Receipt {
            position: Some(Position(position)),
            ..receipt(one, Outcome::Applied)
        };
        // What changed nothing stands at an older position, and is not offered.
        let receipts = vec![at(&sealed[0], 4), at(&sealed[1], 9), at(&sealed[2], 7), at(&sealed[3], 8)];
        commit(&mut store, 9, receipts);
        run_atomic(&mut store, "UPDATE notes SET title = 'A4' WHERE id = 'a'; DELETE FROM notes WHERE id = 'b'")
            .unwrap();
        store.seal().unwrap();
        let next = omctl_protocol::Incarnation(uuid::Uuid::from_u128(9));
        store
            .intent(super::super::Durability::Normal, |conn, channels| {
                super::super::incarnation::offer_again(conn, channels, Position(5), next)
            })
            .unwrap();
        let (create, update, delete) = (Operation::Create, Operation::Update, Operation::Delete);
        assert_eq!(
            shown(&store),
            [
                ("b".into(), update, Some((0, 2))),
                ("n".into(), create, Some((1, 2))),
                ("a".into(), update, None),
                ("a".into(), update, Some((0, 2))),
                ("b".into(), delete, Some((1, 2))),
            ]
        );
        assert_eq!(outbox(&store).iter().map(|one| one.seq).collect::<Vec<_>>(), (1..=5).map(Seq).collect::<Vec<_>>());
    }
}

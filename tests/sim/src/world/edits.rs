//! What others do meanwhile: edits of the shop behind the server's back, and an operator.

use rusqlite::ErrorCode;

use super::{Checked, Event, Failure, World, claims_of};
use crate::fault::Fault;

impl World {
    pub(super) fn edit(&mut self) -> Checked {
        if self.is_healed() || !self.faults.may(Fault::Edit) {
            return Ok(());
        }
        self.plan(self.rng.between(100, 4_000), Event::Edit);
        self.marks += 1;
        let mark = format!("m0.e{}", self.marks);
        let shop = self.node.shop.lock().expect("nobody panics here");
        let any = |table: &str, key: &str| -> Option<i64> {
            let count: i64 =
                shop.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap_or(0);
            let place = self.rng.below(count.max(1) as u64);
            let sql = format!("SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {place}");
            shop.query_row(&sql, [], |row| row.get(0)).ok()
        };
        let (artist, album) = (any("Artist", "ArtistId"), any("Album", "AlbumId"));
        let (client, bill) = (any("Client", "ClientId"), any("Bill", "BillId"));
        let rep = self.rng.pick(&self.emails);
        let delta = self.rng.between(1, 9) as i64;
        let mut added = None;
        let sql = match (self.rng.below(19), artist, album) {
            (0 | 1, ..) => format!("INSERT INTO Artist (Name, fans) VALUES ('{mark}', {delta})"),
            (2, Some(artist), _) => {
                format!("INSERT INTO Album (Title, price, stock, ArtistId) VALUES ('{mark}', 1.25, 5, {artist})")
            }
            (3 | 4, Some(artist), _) => format!("UPDATE Artist SET Name = '{mark}' WHERE ArtistId = {artist}"),
            (5, Some(artist), _) => {
                added = Some(artist);
                format!("UPDATE Artist SET fans = coalesce(fans, 0) + {delta} WHERE ArtistId = {artist}")
            }
            (6, _, Some(album)) => {
                format!(
                    "UPDATE Album SET Title = '{mark}', stock = coalesce(stock, 0) + {delta} WHERE AlbumId = {album}"
                )
            }
            (7, _, Some(album)) => format!("DELETE FROM Album WHERE AlbumId = {album}"),
            (8, ..) => format!("INSERT INTO Memo (line) VALUES ('{mark}')"),
            (9, ..) => format!("UPDATE Memo SET line = '{mark}' WHERE MemoId = (SELECT min(MemoId) FROM Memo)"),
            (10, ..) => "DELETE FROM Memo WHERE MemoId = (SELECT max(MemoId) FROM Memo)".to_owned(),
            (11, _, Some(album)) => {
                format!("INSERT OR IGNORE INTO Tag VALUES ({album}, 'word{delta}', '{mark}', {delta})")
            }
            // A client that goes to somebody else takes its bills along.
            (12 | 13, ..) => match client {
                Some(client) if delta < 8 => format!("UPDATE Client SET Rep = '{rep}' WHERE ClientId = {client}"),
                Some(client) => format!("DELETE FROM Client WHERE ClientId = {client}"),
                None => format!("INSERT INTO Client (Name, Rep) VALUES ('{mark}', '{rep}')"),
            },
            (14, ..) => format!("INSERT INTO Client (Name, Rep) VALUES ('{mark}', '{rep}')"),
            (15, ..) if client.is_some() => {
                format!("INSERT INTO Bill (Note, ClientId) VALUES ('{mark}', {})", client.unwrap_or_default())
            }
            (16, ..) if bill.is_some() => {
                format!("UPDATE Bill SET Note = '{mark}' WHERE BillId = {}", bill.unwrap_or_default())
            }
            (17, ..) => format!("INSERT INTO Ware (Label, Size, Must, Extra) VALUES ('{mark}', {delta}, 'y', 'e')"),
            (18, ..) => {
                let any = "(SELECT max(WareId) FROM Ware)";
                format!("UPDATE Ware SET Label = '{mark}', Extra = 'x{delta}' WHERE WareId = {any}")
            }
            _ => return Ok(()),
        };
        match shop.execute_batch(&sql) {
            Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy)) => {
                drop(shop);
                self.note(|| format!("an edit has no room, or no lock: {sql}"));
                return Ok(());
            }
            done => done.map_err(|error| Failure(format!("an edit fails: {error}: {sql}")))?,
        }
        drop(shop);
        if let Some(artist) = added {
            self.oracle.others_added(artist, delta);
        }
        self.faults.count(Fault::Edit);
        self.note(|| format!("edit: {sql}"));
        Ok(())
    }

    pub(super) fn change_claims(&mut self) -> Checked {
        if self.is_healed() || !self.faults.may(Fault::Claims) {
            return Ok(());
        }
        self.plan(self.rng.between(3_000, 20_000), Event::Claims);
        // The first account never sees the south: that is what isolation is checked by.
        let account = self.rng.between(1, 2) as usize;
        let choices: [Vec<&'static str>; 3] = [vec![], vec!["south"], vec!["north", "south"]];
        let claims = self.rng.pick(&choices).clone();
        let map = claims_of(account, &claims).as_object().cloned().unwrap_or_default();
        if !self.changing_claims && self.node.change_claims(&self.emails[account], map) {
            self.note(|| format!("claims of account {account} become {claims:?}"));
            self.changing_claims = true;
            self.faults.count(Fault::Claims);
        }
        Ok(())
    }
}

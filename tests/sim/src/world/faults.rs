//! What goes wrong: connections, processes, disks, backends, and restores of old copies.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use omctl_protocol::BootId;
use rusqlite::Connection;

use super::{Checked, Event, LONG_DELAY_MS, World};
use crate::fault::Fault;
use crate::memory::{copy, copy_into, set_full};
use crate::oracle::Mark;
use crate::rng::Rng;

/// A device gives a connection up on which nothing was heard for so long.
const SILENCE_MS: u64 = 70_000;

/// What passes by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Passing {
    /// What the weather over the backend was like.
    Weather,
    /// The server's disk has room again, and the backend's.
    ServerDisk,
    BackendDisk,
    /// The backend's database is not locked any more.
    BackendLock,
    /// A phone's.
    DeviceDisk(usize),
}

/// What strikes now and then, and how often beside the others.
const TROUBLES: [(Fault, u64); 27] = [
    (Fault::Cut, 8),
    (Fault::OneWay, 3),
    (Fault::CutInMessage, 2),
    (Fault::LongDelay, 1),
    (Fault::SlowConsumer, 2),
    (Fault::Stampede, 1),
    (Fault::ServerCrash, 5),
    (Fault::ServerDiskFull, 1),
    (Fault::ServerIo, 3),
    (Fault::ServerClock, 1),
    (Fault::BackendDown, 4),
    (Fault::BackendSlow, 2),
    (Fault::LostAnswer, 5),
    (Fault::Garbage, 2),
    (Fault::BackendDiskFull, 1),
    (Fault::BackendBusy, 2),
    (Fault::PartialList, 2),
    (Fault::DoubledRows, 1),
    (Fault::BackendSetBack, 3),
    (Fault::AppDies, 2),
    (Fault::AppDiesInCommit, 3),
    (Fault::PowerCut, 3),
    (Fault::DeviceSetBack, 6),
    (Fault::DeviceDiskFull, 1),
    (Fault::DeviceIo, 3),
    (Fault::DeviceClock, 1),
    (Fault::LeaseExpired, 2),
];

impl World {
    pub(super) fn trouble(&mut self) -> Checked {
        if self.is_healed() {
            return Ok(());
        }
        self.plan(self.rng.between(200, 5_000), Event::Trouble);
        let device = self.rng.below(self.devices.len() as u64) as usize;
        let is_restless = self.rng.percent(self.restless) && self.faults.may(Fault::ServerCrash);
        let Some(fault) = (if is_restless { Some(Fault::ServerCrash) } else { self.pick_trouble() }) else {
            return Ok(());
        };
        if self.strike(fault, device)? {
            self.faults.count(fault);
        }
        Ok(())
    }

    /// One of those that this seed has.
    fn pick_trouble(&self) -> Option<Fault> {
        let here = || TROUBLES.iter().filter(|(fault, _)| self.faults.may(*fault));
        let mut dice = self.rng.below(here().map(|(_, weight)| weight).sum());
        for (fault, weight) in here() {
            if dice < *weight {
                return Some(*fault);
            }
            dice -= weight;
        }
        None
    }

    /// Whether it could make a difference.
    fn strike(&mut self, fault: Fault, device: usize) -> Checked<bool> {
        let weather = self.node.weather.clone();
        let soon = self.rng.between(100, 8_000);
        match fault {
            Fault::Cut => return Ok(self.cut(device, (true, true), false)),
            Fault::OneWay => {
                let ways = *self.rng.pick(&[(true, false), (false, true)]);
                return Ok(self.cut(device, ways, false));
            }
            Fault::CutInMessage => return Ok(self.cut(device, (true, true), true)),
            Fault::LongDelay => return Ok(self.stand_still(device)),
            Fault::SlowConsumer => {
                let Some(link) = self.devices[device].conn.and_then(|conn| self.conns.get_mut(&conn)) else {
                    return Ok(false);
                };
                link.down_at = link.down_at.max(self.now + 4 * soon);
                self.note(|| format!("device {device} does not read for {} ms", 4 * soon));
            }
            Fault::Stampede => {
                self.note(|| "every connection breaks".into());
                let conns: Vec<u64> = self.conns.keys().copied().collect();
                for conn in conns {
                    let (device_after, server_after) = (self.rng.below(20), self.rng.below(200));
                    self.plan(device_after, Event::Lost(conn));
                    self.plan(server_after, Event::HungUp(conn));
                }
                return Ok(self.devices.iter().filter(|device| device.conn.is_some()).count() > 1);
            }
            Fault::ServerCrash => {
                let steps = self.rng.below(25);
                self.note(|| format!("server will die in {steps} steps"));
                self.node.crash(steps);
                if steps == 0 {
                    self.server_dies()?;
                }
            }
            Fault::ServerDiskFull => {
                self.note(|| "the server's disk is full".into());
                set_full(&self.node.store.lock().expect("nobody panics here"), true);
                self.node.disk.note_full(true);
                self.plan(soon, Event::Passes(Passing::ServerDisk));
            }
            Fault::ServerIo => {
                let (ticks, commits) = self.some_failure();
                self.note(|| format!("the server's disk will fail: {ticks}, {commits}"));
                self.node.disk.fail(ticks, commits);
            }
            Fault::ServerClock => {
                let by_ms = self.rng.below(7_200_000) as i64 - 3_600_000;
                self.note(|| format!("the server's clock jumps by {by_ms} ms"));
                self.time.jump(by_ms);
            }
            Fault::BackendDown => {
                weather.down.store(true, Ordering::Relaxed);
                self.note(|| "backend is away".into());
                self.plan(soon, Event::Passes(Passing::Weather));
            }
            Fault::BackendSlow => {
                weather.slow_ms.store(self.rng.between(50, 20_000), Ordering::Relaxed);
                self.note(|| "backend is slow".into());
                self.plan(soon, Event::Passes(Passing::Weather));
            }
            Fault::LostAnswer => weather.lost_answers.store(self.rng.between(1, 3), Ordering::Relaxed),
            Fault::Garbage => weather.garbage.store(self.rng.between(1, 3), Ordering::Relaxed),
            Fault::BackendDiskFull => {
                self.node.lock_shop(false);
                self.note(|| "the backend's disk is full".into());
                set_full(&self.node.shop.lock().expect("nobody panics here"), true);
                self.plan(soon, Event::Passes(Passing::BackendDisk));
            }
            Fault::BackendBusy => {
                if !self.node.lock_shop(true) {
                    return Ok(false);
                }
                self.note(|| "somebody locks the backend's database".into());
                self.plan(soon, Event::Passes(Passing::BackendLock));
            }
            Fault::PartialList => weather.partial_lists.store(1, Ordering::Relaxed),
            Fault::DoubledRows => weather.doubled_rows.store(self.rng.between(1, 3), Ordering::Relaxed),
            Fault::BackendSetBack => return Ok(self.set_shop_back()),
            Fault::AppDies => self.app_dies(device, false),
            Fault::AppDiesInCommit => self.devices[device].die_in(self.rng.below(6) as i64),
            Fault::PowerCut => self.app_dies(device, true),
            Fault::DeviceSetBack => {
                if self.rng.percent(65) {
                    self.back_up_device(device);
                    return Ok(false);
                }
                return Ok(self.restore_device(device));
            }
            Fault::DeviceDiskFull => {
                self.note(|| format!("the disk of device {device} is full"));
                self.devices[device].set_full(true);
                self.plan(soon, Event::Passes(Passing::DeviceDisk(device)));
            }
            Fault::DeviceIo => {
                let (ticks, commits) = self.some_failure();
                self.note(|| format!("the disk of device {device} will fail: {ticks}, {commits}"));
                self.devices[device].disk_fails(ticks, commits);
            }
            Fault::DeviceClock => {
                let ten_years = 315_360_000_000;
                let skew_ms = *self.rng.pick(&[0, 1_000, -60_000, 3_600_000, ten_years, -ten_years]);
                self.note(|| format!("the clock of device {device} is {skew_ms} ms ahead"));
                self.devices[device].skew_ms = skew_ms;
            }
            // Counted where a device locks itself.
            Fault::LeaseExpired => {
                self.note(|| format!("the clock of device {device} goes on by ten years"));
                self.devices[device].skew_ms += 315_360_000_000;
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// In a statement, after so many ticks, or in a commit.
    fn some_failure(&self) -> (i64, i64) {
        match self.rng.below(2) {
            0 => (self.rng.below(60) as i64, -1),
            _ => (-1, self.rng.below(6) as i64),
        }
    }

    pub(super) fn passes(&mut self, what: Passing) {
        match what {
            Passing::Weather => {
                self.node.weather.down.store(false, Ordering::Relaxed);
                self.node.weather.slow_ms.store(0, Ordering::Relaxed);
            }
            Passing::ServerDisk => {
                let _spared = self.node.disk.spare();
                set_full(&self.node.store.lock().expect("nobody panics here"), false);
                self.node.disk.note_full(false);
            }
            Passing::BackendLock => drop(self.node.lock_shop(false)),
            Passing::BackendDisk => {
                // Whoever has the lock lets nobody else look.
                self.node.lock_shop(false);
                set_full(&self.node.shop.lock().expect("nobody panics here"), false);
            }
            Passing::DeviceDisk(device) => self.devices[device].set_full(false),
        }
    }

    /// Everything stands still on a connection for minutes. The device gives it up before that, the server a little later;
    /// what was on its way to the server arrives all the same.
    fn stand_still(&mut self, device: usize) -> bool {
        let Some(conn) = self.devices[device].conn else { return false };
        let Some(link) = self.conns.get_mut(&conn) else { return false };
        let stands_ms = self.rng.between(60_000, LONG_DELAY_MS);
        let until = self.now + stands_ms;
        (link.up_at, link.down_at) = (link.up_at.max(until), link.down_at.max(until));
        self.note(|| format!("connection {conn} of device {device} stands still for {stands_ms} ms"));
        self.plan(SILENCE_MS.min(stands_ms), Event::Lost(conn));
        self.plan(stands_ms + 1, Event::HungUp(conn));
        true
    }

    /// A connection breaks, and each side notices in its own time, or much later.
    fn cut(&mut self, device: usize, (up, down): (bool, bool), in_message: bool) -> bool {
        let Some(conn) = self.devices[device].conn else { return false };
        self.note(|| format!("connection {conn} of device {device} is cut, up {up}, down {down}"));
        let Some(link) = self.conns.get_mut(&conn) else { return false };
        // The message that breaks off, and those behind it.
        link.is_void |= in_message;
        link.up_cut |= up;
        link.down_cut |= down;
        let notice = |rng: &Rng| if rng.percent(60) { rng.below(100) } else { rng.below(15_000) };
        let (device_after, server_after) = (notice(&self.rng), notice(&self.rng));
        self.plan(device_after, Event::Lost(conn));
        self.plan(server_after, Event::HungUp(conn));
        true
    }

    /// Somebody makes a copy of everything.
    pub(super) fn take_snapshot(&mut self) -> Checked {
        if self.is_healed() {
            return Ok(());
        }
        self.plan(self.rng.between(3_000, 12_000), Event::Snapshot);
        let _spared = self.node.disk.spare();
        self.node.lock_shop(false);
        let store = self.node.store.lock().expect("nobody panics here");
        let shop = self.node.shop.lock().expect("nobody panics here");
        self.snapshot = Some(Snapshot { mark: self.oracle.mark(&store), store: copy(&store), shop: copy(&shop) });
        drop((store, shop));
        self.note(|| "a snapshot is taken".into());
        Ok(())
    }

    /// A server that died may come back with the data of its last snapshot; the backend goes on, or goes back with it.
    pub(super) fn may_set_back(&mut self) -> Checked {
        if self.is_healed() || self.snapshot.is_none() || !self.rng.percent(40) {
            return Ok(());
        }
        let with_shop = match (self.faults.may(Fault::ServerSetBack), self.faults.may(Fault::BothSetBack)) {
            (true, true) => self.rng.percent(30),
            (_, both) => both,
        };
        self.note(|| format!("server is set back{}", if with_shop { " with the shop" } else { "" }));
        self.faults.count(if with_shop { Fault::BothSetBack } else { Fault::ServerSetBack });
        self.era += 1;
        self.boot = None;
        self.node.disk.fail(-1, -1);
        self.passes(Passing::ServerDisk);
        self.passes(Passing::BackendDisk);
        self.passes(Passing::BackendLock);
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let mut store = self.node.store.lock().expect("nobody panics here");
        self.oracle.read(&store);
        copy_into(&snapshot.store, &mut store);
        if with_shop {
            copy_into(&snapshot.shop, &mut self.node.shop.lock().expect("nobody panics here"));
        }
        for device in &mut self.devices {
            (device.barred_at, device.last_batch, device.is_barred_for_good) = (None, None, false);
        }
        self.oracle.server_is_set_back(&store, &snapshot.mark, with_shop)
    }

    /// The backend goes back to its last copy while everything else goes on. Whether anything of ours is lost with it.
    fn set_shop_back(&mut self) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        self.node.lock_shop(false);
        let mut shop = self.node.shop.lock().expect("nobody panics here");
        if !loses_ours(&shop, &snapshot.shop) {
            return false;
        }
        set_full(&shop, false);
        copy_into(&snapshot.shop, &mut shop);
        drop(shop);
        self.node.touch_shop();
        self.oracle.shop_is_set_back(&snapshot.mark);
        self.note(|| "the backend is set back".into());
        true
    }

    /// Looks whether another start of the store runs than before, and whether it began because the backend was found to
    /// be set back.
    pub(super) fn look_at_boot(&mut self) -> Checked {
        let Some(now) = self.node.boot() else { return Ok(()) };
        if self.boot == Some(now) {
            return Ok(());
        }
        let _spared = self.node.disk.spare();
        let store = self.node.store.lock().expect("nobody panics here");
        let mut statement = store
            .prepare("SELECT id, id IN (SELECT boot FROM main.parting) FROM main.boot ORDER BY number")
            .expect("a query");
        let boots =
            statement.query_map([], |row| Ok((BootId(uuid::Uuid::from_bytes(row.get(0)?)), row.get::<_, bool>(1)?)));
        let boots: Vec<(BootId, bool)> = boots.expect("a query").collect::<Result<_, _>>().expect("rows");
        drop(statement);
        let before = self.era;
        if self.boot.is_some_and(|last| boots.contains(&(last, true))) {
            self.era += 1;
            self.oracle.shop_was_found_set_back(&store)?;
            self.trace.note(self.now, || "the server has found that its backend was set back".into());
        }
        for (boot, is_parted) in boots {
            self.eras.entry(boot).or_insert(if is_parted { before } else { self.era });
        }
        self.boot = Some(now);
        Ok(())
    }

    /// The time that these lines of the server are of, by the welcome among them.
    pub(super) fn era_of<'l>(&self, mut lines: impl Iterator<Item = &'l str>) -> Option<u64> {
        let welcome = lines.find(|line| line.starts_with(r#"{"welcome""#))?;
        let frame: serde_json::Value = serde_json::from_str(welcome).ok()?;
        let boot: BootId = serde_json::from_value(frame["welcome"]["boot"].clone()).ok()?;
        self.eras.get(&boot).copied()
    }

    /// A phone is backed up, as it stands on its disk.
    fn back_up_device(&mut self, device: usize) {
        let _spared = self.devices[device].spare();
        if self.devices[device].is_running() && self.devices[device].back_up() {
            self.note(|| format!("device {device} is backed up"));
        }
    }

    /// A phone is set back to its backup.
    fn restore_device(&mut self, device: usize) -> bool {
        if !self.devices[device].is_running() || !self.devices[device].has_backup() {
            return false;
        }
        self.note(|| format!("device {device} is set back to its backup"));
        self.app_dies(device, false);
        let backup = self.devices[device].restore();
        self.devices[device].is_wiped = false;
        self.oracle.set_back(device, backup.written);
        let _spared = self.node.disk.spare();
        let store = self.node.store.lock().expect("nobody panics here");
        self.oracle.device_is_restored(device, &backup, &store);
        true
    }
}

/// Whether a database has dedupe rows that a copy of it has not.
fn loses_ours(shop: &Connection, copy: &Connection) -> bool {
    let rows = |connection: &Connection| -> BTreeSet<Vec<u8>> {
        let Ok(mut statement) = connection.prepare("SELECT mutation FROM om_applied") else { return BTreeSet::new() };
        let rows = statement.query_map([], |row| row.get(0)).expect("a query");
        rows.collect::<Result<_, _>>().expect("rows")
    };
    rows(shop).difference(&rows(copy)).next().is_some()
}

/// A copy of the server's data and of the shop, taken at one moment.
pub(super) struct Snapshot {
    store: Connection,
    shop: Connection,
    mark: Mark,
}

//! The end: everything heals, and within a promised time everybody agrees.

use omctl::limits;
use omctl_device::ConnectionState;
use omctl_protocol::frame::CommandKind;
use serde_json::Value as Json;

use super::faults::Passing;
use super::{Checked, Event, Failure, World};
use crate::fault::Fault;

/// A connection on which something was on its way for longer than this when everything healed is one that was broken.
const STUCK_MS: u64 = 1_000;

/// After healing, everything must be equal within this time: promise 9 (30 s), and the poll interval of the channel that
/// has nothing installed.
const HEALED_WITHIN_MS: u64 = 30_000 + 2_000;

/// After so long a device that was fenced says hello again.
const FENCED_MS: u64 = 45_000;

impl World {
    pub(super) fn heal(&mut self) -> Checked {
        self.note(|| "everything heals".into());
        self.healed_at = Some(self.now);
        self.node.weather.clear();
        self.node.disk.fail(-1, -1);
        self.passes(Passing::ServerDisk);
        self.passes(Passing::BackendDisk);
        self.passes(Passing::BackendLock);
        self.node.crash(1 << 40);
        if !self.node.is_up() {
            self.plan(0, Event::ServerStarts);
        }
        let broken: Vec<(u64, usize)> = self
            .conns
            .iter()
            .filter(|(conn, link)| {
                let stands_still = link.up_at.max(link.down_at) > self.now + STUCK_MS;
                (link.up_cut || link.down_cut || stands_still) && self.devices[link.device].conn == Some(**conn)
            })
            .map(|(conn, link)| (*conn, link.device))
            .collect();
        for (conn, _) in broken {
            self.node.hang_up(conn);
            self.lost(conn)?;
        }
        for device in 0..self.devices.len() {
            self.devices[device].recover();
            if !self.devices[device].is_running() {
                self.plan(0, Event::AppStarts(device));
            }
            self.plan(0, Event::Order(device, CommandKind::Unlock));
            // What another process wrote is found by looking now and then.
            self.plan(1_000, Event::Wake(device));
        }
        self.plan(1_000, Event::Look);
        Ok(())
    }

    pub(super) fn look(&mut self) -> Checked {
        let claims = self.read_claims();
        let waiting = self.waiting();
        if waiting.is_none() {
            for device in self.devices.iter_mut().filter(|device| !device.is_out) {
                let made = device.engine().store_mut().create_backend_views();
                made.map_err(|error| Failure(format!("views cannot be made: {error:?}")))?;
            }
        }
        let store = self.node.store.lock().expect("nobody panics here");
        let shop = self.node.shop.lock().expect("nobody panics here");
        let difference = waiting.or_else(|| self.oracle.difference(&self.devices, &claims, &store, &shop));
        let passed = self.now - self.healed_at.unwrap_or(self.now);
        // What is offered again may wait for what another device would have offered, and lost.
        let within = HEALED_WITHIN_MS + if self.era > 0 { limits::OFFERED_WAIT.as_millis() as u64 } else { 0 };
        // A device that was fenced by a late copy of its own request comes back after a while.
        let within = within + if self.faults.counts().contains_key(&Fault::LateRequest) { FENCED_MS } else { 0 };
        let over = passed > within;
        match difference {
            None => {
                self.oracle.judge(&self.devices, &store, &shop)?;
                self.oracle.kept(18, 1);
                self.done = true;
                Ok(())
            }
            Some(difference) if over => Err(Failure(format!("not converged {within} ms after healing: {difference}"))),
            Some(_) => {
                drop((store, shop));
                self.plan(if passed > HEALED_WITHIN_MS { 10_000 } else { 500 }, Event::Look);
                Ok(())
            }
        }
    }

    /// The claims as the server has them: a change may have been made by a life that died before it said so.
    fn read_claims(&self) -> Vec<Json> {
        let store = self.node.store.lock().expect("nobody panics here");
        let mut statement = store.prepare("SELECT claims FROM account ORDER BY number").expect("a query");
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("a query");
        rows.map(|claims| serde_json::from_str(&claims.expect("a row")).expect("JSON")).collect()
    }

    fn waiting(&self) -> Option<String> {
        for device in &self.devices {
            let state = self.node.state_of(device.number);
            if device.is_out {
                // A server that was set back may have forgotten that it was told.
                let has_to_tell = !device.is_forgotten() && !self.node.is_confirmed(device.number);
                if state == "wiped" && has_to_tell {
                    return Some(format!("device {} was wiped and has not told so", device.index));
                }
                continue;
            }
            if state != "active" {
                return Some(format!("device {} has not heard yet that it is {state}", device.index));
            }
            if let Ok(Some(lock)) = device.engine_lock() {
                return Some(format!("device {} has the lock {lock:?}", device.index));
            }
            if !device.is_running() {
                return Some(format!("app {} is not running", device.index));
            }
            let stats = device.store().stats().expect("a store can be read");
            if stats.pending > 0 {
                return Some(format!("device {} has {} unsettled writes", device.index, stats.pending));
            }
            if device.conn.is_none() || device.state() != ConnectionState::Live {
                return Some(format!("device {} is {:?}", device.index, device.state()));
            }
        }
        None
    }
}

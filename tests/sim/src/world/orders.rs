//! Orders to devices, and leases: what an operator does, and what must come of it.

use omctl::store::DeviceNo;
use omctl_device::{Event as Tell, Lock};
use omctl_protocol::frame::CommandKind;

use super::{Checked, Event, Failure, REVOKED_WITHIN_MS, SLOW_WRITE_MS, World};
use crate::device::device_id;
use crate::fault::Fault;

impl World {
    /// What an operator will order in this seed.
    pub(super) fn plan_orders(&mut self) {
        let orders = [(Fault::Locked, 40, CommandKind::Lock), (Fault::Wiped, 20, CommandKind::Wipe)];
        for (fault, percent, kind) in orders {
            let happens = self.rng.percent(percent) && self.faults.may(fault) && self.devices.len() > 1;
            if happens {
                let device = self.rng.below(self.devices.len() as u64) as usize;
                let after = self.rng.between(2_000, self.writing_ms.max(2_001));
                self.plan(after, Event::Order(device, kind));
            }
        }
    }

    pub(super) fn order(&mut self, device: usize, kind: CommandKind) -> Checked {
        let number = self.devices[device].number;
        let state = self.node.state_of(number);
        if state == "active" && !self.devices[device].is_barred_for_good {
            // An unlock may have been done by a life that died before it said so.
            (self.devices[device].barred_at, self.devices[device].last_batch) = (None, None);
        }
        let is_due = match kind {
            CommandKind::Lock => state == "active" && !self.is_healed(),
            CommandKind::Unlock => state == "locked",
            CommandKind::Wipe => matches!(&*state, "active" | "locked") && !self.is_healed(),
        };
        if !is_due {
            return Ok(());
        }
        if kind != CommandKind::Lock {
            self.did_nothing(device)?;
        }
        if !self.node.order(number, device_id(device), kind) {
            // Nobody is there to do it: later.
            self.plan(1_000, Event::Order(device, kind));
        }
        Ok(())
    }

    /// An order is durable.
    pub(super) fn ordered(&mut self, number: DeviceNo, kind: CommandKind) -> Checked {
        if kind == CommandKind::Unlock {
            let device = self.devices.iter_mut().find(|device| device.number == number);
            let Some(device) = device else { return Ok(()) };
            (device.barred_at, device.last_batch, device.is_barred_for_good) = (None, None, false);
            let index = device.index;
            self.note(|| format!("device {index} is unlocked"));
            return Ok(());
        }
        let index = self.bar(number, kind == CommandKind::Wipe);
        self.note(|| format!("device {index} is ordered to {}", kind.word()));
        if kind == CommandKind::Lock {
            let after = self.rng.between(500, 20_000);
            self.plan(after, Event::Order(index, CommandKind::Unlock));
        }
        Ok(())
    }

    /// From now on a device gets nothing and does nothing.
    pub(super) fn bar(&mut self, number: DeviceNo, for_good: bool) -> usize {
        let now = self.now;
        let device = self.devices.iter_mut().find(|device| device.number == number);
        let device = device.expect("the operator knows the devices");
        (device.barred_at, device.last_batch) = (Some(now), None);
        device.is_barred_for_good = for_good;
        let index = device.index;
        // A write that a slow backend was given before is still settled when it is done.
        let slow = if self.faults.may(Fault::BackendSlow) { SLOW_WRITE_MS } else { 0 };
        self.plan(REVOKED_WITHIN_MS + slow, Event::IsOut(index, now));
        index
    }

    /// A device that is barred has no new answers.
    fn did_nothing(&mut self, device: usize) -> Checked {
        let _spared = self.node.disk.spare();
        let store = self.node.store.lock().expect("nobody panics here");
        self.oracle.does_nothing(&self.devices[device], &store)
    }

    /// A device that was revoked, locked or wiped is not served for longer than a moment, but with its command.
    pub(super) fn is_still_served(&mut self, conn: u64, line: &str) -> Checked {
        let Some(device) = self.conns.get(&conn).map(|link| link.device) else { return Ok(()) };
        self.is_barred_from(device, line)
    }

    pub(super) fn is_barred_from(&mut self, device: usize, line: &str) -> Checked {
        let Some(then) = self.devices[device].barred_at else { return Ok(()) };
        if self.now <= then + REVOKED_WITHIN_MS {
            return Ok(());
        }
        let state = self.node.state_of(self.devices[device].number);
        // An unlock is done before the operator hears of it.
        let is_open = state == "active" && !self.devices[device].is_barred_for_good;
        let is_order = line.starts_with(r#"{"command""#) || line.starts_with(r#"{"error""#);
        if is_open || (state != "revoked" && is_order) {
            self.oracle.kept(17, usize::from(!is_open));
            return Ok(());
        }
        let after = self.now - then;
        Err(Failure(format!("device {device} is served {after} ms after it was {state}: {line}")))
    }

    /// A device says that the app may not touch its data, or may again.
    pub(super) fn is_locked(&mut self, device: usize, lock: Option<Lock>) -> Checked {
        self.note(|| format!("device {device} has the lock {lock:?}"));
        match lock {
            Some(Lock::Ordered) => self.faults.count(Fault::Locked),
            Some(Lock::LeaseExpired) => self.faults.count(Fault::LeaseExpired),
            Some(Lock::Wiped) => {
                self.faults.count(Fault::Wiped);
                self.devices[device].is_wiped = true;
                self.devices[device].is_out = true;
                self.oracle.leaves(device);
                let _spared = self.devices[device].spare();
                self.oracle.holds_nothing(&self.devices[device])?;
            }
            None => self.oracle.kept(17, 1),
        }
        Ok(())
    }

    /// A sign of life of the server on a connection that stands.
    pub(super) fn ping(&mut self, device: usize) -> Checked {
        let Some(conn) = self.devices[device].conn else { return Ok(()) };
        let stands =
            self.conns.get(&conn).is_some_and(|link| !link.up_cut && !link.down_cut && link.down_at <= self.now);
        if stands && self.node.listens(conn) { self.tell(device, Tell::Alive) } else { Ok(()) }
    }
}

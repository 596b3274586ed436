//! The network: connections of two ordered streams, and requests that may be lost, doubled and late.

use omctl_device::{Event as Tell, Greeting};
use omctl_protocol::Up;
use omctl_protocol::frame::parse_frame;

use super::{Checked, Conn, Event, Failure, LONG_DELAY_MS, World};
use crate::fault::Fault;

impl World {
    /// The end of a connection travels behind what was sent before it.
    pub(super) fn hang_up_on_device(&mut self, conn: u64) {
        let delay = self.delay();
        let Some(link) = self.conns.get_mut(&conn) else { return };
        link.down_at = link.down_at.max(self.now + delay);
        link.down_cut = true;
        let after = link.down_at - self.now;
        self.plan(after, Event::Lost(conn));
    }

    pub(super) fn connect(&mut self, device: usize) -> Checked {
        let is_over = self.devices[device].is_out && !self.devices[device].is_wiped;
        let is_forgotten = self.devices[device].is_forgotten();
        if self.devices[device].conn.is_some() || self.devices[device].request.is_some() || is_over || is_forgotten {
            return Ok(());
        }
        self.links += 1;
        let link = self.links;
        let delay = self.delay();
        if !self.is_healed() && self.rng.percent(self.devices[device].one_shot) {
            return self.send_request(device, link);
        }
        self.devices[device].conn = Some(link);
        let (at, era) = (self.now, None);
        let conn = Conn { device, up_at: at, down_at: at, up_cut: false, down_cut: false, is_void: false, era };
        let is_second = self.conns.iter().any(|(other, conn)| conn.device == device && self.node.listens(*other));
        if is_second {
            self.faults.count(Fault::TwoSessions);
        }
        self.conns.insert(link, conn);
        self.plan(delay, Event::Connected(device, link));
        Ok(())
    }

    pub(super) fn connected(&mut self, device: usize, conn: u64) -> Checked {
        if self.devices[device].conn != Some(conn) {
            return Ok(());
        }
        if !self.node.is_up() {
            return self.lost(conn);
        }
        if self.node.is_revoked(self.devices[device].number) {
            self.devices[device].conn = None;
            return self.refused(device);
        }
        self.tell(device, Tell::Connected(Greeting::Plain))
    }

    /// The server takes a device's tokens no longer: it is out, whatever the server says later.
    pub(super) fn refused(&mut self, device: usize) -> Checked {
        self.note(|| format!("device {device} is refused"));
        self.devices[device].is_out = true;
        self.oracle.leaves(device);
        self.tell(device, Tell::Refused)
    }

    pub(super) fn reaches_server(&mut self, conn: u64, line: &str) -> Checked {
        let Some(link) = self.conns.get(&conn).filter(|link| !link.is_void) else { return Ok(()) };
        let number = self.devices[link.device].number;
        let up: Up = parse_frame(line).map_err(|error| Failure(format!("a device sends nonsense: {error}: {line}")))?;
        if !self.node.arrive(conn, number, up) {
            self.hang_up_on_device(conn);
        }
        Ok(())
    }

    pub(super) fn reaches_device(&mut self, conn: u64, line: &str, era: u64) -> Checked {
        let Some(link) = self.conns.get(&conn).filter(|link| !link.is_void) else { return Ok(()) };
        let device = link.device;
        if self.devices[device].conn != Some(conn) || !self.devices[device].is_running() {
            return Ok(());
        }
        self.node.taken(conn);
        self.trace.line(self.now, "down", device, line);
        self.oracle.server_says(device, self.devices[device].account, line, era == self.era)?;
        self.tell(device, Tell::Frame(line))?;
        if line.starts_with(r#"{"commit""#) && self.devices[device].is_running() {
            self.look_at(device, era)?;
        }
        Ok(())
    }

    /// What a device shows is looked at after each commit.
    pub(super) fn look_at(&mut self, device: usize, era: u64) -> Checked {
        let _spared = (self.devices[device].spare(), self.node.disk.spare());
        self.oracle.look_at_screen(&self.devices[device], era == self.era)?;
        if era == self.era {
            let store = self.node.store.lock().expect("nobody panics here");
            self.oracle.feed_is_whole(&self.devices[device], &store)?;
        }
        Ok(())
    }

    pub(super) fn lost(&mut self, conn: u64) -> Checked {
        let Some(link) = self.conns.get(&conn) else { return Ok(()) };
        let device = link.device;
        if self.devices[device].conn != Some(conn) {
            return Ok(());
        }
        self.devices[device].conn = None;
        self.note(|| format!("device {device} loses {conn}"));
        self.tell(device, Tell::Disconnected)
    }

    pub(super) fn send_request(&mut self, device: usize, request: u64) -> Checked {
        let now = self.now_ms() + self.devices[device].skew_ms;
        let Ok(body) = self.devices[device].engine().begin_request(now) else {
            self.stumbles(device);
            return Ok(());
        };
        for line in body.lines() {
            self.oracle.device_says(device, line)?;
        }
        self.trace.line(self.now, "request", device, &body);
        self.devices[device].request = Some(request);
        self.requests.insert(request, device);
        self.plan(8_000, Event::TimedOut(request));
        if self.strikes(Fault::LostRequest, 10) {
            self.note(|| format!("request {request} is lost"));
            return Ok(());
        }
        let delay = self.delay();
        // Some box on the way may repeat it, long after.
        if self.strikes(Fault::DoubledRequest, 25) {
            self.plan(delay + self.rng.below(500), Event::Request(request, body.clone()));
        }
        if self.strikes(Fault::LateRequest, 15) {
            let most = if self.strikes(Fault::LongDelay, 20) { LONG_DELAY_MS } else { 20_000 };
            let late = delay + self.rng.between(500, most);
            self.plan(late, Event::Request(request, body.clone()));
        }
        self.plan(delay, Event::Request(request, body));
        Ok(())
    }

    pub(super) fn replied(&mut self, request: u64, lines: &[String], era: u64, is_whole: bool) -> Checked {
        let device = self.requests[&request];
        if self.devices[device].request != Some(request) || !self.devices[device].is_running() {
            return Ok(());
        }
        for line in lines {
            self.trace.line(self.now, "reply", device, line);
            self.oracle.server_says(device, self.devices[device].account, line, era == self.era)?;
            self.tell(device, Tell::Frame(line))?;
            if !self.devices[device].is_running() {
                return Ok(());
            }
        }
        // A reply in which the server says nothing tells nothing of its history either.
        if is_whole && lines.iter().any(|line| line.starts_with(r#"{"commit""#)) {
            self.look_at(device, era)?;
        }
        self.devices[device].request = None;
        if lines.is_empty() && self.node.is_revoked(self.devices[device].number) {
            return self.refused(device);
        }
        if is_whole && self.devices[device].engine().end_request().is_err() {
            self.stumbles(device);
            return Ok(());
        }
        self.tell(device, Tell::Disconnected)
    }

    pub(super) fn timed_out(&mut self, request: u64) -> Checked {
        let device = self.requests[&request];
        if self.devices[device].request != Some(request) {
            return Ok(());
        }
        self.devices[device].request = None;
        self.tell(device, Tell::Disconnected)
    }

    /// How long something is on its way.
    pub(super) fn delay(&mut self) -> u64 {
        match self.rng.below(100) {
            _ if self.is_healed() => self.rng.between(1, 20),
            0..=1 if self.strikes(Fault::Delay, 100) => self.rng.between(1_000, 12_000),
            2..=20 => self.rng.between(50, 800),
            _ => self.rng.between(1, 40),
        }
    }
}

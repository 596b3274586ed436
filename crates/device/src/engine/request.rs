//! One exchange by request: what a device says at once, and whether it must say more.

use omctl_protocol::frame::{Ack, Bye, MUTATIONS_MAX};
use omctl_protocol::{Seq, Up};

use super::{Action, ConnectionState, Engine, MUTATE_BYTES_MAX, Phase, mutate_line};
use crate::store::StoreError;

/// How much of what there is an exchange by request has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Everything is said and heard.
    All,
    /// Everything but the receipts of some writes; the server may have all of them.
    AllBut {
        /// Writes of the app that have no receipt yet.
        pending: u64,
    },
    /// There is more to say, or to hear, at once.
    Part,
}

impl Engine {
    /// The body of one `POST /v1/sync`: everything this device has to say. The lines of the reply go in as
    /// [`Event::Frame`](super::Event::Frame)s, then [`Engine::end_request`] tells whether another request is needed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_request(&mut self, now_ms: i64) -> Result<String, StoreError> {
        self.store.tell_time(now_ms);
        (self.one_shot, self.refused) = (true, false);
        self.store.seal()?;
        let mut actions = Vec::new();
        let list_scopes = self.store.lists_scopes()?;
        self.say_hello(None, list_scopes, &mut actions)?;
        let mut body = String::new();
        for action in actions {
            if let Action::Send(line) = action {
                body += &line;
                body.push('\n');
            }
        }
        let accepted = self.store.accepted()?;
        // As on a socket: what was sent and has no answer is compared.
        let probe = self.store.newest_unsettled(accepted)?;
        let batch = self.store.payloads_after(accepted, MUTATIONS_MAX, MUTATE_BYTES_MAX)?;
        for batch in [probe.into_iter().collect(), batch] {
            if batch.is_empty() {
                continue;
            }
            body += &mutate_line(&batch);
            body.push('\n');
        }
        let settled = self.store.settled_up_to()?.min(self.store.accepted()?);
        if settled > Seq(0) {
            body += &Up::Ack(Ack { seq: settled }).to_line();
            body.push('\n');
        }
        body += &Up::Bye(Bye {}).to_line();
        body.push('\n');
        Ok(body)
    }

    /// Ends the answer to [`Engine::begin_request`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_request(&mut self) -> Result<Heard, StoreError> {
        let heard = match (&self.phase, self.store.stats()?.pending) {
            (Phase::Live(live), 0) if !live.again && live.committed => Heard::All,
            // Once more, so that the server hears that it is done.
            (Phase::Held { is_news: false, .. }, _) => Heard::All,
            (Phase::Live(live), pending) if !live.again && live.committed => Heard::AllBut { pending },
            _ => Heard::Part,
        };
        self.store.end_session()?;
        self.phase = Phase::Offline;
        self.one_shot = false;
        self.shown = ConnectionState::Offline;
        Ok(heard)
    }
}

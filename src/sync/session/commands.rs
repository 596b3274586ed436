//! What a session has to do with orders: a device that is locked or wiped hears its command, and nothing else.

use omctl_protocol::frame::CommandKind;
use omctl_protocol::{Down, Position};

use super::{Session, SessionEnd, State, Step, out, refuse};
use crate::store::{DeviceState, Order};
use crate::sync::SyncError;

impl Session {
    /// Something happened to the device: a newer session of it began, it may not act any more, or it is ordered something.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn summoned(&mut self) -> Result<Step, SyncError> {
        let over = |end| Step { lines: Vec::new(), end: Some(end) };
        match self.sync.inner.store.session_fence(self.who.device).await? {
            // A held session has no fence: the newer one of two such takes nothing from it.
            Some(fence) if fence != self.fence && self.state != State::Held => Ok(over(SessionEnd::Fenced)),
            Some(_) => self.hear_command().await,
            None => match self.held().await? {
                Some(step) => Ok(step),
                None => Ok(over(SessionEnd::Out)),
            },
        }
    }

    /// The newest command, where the device has not carried it out. After an unlock a held one says hello anew.
    pub(super) async fn hear_command(&mut self) -> Result<Step, SyncError> {
        let mut step = Step::default();
        if let Some(command) = self.sync.inner.store.note_commands(self.who.device, self.done).await? {
            self.order(command, &mut step);
            if command.kind == CommandKind::Unlock {
                // What was accepted before the lock.
                self.sync.settle_waiting_of(self.who.device).await?;
            }
            if self.state == State::Held {
                self.state = State::Waiting;
            }
        }
        Ok(step)
    }

    /// What a device hears that is locked or wiped: its command, once for each `hello`. `None` for a device that
    /// is neither, and may not act for another reason.
    async fn held(&mut self) -> Result<Option<Step>, SyncError> {
        let store = &self.sync.inner.store;
        let orders = store.orders(self.who.device).await?;
        let Some(command) = orders.command.filter(|_| orders.state.is_held()) else { return Ok(None) };
        store.note_commands(self.who.device, self.done).await?;
        (self.state, self.position) = (State::Held, Position(0));
        self.scopes.clear();
        self.closed.clear();
        self.links.clear();
        self.receipts.clear();
        if self.done >= command.n && orders.state == DeviceState::Wiped {
            let mut step = refuse("device_wiped", "this device was wiped");
            step.end = Some(SessionEnd::Out);
            return Ok(Some(step));
        }
        let mut step = Step::default();
        if self.ordered != command.n {
            self.order(command, &mut step);
        }
        Ok(Some(step))
    }

    fn order(&mut self, order: Order, step: &mut Step) {
        self.ordered = order.n;
        step.say(&Down::Command(self.sync.inner.identity.sign(self.who.device_id, order)));
    }

    /// The end of a session whose device may not act, or what it hears instead.
    pub(super) async fn stand_still(&mut self) -> Result<Step, SyncError> {
        Ok(self.held().await?.unwrap_or_else(out))
    }
}

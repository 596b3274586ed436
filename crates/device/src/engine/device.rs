//! What concerns the device itself and not one session: whose it is, and whether what it holds is sound.

use std::collections::BTreeSet;

use omctl_protocol::frame::{Command, CommandKind, Proof, Report};
use omctl_protocol::{AccountId, DeviceId, Up};

use super::{Action, Engine, Phase, Trust};
use crate::store::{Audit, StoreError};

impl Engine {
    /// Tells how long the machine has been running, sleep included, where the platform knows: a lease goes by it, too.
    pub fn tell_uptime(&mut self, up_ms: i64) {
        self.up_ms = Some(up_ms);
    }

    /// Obeys only those orders of which this says that they are the server's own. Without it, whoever is connected is
    /// obeyed: where something else has proved who that is.
    pub fn trust(&mut self, trusts: Trust) {
        self.trusts = Some(trusts);
    }

    /// Lets the lease go on, or begin anew where the server was heard. A failure to note it loses at most a hundredth of it.
    pub(super) fn look_at_lease(&mut self, now_ms: i64, is_heard: bool) {
        let is_heard = is_heard && matches!(self.phase, Phase::Live(_));
        if let Err(error) = self.store.look_at_lease(now_ms, self.up_ms, is_heard) {
            tracing::warn!(%error, "how much of the lease has passed is noted later");
        }
    }

    /// Lets the lease go on while nothing else happens, and says where it has locked the app out.
    pub fn look_at_lock(&mut self, now_ms: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        self.look_at_lease(now_ms, false);
        self.show(&mut actions);
        actions
    }

    /// Carries out what the server orders, and says so.
    pub(super) fn commanded(&mut self, command: &Command, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        if self.trusts.as_ref().is_some_and(|trusts| !trusts(command)) {
            return Err(StoreError::BadCommand);
        }
        let is_news = self.store.obey(command)?;
        if is_news && command.kind == CommandKind::Wipe {
            actions.push(Action::Changed(BTreeSet::new()));
            actions.push(Action::Settled(Vec::new()));
        }
        if is_news && !self.one_shot {
            actions.push(Action::Send(Up::Report(Report { command: command.n }).to_line()));
        }
        let phase = std::mem::take(&mut self.phase);
        match (command.kind, phase) {
            (CommandKind::Unlock, Phase::Held { proof, .. }) => self.say_hello(proof, true, actions),
            // The session goes on, or its welcome follows.
            (CommandKind::Unlock, phase) => {
                self.phase = phase;
                Ok(())
            }
            (_, Phase::AwaitWelcome { proof } | Phase::Held { proof, .. }) => self.hold(proof, is_news),
            (_, Phase::Live(live)) => self.hold(live.proof, is_news),
            (_, phase) => {
                self.phase = phase;
                Ok(())
            }
        }
    }

    fn hold(&mut self, proof: Option<Proof>, is_news: bool) -> Result<(), StoreError> {
        self.store.end_session()?;
        self.phase = Phase::Held { proof, is_news };
        Ok(())
    }

    /// Whether a newer session of this device ended the last one of this engine.
    pub fn is_fenced(&self) -> bool {
        self.fenced.is_some()
    }

    /// Binds the store to a device ([`Store::activate`](crate::Store::activate)), with notes that belong to it
    /// ([`Store::note`](crate::Store::note)), and ends the session of the one before.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is changed.
    pub fn activate(
        &mut self,
        device: DeviceId,
        account: AccountId,
        notes: &[(&str, &str)],
    ) -> Result<Vec<Action>, StoreError> {
        self.store.bind(device, account, notes)?;
        let mut actions = self.leave();
        if matches!(self.phase, Phase::Offline) {
            actions.push(Action::Connect);
        }
        Ok(actions)
    }

    /// Removes everything of the account ([`Store::sign_out`](crate::Store::sign_out)), and ends the session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sign_out(&mut self) -> Result<Vec<Action>, StoreError> {
        self.store.sign_out()?;
        let mut actions = vec![Action::Changed(BTreeSet::new()), Action::Settled(Vec::new())];
        actions.extend(self.leave());
        Ok(actions)
    }

    /// The end of a device that was wiped: only a new activation helps.
    pub(super) fn forget(&mut self, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        self.store.sign_out()?;
        self.refused = true;
        self.phase = Phase::Closing;
        actions.push(Action::Close);
        Ok(())
    }

    /// Ends a session whose device is ours no longer.
    fn leave(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        (self.fenced, self.refused, self.failures, self.troubles) = (None, false, 0, 0);
        if !matches!(self.phase, Phase::Offline) {
            self.phase = Phase::Closing;
            actions.push(Action::Close);
        }
        self.show(&mut actions);
        actions
    }

    /// Audits what is held ([`Store::audit`](crate::Store::audit)). Where something is wrong and a session stands, it is
    /// reconciled at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn audit(&mut self, now_ms: i64) -> Result<(Audit, Vec<Action>), StoreError> {
        self.store.tell_time(now_ms);
        let audit = self.store.audit()?;
        let mut actions = Vec::new();
        if !audit.changed.is_empty() {
            actions.push(Action::Changed(audit.changed.clone()));
        }
        if let Phase::Live(live) = &self.phase
            && audit.needs_repair()
            && !self.one_shot
        {
            let proof = live.proof.clone();
            self.say_hello(proof, true, &mut actions)?;
        }
        self.show(&mut actions);
        Ok((audit, actions))
    }
}

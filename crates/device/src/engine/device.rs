//! What concerns the device itself and not one session: whose it is, and whether what it holds is sound.

use std::collections::BTreeSet;

use omctl_protocol::{AccountId, DeviceId};

use super::{Action, Engine, Phase};
use crate::store::{Audit, StoreError};

impl Engine {
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

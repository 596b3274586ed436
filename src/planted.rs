//! Bugs that are planted on purpose: the checker of a simulated fleet must find each of them from outside.
//!
//! Only a build with the feature `planted` has this room, and none that ships has it. The environment variable
//! `OMCTL_PLANT` names the bug that a process has; without it, such a build does what every other one does.
//! `crates/device/src/planted.rs` has the bug of a device, `reverted`. What each bug does is at its site, under
//! `cfg(feature = "planted")`; here is only when it is due.
//!
//! *Invariant:* one process makes one mistake: of one mutation, or of one record for as long as the process lives.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, OnceLock};

use omctl_protocol::{ChannelName, MutationId, RecordId, ScopeKey};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// An update or a create is acknowledged as applied, with a position, and has no effect.
    Unapplied,
    /// A create makes two rows, or what a field with the policy `sum` gains is added twice.
    Twice,
    /// No change of one record is journaled from now on.
    Unlogged,
    /// A deleted row is back a moment later, as it was.
    Resurrected,
    /// One record is in a scope of an account that may not see it.
    Leaked,
    /// One record of an atomic transaction is journaled a moment before the others.
    Torn,
}

impl Plant {
    const ALL: [(&str, Self); 6] = [
        ("unapplied", Self::Unapplied),
        ("twice", Self::Twice),
        ("unlogged", Self::Unlogged),
        ("resurrected", Self::Resurrected),
        ("leaked", Self::Leaked),
        ("torn", Self::Torn),
    ];

    /// The word in `OMCTL_PLANT`.
    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, plant)| *plant == self).map_or("", |(word, _)| word)
    }
}

/// The mistake comes at this opportunity: by then a fleet is in the midst of its work.
const OPPORTUNITY: u32 = 10;

const UNPOISONED: &str = "nothing panics while it holds this lock";

/// Whose turn it is to go wrong.
#[derive(Debug, Default)]
struct Turn {
    met: u32,
    chosen: Option<String>,
    told: bool,
}

impl Turn {
    /// Counts an opportunity. The one that is taken stays the only one, however often it comes again.
    fn is_due(&mut self, id: String) -> bool {
        if let Some(chosen) = &self.chosen {
            return *chosen == id;
        }
        self.met += 1;
        if self.met == OPPORTUNITY {
            self.chosen = Some(id);
        }
        self.chosen.is_some()
    }
}

static TURN: Mutex<Turn> = Mutex::new(Turn { met: 0, chosen: None, told: false });

/// What devices hold, by account: into which scopes a record can leak.
static GRANTS: Mutex<BTreeMap<String, Vec<ScopeKey>>> = Mutex::new(BTreeMap::new());

/// Where the record leaked to.
static LEAK: OnceLock<ScopeKey> = OnceLock::new();

/// Whether this process has this bug of the simulation's (`tests/sim`): an engine that has one of them has it everywhere.
pub fn has(bug: &str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "nothing is handed down through rooms that must not know of it")]
    let planted = PLANTED.get_or_init(|| std::env::var("OMCTL_PLANT").ok());
    planted.as_deref() == Some(bug)
}

/// Whether this process has this bug.
pub fn is_planted(plant: Plant) -> bool {
    static PLANTED: OnceLock<Option<Plant>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "nothing is handed down through rooms that must not know of it")]
        let word = std::env::var("OMCTL_PLANT").ok()?;
        Plant::ALL.iter().find(|(known, _)| *known == word).map(|(_, plant)| *plant)
    });
    *planted == Some(plant)
}

/// Whether this is the mutation or the record that goes wrong: the tenth that could.
pub fn is_due(plant: Plant, id: impl Display) -> bool {
    is_planted(plant) && TURN.lock().expect(UNPOISONED).is_due(id.to_string())
}

/// Whether it was due for this one, without asking whether it could be.
pub fn is_chosen(plant: Plant, id: impl Display) -> bool {
    is_planted(plant) && TURN.lock().expect(UNPOISONED).chosen.as_ref().is_some_and(|chosen| *chosen == id.to_string())
}

/// Says once that it happened, and to which record.
pub fn tell(plant: Plant, channel: &ChannelName, id: &RecordId, mutation: Option<MutationId>) {
    let told = std::mem::replace(&mut TURN.lock().expect(UNPOISONED).told, true);
    if !told {
        let mutation = mutation.map(tracing::field::display);
        tracing::warn!(plant = plant.word(), %channel, %id, mutation, "a planted bug happened");
    }
}

/// The name of a record among those of all channels.
pub fn name_of(channel: &ChannelName, id: &RecordId) -> String {
    format!("{channel}/{id}")
}

/// Notes which scopes an account's devices hold.
pub fn note_granted(account: &str, scopes: impl Iterator<Item = ScopeKey>) {
    if is_planted(Plant::Leaked) {
        GRANTS.lock().expect(UNPOISONED).insert(account.to_owned(), scopes.collect());
    }
}

/// The scope that a record is in beside its own, if it is the one that leaks: of an account that holds none of `own`, or
/// its devices would see the record anyway.
pub fn leak(channel: &ChannelName, id: &RecordId, own: &[ScopeKey]) -> Option<ScopeKey> {
    if own.is_empty() || !is_planted(Plant::Leaked) {
        return None;
    }
    let foreign = || {
        let grants = GRANTS.lock().expect(UNPOISONED);
        let strangers = grants.values().filter(|held| !own.iter().any(|scope| held.contains(scope)));
        let of_channel =
            |scope: &&ScopeKey| scope.as_str().split_once(':').is_some_and(|(name, _)| name == channel.as_str());
        strangers.flatten().find(of_channel).cloned()
    };
    let found = LEAK.get().cloned().or_else(foreign)?;
    if !is_due(Plant::Leaked, name_of(channel, id)) {
        return None;
    }
    tell(Plant::Leaked, channel, id, None);
    Some(LEAK.get_or_init(|| found).clone()).filter(|scope| !own.contains(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_opportunity_is_taken_and_no_other() {
        let mut turn = Turn::default();
        let due: Vec<u32> = (1..30).filter(|id| turn.is_due(id.to_string())).collect();
        assert_eq!(due, [10]);
        assert!(turn.is_due("10".into()), "a write that lost a race comes again");
    }
}

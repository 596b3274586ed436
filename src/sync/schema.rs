//! Which channels an account may see, for apps that ask before they sync.

use omctl_protocol::api::SchemaReply;

use super::Sync;
use super::settle::subject;
use crate::identity::Principal;

impl Sync {
    /// The fields of the channels that this device may hold scopes of; of all of them for an administrator (`None`).
    pub fn schemas(&self, who: Option<&Principal>) -> SchemaReply {
        let live = self.inner.live.current();
        let subject = who.map(subject);
        let seen: Vec<_> = (live.channels.values())
            .filter(|channel| subject.as_ref().is_none_or(|subject| channel.rule.may_admit(subject)))
            .collect();
        // A device that says that it knows a version is believed to know all before it.
        let earlier = seen.iter().flat_map(|channel| channel.versions.range(..channel.schema.version));
        SchemaReply {
            generation: live.generation,
            channels: seen.iter().map(|channel| (*channel.schema).clone()).collect(),
            earlier: earlier.map(|(_, schema)| (**schema).clone()).collect(),
        }
    }
}

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
        let seen = live
            .channels
            .values()
            .filter(|channel| subject.as_ref().is_none_or(|subject| channel.rule.may_admit(subject)));
        SchemaReply { generation: live.generation, channels: seen.map(|channel| (*channel.schema).clone()).collect() }
    }
}

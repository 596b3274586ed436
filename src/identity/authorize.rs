//! The one decision about principals: who may do what. What is not named is refused.
//!
//! Rules about records are `rule`'s and are judged in `sync`; this is about routes and sessions.

use std::sync::Arc;

use super::{IdentityError, Principal};

/// Who is calling.
#[derive(Clone, Debug, PartialEq)]
pub enum Actor {
    /// Nobody that we know.
    Nobody,
    /// A device with a valid access token.
    Device(Arc<Principal>),
    /// Who holds the admin token of this start.
    Admin,
}

/// What can be asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Whether the process lives and is ready.
    ReadHealth,
    /// Bind a device to an account.
    Activate,
    /// Bring the next tokens.
    RefreshTokens,
    /// Read the channels' fields.
    ReadSchema,
    /// Sync records, by either transport.
    Sync,
    /// Read accounts, devices and channels.
    Administrate,
    /// Change accounts and devices.
    ChangeAccounts,
    /// Read any record, past membership.
    ReadAnyRecord,
    /// Write any record of a managed channel, past its rules: seeds.
    WriteAnyRecord,
    /// Read the server's log.
    ReadLog,
    /// Read what devices wrote and what became of it: mutations with their values.
    ReadVerdicts,
    /// Let a channel go on: held deletes go through.
    ResumeChannels,
    /// Write a record in the name of an account.
    WriteRecords,
    /// Write into a backend behind sync's back: tests of detection, in development only.
    WriteForeign,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 14] = [
        Self::ReadHealth,
        Self::Activate,
        Self::RefreshTokens,
        Self::ReadSchema,
        Self::Sync,
        Self::Administrate,
        Self::ChangeAccounts,
        Self::ReadAnyRecord,
        Self::WriteAnyRecord,
        Self::ReadLog,
        Self::ReadVerdicts,
        Self::ResumeChannels,
        Self::WriteRecords,
        Self::WriteForeign,
    ];
}

/// Whether the actor may do this.
///
/// # Errors
/// [`IdentityError::Unauthenticated`] for nobody, [`IdentityError::DeviceHeld`] for a device that is locked or wiped,
/// [`IdentityError::Forbidden`] for somebody else.
pub fn authorize(actor: &Actor, action: Action) -> Result<(), IdentityError> {
    let allowed = match (actor, action) {
        // These carry their own credentials in the body, or need none.
        (_, Action::ReadHealth | Action::Activate | Action::RefreshTokens) => true,
        (Actor::Device(_), Action::Sync) => true,
        (Actor::Device(who), Action::ReadSchema) => !who.is_held,
        (Actor::Admin, Action::ReadSchema | Action::Administrate | Action::ChangeAccounts) => true,
        (Actor::Admin, Action::ReadAnyRecord | Action::WriteAnyRecord | Action::ResumeChannels) => true,
        (Actor::Admin, Action::ReadVerdicts | Action::ReadLog) => true,
        (Actor::Admin, Action::WriteRecords | Action::WriteForeign) => true,
        _ => false,
    };
    match actor {
        _ if allowed => Ok(()),
        Actor::Device(who) if who.is_held => Err(IdentityError::DeviceHeld),
        Actor::Nobody => Err(IdentityError::Unauthenticated),
        Actor::Device(_) | Actor::Admin => Err(IdentityError::Forbidden),
    }
}

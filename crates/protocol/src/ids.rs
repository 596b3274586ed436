//! Identifiers, versions and positions: one newtype per word of the design, so that none is mistaken for another.
//!
//! *Invariant:* the JSON form of each is the form of what it wraps; uuids are lower-case and hyphenated.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        // Both sides keep these numbers in SQLite, whose integers are signed.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = <$inner>::deserialize(deserializer)?;
                if u128::from(number) > i64::MAX as u128 {
                    return Err(serde::de::Error::custom(concat!(stringify!($name), " is larger than 2^63 - 1")));
                }
                Ok(Self(number))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self(text.into()))
            }
        }
    };
}

uuid_id!(
    /// An account: a person or a machine that devices act for.
    AccountId
);
uuid_id!(
    /// One activation of an app on one phone, browser or process.
    DeviceId
);
uuid_id!(
    /// One device write. Made when the write is captured and kept for ever.
    MutationId
);
uuid_id!(
    /// One unbroken history of a device's outbox.
    Incarnation
);
uuid_id!(
    /// One start of a server (or of the first of several nodes) over its store.
    BootId
);
uuid_id!(
    /// The identity of the state log's history. A restored server has a new one.
    Epoch
);

number_id!(
    /// Commit-ordered number of a change in the state log. 0 is before the first change.
    Position(u64)
);
number_id!(
    /// Number of a mutation in its device's current incarnation; the first is 1.
    Seq(u64)
);
number_id!(
    /// Durable number of a channel's fields; the first is 1.
    SchemaVersion(u32)
);
number_id!(
    /// Which existence of a record id this is; the first is 1, a re-created record has the next.
    Life(u64)
);

text_id!(
    /// The name of a channel: lower-case ASCII letters, digits and `_`, beginning with a letter, at most 63 bytes.
    ChannelName
);
text_id!(
    /// A record's identity on devices, for ever. At most [`RECORD_ID_BYTES_MAX`] bytes.
    RecordId
);
text_id!(
    /// Names the set of devices that may see a record. Opaque to devices.
    ScopeKey
);

/// The longest record id in bytes. Ids made by devices are 36; long natural keys of a backend decide this number.
pub const RECORD_ID_BYTES_MAX: usize = 1024;

impl ChannelName {
    /// Whether the text may name a channel: it becomes a table name on devices and a file name in the project.
    pub fn is_valid(text: &str) -> bool {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && text.len() <= 63
            && !["om_", "backend_", "sqlite_"].iter().any(|reserved| text.starts_with(reserved))
    }
}

impl Position {
    /// The position after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Seq {
    /// The seq after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

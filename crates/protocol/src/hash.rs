//! The row hash and the sums of scopes that are made of it.
//!
//! The server hashes a row once, when it writes the state log; devices store the hash with what they hold and add up
//! hashes per scope. Both sides compare sums, never rows. SHA-256 is used, cut to 128 bits, because every platform of a
//! device has it built in, so that any client can audit what it was given.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::ids::{ChannelName, Life, RecordId, ScopeKey};

/// 128-bit hash of one row: channel, id, life and canonical body. JSON form: 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowHash(pub u128);

/// Sum (modulo 2^128) of the hashes of the live rows of one scope. Order does not matter, which is the point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ScopeSum(pub u128);

/// Digest over the sums of every scope that a device holds: one comparison tells whether anything was lost anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SumsDigest(pub u128);

/// The sums of a scope's slices, without those that hold no record. JSON form: a list of `[slice, sum]`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SliceSums(BTreeMap<u8, ScopeSum>);

/// The slice of a scope that a record belongs to: the first byte of the SHA-256 of its id.
pub fn slice_of(id: &str) -> u8 {
    Sha256::digest(id.as_bytes())[0]
}

impl SumsDigest {
    /// Digests the sums of scopes, given in the byte order of their keys.
    pub fn of<'k>(scopes: impl Iterator<Item = (&'k ScopeKey, ScopeSum)>) -> Self {
        let mut hasher = Sha256::new();
        for (key, sum) in scopes {
            hasher.update((key.as_str().len() as u64).to_be_bytes());
            hasher.update(key.as_str());
            hasher.update(sum.to_bytes());
        }
        Self(first_half(&hasher.finalize()))
    }
}

impl SliceSums {
    /// Adds one live record of the scope.
    pub fn add(&mut self, id: &str, hash: RowHash) {
        let sum = self.0.entry(slice_of(id)).or_default();
        *sum = sum.plus(hash);
    }

    /// The slices in which the two differ, rising.
    pub fn differing(&self, other: &Self) -> Vec<u8> {
        (0..=u8::MAX).filter(|slice| self.0.get(slice) != other.0.get(slice)).collect()
    }
}

impl Serialize for SliceSums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for SliceSums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = <Vec<(u8, ScopeSum)>>::deserialize(deserializer)?;
        if pairs.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(serde::de::Error::custom("slices come in their order, each once"));
        }
        Ok(Self(pairs.into_iter().collect()))
    }
}

fn first_half(digest: &[u8]) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

impl RowHash {
    /// Hashes a row. Each part is preceded by its length (8 bytes, big-endian), so that no two rows share an input.
    pub fn of(channel: &ChannelName, id: &RecordId, life: Life, body: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        for part in [channel.as_str().as_bytes(), id.as_str().as_bytes(), &life.0.to_be_bytes(), body] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(first_half(&hasher.finalize()))
    }

    /// The 16 bytes, big-endian: the form in databases.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads the form of [`RowHash::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl ScopeSum {
    /// The sum with one more row.
    #[must_use]
    pub fn plus(self, hash: RowHash) -> Self {
        Self(self.0.wrapping_add(hash.0))
    }

    /// The sum with one row less.
    #[must_use]
    pub fn minus(self, hash: RowHash) -> Self {
        Self(self.0.wrapping_sub(hash.0))
    }

    /// The 16 bytes, big-endian: the form in databases.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads the form of [`ScopeSum::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

macro_rules! as_base64 {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE64.encode(self.0.to_be_bytes()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                let mut bytes = [0; 16];
                match BASE64.decode_slice(text.as_bytes(), &mut bytes) {
                    Ok(16) => Ok(Self(u128::from_be_bytes(bytes))),
                    _ => Err(serde::de::Error::custom("a hash is 22 characters of base64url")),
                }
            }
        }
    };
}

as_base64!(RowHash);
as_base64!(ScopeSum);
as_base64!(SumsDigest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        let hash = |channel: &str, id: &str| RowHash::of(&channel.into(), &id.into(), Life(1), b"[]");
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }

    #[test]
    fn a_sum_forgets_what_was_taken_out() {
        let (a, b) = (RowHash(u128::MAX - 3), RowHash(77));
        assert_eq!(ScopeSum::default().plus(a).plus(b).minus(a), ScopeSum::default().plus(b));
        let json = serde_json::to_string(&a).unwrap();
        assert_eq!(serde_json::from_str::<RowHash>(&json).unwrap(), a);
    }
}

//! Pins: by which key a server with a certificate of its own is known, and how an address carries one.
//!
//! `https://192.168.1.20:7400#pin=sha256/…` is everything that a device must know to speak to such a server and to no
//! other: one text, for a QR code or a line to paste. See `docs/protocol.md`, section 2.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// What stands before the digest.
const PREFIX: &str = "sha256/";

/// What the fragment of an address begins with.
const FRAGMENT: &str = "pin=";

/// SHA-256 of a public key in its DER form (SubjectPublicKeyInfo, RFC 5280, section 4.1.2.7), written
/// `sha256/BASE64` as RFC 7469 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// The text is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pin of the form sha256/BASE64")]
pub struct BadPin;

impl Pin {
    /// The pin of a key, given as SubjectPublicKeyInfo.
    pub fn of_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl FromStr for Pin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let digest = text.strip_prefix(PREFIX).ok_or(BadPin)?;
        let bytes = STANDARD.decode(digest).map_err(|_| BadPin)?;
        Ok(Self(bytes.try_into().map_err(|_| BadPin)?))
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The address of a server: `http://AUTHORITY`, or `https://AUTHORITY#pin=…` where it has a pin.
pub fn server_url(authority: impl fmt::Display, pin: Option<&Pin>) -> String {
    match pin {
        Some(pin) => format!("https://{authority}#{FRAGMENT}{pin}"),
        None => format!("http://{authority}"),
    }
}

/// The address without its fragment, and the pin in that.
///
/// # Errors
/// [`BadPin`] for any other fragment.
pub fn split_pin(url: &str) -> Result<(&str, Option<Pin>), BadPin> {
    match url.split_once('#') {
        None => Ok((url, None)),
        Some((url, fragment)) => Ok((url, Some(fragment.strip_prefix(FRAGMENT).ok_or(BadPin)?.parse()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_carries_its_pin_there_and_back() {
        let pin = Pin::of_key(b"a key");
        let url = server_url("192.168.1.20:7400", Some(&pin));
        assert_eq!(url, format!("https://192.168.1.20:7400#pin={pin}"));
        assert_eq!(split_pin(&url), Ok(("https://192.168.1.20:7400", Some(pin))));
        assert_eq!(split_pin(&server_url("h:1", None)), Ok(("http://h:1", None)));
        assert_eq!(serde_json::from_str::<Pin>(&serde_json::to_string(&pin).unwrap()).unwrap(), pin);
        for bad in
            ["https://h#", "https://h#x", "https://h#pin=", "https://h#pin=sha256/AAAA", "https://h#pin=md5/AA=="]
        {
            assert_eq!(split_pin(bad), Err(BadPin), "{bad}");
        }
    }
}

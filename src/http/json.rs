//! JSON bodies, read strictly: duplicate keys, unknown fields, deep nesting and bad UTF-8 are refused by name.

use std::collections::HashSet;
use std::fmt;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use omctl_protocol::{DEPTH_MAX, depth_is_allowed};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::ApiError;
use crate::limits;

/// Longest name of a field that is repeated in an error.
const NAMED_CHARS_MAX: usize = 100;

/// A body of this type.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read(request, limits::API_BODY_BYTES_MAX).await.map(Self)
    }
}

/// A body of this type that may be large: it comes from a file that somebody has written.
#[derive(Clone, Debug)]
pub(super) struct LargeJson<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for LargeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read(request, limits::IMPORT_BODY_BYTES_MAX).await.map(Self)
    }
}

async fn read<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, ApiError> {
    check_content_type(request.headers())?;
    parse(&read_body(request, bytes_max).await?)
}

/// Reads a body of at most this many bytes, in time.
///
/// # Errors
/// 413 `body_too_large`, 408 `timeout`, 400 `bad_body`.
pub(super) async fn read_body(request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        let title = format!("the body is larger than {bytes_max} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", title)
    };
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), bytes_max);
    match tokio::time::timeout(limits::BODY_WITHIN, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_body", "the body ended too early")),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time")),
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", "the body must be JSON")
            .hint("send `Content-Type: application/json`")),
    }
}

/// Reads one JSON value, strictly.
///
/// # Errors
/// 400 for what is not such JSON, 422 for what is not of the type.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let bad = |code, title: &str| ApiError::new(StatusCode::BAD_REQUEST, code, title);
    let text = std::str::from_utf8(body).map_err(|_| bad("invalid_utf8", "the body is not UTF-8"))?;
    if !depth_is_allowed(text) {
        return Err(bad("too_deep", "the body is nested too deeply").hint(format!("at most {DEPTH_MAX} levels")));
    }
    let mut duplicate = None;
    let mut walk = serde_json::Deserializer::from_str(text);
    let walked = Walk { duplicate: &mut duplicate }.deserialize(&mut walk).and_then(|()| walk.end());
    if let Some(key) = duplicate {
        return Err(bad("duplicate_key", "the body names a field twice").field(shortened(&key)));
    }
    walked.map_err(|error| {
        bad("bad_json", "the body is not JSON").hint(format!("line {}, column {}", error.line(), error.column()))
    })?;
    serde_json::from_str(text).map_err(|error| not_of_type(&error))
}

/// Serde's sentences may repeat values, so only the names of fields are taken from them.
fn not_of_type(error: &serde_json::Error) -> ApiError {
    let sentence = error.to_string();
    let named = |prefix: &str| sentence.strip_prefix(prefix).and_then(|rest| rest.split('`').next()).map(shortened);
    let refuse = |code, title: &str| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, title);
    if let Some(field) = named("unknown field `") {
        refuse("unknown_field", "the body has a field that is not known").field(field)
    } else if let Some(field) = named("missing field `") {
        refuse("missing_field", "the body lacks a field").field(field)
    } else {
        let place = format!("line {}, column {}", error.line(), error.column());
        refuse("bad_value", "a value is not of its field's type").hint(place)
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(NAMED_CHARS_MAX).collect()
}

/// Walks through any JSON and keeps the first key that an object names twice: of two readers one would take the first
/// value and the other the second.
struct Walk<'a> {
    duplicate: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Walk { duplicate: &mut *self.duplicate })?;
            if let Some(key) = seen.replace(key) {
                self.duplicate.get_or_insert(key);
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk { duplicate: &mut *self.duplicate })?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use omctl_protocol::admin::AccountNew;

    use super::*;

    fn refused(body: &str) -> (&'static str, Option<String>) {
        let error = parse::<AccountNew>(body.as_bytes()).unwrap_err();
        let field = error.clone().into_field();
        (error.code(), field)
    }

    #[test]
    fn each_kind_of_bad_body_is_named() {
        assert_eq!(refused(r#"{"email":"a@b","email":"c@d"}"#), ("duplicate_key", Some("email".into())));
        assert_eq!(refused(r#"{"email":"a@b","claims":{"x":1,"\u0078":2}}"#), ("duplicate_key", Some("x".into())));
        assert_eq!(refused(r#"{"email":"a@b","admin":true}"#), ("unknown_field", Some("admin".into())));
        assert_eq!(refused(r#"{"role":"tech"}"#), ("missing_field", Some("email".into())));
        assert_eq!(refused(r#"{"email":7}"#), ("bad_value", None));
        assert_eq!(refused(r#"{"email":"#), ("bad_json", None));
        assert_eq!(refused(r#"{"email":"a@b"} {}"#), ("bad_json", None));
        assert_eq!(refused(&"[".repeat(10_000)), ("too_deep", None));
        assert_eq!(parse::<AccountNew>(b"{\"email\":\"\xff\"}").unwrap_err().code(), "invalid_utf8");
        assert!(parse::<AccountNew>(br#"{"email":"a@b","claims":{"n":[1,"two",true]}}"#).is_ok());
    }
}

//! Which records of a channel somebody wants to see.

use std::collections::BTreeMap;

use omctl_protocol::admin::RecordQuery;
use omctl_protocol::{Field, Value};

use super::AdminError;
use crate::catalog::near_hint;
use crate::sync::ViewRow;

/// A [`RecordQuery`] that was read.
pub(super) struct Wanted {
    id: Option<String>,
    /// Places of fields, and the text that each must hold.
    filter: Vec<(usize, String)>,
    pub(super) limit: usize,
}

impl Wanted {
    /// # Errors
    /// [`AdminError::BadValue`] for a filter that names no field of the channel, or is no object of texts.
    pub(super) fn read(fields: &[Field], query: &RecordQuery) -> Result<Self, AdminError> {
        let bad = |message: String| AdminError::BadValue { field: "where", message };
        let given: BTreeMap<String, String> = match &query.filter {
            None => BTreeMap::new(),
            Some(text) => {
                serde_json::from_str(text).map_err(|_| bad("is a JSON object of texts by field".to_owned()))?
            }
        };
        let mut filter = Vec::new();
        for (name, text) in given {
            let Some(place) = fields.iter().position(|field| field.name == name) else {
                let near = near_hint(&name, fields.iter().map(|field| field.name.as_str())).unwrap_or_default();
                return Err(bad(format!("names no field `{name}`; {near}")));
            };
            filter.push((place, text));
        }
        let limit = query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Ok(Self { id: query.id.clone(), filter, limit })
    }

    pub(super) fn takes(&self, row: &ViewRow) -> bool {
        let holds = |(place, text): &(usize, String)| match row.values.get(*place) {
            None | Some(Value::Null) => text.is_empty(),
            Some(Value::Bool(truth)) => *text == truth.to_string(),
            Some(value) => value.to_key_text() == *text,
        };
        self.id.as_ref().is_none_or(|id| row.id.as_str() == id) && self.filter.iter().all(holds)
    }
}

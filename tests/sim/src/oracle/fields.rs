//! A channel's fields in one version, and what a body of another version means in them: a conversion of our own.

use serde_json::Value as Json;

use super::json_text;
use super::sights::Record;

struct Field {
    name: String,
    column: String,
    kind: String,
    default: Json,
}

/// The fields of one version, in the order of a body's values.
pub(super) struct Fields(Vec<Field>);

impl Fields {
    /// From a schema's JSON.
    pub(super) fn of(schema: &Json) -> Self {
        let field = |field: &Json| {
            let text = |name: &str| field[name].as_str().map(str::to_owned);
            let name = text("name").expect("a field has a name");
            let column = text("column").unwrap_or_else(|| name.clone());
            Field { name, column, kind: text("type").expect("a field has a type"), default: field["default"].clone() }
        };
        Self(schema["fields"].as_array().into_iter().flatten().map(field).collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|field| field.name.clone())
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|field| field.column.clone())
    }

    /// What a body of another version means now. `kept` is what that version had no place for, by field: it comes back
    /// with its field.
    pub(super) fn read(&self, written: &Self, body: &Json, kept: &Json) -> Record {
        let values = self.0.iter().map(|now| {
            let by_name = written.0.iter().position(|then| then.name == now.name);
            let by_column = || {
                let renamed = |then: &Field| then.column == now.column && self.0.iter().all(|f| f.name != then.name);
                written.0.iter().position(renamed)
            };
            let there =
                by_name.or_else(by_column).map(|place| convert(&body[place], &written.0[place].kind, &now.kind));
            let value = match (there, kept.get(&now.name)) {
                (None | Some(Json::Null), Some(kept)) => convert(kept, "", &now.kind),
                (Some(value), _) => value,
                (None, None) => now.default.clone(),
            };
            (now.name.clone(), json_text(&value))
        });
        values.collect()
    }
}

/// A value as one of another type; NULL where that is not exact.
fn convert(value: &Json, from: &str, to: &str) -> Json {
    let Some(text) = value.as_str().filter(|_| from != to) else { return value.clone() };
    match to {
        "int" if text.parse::<i64>().is_err() => Json::Null,
        _ => value.clone(),
    }
}

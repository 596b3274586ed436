//! Which values bring a record into the scope of an account, by the channel's rule as the server tells it.

use std::collections::BTreeMap;

use omctl_protocol::admin::{AccountNew, ChannelView};
use omctl_protocol::{Field, FieldType, Value};
use serde_json::Value as Json;

/// Whether the rule looks at this field: then it carries no marks, they would take the record out of its scope.
pub(super) fn looks_at(view: &ChannelView, field: &str) -> bool {
    view.placed_by.iter().any(|terms| terms.contains_key(field))
}

/// What the fields of a new record must hold so that the account sees it, by the first alternative that the record's own
/// fields decide. Empty: nothing in particular, or nothing that could be said beforehand.
pub(super) fn values(view: &ChannelView, account: &AccountNew, chance: u64) -> BTreeMap<String, Value> {
    view.placed_by.iter().find_map(|terms| alternative(view, account, terms, chance)).unwrap_or_default()
}

/// `None`: the account does not meet the alternative, or other records decide.
fn alternative(
    view: &ChannelView,
    account: &AccountNew,
    terms: &BTreeMap<String, Option<String>>,
    chance: u64,
) -> Option<BTreeMap<String, Value>> {
    let mut values = BTreeMap::new();
    for (left, right) in terms {
        if left.starts_with("account.") {
            let has = attribute(account, left)?;
            if !has.iter().any(|value| Some(value) == right.as_ref()) {
                return None;
            }
            continue;
        }
        let (_, field) = view.schema.field(left)?;
        match right {
            // What a reference leads to is chosen among the records that the account sees.
            None if field.kind == FieldType::Ref => {}
            None => return None,
            Some(right) if right.starts_with("account.") => {
                let has = attribute(account, right)?;
                let one = has.get(chance as usize % has.len().max(1))?;
                values.insert(left.clone(), spelled(field, one)?);
            }
            Some(constant) => {
                values.insert(left.clone(), spelled(field, constant)?);
            }
        }
    }
    Some(values)
}

/// Every value of an attribute: a claim may be a list.
fn attribute(account: &AccountNew, name: &str) -> Option<Vec<String>> {
    let text = |value: &Json| match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    match name {
        "account.email" => Some(vec![account.email.clone()]),
        "account.role" => Some(vec![account.role.clone()?]),
        _ => match account.claims.get(name.strip_prefix("account.claims.")?)? {
            Json::Array(items) => Some(items.iter().filter_map(text).collect()),
            one => Some(vec![text(one)?]),
        },
    }
}

/// A text as a value of the field; `None` where it is none.
fn spelled(field: &Field, text: &str) -> Option<Value> {
    let one = || Json::String(text.to_owned());
    let json = match field.kind {
        FieldType::Array => return Some(Value::Text(Json::Array(vec![one()]).to_string())),
        FieldType::Bool => Json::Bool(text.parse().ok()?),
        FieldType::Float => Json::from(text.parse::<f64>().ok()?),
        _ => one(),
    };
    field.kind.from_json(&json).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placed(rule: Json, account: Json) -> Json {
        let view: ChannelView = serde_json::from_value(json!({
            "name": "jobs", "backend": "managed", "table": "jobs", "scope": "", "placed_by": rule,
            "schema": {
                "channel": "jobs", "version": 1, "key": { "assigned_by": "device", "columns": [{ "column": "id" }] },
                "fields": [{ "name": "owner", "type": "text" }, { "name": "rep", "type": "int" },
                    { "name": "team", "type": "array" }, { "name": "client", "type": "ref", "to": "clients" }],
            },
        }))
        .unwrap();
        let account: AccountNew = serde_json::from_value(account).unwrap();
        let values = values(&view, &account, 1);
        values.into_iter().map(|(name, value)| (name, value.to_json())).collect::<serde_json::Map<_, _>>().into()
    }

    #[test]
    fn a_record_gets_what_its_own_fields_need() {
        let ana = json!({ "email": "ana@example.com", "role": "rep", "claims": { "number": 3, "teams": ["a", "b"] } });
        assert_eq!(placed(json!([{ "owner": "account.email" }]), ana.clone()), json!({ "owner": "ana@example.com" }));
        let several = json!([{ "rep": "account.claims.number", "team": "account.claims.teams" }]);
        assert_eq!(placed(several, ana.clone()), json!({ "rep": "3", "team": "[\"b\"]" }));
        let of_role = json!([{ "account.role": "boss" }, { "account.role": "rep", "owner": "nobody" }]);
        assert_eq!(placed(of_role, ana), json!({ "owner": "nobody" }));
    }

    #[test]
    fn what_others_decide_is_left_to_them() {
        let ana = json!({ "email": "ana@example.com", "claims": {} });
        assert_eq!(placed(json!([{ "client": null }]), ana.clone()), json!({}));
        let members = json!([{ "owner": null }, { "owner": "account.claims.gone" }, { "owner": "account.email" }]);
        assert_eq!(placed(members, ana.clone()), json!({ "owner": "ana@example.com" }));
        assert_eq!(placed(json!([]), ana), json!({}));
    }
}

//! What a mutation means for a record as it is now: old × current × new.
//!
//! *Invariant:* pure. The same inputs give the same plan, whoever asks and however often: after a lost race the plan is
//! simply made again.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use omctl_protocol::{AssignedBy, ChannelSchema, Field, FieldType, Operation, Outcome, Policy, Value};

use crate::catalog::DeleteVsUpdate;

/// A mutation whose values are read and canonical, in the current schema version.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) op: Operation,
    /// What the device saw before, by field.
    pub(super) old: BTreeMap<String, Value>,
    /// What it wants, by field.
    pub(super) new: BTreeMap<String, Value>,
    /// It was settled before, in a history that was lost, and is offered again.
    pub(super) again: bool,
}

impl Wish {
    /// Whether a field that has this value afterwards is as the device wanted it. Where others' changes went into it, the
    /// device has not seen what it left there: a delete that it makes before it hears of them must not take them along.
    pub(super) fn got(&self, field: &str, value: &Value) -> bool {
        self.op == Operation::Create || self.new.get(field) == Some(value)
    }

    /// Of these places, those that are as the device wanted them in `after`.
    pub(super) fn got_of(&self, schema: &ChannelSchema, after: Option<&[Value]>, places: Vec<usize>) -> Vec<usize> {
        let Some(after) = after else { return places };
        places.into_iter().filter(|place| self.got(&schema.fields[*place].name, &after[*place])).collect()
    }
}

/// The record as it is now, with what is known of who made it so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current<'a> {
    /// In the order of the schema's fields.
    pub(super) values: &'a [Value],
    /// For each field, whether an earlier mutation of the same incarnation left exactly this value there.
    pub(super) own: &'a [bool],
    /// For each field, where an offered mutation stands to it.
    pub(super) standing: &'a [Standing],
}

/// Where an offered mutation stands to what a field holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// Nobody can tell, or somebody wrote the field since the histories parted: its policy decides.
    #[default]
    Contested,
    /// The field is as it was when the histories parted, or holds what stood earlier in the lost one.
    Free,
    /// The field holds what stood later in the lost history: the mutation had its effect there, and was followed.
    Followed,
    /// No trace is kept of what was done: only the value itself tells.
    Untraced,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    /// Make the record, with these values in the order of the fields.
    Insert(Vec<Value>),
    /// Change these fields, if those that the plan stands on are still as they were read.
    Update { set: Vec<(usize, Value)>, expect: Vec<usize>, verdict: Judged },
    /// Remove the record, if it is still as it was read.
    Delete { expect: Vec<usize> },
    /// Change nothing.
    Nothing(Judged),
    /// Refuse the mutation.
    Reject(Rejection),
}

/// How a mutation that is not refused comes out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    pub(super) code: Option<&'static str>,
    /// Values that lost, by field.
    pub(super) losing: BTreeMap<String, Value>,
}

/// Why a mutation is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) field: Option<String>,
}

impl Rejection {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    pub(super) fn of(code: &'static str, field: &str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: Some(field.to_owned()) }
    }
}

impl Judged {
    fn applied() -> Self {
        Self { outcome: Outcome::Applied, code: None, losing: BTreeMap::new() }
    }
}

/// Makes the plan. `current` is `None` where the account sees no such record: never there, deleted, or not its to see;
/// the three are not told apart, so that nothing outside the scope shows.
pub(super) fn plan(
    schema: &ChannelSchema,
    delete_vs_update: DeleteVsUpdate,
    wish: &Wish,
    current: Option<Current<'_>>,
) -> Plan {
    let planned = match (wish.op, current) {
        // A record has its id from the create that made it: this one.
        (Operation::Create, Some(_)) if wish.again => Ok(Plan::Nothing(Judged::applied())),
        (Operation::Create, Some(_)) => Err(Rejection::new("exists", "a record with this id exists")),
        (Operation::Create, None) => create(schema, wish),
        (Operation::Update, None) => {
            Ok(Plan::Nothing(Judged { outcome: Outcome::Conflict, code: Some("gone"), losing: wish.new.clone() }))
        }
        (Operation::Update, Some(current)) => update(schema, wish, current),
        (Operation::Delete, None) => Ok(Plan::Nothing(Judged::applied())),
        (Operation::Delete, Some(current)) => Ok(delete(schema, delete_vs_update, wish, current)),
    };
    planned.unwrap_or_else(Plan::Reject)
}

fn create(schema: &ChannelSchema, wish: &Wish) -> Result<Plan, Rejection> {
    let mut values = Vec::with_capacity(schema.fields.len());
    for field in &schema.fields {
        let given = wish.new.get(&field.name).cloned().unwrap_or(Value::Null);
        let is_key = schema.is_key_field(&field.name);
        let assigned = is_key && schema.key.assigned_by == AssignedBy::Backend;
        if !given.is_null() && (assigned || field.read_only) {
            let code = if assigned { "key_change" } else { "read_only" };
            return Err(Rejection::of(code, &field.name, format!("`{}` is set by the backend", field.name)));
        }
        let value = match (&given, &field.default) {
            (Value::Null, Some(default)) if !wish.new.contains_key(&field.name) => {
                field.kind.from_json(default).unwrap_or(Value::Null)
            }
            _ => given,
        };
        if value.is_null() && !assigned && !field.read_only && (field.required || is_key) {
            return Err(Rejection::of("required", &field.name, format!("`{}` must have a value", field.name)));
        }
        check(field, &value)?;
        values.push(value);
    }
    Ok(Plan::Insert(values))
}

fn update(schema: &ChannelSchema, wish: &Wish, current: Current<'_>) -> Result<Plan, Rejection> {
    let mut judged = Judged::applied();
    let (mut set, mut expect) = (Vec::new(), Vec::new());
    for (name, new) in &wish.new {
        let Some((place, field)) = schema.field(name) else {
            return Err(Rejection::of("unknown_field", name, format!("there is no field `{name}`")));
        };
        let now = &current.values[place];
        if schema.is_key_field(name) && now != new {
            return Err(Rejection::of("key_change", name, format!("`{name}` is part of the key and cannot change")));
        }
        if field.read_only && now != new {
            return Err(Rejection::of("read_only", name, format!("`{name}` is set by the backend")));
        }
        if new.is_null() && field.required {
            return Err(Rejection::of("required", name, format!("`{name}` must have a value")));
        }
        check(field, new)?;
        let old = wish.old.get(name).cloned().unwrap_or(Value::Null);
        let moved = *now != old && !current.own[place];
        expect.push(place);
        let combined = if wish.again {
            combine_again(field, &old, now, new, moved, current.standing[place])?
        } else {
            combine(field, &old, now, new, moved)?
        };
        if combined.outcome != Outcome::Applied && judged.outcome != Outcome::Conflict {
            judged.outcome = combined.outcome;
        }
        if let Some(losing) = combined.losing {
            judged.losing.insert(name.clone(), losing);
        }
        if combined.value != *now {
            check(field, &combined.value)?;
            set.push((place, combined.value));
        }
    }
    if set.is_empty() { Ok(Plan::Nothing(judged)) } else { Ok(Plan::Update { set, expect, verdict: judged }) }
}

fn delete(schema: &ChannelSchema, policy: DeleteVsUpdate, wish: &Wish, current: Current<'_>) -> Plan {
    let moved = schema.fields.iter().enumerate().any(|(place, field)| {
        let seen = wish.old.get(&field.name);
        let free = wish.again && current.standing[place] == Standing::Free;
        seen.is_some_and(|seen| *seen != current.values[place]) && !current.own[place] && !free
    });
    match policy {
        DeleteVsUpdate::UpdateWins if moved => {
            Plan::Nothing(Judged { outcome: Outcome::Conflict, code: Some("updated"), losing: BTreeMap::new() })
        }
        DeleteVsUpdate::UpdateWins => Plan::Delete { expect: (0..schema.fields.len()).collect() },
        DeleteVsUpdate::DeleteWins => Plan::Delete { expect: Vec::new() },
    }
}

/// What becomes of one field.
struct Combined {
    value: Value,
    outcome: Outcome,
    losing: Option<Value>,
}

fn combine(field: &Field, old: &Value, now: &Value, new: &Value, moved: bool) -> Result<Combined, Rejection> {
    let applied = |value: Value| Combined { value, outcome: Outcome::Applied, losing: None };
    let merged = |value: Value| {
        let outcome = if value == *new { Outcome::Applied } else { Outcome::Merged };
        Combined { value, outcome, losing: None }
    };
    match field.conflict {
        // These combine also with what the device itself wrote before: its old value is what it saw, not what is there.
        Policy::Sum if now != old => Ok(merged(sum(field, old, now, new)?)),
        Policy::SetUnion if now != old => Ok(merged(set_union(old, now, new))),
        Policy::Max if now != old => Ok(merged(larger(field.kind, now, new, true))),
        Policy::Min if now != old => Ok(merged(larger(field.kind, now, new, false))),
        _ if !moved || now == new => Ok(applied(new.clone())),
        Policy::ServerWins => {
            Ok(Combined { value: now.clone(), outcome: Outcome::Conflict, losing: Some(new.clone()) })
        }
        Policy::ClientWins => {
            Ok(Combined { value: new.clone(), outcome: Outcome::Conflict, losing: Some(now.clone()) })
        }
        Policy::Reject => {
            Err(Rejection::of("conflict", &field.name, format!("`{}` was changed by somebody else", field.name)))
        }
        Policy::Sum | Policy::SetUnion | Policy::Max | Policy::Min => Ok(applied(new.clone())),
    }
}

/// The same for a mutation that is offered again.
fn combine_again(
    field: &Field,
    old: &Value,
    now: &Value,
    new: &Value,
    moved: bool,
    standing: Standing,
) -> Result<Combined, Rejection> {
    let applied = |value: &Value| Ok(Combined { value: value.clone(), outcome: Outcome::Applied, losing: None });
    // What combines does so in any order; the server has not seen this mutation, so nothing is added twice.
    let combines = matches!(field.conflict, Policy::Sum | Policy::SetUnion | Policy::Max | Policy::Min);
    match standing {
        Standing::Untraced if now == new || now == old => applied(new),
        Standing::Untraced => {
            Ok(Combined { value: now.clone(), outcome: Outcome::Conflict, losing: Some(new.clone()) })
        }
        Standing::Free if !combines => applied(new),
        Standing::Followed if !combines => applied(now),
        // Whatever stands there was written after what is offered.
        Standing::Contested if moved && now != new && field.conflict == Policy::ClientWins => {
            Ok(Combined { value: now.clone(), outcome: Outcome::Conflict, losing: Some(new.clone()) })
        }
        _ => combine(field, old, now, new, moved),
    }
}

/// current + (new − old); NULL counts as 0, unless nothing is left but NULL.
fn sum(field: &Field, old: &Value, now: &Value, new: &Value) -> Result<Value, Rejection> {
    let too_large =
        || Rejection::of("out_of_range", &field.name, format!("the sum in `{}` is out of range", field.name));
    match field.kind {
        FieldType::Int => {
            let number = |value: &Value| if let Value::Int(number) = value { i128::from(*number) } else { 0 };
            let sum = number(now) + number(new) - number(old);
            i64::try_from(sum).map(Value::Int).map_err(|_| too_large())
        }
        FieldType::Float => {
            let number = |value: &Value| if let Value::Float(number) = value { *number } else { 0.0 };
            let sum = number(now) + (number(new) - number(old));
            if sum.is_finite() { Ok(Value::Float(sum)) } else { Err(too_large()) }
        }
        _ => {
            let sum = decimal(now) + decimal(new) - decimal(old);
            field.kind.canonical(Value::Text(sum.to_plain_string())).map_err(|_| too_large())
        }
    }
}

/// The same changes, with what the first field of the policy `sum` gains added once more; `None` where there is none.
#[cfg(feature = "planted")]
pub(super) fn gained_twice(
    schema: &ChannelSchema,
    before: &[Value],
    set: &[(usize, Value)],
) -> Option<Vec<(usize, Value)>> {
    let at = set.iter().position(|(place, _)| schema.fields[*place].conflict == Policy::Sum)?;
    let (place, once) = &set[at];
    let field = &schema.fields[*place];
    let twice = sum(field, &before[*place], once, once).ok().filter(|twice| check(field, twice).is_ok())?;
    let mut set = set.to_vec();
    set[at].1 = twice;
    Some(set)
}

fn decimal(value: &Value) -> BigDecimal {
    value.as_text().and_then(|text| BigDecimal::from_str(text).ok()).unwrap_or_default()
}

/// The current array without what the device removed, and with what it added.
fn set_union(old: &Value, now: &Value, new: &Value) -> Value {
    let items = |value: &Value| -> Vec<serde_json::Value> {
        value.as_text().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let (old, now, new) = (items(old), items(now), items(new));
    // Arrays are canonical, so that equal elements have equal texts; they may have many thousands.
    let texts = |items: &[serde_json::Value]| items.iter().map(ToString::to_string).collect::<HashSet<_>>();
    let (was, wanted) = (texts(&old), texts(&new));
    let keeps = |text: &String| wanted.contains(text) || !was.contains(text);
    let mut union: Vec<_> = now.into_iter().filter(|item| keeps(&item.to_string())).collect();
    let mut taken = texts(&union);
    for item in new {
        let text = item.to_string();
        if !was.contains(&text) && taken.insert(text) {
            union.push(item);
        }
    }
    Value::Text(serde_json::Value::Array(union).to_string())
}

/// The larger (or smaller) of both; NULL is neither.
fn larger(kind: FieldType, now: &Value, new: &Value, larger: bool) -> Value {
    use std::cmp::Ordering;
    let ordering = match (now, new) {
        (Value::Null, _) => return new.clone(),
        (_, Value::Null) => return now.clone(),
        (Value::Int(now), Value::Int(new)) => now.cmp(new),
        (Value::Float(now), Value::Float(new)) => now.total_cmp(new),
        _ if kind == FieldType::Decimal => decimal(now).cmp(&decimal(new)),
        _ => now.to_key_text().cmp(&new.to_key_text()),
    };
    let new_wins = if larger { ordering == Ordering::Less } else { ordering == Ordering::Greater };
    if new_wins { new.clone() } else { now.clone() }
}

/// The field's own rules.
fn check(field: &Field, value: &Value) -> Result<(), Rejection> {
    let Some(text) = value.as_text() else { return Ok(()) };
    if field.kind == FieldType::Enum && !field.values.iter().any(|word| word == text) {
        return Err(Rejection::of(
            "bad_value",
            &field.name,
            format!("`{}` must be one of its listed words", field.name),
        ));
    }
    if field.max_length.is_some_and(|most| text.chars().count() > most as usize) {
        let most = field.max_length.unwrap_or_default();
        return Err(Rejection::of("too_long", &field.name, format!("`{}` has at most {most} characters", field.name)));
    }
    if text.contains('\0') {
        return Err(Rejection::of("bad_value", &field.name, format!("`{}` holds a NUL character", field.name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use omctl_protocol::{KeyColumn, KeyRule, SchemaVersion};
    use proptest::prelude::*;

    fn schema(fields: &[(&str, FieldType, Policy)]) -> ChannelSchema {
        let fields = fields.iter().map(|(name, kind, conflict)| {
            let json = serde_json::json!({ "name": name, "type": kind, "conflict": conflict });
            serde_json::from_value(json).unwrap()
        });
        let columns = vec![KeyColumn { column: "id".into(), field: None }];
        ChannelSchema {
            channel: "c".into(),
            version: SchemaVersion(1),
            key: KeyRule { assigned_by: AssignedBy::Device, columns },
            fields: fields.collect(),
            writable: true,
            atomic: None,
        }
    }

    fn wish(op: Operation, old: &[(&str, Value)], new: &[(&str, Value)]) -> Wish {
        let map = |pairs: &[(&str, Value)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        Wish { op, old: map(old), new: map(new), again: false }
    }

    fn one(policy: Policy, kind: FieldType, old: Value, now: Value, new: Value, own: bool) -> Plan {
        let schema = schema(&[("f", kind, policy)]);
        let wish = wish(Operation::Update, &[("f", old)], &[("f", new)]);
        plan(
            &schema,
            DeleteVsUpdate::UpdateWins,
            &wish,
            Some(Current { values: &[now], own: &[own], standing: &[Standing::Contested] }),
        )
    }

    fn outcome(plan: &Plan) -> (Option<Value>, Outcome) {
        match plan {
            Plan::Update { set, verdict, .. } => (Some(set[0].1.clone()), verdict.outcome),
            Plan::Nothing(judged) => (None, judged.outcome),
            Plan::Reject(_) => (None, Outcome::Rejected),
            _ => panic!("not an update"),
        }
    }

    #[test]
    fn each_policy_decides_a_moved_field() {
        let int = Value::Int;
        let judge = |policy| outcome(&one(policy, FieldType::Int, int(1), int(10), int(4), false));
        assert_eq!(judge(Policy::ServerWins), (None, Outcome::Conflict));
        assert_eq!(judge(Policy::ClientWins), (Some(int(4)), Outcome::Conflict));
        assert_eq!(judge(Policy::Max), (None, Outcome::Merged));
        assert_eq!(judge(Policy::Min), (Some(int(4)), Outcome::Applied));
        assert_eq!(judge(Policy::Sum), (Some(int(13)), Outcome::Merged));
        assert_eq!(judge(Policy::Reject), (None, Outcome::Rejected));
    }

    #[test]
    fn what_the_same_incarnation_left_there_has_not_moved() {
        let text = |t: &str| Value::Text(t.into());
        let plan = one(Policy::ServerWins, FieldType::Text, text("b"), text("c"), text("d"), true);
        assert_eq!(outcome(&plan), (Some(text("d")), Outcome::Applied));
    }

    #[test]
    fn a_sum_adds_the_difference_even_to_its_own_earlier_sum() {
        let plan = one(Policy::Sum, FieldType::Int, Value::Int(5), Value::Int(12), Value::Int(6), true);
        assert_eq!(outcome(&plan), (Some(Value::Int(13)), Outcome::Merged));
        let text = |t: &str| Value::Text(t.into());
        let plan = one(Policy::Sum, FieldType::Decimal, text("0.1"), text("0.3"), text("0.2"), false);
        assert_eq!(outcome(&plan).0, Some(text("0.4")));
    }

    #[test]
    fn a_set_takes_what_was_added_and_drops_what_was_removed() {
        let text = |t: &str| Value::Text(t.into());
        let plan = one(
            Policy::SetUnion,
            FieldType::Array,
            text(r#"["a","b"]"#),
            text(r#"["a","b","x"]"#),
            text(r#"["b","c"]"#),
            false,
        );
        assert_eq!(outcome(&plan), (Some(text(r#"["b","x","c"]"#)), Outcome::Merged));
    }

    #[test]
    fn a_delete_of_a_changed_record_follows_the_channel() {
        let schema = schema(&[("f", FieldType::Int, Policy::ServerWins)]);
        let wish = wish(Operation::Delete, &[("f", Value::Int(1))], &[]);
        let moved = Current { values: &[Value::Int(2)], own: &[false], standing: &[Standing::Contested] };
        assert!(matches!(
            plan(&schema, DeleteVsUpdate::UpdateWins, &wish, Some(moved)),
            Plan::Nothing(Judged { outcome: Outcome::Conflict, .. })
        ));
        assert!(matches!(plan(&schema, DeleteVsUpdate::DeleteWins, &wish, Some(moved)), Plan::Delete { .. }));
        assert_eq!(plan(&schema, DeleteVsUpdate::UpdateWins, &wish, None), Plan::Nothing(Judged::applied()));
    }

    #[test]
    fn an_update_of_a_record_that_is_gone_is_a_conflict_that_keeps_the_value() {
        let schema = schema(&[("f", FieldType::Int, Policy::ServerWins)]);
        let wish = wish(Operation::Update, &[("f", Value::Int(1))], &[("f", Value::Int(2))]);
        match plan(&schema, DeleteVsUpdate::UpdateWins, &wish, None) {
            Plan::Nothing(judged) => {
                assert_eq!((judged.outcome, judged.code), (Outcome::Conflict, Some("gone")));
                assert_eq!(judged.losing["f"], Value::Int(2));
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn an_unmoved_field_is_taken_as_sent(old in any::<i64>(), new in any::<i64>(),
                                             policy in prop::sample::select(&Policy::ALL[..])) {
            prop_assume!(old != new && policy != Policy::SetUnion);
            let plan = one(policy, FieldType::Int, Value::Int(old), Value::Int(old), Value::Int(new), false);
            prop_assert_eq!(outcome(&plan), (Some(Value::Int(new)), Outcome::Applied));
        }

        #[test]
        fn sums_of_two_devices_commute(start in -1000i64..1000, a in -1000i64..1000, b in -1000i64..1000) {
            let step = |now: i64, delta: i64| {
                let plan = one(Policy::Sum, FieldType::Int, Value::Int(start), Value::Int(now), Value::Int(start + delta), false);
                match outcome(&plan).0 { Some(Value::Int(value)) => value, _ => now }
            };
            prop_assert_eq!(step(step(start, a), b), step(step(start, b), a));
        }

        #[test]
        fn who_loses_is_kept(old in any::<i64>(), now in any::<i64>(), new in any::<i64>()) {
            prop_assume!(old != now && now != new);
            let int = Value::Int;
            let judge = |policy| one(policy, FieldType::Int, int(old), int(now), int(new), false);
            let lost = |value| BTreeMap::from([("f".to_owned(), int(value))]);
            let conflict = |losing| Judged { outcome: Outcome::Conflict, code: None, losing };
            prop_assert_eq!(judge(Policy::ServerWins), Plan::Nothing(conflict(lost(new))));
            let verdict = conflict(lost(now));
            prop_assert_eq!(judge(Policy::ClientWins), Plan::Update { set: vec![(0, int(new))], expect: vec![0], verdict });
            prop_assert_eq!(outcome(&judge(Policy::Reject)), (None, Outcome::Rejected));
        }

        #[test]
        fn the_largest_and_the_smallest_do_not_depend_on_who_came_first(
            start in decimal_text(), a in decimal_text(), b in decimal_text(), is_max: bool,
        ) {
            let policy = if is_max { Policy::Max } else { Policy::Min };
            let step = |now: &str, new: &str| {
                let text = |text: &str| Value::Text(text.to_owned());
                // Both devices saw the same.
                match outcome(&one(policy, FieldType::Decimal, text(&start), text(now), text(new), false)).0 {
                    Some(Value::Text(value)) => value,
                    _ => now.to_owned(),
                }
            };
            // The first to come finds nothing moved, so it counts as sent.
            prop_assume!(start != a && start != b);
            let (ab, ba) = (step(&step(&start, &a), &b), step(&step(&start, &b), &a));
            prop_assert_eq!(&ab, &ba);
            let (x, y) = (BigDecimal::from_str(&a).unwrap(), BigDecimal::from_str(&b).unwrap());
            prop_assert_eq!(BigDecimal::from_str(&ab).unwrap(), if is_max { x.max(y) } else { x.min(y) });
        }

        #[test]
        fn a_union_has_what_was_added_and_lacks_what_was_removed(
            old in elements(), now in elements(), new in elements(),
        ) {
            prop_assume!(old != now);
            let json = |items: &[u8]| Value::Text(serde_json::to_string(items).unwrap());
            let plan = one(Policy::SetUnion, FieldType::Array, json(&old), json(&now), json(&new), false);
            let (set, judged) = outcome(&plan);
            let union: Vec<u8> = match set {
                Some(Value::Text(text)) => serde_json::from_str(&text).unwrap(),
                _ => now.clone(),
            };
            for item in 0..6 {
                let (was, is, wanted) = (old.contains(&item), now.contains(&item), new.contains(&item));
                let stays = if wanted == was { is } else { wanted };
                prop_assert_eq!(union.contains(&item), stays, "{} of {:?}", item, union);
            }
            prop_assert!(union.iter().all(|item| union.iter().filter(|other| *other == item).count() == 1));
            prop_assert!(matches!(judged, Outcome::Applied | Outcome::Merged), "nothing is lost");
        }

        #[test]
        fn a_sum_of_decimals_is_exact(start in decimal_text(), now in decimal_text(), new in decimal_text()) {
            prop_assume!(start != now);
            let text = |text: &str| Value::Text(text.to_owned());
            let plan = one(Policy::Sum, FieldType::Decimal, text(&start), text(&now), text(&new), true);
            let sum = outcome(&plan).0.unwrap_or_else(|| text(&now));
            let number = |text: &str| BigDecimal::from_str(text).unwrap();
            prop_assert_eq!(number(sum.as_text().unwrap()), number(&now) + number(&new) - number(&start));
        }

        #[test]
        fn deletes_look_at_what_the_device_saw_and_at_nothing_else(old in any::<i64>(), now in any::<i64>(), own: bool) {
            let schema = schema(&[("f", FieldType::Int, Policy::ServerWins), ("g", FieldType::Int, Policy::ServerWins)]);
            let wish = wish(Operation::Delete, &[("f", Value::Int(old))], &[]);
            let values = [Value::Int(now), Value::Int(7)];
            let current = Current { values: &values, own: &[own, false], standing: &[Standing::Contested; 2] };
            let is_deleted = matches!(plan(&schema, DeleteVsUpdate::UpdateWins, &wish, Some(current)), Plan::Delete { .. });
            prop_assert_eq!(is_deleted, old == now || own);
            let plan = plan(&schema, DeleteVsUpdate::DeleteWins, &wish, Some(current));
            prop_assert_eq!(plan, Plan::Delete { expect: Vec::new() });
        }
    }

    /// A canonical decimal.
    fn decimal_text() -> impl Strategy<Value = String> {
        (any::<i32>(), 0u32..6).prop_map(|(digits, scale)| {
            let text = BigDecimal::new(digits.into(), scale.into()).to_plain_string();
            FieldType::Decimal.canonical(Value::Text(text)).unwrap().to_key_text()
        })
    }

    /// An array of different elements.
    fn elements() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::btree_set(0u8..6, 0..5).prop_map(|set| set.into_iter().collect())
    }
}

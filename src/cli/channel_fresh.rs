//! A channel from scratch: `--field title:text:required` as a line of the channel's file.
//!
//! Only the form of a field is judged here. What it means is judged by the catalog, which reads the file before it is
//! written.

use omctl_protocol::{ChannelName, FieldType};

use super::channel_draft::{Draft, DraftField, ScopeWish};
use super::new_channel::Args;
use super::{Cli, CliError, Exit};
use crate::catalog::{self, Catalog, MANAGED, Severity, near_hint, scalar};
use crate::scaffold::PlannedFile;

/// What a channel has of which nothing was said.
const FIELDS: &str = "title:text:required";

/// One `--field`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldWish {
    name: String,
    kind: FieldType,
    options: Vec<String>,
}

impl std::str::FromStr for FieldWish {
    type Err = String;

    /// `NAME[:TYPE[:OPTION]…]`: an option is `required`, `read_only` or `KEY=VALUE`; without a key it is a ref's channel,
    /// an enum's words, a text's longest length.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().trim().to_owned();
        if name.is_empty() {
            return Err("write NAME:TYPE, for example title:text:required".to_owned());
        }
        let word = parts.next().unwrap_or("text");
        let Some(kind) = FieldType::ALL.into_iter().find(|kind| kind.word() == word) else {
            let hint = near_hint(word, FieldType::ALL.map(FieldType::word)).unwrap_or_default();
            return Err(format!("`{word}` is no type: {hint}"));
        };
        let options = parts.map(|option| Self::option(kind, option)).collect::<Result<_, _>>()?;
        Ok(Self { name, kind, options })
    }
}

impl FieldWish {
    fn option(kind: FieldType, option: &str) -> Result<String, String> {
        let list = |words: &str| words.split(',').map(scalar).collect::<Vec<_>>().join(", ");
        Ok(match (kind, option.split_once('=')) {
            (_, None) if option == "required" || option == "read_only" => format!("{option}: true"),
            (FieldType::Ref, None) if !option.is_empty() => format!("to: {}", scalar(option)),
            (FieldType::Enum, None) if !option.is_empty() => format!("values: [{}]", list(option)),
            (FieldType::Text, None) if option.parse::<u32>().is_ok() => format!("max_length: {option}"),
            (_, Some((key @ ("default" | "column" | "to" | "conflict"), value))) => {
                let is_word = kind != FieldType::Text && key == "default";
                // A number or truth value of its type stays one; everything else is text.
                let bare = is_word && (value.parse::<f64>().is_ok() || value == "true" || value == "false");
                format!("{key}: {}", if bare { value.to_owned() } else { scalar(value) })
            }
            (_, Some((key @ "max_length", value))) => format!("{key}: {value}"),
            (_, Some(("values", value))) => format!("values: [{}]", list(value)),
            _ => {
                let known = "required, read_only, default=…, max_length=…, values=…, to=…, conflict=…, column=…";
                return Err(format!("`{option}` says nothing of {}: {known}", kind.word()));
            }
        })
    }

    fn draft(&self) -> DraftField {
        let mut options = vec![format!("type: {}", self.kind.word())];
        options.extend(self.options.iter().cloned());
        let (name, column) = (self.name.clone(), self.name.clone());
        DraftField { name, column, options: options.join(", "), comment: None, left_out: false }
    }
}

/// What was said and, at a terminal where nothing was, what was answered.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) name: ChannelName,
    pub(super) backend: String,
    pub(super) fields: Vec<FieldWish>,
    pub(super) scope: Option<ScopeWish>,
    pub(super) write: Option<String>,
}

impl Wish {
    pub(super) fn new(cli: &Cli, args: &Args, catalog: &Catalog) -> Result<Self, CliError> {
        let backend = args.backend.clone().unwrap_or_else(|| MANAGED.to_owned());
        if backend != MANAGED && !catalog.backends.contains_key(&backend) {
            let known = std::iter::once(MANAGED).chain(catalog.backends.keys().map(String::as_str));
            let error = CliError::new(Exit::NotFound, "not_found", format!("no backend `{backend}` is declared"));
            return Err(match near_hint(&backend, known.collect::<Vec<_>>()) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
        let nothing_said = args.fields.is_empty() && args.scope.is_none() && args.write.is_empty();
        let ask = |question: &str, default: &str| match cli.can_ask() && nothing_said {
            true => cli.ui.ask(question, Some(default)).filter(|answer| answer != default && !answer.is_empty()),
            false => None,
        };
        let name =
            args.name.clone().or_else(|| if cli.can_ask() { cli.ui.ask("Name of the channel", None) } else { None });
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
            CliError::new(Exit::Usage, "usage", "the channel's name was not said")
                .hint("omctl new channel NAME, or --from 'sqlite:FILE' --all; for a project of that name: omctl new project channel")
        })?;
        let bad = |message: String| CliError::new(Exit::Usage, "usage", message).hint("omctl new channel --help");
        let fields = match args.fields.as_slice() {
            [] => {
                let answer = ask("Fields", FIELDS).unwrap_or_else(|| FIELDS.to_owned());
                answer.split_whitespace().map(str::parse).collect::<Result<Vec<FieldWish>, _>>().map_err(bad)?
            }
            said => said.to_vec(),
        };
        let scope = match &args.scope {
            Some(scope) => Some(scope.clone()),
            None => ask("Who sees a record: public, FIELD=account.email, via:REFERENCE", "nobody")
                .map(|answer| answer.parse().map_err(bad))
                .transpose()?,
        };
        let write = match args.operations() {
            Some(write) => Some(write),
            None => ask("What any account may do: create,update,delete", "nothing")
                .map(|answer| Args::operations_of(&answer).map_err(bad))
                .transpose()?,
        };
        Ok(Self { name: ChannelName::from(name.as_str()), backend, fields, scope, write })
    }

    /// The file's content for the template.
    pub(super) fn draft(&self) -> Draft {
        let is_field = |wanted: &str, kind: Option<FieldType>| {
            self.fields.iter().any(|field| field.name == wanted && kind.is_none_or(|kind| kind == field.kind))
        };
        let scope = self.scope.as_ref().and_then(|scope| match scope {
            ScopeWish::Public => Some("public".to_owned()),
            ScopeWish::Field(field, right) => is_field(field, None).then(|| format!("{{ {field}: {right} }}")),
            ScopeWish::Via(field) => is_field(field, Some(FieldType::Ref)).then(|| format!("{{ via: {field} }}")),
        });
        let fields = self.fields.iter().map(FieldWish::draft).collect();
        Draft::fresh(&self.name, &self.backend, self.backend != MANAGED, (scope, self.write.clone()), fields)
    }
}

/// Whether the catalog would take the file; its first mistake otherwise, in words about the command line.
pub(super) fn judge(catalog: &Catalog, name: &ChannelName, file: &PlannedFile) -> Result<(), CliError> {
    let found = catalog::judge_channel(catalog, name, &file.content);
    let Some(first) = found.into_iter().find(|one| one.severity == Severity::Error) else { return Ok(()) };
    let error = CliError::new(Exit::Usage, "bad_field", format!("channel `{name}` would be wrong: {}", first.message));
    Err(match first.hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_said_in_one_word() {
        for (text, line) in [
            ("title", "title: type: text"),
            ("title:text:required:200", "title: type: text, required: true, max_length: 200"),
            ("hours:decimal:default=1.50:conflict=sum", "hours: type: decimal, default: 1.50, conflict: sum"),
            ("customer:ref:customers:required", "customer: type: ref, to: customers, required: true"),
            ("status:enum:open,on hold:default=open", "status: type: enum, values: [open, \"on hold\"], default: open"),
            ("note:text:default=true", "note: type: text, default: \"true\""),
            ("open:bool:default=true", "open: type: bool, default: true"),
        ] {
            let field: FieldWish = text.parse().unwrap();
            assert_eq!(format!("{}: {}", field.name, field.draft().options), line);
        }
        for (text, reason) in [
            ("", "NAME:TYPE"),
            ("a:txt", "did you mean `text`?"),
            ("a:int:200", "says nothing of int"),
            ("a:text:x=1", "says nothing"),
        ] {
            let refused = text.parse::<FieldWish>().unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}

//! The project file as it is written, value by value: for showing settings with their places.
//!
//! *Invariant:* references to secrets stay references. Only for a file that [`super::load()`] took: it has refused
//! literal secrets.

use std::path::Path;

use super::model::Place;
use super::project::PROJECT_FILE;
use super::yaml::{self, Kind, Node, Report};

/// One value of `openmobster.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The keys that lead to it: `env`, `prod`, `server`, `addr`.
    pub path: Vec<String>,
    /// The value: texts as they are, lists as `[a, b]`.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// Every value of the project file, in its order; nothing where the file cannot be read.
pub fn written(root: &Path) -> Vec<Written> {
    let mut report = Report::new(PROJECT_FILE);
    let mut found = Vec::new();
    if let Some(node) = yaml::read(root, &mut report) {
        collect(&node, &mut Vec::new(), &report, &mut found);
    }
    found
}

fn collect(node: &Node, path: &mut Vec<String>, report: &Report, found: &mut Vec<Written>) {
    match &node.kind {
        Kind::Map(entries) => {
            for (key, node) in entries {
                path.push(key.text.clone());
                collect(node, path, report, found);
                path.pop();
            }
        }
        _ => found.push(Written { path: path.clone(), text: text(node), place: report.place(node.at) }),
    }
}

fn text(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(truth) => truth.to_string(),
        Kind::Number(digits) => digits.clone(),
        Kind::Text(text) => text.clone(),
        Kind::List(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Kind::Map(entries) => {
            let entries = entries.iter().map(|(key, node)| format!("{}: {}", key.text, text(node)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_places_and_references_stay() {
        let folder = tempfile::tempdir().unwrap();
        let text = "version: 1\nserver: { addr: 127.0.0.1:1, trusted_proxies: [10.0.0.0/8, 10.1.1.1] }\n\
                    backends:\n  crm: { kind: sqlite, path: \"${env:CRM}\" }\n";
        std::fs::write(folder.path().join(PROJECT_FILE), text).unwrap();
        let lines = written(folder.path())
            .into_iter()
            .map(|one| format!("{} {} = {}", one.place, one.path.join("."), one.text));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                "openmobster.yaml:1:10 version = 1",
                "openmobster.yaml:2:17 server.addr = 127.0.0.1:1",
                "openmobster.yaml:2:47 server.trusted_proxies = [10.0.0.0/8, 10.1.1.1]",
                "openmobster.yaml:4:16 backends.crm.kind = sqlite",
                "openmobster.yaml:4:30 backends.crm.path = ${env:CRM}",
            ]
        );
        assert_eq!(written(&folder.path().join("nothing")), []);
    }
}

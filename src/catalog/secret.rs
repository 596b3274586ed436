//! Secrets in the project's files: only as `${env:NAME}` and `${file:PATH}`.
//!
//! *Invariant:* no message of this file contains a value, neither what was substituted nor a literal that is refused.

use std::path::Path;

use super::yaml::{At, Kind, Node, Report};

/// Longest secret file in bytes: a key or a URL, not a data file.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where references are looked up.
pub(super) struct Sources<'s> {
    pub(super) root: &'s Path,
    pub(super) env: &'s dyn Fn(&str) -> Option<String>,
}

impl Sources<'_> {
    /// The text with its references replaced; `None` where one has no value, which the report then names.
    pub(super) fn fill(&self, text: &str, at: At, report: &mut Report) -> Option<String> {
        let (mut filled, mut rest, mut complete) = (String::new(), text, true);
        while let Some(start) = rest.find("${") {
            filled.push_str(&rest[..start]);
            let Some(length) = rest[start..].find('}') else {
                report.error(at, "bad_value", "a `${` without its `}`");
                return None;
            };
            let reference = &rest[start + 2..start + length];
            match self.value(reference, at, report) {
                Some(value) => filled.push_str(&value),
                None => complete = false,
            }
            rest = &rest[start + length + 1..];
        }
        filled.push_str(rest);
        complete.then_some(filled)
    }

    fn value(&self, reference: &str, at: At, report: &mut Report) -> Option<String> {
        match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => {
                let value = (self.env)(name).filter(|value| !value.is_empty());
                if value.is_none() {
                    report
                        .error(at, "missing_env", format!("the environment variable `{name}` is not set"))
                        .with_hint(format!("set it: export {name}=…"));
                }
                value
            }
            Some(("file", path)) if !path.is_empty() => match read(&self.root.join(path)) {
                Ok(value) => Some(value),
                Err(reason) => {
                    report.error(at, "missing_file", format!("the file `{path}` cannot be read: {reason}"));
                    None
                }
            },
            _ => {
                report
                    .error(at, "bad_value", "a `${…}` that is neither `${env:NAME}` nor `${file:PATH}`")
                    .with_hint("write ${env:NAME} or ${file:PATH}");
                None
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.kind().to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.kind().to_string())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Refuses literal secrets anywhere in a tree: a password within a URL, and text under a key that names a secret.
pub(super) fn refuse_literals(node: &Node, report: &mut Report) {
    match &node.kind {
        Kind::Text(text) if has_literal_password(text) => {
            report
                .error(node.at, "secret_literal", "a password is written here literally")
                .with_hint("keep it out of the file: ${env:NAME} or ${file:PATH}");
        }
        Kind::List(items) => items.iter().for_each(|item| refuse_literals(item, report)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                match &value.kind {
                    Kind::Text(text) if names_secret(&key.text) && !text.starts_with("${") => {
                        report
                            .error(value.at, "secret_literal", format!("`{}` is written here literally", key.text))
                            .with_hint("keep it out of the file: ${env:NAME} or ${file:PATH}");
                    }
                    _ => refuse_literals(value, report),
                }
            }
        }
        _ => {}
    }
}

/// Whether the text is a URL, or several, whose `user:password@` has a password that is no reference.
pub fn has_literal_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        // A reference may itself contain `/` or `:`: it is no literal, wherever it ends.
        let Some((user_info, _)) = authority.rsplit_once('@') else { return false };
        user_info.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !password.starts_with("${"))
    })
}

fn names_secret(key: &str) -> bool {
    ["password", "passwd", "secret", "token", "bearer", "api_key", "apikey"].contains(&key.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literal_passwords_are_refused() {
        for literal in ["postgres://ana:pw@db/x", "https://u:p@h", "mysql://a:p@ss@h/db"] {
            assert!(has_literal_password(literal), "{literal}");
        }
        for fine in
            ["postgres://ana@db/x", "postgres://ana:${env:PW}@db/x", "data/a:b@c.db", "https://h/a:b@c", "x://u:@h"]
        {
            assert!(!has_literal_password(fine), "{fine}");
        }
    }
}

//! Why a command failed, in the form that both people and scripts get.

use serde_json::{Map, Value, json};

use super::exit::Exit;
use crate::config::ConfigError;
use crate::scaffold::ScaffoldError;

/// A command's failure.
#[derive(Clone, Debug)]
pub struct CliError {
    /// Decides the exit code.
    pub exit: Exit,
    /// Stable code, for `--json`.
    pub code: &'static str,
    /// What failed: a lower-case fragment.
    pub message: String,
    /// What to do next, with the exact command.
    pub hint: Option<String>,
    /// More members of the JSON error.
    pub details: Map<String, Value>,
}

impl CliError {
    /// A failure without a hint.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), hint: None, details: Map::new() }
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a member to the JSON error.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The code that says most: the server's own, where it refused.
    pub(super) fn explained_by(&self) -> &str {
        self.details.get("problem").and_then(Value::as_str).unwrap_or(self.code)
    }

    /// The JSON error: one object, the last line of stderr.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "type": "error", "code": self.code, "message": self.message, "hint": self.hint, "exit": self.exit.code(),
        });
        if let Some(members) = json.as_object_mut() {
            members.extend(self.details.clone());
        }
        json
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let exit = match error {
            ConfigError::BadAddr { .. } => Exit::Invalid,
            ConfigError::Exposed { .. } => Exit::NotAllowed,
        };
        Self::new(exit, error.code(), error.to_string()).hint(error.hint())
    }
}

impl From<ScaffoldError> for CliError {
    fn from(error: ScaffoldError) -> Self {
        match &error {
            ScaffoldError::Differs { files } => {
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                Self::new(Exit::Exists, "exists", error.to_string())
                    .hint("look at the differences with --dry-run, overwrite with --force")
                    .detail("files", files)
            }
            ScaffoldError::Escapes { .. } => Self::new(Exit::NotAllowed, "path_escapes", error.to_string()),
            ScaffoldError::Template { source, .. } => {
                Self::new(Exit::Invalid, "template", format!("{error}: {source}")).hint("correct the template")
            }
            ScaffoldError::Unfit { .. } => Self::new(Exit::Invalid, "template", error.to_string())
                .hint("a folder of templates is what this writes: omctl template eject"),
            ScaffoldError::Io { .. } => Self::new(Exit::Failed, "io", error.to_string()),
        }
    }
}

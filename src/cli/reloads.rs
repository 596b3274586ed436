//! What `omctl serve` says of changes of the project's files.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::{Cli, diagnostic_json, one_line};
use crate::catalog::{Diagnostic, Severity};
use crate::server::{self, ProjectFiles, Reload, Running};
use crate::telemetry;

/// Keeps a mistake in sight: what the log says meanwhile would push it off the screen.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    /// The newest event of the log when it was shown last.
    shown_at: u64,
}

impl Reminder {
    /// How often it is looked whether something was said since.
    pub(super) const EVERY: Duration = Duration::from_secs(5);

    /// Notes that it was shown just now.
    pub(super) fn shown(&mut self) {
        self.shown_at = telemetry::RECENT.newest();
    }

    /// Shows it again, if it still stands and something was said since.
    pub(super) fn remind(&mut self, cli: &Cli, running: &Running) {
        let trouble = running.live.trouble();
        let Some(first) = trouble.iter().find(|one| one.severity == Severity::Error) else { return };
        if telemetry::RECENT.newest() == self.shown_at || !cli.ui.can_ask() {
            return;
        }
        let still = if first.holds_up() { "still not live" } else { "still to be mended" };
        cli.ui.warn(format!("{still}: {}: {}", one_line(&first.place.to_string()), one_line(&first.message)));
        self.shown();
    }
}

/// Watches the files. A system that does not tell of changes is no reason not to serve.
pub(super) fn watch(cli: &Cli, files: &ProjectFiles, running: &Running) -> Option<mpsc::UnboundedReceiver<Reload>> {
    let (tell, reloads) = mpsc::unbounded_channel();
    match server::watch(files.clone(), running.reloader.clone(), running.tasks(), tell) {
        Ok(()) => Some(reloads),
        Err(error) => {
            cli.ui.warn(format!("changes of the project's files are not noticed: {error}"));
            cli.ui.note("end the server and start it again to make them live");
            None
        }
    }
}

/// One line of data for each change that went live or did not; why it did not is shown with its lines.
pub(super) fn say(cli: &Cli, root: &Path, reload: &Reload) {
    match reload {
        Reload::Same => cli.ui.note("the files say what is live"),
        Reload::Live { generation, changes, found, took } => {
            cli.ui.diagnostics(root, found);
            let mistakes = mistakes(found);
            let what = match (changes.is_empty(), mistakes.is_empty()) {
                (false, true) => changes.join("; "),
                (false, false) => format!("{}; but {mistakes}", changes.join("; ")),
                (true, true) => "mended".to_owned(),
                (true, false) => mistakes,
            };
            let text = match changes.is_empty() {
                true => format!("generation {generation} is live: {what}"),
                false => format!("generation {generation} is live after {} ms: {what}", took.as_millis()),
            };
            cli.ui.result(text, || {
                json!({
                    "type": "reloaded", "schema": "omctl.serve/1", "generation": generation, "changes": changes,
                    "took_ms": took.as_millis() as u64,
                    "diagnostics": found.iter().map(diagnostic_json).collect::<Vec<_>>(),
                })
            });
        }
        Reload::Refused { generation, found } => {
            cli.ui.diagnostics(root, found);
            let text = format!("{}: generation {generation} goes on until that is mended", mistakes(found));
            cli.ui.result(text, || {
                json!({
                    "type": "refused", "schema": "omctl.serve/1", "generation": generation,
                    "diagnostics": found.iter().map(diagnostic_json).collect::<Vec<_>>(),
                })
            });
        }
    }
}

/// How many mistakes, and where the first is; nothing where there is none.
fn mistakes(found: &[Diagnostic]) -> String {
    let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
    match *errors {
        [] => String::new(),
        [only] => format!("1 error in {}", one_line(&only.place.to_string())),
        [first, ..] => format!("{} errors, the first in {}", errors.len(), one_line(&first.place.to_string())),
    }
}

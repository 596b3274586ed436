//! What somebody sees of a fleet at work: a bar and the fleet at a glance on a terminal, with keys to cut, heal and kill; a
//! line a phase elsewhere.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Cli;
use super::keyboard::Keyboard;
use crate::simulate::{Progress, Sample, Wish};

/// The keys and what they do.
const KEYS: [(u8, Wish); 3] = [(b'c', Wish::Cut), (b'h', Wish::Heal), (b'k', Wish::Kill)];

/// The screen of one fleet.
pub(super) struct Screen {
    cli: Cli,
    bar: Mutex<Option<ProgressBar>>,
    keyboard: Option<Keyboard>,
}

impl Screen {
    pub(super) fn new(cli: &Cli) -> Self {
        let keyboard = if cli.ui.can_ask() { Keyboard::open() } else { None };
        Self { cli: cli.clone(), bar: Mutex::new(None), keyboard }
    }

    /// Gives the terminal back.
    pub(super) fn end(&self) {
        if let Some(bar) = self.bar.lock().expect("nobody panics while drawing").take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Screen {
    fn phase(&self, what: &str, steps: u64) {
        self.end();
        if !self.cli.ui.can_ask() {
            self.cli.ui.note(what);
            return;
        }
        let bar = if steps == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(steps) };
        let template =
            if steps == 0 { "{spinner} {msg}\n{prefix}" } else { "{msg:<20} {bar:30} {pos}/{len}\n{prefix}" };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message(what.to_owned());
        *self.bar.lock().expect("nobody panics while drawing") = Some(bar);
    }

    fn step(&self, done: u64) {
        if let Some(bar) = &*self.bar.lock().expect("nobody panics while drawing") {
            bar.set_position(done);
        }
    }

    fn glance(&self, sample: &Sample) {
        if let Some(bar) = &*self.bar.lock().expect("nobody panics while drawing") {
            let keys = if self.keyboard.is_some() { "\n  keys: c cut, h heal, k kill one" } else { "" };
            bar.set_prefix(format!("{}{keys}", glance(sample)));
        }
    }

    fn wish(&self) -> Option<Wish> {
        let key = self.keyboard.as_ref()?.next()?;
        KEYS.iter().find(|(known, _)| *known == key.to_ascii_lowercase()).map(|(_, wish)| *wish)
    }
}

/// Two lines on the fleet as it is now.
fn glance(sample: &Sample) -> String {
    let mut states = vec![format!("{} live", sample.live)];
    let others = [(sample.catching_up, "catching up"), (sample.offline, "offline"), (sample.down, "down")];
    states.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    let latency = match (sample.visible_p50, sample.visible_p99) {
        (Some(p50), Some(p99)) => format!("; visible p50 {p50} ms, p99 {p99} ms"),
        _ => String::new(),
    };
    format!(
        "  devices: {}\n  queued {} (the deepest {}), settled {}, conflicts {}, rejected {}{latency}",
        states.join(", "),
        sample.queued,
        sample.deepest,
        sample.settled,
        sample.conflicts,
        sample.rejected,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_names_what_there_is() {
        let sample = Sample { live: 3, offline: 1, queued: 7, deepest: 5, settled: 40, ..Sample::default() };
        let text = glance(&sample);
        assert!(text.contains("3 live, 1 offline\n"), "{text}");
        assert!(text.contains("queued 7 (the deepest 5), settled 40"), "{text}");
        assert!(!text.contains("down") && !text.contains("p50"), "{text}");
    }
}

//! What somebody at the terminal of `omctl serve` may type: a letter and Enter, so that the terminal stays as it is.

use std::io::BufRead as _;

use tokio::sync::mpsc;

use super::Cli;
use crate::server::Running;

/// What a letter asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Reload,
    Show,
    Quit,
    Help,
}

impl Key {
    /// An empty line asks for nothing; what is no letter of these asks what there is.
    fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "" => None,
            "r" => Some(Self::Reload),
            "s" => Some(Self::Show),
            "q" => Some(Self::Quit),
            _ => Some(Self::Help),
        }
    }
}

/// Listens, where a person can type.
pub(super) fn listen(cli: &Cli) -> Option<mpsc::UnboundedReceiver<Key>> {
    if !cli.ui.can_ask() {
        return None;
    }
    let (tell, keys) = mpsc::unbounded_channel();
    // A thread of its own: a read of the terminal cannot be called off, and ends with the process.
    let reading = std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if let Some(key) = Key::parse(&line)
                && tell.send(key).is_err()
            {
                return;
            }
        }
    });
    cli.ui.note("type h and Enter for what can be typed here");
    reading.ok().map(|_| keys)
}

/// Quits when the standard input ends: whoever started this server, and holds the other end, is gone then.
pub(super) fn until_input_ends() -> Option<mpsc::UnboundedReceiver<Key>> {
    let (tell, keys) = mpsc::unbounded_channel();
    let reading = std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        // What comes is nothing to us; an error is an end, too.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        tell.send(Key::Quit).unwrap_or_default();
    });
    reading.ok().map(|_| keys)
}

/// What there is to type.
pub(super) fn help(cli: &Cli) {
    cli.ui.note("r  read the project's files again\ns  show what is live and who is connected\nq  stop the server\nh  show this");
}

/// What is live at the moment.
pub(super) fn show(cli: &Cli, running: &Running) {
    let live = running.live.current();
    let sessions = running.sessions();
    let health = running.sync.health();
    cli.ui.note(format!(
        "generation {}, {sessions} device{} connected",
        live.generation,
        if sessions == 1 { "" } else { "s" }
    ));
    let closed = running.sync.closed();
    for channel in live.channels.values() {
        let known = health.get(channel.name());
        let paused = known.and_then(|health| health.paused.clone());
        let unreachable = known.and_then(|health| health.unreachable.clone());
        let state = match (paused, unreachable) {
            (Some(reason), _) => format!("paused: {reason}"),
            (None, Some(reason)) => format!("unreachable: {reason}"),
            (None, None) if closed.contains(channel.name()) => "closed: its records are placed or read anew".to_owned(),
            (None, None) => "live".to_owned(),
        };
        cli.ui.note(format!("  {:<24} {state}", channel.name().as_str()));
    }
    for one in running.live.trouble().iter() {
        cli.ui.note(format!("  {}: {}", super::one_line(&one.place.to_string()), super::one_line(&one.message)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_ask_and_other_lines_ask_for_help() {
        let typed = ["r\n", " q ", "", "s", "h", "stop"].map(Key::parse);
        let help = Some(Key::Help);
        assert_eq!(typed, [Some(Key::Reload), Some(Key::Quit), None, Some(Key::Show), help, help]);
    }
}

//! The log for people: one line an event, with the time of day and what the sentence does not say already.

use std::fmt::Debug;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes `TIME level sentence (field=value)`.
pub(super) struct Lines {
    /// Milliseconds since 1970.
    pub(super) now_ms: fn() -> i64,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let at = Timestamp::from_millisecond((self.now_ms)()).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut said = Said::default();
        event.record(&mut said);
        let level = *event.metadata().level();
        let (word, ink) = match level {
            Level::ERROR => ("error", "1;31"),
            Level::WARN => ("warning", "1;33"),
            Level::INFO => ("info", "32"),
            Level::DEBUG => ("debug", "34"),
            Level::TRACE => ("trace", "2"),
        };
        let time = at.strftime("%H:%M:%S");
        match writer.has_ansi_escapes() {
            true => write!(writer, "\x1b[2m{time}\x1b[0m \x1b[{ink}m{word}\x1b[0m ")?,
            false => write!(writer, "{time} {word} ")?,
        }
        writer.write_str(&said.sentence)?;
        let mut begin = " (";
        for (name, value) in said.fields.iter().filter(|(_, value)| !said.sentence.contains(value.as_str())) {
            write!(writer, "{begin}{name}: {value}")?;
            begin = ", ";
        }
        if begin == ", " {
            writer.write_char(')')?;
        }
        writeln!(writer)
    }
}

#[derive(Default)]
struct Said {
    sentence: String,
    /// Name and value.
    fields: Vec<(String, String)>,
}

impl Said {
    /// A value must not drive the terminal.
    fn note(&mut self, field: &Field, text: &str) {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match field.name() {
            "message" => self.sentence = text,
            name => self.fields.push((name.to_owned(), text)),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_time_of_day_and_says_nothing_twice() {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .event_format(Lines { now_ms: || 45_296_000 })
            .with_ansi(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info_span!("task", task = "ingest").in_scope(|| {
                tracing::info!(channel = %"tickets", records = 7, "`tickets` is synced");
                tracing::warn!(error = %"disk\u{1b}[2J", "tried again");
            });
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "12:34:56 info `tickets` is synced (records: 7)\n12:34:56 warning tried again (error: disk [2J)\n"
        );
    }
}

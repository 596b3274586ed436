//! What happened, as a digest (two runs of one seed must have the same) and, where asked for, as text.

use sha2::{Digest as _, Sha256};

/// Writes down what happens.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    digest: Sha256,
    kept: Option<Vec<String>>,
}

/// Lines that are kept are cut here.
const LINE_MAX: usize = 4000;

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self { digest: Sha256::new(), kept: keep.then(Vec::new) }
    }

    pub(crate) fn note(&mut self, now: u64, what: impl FnOnce() -> String) {
        let line = format!("{now:>7} {}", what());
        self.digest.update(&line);
        self.digest.update(b"\n");
        if let Some(kept) = &mut self.kept {
            kept.push(line.chars().take(LINE_MAX).collect());
        }
    }

    pub(crate) fn line(&mut self, now: u64, way: &str, device: usize, line: &str) {
        self.note(now, || format!("{way:<7} {device} {line}"));
    }

    pub(crate) fn digest(&self) -> String {
        self.digest.clone().finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.kept.unwrap_or_default()
    }
}

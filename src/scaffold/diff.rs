//! A unified diff of two texts, for people and for `patch`.

use similar::TextDiff;

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// The difference of two versions of a file; empty where there is none.
pub(super) fn unified(name: &str, before: &str, after: &str) -> String {
    let source = if before.is_empty() { "/dev/null" } else { name };
    TextDiff::from_lines(before, after).unified_diff().context_radius(CONTEXT).header(source, name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_and_their_neighbours_are_shown() {
        let diff = unified("f", "a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nX\nf\n");
        assert_eq!(diff, "--- f\n+++ f\n@@ -2,5 +2,5 @@\n b\n c\n d\n-e\n+X\n f\n");
        assert_eq!(unified("f", "", "a\n"), "--- /dev/null\n+++ f\n@@ -0,0 +1 @@\n+a\n");
    }
}

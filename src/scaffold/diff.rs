//! A small unified diff of two texts, for people.

use std::fmt::Write as _;

/// Lines of context around a change.
const CONTEXT: usize = 2;

/// Above this many pairs of lines the texts are shown whole instead of compared.
const PAIRS_MAX: usize = 4_000_000;

/// One line of the comparison: its mark and its text.
type Marked<'t> = (char, &'t str);

/// The difference of two versions of a file.
pub(super) fn unified(name: &str, before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let marked = compare(&old, &new);
    let near = |n: usize| {
        let around = n.saturating_sub(CONTEXT)..(n + CONTEXT + 1).min(marked.len());
        marked[around].iter().any(|(mark, _)| *mark != ' ')
    };
    let source = if before.is_empty() { "/dev/null" } else { name };
    let mut out = format!("--- {source}\n+++ {name}\n");
    let mut skipped = true;
    for (n, (mark, line)) in marked.iter().enumerate() {
        if !near(n) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            let old_line = 1 + marked[..n].iter().filter(|(mark, _)| *mark != '+').count();
            let new_line = 1 + marked[..n].iter().filter(|(mark, _)| *mark != '-').count();
            writeln!(out, "@@ -{old_line} +{new_line} @@").expect("writing to a String never fails");
        }
        writeln!(out, "{mark}{line}").expect("writing to a String never fails");
    }
    out
}

/// Longest common subsequence by the textbook table; files of a project are small.
fn compare<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Marked<'t>> {
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        return old.iter().map(|line| ('-', *line)).chain(new.iter().map(|line| ('+', *line))).collect();
    }
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut marked) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            marked.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            marked.push(('-', old[i]));
            i += 1;
        } else {
            marked.push(('+', new[j]));
            j += 1;
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_and_their_neighbours_are_shown() {
        let diff = unified("f", "a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nX\nf\n");
        assert_eq!(diff, "--- f\n+++ f\n@@ -3 +3 @@\n c\n d\n-e\n+X\n f\n");
        assert_eq!(unified("f", "", "a\n"), "--- /dev/null\n+++ f\n@@ -1 +1 @@\n+a\n");
    }
}

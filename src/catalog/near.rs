//! "Did you mean": the known word nearest to an unknown one.

/// The nearest of `known`, if it is near enough to be a slip of the fingers.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|one| (distance(&folded, &one.to_lowercase()), one))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, one)| one)
}

/// The sentence, followed by all that is known where nothing is near and the list is short.
pub fn hint<'k>(word: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<String> {
    if let Some(one) = nearest(word, known.clone()) {
        return Some(format!("did you mean `{one}`?"));
    }
    let all: Vec<&str> = known.into_iter().collect();
    (1..=20).contains(&all.len()).then(|| format!("known here: {}", all.join(", ")))
}

/// Edit distance in which two swapped neighbours count as one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["required", "read_only", "max_length", "type", "to"];
        assert_eq!(nearest("requierd", known), Some("required"));
        assert_eq!(nearest("Type", known), Some("type"));
        assert_eq!(nearest("readonly", known), Some("read_only"));
        assert_eq!(nearest("colour", known), None);
    }
}

//! What was meant: the nearest of the words that would have been right.

/// The candidate that `given` is a slip of, if there is one.
pub(crate) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    candidates
        .into_iter()
        .map(|one| (strsim::damerau_levenshtein(&lower, &one.to_lowercase()), one))
        .filter(|(distance, one)| *distance <= (one.chars().count().max(lower.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, one)| one)
}

/// `did you mean …?`, or the whole list where nothing is near.
pub(crate) fn suggestion<'a>(
    given: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(near) = nearest(given, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all: Vec<_> = candidates.into_iter().map(|one| format!("`{one}`")).collect();
    (!all.is_empty()).then(|| format!("{what}: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["replicas", "restart", "ready", "run"];
        assert_eq!(nearest("replica", keys), Some("replicas"));
        assert_eq!(nearest("Ready", keys), Some("ready"));
        assert_eq!(nearest("raedy", keys), Some("ready"));
        assert_eq!(nearest("rnu", keys), Some("run"));
        assert_eq!(nearest("image", keys), None);
    }
}

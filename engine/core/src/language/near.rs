//! What was probably meant: the nearest of the known names.

/// Words of other tools, and what they are called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("depends_on", "needs"),
    ("dependsOn", "needs"),
    ("depends", "needs"),
    ("dependencies", "needs"),
    ("after", "needs"),
    ("when", "if"),
    ("condition", "if"),
    ("script", "run"),
    ("command", "run"),
    ("cmd", "run"),
    ("shell_command", "run"),
    ("retries", "retry"),
    ("working-directory", "cwd"),
    ("working_directory", "cwd"),
    ("workdir", "cwd"),
    ("dir", "cwd"),
    ("concurrency", "max_parallel"),
    ("parallel", "max_parallel"),
    ("parallelism", "max_parallel"),
    ("on_error", "on_failure"),
    ("continue-on-error", "allow_failure"),
    ("continue_on_error", "allow_failure"),
    ("ignore_errors", "allow_failure"),
    ("parameters", "params"),
    ("variables", "vars"),
    ("name", "tree"),
    ("jobs", "steps"),
    ("tasks", "steps"),
    ("nodes", "steps"),
    ("rollback", "undo"),
    ("with_items", "foreach"),
    ("for_each", "foreach"),
    ("loop", "foreach"),
    ("timeout_minutes", "timeout"),
    ("timeout-minutes", "timeout"),
    ("environment_variables", "env"),
];

/// The nearest of the known names, if one is near enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let elsewhere = ELSEWHERE.iter().find(|(word, _)| *word == name).map(|(_, ours)| *ours);
    let limit = (name.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        if elsewhere == Some(candidate) {
            return Some(candidate);
        }
        if candidate.len().abs_diff(name.len()) > limit {
            continue;
        }
        let distance = if candidate.eq_ignore_ascii_case(name) { 0 } else { strsim::damerau_levenshtein(candidate, name) };
        if distance <= limit && distance < candidate.len() && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// "; did you mean `needs`?", or nothing.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The names as a sentence shows them, at most twelve.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    let more = names.len().saturating_sub(12);
    names.truncate(12);
    let text = names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

//! Differences between what is there and what is wanted, told without secrets.

use serde_json::json;
use trees_core::event::Json;
use trees_runner::kind::Change;
use trees_runner::mask::Masker;

/// How a field differs, if it does. Where a wanted text holds a secret neither side is told: nobody knows any more
/// what the secret was when the other side was made.
pub fn difference(field: &str, old: Json, new: Json, mask: &Masker) -> Option<Change> {
    if old == new {
        return None;
    }
    let is_secret = mask.mask_json(&new) != new;
    Some(if is_secret { Change::new(field, is_set(&old), json!("set otherwise")) } else { Change::new(field, old, new) })
}

fn is_set(old: &Json) -> Json {
    if old.is_null() { Json::Null } else { json!("set") }
}

#[cfg(test)]
mod tests {
    use super::difference;
    use serde_json::json;
    use trees_runner::kind::Change;
    use trees_runner::mask::Masker;

    #[test]
    fn what_a_wanted_secret_replaces_is_not_told() {
        let mask = Masker::new(["new-canary"]);
        for (old, new, expected) in [
            (json!("a"), json!("a"), None),
            (json!("new-canary"), json!("new-canary"), None),
            (json!("a"), json!("b"), Some((json!("a"), json!("b")))),
            (json!(["--token", "old-canary"]), json!(["--token", "new-canary"]), Some((json!("set"), json!("set otherwise")))),
            (json!(null), json!("x=new-canary"), Some((json!(null), json!("set otherwise")))),
        ] {
            let expected = expected.map(|(old, new)| Change::new("f", old, new));
            assert_eq!(difference("f", old, new, &mask), expected);
        }
    }
}

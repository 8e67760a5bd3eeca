//! A graph of twelve steps with a fork, a join and two ends.

/// The needs of each step, in an order that fits them.
pub const NEEDS: [(&str, &[&str]); 12] = [
    ("a", &[]),
    ("b", &["a"]),
    ("c", &["a"]),
    ("d", &["b", "c"]),
    ("e", &["d"]),
    ("f", &["d"]),
    ("g", &["e", "f"]),
    ("h", &["c"]),
    ("i", &["h", "g"]),
    ("j", &["i"]),
    ("k", &["i"]),
    ("l", &["j", "k"]),
];

//! The filters, functions and tests an expression may use, with what each takes: the checker reads
//! this list, the documentation prints it, and a test holds it against Tera itself.

/// A filter, function or test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// As written.
    pub name: &'static str,
    /// Its arguments, in the order a reader expects.
    pub arguments: &'static [Argument],
    /// What it does, one line.
    pub about: &'static str,
}

/// A keyword argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// As written before `=`.
    pub name: &'static str,
    /// It must be given.
    pub required: bool,
}

const fn must(name: &'static str) -> Argument {
    Argument { name, required: true }
}

const fn may(name: &'static str) -> Argument {
    Argument { name, required: false }
}

const fn entry(name: &'static str, arguments: &'static [Argument], about: &'static str) -> Entry {
    Entry { name, arguments, about }
}

/// The filters, sorted by name.
pub fn filters() -> &'static [Entry] {
    FILTERS
}

/// The functions, sorted by name.
pub fn functions() -> &'static [Entry] {
    FUNCTIONS
}

/// The tests (`x is …`), sorted by name.
pub fn tests() -> &'static [Entry] {
    TESTS
}

const FILTERS: &[Entry] = &[
    entry("abs", &[], "a number without its sign"),
    entry("capitalize", &[], "the first letter large, the others small"),
    entry(
        "default",
        &[must("value"), may("boolean")],
        "another value where this one is not defined; with boolean=true also where it is false or empty",
    ),
    entry("escape", &[], "HTML characters escaped"),
    entry("escape_html", &[], "HTML characters escaped"),
    entry("escape_xml", &[], "XML characters escaped"),
    entry("first", &[], "the first of a list"),
    entry("float", &[], "a text or number as a number with a point"),
    entry("get", &[must("key"), may("default")], "one value of a map"),
    entry("group_by", &[must("attribute")], "a map from a field's value to the items that have it"),
    entry("indent", &[may("width"), may("indentation"), may("first"), may("blank")], "each line but the first moved right"),
    entry("int", &[may("base")], "a text or number as a whole number"),
    entry("join", &[may("sep")], "the items of a list in one text"),
    entry("keys", &[], "the keys of a map, as a list"),
    entry("last", &[], "the last of a list"),
    entry("length", &[], "the number of items, keys or characters"),
    entry("lower", &[], "all letters small"),
    entry("newlines_to_br", &[], "line ends as <br>"),
    entry("nth", &[must("n")], "one item of a list, counted from 0"),
    entry("pairs", &[], "the keys and values of a map, as a list of lists"),
    entry("pluralize", &[may("singular"), may("plural")], "a suffix that depends on whether the number is 1"),
    entry("replace", &[must("from"), must("to")], "each occurrence of a text replaced"),
    entry("reverse", &[], "a list or text from its end"),
    entry("round", &[may("method"), may("precision")], "a number rounded: common, ceil or floor"),
    entry("safe", &[], "no effect here: nothing is escaped"),
    entry("sort", &[may("attribute")], "a list in ascending order"),
    entry("split", &[must("pat")], "a text cut at each occurrence of another"),
    entry("str", &[], "any value as text"),
    entry("title", &[], "the first letter of each word large"),
    entry("trim", &[may("pat")], "without white space (or `pat`) at both ends"),
    entry("trim_end", &[may("pat")], "without white space (or `pat`) at the end"),
    entry("trim_start", &[may("pat")], "without white space (or `pat`) at the start"),
    entry("truncate", &[must("length"), may("end")], "at most so many characters, then `end` (…)"),
    entry("unique", &[], "a list without repeated items"),
    entry("upper", &[], "all letters large"),
    entry("values", &[], "the values of a map, as a list"),
    entry("wordcount", &[], "the number of words"),
];

const FUNCTIONS: &[Entry] = &[
    entry("cancelled", &[], "whether a direct need was cancelled (in `finally`: the run)"),
    entry("failed", &[], "whether a direct need failed (in `finally`: the run)"),
    entry("range", &[may("start"), must("end"), may("step_by")], "the whole numbers from start (0) up to, without, end"),
    entry("throw", &[must("message")], "ends the evaluation with an error"),
];

const TESTS: &[Entry] = &[
    entry("array", &[], "it is a list"),
    entry("bool", &[], "it is true or false"),
    entry("containing", &[must("pat")], "a text, list or map has it inside"),
    entry("defined", &[], "it exists"),
    entry("divisible_by", &[must("divisor")], "a number divides without remainder"),
    entry("ending_with", &[must("pat")], "a text ends with it"),
    entry("even", &[], "a number is even"),
    entry("float", &[], "it is a number with a point"),
    entry("integer", &[], "it is a whole number"),
    entry("iterable", &[], "it is a list or map"),
    entry("map", &[], "it is a map"),
    entry("none", &[], "it is null"),
    entry("number", &[], "it is a number"),
    entry("odd", &[], "a number is odd"),
    entry("starting_with", &[must("pat")], "a text begins with it"),
    entry("string", &[], "it is a text"),
    entry("undefined", &[], "it does not exist"),
];

/// The names that stand in scope somewhere in a tree file; a fan-out's `as` adds its own.
pub fn scope_names() -> &'static [&'static str] {
    &["params", "environment", "vars", "env", "secrets", "run", "tree", "project", "steps", "step", "failure", "needs", "item", "matrix"]
}

/// The nearest of `known`, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |k: &&str| strsim::damerau_levenshtein(word, k);
    let meant =
        |k: &&str| distance(k) <= (word.len().max(k.len()) / 3).max(1) || word.len() > 2 && (k.starts_with(word) || word.starts_with(*k));
    known.filter(meant).min_by_key(distance)
}

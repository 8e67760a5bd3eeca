//! Files that were built to hurt: bombs, depths, crowds, other encodings.

use super::{Case, judge};
use std::fmt::Write as _;

const TAIL: &str = "steps: { a: { run: \":\" } }\n";

#[test]
fn bombs_depths_and_encodings() {
    let cases: Vec<Case> = [bombs(), depths(), long(), encodings()].into_iter().flatten().collect();
    let (wrong, sound) = judge("built", &cases);
    println!("malformed, built to hurt: {} files: {wrong} exit 2 with a place, {sound} sound as expected, 0 else", cases.len());
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

fn bombs() -> Vec<Case> {
    let nine = |one: &str| [one; 9].join(", ");
    let mut laughs = String::from("tree: t\nx-0: &a0 [lol, lol, lol]\n");
    let mut maps = String::from("tree: t\nx-0: &a0 { k: v }\n");
    let mut merges = String::from("tree: t\nx-0: &a0 { k: v }\n");
    for n in 1..12 {
        let _ = writeln!(laughs, "x-{n}: &a{n} [{}]", nine(&format!("*a{}", n - 1)));
        let keys: Vec<String> = (0..9).map(|k| format!("k{k}: *a{}", n - 1)).collect();
        let _ = writeln!(maps, "x-{n}: &a{n} {{ {} }}", keys.join(", "));
        let _ = writeln!(merges, "x-{n}: &a{n} {{ <<: [{}] }}", nine(&format!("*a{}", n - 1)));
    }
    let wide = format!("tree: t\nx-a: &a [{}]\nx-b: [{}]\n{TAIL}", "x, ".repeat(10_000), "*a, ".repeat(10_000));
    let text = format!("tree: t\nx-a: &a \"{}\"\nx-b: [{}]\n{TAIL}", "x".repeat(100_000), "*a, ".repeat(100_000));
    let anchors = |tail: &str| format!("tree: t\nx-a:\n{}{tail}", many(100_000, |n| format!("  - &a{n} x\n")));
    let chain = format!("tree: t\nx-0: &a0 x\n{}{TAIL}", many(5_000, |n| format!("x-{}: &a{} [*a{n}]\n", n + 1, n + 1)));
    vec![
        Case::wrong("a billion laughs", laughs + TAIL),
        Case::wrong("a billion laughs in mappings", maps + TAIL),
        Case::wrong("a billion merges", merges + TAIL),
        Case::wrong("a wide list ten thousand times", wide),
        // The text stands once; a reference to a text is as large as one that is no reference.
        Case::either("a long text a hundred thousand times", text),
        Case::sound("100,000 anchors", anchors(TAIL)),
        Case::wrong("100,000 anchors and one alias without", anchors("x-b: *none\n") + TAIL),
        Case::wrong("100,000 aliases without anchors", format!("tree: t\nx-a: [{}]\n{TAIL}", "*a, ".repeat(100_000))),
        Case::wrong("a chain of aliases deeper than any nesting", chain),
        Case::wrong("an alias in its own value", format!("tree: t\nx-a: &a [*a]\n{TAIL}")),
        Case::wrong("a merge with itself", format!("tree: t\nx-a: &a {{ <<: *a }}\n{TAIL}")),
        Case::either("one anchor 50,000 times", format!("tree: t\nx-a:\n{}{TAIL}", "  - &a x\n".repeat(50_000))),
        Case::wrong("an alias as the steps", "tree: t\nx-a: &a [1]\nsteps: *a\n"),
    ]
}

fn depths() -> Vec<Case> {
    let nested = |open: &str, close: &str, count: usize| format!("tree: t\nx-a: {}{}\n{TAIL}", open.repeat(count), close.repeat(count));
    let indented = |count: usize, word: &str| many(count, |n| format!("{}{word}\n", " ".repeat(n)));
    let step = |value: String| format!("tree: t\nsteps:\n  a: {{ run: \":\", if: '{value}' }}\n");
    let script = |value: String| format!("tree: t\nparams: {{ p: x }}\nsteps:\n  a:\n    run: |\n      {value}\n");
    let mut cases = vec![
        Case::wrong("200,000 brackets", "[".repeat(200_000)),
        Case::wrong("200,000 brackets, closed", nested("[", "]", 200_000)),
        Case::wrong("200,000 braces", nested("{a: ", "}", 200_000)),
        Case::wrong("100,000 of both in turn", nested("[{a: ", "}]", 100_000)),
        Case::wrong("closing brackets alone", "]".repeat(200_000)),
        Case::wrong("200,000 dashes", "- ".repeat(200_000)),
        Case::wrong("200,000 question marks", "? ".repeat(200_000)),
        Case::wrong("200,000 colons", ": ".repeat(200_000)),
        Case::wrong("200,000 `a: `", "a: ".repeat(200_000)),
        Case::wrong("block mappings, 2,000 deep", indented(2_000, "a:")),
        Case::wrong("block lists, 2,000 deep", indented(2_000, "-")),
        Case::wrong("65 levels", nested("[", "]", 65)),
        Case::sound("50 levels", nested("[", "]", 50)),
        Case::wrong("a bracket before a newline, 100,000 times", "[\n".repeat(100_000)),
        Case::wrong("quotes without end", "\"".repeat(200_001)),
        Case::wrong("exclamation marks", "!".repeat(200_000)),
        Case::wrong("ampersands", "&".repeat(200_000)),
        Case::wrong("an expression of 200,000 parentheses", step("(".repeat(200_000))),
        Case::wrong("an expression of 50,000 parentheses, closed", step(format!("{}1{}", "(".repeat(50_000), ")".repeat(50_000)))),
        Case::wrong("an expression of 200,000 `not`", step("not ".repeat(200_000) + "true")),
        Case::wrong("an expression of 200,000 minus signs", step("-".repeat(200_000) + "1")),
        Case::either("an expression of 20,000 sums", step("1 + ".repeat(20_000) + "1")),
        Case::either("an expression of 20,000 filters", step(format!("'x'{}", " | upper".repeat(20_000)))),
        Case::wrong("an expression of 50,000 subscripts", step(format!("params{}", "[0]".repeat(50_000)))),
    ];
    for open in
        ["$(", "\"$(", "`", "${a:-", "( ", "$((", "{ ", "if ", "<(", "[[ ", "x=(", "case a in a) ", "eval ", "sudo ", "cat <<E\n      "]
    {
        cases.push(Case::either(format!("a script of 20,000 `{open}`"), script(format!("{}{{{{ params.p }}}}", open.repeat(20_000)))));
    }
    cases
}

fn long() -> Vec<Case> {
    let steps = |one: &dyn Fn(usize) -> String, count| format!("tree: t\nsteps:\n{}", many(count, one));
    let huge = format!("tree: t\n# {}\n{TAIL}", "x".repeat(17 << 20));
    vec![
        Case::wrong("a file of 17 MiB", huge),
        Case::wrong("16 MiB of NUL", vec![0; 16 << 20]),
        Case::wrong("4 MiB of newlines", "\n".repeat(4 << 20)),
        Case::wrong("4 MiB of one word", "x".repeat(4 << 20)),
        Case::wrong("4 MiB of one comment", format!("#{}", "x".repeat(4 << 20))),
        Case::wrong("a key of 1 MiB", format!("{}: 1\n{TAIL}", "k".repeat(1 << 20))),
        Case::wrong("an id of 1 MiB", format!("tree: t\nsteps: {{ {}: {{ run: x }} }}\n", "k".repeat(1 << 20))),
        Case::wrong("a circle of 50,000 steps", steps(&|n| format!("  s{n}: {{ run: x, needs: s{} }}\n", (n + 1) % 50_000), 50_000)),
        Case::wrong("100,001 steps", steps(&|n| format!("  s{n}: {{ run: x }}\n"), 100_001)),
        Case::wrong("a circle of 20,000 vars", {
            let vars = many(20_000, |n| format!("  v{n}: \"{{{{ vars.v{} }}}}\"\n", (n + 1) % 20_000));
            format!("tree: t\nvars:\n{vars}{TAIL}")
        }),
        Case::wrong("400 steps that all need one another", {
            let all: Vec<String> = (0..400).map(|n| format!("s{n}")).collect();
            steps(
                &|n| {
                    format!(
                        "  s{n}: {{ run: x, needs: [{}] }}\n",
                        all[..n].iter().chain(&all[n + 1..]).cloned().collect::<Vec<_>>().join(", ")
                    )
                },
                400,
            )
        }),
        Case::wrong("a matrix of a billion", {
            let axis = |name: &str| format!("{name}: [{}]", many(1_000, |n| format!("{n}, ")));
            format!("tree: t\nsteps: {{ a: {{ matrix: {{ {}, {}, {} }}, run: x, nope: 1 }} }}\n", axis("x"), axis("y"), axis("z"))
        }),
        Case::wrong("a duration of a thousand digits", format!("tree: t\ndeadline: {}h\n{TAIL}", "9".repeat(1_000))),
        Case::wrong("a number of a million digits", format!("tree: t\nmax_parallel: {}\n{TAIL}", "9".repeat(1_000_000))),
        Case::wrong(
            "a pattern that explodes",
            format!("tree: t\nparams: {{ p: {{ type: string, pattern: '{}' }} }}\n{TAIL}", "(a{1000}){1000}".repeat(9)),
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let good = format!("tree: t\n{TAIL}");
    let wide = |swap: bool, mark: bool| -> Vec<u8> {
        let text = if mark { format!("\u{feff}{good}") } else { good.clone() };
        text.encode_utf16().flat_map(|unit| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let quad = |text: &str| -> Vec<u8> { text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect() };
    vec![
        Case::sound("UTF-8 with BOM", format!("\u{feff}{good}")),
        Case::either("two BOMs", format!("\u{feff}\u{feff}{good}")),
        Case::either("a BOM in the middle", good.replace("steps", "\u{feff}steps")),
        Case::wrong("UTF-16LE", wide(false, true)),
        Case::wrong("UTF-16BE", wide(true, true)),
        Case::wrong("UTF-16LE without BOM", wide(false, false)),
        Case::wrong("UTF-16BE without BOM", wide(true, false)),
        Case::wrong("UTF-32LE", quad(&format!("\u{feff}{good}"))),
        Case::wrong("Latin-1", [&b"tree: t\ndescription: caf\xe9\n"[..], TAIL.as_bytes()].concat()),
        Case::wrong("overlong UTF-8", [&b"tree: t\ndescription: \xc0\xaf\n"[..], TAIL.as_bytes()].concat()),
        Case::wrong("a surrogate in UTF-8", [&b"tree: t\ndescription: \xed\xa0\x80\n"[..], TAIL.as_bytes()].concat()),
        Case::wrong("half a character at the end", [good.as_bytes(), b"# \xe2\x82"].concat()),
        Case::wrong("a NUL in a text", good.replace("\":\"", "\"a\0b\"")),
        Case::wrong("a NUL in a key", good.replace("run", "r\0un")),
        Case::wrong("a NUL at the end", good.clone() + "\0"),
        Case::wrong("an escaped NUL in a script", good.replace("\":\"", "\"a\\0b\"")),
        Case::sound("CRLF", good.replace('\n', "\r\n")),
        Case::wrong("CR alone at the ends", good.replace('\n', "\r")),
        Case::wrong("CRLF with a mistake", "tree: t\r\nsteps:\r\n  a: { rnu: x }\r\n"),
        Case::either("NEL as line ends", good.replace('\n', "\u{85}")),
        Case::either("line separators as line ends", good.replace('\n', "\u{2028}")),
        Case::wrong("a Cyrillic id", "tree: t\nsteps: { \u{430}: { run: x } }\n"),
        Case::wrong("a need of a Cyrillic look-alike", "tree: t\nsteps: { a: { run: x }, b: { run: x, needs: \u{430} } }\n"),
        Case::wrong("a Cyrillic `\u{455}teps`", "tree: t\n\u{455}teps: { a: { run: x } }\n"),
        Case::wrong("a fullwidth id", "tree: t\nsteps: { \u{ff41}: { run: x } }\n"),
        Case::wrong("a zero-width space in an id", "tree: t\nsteps: { a\u{200b}: { run: x } }\n"),
        Case::wrong("a no-break space before a key", "tree: t\nsteps:\n\u{a0}\u{a0}a: { run: x }\n"),
        Case::wrong("a right-to-left override in an id", "tree: t\nsteps: { \"a\u{202e}b\": { run: x } }\n"),
        Case::wrong("an escape sequence as an id", "tree: t\nsteps: { \"\\e[31ma\": { run: x } }\n"),
        Case::wrong("only a BOM", "\u{feff}"),
        Case::wrong("nothing", ""),
        Case::wrong("a gzip header", b"\x1f\x8b\x08\0\0\0\0\0".to_vec()),
        Case::wrong("an ELF header", b"\x7fELF\x02\x01\x01\0\0\0\0".to_vec()),
        Case::wrong("all bytes", (0..=255).collect::<Vec<u8>>()),
    ]
}

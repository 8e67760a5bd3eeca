//! Files with very many mistakes: all of them are said, at a price that grows as the file does.

use super::{Case, judge};
use crate::place::Place;

const COUNT: usize = 10_000;

#[test]
fn ten_thousand_mistakes_are_all_said() {
    let many = |one: &dyn Fn(usize) -> String| (0..COUNT).map(one).collect::<String>();
    let steps = |one: &dyn Fn(usize) -> String| format!("tree: t\nsteps:\n{}", many(one));
    let texts = [
        ("unknown keys of steps", steps(&|n| format!("  s{n}: {{ run: x, nope: 1 }}\n"))),
        ("unknown keys of the file", format!("tree: t\n{}steps: {{ a: {{ run: x }} }}\n", many(&|n| format!("k{n}: 1\n")))),
        ("one step again and again", "tree: t\nsteps:\n".to_owned() + &"  s: { run: x }\n".repeat(COUNT + 1)),
        ("unknown needs", steps(&|n| format!("  s{n}: {{ run: x, needs: t{n} }}\n"))),
        ("unknown needs on one line", format!("tree: t\nsteps: {{ a: {{ run: x, needs: [{}] }} }}\n", many(&|n| format!("t{n}, ")))),
        ("steps that need themselves", steps(&|n| format!("  s{n}: {{ run: x, needs: s{n} }}\n"))),
        ("all on one line", format!("tree: t\nsteps: {{ {} }}\n", many(&|n| format!("s{n}: {{ run: x, nope: 1 }}, ")))),
        ("names in one script", format!("tree: t\nsteps:\n  a:\n    run: |\n{}", many(&|n| format!("      echo {{{{ params.p{n} }}}}\n")))),
        (
            "names on one line of a script",
            format!("tree: t\nsteps: {{ a: {{ run: '{}' }} }}\n", many(&|n| format!("echo {{{{ params.p{n} }}}};"))),
        ),
        (
            "names in one text",
            format!("tree: t\nvars: {{ v: \"{}\" }}\nsteps: {{ a: {{ run: x }} }}\n", many(&|n| format!("{{{{ params.p{n} }}}}"))),
        ),
    ];
    let cases: Vec<Case> = texts.iter().map(|(name, text)| Case::wrong(*name, text.as_str())).collect();
    judge("crowds", &cases);
    for (name, text) in &texts {
        let place = Place::with(text);
        let told = place.run(&["check", "tree.yaml"]).expect(2);
        let said = told.stderr.lines().filter(|line| line.starts_with("error[")).count();
        assert!(said >= COUNT && told.stderr.ends_with(&format!("{said} errors\n")), "{name}: {said} errors are said");
    }
    println!("malformed, crowds: {} files with {COUNT} mistakes each, all said", texts.len());
}

//! `.dockerignore`: which files of a context are not sent.
//!
//! A line is a pattern for the path from the context's top: `*` and `?` stop at `/`, `**` does not,
//! `[a-z]` is one of these; what is below a folder that matches is ignored with it. `!` takes back,
//! the last line that matches decides, and `#` begins a comment.

use globset::{GlobBuilder, GlobMatcher};
use std::path::Path;

/// The patterns of a file.
#[derive(Debug, Default)]
pub struct Ignored(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    glob: GlobMatcher,
    /// It takes back.
    kept: bool,
}

impl Ignored {
    /// Reads the patterns.
    ///
    /// # Errors
    /// When one is none; one sentence.
    pub fn read(text: &str) -> Result<Self, String> {
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.filter_map(|line| rule(line).transpose()).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a path below the context's top, or a folder that it is in, is ignored.
    pub fn ignores(&self, path: &Path) -> bool {
        let hit = |rule: &&Rule| path.ancestors().take_while(|part| !part.as_os_str().is_empty()).any(|part| rule.glob.is_match(part));
        self.0.iter().rev().find(hit).is_some_and(|rule| !rule.kept)
    }

    /// Whether nothing below an ignored folder can be taken back.
    pub fn is_final(&self) -> bool {
        self.0.iter().all(|rule| !rule.kept)
    }
}

fn rule(line: &str) -> Result<Option<Rule>, String> {
    let (kept, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return Ok(None);
    }
    // Braces are plain here.
    let pattern = parts.join("/").replace('{', "\\{").replace('}', "\\}");
    let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| Some(Rule { glob: glob.compile_matcher(), kept }))
        .map_err(|e| format!(".dockerignore: `{line}` is no pattern: {}", e.kind()))
}

#[cfg(test)]
mod tests {
    use super::Ignored;
    use std::path::Path;

    fn check(patterns: &str, ignored: &[&str], kept: &[&str]) {
        let rules = Ignored::read(patterns).unwrap();
        for (paths, expected) in [(ignored, true), (kept, false)] {
            for path in paths {
                assert_eq!(rules.ignores(Path::new(path)), expected, "{patterns:?}: {path}");
            }
        }
    }

    #[test]
    fn patterns_as_documented() {
        check("", &[], &["a"]);
        check("# a\n\n  b  \n", &["b", "b/c"], &["a", "x/b"]);
        check("*.md", &["a.md"], &["x/a.md", "a.mdx"]);
        check("**/*.md\n!README.md", &["a.md", "x/y/a.md", "x/README.md"], &["README.md"]);
        check("*/temp*", &["a/temp", "a/temp.txt", "a/tempx/b"], &["temp", "a/b/temp"]);
        check("temp?", &["tempa"], &["temp", "tempab"]);
        check("/target/\n", &["target", "target/debug/x"], &["a/target"]);
        check("a\n!a/b\na/b/c", &["a/x", "a/b/c/d"], &["a/b", "a/b/x"]);
        check("*\n!src\n!src/**", &["a", "b/c"], &["src", "src/x/y"]);
        check("[a-c].txt", &["b.txt"], &["d.txt"]);
        check("{a,b}", &["{a,b}"], &["a", "b"]);
        check("./x/./y", &["x/y"], &["x"]);
        check("**/node_modules", &["node_modules/x", "a/b/node_modules"], &["node_module"]);
        check(".", &[], &["a"]);
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        assert!(Ignored::read("[a").unwrap_err().starts_with(".dockerignore: `[a` is no pattern: "));
        assert!(Ignored::read("a").unwrap().is_final() && !Ignored::read("a\n!b").unwrap().is_final());
    }
}

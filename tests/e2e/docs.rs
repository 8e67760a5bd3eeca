//! The book, the README and the cookbooks are checked like code: every page is listed, every link
//! leads somewhere, every tree file passes the check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use trees_core::language::{self, Checked, Loader, Source, join};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"))
}

/// Names of files below a folder, relative to the repository, that end so; sorted.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(folder)];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            if path.is_dir() {
                todo.push(path);
            } else if name.ends_with(ending) {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

/// The names of the cookbooks.
fn cookbooks() -> Vec<String> {
    let folders = fs::read_dir(root().join("cookbooks")).unwrap().map(|e| e.unwrap());
    let mut names: Vec<String> = folders.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What people read.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    pages.extend(files("docs", ".md"));
    pages.extend(cookbooks().iter().map(|name| format!("cookbooks/{name}/README.md")));
    pages
}

/// A fenced block: what follows the backticks, its first line's number, its text.
struct Block {
    info: String,
    line: u32,
    text: String,
}

/// The blocks of a page, and its other lines with code spans blanked out.
fn split(page: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut prose) = (Vec::new(), Vec::new());
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        let indent = line.len() - line.trim_start().len();
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => open = Some((Block { info: info.trim().to_owned(), line: number + 1, text: String::new() }, indent)),
            (None, None) => prose.push(without_code(line)),
            (Some(_), Some("")) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), _) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a fenced block does not end");
    (blocks, prose)
}

fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(i, part)| if i % 2 == 0 { part.to_owned() } else { "·".repeat(part.len()) }).collect()
}

/// The targets of `[text](target)`.
fn links(page: &str) -> Vec<String> {
    let (_, prose) = split(page);
    let targets = prose.iter().flat_map(|line| line.split("](").skip(1));
    targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in page.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !fenced) else { continue };
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|n| format!("{anchor}-{n}")).find(|a| !anchors.contains(a));
        anchors.insert(if anchors.contains(&anchor) { again.unwrap() } else { anchor });
    }
    anchors
}

fn is_outside(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

#[test]
fn the_summary_lists_every_page() {
    let listed: BTreeSet<String> = links(&read("docs/SUMMARY.md")).iter().map(|target| join("docs/SUMMARY.md", target)).collect();
    let reference: BTreeSet<String> = listed
        .iter()
        .filter(|page| page.starts_with("docs/reference/"))
        .flat_map(|page| links(&read(page)).into_iter().map(|target| join(page, &target)).collect::<Vec<_>>())
        .collect();
    for page in files("docs", ".md").iter().filter(|page| *page != "docs/SUMMARY.md") {
        let generated = page.starts_with("docs/reference/") && reference.contains(page);
        assert!(listed.contains(page) || generated, "docs/SUMMARY.md does not list {page}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        for target in links(&read(&page)).iter().filter(|target| !is_outside(target)) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { page.clone() } else { join(&page, path) };
            let there = root().join(&file);
            if !there.exists() {
                wrong.push(format!("{page}: `{target}`: no such file"));
            } else if !anchor.is_empty() && !anchors(&read(&file)).contains(anchor) {
                wrong.push(format!("{page}: `{target}`: no such heading"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files by name, as the blocks of a page or the disk give them.
enum Files<'a> {
    Page(&'a BTreeMap<String, String>),
    Disk,
}

impl Loader for Files<'_> {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = join(from, path);
        let text = match self {
            Self::Page(blocks) => blocks.get(&name).cloned().ok_or_else(|| format!("no block of this page is named `{name}`"))?,
            Self::Disk => fs::read_to_string(root().join(&name)).map_err(|e| e.to_string())?,
        };
        Ok(Source { name, text })
    }
}

/// What is wrong with a tree, a line each; `before` is how many lines of the page come first.
fn wrong(checked: &Checked, page: &str, before: u32) -> Vec<String> {
    let one = |diagnostic: &trees_core::diagnostic::Diagnostic| {
        let line = diagnostic.span.map_or(0, |span| span.line + before);
        let help = diagnostic.help.as_deref().unwrap_or_default();
        format!("{page}:{line}: {}: {} ({help})", diagnostic.code, diagnostic.message)
    };
    checked.diagnostics.iter().map(one).collect()
}

#[test]
fn every_tree_of_the_book_passes_the_check() {
    let kinds = trees_steps::catalogue();
    let (mut seen, mut failures) = (0, Vec::new());
    for page in pages() {
        let (blocks, _) = split(&read(&page));
        let trees: Vec<&Block> = blocks.iter().filter(|block| block.info.starts_with("yaml tree")).collect();
        let name = |block: &Block| block.info.trim_start_matches("yaml tree").trim().to_owned();
        let named: BTreeMap<String, String> =
            trees.iter().map(|block| (name(block), block.text.clone())).filter(|(n, _)| !n.is_empty()).collect();
        for block in trees {
            seen += 1;
            let top = Source { name: if name(block).is_empty() { "tree.yaml".into() } else { name(block) }, text: block.text.clone() };
            let checked = language::check(top, &Files::Page(&named), &kinds);
            failures.extend(wrong(&checked, &page, block.line - 1));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(seen >= 20, "only {seen} blocks are marked as trees");
}

#[test]
fn every_cookbook_passes_the_check() {
    let kinds = trees_steps::catalogue();
    let trees = files("cookbooks", ".yaml");
    let is_tree = |name: &&String| Path::new(name).components().count() == 3 && !name.ends_with(".test.yaml");
    let trees: Vec<&String> = trees.iter().filter(is_tree).collect();
    for name in &trees {
        let checked = language::check(Source { name: (*name).clone(), text: read(name) }, &Files::Disk, &kinds);
        assert_eq!(wrong(&checked, name, 0), Vec::<String>::new());
    }
    for cookbook in cookbooks() {
        let name = format!("cookbooks/{cookbook}/{cookbook}.yaml");
        let checked = language::check(Source { name: name.clone(), text: read(&name) }, &Files::Disk, &kinds);
        let tree = checked.tree.unwrap();
        assert_eq!(tree.name, cookbook);
        let readme = read(&format!("cookbooks/{cookbook}/README.md"));
        for param in tree.params.keys() {
            assert!(readme.contains(&format!("`{param}`")), "cookbooks/{cookbook}/README.md does not name `{param}`");
        }
    }
}

#[test]
fn every_dependency_has_its_line() {
    let manifest = read("Cargo.toml");
    let (_, after) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let table = after.split("\n[").next().unwrap();
    let page = read("docs/DEPENDENCIES.md");
    let names = table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).filter(|name| !name.starts_with("trees-"));
    let missing: Vec<&str> = names.filter(|name| !page.contains(&format!("\n| {name} |"))).collect();
    assert!(missing.is_empty(), "docs/DEPENDENCIES.md has no line for {}", missing.join(", "));
}

#[test]
fn the_glossary_has_every_status() {
    use trees_core::event::{RunStatus as Run, StepStatus as Step};
    let page = read("docs/GLOSSARY.md");
    #[rustfmt::skip]
    let steps = [
        Step::Pending, Step::Ready, Step::Running, Step::RetryWait, Step::Waiting, Step::Succeeded, Step::Cached, Step::Skipped, Step::Blocked,
        Step::Failed, Step::TimedOut, Step::Cancelled, Step::Rejected, Step::Interrupted, Step::Undoing, Step::Undone, Step::UndoFailed,
    ];
    #[rustfmt::skip]
    let runs = [
        Run::Pending, Run::Running, Run::Waiting, Run::Paused, Run::Interrupted, Run::RollingBack, Run::Succeeded, Run::SucceededWithWarnings,
        Run::Failed, Run::Cancelled, Run::RolledBack, Run::RollbackStuck,
    ];
    for status in steps.iter().map(|s| s.as_str()).chain(runs.iter().map(|r| r.as_str())) {
        assert!(page.contains(&format!("`{status}`")), "docs/GLOSSARY.md does not explain `{status}`");
    }
}

#[test]
fn the_checks_of_this_file_can_fail() {
    assert_eq!(links("see [a](b.md#c) and `[x](y)`\n```\n[n](o)\n```\n[d](e)"), ["b.md#c", "e"]);
    assert_eq!(
        anchors("# Use it, now\n```\n# no\n```\n## Use it now"),
        BTreeSet::from(["use-it-now".to_owned(), "use-it-now-1".to_owned()])
    );
    let (blocks, _) = split("1. x\n   ```yaml tree\n   a: 1\n   ```\n");
    assert_eq!((blocks[0].info.as_str(), blocks[0].line, blocks[0].text.as_str()), ("yaml tree", 3, "a: 1\n"));
}

//! What runs the graphs, each by its own file in its own folder, every command `sh -c :`.

use super::floor;
use super::graph::Graph;
use super::measure::{Sample, measure};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TREES: &str = env!("CARGO_BIN_EXE_trees");

/// Where `install` puts what is in no distribution.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/bin");

/// One that runs graphs.
pub struct Tool {
    /// As it is called here.
    pub name: &'static str,
    /// The program that must be there; none: it always is.
    program: Option<&'static str>,
    /// Larger graphs take it too long.
    most: usize,
    /// It knows no needs.
    flat: bool,
    /// Writes its file.
    file: fn(&Graph, usize) -> (&'static str, String),
    /// Runs it.
    command: fn(&Path, usize) -> Command,
    /// What a run leaves that the next one would find.
    leaves: &'static [&'static str],
}

impl Tool {
    /// Whether it can be run here; says so if not.
    pub fn is_there(&self) -> bool {
        let there = self.program.is_none_or(|name| program(name).is_some());
        if !there {
            println!("{} is not there and left out (benches/peers/install gets what it can)", self.name);
        }
        there
    }

    /// Whether a graph is one for it.
    pub fn takes(&self, graph: &Graph) -> bool {
        graph.needs.len() <= self.most && (!self.flat || graph.needs.iter().all(Vec::is_empty))
    }

    /// Its folder with its file.
    pub fn prepare(&self, graph: &Graph, width: usize, folder: &Path) -> PathBuf {
        let home = folder.join(format!("{}-{}-{}-{width}", self.name, graph.shape, graph.needs.len()));
        fs::create_dir_all(&home).expect("a folder");
        let (name, text) = (self.file)(graph, width);
        fs::write(home.join(name), text).expect("a file");
        home
    }

    /// A run as if it were the first.
    pub fn measure(&self, home: &Path, width: usize) -> Sample {
        for left in self.leaves {
            let path = home.join(left);
            drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
        }
        measure((self.command)(home, width).current_dir(home))
    }
}

/// All that are known, the floor first, then `trees`.
pub fn all() -> Vec<Tool> {
    let tool = |name, file, command| Tool { name, program: None, most: usize::MAX, flat: false, file, command, leaves: &[] };
    let of = |name, file, command| Tool { program: Some(name), ..tool(name, file, command) };
    vec![
        tool("floor", by_lines, |_, width| {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args([floor::WORD, "graph", &width.to_string()]);
            command
        }),
        Tool {
            leaves: &["state"],
            ..tool("trees", tree, |_, _| {
                let mut command = Command::new(TREES);
                command.args(["run", "tree.yaml", "--format", "json", "--durability", "full", "--state", "state"]);
                command
            })
        },
        Tool { flat: true, ..of("xargs", names, |_, width| shell(&format!("xargs -P {width} -n 1 sh -c : < names"))) },
        of("make", makefile, |_, width| plain("make", &["-s", &format!("-j{width}")])),
        Tool { leaves: &[".ninja_log", ".ninja_deps"], ..of("ninja", ninja, |_, width| plain("ninja", &[&format!("-j{width}")])) },
        Tool {
            most: 1_000,
            leaves: &[".task"],
            ..Tool {
                program: Some("task"),
                ..tool("go-task", taskfile, |_, width| plain("task", &["-s", "-C", &width.to_string(), "all"]))
            }
        },
        Tool {
            most: 1_000,
            leaves: &["db"],
            ..of("doit", dodo, |_, width| plain("doit", &["run", "-n", &width.to_string(), "-P", "thread"]))
        },
        Tool {
            most: 100,
            leaves: &[".snakemake", "done"],
            ..of("snakemake", snakefile, |_, width| plain("snakemake", &["-q", "all", "--nolock", "-c", &width.to_string()]))
        },
        Tool {
            most: 100,
            leaves: &["home"],
            ..of("dagu", dag, |home, _| {
                let mut command = plain("dagu", &["start", "-q", "dag.yaml"]);
                command.env("DAGU_HOME", home.join("home")).env("DAGU_SKIP_EXAMPLES", "true");
                command
            })
        },
    ]
}

/// Where a program is: what was installed for this bench, else in the PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(INSTALLED)).chain(std::env::split_paths(&path).collect::<Vec<_>>());
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn plain(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(name).unwrap_or_else(|| name.into()));
    command.args(arguments);
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

/// Something for each node with its needs.
fn each(graph: &Graph, head: &str, one: impl Fn(usize, &[usize]) -> String) -> String {
    graph.needs.iter().enumerate().fold(head.to_owned(), |mut text, (node, needs)| {
        let _ = writeln!(text, "{}", one(node, needs));
        text
    })
}

fn list(needs: impl IntoIterator<Item = usize>, join: &str, name: impl Fn(usize) -> String) -> String {
    needs.into_iter().map(name).collect::<Vec<_>>().join(join)
}

fn step(node: usize) -> String {
    format!("s{node}")
}

fn by_lines(graph: &Graph, _width: usize) -> (&'static str, String) {
    ("graph", floor::lines(&graph.needs))
}

fn names(graph: &Graph, _width: usize) -> (&'static str, String) {
    ("names", each(graph, "", |node, _| step(node)))
}

fn tree(graph: &Graph, width: usize) -> (&'static str, String) {
    let head = format!("tree: bench\nmax_parallel: {width}\nsteps:\n");
    let one = |node: usize, needs: &[usize]| {
        let needs = if needs.is_empty() { String::new() } else { format!("needs: [{}], ", list(needs.iter().copied(), ", ", step)) };
        format!("  s{node}: {{ {needs}run: \":\" }}")
    };
    ("tree.yaml", each(graph, &head, one))
}

/// Of a plain `:` make starts nothing.
fn makefile(graph: &Graph, _width: usize) -> (&'static str, String) {
    let all = list(0..graph.needs.len(), " ", step);
    let head = format!(".PHONY: all {all}\nall: {all}\n");
    ("Makefile", each(graph, &head, |node, needs| format!("s{node}: {}\n\t@sh -c ': '", list(needs.iter().copied(), " ", step))))
}

fn ninja(graph: &Graph, _width: usize) -> (&'static str, String) {
    let one = |node: usize, needs: &[usize]| format!("build s{node}: r {}", list(needs.iter().copied(), " ", step));
    ("build.ninja", each(graph, "rule r\n  command = :\n", one))
}

fn taskfile(graph: &Graph, _width: usize) -> (&'static str, String) {
    let head = format!("version: '3'\ntasks:\n  all: {{ deps: [{}] }}\n", list(0..graph.needs.len(), ", ", step));
    let one = |node: usize, needs: &[usize]| {
        format!("  s{node}: {{ run: once, deps: [{}], cmds: ['sh -c :'] }}", list(needs.iter().copied(), ", ", step))
    };
    ("Taskfile.yml", each(graph, &head, one))
}

fn dodo(graph: &Graph, _width: usize) -> (&'static str, String) {
    let head = "DOIT_CONFIG = {'dep_file': 'db', 'backend': 'json', 'verbosity': 0}\ndef one(name, needs):\n    return {'basename': name, 'actions': [':'], 'task_dep': needs}\ndef task_all():\n";
    let one =
        |node: usize, needs: &[usize]| format!("    yield one('s{node}', [{}])", list(needs.iter().copied(), ", ", |n| format!("'s{n}'")));
    ("dodo.py", each(graph, head, one))
}

fn snakefile(graph: &Graph, _width: usize) -> (&'static str, String) {
    let file = |node: usize| format!("'done/s{node}'");
    let head = format!("rule all:\n    input: {}\n", list(0..graph.needs.len(), ", ", file));
    let one = |node: usize, needs: &[usize]| {
        let input = if needs.is_empty() { String::new() } else { format!("    input: {}\n", list(needs.iter().copied(), ", ", file)) };
        format!("rule s{node}:\n{input}    output: touch({})\n    shell: ':'", file(node))
    };
    ("Snakefile", each(graph, &head, one))
}

fn dag(graph: &Graph, width: usize) -> (&'static str, String) {
    let head = format!("type: graph\nmaxActiveSteps: {width}\nsteps:\n");
    let one = |node: usize, needs: &[usize]| {
        let needs = if needs.is_empty() { String::new() } else { format!(", depends: [{}]", list(needs.iter().copied(), ", ", step)) };
        format!("  - {{ name: s{node}, command: 'sh -c :'{needs} }}")
    };
    ("dag.yaml", each(graph, &head, one))
}

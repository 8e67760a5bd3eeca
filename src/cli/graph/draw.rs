//! A graph as nodes and edges with sub-trees in place, and its text forms.

use crate::report::tone::Tone;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use trees_core::event::StepStatus;
use trees_core::tree::{Action, Need, NeedKind, Step, Tree};

/// Nodes and edges.
pub struct Drawing {
    /// The tree's name.
    pub name: String,
    /// Each after all that it needs.
    pub nodes: Vec<Node>,
    /// From a need to what needs it.
    pub edges: Vec<Edge>,
    /// Sub-trees and `finally`, each after what it is in.
    pub groups: Vec<Group>,
    /// What comes after what without needing it: `finally`. Not drawn.
    pub after: Vec<Edge>,
    /// The run: its number and how it stands.
    pub run: Option<String>,
}

/// Nodes that belong together.
pub struct Group {
    /// What it is called.
    pub title: String,
    /// The group it is in.
    pub parent: Option<usize>,
    /// Steps of a `finally`.
    pub finally: bool,
    /// A sub-tree over many items.
    pub fans_out: bool,
}

/// The statuses of a run.
#[derive(Default)]
pub struct Statuses {
    /// By path.
    own: HashMap<String, StepStatus>,
    /// Of instances, by the path without keys.
    instances: HashMap<String, Vec<StepStatus>>,
}

impl Statuses {
    /// Notes how a step or instance stands.
    pub fn insert(&mut self, path: &str, status: StepStatus) {
        let plain = without_keys(path);
        if plain == path {
            self.own.insert(plain, status);
        } else {
            self.instances.entry(plain).or_default().push(status);
        }
    }

    /// How a step stands: of many instances what matters most.
    fn of(&self, path: &str) -> Option<StepStatus> {
        if self.own.is_empty() && self.instances.is_empty() {
            return None;
        }
        let worst = || self.instances.get(path)?.iter().copied().max_by_key(|status| weight(*status));
        Some(self.own.get(path).copied().or_else(worst).unwrap_or(StepStatus::Pending))
    }

    /// How many instances are done, and how many there are.
    fn count(&self, path: &str) -> Option<(usize, usize)> {
        let all = self.instances.get(path)?;
        Some((all.iter().filter(|status| status.is_success()).count(), all.len()))
    }
}

/// A path without the keys of instances.
fn without_keys(path: &str) -> String {
    let segments = path.split('/').map(|segment| segment.split('[').next().unwrap_or(segment));
    segments.collect::<Vec<_>>().join("/")
}

/// What is to be seen first among instances.
fn weight(status: StepStatus) -> u8 {
    match status {
        StepStatus::Failed | StepStatus::TimedOut | StepStatus::Rejected | StepStatus::UndoFailed => 6,
        StepStatus::Interrupted => 5,
        StepStatus::Running | StepStatus::RetryWait | StepStatus::Waiting | StepStatus::Undoing => 4,
        StepStatus::Blocked | StepStatus::Cancelled => 3,
        StepStatus::Pending | StepStatus::Ready => 2,
        StepStatus::Succeeded | StepStatus::Cached | StepStatus::Undone => 1,
        StepStatus::Skipped => 0,
    }
}

/// A leaf.
pub struct Node {
    /// Its path without instances.
    pub path: String,
    /// Of a run.
    pub status: Option<StepStatus>,
    /// It stands in `finally`.
    pub finally: bool,
    /// The line of its file.
    pub line: u32,
    /// The innermost group it is in.
    pub group: Option<usize>,
    /// Of a fan-out of a run: instances that are done, and all.
    pub instances: Option<(usize, usize)>,
    /// What marks it: `×` a fan-out, `?` an approval.
    pub mark: &'static str,
}

/// A need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Index of the node that comes first.
    pub from: usize,
    /// Index of the node that needs it.
    pub to: usize,
    /// It follows from a reference in an expression.
    pub inferred: bool,
}

/// The nodes by which a step is reached and left: of a sub-tree, its first and its last ones.
struct Ends {
    first: Vec<usize>,
    last: Vec<usize>,
}

/// What a scope's steps are drawn in.
#[derive(Clone, Copy)]
struct Within<'a> {
    /// What stands before the ids.
    prefix: &'a str,
    finally: bool,
    group: Option<usize>,
}

impl Drawing {
    /// Of a tree, with the statuses of a run's paths.
    pub fn of(tree: &Tree, statuses: &Statuses) -> Self {
        let mut drawing =
            Self { name: tree.name.clone(), nodes: Vec::new(), edges: Vec::new(), groups: Vec::new(), after: Vec::new(), run: None };
        drawing.add(tree, Within { prefix: "", finally: false, group: None }, statuses);
        drawing.edges.sort_unstable();
        drawing.edges.dedup_by_key(|e| (e.from, e.to));
        drawing
    }

    fn add(&mut self, tree: &Tree, within: Within<'_>, statuses: &Statuses) -> Ends {
        let mut ends: HashMap<u32, Ends> = HashMap::new();
        let mut needed = vec![false; tree.steps.len()];
        let mut last_group = None;
        for index in &tree.order {
            let step = &tree.steps[*index as usize];
            let path = format!("{}{}", within.prefix, step.id);
            let group = if step.finally { Some(*last_group.get_or_insert_with(|| self.finally(within.group))) } else { within.group };
            let finally = within.finally || step.finally;
            let own = match &step.action {
                Action::Tree { tree, .. } => {
                    let group = self.sub_tree(step, group);
                    self.add(tree, Within { prefix: &format!("{path}/"), finally, group: Some(group) }, statuses)
                }
                Action::Run(_) | Action::Uses { .. } | Action::Approve { .. } => {
                    self.leaf(step, path, Within { finally, group, ..within }, statuses)
                }
            };
            for need in &step.needs {
                needed[need.step as usize] = true;
                self.join(ends.get(&need.step), &own, need);
            }
            ends.insert(*index, own);
        }
        let pick = |keep: &dyn Fn(usize) -> bool, side: fn(&Ends) -> &Vec<usize>| -> Vec<usize> {
            let kept = tree.order.iter().filter(|i| keep(**i as usize));
            kept.filter_map(|i| ends.get(i)).flat_map(|e| side(e).iter().copied()).collect()
        };
        let main = |i: usize| !tree.steps[i].finally;
        let closing = pick(&|i| !main(i) && tree.steps[i].needs.is_empty(), |e| &e.first);
        let before = pick(&|i| main(i) && !needed[i], |e| &e.last);
        self.follow(&before, &closing);
        let first = pick(&|i| main(i) && tree.steps[i].needs.is_empty(), |e| &e.first);
        Ends { first: if first.is_empty() { closing } else { first }, last: pick(&|i| !needed[i], |e| &e.last) }
    }

    /// What is in `finally` stands behind the last layer.
    fn follow(&mut self, before: &[usize], closing: &[usize]) {
        let layers = self.layers();
        if let Some(deepest) = before.iter().copied().max_by_key(|i| layers[*i]) {
            self.after.extend(closing.iter().map(|to| Edge { from: deepest, to: *to, inferred: false }));
        }
    }

    fn finally(&mut self, parent: Option<usize>) -> usize {
        self.groups.push(Group { title: "finally".into(), parent, finally: true, fans_out: false });
        self.groups.len() - 1
    }

    fn sub_tree(&mut self, step: &Step, parent: Option<usize>) -> usize {
        let fans_out = step.fan_out.is_some();
        let title = if fans_out { format!("{} ×", step.id) } else { step.id.clone() };
        self.groups.push(Group { title, parent, finally: false, fans_out });
        self.groups.len() - 1
    }

    fn leaf(&mut self, step: &Step, path: String, within: Within<'_>, statuses: &Statuses) -> Ends {
        let mark = match (&step.action, &step.fan_out) {
            (_, Some(_)) => "×",
            (Action::Approve { .. }, None) => "?",
            _ => "",
        };
        let (status, instances) = (statuses.of(&path), statuses.count(&path));
        self.nodes.push(Node { path, status, line: step.span.line, finally: within.finally, group: within.group, instances, mark });
        let index = self.nodes.len() - 1;
        Ends { first: vec![index], last: vec![index] }
    }

    /// What stands above it.
    pub fn title(&self) -> String {
        match &self.run {
            Some(run) => format!("{} {run}", self.name),
            None => self.name.clone(),
        }
    }

    fn join(&mut self, from: Option<&Ends>, to: &Ends, need: &Need) {
        let inferred = match need.kind {
            NeedKind::Explicit | NeedKind::ByKey => false,
            NeedKind::Succeeded | NeedKind::Done => true,
        };
        for from in from.into_iter().flat_map(|e| &e.last) {
            self.edges.extend(to.first.iter().map(|to| Edge { from: *from, to: *to, inferred }));
        }
    }

    /// The layer of each node: one more than the deepest of its needs.
    fn layers(&self) -> Vec<usize> {
        let mut layers = vec![0; self.nodes.len()];
        let mut edges = self.edges.clone();
        edges.sort_unstable();
        // Nodes stand after their needs.
        for edge in &edges {
            layers[edge.to] = layers[edge.to].max(layers[edge.from] + 1);
        }
        layers
    }

    /// A listing by layers.
    pub fn text(&self) -> String {
        let layers = self.layers();
        let mut needs: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for edge in &self.edges {
            let mark = if edge.inferred { "~" } else { "" };
            needs.entry(edge.to).or_default().push(format!("{mark}{}", self.nodes[edge.from].path));
        }
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|i| (self.nodes[*i].finally, layers[*i], &self.nodes[*i].path));
        let mut text = format!("{}\n", self.name);
        let mut shown = None;
        for index in order {
            let node = &self.nodes[index];
            let layer = (node.finally, layers[index]);
            let head = if shown == Some(layer) {
                String::new()
            } else if node.finally {
                "finally".into()
            } else {
                (layer.1 + 1).to_string()
            };
            shown = Some(layer);
            let status = node.status.map(|s| format!(" [{}]", s.as_str())).unwrap_or_default();
            let mark = if node.mark.is_empty() { String::new() } else { format!(" {}", node.mark) };
            let from = needs.get(&index).map(|n| format!("  ← {}", n.join(", "))).unwrap_or_default();
            writeln!(text, "{head:>7}  {}{mark}{status}{from}", node.path).unwrap_or_default();
        }
        if self.edges.iter().any(|e| e.inferred) {
            text.push_str("~ needed because of a reference\n");
        }
        text
    }

    /// Graphviz.
    pub fn dot(&self) -> String {
        let mut text =
            format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white];\n", quoted(&self.name));
        for node in &self.nodes {
            let color = Tone::of(node.status).fill();
            writeln!(text, "  {} [fillcolor={}];", quoted(&label(node)), quoted(color)).unwrap_or_default();
        }
        for edge in &self.edges {
            let style = if edge.inferred { " [style=dashed]" } else { "" };
            let (from, to) = (quoted(&label(&self.nodes[edge.from])), quoted(&label(&self.nodes[edge.to])));
            writeln!(text, "  {from} -> {to}{style};").unwrap_or_default();
        }
        text + "}\n"
    }

    /// Mermaid.
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let (open, close) = if node.mark == "?" { ("{{", "}}") } else { ("[", "]") };
            writeln!(text, "  n{index}{open}\"{}\"{close}", label(node).replace('"', "#quot;")).unwrap_or_default();
        }
        for edge in &self.edges {
            let arrow = if edge.inferred { "-.->" } else { "-->" };
            writeln!(text, "  n{} {arrow} n{}", edge.from, edge.to).unwrap_or_default();
        }
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.status.is_some()) {
            writeln!(text, "  style n{index} fill:{}", Tone::of(node.status).fill()).unwrap_or_default();
        }
        text
    }
}

impl Node {
    /// What stands in its box: its id, and of many instances how many.
    pub fn label(&self) -> String {
        let id = self.path.rsplit('/').next().unwrap_or(&self.path);
        match (self.mark, self.instances) {
            ("×", Some((done, all))) => format!("{id} {done}/{all}"),
            ("×", None) => format!("{id} ×"),
            _ => id.to_owned(),
        }
    }

    /// The sign of its status.
    pub fn sign(&self) -> Option<char> {
        let Some(status) = self.status else { return (self.mark == "?").then_some('?') };
        match (status, self.mark) {
            (StepStatus::Succeeded, _) => Some('✓'),
            (StepStatus::Cached, _) => Some('='),
            (StepStatus::Skipped | StepStatus::Cancelled, _) => Some('-'),
            (StepStatus::Blocked, _) => Some('⊘'),
            (StepStatus::Failed | StepStatus::TimedOut | StepStatus::Rejected | StepStatus::UndoFailed, _) => Some('✗'),
            (StepStatus::Running | StepStatus::Undoing, _) => Some('•'),
            (StepStatus::RetryWait | StepStatus::Waiting, _) => Some('~'),
            (StepStatus::Interrupted, _) => Some('!'),
            (StepStatus::Undone, _) => Some('↶'),
            (StepStatus::Pending | StepStatus::Ready, "?") => Some('?'),
            (StepStatus::Pending | StepStatus::Ready, _) => None,
        }
    }

    /// All that stands in its box.
    pub fn text(&self) -> String {
        self.sign().map_or_else(|| self.label(), |sign| format!("{sign} {}", self.label()))
    }
}

/// What stands in a node.
pub fn label(node: &Node) -> String {
    let finally = if node.finally { "finally: " } else { "" };
    let mark = if node.mark == "×" { " ×" } else { "" };
    format!("{finally}{}{mark}", node.path)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

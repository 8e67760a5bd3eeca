//! A graph as nodes and edges with sub-trees in place, and its text forms.

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
}

/// A leaf.
pub struct Node {
    /// Its path without instances.
    pub path: String,
    /// Of a run.
    pub status: Option<StepStatus>,
    /// It stands in `finally`.
    pub finally: bool,
    /// What marks it: `×` a fan-out, `?` an approval.
    pub mark: &'static str,
}

/// A need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

impl Drawing {
    /// Of a tree, with the statuses of a run's paths.
    pub fn of(tree: &Tree, statuses: &HashMap<String, StepStatus>) -> Self {
        let mut drawing = Self { name: tree.name.clone(), nodes: Vec::new(), edges: Vec::new() };
        drawing.add(tree, "", false, statuses);
        drawing.edges.sort_unstable();
        drawing.edges.dedup_by_key(|e| (e.from, e.to));
        drawing
    }

    fn add(&mut self, tree: &Tree, prefix: &str, finally: bool, statuses: &HashMap<String, StepStatus>) -> Ends {
        let mut ends: HashMap<u32, Ends> = HashMap::new();
        let mut needed = vec![false; tree.steps.len()];
        for index in &tree.order {
            let step = &tree.steps[*index as usize];
            let path = format!("{prefix}{}", step.id);
            let own = match &step.action {
                Action::Tree { tree, .. } => self.add(tree, &format!("{path}/"), finally || step.finally, statuses),
                Action::Run(_) | Action::Uses { .. } | Action::Approve { .. } => self.leaf(step, path, finally, statuses),
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
        Ends { first: pick(&|i| tree.steps[i].needs.is_empty(), |e| &e.first), last: pick(&|i| !needed[i], |e| &e.last) }
    }

    fn leaf(&mut self, step: &Step, path: String, finally: bool, statuses: &HashMap<String, StepStatus>) -> Ends {
        let mark = match (&step.action, &step.fan_out) {
            (_, Some(_)) => "×",
            (Action::Approve { .. }, None) => "?",
            _ => "",
        };
        let status = statuses.get(&path).copied().or_else(|| (!statuses.is_empty()).then_some(StepStatus::Pending));
        self.nodes.push(Node { path, status, finally: finally || step.finally, mark });
        let index = self.nodes.len() - 1;
        Ends { first: vec![index], last: vec![index] }
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
        // Edges are sorted by where they come from, and nodes stand after their needs.
        for edge in &self.edges {
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
            let color = fill(node.status);
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
            writeln!(text, "  style n{index} fill:{}", fill(node.status)).unwrap_or_default();
        }
        text
    }
}

/// What stands in a node.
pub fn label(node: &Node) -> String {
    let finally = if node.finally { "finally: " } else { "" };
    let mark = if node.mark == "×" { " ×" } else { "" };
    format!("{finally}{}{mark}", node.path)
}

/// The colour of a status.
pub fn fill(status: Option<StepStatus>) -> &'static str {
    match status {
        None | Some(StepStatus::Pending | StepStatus::Ready) => "#ffffff",
        Some(StepStatus::Running | StepStatus::Undoing) => "#cfe2ff",
        Some(StepStatus::RetryWait | StepStatus::Waiting | StepStatus::Interrupted) => "#fff3cd",
        Some(StepStatus::Succeeded) => "#d1e7dd",
        Some(StepStatus::Cached) => "#d2f4ea",
        Some(StepStatus::Skipped | StepStatus::Cancelled | StepStatus::Undone) => "#e2e3e5",
        Some(StepStatus::Blocked) => "#ffe5d0",
        Some(StepStatus::Failed | StepStatus::TimedOut | StepStatus::Rejected | StepStatus::UndoFailed) => "#f8d7da",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

//! Where nodes, groups and edges of a drawing stand: layers from left to right, by dagre. Steps
//! with the same needs that the same steps need are laid out as one block with rows.

use super::draw::{Drawing, Edge, Node};
use dagre::graph::{Graph, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Columns of a letter of the label.
const LETTER: f64 = 7.6;
/// What a node is wider than its label.
const BESIDE: f64 = 26.0;
/// How high a node is.
const HEIGHT: f64 = 30.0;
/// Between nodes of a layer; in a large drawing less.
const APART: [f64; 2] = [20.0, 9.0];
/// Between layers.
const LAYERS: f64 = 60.0;
/// Around all, and around what is in a block.
const MARGIN: f64 = 20.0;
/// Around the nodes of a block.
const INSIDE: f64 = 9.0;
/// More nodes than these are a large drawing.
const LARGE: usize = 100;
/// So many steps with the same neighbours become a block.
const BLOCK: usize = 6;
/// How much wider than high a block is.
const SHAPE: f64 = 1.5;

/// A box by its middle.
#[derive(Debug, Clone, Copy, Default)]
pub struct Area {
    /// From left to right.
    pub x: f64,
    /// From top to bottom.
    pub y: f64,
    /// How wide.
    pub width: f64,
    /// How high.
    pub height: f64,
}

/// The course of an edge.
pub struct Line {
    /// Needed because of a reference.
    pub inferred: bool,
    /// From the right of one box to the left of the other. Between every second pair it passes other
    /// boxes straight on.
    pub points: Vec<(f64, f64)>,
}

/// Where all stands.
pub struct Placed {
    /// The whole.
    pub size: (f64, f64),
    /// Each node.
    pub nodes: Vec<Area>,
    /// Each group.
    pub groups: Vec<Area>,
    /// Blocks of steps with the same neighbours, with how many they are.
    pub blocks: Vec<(Area, usize)>,
    /// The edges; those of a block are one.
    pub lines: Vec<Line>,
}

/// Finds the places.
pub fn place(drawing: &Drawing) -> Placed {
    let units = Units::of(drawing);
    let mut graph = units.graph(drawing);
    let apart = APART[usize::from(drawing.nodes.len() > LARGE)];
    let options = LayoutOptions {
        rankdir: RankDir::LR,
        nodesep: apart,
        edgesep: apart,
        ranksep: LAYERS,
        marginx: MARGIN,
        marginy: MARGIN,
        ..LayoutOptions::default()
    };
    dagre::layout(&mut graph, Some(options));
    let areas: Vec<Area> = (0..units.all.len()).map(|index| area(&graph, &format!("n{index}"))).collect();
    let groups: Vec<Area> = (0..drawing.groups.len()).map(|index| area(&graph, &format!("g{index}"))).collect();
    let (mut nodes, mut blocks) = (vec![Area::default(); drawing.nodes.len()], Vec::new());
    for (unit, area) in units.all.iter().zip(&areas) {
        unit.fill(*area, &mut nodes);
        if unit.members.len() > 1 {
            blocks.push((*area, unit.members.len()));
        }
    }
    let columns = columns(&areas);
    let line = |edge: Edge| {
        let way = graph.edge(&format!("n{}", edge.from), &format!("n{}", edge.to), None).map(|label| label.points.as_slice());
        Line { inferred: edge.inferred, points: course(areas[edge.from], areas[edge.to], way.unwrap_or_default(), &columns) }
    };
    let lines = units.joined(&drawing.edges).into_iter().map(line).collect();
    Placed { size: size(areas.iter().chain(&groups)), nodes, groups, blocks, lines }
}

/// What is laid out as one: a node, or a block of them.
struct Unit {
    /// The nodes in it, in the order of the file.
    members: Vec<usize>,
    /// The group it is in.
    group: Option<usize>,
    /// How wide each member is.
    each: f64,
    /// Members in a row.
    row: usize,
}

struct Units {
    all: Vec<Unit>,
    /// The unit of each node.
    of: Vec<usize>,
}

/// The neighbours of a node.
#[derive(PartialEq, Eq, PartialOrd, Ord, Default, Clone)]
struct Neighbours {
    group: Option<usize>,
    finally: bool,
    before: BTreeSet<(usize, bool)>,
    behind: BTreeSet<(usize, bool)>,
}

impl Units {
    fn of(drawing: &Drawing) -> Self {
        let mut neighbours = vec![Neighbours::default(); drawing.nodes.len()];
        for edge in drawing.edges.iter().chain(&drawing.after) {
            neighbours[edge.to].before.insert((edge.from, edge.inferred));
            neighbours[edge.from].behind.insert((edge.to, edge.inferred));
        }
        let mut alike: BTreeMap<Neighbours, Vec<usize>> = BTreeMap::new();
        for (index, mut own) in neighbours.into_iter().enumerate() {
            (own.group, own.finally) = (drawing.nodes[index].group, drawing.nodes[index].finally);
            alike.entry(own).or_default().push(index);
        }
        let line = |index: &usize| drawing.nodes[*index].line;
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for mut members in alike.into_values() {
            members.sort_by_key(line);
            match members.len() < BLOCK {
                true => sets.extend(members.into_iter().map(|one| vec![one])),
                false => sets.push(members),
            }
        }
        // From the top as they are written, as far as their needs allow.
        sets.sort_by_key(|members| members.first().map(line));
        let mut of = vec![0; drawing.nodes.len()];
        sets.iter().enumerate().for_each(|(unit, members)| members.iter().for_each(|node| of[*node] = unit));
        Self { all: sets.into_iter().map(|members| Unit::of(members, drawing)).collect(), of }
    }

    /// Edges between units, each once.
    fn joined(&self, edges: &[Edge]) -> Vec<Edge> {
        let all: BTreeSet<Edge> = edges.iter().map(|e| Edge { from: self.of[e.from], to: self.of[e.to], ..*e }).collect();
        all.into_iter().collect()
    }

    fn graph(&self, drawing: &Drawing) -> Graph<NodeLabel, EdgeLabel> {
        let mut graph = Graph::with_options(GraphOptions { directed: true, multigraph: true, compound: true });
        for (index, group) in drawing.groups.iter().enumerate() {
            graph.set_node(format!("g{index}"), Some(NodeLabel::default()));
            if let Some(parent) = group.parent {
                graph.set_parent(&format!("g{index}"), Some(&format!("g{parent}")));
            }
        }
        for (index, unit) in self.all.iter().enumerate() {
            let (width, height) = unit.size();
            graph.set_node(format!("n{index}"), Some(NodeLabel { width, height, ..NodeLabel::default() }));
            if let Some(group) = unit.group {
                graph.set_parent(&format!("n{index}"), Some(&format!("g{group}")));
            }
        }
        let after = self.joined(&drawing.after).into_iter().map(|edge| (edge, 0));
        for (edge, weight) in self.joined(&drawing.edges).into_iter().map(|edge| (edge, 1)).chain(after) {
            let label = EdgeLabel { weight, ..EdgeLabel::default() };
            graph.set_edge(format!("n{}", edge.from), format!("n{}", edge.to), Some(label), None);
        }
        graph
    }
}

impl Unit {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of nodes")]
    fn of(members: Vec<usize>, drawing: &Drawing) -> Self {
        let each = members.iter().map(|index| width(&drawing.nodes[*index])).fold(0.0, f64::max);
        let row = (members.len() as f64 * (HEIGHT + INSIDE) * SHAPE / (each + INSIDE)).sqrt().ceil() as usize;
        let group = members.first().and_then(|index| drawing.nodes[*index].group);
        Self { row: row.clamp(1, members.len().max(1)), members, group, each }
    }

    #[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
    fn size(&self) -> (f64, f64) {
        if self.members.len() == 1 {
            return (self.each, HEIGHT);
        }
        let rows = self.members.len().div_ceil(self.row) as f64;
        (self.row as f64 * (self.each + INSIDE) + INSIDE, rows * (HEIGHT + INSIDE) + INSIDE)
    }

    /// Puts its nodes where it stands.
    #[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
    fn fill(&self, area: Area, nodes: &mut [Area]) {
        let inside = if self.members.len() == 1 { 0.0 } else { INSIDE };
        let (left, top) = (area.x - area.width / 2.0 + inside, area.y - area.height / 2.0 + inside);
        for (place, node) in self.members.iter().enumerate() {
            let (column, row) = ((place % self.row) as f64, (place / self.row) as f64);
            let x = left + column * (self.each + INSIDE) + self.each / 2.0;
            let y = top + row * (HEIGHT + INSIDE) + HEIGHT / 2.0;
            nodes[*node] = Area { x, y, width: self.each, height: HEIGHT };
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "letters of a name")]
fn width(node: &Node) -> f64 {
    console::measure_text_width(&node.text()) as f64 * LETTER + BESIDE
}

fn area(graph: &Graph<NodeLabel, EdgeLabel>, name: &str) -> Area {
    let Some(label) = graph.node(name) else { return Area::default() };
    Area { x: label.x.unwrap_or_default(), y: label.y.unwrap_or_default(), width: label.width, height: label.height }
}

/// The layers by their middles (in whole numbers), with half of their widest box.
fn columns(areas: &[Area]) -> HashMap<i64, f64> {
    let mut columns: HashMap<i64, f64> = HashMap::new();
    for area in areas {
        let half = columns.entry(whole(area.x)).or_default();
        *half = half.max(area.width / 2.0);
    }
    columns
}

#[expect(clippy::cast_possible_truncation, reason = "places of a drawing are small")]
fn whole(x: f64) -> i64 {
    x.round() as i64
}

/// The way of an edge: bends lie between layers, other boxes are passed straight on.
fn course(from: Area, to: Area, way: &[dagre::Point], columns: &HashMap<i64, f64>) -> Vec<(f64, f64)> {
    let mut points = vec![(from.x + from.width / 2.0, from.y)];
    let between = way.len().saturating_sub(1).max(1);
    for point in way.iter().take(between).skip(1) {
        let is_end = whole(point.x) <= whole(from.x) || whole(point.x) >= whole(to.x);
        if let Some(half) = columns.get(&whole(point.x)).filter(|_| !is_end) {
            points.extend([(point.x - half, point.y), (point.x + half, point.y)]);
        }
    }
    points.push((to.x - to.width / 2.0, to.y));
    points
}

/// What all boxes take.
fn size<'a>(areas: impl Iterator<Item = &'a Area>) -> (f64, f64) {
    let (mut right, mut bottom) = (MARGIN, MARGIN);
    for area in areas {
        right = right.max(area.x + area.width / 2.0 + MARGIN);
        bottom = bottom.max(area.y + area.height / 2.0 + MARGIN);
    }
    (right, bottom)
}

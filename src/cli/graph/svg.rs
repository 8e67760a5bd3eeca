//! A graph as SVG: rounded boxes, colours by status, light and dark, readable by screen readers.

use super::draw::{Drawing, Group, Node};
use super::place::{Area, Placed, place};
use crate::report::tone::Tone;
use std::fmt::Write as _;
use trees_core::event::StepStatus;

/// Above the drawing, for its title.
const HEAD: f64 = 40.0;
const STYLE: &str = include_str!("style.css");

/// The drawing.
pub fn svg(drawing: &Drawing) -> String {
    let placed = place(drawing);
    let (width, height) = (placed.size.0.max(260.0), placed.size.1 + HEAD);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"img\" aria-labelledby=\"title description\">\n<title id=\"title\">{}</title>\n<desc id=\"description\">{}</desc>\n\
         <style>{STYLE}</style>\n<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"head\" d=\"M0,0.5L8,4L0,7.5z\"/></marker></defs>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n<text class=\"name\" x=\"20\" y=\"30\">{}</text>\n\
         <g transform=\"translate(0,{HEAD:.0})\">\n",
        escaped(&drawing.title()),
        escaped(&description(drawing)),
        escaped(&drawing.title()),
    );
    for (group, area) in drawing.groups.iter().zip(&placed.groups) {
        text.push_str(&outline(group, *area));
    }
    for (area, count) in &placed.blocks {
        writeln!(text, "<g><title>{count} steps with the same needs</title>{}</g>", rect("block-of", *area, 10.0)).unwrap_or_default();
    }
    text.push_str(&edges(&placed));
    for (index, (node, area)) in drawing.nodes.iter().zip(&placed.nodes).enumerate() {
        text.push_str(&boxed(drawing, index, node, *area));
    }
    text + "</g>\n</svg>\n"
}

/// The whole in a sentence or two.
fn description(drawing: &Drawing) -> String {
    let (steps, needs) = (drawing.nodes.len(), drawing.edges.len());
    let mut text = format!("{steps} steps and {needs} needs from left to right; dashed: needed because of a reference.");
    let mut counts: Vec<(StepStatus, usize)> = Vec::new();
    for status in drawing.nodes.iter().filter_map(|node| node.status) {
        match counts.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => counts.push((status, 1)),
        }
    }
    let told: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {}", word(*status))).collect();
    if !told.is_empty() {
        write!(text, " {}.", told.join(", ")).unwrap_or_default();
    }
    text
}

fn word(status: StepStatus) -> String {
    status.as_str().replace('_', " ")
}

fn rect(class: &str, area: Area, round: f64) -> String {
    let (x, y) = (area.x - area.width / 2.0, area.y - area.height / 2.0);
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round:.0}\"/>",
        area.width, area.height
    )
}

fn outline(group: &Group, area: Area) -> String {
    // Its title has a line of its own.
    let area = Area { y: area.y - 3.0, height: area.height + 6.0, ..area };
    let (x, y) = (area.x - area.width / 2.0 + 9.0, area.y - area.height / 2.0 + 13.0);
    let class = if group.finally { "group finally" } else { "group" };
    let behind = if group.fans_out { rect(class, Area { x: area.x + 4.0, y: area.y + 4.0, ..area }, 10.0) } else { String::new() };
    format!("<g>{behind}{}<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text></g>\n", rect(class, area, 10.0), escaped(&group.title))
}

fn edges(placed: &Placed) -> String {
    let mut text = String::from("<g class=\"edges\">\n");
    for line in &placed.lines {
        let class = if line.inferred { " class=\"inferred\"" } else { "" };
        writeln!(text, "<path{class} d=\"{}\" marker-end=\"url(#arrow)\"/>", path(&line.points)).unwrap_or_default();
    }
    text + "</g>\n"
}

/// Curves between layers, straight lines through them.
fn path(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (index, pair) in points.windows(2).enumerate() {
        let [(x, y), (to_x, to_y)] = *pair else { continue };
        if index == 0 {
            write!(text, "M{x:.1},{y:.1}").unwrap_or_default();
        }
        let middle = f64::midpoint(x, to_x);
        match index % 2 {
            0 => write!(text, "C{middle:.1},{y:.1} {middle:.1},{to_y:.1} {to_x:.1},{to_y:.1}").unwrap_or_default(),
            _ => write!(text, "H{to_x:.1}").unwrap_or_default(),
        }
    }
    text
}

fn boxed(drawing: &Drawing, index: usize, node: &Node, area: Area) -> String {
    let class = format!("node {}{}", Tone::of(node.status).class(), if node.finally { " finally" } else { "" });
    let round = if node.mark == "?" { area.height / 2.0 } else { 7.0 };
    let mut text = format!("<g class=\"{class}\"><title>{}</title>", escaped(&told(drawing, index, node)));
    if node.mark == "×" {
        for shift in [6.0, 3.0] {
            text.push_str(&rect("behind", Area { x: area.x + shift, y: area.y + shift, ..area }, round));
        }
    }
    let sign = node.sign().map(|sign| format!("<tspan class=\"sign\">{sign}</tspan> ")).unwrap_or_default();
    let (x, y) = (area.x, area.y + 4.5);
    writeln!(text, "{}<text x=\"{x:.1}\" y=\"{y:.1}\">{sign}{}</text></g>", rect("box", area, round), escaped(&node.label()))
        .unwrap_or_default();
    text
}

/// A node in words.
fn told(drawing: &Drawing, index: usize, node: &Node) -> String {
    let needs: Vec<&str> = drawing.edges.iter().filter(|e| e.to == index).map(|e| drawing.nodes[e.from].path.as_str()).collect();
    let status = node.status.map(|s| format!(": {}", word(s))).unwrap_or_default();
    let finally = if node.finally { " (finally)" } else { "" };
    let needs = if needs.is_empty() { String::new() } else { format!("; needs {}", needs.join(", ")) };
    format!("{}{finally}{status}{needs}", node.path)
}

fn escaped(text: &str) -> String {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    tera::escape_html(text, &mut bytes).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

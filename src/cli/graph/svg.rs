//! A graph as SVG, laid out by layout-rs.

use super::draw::{Drawing, fill, label};
use crate::failure::Failure;
use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::geometry::Point;
use layout::core::style::{LineStyleKind, StyleAttr};
use layout::std_shapes::shapes::{Arrow, Element, LineEndKind, ShapeKind};
use layout::topo::layout::VisualGraph;

/// Beyond this the layout takes minutes and nobody can read it.
const LARGEST: usize = 400;

/// The drawing.
pub fn svg(drawing: &Drawing) -> Result<String, Failure> {
    if drawing.nodes.len() > LARGEST {
        return Err(Failure::wrong(format!("a drawing of {} steps is too large", drawing.nodes.len()))
            .hint("use --format dot with Graphviz, or --format text"));
    }
    let mut graph = VisualGraph::new(Orientation::LeftToRight);
    let mut handles = Vec::new();
    for node in &drawing.nodes {
        let text = label(node);
        let look = StyleAttr::new(Color::fast("black"), 1, Some(Color::fast(fill(node.status))), 8, 14);
        let width = 30 + 9 * u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        let shape = ShapeKind::new_box(&text);
        handles.push(graph.add_node(Element::create(shape, look, Orientation::LeftToRight, Point::new(f64::from(width), 40.0))));
    }
    let look = StyleAttr::new(Color::fast("black"), 1, None, 0, 12);
    for edge in &drawing.edges {
        let line = if edge.inferred { LineStyleKind::Dashed } else { LineStyleKind::Normal };
        let arrow = Arrow::new(LineEndKind::None, LineEndKind::Arrow, line, "", &look, &None, &None);
        graph.add_edge(arrow, handles[edge.from], handles[edge.to]);
    }
    let mut writer = SVGWriter::new();
    graph.do_it(false, false, false, &mut writer);
    Ok(writer.finalize())
}

//! Drawings without a picture: nothing lies on anything else, all goes from left to right.

use super::draw::{Drawing, Statuses};
use super::place::{Area, Placed, place};
use super::svg::svg;
use std::fmt::Write as _;
use trees_core::language::{self, Source, Sources};

fn drawing(text: &str, sub: &str) -> Drawing {
    let loader = Sources { files: vec![Source { name: "sub.yaml".into(), text: sub.into() }] };
    let top = Source { name: "tree.yaml".into(), text: text.into() };
    let checked = language::check(top, &loader, &trees_steps::catalogue());
    let tree = checked.tree.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    Drawing::of(&tree, &Statuses::default())
}

const SUB: &str = "tree: sub\nsteps:\n  one: { run: ':' }\n  two: { needs: one, run: ':' }\nfinally:\n  end: { run: ':' }\n";
const NESTED: &str = "tree: t
steps:
  a: { run: ':' }
  sub: { needs: a, tree: ./sub.yaml }
  b: { needs: a, run: ':' }
  many: { needs: [sub, b], foreach: { items: [1, 2], as: i }, run: 'echo {{ i }}' }
finally:
  clean: { run: ':' }
";

/// Layers of steps, each with needs among those of the layer before; from a seed.
fn layered(layers: usize, wide: usize) -> String {
    let mut text = String::from("tree: t\nsteps:\n");
    let mut seed = 7_usize;
    for step in 0..layers * wide {
        let mut needs = Vec::new();
        for _ in 0..usize::from(step >= wide) * (1 + step % 2) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            needs.push(format!("s{}", (step / wide - 1) * wide + (seed >> 33) % wide));
        }
        needs.dedup();
        writeln!(text, "  s{step}: {{ needs: [{}], run: ':' }}", needs.join(", ")).unwrap();
    }
    text
}

fn apart(a: Area, b: Area) -> bool {
    (a.x - b.x).abs() * 2.0 >= a.width + b.width || (a.y - b.y).abs() * 2.0 >= a.height + b.height
}

fn inside(inner: Area, outer: Area) -> bool {
    (inner.x - outer.x).abs() * 2.0 + inner.width <= outer.width && (inner.y - outer.y).abs() * 2.0 + inner.height <= outer.height
}

#[track_caller]
fn is_tidy(drawing: &Drawing) -> Placed {
    let placed = place(drawing);
    let (width, height) = placed.size;
    let page = Area { x: width / 2.0, y: height / 2.0, width, height };
    for (index, area) in placed.nodes.iter().enumerate() {
        assert!(area.width > 0.0 && inside(*area, page), "{} is off the page", drawing.nodes[index].path);
        for (other, beside) in placed.nodes.iter().enumerate().skip(index + 1) {
            assert!(apart(*area, *beside), "{} lies on {}", drawing.nodes[index].path, drawing.nodes[other].path);
        }
        if let Some(group) = drawing.nodes[index].group {
            assert!(inside(*area, placed.groups[group]), "{} is not in its group", drawing.nodes[index].path);
        }
    }
    for edge in &drawing.edges {
        let (from, to) = (placed.nodes[edge.from], placed.nodes[edge.to]);
        assert!(from.x + from.width / 2.0 < to.x - to.width / 2.0, "{} → {}", drawing.nodes[edge.from].path, drawing.nodes[edge.to].path);
    }
    for line in &placed.lines {
        assert!(line.points.len().is_multiple_of(2) && line.points.is_sorted_by(|a, b| a.0 <= b.0), "{:?}", line.points);
    }
    placed
}

#[test]
fn groups_hold_their_steps_and_finally_comes_last() {
    let drawing = drawing(NESTED, SUB);
    let placed = is_tidy(&drawing);
    let titles: Vec<&str> = drawing.groups.iter().map(|g| g.title.as_str()).collect();
    assert_eq!(titles, ["sub", "finally", "finally"]);
    assert_eq!(drawing.groups[1].parent, Some(0));
    let at = |path: &str| placed.nodes[drawing.nodes.iter().position(|n| n.path == path).unwrap()].x;
    assert!(at("clean") > at("many") && at("sub/end") > at("sub/two"));
}

#[test]
fn five_hundred_steps_are_tidy() {
    let drawing = drawing(&layered(20, 25), "");
    assert_eq!(drawing.nodes.len(), 500);
    is_tidy(&drawing);
}

#[test]
fn chains_are_straight_and_do_not_cross() {
    let mut text = String::from("tree: t\nsteps:\n");
    for step in 0..12 {
        let needs = if step < 3 { String::new() } else { format!("needs: s{}, ", step - 3) };
        writeln!(text, "  s{step}: {{ {needs}run: ':' }}").unwrap();
    }
    let drawing = drawing(&text, "");
    let placed = is_tidy(&drawing);
    for edge in &drawing.edges {
        assert!((placed.nodes[edge.from].y - placed.nodes[edge.to].y).abs() < 0.01);
    }
}

#[test]
fn many_steps_with_the_same_needs_are_one_block() {
    let mut text = String::from("tree: t\nsteps:\n  a: { run: ':' }\n");
    (0..40).for_each(|step| writeln!(text, "  s{step}: {{ needs: a, run: ':' }}").unwrap());
    let placed = is_tidy(&drawing(&text, ""));
    assert_eq!((placed.blocks.len(), placed.lines.len()), (1, 1));
    assert_eq!(placed.blocks[0].1, 40);
    assert!(placed.size.0 < 1000.0 && placed.size.1 < 600.0, "{:?}", placed.size);
}

#[test]
fn names_do_not_become_markup() {
    let mut drawing = drawing(NESTED, SUB);
    drawing.name = "<script>alert(1)</script>".into();
    drawing.nodes[0].path = "\"><img src=x>&".into();
    let svg = svg(&drawing);
    assert!(!svg.contains("<script") && !svg.contains("<img") && svg.contains("&lt;script&gt;"), "{svg}");
}

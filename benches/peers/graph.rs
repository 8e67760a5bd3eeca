//! The graphs: who needs whom.

use serde_json::Value;

/// A graph of commands that do nothing.
pub struct Graph {
    /// What it looks like.
    pub shape: String,
    /// The needs of each node, all before it.
    pub needs: Vec<Vec<usize>>,
}

/// Sizes of the shapes; the last only where it is asked for.
const SIZES: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// Real graphs that are taken: every so many of the file.
const REAL: usize = 10;

/// Nodes in a layer of the random graph.
const LAYER: usize = 25;

/// All of them.
pub fn all(large: bool) -> Vec<Graph> {
    let sizes = if large { &SIZES[..] } else { &SIZES[..4] };
    let mut graphs: Vec<Graph> = sizes.iter().flat_map(|&size| shapes(size)).collect();
    graphs.extend(real());
    graphs
}

fn shapes(size: usize) -> Vec<Graph> {
    let one = |shape: &str, needs: Vec<Vec<usize>>| Graph { shape: shape.into(), needs };
    let chain = (0..size).map(|n| n.checked_sub(1).into_iter().collect()).collect();
    let mut graphs = vec![one("wide", vec![Vec::new(); size]), one("chain", chain)];
    if size >= 10 {
        graphs.push(one("diamond", diamonds(size)));
        graphs.push(one("layers", layers(size, 7)));
    }
    graphs
}

/// One, eight beside each other, one, and so on.
fn diamonds(size: usize) -> Vec<Vec<usize>> {
    let of = |n: usize| match n % 9 {
        0 => (n.saturating_sub(8)..n).collect(),
        _ => vec![n - n % 9],
    };
    (0..size).map(of).collect()
}

/// Layers of so many nodes, each with one to three needs in the layer before.
fn layers(size: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut state = seed;
    // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    let mut below = |most: usize| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % most as u64).unwrap_or(0)
    };
    let mut of = |n: usize| {
        let layer = n / LAYER;
        if layer == 0 {
            return Vec::new();
        }
        let mut needs: Vec<usize> = (0..=below(3)).map(|_| (layer - 1) * LAYER + below(LAYER)).collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    };
    (0..size).map(&mut of).collect()
}

/// Ten of the real ones, spread over their sizes; random ones in their place where the file is not named.
fn real() -> Vec<Graph> {
    let Some(path) = std::env::var_os("TREES_WORKFLOWS") else {
        println!("TREES_WORKFLOWS is not set: random graphs stand in for the real ones");
        return (0..REAL).map(|n| Graph { shape: format!("random {n}"), needs: layers(50 + 100 * n, n as u64) }).collect();
    };
    let text = std::fs::read_to_string(&path).expect("the file that TREES_WORKFLOWS names");
    let mut all: Vec<Graph> = text.lines().map(read).collect();
    all.sort_by_key(|graph| graph.needs.len());
    let every = all.len() / REAL;
    all.into_iter().skip(every / 2).step_by(every.max(1)).take(REAL).collect()
}

fn read(line: &str) -> Graph {
    let value: Value = serde_json::from_str(line).expect("a JSON object a line");
    let path = value["path"].as_str().unwrap_or("?");
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".json").to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let index = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).expect("an index");
    let needs: Vec<Vec<usize>> = list(&value["parents"]).iter().map(|parents| list(parents).iter().map(index).collect()).collect();
    Graph { shape: name, needs: sorted(&needs) }
}

/// The same with every need before who needs it.
fn sorted(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let (mut order, mut place) = (Vec::new(), vec![usize::MAX; needs.len()]);
    while order.len() < needs.len() {
        let before = order.len();
        for node in 0..needs.len() {
            if place[node] == usize::MAX && needs[node].iter().all(|need| place[*need] != usize::MAX) {
                place[node] = order.len();
                order.push(node);
            }
        }
        assert!(order.len() > before, "a circle");
    }
    order.iter().map(|node| needs[*node].iter().map(|need| place[*need]).collect()).collect()
}

//! Graphs that nobody here invented: with TREES_WORKFLOWS set to a file of real workflows, each
//! becomes a tree file and checks; without it random graphs stand in, and the test says so.

use crate::bench::good;
use crate::random::in_order;

/// A graph as a tree file of steps that do nothing.
fn file(parents: &[Vec<usize>], ids: &[String]) -> String {
    let mut text = String::from("tree: workflow\nsteps:\n");
    for (id, needs) in ids.iter().zip(parents) {
        let needs: Vec<&str> = needs.iter().map(|p| ids[*p].as_str()).collect();
        text.push_str(&format!("  {id}: {{ run: \":\", needs: [{}] }}\n", needs.join(", ")));
    }
    text
}

fn checks(parents: &[Vec<usize>], ids: &[String]) {
    let tree = good(&file(parents, ids));
    assert_eq!(tree.steps.len(), ids.len());
    for (step, wanted) in tree.steps.iter().zip(parents) {
        assert_eq!(step.needs.iter().map(|n| n.step as usize).collect::<Vec<_>>(), *wanted);
    }
    in_order(&tree);
}

fn valid(id: &str, index: usize) -> String {
    let clean: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    format!("s{index}_{clean}")
}

/// A line of the recorded file.
#[derive(serde::Deserialize)]
struct Recorded {
    ids: Vec<String>,
    parents: Vec<Vec<usize>>,
}

fn recorded(line: &str) -> (Vec<Vec<usize>>, Vec<String>) {
    let graph: Recorded = serde_json::from_str(line).unwrap_or_else(|e| panic!("a JSON object a line: {e}"));
    (graph.parents, graph.ids.iter().enumerate().map(|(i, id)| valid(id, i)).collect())
}

/// Parents before or after their children in the file, as chance wants.
fn random(seed: u64) -> (Vec<Vec<usize>>, Vec<String>) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let size = 1 + next(200);
    let mut rank: Vec<usize> = (0..size).collect();
    (0..size).for_each(|i| rank.swap(i, next(size)));
    let mut parents = vec![Vec::new(); size];
    for at in 1..size {
        let mut chosen: Vec<usize> = (0..next(4)).map(|_| rank[next(at)]).collect();
        chosen.sort_unstable();
        chosen.dedup();
        parents[rank[at]] = chosen;
    }
    (parents, (0..size).map(|i| valid("random step", i)).collect())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the recorded graphs are no part of the repository")]
fn real_workflows_check() {
    let Ok(path) = std::env::var("TREES_WORKFLOWS") else {
        println!("TREES_WORKFLOWS is not set: random graphs instead of recorded ones");
        (0..125).map(random).for_each(|(parents, ids)| checks(&parents, &ids));
        return;
    };
    let text = std::fs::read_to_string(&path).expect("TREES_WORKFLOWS names a file");
    let graphs: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    assert!(!graphs.is_empty(), "{path} is empty");
    graphs.iter().map(|line| recorded(line)).for_each(|(parents, ids)| checks(&parents, &ids));
}

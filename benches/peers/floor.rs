//! The floor: a loop that starts each command when what it needs has ended, and keeps nothing. It is a process of its
//! own, measured like the others.

use rustix::process::{WaitOptions, wait};
use std::collections::{HashMap, VecDeque};
use std::process::{Command, Stdio};

/// The first argument of the process that is the floor.
pub const WORD: &str = "--floor";

/// Whether this process is to be the floor.
pub fn is_asked_for() -> bool {
    std::env::args().nth(1).as_deref() == Some(WORD)
}

/// The graph as the floor reads it: a line of needs a node.
pub fn lines(needs: &[Vec<usize>]) -> String {
    let line = |needs: &Vec<usize>| needs.iter().map(usize::to_string).collect::<Vec<_>>().join(" ") + "\n";
    needs.iter().map(line).collect()
}

/// Runs the graph of a file, so many commands at once.
#[expect(clippy::zombie_processes, reason = "whichever ends first is waited for")]
pub fn run() {
    let mut arguments = std::env::args().skip(2);
    let file = arguments.next().expect("a file");
    let width: usize = arguments.next().and_then(|text| text.parse().ok()).expect("a number");
    let text = std::fs::read_to_string(file).expect("a graph");
    let needs: Vec<Vec<usize>> = text.lines().map(|l| l.split_whitespace().filter_map(|n| n.parse().ok()).collect()).collect();
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (node, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|need| behind[*need].push(node));
    }
    let mut ready: VecDeque<usize> = (0..needs.len()).filter(|node| open[*node] == 0).collect();
    let mut flying: HashMap<i32, usize> = HashMap::new();
    while !ready.is_empty() || !flying.is_empty() {
        while flying.len() < width
            && let Some(node) = ready.pop_front()
        {
            let child = Command::new("/bin/sh").args(["-c", ":"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("sh");
            flying.insert(i32::try_from(child.id()).expect("a process number"), node);
        }
        let (pid, _) = wait(WaitOptions::empty()).expect("a child").expect("one that ended");
        let node = flying.remove(&pid.as_raw_nonzero().get()).expect("a child of ours");
        for next in std::mem::take(&mut behind[node]) {
            open[next] -= 1;
            if open[next] == 0 {
                ready.push_back(next);
            }
        }
    }
}

//! The trees that the cases run: small, with every shape in them, and every step marks the ledger.

use crate::binary;
use crate::place::Place;
use std::collections::BTreeMap;
use std::path::Path;

/// A tree and what the judge must know of it.
pub struct Sample {
    /// The tree file.
    pub tree: String,
    /// Other files beside it.
    pub files: Vec<(&'static str, String)>,
    /// The needs of each step by its path, instances apart: `fan[ash]`.
    pub needs: BTreeMap<&'static str, Vec<&'static str>>,
    /// Steps that never start twice: their outcome is unknown after a crash, and a person or their
    /// `on_crash: fail` decides.
    pub once: Vec<&'static str>,
    /// The steps of `finally`, which begin whenever their tree ends.
    pub finally: Vec<&'static str>,
    /// Steps that may start again in one sitting, by how often: retries.
    pub tries: BTreeMap<&'static str, usize>,
}

impl Sample {
    /// A place with its files.
    pub fn place(&self) -> Place {
        self.place_of(binary::release())
    }

    /// One for another binary.
    pub fn place_of(&self, binary: &Path) -> Place {
        let place = Place::of(binary);
        place.write("tree.yaml", &self.tree);
        self.files.iter().for_each(|(name, text)| place.write(name, text));
        place
    }
}

/// Every shape of the language that the state machine treats apart: fan-outs, by key, sub-trees,
/// retries, artifacts, verify, conditions, `finally`.
pub fn shapes() -> Sample {
    let needs = [
        ("left", vec!["plan"]),
        ("right", vec!["plan"]),
        ("fan[ash]", vec!["plan"]),
        ("fan[birch]", vec!["plan"]),
        ("fan[cedar]", vec!["plan"]),
        ("each[ash]", vec!["fan[ash]"]),
        ("each[birch]", vec!["fan[birch]"]),
        ("each[cedar]", vec!["fan[cedar]"]),
        ("flaky", vec!["left"]),
        ("made", vec!["right"]),
        ("used", vec!["made"]),
        ("verified", vec!["right"]),
        ("sub/one", vec!["left", "right"]),
        ("sub/three", vec!["sub/one"]),
        ("join", vec!["each[ash]", "each[birch]", "each[cedar]", "flaky", "verified", "sub/three"]),
        ("after", vec!["clean"]),
    ];
    Sample {
        tree: SHAPES.into(),
        files: vec![("sub.yaml", SUB.into())],
        needs: BTreeMap::from(needs),
        once: Vec::new(),
        finally: vec!["clean", "after", "sub/swept"],
        tries: BTreeMap::from([("flaky", 2)]),
    }
}

/// Steps that wait for a file `go`: one that begins again after a crash, and two external ones whose outcome only a
/// person knows then.
pub fn unknown() -> Sample {
    let mut tree = String::from("tree: unknown\nsteps:\n");
    for (step, what) in
        [("again", "on_crash: rerun"), ("asks", "effect: external, on_crash: ask"), ("fails", "effect: external, on_crash: fail")]
    {
        tree += &format!("  {step}: {{ {what}, run: '. ./mark; mark start; until [ -e go ]; do sleep 0.02; done; mark end' }}\n");
    }
    tree += "  after: { needs: [again, asks, fails], run: '. ./mark; mark start; mark end' }\n";
    // That the other two have ended is a person's word.
    let needs = BTreeMap::from([("after", vec!["again"])]);
    Sample { tree, files: Vec::new(), needs, once: vec!["asks", "fails"], finally: Vec::new(), tries: BTreeMap::new() }
}

/// A chain of a few steps: what a sweep over each system call can afford.
pub fn chain(length: usize) -> Sample {
    let mut tree = String::from("tree: chain\nsteps:\n");
    for step in 0..length {
        let needs = if step == 0 { String::new() } else { format!("needs: s{}, ", step - 1) };
        tree += &format!(
            "  s{step}: {{ {needs}run: '. ./mark; mark start; echo n={step} >> \"$TREES_OUTPUT\"; mark end', outputs: {{ n: integer }} }}\n"
        );
    }
    tree += &format!("outputs: {{ n: '{{{{ steps.s{}.outputs.n }}}}' }}\n", length - 1);
    Sample { tree, files: Vec::new(), needs: BTreeMap::new(), once: Vec::new(), finally: Vec::new(), tries: BTreeMap::new() }
}

/// A chain of two with an artifact after one of them.
pub fn chain_with_artifact(after: &str) -> Sample {
    let mut sample = chain(2);
    let outputs = sample.tree.find("outputs: { n: '").unwrap();
    let made = "run: '. ./mark; mark start; echo made > made.txt; mark end', artifacts: { made: made.txt }";
    sample.tree.insert_str(outputs, &format!("  made: {{ needs: {after}, {made} }}\n"));
    sample
}

const SHAPES: &str = include_str!("../shared/shapes.yaml");

const SUB: &str = include_str!("../shared/sub.yaml");

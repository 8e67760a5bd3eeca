//! Ways to come by the points where `trees` can be killed. Each plays one command with a shot armed,
//! goes on until all is done, and judges.

use crate::binary;
use crate::place::{Place, Told};
use crate::rollback::FOUR;
use crate::sample::{Sample, shapes};
use crate::sitting::Sitting;
use crate::verdict::{Reference, Trial, gaps, integrity};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// One.
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// Plays it; the place it was played in.
    pub play: fn(&Stage) -> Place,
    /// In the long form only.
    pub long: bool,
}

/// All of them.
pub const SCENES: &[Scene] = &[
    Scene { name: "run", play: run, long: false },
    Scene { name: "resume", play: resume, long: false },
    Scene { name: "signal", play: signal, long: false },
    Scene { name: "cancel", play: cancel, long: false },
    Scene { name: "request", play: request, long: false },
    Scene { name: "rollback", play: rollback, long: false },
    Scene { name: "restore", play: restore, long: false },
    Scene { name: "secret", play: secret, long: false },
    Scene { name: "gc", play: gc, long: false },
    Scene { name: "import", play: import, long: false },
    Scene { name: "shapes", play: all_shapes, long: true },
];

/// What is armed: `NAME:N:WHO`, or nothing.
pub struct Stage {
    /// The shot.
    pub shot: Option<String>,
}

/// Where the points that were reached are written, below a place.
pub const LOG: &str = "points";

impl Stage {
    /// Arms a command.
    fn arm(&self, place: &Place, mut command: Command) -> Command {
        command.env("TREES_FAILPOINT_LOG", place.root().join(LOG));
        if let Some(shot) = &self.shot {
            command.env("TREES_FAILPOINT", shot);
        }
        command
    }

    /// Runs `trees`, armed, to its end.
    fn shoot(&self, place: &Place, arguments: &[&str]) -> Told {
        Told::of(&self.arm(place, place.command(arguments)).output().unwrap())
    }

    /// Begins a sitting of a trial, armed.
    fn sit(&self, trial: &Trial<'_>) -> Sitting {
        Sitting::of(&trial.place, self.arm(&trial.place, trial.place.command(&trial.arguments())))
    }
}

fn place_of(sample: &Sample) -> Place {
    sample.place_of(binary::with_failpoints())
}

/// How a sample ends undisturbed, looked at once.
fn reference(known: &'static OnceLock<Reference>, sample: &Sample) -> &'static Reference {
    known.get_or_init(|| Reference::at(&place_of(sample)))
}

/// Goes on after the armed sitting and judges.
fn end(mut trial: Trial<'_>, told: Told, reference: &Reference) -> Place {
    note(&mut trial, told);
    trial.finish();
    trial.judge(reference);
    let litter = litter(&trial.place);
    assert!(litter.is_empty(), "left behind: {litter:?}\n{}", trial.history());
    trial.place
}

/// Takes down the armed sitting. A child that was killed is a failure of its step, and one that was
/// asked to end leaves its step: the resume runs it again.
fn note(trial: &mut Trial<'_>, told: Told) {
    if told.code == 0 { trial.note(told) } else { trial.note_cut_off(told) }
}

/// What `trees` made for itself outside its state folder and left.
fn litter(place: &Place) -> Vec<String> {
    let files = walk(&place.path("")).into_iter().filter(|path| !path.contains("/.trees/"));
    files.filter(|path| path.rsplit('/').next().unwrap_or_default().starts_with(".trees-")).collect()
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        found.push(entry.path().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

/// A few steps with all that has points of its own.
fn few() -> Sample {
    let needs =
        [("fan[ash]", vec!["plan"]), ("fan[birch]", vec!["plan"]), ("used", vec!["made"]), ("join", vec!["fan[ash]", "fan[birch]"])];
    sample(FEW, &needs, &[("flaky", 2)])
}

fn sample(tree: &str, needs: &[(&'static str, Vec<&'static str>)], tries: &[(&'static str, usize)]) -> Sample {
    let needs = needs.iter().cloned().collect();
    Sample {
        tree: tree.into(),
        files: Vec::new(),
        needs,
        once: Vec::new(),
        finally: vec!["clean"],
        tries: tries.iter().copied().collect::<BTreeMap<_, _>>(),
    }
}

const FEW: &str = r#"
tree: few
max_parallel: 4
steps:
  plan: { run: ". ./mark; mark start; echo 'items=[\"ash\",\"birch\"]' >> $TREES_OUTPUT; echo said; mark end", outputs: { items: list } }
  fan:
    foreach: { items: "{{ steps.plan.outputs.items }}", as: name }
    run: ". ./mark; mark start; mark end"
  flaky:
    retry: { attempts: 2, delay: 10ms }
    run: ". ./mark; mark start; test -e flaky.once || { : > flaky.once; exit 1; }; mark end"
  made: { run: ". ./mark; mark start; mkdir -p out; echo made > out/made; mark end", artifacts: { made: out/made } }
  used:
    lock: one
    run: ". ./mark; mark start; echo text=$(cat {{ steps.made.artifacts.made.path }}) >> $TREES_OUTPUT; mark end"
    outputs: { text: string }
  verified: { run: ". ./mark; mark start; echo yes > verified; mark end", verify: { run: "grep -q yes verified" } }
  kept: { uses: file/write, with: { path: kept, content: new } }
  join: { needs: [fan, flaky, verified, kept], run: ". ./mark; mark start; cat kept; mark end" }
finally:
  clean: { run: ". ./mark; mark start; mark end" }
outputs:
  items: "{{ steps.plan.outputs.items }}"
  text: "{{ steps.used.outputs.text }}"
"#;

static OF_FEW: OnceLock<Reference> = OnceLock::new();

fn run(stage: &Stage) -> Place {
    let sample = few();
    let reference = reference(&OF_FEW, &sample);
    let trial = Trial::at(place_of(&sample), &sample);
    let told = stage.sit(&trial).end();
    end(trial, told, reference)
}

static OF_SHAPES: OnceLock<Reference> = OnceLock::new();

fn all_shapes(stage: &Stage) -> Place {
    let sample = shapes();
    let reference = reference(&OF_SHAPES, &sample);
    let trial = Trial::at(place_of(&sample), &sample);
    let told = stage.sit(&trial).end();
    end(trial, told, reference)
}

/// The first sitting dies with steps under way; the second is armed.
fn resume(stage: &Stage) -> Place {
    resume_after(stage, |_| {})
}

/// The same, with something done to the place between them.
pub fn resume_after(stage: &Stage, between: impl FnOnce(&Place)) -> Place {
    let sample = few();
    let reference = reference(&OF_FEW, &sample);
    let mut trial = Trial::at(place_of(&sample), &sample);
    let first = Stage { shot: Some("registered:3".into()) };
    let told = first.sit(&trial).end();
    trial.note_crash(told);
    fs::remove_file(trial.place.root().join(LOG)).unwrap();
    between(&trial.place);
    let told = stage.sit(&trial).end();
    end(trial, told, reference)
}

const HELD: &str = r#"
tree: held
steps:
  before: { run: ". ./mark; mark start; mark end" }
  held: { needs: before, run: ". ./mark; mark start; until test -e go; do sleep 0.01; done; mark end" }
  after: { needs: held, run: ". ./mark; mark start; mark end" }
"#;

static OF_HELD: OnceLock<Reference> = OnceLock::new();

/// A trial of a run that waits in the middle, and what it should come to.
fn held() -> (Sample, &'static Reference) {
    let sample = sample(HELD, &[("held", vec!["before"]), ("after", vec!["held"])], &[]);
    let reference = OF_HELD.get_or_init(|| {
        let place = place_of(&sample);
        place.write("go", "");
        Reference::at(&place)
    });
    (sample, reference)
}

/// A sitting is asked to end by a signal, and rests.
fn signal(stage: &Stage) -> Place {
    let (sample, reference) = held();
    let trial = Trial::at(place_of(&sample), &sample);
    let mut sitting = stage.sit(&trial);
    if is_up(&mut sitting) {
        sitting.signal(Signal::INT);
    }
    let told = sitting.end();
    trial.place.write("go", "");
    end(trial, told, reference)
}

/// Follows it until the step that waits runs; false where it was killed before.
fn is_up(sitting: &mut Sitting) -> bool {
    while let Some(line) = sitting.line() {
        if line.contains(r#""step":"held""#) && line.contains(r#""step_started""#) {
            return true;
        }
    }
    false
}

/// A run is cancelled from elsewhere; its own process is armed. By name it goes on.
fn cancel(stage: &Stage) -> Place {
    let (sample, reference) = held();
    let trial = Trial::at(place_of(&sample), &sample);
    let mut sitting = stage.sit(&trial);
    let cancelled = is_up(&mut sitting) && trial.place.run(&["cancel", "@last"]).code == 0;
    let told = sitting.end();
    end_cancelled(trial, told, cancelled, reference)
}

/// A cancel that was acknowledged is never lost: a resume ends the run as cancelled, the next one
/// goes on with it.
fn end_cancelled(mut trial: Trial<'_>, told: Told, cancelled: bool, reference: &Reference) -> Place {
    trial.place.write("go", "");
    note(&mut trial, told);
    for _ in 0..2 {
        if trial.finish().code == 0 {
            break;
        }
    }
    trial.judge(reference);
    let recorded = trial.recorded().iter().any(|event| event["type"] == "cancel_requested");
    assert!(recorded || !cancelled, "the cancel was lost\n{}", trial.history());
    trial.place
}

/// The same, with the process armed that asks for the cancel. Asked twice is asked once.
fn request(stage: &Stage) -> Place {
    let (sample, reference) = held();
    let trial = Trial::at(place_of(&sample), &sample);
    let mut sitting = trial.sit();
    assert!(is_up(&mut sitting));
    if stage.shoot(&trial.place, &["cancel", "@last"]).code != 0 {
        trial.place.run(&["cancel", "@last"]);
    }
    let told = sitting.end();
    assert_eq!(told.events().last().unwrap()["status"], "cancelled");
    end_cancelled(trial, told, true, reference)
}

/// A failure is taken back; a rollback that died or is stuck goes on.
fn rollback(stage: &Stage) -> Place {
    let sample = sample(&FOUR.tree("d", "none"), &[], &[]);
    let mut trial = Trial::at(place_of(&sample), &sample);
    let told = stage.sit(&trial).end();
    note(&mut trial, told.clone());
    let mut code = told.code;
    for _ in 0..3 {
        code = match code {
            4 => break,
            // A killed undo.
            5 => match trial.place.run(&["rollback", &trial.run]).code {
                0 => 4,
                other => other,
            },
            _ => trial.finish().code,
        };
    }
    assert_eq!(code, 4, "it ends as rolled back\n{}", trial.history());
    let mut wrong = FOUR.wrong(&trial.place);
    wrong.extend(trial.missing(&trial.recorded()));
    assert!(wrong.is_empty(), "{}\n{}\n{}", wrong.join("\n"), trial.place.ledger(), trial.history());
    let before = trial.place.ledger();
    trial.place.run(&["rollback", &trial.run]).expect(0);
    assert_eq!(trial.place.ledger(), before, "I10");
    trial.place
}

const CACHED: &str = r#"
tree: cached
steps:
  made:
    cache: true
    inputs: { files: [] }
    run: ". ./mark; mark start; rm -rf out; mkdir -p out/deep; echo made > out/deep/made; echo 1 > out/one; mark end"
    artifacts: { out: out }
  used: { needs: made, run: ". ./mark; mark start; echo text=$(cat out/deep/made) >> $TREES_OUTPUT; mark end", outputs: { text: string } }
outputs: { text: "{{ steps.used.outputs.text }}" }
"#;

static OF_CACHED: OnceLock<Reference> = OnceLock::new();

/// A second run puts a folder back from the cache, over another.
fn restore(stage: &Stage) -> Place {
    let sample = sample(CACHED, &[], &[]);
    let reference = reference(&OF_CACHED, &sample);
    let trial = Trial::at(place_of(&sample), &sample);
    trial.place.run(&["run", "tree.yaml"]).expect(0);
    fs::remove_dir_all(trial.place.path("out")).unwrap();
    fs::remove_file(trial.place.path("ledger")).unwrap();
    trial.place.write("out/deep/other", "");
    let mut told = stage.sit(&trial).end();
    if told.events().is_empty() {
        // Whoever was told nothing asks again; what was there is there, old or new.
        assert!(trial.place.path("out/deep").is_dir());
        told = trial.sit().end();
    }
    let place = end(trial, told, reference);
    assert_eq!((place.read("out/deep/made").as_str(), place.path("out/deep/other").exists()), ("made\n", false));
    place
}

/// A secret is set, and with it a master key is made.
fn secret(stage: &Stage) -> Place {
    let tree = "tree: t\nsecrets: { TOKEN: {} }\nsteps:\n  a: { secrets: [TOKEN], run: 'test \"$TOKEN\" = canary' }\n";
    let place = Place::of(binary::with_failpoints());
    place.write("tree.yaml", tree);
    let set = |mut command: Command| {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It may have died before it reads.
        drop(child.stdin.take().unwrap().write_all(b"canary\n"));
        child.wait().unwrap().success()
    };
    let arguments = ["secret", "set", "TOKEN"];
    set(stage.arm(&place, place.command(&arguments)));
    assert!(set(place.command(&arguments)), "it is set after the crash");
    place.run(&["run", "tree.yaml"]).expect(0);
    well(&place);
    let home = fs::read_dir(place.root().join("home/.config/trees")).unwrap().flatten();
    let keys: Vec<_> = home.map(|entry| entry.file_name()).collect();
    assert_eq!(keys, ["master.key"], "one key and nothing beside it");
    place
}

/// The state is whole, as the judge and `doctor` see it.
#[track_caller]
fn well(place: &Place) {
    assert_eq!(integrity(place), Vec::<String>::new());
    assert_eq!(place.processes(), Vec::<String>::new());
    place.run(&["doctor"]).expect(0);
}

const OLD: &str = r#"
tree: old
params: { n: { type: integer } }
steps:
  made: { run: 'echo {{ params.n }} > kept; echo {{ params.n }} lost > lost', artifacts: { kept: kept } }
  lost: { run: 'echo {{ params.n }} > lost', artifacts: { lost: lost, never: never } }
"#;

/// Old runs go, with artifacts that nobody names; the newest stays as it was.
fn gc(stage: &Stage) -> Place {
    let place = Place::of(binary::with_failpoints());
    place.write("tree.yaml", OLD);
    for n in ["n=1", "n=2", "n=3"] {
        place.run(&["run", "tree.yaml", "-p", n]).expect(1);
    }
    let before = place.run(&["events", "@last", "--format", "json"]).expect(0).stdout;
    let long_ago = SystemTime::now() - Duration::from_secs(7_200);
    for path in walk(&place.path(".trees/artifacts")) {
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let collect = ["gc", "--keep", "1", "--format", "json"];
    stage.shoot(&place, &collect);
    place.run(&collect).expect(0);
    let last = place.run(&collect).expect(0).stdout;
    assert!(last.contains(r#""runs": []"#) && last.contains(r#""artifacts": []"#), "I10: {last}");
    assert_eq!(place.run(&["events", "@last", "--format", "json"]).expect(0).stdout, before);
    let folders = fs::read_dir(place.path(".trees/runs")).unwrap().count();
    assert_eq!(folders, 1, "folders of runs");
    place.run(&["run", "tree.yaml", "-p", "n=4"]).expect(1);
    well(&place);
    place
}

/// An exported run is taken in elsewhere, once.
fn import(stage: &Stage) -> Place {
    let sample = few();
    let from = place_of(&sample);
    from.run(&["run", "tree.yaml"]).expect(0);
    from.run(&["export", "@last", "-o", "run.tgz"]).expect(0);
    let events = from.run(&["events", "@last", "--format", "json"]).expect(0).events();
    let place = Place::of(binary::with_failpoints());
    place.write("run.tgz", fs::read(from.path("run.tgz")).unwrap());
    let take = ["import", "run.tgz"];
    stage.shoot(&place, &take);
    place.run(&take).expect(0);
    place.run(&take).expect(0);
    let here = place.run(&["events", "@last", "--format", "json"]).expect(0).events();
    assert_eq!((&here, gaps(&here)), (&events, Vec::new()));
    place.run(&["logs", "@last", "plan"]).expect(0);
    well(&place);
    place
}

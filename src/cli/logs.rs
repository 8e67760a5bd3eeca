//! `trees logs`: what steps printed.

use super::global::Global;
use super::runs;
use super::story::{Retold, Story, at_rest};
use crate::failure::{Exit, Failure};
use crate::report::clean::clean;
use crate::report::out;
use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, stdout};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use trees_core::event::{Event, EventKind};
use trees_core::journal::Journal as _;
use trees_core::path::{RunId, StepPath};
use trees_core::store::undo_folder;
use trees_state::State;

const LOOK: Duration = Duration::from_millis(200);
/// Bytes of a line that a terminal gets at once.
const PIECE: usize = 64 * 1024;
/// So much of a log is read at once.
const CHUNK: usize = 64 * 1024;

/// Print what the steps of a run printed, as they printed it.
///
/// Of several steps each line begins with the step's path. On a terminal control characters are
/// left out: what a step printed orders nothing there. A file or a pipe gets every byte.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    #[arg(default_value = "@last")]
    run: String,
    /// Only this step, its instances and the steps in it
    step: Option<String>,
    /// Go on until the run ends or rests
    #[arg(short, long)]
    follow: bool,
    /// Only this attempt [default: all]
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    global.json().map(drop)?;
    let state = runs::required(global)?;
    let run = runs::find(&state, &args.run)?.run;
    let recorded = state.load(&run, 0)?;
    let retold = Retold::of(&run, &recorded, runs::definitions(&state, &run).ok());
    let step = args.step.as_deref().map(runs::step_path);
    if let Some(step) = &step {
        // One that another tree left behind has its logs still.
        let gone = || known(&Story::of(&recorded, None), &run, step, args.attempt);
        known(&retold.story, &run, step, args.attempt).or_else(|unknown| gone().map_err(|_| unknown))?;
    }
    let mut reader = Reader {
        state: &state,
        run: &run,
        step,
        names: names(&retold, &recorded),
        attempt: args.attempt,
        logs: Vec::new(),
        index: HashMap::new(),
        undos: HashMap::new(),
        seq: 0,
        alone: true,
    };
    reader.follow(args.follow)?;
    Ok(Exit::OK)
}

/// Says which steps there are where the one asked for is unknown.
fn known(story: &Story, run: &RunId, step: &StepPath, attempt: Option<u32>) -> Result<(), Failure> {
    let under = story.under(step.as_str());
    if under.is_empty() {
        let names: Vec<&str> = story.steps.iter().take(12).map(|s| s.path.as_str()).collect();
        return Err(Failure::wrong(format!("run {run} has no step `{step}`")).hint(format!("steps it has: {}", names.join(", "))));
    }
    match attempt {
        Some(number) if under.iter().all(|s| s.attempts < number) => Err(Failure::wrong(format!("`{step}` has no attempt {number}"))),
        _ => Ok(()),
    }
}

/// The names that steps have now where they had another, by the number of the event that tells of them.
fn names(retold: &Retold<'_>, recorded: &[Event]) -> HashMap<u64, StepPath> {
    let former: HashMap<u64, &StepPath> = recorded.iter().filter_map(|event| Some((event.seq, event.step.as_ref()?))).collect();
    let now = retold.events.iter().filter_map(|event| Some((event.seq, event.step.as_ref()?)));
    now.filter(|(seq, step)| former.get(seq) != Some(step)).map(|(seq, step)| (seq, step.clone())).collect()
}

/// Reads logs as they grow.
struct Reader<'a> {
    state: &'a State,
    run: &'a RunId,
    step: Option<StepPath>,
    names: HashMap<u64, StepPath>,
    attempt: Option<u32>,
    logs: Vec<Log>,
    index: HashMap<(StepPath, u32), usize>,
    /// Tries of undos so far.
    undos: HashMap<StepPath, u32>,
    seq: u64,
    /// All that was seen is of one step.
    alone: bool,
}

struct Log {
    step: StepPath,
    path: PathBuf,
    read: u64,
    /// A line that is not whole yet.
    rest: Vec<u8>,
    ended: bool,
}

impl Reader<'_> {
    fn follow(&mut self, follow: bool) -> Result<(), Failure> {
        loop {
            let rests = at_rest(runs::find(self.state, &self.run.0)?.status);
            for event in self.state.load(self.run, self.seq)? {
                self.seq = event.seq;
                self.hear(&event)?;
            }
            self.alone = self.logs.iter().all(|log| log.step == self.logs[0].step) && self.step.is_some();
            let last = rests || !follow;
            for index in 0..self.logs.len() {
                if !self.read(index, last) {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
    }

    fn hear(&mut self, event: &Event) -> Result<(), Failure> {
        let (Some(step), Some(attempt)) = (&event.step, event.attempt) else { return Ok(()) };
        let undo = event.kind == EventKind::UndoStarted;
        if undo {
            *self.undos.entry(step.clone()).or_default() += 1;
        }
        let name = self.names.get(&event.seq).unwrap_or(step);
        let wanted = self.step.as_ref().is_none_or(|wanted| is_under(name, wanted)) && self.attempt.is_none_or(|n| n == attempt);
        if !wanted {
            return Ok(());
        }
        let key = (step.clone(), attempt);
        if undo || (matches!(event.kind, EventKind::StepStarted { .. }) && !self.index.contains_key(&key)) {
            let folder = self.state.attempt_path(self.run, step, attempt)?;
            let folder = if undo { undo_folder(&folder, self.undos[step]) } else { folder };
            let path = folder.join("output.log");
            self.index.insert(key, self.logs.len());
            self.logs.push(Log { step: name.clone(), path, read: 0, rest: Vec::new(), ended: false });
        } else if let Some(index) = self.index.get(&key) {
            self.logs[*index].ended = true;
        }
        Ok(())
    }

    /// Prints what came since the last time; false when nobody reads it.
    fn read(&mut self, index: usize, last: bool) -> bool {
        let alone = self.alone;
        let log = &mut self.logs[index];
        let Ok(mut file) = File::open(&log.path) else { return true };
        if file.seek(SeekFrom::Start(log.read)).is_err() {
            return true;
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match file.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            log.read += count as u64;
            if !log.print(&chunk[..count], alone) {
                return false;
            }
        }
        !(last || log.ended) || log.print_rest(alone)
    }
}

impl Log {
    fn print(&mut self, bytes: &[u8], alone: bool) -> bool {
        let terminal = stdout().is_terminal();
        if alone && !terminal {
            return raw(bytes);
        }
        self.rest.extend_from_slice(bytes);
        let long = terminal && self.rest.len() > PIECE;
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n').or(long.then(|| self.rest.len() - 1)) else { return true };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        whole.split_inclusive(|b| *b == b'\n').all(|line| out(&self.shown(line, alone, terminal)))
    }

    fn print_rest(&mut self, alone: bool) -> bool {
        let rest = std::mem::take(&mut self.rest);
        rest.is_empty() || out(&self.shown(&[&rest[..], b"\n"].concat(), alone, stdout().is_terminal()))
    }

    /// A line, or a piece of one, as it is printed.
    fn shown(&self, line: &[u8], alone: bool, terminal: bool) -> String {
        let text = String::from_utf8_lossy(line);
        let end = if text.ends_with('\n') { "\n" } else { "" };
        let text = if terminal { clean(&text) + end } else { text.into_owned() };
        if alone { text } else { format!("{} │ {text}", self.step) }
    }
}

/// Bytes as they are.
fn raw(bytes: &[u8]) -> bool {
    use std::io::Write as _;
    let mut stdout = stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).is_ok()
}

fn is_under(step: &StepPath, wanted: &StepPath) -> bool {
    let rest = step.as_str().strip_prefix(wanted.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[']))
}

//! What nginx says: of a configuration that it tests, and in its log of one that it cannot take.

use std::fs;
use std::path::PathBuf;
use trees_runner::kind::{KindError, ReadCx};

/// What nginx said of a configuration.
///
/// # Errors
/// When it refuses it, or would not let it answer.
pub fn judged(ok: bool, said: &str, names: &[String], cx: &ReadCx) -> Result<(), KindError> {
    let names: Vec<String> = if names.is_empty() { vec!["_".into()] } else { names.to_vec() };
    let conflict = |line: &&str| line.contains("conflicting server name") && names.iter().any(|name| line.contains(&format!("\"{name}\"")));
    if let Some(line) = said.lines().find(conflict) {
        let message = format!("another route has this name on this port already; what served before still serves\n{}", cx.head(line, 400));
        return Err(KindError::new(message).help("give the routes other `server_names`, or another `listen`"));
    }
    if ok {
        return Ok(());
    }
    let grave = |line: &&str| line.contains("[emerg]") || line.contains("[crit]") || line.contains("[error]");
    let words: Vec<&str> = said.lines().filter(grave).collect();
    let words = if words.is_empty() { said.to_owned() } else { words.join("\n") };
    Err(KindError::new(format!("nginx refuses the configuration; what served before still serves\n{}", cx.head(&words, 800))))
}

/// What nginx writes to its log from now on.
pub struct Log {
    path: Option<PathBuf>,
    from: usize,
}

impl Log {
    /// From its end as it is now.
    pub fn new(path: Option<PathBuf>) -> Self {
        let from =
            path.as_ref().and_then(|path| fs::metadata(path).ok()).map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(usize::MAX));
        Self { path, from }
    }

    /// The grave lines, each once and without its time.
    pub fn words(&self) -> Vec<String> {
        let bytes = self.path.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned();
        let mut words: Vec<String> = Vec::new();
        for line in text.lines().filter_map(|line| Some(line.split_once("[emerg]")?.1)) {
            let line = line.split_once(": ").map_or(line, |(_, rest)| rest).trim().to_owned();
            if !words.contains(&line) {
                words.push(line);
            }
        }
        words
    }

    /// Whether it has given up: a port that is taken it tries again for a while.
    pub fn given_up(&self) -> bool {
        self.words().iter().any(|line| !line.contains("Address already in use"))
    }

    /// Its words, or that there are none.
    pub fn or_silence(&self, cx: &ReadCx) -> String {
        let place = self.path.as_ref().map_or_else(|| "its log".into(), |path| format!("`{}`", path.display()));
        let words = self.words();
        if words.is_empty() { format!("it wrote no reason to {place}") } else { cx.head(&words.join("; "), 800) }
    }
}

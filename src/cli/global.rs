//! The options that every command takes, and the state folder they point at.

use crate::failure::Failure;
use crate::report::ColorChoice;
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Options of every command.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The state folder [default: $TREES_STATE, else the nearest `.trees` upward, else beside the
    /// nearest `.git` upward, else `.trees` here]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How to print: human, plain or json; `check` also sarif; `graph` svg, dot, mermaid or text
    #[arg(long, global = true, value_name = "FORMAT", hide_possible_values = true)]
    pub format: Option<Format>,
    /// When to use colour (NO_COLOR is honoured)
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Say more on standard error: -v what trees does, -vv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what failed and how it ended
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// After Ctrl-C, a cancel or a timeout: how long a step may take to end before SIGTERM;
    /// SIGKILL follows 5 s later
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = trees_core::units::duration)]
    pub grace: Duration,
    /// What the record of a run survives
    #[arg(long, global = true, value_name = "LEVEL", default_value = "full")]
    pub durability: Durability,
    /// This process drives a run that was started with --detach
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// The forms of printing. Which command knows which is checked by [`Global::known`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: bars on a terminal, else plain lines.
    Human,
    /// Lines without control characters.
    Plain,
    /// For programs.
    Json,
    /// Static analysis results (check).
    Sarif,
    /// A drawing (graph).
    Svg,
    /// Graphviz (graph).
    Dot,
    /// Mermaid (graph).
    Mermaid,
    /// A listing by layers (graph).
    Text,
}

impl Format {
    fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// A power cut; every transition waits for the disk.
    Full,
    /// The end of the process; a power cut may take the last moments.
    Normal,
}

impl Global {
    /// The format asked for, if this command knows it.
    pub fn known(&self, formats: &[Format]) -> Result<Option<Format>, Failure> {
        match self.format {
            Some(format) if !formats.contains(&format) => {
                let names: Vec<String> = formats.iter().map(|f| f.name()).collect();
                Err(Failure::wrong(format!("this command does not print {}; it knows {}", format.name(), names.join(", "))))
            }
            format => Ok(format),
        }
    }

    /// Whether a listing is for a program.
    pub fn json(&self) -> Result<bool, Failure> {
        Ok(self.known(&[Format::Human, Format::Plain, Format::Json])? == Some(Format::Json))
    }
}

/// Sends what the crates log to standard error; nothing without `-v`.
pub fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "trees=info,trees_core=info,trees_runner=info,trees_state=info,trees_steps=info",
        2 => "trees=debug,trees_core=debug,trees_runner=debug,trees_state=debug,trees_steps=debug,info",
        _ => "trace",
    };
    let format = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level)).with_ansi(false).without_time();
    // A second subscriber cannot be set; there is only one caller.
    drop(format.with_writer(crate::report::LogWriter::new).try_init());
}

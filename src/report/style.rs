//! Colour and width: decided here and nowhere else. Texts are made of painted parts, fitted to a
//! width first and coloured last.

use clap::ValueEnum;
use console::{Style, Term};
use std::env;
use std::io::IsTerminal as _;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Also into pipes and files.
    Always,
    /// Nowhere.
    Never,
}

/// Decides for both streams, once.
pub fn color(choice: ColorChoice) {
    let wanted = |terminal: bool| match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            terminal && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && env::var_os("TERM").is_none_or(|t| t != "dumb")
        }
    };
    console::set_colors_enabled(wanted(std::io::stdout().is_terminal()));
    console::set_colors_enabled_stderr(wanted(std::io::stderr().is_terminal()));
}

/// Rows and columns of the terminal on standard error.
pub fn size() -> (usize, usize) {
    let (rows, columns) = Term::stderr().size();
    (usize::from(rows), usize::from(columns))
}

/// Columns of standard output where it is a terminal; else as wide as it takes.
pub fn columns() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
}

/// What a part of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// A success.
    Good,
    /// A failure.
    Bad,
    /// It wants attention.
    Care,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

impl Paint {
    fn style(self, stderr: bool) -> Style {
        let style = if stderr { Style::new().for_stderr() } else { Style::new() };
        match self {
            Self::Plain => style,
            Self::Good => style.green(),
            Self::Bad => style.red().bold(),
            Self::Care => style.yellow(),
            Self::Faint => style.dim(),
            Self::Strong => style.bold(),
        }
    }
}

/// A line made of painted parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(Paint, String)>);

impl Line {
    /// A word of caution.
    pub fn caution(text: &str) -> Self {
        Self::default().with(Paint::Care, "! ").with(Paint::Plain, text)
    }

    /// Adds a part.
    #[must_use]
    pub fn with(mut self, paint: Paint, text: impl Into<String>) -> Self {
        self.0.push((paint, text.into()));
        self
    }

    /// Columns it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| console::measure_text_width(text)).sum()
    }

    /// Cut to a width, the cut marked.
    #[must_use]
    pub fn fit(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width;
        let mut parts = Vec::new();
        for (paint, text) in self.0 {
            let needs = console::measure_text_width(&text);
            if needs < left {
                left -= needs;
                parts.push((paint, text));
            } else {
                parts.push((paint, cut(&text, left)));
                break;
            }
        }
        Self(parts)
    }

    /// Without colour.
    pub fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// For standard error, coloured if that was decided.
    pub fn painted(&self) -> String {
        self.0.iter().filter(|(_, text)| !text.is_empty()).map(|(paint, text)| paint.style(true).apply_to(text).to_string()).collect()
    }

    /// For standard output, coloured if that was decided.
    pub fn painted_out(&self) -> String {
        self.0.iter().filter(|(_, text)| !text.is_empty()).map(|(paint, text)| paint.style(false).apply_to(text).to_string()).collect()
    }
}

/// A text cut to a width; `…` marks the cut.
pub fn cut(text: &str, width: usize) -> String {
    if width == 0 {
        return String::new();
    }
    console::truncate_str(text, width, "…").into_owned()
}

/// A text filled with blanks to a width.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(console::measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

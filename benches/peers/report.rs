//! What was measured, as lines, as a table and as a picture.

use super::measure::Sample;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The table stands between these lines of the page.
const MARKS: [&str; 2] = ["<!-- peers: written by cargo bench --bench peers -- --write -->", "<!-- /peers -->"];

/// Pixels of the picture: left of the bars, for a tenfold ratio, a bar's height.
const LEFT: f64 = 190.0;
const TENFOLD: f64 = 210.0;
const BAR: f64 = 13.0;

/// A graph with a width, and what each tool took in each round.
pub struct Row {
    pub shape: String,
    pub steps: usize,
    pub width: usize,
    pub tools: Vec<(&'static str, Vec<Sample>)>,
}

/// The medians of a tool; ratios are to the floor of the same round.
struct Figures {
    name: &'static str,
    ratio: f64,
    /// Microseconds of processor time a step, beyond the floor's.
    own: f64,
    /// MiB.
    memory: f64,
    /// KiB a step.
    written: f64,
}

impl Row {
    fn name(&self) -> String {
        format!("{}, {} steps, {} in flight", self.shape, self.steps, self.width)
    }

    fn figures(&self) -> Vec<Figures> {
        let floor = &self.tools[0].1;
        let steps = self.steps as f64;
        let of = |(name, samples): &(&'static str, Vec<Sample>)| Figures {
            name,
            ratio: median(samples.iter().zip(floor).map(|(s, f)| s.time.as_secs_f64() / f.time.as_secs_f64())),
            own: median(samples.iter().zip(floor).map(|(s, f)| (s.cpu.as_secs_f64() - f.cpu.as_secs_f64()) * 1e6 / steps)),
            memory: median(samples.iter().map(|s| s.memory as f64 / 1024.0)),
            written: median(samples.iter().map(|s| s.written as f64 / 1024.0 / steps)),
        };
        self.tools.iter().map(of).collect()
    }

    /// Milliseconds of the floor.
    fn floor(&self) -> f64 {
        median(self.tools[0].1.iter().map(|s| s.time.as_secs_f64() * 1e3))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Where it was measured.
pub fn machine(rounds: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "{cores} cores, load {load} before; medians of {rounds} interleaved rounds; each step is `sh -c :`; `trees` with --durability full"
    )
}

/// A row for the terminal.
pub fn line(row: &Row) -> String {
    let mut text = format!("{}: floor {:.1} ms;", row.name(), row.floor());
    for f in row.figures().iter().skip(1) {
        let _ = write!(text, " {} {:.2} ({:.0} us, {:.1} MiB, {:.2} KiB)", f.name, f.ratio, f.own, f.memory, f.written);
    }
    text
}

/// Puts the table into the page and the picture beside it.
pub fn write(rows: &[Row], rounds: usize) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = docs.join("PERFORMANCE.md");
    let text = fs::read_to_string(&page).expect("the page");
    let [from, to] = MARKS.map(|mark| text.find(mark).expect("the marks of the table stand in the page"));
    let head = &text[..from + MARKS[0].len()];
    fs::write(&page, format!("{head}\n{}\n\n{}\n{}", machine(rounds), table(rows), &text[to..])).expect("the page");
    fs::write(docs.join("peers.svg"), picture(rows)).expect("the picture");
}

fn names(rows: &[Row]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| row.tools.iter().skip(1)) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names
}

/// Times as ratios to the floor; of `trees` also its own processor time, memory and what it writes.
fn table(rows: &[Row]) -> String {
    let names = names(rows);
    let mut text = format!(
        "| graph | floor | {} | own CPU a step | memory | written a step |\n|---|{}\n",
        names.join(" | "),
        "---:|".repeat(names.len() + 4)
    );
    for row in rows {
        let figures = row.figures();
        let find = |name: &str| figures.iter().find(|f| f.name == name);
        let ratios = names.iter().map(|name| find(name).map_or(String::new(), |f| format!("{:.2}", f.ratio)));
        let ours = find("trees").map_or(String::new(), |f| format!("{:.0} us | {:.1} MiB | {:.2} KiB", f.own, f.memory, f.written));
        let _ = writeln!(text, "| {} | {:.1} ms | {} | {ours} |", row.name(), row.floor(), ratios.collect::<Vec<_>>().join(" | "));
    }
    text
}

/// Bars by the logarithm of the ratio, the rows of a thousand steps.
fn picture(rows: &[Row]) -> String {
    let shown: Vec<&Row> = rows.iter().filter(|row| row.steps == 1_000).collect();
    let mut body = String::new();
    let mut y = 24.0;
    for row in &shown {
        let _ = writeln!(body, "<text x=\"8\" y=\"{:.0}\" font-weight=\"bold\">{}</text>", y + 10.0, row.name());
        y += BAR + 4.0;
        for f in row.figures().iter().skip(1) {
            let width = (f.ratio.max(1.0).log10() * TENFOLD).max(1.0);
            let colour = if f.name == "trees" { "#2f7d4f" } else { "#9aa5b1" };
            let _ = writeln!(
                body,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text><rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.0}\">{:.2}</text>",
                LEFT - 6.0,
                y + 10.0,
                f.name,
                BAR - 2.0,
                LEFT + width + 5.0,
                y + 10.0,
                f.ratio
            );
            y += BAR;
        }
        y += 8.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"{y:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"14\">time beside a bare spawn loop (1 = the loop; logarithmic)</text>\n{body}</svg>\n"
    )
}

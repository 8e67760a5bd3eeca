//! Floods: however much a step prints and whatever it is, the memory of `trees` stays flat, what is
//! kept is exact up to the cap, and no byte of it moves anything on a terminal.

use crate::chance::{Chance, size};
use crate::place::{Place, Told};
use crate::terminal::{SCREEN, Terminal};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes of one log that are kept.
const CAP: u64 = 64 << 20;
/// What `trees` may ever have had in memory, in KiB.
const MEMORY: u64 = 150 << 10;
/// Bytes of one numbered line, its end included.
const LINE: u64 = 11;

/// The last step of each tree: what `trees` has had in memory at most, by the kernel's account.
const PEAK: &str = r#"
    run: |
      sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/kib=\1/p' "/proc/$PPID/status" >> "$TREES_OUTPUT"
    outputs: { kib: integer }
outputs: { kib: "{{ steps.peak.outputs.kib }}" }
"#;

/// Numbered lines of `LINE` bytes: which bytes stand where is known.
fn numbered(bytes: u64) -> String {
    format!("seq 1000000001 {}", 1_000_000_000 + bytes / LINE)
}

/// Runs a tree whose last step is `peak`; its memory in KiB.
fn flooded(place: &Place, arguments: &[&str]) -> u64 {
    let told = place.run(&[&["run", "tree.yaml", "--format", "json"], arguments].concat()).expect(0);
    let events = told.events();
    let kib = events.last().and_then(|end| end["outputs"]["kib"].as_u64()).unwrap();
    assert!(kib <= MEMORY, "trees had {kib} KiB in memory");
    kib
}

/// The log of a step.
fn log(place: &Place, step: &str) -> PathBuf {
    let runs = fs::read_dir(place.path(".trees/runs")).unwrap().next().unwrap().unwrap().path();
    runs.join("steps").join(step.replace('[', "%5B").replace(']', "%5D")).join("1/output.log")
}

/// The file holds a part of the numbered lines.
fn same(place: &Place, file: &Path, at: u64, from: u64, length: u64) {
    let (first, last) = (from / LINE, (from + length) / LINE + 1);
    let script = format!(
        "cmp <(seq {} {} | tail -c +{} | head -c {length}) <(tail -c +{} \"$0\" | head -c {length})",
        1_000_000_001 + first,
        1_000_000_001 + last,
        from % LINE + 1,
        at + 1
    );
    let told = Told::of(&place.program("bash").args(["-c", &script]).arg(file).output().unwrap());
    assert_eq!(told.code, 0, "the log differs: {}{}", told.stdout, told.stderr);
}

#[test]
fn much_output_is_cut_in_the_middle_and_said_so() {
    let bytes = size(256 << 20, 10_u64 << 30) / LINE * LINE;
    let place = Place::with(&format!("tree: flood\nsteps:\n  loud: {{ run: {} }}\n  peak:\n    needs: loud{PEAK}", numbered(bytes)));
    let kib = flooded(&place, &[]);
    let log = log(&place, "loud");
    let mark = cut_mark(&log);
    assert_eq!(mark.trim_start(), format!("… trees cut {} bytes here: the log has a limit of {CAP} …\n", bytes - CAP));
    assert_eq!(fs::metadata(&log).unwrap().len(), CAP + mark.len() as u64);
    same(&place, &log, 0, 0, CAP / 2);
    same(&place, &log, CAP / 2 + mark.len() as u64, bytes - CAP / 2, CAP / 2);
    println!("floods: {bytes} bytes of output: {kib} KiB, {CAP} bytes exact");
}

/// The line where the cut is.
fn cut_mark(log: &Path) -> String {
    let mut around = vec![0; 200];
    File::open(log).unwrap().read_exact_at(&mut around, CAP / 2).unwrap();
    let text = String::from_utf8_lossy(&around).into_owned();
    let end = text.find(" …\n").unwrap_or_else(|| panic!("no mark of a cut: {text}")) + " …\n".len();
    text[..end].to_owned()
}

#[test]
fn one_line_without_an_end() {
    let bytes: u64 = size(CAP, 1 << 30);
    let script = format!("head -c {bytes} /dev/zero | tr '\\\\0' x");
    let place = Place::with(&format!("tree: flood\nsteps:\n  long: {{ run: \"{script}\" }}\n  peak:\n    needs: long{PEAK}"));
    let kib = flooded(&place, &[]);
    let log = log(&place, "long");
    let kept = fs::read(&log).unwrap();
    let count = kept.iter().filter(|b| **b == b'x').count() as u64;
    assert!(count >= bytes.min(CAP) && count <= bytes.min(CAP) + 1, "{count} of {bytes} bytes are kept");
    assert_eq!(kept.len() as u64 > CAP, bytes > CAP, "what fits is kept without a mark");
    println!("floods: one line of {bytes} bytes: {kib} KiB, {} bytes exact", bytes.min(CAP));
}

#[test]
fn fifty_at_once() {
    let bytes = size(8 << 20, 200 << 20) / LINE * LINE;
    let items: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let place = Place::with(&format!(
        "tree: flood\nmax_parallel: 50\nsteps:\n  loud: {{ foreach: {{ items: [{}] }}, run: {} }}\n  peak:\n    needs: loud{PEAK}",
        items.join(", "),
        numbered(bytes)
    ));
    let kib = flooded(&place, &["-j", "50"]);
    for item in &items {
        let log = log(&place, &format!("loud[{item}]"));
        if bytes <= CAP {
            assert_eq!(fs::metadata(&log).unwrap().len(), bytes, "loud[{item}]");
            same(&place, &log, 0, 0, bytes);
        } else {
            same(&place, &log, 0, 0, CAP / 2);
            same(&place, &log, CAP / 2 + cut_mark(&log).len() as u64, bytes - CAP / 2, CAP / 2);
        }
    }
    println!("floods: fifty at once of {bytes} bytes: {kib} KiB, all exact");
}

/// What a terminal would obey: a title, the clipboard, another screen, a reset, a bell, a shift of
/// the character set, colours, the cursor, a question that is answered as if typed, 8-bit forms.
const ORDERS: &[&[u8]] = &[
    b"\x1b]0;owned\x07",
    b"\x1b]52;c;b3duZWQ=\x07",
    b"\x1b[?1049h",
    b"\x1bc",
    b"\x07",
    b"\x0e",
    b"\x1b[31;1m",
    b"\x1b[2J\x1b[H",
    b"\x1b[6n",
    b"\x1b[?1003h",
    b"\x1bP$qm\x1b\\",
    b"\xc2\x9b31m",
    b"\xc2\x9d0;owned\xc2\x9c",
    b"\x1b[20h",
    b"\x1b(0",
];

#[test]
fn odd_bytes_are_kept_and_do_nothing_to_a_terminal() {
    let mut odd = Vec::new();
    for order in ORDERS {
        odd.extend_from_slice(b"an order: ");
        odd.extend_from_slice(order);
        odd.extend_from_slice(b" in a line\n\0\0NUL\0\n");
    }
    let mut chance = Chance(7);
    let random: Vec<u8> = (0..size(1 << 20, 16 << 20) / 8).flat_map(|_: u64| chance.next().to_le_bytes()).collect();
    odd.extend_from_slice(&random);
    odd.extend(ORDERS.concat());
    let script = "steps:\n  odd: { run: 'cat odd.bin; cat odd.bin >&2; until [ -e go ]; do sleep 0.02; done; exit 1' }\n";
    let place = Place::with(&format!("tree: odd\n{script}"));
    place.write("odd.bin", &odd);
    let terminal = Terminal::start(&place.command(&["run", "tree.yaml"]), SCREEN);
    terminal.until("odd", 1);
    place.write("go", "");
    let (code, seen) = terminal.end();
    assert_eq!(code, 1, "{}", String::from_utf8_lossy(&seen));
    unharmed("run", &seen);
    assert!(fs::read(log(&place, "odd")).unwrap() == [odd.clone(), odd].concat(), "the log is not what was printed");
    for arguments in [&["logs", "@last", "odd"][..], &["logs", "@last"], &["show", "@last"], &["why", "@last", "odd"], &["events", "@last"]]
    {
        let (_, seen) = Terminal::start(&place.command(arguments), SCREEN).end();
        unharmed(arguments[0], &seen);
    }
    println!("floods: {} odd bytes kept, {} orders to a terminal obeyed by none of 6 screens", random.len(), ORDERS.len());
}

/// Nothing but what a screen says itself reached the terminal.
fn unharmed(what: &str, seen: &[u8]) {
    for order in ORDERS {
        let found = seen.windows(order.len()).position(|part| part == *order);
        assert!(found.is_none(), "{what}: {:?} reached the terminal: {:?}", String::from_utf8_lossy(order), around(seen, found));
    }
    let wild = seen.iter().position(|b| matches!(b, 0..=6 | 0x0e..=0x1a | 0x1c..=0x1f));
    assert!(wild.is_none(), "{what}: a control character reached the terminal: {:?}", around(seen, wild));
}

fn around(seen: &[u8], at: Option<usize>) -> String {
    let at = at.unwrap_or(0);
    let mut text = String::new();
    let part = &seen[at.saturating_sub(30)..(at + 30).min(seen.len())];
    drop((&mut &*part).read_to_string(&mut text));
    if text.is_empty() { format!("{part:?}") } else { text }
}

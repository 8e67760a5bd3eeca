use super::*;
use std::fs;

/// What a log with a limit must hold of these bytes.
fn expected(bytes: &[u8], limit: usize) -> Vec<u8> {
    if bytes.len() <= limit {
        return bytes.to_vec();
    }
    let (head, tail) = (limit - limit / 2, limit / 2);
    let cut = bytes.len() - limit;
    let gap = if bytes[head - 1] == b'\n' { "" } else { "\n" };
    let mark = format!("{gap}… trees cut {cut} bytes here: the log has a limit of {limit} …\n");
    [&bytes[..head], mark.as_bytes(), &bytes[bytes.len() - tail..]].concat()
}

#[test]
fn head_and_tail_are_exact_for_every_size_and_split() {
    let all: Vec<u8> = (0..100u8).map(|i| if i % 7 == 0 { b'\n' } else { b'!' + i % 90 }).collect();
    for limit in [2, 3, 10, 11, 64] {
        for size in 0..all.len() {
            for step in [1, 3, 16, 100] {
                let folder = tempfile::tempdir().unwrap();
                let mut log = Log::new(folder.path(), limit as u64, Clock::default());
                all[..size].chunks(step).for_each(|piece| log.write(piece));
                let kept = log.finish();
                assert!(kept.error.is_none());
                assert_eq!((kept.bytes, kept.cut), (size as u64, size.saturating_sub(limit) as u64));
                let found = fs::read(folder.path().join(FILE)).unwrap_or_default();
                assert!(
                    found == expected(&all[..size], limit),
                    "limit {limit}, size {size}, step {step}: {:?}",
                    String::from_utf8_lossy(&found)
                );
                assert!(!folder.path().join(RING).exists());
                assert_eq!(folder.path().join(FILE).exists(), size > 0);
            }
        }
    }
}

#[test]
fn a_log_that_cannot_be_written_tells_and_takes_all() {
    let mut log = Log::new(Path::new("/dev/null/folder"), 100, Clock::default());
    log.write(b"one");
    log.write(b"two");
    let kept = log.finish();
    assert_eq!((kept.bytes, kept.error.map(|e| e.kind())), (6, Some(io::ErrorKind::NotADirectory)));
}

#[track_caller]
fn newest(pieces: &[&str], expected: &str) {
    let mut newest = Newest::default();
    pieces.iter().for_each(|p| newest.take(p.as_bytes()));
    assert_eq!(String::from_utf8_lossy(&newest.line), expected, "{pieces:?}");
}

#[test]
fn the_newest_line() {
    newest(&["one\ntwo\n"], "two");
    newest(&["one\ntw", "o"], "two");
    newest(&["one\ntwo\n", "\n\n"], "two");
    newest(&["one", "\n", "two"], "two");
    newest(&["10%\r20%\r"], "20%");
    newest(&["10%\r20", "%\r"], "20%");
    newest(&["", "\n"], "");
    newest(&[&"x".repeat(600), &"y".repeat(600)], &"x".repeat(512));
    newest(&[&"x".repeat(600), "\nshort"], "short");
}

#[track_caller]
fn tails(content: &[u8], lines: usize, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, content).unwrap();
    assert_eq!(tail(&path, lines).unwrap(), expected);
}

#[test]
fn the_last_lines() {
    tails(b"", 3, &[]);
    tails(b"one", 3, &["one"]);
    tails(b"one\ntwo\r\nthree\n", 2, &["two", "three"]);
    tails(b"one\n\n", 2, &["one", ""]);
    tails(b"a\xff\x1b[1mb\n", 1, &["a\u{fffd}\u{1b}[1mb"]);
    let many: String = (0..50_000).map(|i| format!("line {i}\n")).collect();
    tails(many.as_bytes(), 2, &["line 49998", "line 49999"]);
    let wide = "w".repeat(30_000);
    tails(format!("{wide}\n{wide}\nend\n").as_bytes(), 3, &[&wide[..1024], &wide[..1024], "end"]);
    assert_eq!(tail(Path::new("/no/such/log"), 5).unwrap(), Vec::<String>::new());
}

//! Dotenv files: pairs or the line that is wrong; what was read, written in quotes, is read again.

use trees_runner::environment::parse_dotenv;

/// Any text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_dotenv(text) {
        Ok(pairs) => {
            let again: String = pairs.iter().map(|(name, value)| format!("export {name} = {} # said\n", quoted(value))).collect();
            assert_eq!(parse_dotenv(&again), Ok(pairs), "{text:?} -> {again:?}");
        }
        Err(error) => {
            assert!((1..=1 + text.matches('\n').count()).contains(&error.line), "{error:?} is outside of {text:?}");
            assert!(!error.message.is_empty(), "{text:?} is refused without a word");
        }
    }
}

fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' | '"' | '$' | '`' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

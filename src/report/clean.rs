//! Makes a line that a program printed fit to be shown: no escape sequences, no control
//! characters, nothing that turns the direction of the text.

/// One line without control characters. After a carriage return only what follows counts, as on a
/// terminal.
pub fn clean(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_csi(&mut chars),
            '\u{90}' | '\u{9d}' | '\u{98}' | '\u{9e}' | '\u{9f}' => skip_string(&mut chars),
            '\r' => out.clear(),
            '\n' | '\t' => out.push(' '),
            '\u{8}' => drop(out.pop()),
            c if c.is_control() || turns(c) => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Characters that change the direction of what follows, or are invisible separators of lines.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_escape(chars: &mut Chars<'_>) {
    match chars.next() {
        Some('[') => skip_csi(chars),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(chars),
        // Two-byte sequences with an intermediate, such as a choice of character set.
        Some(' '..='/') => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next();
        }
        _ => {}
    }
}

fn skip_csi(chars: &mut Chars<'_>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// Up to a bell or the string terminator.
fn skip_string(chars: &mut Chars<'_>) {
    while let Some(c) = chars.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn what_is_shown_moves_no_cursor() {
        let check = |raw: &str, shown: &str| assert_eq!(clean(raw), shown, "{raw:?}");
        check("plain ünïcode 漢字", "plain ünïcode 漢字");
        check("\u{1b}[1;31mred\u{1b}[0m text", "red text");
        check("\u{1b}[2J\u{1b}[Hhome", "home");
        check("\u{1b}]0;title\u{7}after", "after");
        check("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link");
        check("\u{1b}(Bset \u{1b}Mup", "set up");
        check("\u{9b}31mred", "red");
        check(" 10%\r 50%\r100%", "100%");
        check("done\r\n", "done");
        check("a\tb\u{0}\u{7}c\u{7f}", "a bc");
        check("ab\u{8}c", "ac");
        check("\u{202e}evil\u{2069}", "evil");
        check("cut \u{1b}", "cut");
        check("cut \u{1b}[31", "cut");
        check("trailing   ", "trailing");
        assert!(!clean(&(0..=0x2fff).filter_map(char::from_u32).collect::<String>()).chars().any(char::is_control));
    }
}

//! What commands do with their words: which of them is a command, a name, code or plain data. A
//! table for the commands that do something special; the words of all others are data.

use super::verdict::{self as why, Reason};
use super::words::{MARK, Word, assigned, name_of};
use std::ops::Range;

/// What was found about marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Refused(Range<usize>, &'static Reason),
    Foreign(Range<usize>, &'static Reason),
}

/// What takes its standard input as code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Shell,
    Other(&'static Reason),
}

impl Word {
    /// A shell's name stands in it, as in `sh -c 'cat | sh'`.
    fn names_shell(&self) -> bool {
        let words = self.literal.split(|b| !b.is_ascii_alphanumeric());
        words.filter_map(|w| std::str::from_utf8(w).ok()).any(|w| SHELLS.contains(&w) || w == "eval" || w == "source")
    }
}

const SHELLS: [&str; 10] = ["sh", "bash", "dash", "ksh", "ksh93", "mksh", "zsh", "ash", "rbash", "fish"];
const DECLARATIONS: [&str; 5] = ["declare", "typeset", "local", "export", "readonly"];
/// Variables that a shell evaluates.
const EVALUATED: [&[u8]; 8] = [b"PS0", b"PS1", b"PS2", b"PS4", b"PROMPT_COMMAND", b"ENV", b"BASH_ENV", b"SHELLOPTS"];

/// How many commands run one another in one line.
const DEPTH: usize = 24;

/// A command that runs the command in its words.
struct Wrapper {
    name: &'static str,
    /// Letters of the options that take the next word.
    valued: &'static str,
    /// Words before the command.
    before: usize,
    /// The option whose value is code.
    code: Option<u8>,
}

const fn wrapper(name: &'static str, valued: &'static str, before: usize) -> Wrapper {
    Wrapper { name, valued, before, code: None }
}

const fn coded(name: &'static str, valued: &'static str, before: usize, code: u8) -> Wrapper {
    Wrapper { name, valued, before, code: Some(code) }
}

const WRAPPERS: &[Wrapper] = &[
    wrapper("exec", "a", 0),
    wrapper("command", "", 0),
    wrapper("builtin", "", 0),
    coded("env", "uC", 0, b'S'),
    wrapper("nohup", "", 0),
    wrapper("nice", "n", 0),
    wrapper("ionice", "cnpPu", 0),
    wrapper("timeout", "sk", 1),
    wrapper("sudo", "ughpCrtTUDR", 0),
    wrapper("doas", "uC", 0),
    wrapper("xargs", "IPnLdaEs", 0),
    wrapper("setsid", "", 0),
    wrapper("stdbuf", "ioe", 0),
    wrapper("time", "fo", 0),
    wrapper("chroot", "", 1),
    coded("flock", "wE", 1, b'c'),
    wrapper("chrt", "", 1),
    wrapper("taskset", "", 1),
    wrapper("strace", "eopsuPa", 0),
    wrapper("busybox", "", 0),
    wrapper("toybox", "", 0),
    wrapper("gosu", "", 1),
    wrapper("su-exec", "", 1),
    wrapper("unshare", "", 0),
    wrapper("nsenter", "tSG", 0),
    wrapper("systemd-run", "puE", 0),
    wrapper("then", "", 0),
    coded("su", "gGsw", 0, b'c'),
    coded("runuser", "gGsw", 0, b'c'),
    coded("script", "EIOBTm", 0, b'c'),
];

/// An interpreter and the options whose value is a program.
const INTERPRETERS: &[(&str, &str)] = &[
    ("python", "c"),
    ("python2", "c"),
    ("python3", "c"),
    ("pypy3", "c"),
    ("perl", "eE"),
    ("ruby", "e"),
    ("node", "ep"),
    ("nodejs", "ep"),
    ("bun", "ep"),
    ("php", "r"),
    ("lua", "e"),
    ("Rscript", "e"),
    ("osascript", "e"),
    ("psql", "c"),
    ("mysql", "e"),
    ("mariadb", "e"),
    ("clickhouse-client", "q"),
    ("sqlcmd", "Qq"),
];

/// Those of them whose operands name a database and no program.
const CLIENTS: [&str; 5] = ["psql", "mysql", "mariadb", "clickhouse-client", "sqlcmd"];

/// Whether `name=(…)` can be the next word; not looked for in a command of hundreds of words.
pub(super) fn can_assign(words: &[Word]) -> bool {
    let first = words.iter().take(200).find(|w| w.assigns().is_none());
    words.len() < 200 && first.is_none_or(|w| w.text().is_some_and(|t| DECLARATIONS.contains(&t)))
}

/// What a simple command does with the values in its words.
pub(super) fn judge(words: &[Word], integers: &[Vec<u8>], out: &mut Vec<Finding>) {
    let prefix = words.iter().take_while(|w| w.assigns().is_some()).count();
    for word in &words[..prefix] {
        assignment(word, integers, out);
    }
    command(&words[prefix..], 0, out);
}

fn assignment(word: &Word, integers: &[Vec<u8>], out: &mut Vec<Finding>) {
    let Some(name) = word.assigns() else { return };
    if EVALUATED.contains(&name) {
        refuse(word, why::EVALUATED, out);
    }
    if integers.iter().any(|i| i == name) {
        refuse(word, why::INTEGER, out);
    }
}

/// Remembers the names that `declare -i` and its like declare.
pub(super) fn declared_integers(words: &[Word], integers: &mut Vec<Vec<u8>>) {
    let Some(at) = words.iter().position(|w| w.text().is_some_and(|t| DECLARATIONS.contains(&t))) else { return };
    let operands = &words[at + 1..];
    if operands.iter().any(|w| w.has_flag(b'i')) {
        let names = operands.iter().filter(|w| !w.is_option()).map(|w| w.literal.split(|b| *b == b'=').next().unwrap_or(&[]).to_vec());
        integers.extend(names);
    }
}

/// The variables that take values, with their marks: by assignment, by `export` and its like.
pub(super) fn assigned_variables(words: &[Word]) -> impl Iterator<Item = (Vec<u8>, Range<usize>)> {
    let declares = words.iter().find(|w| w.assigns().is_none()).is_none_or(|w| w.text().is_some_and(|t| DECLARATIONS.contains(&t)));
    let taking = words.iter().filter(move |w| declares && w.has_marks());
    taking.filter_map(|w| assigned(&w.literal).map(|end| (name_of(&w.literal[..end]).to_vec(), w.marks.clone())))
}

/// The bytes of the operands of `let`, which are arithmetic.
pub(super) fn counted(words: &[Word]) -> Option<Range<usize>> {
    let at = words.iter().position(|w| w.text() == Some("let"))?;
    Some(words.get(at + 1)?.span().start..words.last()?.span().end)
}

fn refuse(word: &Word, reason: &'static Reason, out: &mut Vec<Finding>) {
    if word.has_marks() {
        out.push(Finding::Refused(word.marks.clone(), reason));
    }
}

fn foreign(word: &Word, reason: &'static Reason, out: &mut Vec<Finding>) {
    if word.has_marks() {
        out.push(Finding::Foreign(word.marks.clone(), reason));
    }
}

fn refuse_all(words: &[Word], reason: &'static Reason, out: &mut Vec<Finding>) {
    words.iter().for_each(|w| refuse(w, reason, out));
}

fn foreign_all(words: &[Word], reason: &'static Reason, out: &mut Vec<Finding>) {
    words.iter().for_each(|w| foreign(w, reason, out));
}

/// `words` begins with the command itself.
fn command(words: &[Word], depth: usize, out: &mut Vec<Finding>) {
    if depth > DEPTH {
        return refuse_all(words, why::UNREADABLE, out);
    }
    let Some((head, operands)) = words.split_first() else { return };
    refuse(head, why::COMMAND, out);
    if head.may_vanish() {
        operands.iter().take(1).for_each(|w| refuse(w, why::VANISHING, out));
        command(operands, depth + 1, out);
    }
    let name = head.command();
    match name {
        Some("eval" | "alias" | "trap" | "watch" | "parallel" | "compgen" | "complete" | "bind" | "fc" | "enable") => {
            refuse_all(operands, why::CODE, out);
        }
        Some("let") => refuse_all(operands, why::ARITHMETIC, out),
        Some("read" | "unset" | "getopts" | "mapfile" | "readarray" | "unalias") => refuse_all(operands, why::NAME, out),
        Some("." | "source") => operands.iter().take(1).for_each(|w| refuse(w, why::FILE, out)),
        Some("printf") => printf(operands, out),
        Some("test" | "[") => test(operands, out),
        Some("find" | "fd") => find(operands, depth, out),
        Some("ssh") => ssh(operands, out),
        Some("make" | "gmake") => foreign_all(operands, why::PROGRAM, out),
        Some("awk" | "gawk" | "mawk" | "nawk") => program_operand(operands, "f", "vF", out),
        Some("sed" | "gsed") => program_operand(operands, "f", "l", out),
        Some("sqlite3" | "duckdb") => operands.iter().skip(1).for_each(|w| foreign(w, why::PROGRAM, out)),
        Some(name) if DECLARATIONS.contains(&name) => declaration(operands, out),
        Some(name) if SHELLS.contains(&name) => shell(operands, out),
        Some(name) if interpreter(name).is_some() => interpreted(interpreter(name).unwrap_or(""), operands, out),
        Some(name) => {
            if let Some(wrapper) = WRAPPERS.iter().find(|w| w.name == name) {
                wrapped(wrapper, operands, depth, out);
            }
        }
        None => shell_code_option(operands, out),
    }
    if depth == 0 && !matches!(name, Some("echo" | "printf")) {
        nested_shells(operands, out);
    }
}

/// `docker exec x sh -c '…'`: a shell that is run by any other command.
fn nested_shells(operands: &[Word], out: &mut Vec<Finding>) {
    for (n, word) in operands.iter().enumerate() {
        if word.command().is_some_and(|c| SHELLS.contains(&c)) && operands.get(n + 1).is_some_and(Word::is_option) {
            shell_code_option(&operands[n + 1..], out);
        }
    }
}

/// The word behind `-c` is code.
fn shell_code_option(operands: &[Word], out: &mut Vec<Finding>) {
    let options = operands.iter().take_while(|w| w.is_option()).count();
    if operands[..options].iter().any(|w| w.has_flag(b'c')) {
        refuse_all(&operands[..options], why::CODE, out);
        operands.iter().skip(options).take(1).for_each(|w| refuse(w, why::CODE, out));
    }
}

/// How many words are options with their values, and whether `-c` and `-s` are among them.
fn shell_options(operands: &[Word]) -> (usize, bool, bool) {
    let (mut at, mut code, mut input) = (0, false, false);
    while let Some(word) = operands.get(at) {
        let plus = word.literal.first() == Some(&b'+') && word.literal.len() > 1;
        if word.may_vanish() {
            at += 1;
            continue;
        }
        if !word.is_option() && !plus {
            break;
        }
        at += 1;
        if word.literal == b"--" {
            break;
        }
        code |= word.has_flag(b'c');
        input |= word.has_flag(b's');
        let valued = matches!(word.literal.last(), Some(b'o' | b'O')) && word.literal.get(1) != Some(&b'-');
        if valued || matches!(word.text(), Some("--rcfile" | "--init-file")) {
            at += 1;
        }
    }
    (at.min(operands.len()), code, input)
}

fn shell(operands: &[Word], out: &mut Vec<Finding>) {
    let (options, code, input) = shell_options(operands);
    refuse_all(&operands[..options], why::CODE, out);
    let closed = options > 0 && operands[options - 1].literal == b"--";
    let reason = if code || input { why::CODE } else { why::FILE };
    if code || !input || !closed {
        operands.iter().skip(options).take(1).for_each(|w| refuse(w, reason, out));
    }
}

/// What this command does with its standard input, if it takes it as code.
pub(super) fn reads_code(words: &[Word]) -> Option<Reader> {
    let prefix = words.iter().take_while(|w| w.assigns().is_some()).count();
    let mut words = &words[prefix..];
    for _ in 0..DEPTH {
        let (head, operands) = words.split_first()?;
        if head.may_vanish() {
            words = operands;
            continue;
        }
        let name = head.command()?;
        if name == "eval" && operands.iter().any(Word::names_shell) {
            return Some(Reader::Shell);
        }
        if SHELLS.contains(&name) {
            let (options, code, input) = shell_options(operands);
            if code && operands[options..].iter().any(Word::names_shell) {
                return Some(Reader::Shell);
            }
            return (!code && (input || options == operands.len())).then_some(Reader::Shell);
        }
        if matches!(name, "." | "source") {
            return Some(Reader::Shell);
        }
        if name == "ssh" {
            return Some(Reader::Other(why::REMOTE));
        }
        if let Some(flags) = interpreter(name) {
            return (!has_program(name, flags, operands)).then_some(Reader::Other(why::PROGRAM));
        }
        if matches!(name, "sqlite3" | "duckdb" | "parallel" | "at" | "batch") {
            return Some(Reader::Other(why::PROGRAM));
        }
        if let Some(n) = operands.iter().position(|w| w.command().is_some_and(|c| SHELLS.contains(&c))) {
            words = &operands[n..];
            continue;
        }
        let wrapper = WRAPPERS.iter().find(|w| w.name == name)?;
        words = &operands[inner(wrapper, operands)..];
    }
    Some(Reader::Shell)
}

/// The number of the word where the inner command begins.
fn inner(wrapper: &Wrapper, operands: &[Word]) -> usize {
    let (mut at, mut before) = (0, wrapper.before);
    while let Some(word) = operands.get(at) {
        if word.is_option() {
            let last = word.literal[word.literal.len() - 1];
            let valued = word.literal[1] != b'-' && wrapper.valued.as_bytes().contains(&last);
            at += if valued { 2 } else { 1 };
        } else if wrapper.name == "env" && assigned(&word.literal).is_some() || wrapper.name == "sudo" && word.assigns().is_some() {
            at += 1;
        } else if before > 0 {
            before -= 1;
            at += 1;
        } else {
            break;
        }
    }
    at.min(operands.len())
}

fn wrapped(wrapper: &Wrapper, operands: &[Word], depth: usize, out: &mut Vec<Finding>) {
    let at = inner(wrapper, operands);
    if let Some(letter) = wrapper.code {
        let long = |w: &Word| w.literal.starts_with(b"--command") || w.literal.starts_with(b"--split-string");
        for (n, word) in operands.iter().enumerate() {
            if word.has_flag(letter) || long(word) {
                refuse_all(&operands[n..], why::CODE, out);
            }
        }
    }
    if wrapper.name == "command" && operands[..at].iter().any(|w| w.has_flag(b'v') || w.has_flag(b'V')) {
        return;
    }
    if wrapper.name == "env" {
        for word in &operands[..at] {
            if word.assigns().is_some_and(|n| EVALUATED.contains(&n)) {
                refuse(word, why::EVALUATED, out);
            }
        }
    }
    if matches!(wrapper.name, "su" | "runuser" | "script") {
        return;
    }
    command(&operands[at..], depth + 1, out);
}

fn declaration(operands: &[Word], out: &mut Vec<Finding>) {
    let flag = |letter| operands.iter().any(|w| w.has_flag(letter));
    let special = if flag(b'i') {
        Some(why::INTEGER)
    } else if flag(b'n') && !flag(b'p') {
        Some(why::NAME)
    } else if flag(b'a') || flag(b'A') {
        Some(why::EVALUATED)
    } else {
        None
    };
    for word in operands.iter().filter(|w| w.has_marks()) {
        let name = assigned(&word.literal).map(|end| name_of(&word.literal[..end]));
        match (name, special) {
            (None, _) => refuse(word, why::NAME, out),
            (Some(_), Some(why)) if word.literal.contains(&MARK) => refuse(word, why, out),
            (Some(name), _) if EVALUATED.contains(&name) => refuse(word, why::EVALUATED, out),
            (Some(_), _) => {}
        }
    }
}

fn printf(operands: &[Word], out: &mut Vec<Finding>) {
    match operands.first().and_then(Word::text) {
        Some("-v") => operands.iter().skip(1).take(1).for_each(|w| refuse(w, why::NAME, out)),
        Some("--") => {}
        Some(_) | None => {
            let first = operands.first().filter(|w| w.begins_with_mark() || w.literal.starts_with(b"-"));
            first.into_iter().for_each(|w| refuse(w, why::FORMAT, out));
        }
    }
}

fn test(operands: &[Word], out: &mut Vec<Finding>) {
    for pair in operands.windows(2) {
        if matches!(pair[0].text(), Some("-v" | "-R")) {
            refuse(&pair[1], why::NAME, out);
        }
        let operator = pair[1].text().is_some_and(|t| matches!(t, "=" | "==" | "!=" | "<" | ">" | "]" | ")" | "=~") || t.starts_with('-'));
        if pair[0].begins_with_mark() && !operator {
            refuse(&pair[0], why::TEST, out);
        }
    }
}

fn find(operands: &[Word], depth: usize, out: &mut Vec<Finding>) {
    let mut rest = operands;
    let runs = |w: &Word| matches!(w.text(), Some("-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch"));
    while let Some(n) = rest.iter().position(runs) {
        let inner = &rest[n + 1..];
        let length = inner.iter().position(|w| matches!(w.text(), Some(";" | "+"))).unwrap_or(inner.len());
        command(&inner[..length], depth + 1, out);
        rest = &inner[length..];
    }
}

fn ssh(operands: &[Word], out: &mut Vec<Finding>) {
    let mut at = 0;
    while let Some(word) = operands.get(at).filter(|w| w.is_option()) {
        let valued = b"bcDEeFIiJLlmOopQRSWw".contains(&word.literal[word.literal.len() - 1]) && word.literal[1] != b'-';
        if matches!(word.literal.get(1), Some(b'o')) {
            operands[at..].iter().take(2).for_each(|w| foreign(w, why::REMOTE, out));
        }
        at += if valued { 2 } else { 1 };
    }
    let closed = at > 0 && operands[at - 1].literal == b"--";
    operands.iter().skip(at).take(1).filter(|w| !closed && w.begins_with_mark()).for_each(|w| refuse(w, why::HOST, out));
    operands.iter().skip(at + 1).for_each(|w| foreign(w, why::REMOTE, out));
}

fn interpreter(name: &str) -> Option<&'static str> {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.iter().find(|i| i.0 == name || i.0 == base).map(|i| i.1)
}

/// Whether an interpreter surely has its program from its arguments, so that its standard input is data:
/// by an option, or by a file's name right behind its own. What comes later may be an option's value.
fn has_program(name: &str, flags: &str, operands: &[Word]) -> bool {
    let first = operands.first().and_then(Word::text).unwrap_or("-");
    let file = !first.starts_with('-') && !CLIENTS.contains(&name);
    file || first == "-m" && name.starts_with("python") || operands.iter().any(|w| flags.bytes().any(|f| w.has_flag(f)))
}

fn interpreted(flags: &str, operands: &[Word], out: &mut Vec<Finding>) {
    for (n, word) in operands.iter().enumerate() {
        if flags.bytes().any(|f| word.has_flag(f)) || matches!(word.text(), Some("--eval" | "--print" | "--command" | "--execute" | "eval"))
        {
            foreign(word, why::PROGRAM, out);
            operands.iter().skip(n + 1).take(1).for_each(|w| foreign(w, why::PROGRAM, out));
        }
        if [&b"--command="[..], b"--execute=", b"--eval=", b"--print="].iter().any(|p| word.literal.starts_with(p)) {
            foreign(word, why::PROGRAM, out);
        }
    }
}

/// `awk` and `sed`: the first operand is a program, unless an option gives it.
fn program_operand(operands: &[Word], file: &str, valued: &str, out: &mut Vec<Finding>) {
    let (mut at, mut given) = (0, false);
    while let Some(word) = operands.get(at).filter(|w| w.is_option()) {
        let last = word.literal[word.literal.len() - 1];
        if word.has_flag(b'e') {
            given = true;
            operands[at..].iter().take(2).for_each(|w| foreign(w, why::PROGRAM, out));
        }
        given |= file.bytes().any(|f| word.has_flag(f));
        let takes = word.literal.len() == 2 && (valued.as_bytes().contains(&last) || file.as_bytes().contains(&last) || last == b'e');
        at += if takes { 2 } else { 1 };
    }
    if !given {
        operands.iter().skip(at).take(1).for_each(|w| foreign(w, why::PROGRAM, out));
    }
}

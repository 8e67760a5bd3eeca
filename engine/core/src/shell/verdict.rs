//! What can be said of a value in a script: where it stands, or why it cannot stand there.

/// How the reference to a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a word without quotes: the reference brings its own.
    Bare,
    /// Between double quotes, or in a here-document.
    Double,
    /// Between single quotes: they are left for the reference.
    Single,
}

impl Place {
    /// The reference to `variable` in this place.
    pub fn written(self, variable: &str) -> String {
        match self {
            Self::Bare => format!("\"${{{variable}}}\""),
            Self::Double => format!("${{{variable}}}"),
            Self::Single => format!("'\"${{{variable}}}\"'"),
        }
    }
}

/// Why a value cannot stand somewhere, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub code: &'static str,
    pub message: &'static str,
    pub help: &'static str,
}

/// What was found about one `{{ … }}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub place: Place,
    pub refused: Option<&'static Reason>,
    /// Another than this shell evaluates it: only a number can stand there.
    pub foreign: Option<&'static Reason>,
}

macro_rules! reasons {
    ($($name:ident $code:literal $message:literal $help:literal;)*) => {
        $(pub(super) const $name: &Reason = &Reason { code: $code, message: $message, help: $help };)*
    };
}

reasons! {
    UNREADABLE "script-unreadable" "the script cannot be read safely up to here" "write this part more plainly, or read the value from the JSON file \"$TREES_INPUTS\"";
    ESCAPED "value-escaped" "a `\\` or `$` stands directly before the value" "remove it: the value arrives byte for byte";
    ARITHMETIC "value-in-arithmetic" "a value in arithmetic would be evaluated as code" "compute it in the expression, `{{ a + 1 }}`, or with `expr`";
    VARIABLE "variable-in-arithmetic" "the variable that takes this value is read in arithmetic, where bash evaluates it as code" "let it be a number: `{{ value | int }}`";
    CONDITIONAL "value-in-conditional" "a value in `[[ … ]]` can be evaluated as code" "use `[ … = … ]` or `case`";
    SUBSCRIPT "value-in-subscript" "a subscript is evaluated as code" "keep the value out of `[…]`";
    SUBSTRING "value-in-expansion" "this part of `${…}` is evaluated or is a name" "a value can stand in the word of `${x:-…}` and `${x#…}`";
    HERE_PATTERN "value-in-expansion" "a pattern in a here-document cannot be quoted" "compute it before, in a variable";
    CODE "value-in-code" "the value would become text of a script" "pass it as an argument (`sh -c '… \"$1\"' _ {{ value }}`), or by `env:`";
    CODE_INPUT "value-in-code" "the value would become text of a script that a shell reads" "pass it as an argument (`sh -s -- {{ value }} <<'END'`), or by `env:`";
    FILE "value-in-command" "a value cannot name the script that is run" "write the name, and pass the value as an argument";
    COMMAND "value-in-command" "a value cannot be the command" "write the command, and pass the value as an argument";
    VANISHING "value-in-command" "what stands before it may be empty, and the value would be the command" "quote what stands before it, `\"$command\" {{ value }}`";
    NAME "value-as-name" "a value cannot be the name of a variable or function" "write the name; values go behind the `=`";
    EVALUATED "value-in-code" "what is assigned here is evaluated as code" "assign it to a plain variable";
    INTEGER "value-in-arithmetic" "an integer variable evaluates what is assigned to it as code" "declare it without `-i`";
    FORMAT "value-as-format" "a value cannot begin the format of `printf`" "write `printf '%s' {{ value }}`";
    TEST "value-as-operator" "the value could be read as an operator of `[`" "say what is asked: `[ -n {{ value }} ]`, `[ {{ value }} = x ]`";
    COMMENT "value-in-comment" "a value has no meaning in a comment" "remove it, or write `{{ '{{' }}` for the braces themselves";
    QUOTED_HERE "value-in-quoted-heredoc" "this here-document is quoted: nothing in it is replaced" "remove the quotes of its delimiter, or read an environment variable (`env:`)";
    DELIMITER "value-in-delimiter" "a value cannot be the delimiter of a here-document" "write a fixed word";
    ANSI "value-in-quotes" "a value cannot stand inside `$'…'`" "close the quotes before it: `$'…'{{ value }}`";
    BACKTICK "value-in-backquotes" "a backslash in backquotes hides where the value stands" "write `$(…)` for the backquotes";
    NESTED "value-in-quotes" "the shells disagree on quotes in this place" "compute it before, in a variable";
    HOST "value-in-remote-code" "a value that begins with `-` would be an option of `ssh`, and some of those run commands" "write `ssh -- {{ host }}`";
    REMOTE "value-in-remote-code" "the remote shell reads the value as text of a script" "let it be a number, `{{ value | int }}`, or send it as a file or on the standard input of a script that reads it";
    PROGRAM "value-in-program" "the value becomes text of a program in another language" "pass it as an argument or by `env:` and read it there; a number can stand here: `{{ value | int }}`";
}

//! The table of all keys of a tree file: name, form, meaning, and where it has an effect.
//!
//! One definition: [`super::shape`] checks files by it, [`super::schema`] writes the JSON Schema
//! from it, [`super::spec`] reads only what it lets through. Read [`TREE`] first.

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// Text without expressions.
    Text,
    /// Text with expressions (`{{ }}`), or another scalar.
    Template,
    /// The script of a step.
    Script,
    /// Any value, with expressions anywhere inside.
    Value,
    /// Any value, without expressions.
    Literal,
    /// An expression, with or without braces, or `true` and `false`.
    Expression,
    /// `true` or `false`.
    Flag,
    /// A whole number in this range.
    Whole(i64, i64),
    /// A number in this range.
    Number(f64, f64),
    /// `30s`.
    Duration,
    /// The same, above zero: a limit of no time can never be met.
    Limit,
    /// Like `10%`.
    Percent,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// What a retry answers: `failure`, `timeout`, `spawn`, `exit:75`, `signal:9`.
    RetryOn,
    /// A name of this kind.
    Name(Names),
    /// A list of these.
    List(&'static Form),
    /// Names to values.
    Map(Names, &'static Form),
    /// A mapping of known keys.
    Record(&'static Record),
    /// The first of these that the value's own type suits.
    Any(&'static [Form]),
}

/// What a name must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// `[a-z][a-z0-9-]*`
    Tree,
    /// `[A-Za-z][A-Za-z0-9_-]*`
    Step,
    /// `[A-Za-z_][A-Za-z0-9_]*`: a name in expressions, a variable of the environment.
    Variable,
    /// `[A-Za-z0-9][A-Za-z0-9._-]*`: an environment, a pool, a lock, an artifact.
    Word,
    /// Anything.
    Any,
}

/// A mapping of known keys.
#[derive(Debug)]
pub struct Record {
    /// As named in messages: "a step".
    pub title: &'static str,
    /// Its name in the JSON Schema.
    pub name: &'static str,
    /// For people.
    pub doc: &'static str,
    /// The keys.
    pub keys: &'static [Key],
    /// All other keys, where any are allowed.
    pub rest: Option<&'static Form>,
    /// Keys that begin with `x-` are ignored.
    pub extensible: bool,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What its value may be.
    pub form: Form,
    /// It must be there.
    pub required: bool,
    /// Beside which actions of a step it has an effect.
    pub with: u8,
    /// One sentence for people.
    pub doc: &'static str,
}

/// Beside `run`.
pub const RUN: u8 = 1;
/// Beside `uses`.
pub const USES: u8 = 2;
/// Beside `tree`.
pub const SUB: u8 = 4;
/// Beside `approve`.
pub const APPROVE: u8 = 8;
const WORK: u8 = RUN | USES;
const ALL: u8 = RUN | USES | SUB | APPROVE;

pub(crate) const fn key(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key { name, form, required: false, with: ALL, doc }
}

pub(crate) const fn needed(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key { required: true, ..key(name, form, doc) }
}

const fn beside(with: u8, name: &'static str, form: Form, doc: &'static str) -> Key {
    Key { with, ..key(name, form, doc) }
}

pub(crate) const fn record(title: &'static str, name: &'static str, doc: &'static str, keys: &'static [Key]) -> Record {
    Record { title, name, doc, keys, rest: None, extensible: false }
}

const MANY: i64 = u32::MAX as i64;
const TEXTS: Form = Form::List(&Form::Text);
const CODES: Form = Form::List(&Form::Whole(0, 255));
const TYPES: &[&str] = &["string", "integer", "number", "boolean", "list", "object"];
const VARIABLES: Form = Form::Map(Names::Variable, &Form::Template);
const VARS: Form = Form::Map(Names::Variable, &Form::Value);
const SECRETS: Form = Form::Map(Names::Variable, &Form::Record(&SECRET));
const EFFECTS: &[&str] = &["none", "local", "external"];
const CRASHES: &[&str] = &["rerun", "check", "ask", "fail", "undo_first"];
const SHELL: Form = Form::Any(&[Form::Choice(&["sh", "bash"]), TEXTS]);
const ALLOWED: Form = Form::Any(&[Form::Flag, CODES]);
/// The rules of `needs`.
pub const RULES: &[&str] =
    &["all_succeeded", "none_failed", "none_failed_min_one_succeeded", "all_done", "one_succeeded", "one_failed", "all_failed"];

/// A tree file.
pub static TREE: Record = Record {
    extensible: true,
    ..record(
        "a tree",
        "Tree",
        "A tree file: steps that become a graph.",
        &[
            needed("tree", Form::Name(Names::Tree), "The tree's name, `[a-z][a-z0-9-]*`."),
            key("project", Form::Name(Names::Tree), "What secrets, releases and locks belong to; the tree's name by default."),
            key("description", Form::Text, "For people."),
            key(
                "params",
                Form::Map(Names::Variable, &Form::Any(&[Form::Record(&PARAM), Form::Literal])),
                "Typed inputs. A scalar is a default whose type the parameter takes.",
            ),
            key("environments", Form::Map(Names::Word, &Form::Record(&ENVIRONMENT)), "Where a run works; chosen with `-e`."),
            key("vars", VARS, "Values computed once for each environment in use, in the order of their references."),
            key("env", VARIABLES, "Environment variables of every process."),
            key("dotenv", TEXTS, "Files of plain environment; a missing one is skipped."),
            key("secrets", SECRETS, "What is secret: masked, and given to the steps that name it."),
            key("defaults", Form::Record(&DEFAULTS), "Merged field by field into every step with `run` or `uses`."),
            key("max_parallel", Form::Whole(1, MANY), "Steps at once; the machine's cores, at least 4, by default."),
            key("deadline", Form::Limit, "Of the run's driven time."),
            key("pools", Form::Map(Names::Word, &Form::Whole(1, MANY)), "So many steps of a pool at once."),
            key(
                "on_failure",
                Form::Choice(&["continue", "stop", "cancel", "rollback", "pause"]),
                "What a failure does to the rest of the run; `continue` by default.",
            ),
            key(
                "on_busy",
                Form::Choice(&["allow", "queue", "skip", "cancel_old", "fail"]),
                "What happens when another run of this tree is active; `allow` by default.",
            ),
            key("watch", TEXTS, "Globs for `trees watch`; all `inputs.files` and the tree files by default."),
            needed("steps", Form::Map(Names::Step, &Form::Record(&STEP)), "The steps by their ids; the order says nothing."),
            key("finally", Form::Map(Names::Step, &Form::Record(&STEP)), "Steps after everything else, and after a rollback."),
            key("outputs", Form::Map(Names::Variable, &Form::Value), "What a parent tree and `trees show` see."),
        ],
    )
};

static PARAM: Record = record(
    "a parameter",
    "Param",
    "A typed input.",
    &[
        key("type", Form::Choice(TYPES), "Its type; by default that of the default, else `string`."),
        key("default", Form::Literal, "Its value where none is given."),
        key("required", Form::Flag, "`false`: it may be missing without a default."),
        key("enum", Form::List(&Form::Literal), "The values allowed."),
        key("pattern", Form::Text, "A regular expression that a string must match."),
        key("min", Form::Number(f64::MIN, f64::MAX), "The least number, or length."),
        key("max", Form::Number(f64::MIN, f64::MAX), "The greatest number, or length."),
        key("description", Form::Text, "For people."),
    ],
);

static ENVIRONMENT: Record = record(
    "an environment",
    "Environment",
    "Where a run works.",
    &[
        key("default", Form::Flag, "Chosen when none is; on at most one."),
        key("protected", Form::Flag, "Nothing starts in it before an approval."),
        key("vars", VARS, "Over the tree's `vars`."),
        key("env", VARIABLES, "On top of the tree's `env`."),
        key("dotenv", TEXTS, "After the tree's `dotenv`."),
        key("secrets", SECRETS, "On top of the tree's `secrets`."),
    ],
);

static SECRET: Record = record(
    "a secret",
    "Secret",
    "Where a secret comes from and how a step gets it.",
    &[
        key(
            "from",
            Form::Choice(&["environment", "store", "dotenv", "generate", "file", "command", "vault"]),
            "Its source; without it the environment, else the store, else dotenv.",
        ),
        key("path", Form::Text, "The path, for `file` and `vault`."),
        key("command", Form::Text, "The command, for `command`."),
        key("as", Form::Choice(&["value", "file"]), "`file`: the step gets a file's path in `$NAME_FILE`."),
        key("optional", Form::Flag, "It may have no source."),
        key("length", Form::Whole(1, 4096), "Characters, for `generate`; 32 by default."),
        key("charset", Form::Choice(&["alphanumeric", "hex", "base64url", "ascii"]), "For `generate`; `alphanumeric` by default."),
    ],
);

/// Fields that steps with `run` or `uses` take where they do not say otherwise.
pub static DEFAULTS: Record = record(
    "`defaults`",
    "Defaults",
    "Fields for every step with `run` or `uses`.",
    &[
        TIMEOUT,
        DEADLINE,
        RETRY_KEY,
        EXIT_KEY,
        POOL,
        LOCK,
        ALLOW_FAILURE,
        ENV,
        ENV_PASS,
        CWD,
        SHELL_KEY,
        SECRETS_KEY,
        EFFECT,
        ON_CRASH,
        LEAVE_RUNNING,
    ],
);

const TIMEOUT: Key = beside(WORK | SUB, "timeout", Form::Limit, "Of one attempt: the action and the verify each.");
const DEADLINE: Key = beside(WORK | SUB, "deadline", Form::Limit, "Of all attempts with the waits.");
const RETRY_KEY: Key = beside(WORK | SUB, "retry", Form::Record(&RETRY), "How often and when an attempt is made again.");
const EXIT_KEY: Key = beside(RUN, "exit", Form::Record(&EXIT), "What exit codes mean.");
const POOL: Key = beside(WORK, "pool", Form::Name(Names::Word), "The pool it belongs to.");
const LOCK: Key = beside(WORK | SUB, "lock", Form::Template, "The lock that it holds while it runs, one holder in a state folder.");
const ALLOW_FAILURE: Key = key("allow_failure", ALLOWED, "Failures that count as success: all, or these exit codes.");
const ENV: Key = beside(WORK, "env", VARIABLES, "Environment variables of its processes.");
const ENV_PASS: Key = beside(WORK, "env_pass", TEXTS, "More variables of `trees` itself, like `AWS_*`.");
const CWD: Key = beside(RUN, "cwd", Form::Template, "Its folder, relative to the working folder.");
const SHELL_KEY: Key = beside(RUN, "shell", SHELL, "`sh` (default), `bash`, or a list that gets the script's path.");
const SECRETS_KEY: Key = beside(WORK, "secrets", TEXTS, "The secrets that it is given, as variables of those names.");
const EFFECT: Key = beside(WORK, "effect", Form::Choice(EFFECTS), "What it changes: nothing, this machine, the outside world.");
const ON_CRASH: Key = beside(WORK, "on_crash", Form::Choice(CRASHES), "What an attempt whose outcome is unknown does.");
const LEAVE_RUNNING: Key = beside(RUN, "leave_running", Form::Flag, "What it left in the background stays.");
const ID_OR_BY: Form = Form::Any(&[Form::Text, Form::Record(&NEED)]);

/// A step.
pub static STEP: Record = record(
    "a step",
    "Step",
    "One step: exactly one of `run`, `uses`, `tree`, `approve`.",
    &[
        key("run", Form::Script, "A script. Values in `{{ }}` reach it as environment variables."),
        key("needs", Form::Any(&[Form::Text, Form::List(&ID_OR_BY), Form::Record(&NEEDS)]), "Steps that come first."),
        key("uses", Form::Text, "A step kind, `family/kind`."),
        beside(USES | SUB, "with", Form::Map(Names::Any, &Form::Value), "The inputs of the kind, or the params of the sub-tree."),
        key("tree", Form::Text, "A sub-tree's file, relative to this one."),
        key("approve", Form::Any(&[Form::Template, Form::Record(&APPROVAL)]), "Waits for a person's yes."),
        key("if", Form::Expression, "Whether it runs; asked after the rule of `needs`."),
        key("foreach", Form::Any(&[Form::Record(&FOREACH), Form::List(&Form::Value), Form::Expression]), "One instance for each item."),
        key("matrix", Form::Record(&MATRIX), "One instance for each combination of its axes."),
        key("max_parallel", Form::Whole(1, MANY), "Instances at once."),
        key("tolerate", Form::Any(&[Form::Whole(0, MANY), Form::Percent]), "Failed instances that count as success: so many, or `10%`."),
        key("environment", Form::Name(Names::Word), "The environment that it works for, whatever `-e` says."),
        ENV,
        ENV_PASS,
        CWD,
        SHELL_KEY,
        TIMEOUT,
        DEADLINE,
        RETRY_KEY,
        EXIT_KEY,
        POOL,
        LOCK,
        ALLOW_FAILURE,
        beside(WORK, "inputs", Form::Any(&[TEXTS, Form::Record(&INPUTS)]), "Files that its result depends on."),
        beside(WORK, "cache", Form::Flag, "Equal definition and inputs: not run."),
        beside(
            WORK,
            "artifacts",
            Form::Map(Names::Word, &Form::Any(&[Form::Template, Form::Record(&ARTIFACT)])),
            "Files or folders that it leaves, kept by content.",
        ),
        beside(RUN, "outputs", Form::Map(Names::Variable, &Form::Choice(TYPES)), "What it writes to `$TREES_OUTPUT`, with types."),
        SECRETS_KEY,
        beside(WORK | SUB, "check", Form::Any(&[Form::Script, Form::Record(&SIDE)]), "Whether it is done already: 0 done, 1 not done."),
        beside(WORK | SUB, "verify", Form::Any(&[Form::Script, Form::Record(&SIDE)]), "Whether it is really so, after the action."),
        beside(WORK | SUB, "undo", Form::Any(&[Form::Script, Form::Record(&UNDO)]), "Takes it back, in a rollback."),
        beside(WORK | SUB, "pivot", Form::Flag, "The point of no return."),
        EFFECT,
        ON_CRASH,
        LEAVE_RUNNING,
        key("was", Form::Any(&[Form::Text, TEXTS]), "Its former ids."),
        key("description", Form::Text, "For people."),
    ],
);

static NEEDS: Record = record(
    "`needs`",
    "Needs",
    "Steps that come first, with the rule by which they decide.",
    &[
        needed("steps", Form::Any(&[Form::Text, Form::List(&ID_OR_BY)]), "The steps."),
        key("rule", Form::Choice(RULES), "How they decide; `all_succeeded` by default."),
    ],
);

static NEED: Record = record(
    "a need",
    "Need",
    "A step that comes first, joined instance to instance.",
    &[needed("step", Form::Text, "The step."), key("by", Form::Choice(&["key"]), "`key`: each instance waits for the one with its key.")],
);

static RETRY: Record = record(
    "`retry`",
    "Retry",
    "How often and when an attempt is made again.",
    &[
        key("attempts", Form::Whole(1, 1000), "In all; 1 by default."),
        key("delay", Form::Duration, "Before the second; none by default."),
        key("factor", Form::Number(1.0, 1000.0), "Each delay times this."),
        key("max_delay", Form::Duration, "No delay longer."),
        key("jitter", Form::Number(0.0, 1.0), "Each delay times uniform(1-jitter, 1+jitter)."),
        key(
            "on",
            Form::Any(&[Form::RetryOn, Form::List(&Form::RetryOn)]),
            "What is tried again: failure, timeout, spawn, `exit:75`, `signal:9`.",
        ),
    ],
);

static EXIT: Record = record(
    "`exit`",
    "Exit",
    "What exit codes mean.",
    &[
        key("ok", CODES, "Success; `[0]` by default."),
        key("skip", CODES, "The step does not apply; `[77]` by default."),
        key("retry", CODES, "Try again; `[75]` by default."),
    ],
);

static INPUTS: Record = record(
    "`inputs`",
    "Inputs",
    "Files that a result depends on.",
    &[
        needed("files", Form::Any(&[Form::Template, Form::List(&Form::Template)]), "Globs relative to the working folder; `!` excludes."),
        key("optional", Form::Flag, "No match is fine."),
    ],
);

static ARTIFACT: Record = record(
    "an artifact",
    "Artifact",
    "A file or folder that a step leaves.",
    &[needed("path", Form::Template, "Relative to the working folder."), key("optional", Form::Flag, "It may be missing.")],
);

static FOREACH: Record = record(
    "`foreach`",
    "Foreach",
    "One instance for each item.",
    &[
        needed("items", Form::Any(&[Form::List(&Form::Value), Form::Expression]), "A list, or an expression that gives one."),
        key("as", Form::Name(Names::Variable), "The item's name in expressions; `item` by default."),
        key("key", Form::Expression, "The item's key; the scalar itself by default."),
    ],
);

static MATRIX: Record = Record {
    rest: Some(&Form::Any(&[Form::List(&Form::Value), Form::Expression])),
    ..record(
        "`matrix`",
        "Matrix",
        "One instance for each combination of its axes.",
        &[key("exclude", Form::List(&Form::Map(Names::Any, &Form::Literal)), "Combinations left out; a missing axis matches all.")],
    )
};

static APPROVAL: Record = record(
    "`approve`",
    "Approve",
    "Waits for a person's yes.",
    &[needed("message", Form::Template, "The question."), key("timeout", Form::Limit, "Until when; for ever by default.")],
);

const SIDE_RUN: Key = key("run", Form::Script, "A script.");
const SIDE_USES: Key = key("uses", Form::Text, "A step kind, `family/kind`.");
const SIDE_WITH: Key = beside(USES, "with", Form::Map(Names::Any, &Form::Value), "The inputs of the kind.");
const SIDE_SHELL: Key = beside(RUN, "shell", SHELL, "`sh`, `bash`, or a list; the step's by default.");
const SIDE_TIMEOUT: Key = key("timeout", Form::Limit, "Of one attempt of it; the step's by default.");

/// `check` and `verify`.
pub static SIDE: Record =
    record("a check", "Side", "A script or a kind that looks, or takes back.", &[SIDE_RUN, SIDE_USES, SIDE_WITH, SIDE_SHELL, SIDE_TIMEOUT]);

/// `undo`.
pub static UNDO: Record = record(
    "`undo`",
    "Undo",
    "A script or a kind that takes the step back.",
    &[
        SIDE_RUN,
        SIDE_USES,
        SIDE_WITH,
        SIDE_SHELL,
        SIDE_TIMEOUT,
        key("retry", Form::Record(&RETRY), "How often it is tried."),
        key("when", Form::Choice(&["succeeded", "started"]), "`started`: also a step whose action only started."),
    ],
);

impl Record {
    /// A key by its name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }
}

impl Names {
    /// Whether a name looks so.
    pub fn fits(self, name: &str) -> bool {
        let begins = |b: u8| match self {
            Names::Tree => b.is_ascii_lowercase(),
            Names::Step => b.is_ascii_alphabetic(),
            Names::Variable => b.is_ascii_alphabetic() || b == b'_',
            Names::Word => b.is_ascii_alphanumeric(),
            Names::Any => true,
        };
        let goes_on = |b: u8| match self {
            Names::Tree => b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-',
            Names::Step => b.is_ascii_alphanumeric() || b == b'_' || b == b'-',
            Names::Variable => b.is_ascii_alphanumeric() || b == b'_',
            Names::Word => b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'),
            Names::Any => true,
        };
        let mut bytes = name.bytes();
        bytes.next().is_some_and(begins) && bytes.all(goes_on)
    }

    /// What it must look like, as a regular expression.
    pub fn pattern(self) -> &'static str {
        match self {
            Names::Tree => "[a-z][a-z0-9-]*",
            Names::Step => "[A-Za-z][A-Za-z0-9_-]*",
            Names::Variable => "[A-Za-z_][A-Za-z0-9_]*",
            Names::Word => "[A-Za-z0-9][A-Za-z0-9._-]*",
            Names::Any => ".*",
        }
    }
}

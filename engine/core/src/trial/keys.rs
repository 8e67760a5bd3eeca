//! The table of all keys of a test file; what [`crate::language`] does with the one of tree files is
//! done with this one too: checks, proposals, the JSON Schema.

use crate::language::keys::{Form, Names, Record, key, needed, record};

const MANY: i64 = u32::MAX as i64;
/// How an attempt fails that is no exit code.
pub const FAILS: &[&str] = &["failure", "timeout", "spawn", "check", "verify", "output"];
/// What people say.
pub const ANSWERS: &[&str] = &["approve", "reject", "expire", "done", "retry", "fail"];
/// The statuses in which a step can be at the end.
pub const STEP_STATUSES: &[&str] = &[
    "pending",
    "waiting",
    "succeeded",
    "cached",
    "skipped",
    "blocked",
    "failed",
    "timed_out",
    "cancelled",
    "rejected",
    "interrupted",
    "undone",
    "undo_failed",
];
/// The statuses in which a run can be at the end.
pub const RUN_STATUSES: &[&str] =
    &["waiting", "paused", "interrupted", "succeeded", "succeeded_with_warnings", "failed", "cancelled", "rolled_back", "rollback_stuck"];
const LITERALS: Form = Form::Map(Names::Any, &Form::Literal);

/// A test file.
pub static FILE: Record = Record {
    extensible: true,
    ..record(
        "a test file",
        "Tests",
        "Cases in which a tree is tried: its steps are mocked, time is virtual, nothing is executed.",
        &[
            key("tree", Form::Text, "The tree file, relative to this one; by default NAME.yaml beside NAME.test.yaml."),
            needed("cases", Form::List(&Form::Record(&CASE)), "The cases."),
        ],
    )
};

static CASE: Record = record(
    "a case",
    "Case",
    "One course of a run: what is given, what becomes of its steps, what people say, what is expected.",
    &[
        needed("case", Form::Text, "Its name."),
        key("params", LITERALS, "The params; those that are not given have their defaults."),
        key("environment", Form::Name(Names::Word), "The environment; the tree's default where none is given."),
        key("secrets", Form::Map(Names::Variable, &Form::Text), "Faked secrets; one that is not given reads `secret NAME`."),
        key("max_parallel", Form::Whole(1, MANY), "Steps at once; the tree's, else 4."),
        key("steps", Form::Map(Names::Any, &Form::Record(&MOCK)), "What becomes of steps, by path; the others succeed at once."),
        key(
            "answers",
            Form::Map(Names::Any, &Form::Any(&[Form::Choice(ANSWERS), Form::Record(&ANSWER)])),
            "What people say to an approval step, to `environment:NAME` or, of an unknown outcome, to a step.",
        ),
        key("cancel", Form::Any(&[Form::Duration, Form::Record(&CANCEL)]), "When somebody cancels the run."),
        needed("expect", Form::Record(&EXPECT), "What must come of it."),
    ],
);

static MOCK: Record = record(
    "a mocked step",
    "Mock",
    "What becomes of each attempt of a step.",
    &[
        key("exit", Form::Whole(0, 255), "The exit code of the script."),
        key("signal", Form::Whole(1, 64), "The signal that ends the script."),
        key("fails", Form::Choice(FAILS), "How it fails, where that is no exit code."),
        key("message", Form::Text, "What its error says."),
        key("times", Form::Whole(1, 1000), "So many attempts end so, the next one well; all of them by default."),
        key("takes", Form::Duration, "How long an attempt takes; no time by default."),
        key("done", Form::Flag, "Its check, its observation or the cache calls it done."),
        key("undo", Form::Choice(&["succeeds", "fails"]), "How its undo ends in a rollback; well by default."),
        key("outputs", LITERALS, "What it returns; a declared output that is not given has a value of its type."),
    ],
);

static ANSWER: Record = record(
    "an answer",
    "Answer",
    "What a person says, and when.",
    &[
        needed(
            "answer",
            Form::Choice(ANSWERS),
            "approve, reject, expire (nobody answers in time); done, retry, fail of an unknown outcome.",
        ),
        key("after", Form::Duration, "How long after the question; at once by default."),
        key("note", Form::Text, "A word."),
        key("outputs", LITERALS, "With `done`: what the step returned."),
    ],
);

static CANCEL: Record = record(
    "`cancel`",
    "Cancel",
    "When somebody cancels the run, and how.",
    &[
        needed("after", Form::Duration, "How long after the run's start."),
        key("now", Form::Flag, "External steps are ended too, not awaited."),
    ],
);

static EXPECT: Record = record(
    "`expect`",
    "Expect",
    "What must come of a case.",
    &[
        key("status", Form::Choice(RUN_STATUSES), "The run's status; `succeeded` by default."),
        key("reason", Form::Text, "A part of what is said of why it rests or failed."),
        key(
            "steps",
            Form::Map(Names::Any, &Form::Any(&[Form::Choice(STEP_STATUSES), Form::Record(&STEP)])),
            "Steps by path, each with its status or more.",
        ),
        key("order", Form::List(&Form::List(&Form::Text)), "Lists of steps, each of which ended before the next began."),
        key("outputs", LITERALS, "Outputs of the tree; those that are not named may be anything."),
        key("took", Form::Any(&[Form::Duration, Form::Record(&TOOK)]), "The virtual time of the whole run."),
    ],
);

static STEP: Record = record(
    "an expected step",
    "ExpectStep",
    "What must come of a step.",
    &[
        key("status", Form::Choice(STEP_STATUSES), "Its status."),
        key("attempts", Form::Whole(0, MANY), "How often it was attempted."),
        key("reason", Form::Text, "The code of why it was skipped, blocked or reused, or a part of the sentence."),
        key("error", Form::Text, "A part of its error."),
        key("outputs", LITERALS, "Outputs of it; those that are not named may be anything."),
        key("with", LITERALS, "Inputs of its kind, all expressions computed; those that are not named may be anything."),
    ],
);

static TOOK: Record = record(
    "`took`",
    "Took",
    "Bounds of the virtual time.",
    &[key("min", Form::Duration, "The least."), key("max", Form::Duration, "The most.")],
);

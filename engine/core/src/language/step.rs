//! One step: its fields with the defaults merged in, what it needs, its instances.

use super::draft::{Draft, RawNeed};
use super::keys::{APPROVE, RUN, Record, STEP, SUB, USES};
use super::near::nearest;
use super::nodes::{Entry, Ref, count};
use super::reads::Site;
use super::spec::{self, flag, text, texts, word, words};
use crate::diagnostic::Diagnostic;
use crate::expr::Template;
use crate::tree::{Action, Artifact, Effect, ExitCodes, FanOut, Inputs, OnCrash, Retry, Rule, Step};
use std::sync::Arc;

/// The keys that are actions.
const ACTIONS: [(&str, u8); 4] = [("run", RUN), ("uses", USES), ("tree", SUB), ("approve", APPROVE)];

impl<'d> Draft<'d, '_, '_> {
    /// Reads one step and keeps it.
    pub fn read_step(&mut self, entry: Entry<'d>, finally: bool) {
        let (Some(id), value, at) = (entry.key.scalar(), entry.value, count(self.steps.len())) else { return };
        let kind = self.action_of(entry, value, &STEP);
        self.effects(value, kind, &STEP, "a step");
        let fan_out = self.fan_out(at, value).map(Box::new);
        self.item = if let Some(FanOut::Foreach { name, .. }) = fan_out.as_deref() { Some(name.clone()) } else { None };
        let action = self.action(at, value, kind);
        self.without_fan_out(value, fan_out.is_some());
        let rule = self.read_needs(at, value);
        let condition = value.get("if").and_then(|v| spec::expression(v, &mut self.session.found));
        if let Some(expr) = &condition {
            self.reads.expr(at, Site::If, expr);
        }
        let asks = condition.as_ref().is_some_and(|c| c.calls.iter().any(|c| matches!(c.as_str(), "failed" | "cancelled")));
        let names_item =
            condition.as_ref().is_some_and(|c| fan_out.as_ref().is_some_and(|f| c.references.iter().any(|r| f.binds(r.root()))));
        let mut step = Step {
            id: id.to_owned(),
            span: entry.key.span(),
            finally,
            description: words(value, "description"),
            was: texts(value.get("was")),
            action,
            needs: Vec::new(),
            rule: rule.unwrap_or(if asks { Rule::AllDone } else { Rule::AllSucceeded }),
            condition: condition.map(Box::new),
            condition_per_item: names_item,
            fan_out,
            max_parallel: value.get("max_parallel").and_then(spec::whole),
            tolerate: value.get("tolerate").and_then(spec::tolerate),
            environment: value.get("environment").and_then(text).map(str::to_owned),
            env: self.env(at, value, kind),
            env_pass: texts(self.field(value, "env_pass", kind)),
            cwd: self.plain(at, self.field(value, "cwd", kind)).map(Box::new),
            timeout: self.field(value, "timeout", kind).and_then(spec::duration),
            deadline: self.field(value, "deadline", kind).and_then(spec::duration),
            retry: self.retry(value, kind),
            exit: self.exit(value, kind),
            pool: self.pool(value, kind),
            lock: self.plain(at, self.field(value, "lock", kind)).map(Box::new),
            allow_failure: spec::allow_failure(self.field(value, "allow_failure", kind)),
            inputs: self.inputs(at, value).map(Box::new),
            cache: flag(value, "cache"),
            artifacts: self.artifacts(at, value),
            outputs: value.get("outputs").filter(|o| o.is_map()).map(|o| Box::new(spec::types(o))),
            secrets: texts(self.field(value, "secrets", kind)),
            check: self.side(at, value, "check", kind).map(Box::new),
            verify: self.side(at, value, "verify", kind).map(Box::new),
            undo: self.side(at, value, "undo", kind).map(Box::new),
            pivot: flag(value, "pivot"),
            effect: Effect::Local,
            on_crash: OnCrash::Rerun,
            leave_running: self.field(value, "leave_running", kind).is_some_and(|v| v.json() == true),
        };
        self.resolve(&mut step, value, kind);
        self.check_secrets(&step, value, kind);
        self.check_environment(&step, value);
        self.steps.push(step);
    }

    /// The one action of a step or a side action; 0 where it is none or two.
    pub fn action_of(&mut self, key: Entry<'d>, value: Ref<'d>, record: &'static Record) -> u8 {
        if !value.is_map() {
            return 0;
        }
        let can = |name: &str| record.key(name).is_some();
        let mut there: Vec<(Entry<'d>, u8)> =
            ACTIONS.iter().filter(|(n, _)| can(n)).filter_map(|(n, a)| Some((value.entry(n)?, *a))).collect();
        there.sort_by_key(|(entry, _)| entry.key.span());
        match there.as_slice() {
            [(_, action)] => *action,
            [] => {
                let misspelt = |e: &Entry<'_>| {
                    let name = e.key.scalar().unwrap_or_default();
                    record.key(name).is_none()
                        && nearest(name, record.keys.iter().map(|k| k.name)).is_some_and(|n| ACTIONS.iter().any(|(a, _)| *a == n))
                };
                if !value.entries().iter().any(misspelt) {
                    let id = key.key.scalar().unwrap_or_default();
                    let choices = if can("tree") { "`run`, `uses`, `tree` and `approve`" } else { "`run` and `uses`" };
                    let found = Diagnostic::error("no-action", key.key.span(), format!("`{id}` does nothing: it has none of {choices}"));
                    self.wrong(found.help("add `run: COMMAND`, or one of the others"));
                }
                0
            }
            [(first, _), rest @ ..] => {
                for (entry, _) in rest {
                    let (one, two) = (first.key.scalar().unwrap_or_default(), entry.key.scalar().unwrap_or_default());
                    let found = Diagnostic::error(
                        "two-actions",
                        entry.key.span(),
                        format!("`{two}` beside `{one}`: a step has exactly one action"),
                    );
                    self.wrong(found.note(first.key.span(), "first here").help("make two steps of it"));
                }
                0
            }
        }
    }

    /// Keys that have no effect beside this action.
    pub fn effects(&mut self, value: Ref<'d>, action: u8, record: &'static Record, what: &str) {
        let Some((name, _)) = ACTIONS.iter().find(|(_, a)| *a == action) else { return };
        for entry in value.entries() {
            let Some(key) = entry.key.scalar().and_then(|k| record.key(k)) else { continue };
            if key.with & action == 0 && !ACTIONS.iter().any(|(a, _)| *a == key.name) {
                let found =
                    Diagnostic::error("no-effect", entry.key.span(), format!("`{}` has no effect in {what} with `{name}`", key.name));
                self.wrong(found.help(cure(key.name, action)));
            }
        }
    }

    fn without_fan_out(&mut self, value: Ref<'d>, fans: bool) {
        for name in ["tolerate", "max_parallel"] {
            if let Some(entry) = value.entry(name).filter(|_| !fans && value.get("foreach").is_none() && value.get("matrix").is_none()) {
                let found =
                    Diagnostic::error("no-effect", entry.key.span(), format!("`{name}` has no effect without `foreach` or `matrix`"));
                self.wrong(found.help(if name == "max_parallel" {
                    "to hold steps back use `pool`, or `max_parallel` of the tree"
                } else {
                    "use `allow_failure`"
                }));
            }
        }
        if let (Some(first), Some(second)) = (value.entry("foreach"), value.entry("matrix")) {
            let found = Diagnostic::error("two-fan-outs", second.key.span(), "`matrix` beside `foreach`: a step has at most one of them");
            self.wrong(found.note(first.key.span(), "first here").help("make the list an axis of the matrix"));
        }
    }

    /// Notes the needs of a step; answers its rule if one is written.
    fn read_needs(&mut self, at: u32, value: Ref<'d>) -> Option<Rule> {
        let needs = value.get("needs")?;
        if !needs.is_map() {
            self.need_list(at, needs);
            return None;
        }
        if let Some(steps) = needs.get("steps") {
            self.need_list(at, steps);
        }
        needs.get("rule").and_then(word)
    }

    fn need_list(&mut self, at: u32, needs: Ref<'d>) {
        if !needs.is_list() {
            return self.need(at, needs);
        }
        for item in needs.items() {
            self.need(at, item);
        }
    }

    fn need(&mut self, at: u32, need: Ref<'d>) {
        let by_key = need.is_map() && need.get("by").is_some();
        let named = if need.is_map() { need.get("step") } else { Some(need) };
        if let Some((id, span)) = named.and_then(|n| Some((text(n)?, n.span()))) {
            self.needs.push(RawNeed { step: at, id, span, by_key });
        }
    }

    fn env(&mut self, at: u32, value: Ref<'d>, action: u8) -> Vec<(String, Template)> {
        let own = self.pairs_of(value.get("env"), at, Site::StepEnv);
        let Some(defaults) = self.default_of("env", action) else { return own };
        let mut all = self.pairs_of(Some(defaults), at, Site::StepEnv);
        all.retain(|(name, _)| own.iter().all(|(n, _)| n != name));
        all.extend(own);
        all
    }

    /// A value of a step with expressions.
    fn plain(&mut self, at: u32, value: Option<Ref<'d>>) -> Option<Template> {
        let template = spec::template(value?, &mut self.session.found);
        self.reads.template(at, Site::Plain, &template);
        Some(template)
    }

    /// Steps without a `retry` of their own share one.
    fn retry(&mut self, value: Ref<'d>, action: u8) -> Arc<Retry> {
        let defaults = self.default_of("retry", action);
        let make = |own| Arc::new(spec::retry(own, defaults));
        match value.get("retry") {
            Some(own) => make(Some(own)),
            None => Arc::clone(self.shared.retry[usize::from(defaults.is_some())].get_or_insert_with(|| make(None))),
        }
    }

    fn exit(&mut self, value: Ref<'d>, action: u8) -> Arc<ExitCodes> {
        let defaults = self.default_of("exit", action);
        if value.get("exit").is_none() {
            let shared = &mut self.shared.exit[usize::from(defaults.is_some())];
            return Arc::clone(shared.get_or_insert_with(|| Arc::new(spec::exit(None, defaults))));
        }
        let exit = spec::exit(value.get("exit"), defaults);
        let written = value.get("exit").filter(|e| e.is_map());
        let twice = exit
            .ok
            .iter()
            .find(|c| exit.skip.contains(c) || exit.retry.contains(c))
            .or_else(|| exit.skip.iter().find(|c| exit.retry.contains(c)));
        if let (Some(code), Some(written)) = (twice, written) {
            let found = Diagnostic::error("bad-value", written.span(), format!("exit code {code} has two meanings"));
            self.wrong(found.help("name it once; `skip` is [77] and `retry` is [75] where they are not written"));
        }
        Arc::new(exit)
    }

    fn pool(&mut self, value: Ref<'d>, action: u8) -> Option<String> {
        let pool = self.field(value, "pool", action)?;
        let name = text(pool)?;
        if !self.session.pools.contains(name) {
            let near = super::near::did_you_mean(name, self.session.pools.iter().map(String::as_str));
            let found = Diagnostic::error("unknown-pool", pool.span(), format!("no pool `{name}`{near}"));
            self.wrong(found.help(format!("define it: `pools: {{ {name}: 1 }}`")));
        }
        Some(name.to_owned())
    }

    fn inputs(&mut self, at: u32, value: Ref<'d>) -> Option<Inputs> {
        let inputs = value.get("inputs")?;
        let files = if inputs.is_map() { inputs.get("files")? } else { inputs };
        let items: Vec<Ref<'d>> = if files.is_list() { files.items().collect() } else { vec![files] };
        items.iter().for_each(|i| self.inside(*i, "inputs"));
        let files = items.into_iter().filter_map(|i| self.plain(at, Some(i))).collect();
        Some(Inputs { files, optional: flag(inputs, "optional") })
    }

    fn artifacts(&mut self, at: u32, value: Ref<'d>) -> Vec<(String, Artifact)> {
        let mut out = Vec::new();
        for entry in value.get("artifacts").map(Ref::entries).unwrap_or_default() {
            let path = if entry.value.is_map() { entry.value.get("path") } else { Some(entry.value) };
            let (Some(name), Some(path)) = (entry.key.scalar(), path) else { continue };
            self.inside(path, "artifacts");
            if let Some(template) = self.plain(at, Some(path)) {
                out.push((name.to_owned(), Artifact { path: template, optional: flag(entry.value, "optional") }));
            }
        }
        out
    }

    /// The defaults that depend on the action, and what may not stand together.
    fn resolve(&mut self, step: &mut Step, value: Ref<'d>, action: u8) {
        let kind = if let Action::Uses { kind, .. } = &step.action { self.session.kinds.kind(kind) } else { None };
        let by_action = match (&step.action, kind, &step.undo) {
            (Action::Uses { .. }, Some(kind), _) => kind.effect,
            (Action::Run(_), _, Some(_)) => Effect::External,
            (Action::Approve { .. }, _, _) => Effect::None,
            _ => Effect::Local,
        };
        step.effect = self.field(value, "effect", action).and_then(word).unwrap_or(by_action);
        let leaf = matches!(step.action, Action::Run(_) | Action::Uses { .. });
        let observes = leaf && (step.check.is_some() || kind.is_some_and(|k| k.observes && !k.reads_only));
        let repeats = kind.is_some_and(|k| k.repeats);
        let by_effect = match (observes, step.effect) {
            (true, _) => OnCrash::Check,
            (false, Effect::External) if !repeats => OnCrash::Ask,
            (false, Effect::External | Effect::Local | Effect::None) => OnCrash::Rerun,
        };
        let written = self.field(value, "on_crash", action);
        step.on_crash = written.and_then(word).unwrap_or(by_effect);
        if let Some(at) = written.filter(|_| step.on_crash == OnCrash::Check && !observes) {
            let found = Diagnostic::error("no-effect", at.span(), "`on_crash: check` without anything to check by");
            self.wrong(found.help("add `check: COMMAND` (0 done, 1 not done), or choose `rerun`, `ask` or `fail`"));
        }
        if let Some(at) = written.filter(|_| step.on_crash == OnCrash::UndoFirst && step.undo.is_none() && !kind.is_some_and(|k| k.undoes))
        {
            let found = Diagnostic::error("no-effect", at.span(), "`on_crash: undo_first` without an `undo`");
            self.wrong(found.help("add `undo: { run: … }`"));
        }
        self.check_cache(step, value);
        if let Some(entry) = value.entry("undo").filter(|_| step.finally) {
            self.wrong(Diagnostic::error("no-effect", entry.key.span(), "a step of `finally` has no undo").help("leave it out"));
        }
        if let Some(entry) = value.entry("pivot").filter(|_| step.finally) {
            self.wrong(Diagnostic::error("no-effect", entry.key.span(), "a step of `finally` is never taken back").help("leave it out"));
        }
    }

    fn check_cache(&mut self, step: &Step, value: Ref<'d>) {
        let Some(entry) = value.entry("cache").filter(|_| step.cache) else { return };
        if step.inputs.is_none() {
            let found = Diagnostic::error("cache-without-inputs", entry.key.span(), "`cache: true` without `inputs`");
            self.wrong(found.help("add `inputs: { files: [\"src/**\"] }` with all that the result depends on (`files: []` for nothing)"));
        }
        if step.effect == Effect::External {
            let why = if value.get("effect").is_some() { "`effect: external`" } else { "an external step" };
            let found = Diagnostic::error(
                "cache-external",
                entry.key.span(),
                format!("`cache: true` with {why}: what it changes outside is not in the cache"),
            );
            self.wrong(found.help("leave `cache` out, or say `effect: local` if it changes nothing outside"));
        }
    }

    fn fan_out(&mut self, at: u32, value: Ref<'d>) -> Option<FanOut> {
        match (value.get("foreach"), value.get("matrix")) {
            (Some(foreach), _) => self.foreach(at, foreach),
            (None, Some(matrix)) => self.matrix(at, matrix),
            (None, None) => None,
        }
    }
}

/// What to write instead of a key without effect.
fn cure(key: &str, action: u8) -> &'static str {
    match (key, action) {
        ("with", RUN) => "a script reads values as `{{ params.x }}`, or from `env`",
        ("with", _) => "leave it out",
        ("timeout" | "deadline", APPROVE) => "write `approve: { message: …, timeout: 24h }`",
        ("outputs", USES) => "a kind declares its own outputs; `trees steps KIND` lists them",
        ("outputs", SUB) => "the sub-tree's file declares its outputs",
        (_, SUB) => "put it on the steps of the sub-tree, or into its `defaults`",
        _ => "leave it out",
    }
}

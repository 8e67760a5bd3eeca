//! `foreach` and `matrix`: what the instances of a step come from.

use super::draft::Draft;
use super::near::did_you_mean;
use super::nodes::Ref;
use super::reads::Site;
use super::spec::{self, text};
use crate::diagnostic::Diagnostic;
use crate::event::{Json, Object};
use crate::expr::{Template, scope_names};
use crate::tree::FanOut;
use std::collections::HashSet;

/// Bytes of an instance's key.
const KEY: usize = 200;

impl FanOut {
    /// Whether it gives expressions this name.
    pub fn binds(&self, root: &str) -> bool {
        match self {
            FanOut::Foreach { name, .. } => root == name || root == "item",
            FanOut::Matrix { .. } => root == "matrix" || root == "item",
        }
    }
}

impl<'d> Draft<'d, '_, '_> {
    /// `foreach`: a list, an expression, or `{ items, as, key }`.
    pub fn foreach(&mut self, at: u32, value: Ref<'d>) -> Option<FanOut> {
        let (items, name, key) =
            if value.is_map() { (value.get("items")?, value.get("as"), value.get("key")) } else { (value, None, None) };
        let template = self.items(at, items);
        let key_expr = key.and_then(|k| spec::expression(k, &mut self.session.found));
        if let Some(expr) = &key_expr {
            self.reads.expr(at, Site::Plain, expr);
        }
        if let Some((name, span)) = name.and_then(|n| Some((text(n)?, n.span()))).filter(|(n, _)| *n != "item" && scope_names().contains(n))
        {
            let found = Diagnostic::error("name-taken", span, format!("`as: {name}` would hide `{name}`, which has a meaning of its own"));
            self.wrong(found.help(format!("choose another name, like `one_{name}`")));
        }
        if key.is_none() {
            self.static_keys(items);
        }
        Some(FanOut::Foreach { items: template, name: name.and_then(text).unwrap_or("item").to_owned(), key: key_expr })
    }

    /// A list with expressions inside, or an expression with or without braces.
    fn items(&mut self, at: u32, items: Ref<'d>) -> Template {
        let template = if items.is_list() {
            spec::template(items, &mut self.session.found)
        } else {
            spec::expression(items, &mut self.session.found).map_or(Template::Value(Json::Array(Vec::new())), Template::Whole)
        };
        self.reads.template(at, Site::Items, &template);
        template
    }

    /// The keys of items that are known here: unique, not too long, no maps without `key`.
    fn static_keys(&mut self, items: Ref<'d>) {
        let mut seen = HashSet::new();
        for item in items.items() {
            let json = item.json();
            if item.scalar().is_none() || json.is_null() {
                let found =
                    Diagnostic::error("key-missing", item.span(), format!("{} has no text that could be the instance's key", item.what()));
                self.wrong(found.help("add `key:` to `foreach`, like `key: item.name`"));
                return;
            }
            let shown = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
            if shown.contains("{{") {
                continue;
            }
            if shown.len() > KEY {
                let found = Diagnostic::error("key-too-long", item.span(), format!("a key of {} bytes; {KEY} at most", shown.len()));
                self.wrong(found.help("add a shorter `key:` to `foreach`"));
            }
            if !seen.insert(shown.clone()) {
                let found = Diagnostic::error("duplicate-item", item.span(), format!("the item `{shown}` stands twice"));
                self.wrong(found.help("each instance needs a key of its own: leave one out, or add `key:`"));
            }
        }
    }

    /// `matrix`: axes and `exclude`.
    pub fn matrix(&mut self, at: u32, value: Ref<'d>) -> Option<FanOut> {
        if !value.is_map() {
            return None;
        }
        let mut axes = Vec::new();
        for entry in value.entries() {
            let Some(name) = entry.key.scalar().filter(|n| *n != "exclude") else { continue };
            if !super::keys::Names::Word.fits(name) {
                let found = Diagnostic::error("bad-name", entry.key.span(), format!("`{name}` is no name of an axis"));
                self.wrong(found.help("write letters, digits, `_` and `-`"));
            }
            if entry.value.is_list() && entry.value.items().next().is_none() {
                let found =
                    Diagnostic::warning("empty-axis", entry.value.span(), format!("the axis `{name}` is empty: the step has no instances"));
                self.wrong(found.help("give it a value, or leave it out"));
            }
            self.static_keys(entry.value);
            axes.push((name.to_owned(), self.items(at, entry.value)));
        }
        if axes.is_empty() {
            self.wrong(
                Diagnostic::error("missing-key", value.span(), "`matrix` has no axis").help("add one: `matrix: { version: [1, 2] }`"),
            );
        }
        let exclude = value.get("exclude").into_iter().flat_map(Ref::items).map(|e| self.exclude(e, value)).collect();
        Some(FanOut::Matrix { axes, exclude })
    }

    fn exclude(&mut self, combination: Ref<'d>, matrix: Ref<'d>) -> Object {
        let known: Vec<&str> = matrix.entries().iter().filter_map(|e| e.key.scalar()).filter(|n| *n != "exclude").collect();
        for entry in combination.entries() {
            let Some(name) = entry.key.scalar() else { continue };
            let Some(axis) = matrix.get(name).filter(|_| name != "exclude") else {
                let near = did_you_mean(name, known.iter().copied());
                self.wrong(Diagnostic::error("unknown-axis", entry.key.span(), format!("no axis `{name}`{near}")));
                continue;
            };
            let fixed = axis.is_list() && axis.items().all(|v| v.scalar().is_none_or(|t| !t.contains("{{")));
            if fixed && axis.items().all(|v| v.json() != entry.value.json()) {
                let message = format!("the axis `{name}` has no value {}, so this excludes nothing", entry.value.json());
                self.wrong(
                    Diagnostic::warning("excludes-nothing", entry.value.span(), message).help("write the value as it stands in the axis"),
                );
            }
        }
        spec::object(combination)
    }
}

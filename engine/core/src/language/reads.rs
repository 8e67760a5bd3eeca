//! Which names are read where: noted while a file is read, judged by [`super::names`] when all
//! its steps are known.

use super::nodes::NIL;
use crate::expr::{Expr, Reference, Template};
use crate::shell::Script;

/// A place where an expression stands, by what may be read there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// `vars`, and `env` of a tree or an environment; of which environment (or [`NIL`]).
    Vars(u32),
    /// `env` of a tree or an environment.
    Env(u32),
    /// The tree's `outputs`.
    Outputs,
    /// A script.
    Run(Part),
    /// The `with` of a kind or a sub-tree.
    With(Part),
    /// The step's own `env`.
    StepEnv,
    /// `if`.
    If,
    /// What the instances come from.
    Items,
    /// Any other value of a step.
    Plain,
}

/// Which action of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The step's own.
    Action,
    /// `check`.
    Check,
    /// `verify`.
    Verify,
    /// `undo`.
    Undo,
}

/// One name read.
#[derive(Debug)]
pub struct Read {
    /// The step, or [`NIL`].
    pub step: u32,
    /// The place.
    pub site: Site,
    /// The name.
    pub reference: Reference,
}

/// All names read in a file.
#[derive(Debug, Default)]
pub struct Reads {
    /// In the order of the file.
    pub all: Vec<Read>,
    /// Calls of `failed` and `cancelled` outside `if`.
    pub calls: Vec<(crate::diagnostic::Span, String)>,
}

impl Reads {
    /// Notes what an expression reads.
    pub fn expr(&mut self, step: u32, site: Site, expr: &Expr) {
        self.all.extend(expr.references.iter().map(|r| Read { step, site, reference: r.clone() }));
        if site != Site::If {
            let asked = expr.calls.iter().filter(|c| matches!(c.as_str(), "failed" | "cancelled"));
            self.calls.extend(asked.map(|c| (expr.span, c.clone())));
        }
    }

    /// Notes what a value reads.
    pub fn template(&mut self, step: u32, site: Site, template: &Template) {
        if !matches!(template, Template::Value(_)) {
            template.exprs().into_iter().for_each(|e| self.expr(step, site, e));
        }
    }

    /// Notes what a script reads.
    pub fn script(&mut self, step: u32, part: Part, script: &Script) {
        script.bindings.iter().for_each(|b| self.expr(step, Site::Run(part), &b.expr));
    }
}

impl Site {
    /// Which part of a step it belongs to.
    pub fn part(self) -> Part {
        match self {
            Site::Run(part) | Site::With(part) => part,
            Site::Vars(_) | Site::Env(_) | Site::Outputs | Site::StepEnv | Site::If | Site::Items | Site::Plain => Part::Action,
        }
    }

    /// Whether it stands in a step.
    pub fn in_step(self) -> bool {
        !matches!(self, Site::Vars(_) | Site::Env(_) | Site::Outputs)
    }

    /// The index of the environment that it belongs to.
    pub fn environment(self) -> Option<u32> {
        match self {
            Site::Vars(index) | Site::Env(index) => Some(index).filter(|i| *i != NIL),
            Site::Outputs | Site::Run(_) | Site::With(_) | Site::StepEnv | Site::If | Site::Items | Site::Plain => None,
        }
    }
}

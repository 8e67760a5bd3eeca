//! Commands and options of the contract that are not there yet. They stand in no help; who types
//! one is told so.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// A command, and an option of it.
const OPTIONS: &[(&str, &str)] = &[("init", "--template"), ("rollback", "--release")];

/// The one sentence for a word that comes later, if that is what clap did not know.
pub fn explain(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let words: Vec<&str> = words.iter().skip(1).filter_map(|w| w.to_str()).collect();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let rotate = text(error, ContextKind::InvalidSubcommand)? == "rotate" && words.contains(&"secret");
            rotate.then(|| "`trees secret rotate` comes in a later release".into())
        }
        ErrorKind::UnknownArgument => {
            let option = text(error, ContextKind::InvalidArg)?.split('=').next()?;
            let (command, _) = OPTIONS.iter().find(|(command, later)| words.contains(command) && *later == option)?;
            Some(format!("`trees {command} {option}` comes in a later release"))
        }
        _ => None,
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.split_whitespace().next().unwrap_or(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn check(line: &str, expected: Option<&str>) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let explained = super::super::Cli::try_parse_from(&words).err().and_then(|e| explain(&e, &words));
        assert_eq!(explained.as_deref(), expected, "{line}");
    }

    #[test]
    fn what_comes_later_is_said() {
        for (command, option) in OPTIONS {
            check(&format!("trees {command} {option} x"), Some(&format!("`trees {command} {option}` comes in a later release")));
        }
        check("trees secret rotate X", Some("`trees secret rotate` comes in a later release"));
        check("trees check --force b", None);
        check("trees frobnicate", None);
    }

    #[test]
    fn no_help_names_what_comes_later() {
        let mut all = super::super::definition();
        all.build();
        for (name, option) in OPTIONS {
            let help = all.find_subcommand(name).unwrap().clone().render_long_help().to_string();
            assert!(!help.contains(&format!("{option} ")) && !help.contains(&format!("{option}\n")), "{name} {option}");
        }
    }
}

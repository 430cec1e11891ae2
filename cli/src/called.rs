//! By which name this program was called: it is also `kubectl-pagemesh`, which kubectl runs as `kubectl pagemesh`.

use std::env;
use std::ffi::OsStr;
use std::path::Path;

use clap::Command;

/// Whether kubectl runs us, or somebody who means what kubectl would.
pub(crate) fn as_plugin() -> bool {
    env::args_os().next().is_some_and(|own| is_plugin(&own))
}

fn is_plugin(own: &OsStr) -> bool {
    // kubectl takes a plug-in's name for words with `-` between them and writes `-` in a word as `_`.
    Path::new(own).file_name().is_some_and(|name| name == "kubectl-pagemesh")
}

/// Makes usage and examples say what is to be typed.
pub(crate) fn named(command: Command, as_plugin: bool) -> Command {
    if as_plugin { in_examples(command).bin_name("kubectl pagemesh") } else { command }
}

fn in_examples(command: Command) -> Command {
    let renamed = |text: &clap::builder::StyledStr| {
        text.to_string()
            .replace("\n  pagemesh ", "\n  kubectl pagemesh ")
            .replace("`pagemesh ", "`kubectl pagemesh ")
    };
    let short = command.get_after_help().map(renamed);
    let long = command.get_after_long_help().map(renamed);
    let mut command = command.mut_subcommands(in_examples);
    if let Some(short) = short {
        command = command.after_help(short);
    }
    if let Some(long) = long {
        command = command.after_long_help(long);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_finds_it_by_one_name() {
        for (own, expected) in [
            ("kubectl-pagemesh", true),
            ("/usr/local/bin/kubectl-pagemesh", true),
            ("pagemesh", false),
            ("/opt/kubectl-pagemesh/pagemesh", false),
            ("", false),
        ] {
            assert_eq!(is_plugin(OsStr::new(own)), expected, "{own}");
        }
    }

    #[test]
    fn usage_and_examples_name_what_was_called() {
        let command =
            || Command::new("x").subcommand(Command::new("get").after_help("Examples:\n  pagemesh get"));
        let help = |mut command: Command| {
            command.build();
            let get = command.find_subcommand_mut("get").expect("there");
            get.render_help().to_string()
        };
        let help_plugin = help(named(command(), true));
        assert!(help_plugin.contains("Usage: kubectl pagemesh get"), "{help_plugin}");
        assert!(help_plugin.contains("\n  kubectl pagemesh get"), "{help_plugin}");
        assert!(help(named(command(), false)).contains("\n  pagemesh get"));
    }
}

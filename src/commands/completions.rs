//! `msght completions`: prints a completion script for a shell.

use clap::CommandFactory;

use super::CommandOutcome;
use super::output::print_bytes;
use crate::cli::{Cli, CompletionsArgs};

/// Prints the script. It reads no settings: a shell's start must not fail for a configuration.
pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<CommandOutcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "msght", &mut script);
    print_bytes(&script)
}

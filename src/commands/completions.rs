//! `msght completions`: a completion script for a shell.

use clap::CommandFactory;

use super::{Outcome, print};
use crate::cli::{Cli, CompletionsArgs};

/// Prints the script. Reads no settings: a shell's start must not fail for a configuration.
///
/// # Errors
/// Standard output that can't be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "msght", &mut script);
    print(&script)
}

//! Options of the commands about events.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parsers;

/// Options of `msght mirror-events`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght mirror-events --interval 2m\n  \
    msght mirror-events --once")]
pub struct MirrorEventsArgs {
    /// File of the organizations whose feeds are pulled, one login per line
    #[arg(long, value_name = "FILE", default_value = "orgs.txt")]
    pub orgs: PathBuf,
    /// Time between two pulls of a feed; GitHub's own interval, usually a minute, is the minimum
    #[arg(long, value_name = "TIME", value_parser = parsers::duration, default_value = "1m")]
    pub interval: Duration,
    /// Pull each feed that is due once, publish what it shows, and stop
    #[arg(long)]
    pub once: bool,
}

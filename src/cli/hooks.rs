//! Options of `msght hooks`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::parsers;

/// Options of `msght hooks`.
#[derive(Debug, Clone, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    msght hooks list\n  \
    msght hooks ping contoso\n  \
    msght hooks missed --repair"
)]
pub struct HooksArgs {
    /// The operation on the webhooks.
    #[command(subcommand)]
    pub command: HooksCommand,
}

/// The operations on organizations' webhooks.
#[derive(Debug, Clone, Subcommand)]
pub enum HooksCommand {
    /// List the organizations' webhooks, of all addresses
    #[command(after_help = "Example:\n  msght hooks list --json")]
    List(HooksListArgs),
    /// Let GitHub ping the organizations' webhooks, and tell how far the pings came
    #[command(after_help = "Example:\n  msght hooks ping contoso")]
    Ping(HooksPingArgs),
    /// Look for deliveries that GitHub has logged and msght doesn't have, and take them in
    #[command(after_help = "Examples:\n  \
        msght hooks missed\n  \
        msght hooks missed --repair --json")]
    Missed(HooksMissedArgs),
}

/// The organizations whose webhooks are meant.
#[derive(Debug, Clone, Args)]
pub struct HookTargets {
    /// Organizations [default: all of --orgs]
    #[arg(value_name = "ORG", value_parser = parsers::login)]
    pub organizations: Vec<String>,
    /// File of the organizations, one login per line
    #[arg(long, value_name = "FILE", default_value = "orgs.txt")]
    pub orgs: PathBuf,
}

/// Options of `msght hooks list`.
#[derive(Debug, Clone, Args)]
pub struct HooksListArgs {
    /// The organizations.
    #[command(flatten)]
    pub targets: HookTargets,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Options of `msght hooks ping`.
#[derive(Debug, Clone, Args)]
pub struct HooksPingArgs {
    /// The organizations.
    #[command(flatten)]
    pub targets: HookTargets,
    /// Time to wait for a ping to arrive
    #[arg(long, value_name = "TIME", value_parser = parsers::duration, default_value = "1m")]
    pub wait: Duration,
}

/// Options of `msght hooks missed`.
#[derive(Debug, Clone, Args)]
pub struct HooksMissedArgs {
    /// The organizations.
    #[command(flatten)]
    pub targets: HookTargets,
    /// Create webhooks that are missing, and repair those that are inactive, not JSON, without all events or without a secret
    #[arg(long)]
    pub repair: bool,
    /// Ask GitHub to deliver again instead of reading payloads from its log
    #[arg(long)]
    pub redeliver: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Options of `msght webhook-listener`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  msght webhook-listener --drain")]
pub struct WebhookListenerArgs {
    /// Stop when the queue is empty
    #[arg(long)]
    pub drain: bool,
}

//! Options of `msght webhooks`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Options of `msght webhooks`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght webhooks --process\n  \
    msght webhooks --listen 0.0.0.0:4567 --orgs /etc/msght/orgs.txt")]
pub struct WebhooksArgs {
    /// Address and port to receive deliveries on [default: webhooks.listen, 127.0.0.1:4567]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Accept deliveries of anybody, unsigned: for tests, or where the network lets only GitHub through
    #[arg(long)]
    pub insecure_no_secret: bool,
    /// Also read again what deliveries name, in this process, as `msght data-retrieval` does
    #[arg(long)]
    pub process: bool,
    /// File of the mirrored organizations, one login per line; deliveries of others are dropped
    #[arg(long, value_name = "FILE", default_value = "orgs.txt")]
    pub orgs: PathBuf,
    /// File of the mirrored repositories, whose owners count, too
    #[arg(long, value_name = "FILE", default_value = "projects.txt")]
    pub projects: PathBuf,
}

//! Connections to the broker: opened on demand, and reopened after they break.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicQosOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::error::BrokerError;

/// Limit for opening a connection. A starting broker accepts one and stays silent until it is up; a healthy one answers
/// within a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Limit for small requests (opening a channel, declaring, binding, counting), which take milliseconds, and some seconds on
/// a broker under load.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit for closing a connection. An unclosed one does no harm.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds of silence after which a connection counts as broken, where the URL has no `heartbeat`. With RabbitMQ's default
/// of 60 s, work would stall for a minute before a dead broker is noticed.
const HEARTBEAT_SECONDS: u16 = 15;

/// One connection, reopened on demand. Publishing and consuming have one each: a broker short of memory or disk stops
/// reading from connections that publish, and acknowledgements must still get through.
pub(super) struct ReconnectingConnection {
    uri: AMQPUri,
    name: &'static str,
    current: Mutex<Option<Arc<LiveConnection>>>,
}

/// An open connection with its idle channels.
pub(super) struct LiveConnection {
    connection: Connection,
    /// Idle channels in confirm mode. Each serves one publisher at a time: the client library attributes a returned message
    /// to whichever confirm comes next on the channel.
    confirming: Mutex<Vec<Channel>>,
    /// Names of the queues that were declared over this connection.
    pub(super) declared: Mutex<BTreeSet<String>>,
}

/// Parses the broker's URL.
///
/// # Errors
/// The problem, without any part of the URL, which may belong to the password.
pub(super) fn parse(url: &str) -> Result<AMQPUri, &'static str> {
    const NO_URL: &str = "it is not an AMQP URL (amqp://USER:PASSWORD@HOST:PORT/VHOST)";
    let mut uri: AMQPUri = url.parse().map_err(|_| NO_URL)?;
    // The client library ignores an IPv6 address and connects to localhost.
    let parsed = url::Url::parse(url).map_err(|_| NO_URL)?;
    if let Some(url::Host::Ipv6(address)) = parsed.host() {
        uri.authority.host = address.to_string();
    }
    if uri.query.heartbeat.is_none() {
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
    }
    Ok(uri)
}

/// Converts a text to AMQP's short string (at most 255 bytes).
pub(super) fn short_string(text: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(text).map_err(|error| BrokerError::Broker(std::io::Error::other(error).into()))
}

/// Awaits the broker's reply for at most [`REQUEST_TIMEOUT`].
pub(super) async fn await_reply<T>(
    what: &'static str,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    within(REQUEST_TIMEOUT, what, request).await
}

/// Awaits the broker's reply for at most `limit`. `waiting_for` names the reply in the error.
pub(super) async fn within<T>(
    limit: Duration,
    waiting_for: &'static str,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match timeout(limit, request).await {
        Ok(answered) => answered.map_err(BrokerError::from),
        Err(_) => Err(BrokerError::TimedOut { waiting_for, waited: limit }),
    }
}

impl ReconnectingConnection {
    pub(super) fn new(uri: AMQPUri, name: &'static str) -> Self {
        Self { uri, name, current: Mutex::new(None) }
    }

    /// Returns the connection, and opens a new one if there is none that works. Makes one attempt.
    pub(super) async fn live(&self) -> Result<Arc<LiveConnection>, BrokerError> {
        let mut current = self.current.lock().await;
        if let Some(connected) = current.as_ref().filter(|connected| connected.connection.status().connected()) {
            return Ok(Arc::clone(connected));
        }
        *current = None;
        let properties = ConnectionProperties::default()
            .with_client_property("product".into(), "msght".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
            .with_connection_name(format!("msght {}, process {}", self.name, std::process::id()).into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        let connection = within(CONNECT_TIMEOUT, "answer to a connection", connecting).await?;
        let connected =
            Arc::new(LiveConnection { connection, confirming: Mutex::default(), declared: Mutex::default() });
        *current = Some(Arc::clone(&connected));
        Ok(connected)
    }

    /// Discards a connection that does not answer, unless it has been replaced already.
    pub(super) async fn discard(&self, connected: &Arc<LiveConnection>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, connected)) {
            *current = None;
        }
    }

    pub(super) async fn close(&self) {
        if let Some(connected) = self.current.lock().await.take() {
            let closing = connected.connection.close(200, "done".into());
            if let Err(error) = within(CLOSE_TIMEOUT, "reply to a close", closing).await {
                tracing::debug!(%error, "a connection to the broker was not closed cleanly");
            }
        }
    }
}

impl LiveConnection {
    /// Opens a channel. Each task has its own: an error closes the channel that it happens on.
    pub(super) async fn channel(&self) -> Result<Channel, BrokerError> {
        await_reply("new channel", self.connection.create_channel()).await
    }

    /// Opens a channel that delivers at most `prefetch` unsettled messages.
    pub(super) async fn consuming_channel(&self, prefetch: u16) -> Result<Channel, BrokerError> {
        let channel = self.channel().await?;
        await_reply("prefetch limit", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        Ok(channel)
    }

    /// Returns a channel in confirm mode for one publisher, who returns it with [`release_confirming`](Self::release_confirming)
    /// when nothing is outstanding on it.
    pub(super) async fn confirming_channel(&self) -> Result<Channel, BrokerError> {
        while let Some(channel) = self.confirming.lock().await.pop() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.channel().await?;
        await_reply("confirm mode", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    pub(super) async fn release_confirming(&self, channel: Channel) {
        self.confirming.lock().await.push(channel);
    }
}

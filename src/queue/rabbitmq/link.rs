//! Connections to the broker: made when needed, and again after they broke.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicQosOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::failure::Failure;

/// A broker that is starting accepts a connection and then says nothing for as long as it starts; a healthy one answers
/// within a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Small requests (opening a channel, declaring, binding, counting) take milliseconds; a broker under load some seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The broker's last word is not worth a longer wait: an unclosed connection does no harm.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds. Without word from the other side for this long the connection counts as broken. Used where the URL has no
/// `heartbeat`: RabbitMQ's own 60 s let a work stand for a minute before a dead broker is noticed.
const HEARTBEAT_SECONDS: u16 = 15;

/// A place for one connection. Publishing and consuming have one each: a broker short of memory or disk stops reading
/// from connections that publish, and acknowledgements have to get through.
pub(super) struct Link {
    uri: AMQPUri,
    name: &'static str,
    current: Mutex<Option<Arc<Connected>>>,
}

/// A connection, and what was found out or made through it.
pub(super) struct Connected {
    connection: Connection,
    /// Channels in confirm mode that nobody uses at the moment. A channel is one publisher's at a time: the client
    /// ties a returned message to whichever confirm comes next on the channel.
    confirming: Mutex<Vec<Channel>>,
    /// Queues that were declared over this connection.
    pub(super) declared: Mutex<BTreeSet<String>>,
}

/// Parses the broker's URL.
///
/// # Errors
/// What is wrong, without any part of the URL: it may be of the password.
pub(super) fn parse(url: &str) -> Result<AMQPUri, &'static str> {
    const NO_URL: &str = "it is no AMQP URL (amqp://USER:PASSWORD@HOST:PORT/VHOST)";
    let mut uri: AMQPUri = url.parse().map_err(|_| NO_URL)?;
    // The client library takes an IPv6 address for no host at all, and connects to localhost.
    let parsed = url::Url::parse(url).map_err(|_| NO_URL)?;
    if let Some(url::Host::Ipv6(address)) = parsed.host() {
        uri.authority.host = address.to_string();
    }
    if uri.query.heartbeat.is_none() {
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
    }
    Ok(uri)
}

/// A text as AMQP's short string.
pub(super) fn short(text: &str) -> Result<ShortString, Failure> {
    ShortString::try_new(text).map_err(|error| Failure::Broker(std::io::Error::other(error).into()))
}

/// An answer of the broker, waited for only so long.
pub(super) async fn answer<T>(
    what: &'static str,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Failure> {
    within(REQUEST_TIMEOUT, what, request).await
}

pub(super) async fn within<T>(
    limit: Duration,
    waiting_for: &'static str,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Failure> {
    match timeout(limit, request).await {
        Ok(answered) => answered.map_err(Failure::from),
        Err(_) => Err(Failure::Silent { waiting_for, waited: limit }),
    }
}

impl Link {
    pub(super) fn new(uri: AMQPUri, name: &'static str) -> Self {
        Self { uri, name, current: Mutex::new(None) }
    }

    /// The connection, a new one if there is none that works. One attempt.
    pub(super) async fn connected(&self) -> Result<Arc<Connected>, Failure> {
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
        let connected = Arc::new(Connected { connection, confirming: Mutex::default(), declared: Mutex::default() });
        *current = Some(Arc::clone(&connected));
        Ok(connected)
    }

    /// Forgets a connection that doesn't answer, unless it has been replaced already.
    pub(super) async fn give_up(&self, connected: &Arc<Connected>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, connected)) {
            *current = None;
        }
    }

    pub(super) async fn close(&self) {
        if let Some(connected) = self.current.lock().await.take() {
            let closing = connected.connection.close(200, "done".into());
            if let Err(error) = within(CLOSE_TIMEOUT, "farewell", closing).await {
                tracing::debug!(%error, "a connection to the broker was not closed in good order");
            }
        }
    }
}

impl Connected {
    /// A channel of its own: an error closes the channel that it happens on.
    pub(super) async fn channel(&self) -> Result<Channel, Failure> {
        answer("new channel", self.connection.create_channel()).await
    }

    /// A channel that delivers at most `prefetch` messages unsettled.
    pub(super) async fn consuming_channel(&self, prefetch: u16) -> Result<Channel, Failure> {
        let channel = self.channel().await?;
        answer("prefetch limit", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        Ok(channel)
    }

    /// A channel in confirm mode, for one publisher. Given back with [`confirming_done`](Self::confirming_done) when
    /// nothing is outstanding on it.
    pub(super) async fn confirming_channel(&self) -> Result<Channel, Failure> {
        while let Some(channel) = self.confirming.lock().await.pop() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.channel().await?;
        answer("confirm mode", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    pub(super) async fn confirming_done(&self, channel: Channel) {
        self.confirming.lock().await.push(channel);
    }
}

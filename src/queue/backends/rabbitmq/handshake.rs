//! The broker's product and version, from the first frame of the AMQP handshake. The client library does not expose them,
//! so this opens a connection of its own.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::uri::AMQPUri;
use tokio::time::timeout;

/// Limit for the handshake. A healthy broker answers within milliseconds, and its name is not worth a longer wait.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Major and minor version of the oldest RabbitMQ that msght is tested with.
const MIN_RABBITMQ_VERSION: (u32, u32) = (3, 10);
/// Upper bound on the frame's bytes; RabbitMQ sends about 500.
const MAX_FRAME_BYTES: u32 = 65_536;
const HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Frame type, channel and size.
const FRAME_HEADER_BYTES: usize = 7;
const METHOD_FRAME: u8 = 1;
/// Class 10, method 10, and the protocol's version 0-9.
const START: &[u8; 6] = &[0, 10, 0, 10, 0, 9];

/// Returns product and version, such as `RabbitMQ 3.10.8`, if the broker reports them.
pub(super) async fn product(uri: &AMQPUri) -> Option<String> {
    let read = timeout(HANDSHAKE_TIMEOUT, read_start_frame(uri)).await.ok()?;
    let frame = read.inspect_err(|error| tracing::debug!(%error, "the broker's handshake was not read")).ok()?;
    product_of(&frame)
}

/// Returns whether a product is a RabbitMQ older than [`MIN_RABBITMQ_VERSION`]. Other products are never too old.
pub(super) fn is_rabbitmq_too_old(product: &str) -> bool {
    let Some(version) = product.strip_prefix("RabbitMQ ") else { return false };
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) < MIN_RABBITMQ_VERSION,
        _ => false,
    }
}

async fn read_start_frame(uri: &AMQPUri) -> std::io::Result<Vec<u8>> {
    let runtime = lapin::runtime::default_runtime().map_err(std::io::Error::other)?;
    let mut stream = uri.connect_with_config_async(TLSConfig::default(), &runtime).await?;
    stream.write_all(HEADER).await?;
    stream.flush().await?;
    let mut header = [0; FRAME_HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
    if header[0] != METHOD_FRAME || size > MAX_FRAME_BYTES {
        return Err(std::io::Error::other("not a handshake of AMQP 0-9-1"));
    }
    let mut frame = Vec::new();
    stream.take(size.into()).read_to_end(&mut frame).await?;
    Ok(frame)
}

/// Parses `connection.start` as far as its table of properties: names as short strings, values tagged with a letter.
fn product_of(frame: &[u8]) -> Option<String> {
    let rest = frame.strip_prefix(START)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let mut table = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let (mut product, mut version) = (None, None);
    while let Some((&length, rest)) = table.split_first() {
        let (name, rest) = rest.split_at_checked(length.into())?;
        let (&kind, rest) = rest.split_first()?;
        let (value, rest) = match kind {
            b't' => rest.split_at_checked(1)?,
            b'S' | b'F' | b'A' => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?
            }
            b'I' => rest.split_at_checked(4)?,
            _ => break,
        };
        let text = || String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).collect::<String>();
        match name {
            b"product" => product = Some(text()),
            b"version" => version = Some(text()),
            _ => {}
        }
        table = rest;
    }
    Some(format!("{} {}", product?, version.unwrap_or_default()).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn product_and_version_are_found_among_other_properties() {
        let mut table = Vec::new();
        for (name, kind, value) in
            [("capabilities", b'F', "\u{3}abct\u{1}"), ("product", b'S', "RabbitMQ"), ("version", b'S', "3.10.8")]
        {
            table.push(u8::try_from(name.len()).unwrap());
            table.extend_from_slice(name.as_bytes());
            table.push(kind);
            table.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            table.extend_from_slice(value.as_bytes());
        }
        let mut frame = START.to_vec();
        frame.extend_from_slice(&u32::try_from(table.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&table);
        assert_eq!(product_of(&frame).as_deref(), Some("RabbitMQ 3.10.8"));
        for length in 0..frame.len() {
            assert_eq!(product_of(&frame[..length]), None);
        }
    }

    #[test]
    fn only_old_rabbitmq_versions_are_rejected() {
        for old in ["RabbitMQ 3.9.29", "RabbitMQ 2.8", "RabbitMQ 3"] {
            assert!(is_rabbitmq_too_old(old), "{old}");
        }
        for other in
            ["RabbitMQ 3.10.0", "RabbitMQ 3.13.7", "RabbitMQ 4.0.1", "RabbitMQ", "RabbitMQ next", "LavinMQ 1.2"]
        {
            assert!(!is_rabbitmq_too_old(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut frame = START.to_vec();
            frame.extend(bytes);
            let _ = product_of(&frame);
        }
    }
}

//! A broker that greets as an old RabbitMQ does, and says no more.
//!
//! The protocol: <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>, section 1.4.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Serves a connection.
pub fn serve(mut stream: TcpStream, version: &str) -> Option<()> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let long = |text: &[u8]| [&u32::try_from(text.len()).unwrap_or(0).to_be_bytes()[..], text].concat();
    let mut table = Vec::new();
    for (name, value) in [("product", "RabbitMQ"), ("version", version)] {
        table.push(u8::try_from(name.len()).unwrap_or(0));
        table.extend([name.as_bytes(), b"S", &long(value.as_bytes())].concat());
    }
    // connection.start: protocol 0-9, properties, mechanisms, locales.
    let method = [&[0, 10, 0, 10, 0, 9][..], &long(&table), &long(b"PLAIN"), &long(b"en_US")].concat();
    let mut frame = vec![1, 0, 0];
    frame.extend(long(&method));
    frame.push(0xce);
    stream.write_all(&frame).ok()?;
    // Until the other side ends.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok().map(drop)
}

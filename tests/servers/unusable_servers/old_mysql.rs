//! A server that greets as an old MySQL does and knows nothing but its version.
//!
//! The protocol: <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>.

use std::io::{Read, Write};
use std::net::TcpStream;

/// SQL as a text, SQL to be prepared, and what was prepared to be executed.
const QUERY: u8 = 3;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
/// A length-encoded text, as MySQL's type number.
const VAR_STRING: u8 = 0xfd;

/// Serves a connection.
pub fn serve(mut stream: TcpStream, version: &str) -> Option<()> {
    send(&mut stream, 0, &greeting(version))?;
    let (sequence, _) = receive(&mut stream)?;
    send(&mut stream, sequence + 1, &ok())?;
    loop {
        let (sequence, command) = receive(&mut stream)?;
        let packets = match *command.first()? {
            QUERY => vec![ok()],
            // One column, no parameter.
            PREPARE => vec![[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0].to_vec(), column(), end()],
            EXECUTE => vec![vec![1], column(), end(), row(version), end()],
            _ => return None,
        };
        for (sandbox, packet) in packets.iter().enumerate() {
            send(&mut stream, sequence + 1 + u8::try_from(sandbox).ok()?, packet)?;
        }
    }
}

fn greeting(version: &str) -> Vec<u8> {
    // 4.1 protocol, plugin authentication, secure connection, long passwords, database, transactions.
    let capabilities: u32 = 0x0008_0000 | 0x8000 | 0x0200 | 0x2000 | 0x0008 | 0x0001;
    let [low, middle, high, top] = capabilities.to_le_bytes();
    let mut packet = vec![10];
    packet.extend(
        [version.as_bytes(), &[0], &[1, 0, 0, 0], b"12345678", &[0, low, middle, 33, 2, 0, high, top, 21]].concat(),
    );
    packet.extend([&[0; 10][..], b"123456789012", &[0], b"mysql_native_password", &[0]].concat());
    packet
}

fn ok() -> Vec<u8> {
    vec![0, 0, 0, 2, 0, 0, 0]
}

fn end() -> Vec<u8> {
    vec![0xfe, 0, 0, 2, 0]
}

fn column() -> Vec<u8> {
    let mut packet = Vec::new();
    for text in ["def", "", "", "", "version", ""] {
        packet.push(u8::try_from(text.len()).unwrap());
        packet.extend(text.as_bytes());
    }
    packet.extend([0x0c, 45, 0, 255, 0, 0, 0, VAR_STRING, 0, 0, 31, 0, 0]);
    packet
}

/// A row in the binary form.
fn row(version: &str) -> Vec<u8> {
    let mut packet = vec![0, 0, u8::try_from(version.len()).unwrap()];
    packet.extend(version.as_bytes());
    packet
}

fn send(stream: &mut TcpStream, sequence: u8, packet: &[u8]) -> Option<()> {
    let [a, b, c, _] = u32::try_from(packet.len()).ok()?.to_le_bytes();
    stream.write_all(&[&[a, b, c, sequence], packet].concat()).ok()
}

fn receive(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let mut packet = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut packet).ok()?;
    Some((header[3], packet))
}

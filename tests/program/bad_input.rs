//! Bad input: a clear message, the right exit code, nothing half-written.

use std::io::Write;

use rstest::rstest;

use fake_github::{FakeGitHub, Options, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

async fn quiet_world() -> FakeGitHub {
    FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await
}

#[rstest]
#[tokio::test]
async fn an_unknown_repository_and_a_bad_token_are_said(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = quiet_world().await;
    let output = Sandbox::new(fake.url()).run(&["retrieve-repo", "contoso/nothing"]).await;
    output.assert_output(1, &["no token can read contoso/nothing", "404"]);
    let output = Sandbox::new(fake.url()).tokens("ghp_wrongwrongwrong").run(&["retrieve-repo", names::QUIET]).await;
    output.assert_output(1, &["401", "ghp_…"]);
    assert!(!output.err.contains("wrongwrong"), "{}", output.err);
}

#[rstest]
#[tokio::test]
async fn unreachable_api_host_is_reported_within_seconds(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = std::time::Instant::now();
    let output = Sandbox::new(&format!("http://127.0.0.1:{port}/")).run(&["retrieve-repo", names::QUIET]).await;
    output.assert_output(1, &[&format!("127.0.0.1:{port}"), "refused"]);
    assert!(started.elapsed().as_secs() < 20);
}

/// A server that answers anything with the same bytes.
fn answering(bytes: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 2048];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let _ = stream.write_all(bytes);
        }
    });
    address.to_string()
}

#[rstest]
#[tokio::test]
async fn a_server_that_is_not_github_is_said_to_be_none(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let host = answering(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\nConnection: close\r\n\r\n<html>A page.</html>");
    let output = Sandbox::new(&format!("http://{host}/")).run(&["retrieve-repo", names::QUIET]).await;
    output.assert_output(1, &["api_url"]);
}

#[rstest]
#[tokio::test]
async fn broken_tls_is_said_to_be_tls(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let host = answering(b"this is no TLS record");
    let output = Sandbox::new(&format!("https://{host}/")).run(&["retrieve-repo", names::QUIET]).await;
    output.assert_output(1, &["TLS"]);
}

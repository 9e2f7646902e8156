//! Deliveries are received: every answer, what is kept, and that nothing answered with 202 is lost.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::documents::Documents;
use msght::store::documents::deliveries::{DeliveryKey, DeliveryState};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use support::servers::mongodb::MongoServer;
use support::stores::{DocumentStore, RelationalStore, StoredData};
use support::webhooks::{HttpRequest, SECRET, WebhookServer, guid, sign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// GitHub itself is not asked by the server.
const NO_GITHUB: &str = "http://127.0.0.1:9/";

fn sandbox() -> Sandbox {
    Sandbox::new(NO_GITHUB)
}

/// The sandbox's inbox.
async fn inbox(sandbox: &Sandbox) -> Documents {
    let url = match &sandbox.stores().documents {
        DocumentStore::Sqlite(path) => BackendUrl::sqlite(path.clone()),
        DocumentStore::Mongodb { url, .. } => BackendUrl::parse(url, &[BackendKind::Mongodb]).unwrap(),
    };
    Documents::open(&url, &RetryPolicy::new(Duration::from_secs(60), |_| {})).await.unwrap()
}

fn key(number: u64) -> DeliveryKey {
    DeliveryKey::new(&guid(number), 42)
}

async fn state(inbox: &Documents, number: u64) -> Option<DeliveryState> {
    inbox.known_deliveries(&[key(number)]).await.unwrap()[0]
}

/// Waits until a delivery is in a state.
async fn wait_for(inbox: &Documents, number: u64, wanted: DeliveryState) {
    let began = Instant::now();
    while state(inbox, number).await != Some(wanted) {
        assert!(began.elapsed() < Duration::from_secs(60), "{number} is {:?}", state(inbox, number).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn issue(number: u64) -> HttpRequest {
    let body = json!({
        "action": "opened",
        "issue": { "number": number, "title": "emoji \u{1f389}, quotes \" and \u{7f}" },
        "repository": { "id": 7, "name": "web", "owner": { "login": "contoso" } },
        "organization": { "login": "contoso" },
        "sender": { "login": "octocat" },
    });
    HttpRequest::delivery(number, "issues", body.to_string())
}

/// A payload of this many bytes that hardly compresses.
fn large(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut text = String::from(r#"{"organization":{"login":"contoso"},"blob":""#);
    while text.len() < bytes - 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{state:016x}");
    }
    let left = bytes - text.len() - 2;
    text += &"x".repeat(left);
    text += "\"}";
    text.into_bytes()
}

#[rstest]
#[tokio::test]
async fn each_answer_is_as_documented(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let sandbox = sandbox();
    let server = WebhookServer::start(&sandbox, &[]).await;
    let good = issue(1);
    let signed = |body: &[u8]| HttpRequest::delivery(2, "issues", body);
    let odd_names = json!({"repository": {"name": "../../etc\u{0}", "owner": {"login": "../x\u{1b}[31m"}}}).to_string();
    for (name, request, status) in [
        ("stored", good.clone(), 202),
        ("repeated", good.clone(), 202),
        ("other path", issue(3).to("/webhooks/github"), 202),
        ("no signature", good.clone().without("x-hub-signature-256"), 401),
        ("SHA-1 alone", good.clone().without("x-hub-signature-256").with("x-hub-signature", "sha1=00"), 401),
        ("another secret", good.clone().with("x-hub-signature-256", &sign("other", &good.body)), 401),
        ("no hex", good.clone().with("x-hub-signature-256", "sha256=zz"), 401),
        ("empty body", signed(b""), 400),
        ("invalid JSON", signed(b"{\"a\": "), 400),
        ("no object", signed(b"[1]"), 400),
        (
            "invalid UTF-8 in a string",
            signed(b"{\"organization\": {\"login\": \"contoso\"}, \"x\": \"\xff\xfe\"}"),
            202,
        ),
        (
            "lone surrogate",
            HttpRequest::delivery(5, "issues", r#"{"organization": {"login": "contoso"}, "x": "\ud83d"}"#),
            202,
        ),
        ("no event", good.clone().without("x-github-event"), 400),
        ("no GUID", good.clone().without("x-github-delivery"), 400),
        ("not a GUID", good.clone().with("x-github-delivery", "../../x"), 400),
        ("odd hook id", good.clone().with("x-github-hook-id", "-1"), 400),
        ("no hook id", issue(4).without("x-github-hook-id"), 202),
        ("odd names", HttpRequest::delivery(6, "issues", odd_names), 202),
        ("no content type", good.clone().without("content-type"), 415),
        ("text", good.clone().with("content-type", "text/plain"), 415),
        ("compressed", good.clone().with("content-encoding", "gzip"), 415),
        ("form without payload", signed(b"a=b").with("content-type", "application/x-www-form-urlencoded"), 400),
        ("length is no number", good.clone().with("content-length", "many"), 400),
        ("health", HttpRequest::get("/healthz"), 200),
        ("wrong method", HttpRequest::get("/"), 405),
        ("nothing else", HttpRequest::get("/metrics"), 404),
        ("nothing else", good.clone().to("/webhooks/../admin"), 404),
    ] {
        assert_eq!(server.deliver(&request).await, status, "{name}");
    }
    let inbox = inbox(&sandbox).await;
    assert_eq!(inbox.delivery_body(&key(1)).await.unwrap().unwrap(), good.body);
    let bytes = inbox.delivery_body(&key(2)).await.unwrap().unwrap();
    assert!(bytes.ends_with(b"\"\xff\xfe\"}"), "the exact bytes are kept");
    assert!(inbox.known_deliveries(&[DeliveryKey::new(&guid(4), 0)]).await.unwrap()[0].is_some());
    assert_eq!(state(&inbox, 6).await, None, "an account that can't be one is not mirrored");
    for number in [1, 2, 3, 5] {
        wait_for(&inbox, number, DeliveryState::Done).await;
    }
    let log = server.stop().await;
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[rstest]
#[tokio::test]
async fn large_bodies_are_kept_exactly_up_to_their_limit(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let sandbox = sandbox();
    let server = WebhookServer::start(&sandbox, &[]).await;
    let accepted = HttpRequest::delivery(1, "push", large(24_900_000));
    assert_eq!(server.deliver(&accepted).await, 202);
    let inbox = inbox(&sandbox).await;
    assert!(inbox.delivery_body(&key(1)).await.unwrap().unwrap() == accepted.body, "the bytes differ");
    // A form is longer than its payload.
    let form = [b"payload=".as_slice(), &b"%20".repeat(10_000_000), b"%7B%22a%22%3A1%7D"].concat();
    let form = HttpRequest::delivery(2, "push", form).with("content-type", "application/x-www-form-urlencoded");
    assert_eq!(server.deliver(&form).await, 202);
    // By its length, before any of it is sent: nothing but the head.
    let refused = HttpRequest::delivery(3, "push", Vec::new()).with("content-length", "26214401");
    assert_eq!(server.deliver(&refused).await, 413);
    let form = refused.with("content-type", "application/x-www-form-urlencoded").with("content-length", "83886081");
    assert_eq!(server.deliver(&form).await, 413);
    // While it is read, where no length is announced.
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 0x10_0000], b"\r\n"].concat();
    let mut refused = HttpRequest::delivery(4, "push", chunk.repeat(26)).with("transfer-encoding", "chunked");
    refused.body.extend_from_slice(b"0\r\n\r\n");
    // The connection may break before the answer is read: what counts is that it isn't accepted.
    assert!(matches!(server.deliver(&refused).await, 413 | 0));
    assert_eq!((state(&inbox, 3).await, state(&inbox, 4).await), (None, None));
    wait_for(&inbox, 1, DeliveryState::Done).await;
    wait_for(&inbox, 2, DeliveryState::Done).await;
    server.stop().await;
}

#[rstest]
#[tokio::test]
async fn nothing_answered_202_is_lost_over_kills(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let sandbox = sandbox();
    let mut accepted = Vec::new();
    let mut next = 1;
    for round in 0..4 {
        let server = WebhookServer::start(&sandbox, &[]).await;
        let address = server.address.clone();
        let senders: Vec<_> = (0..8_u64)
            .map(|sender| {
                let address = address.clone();
                let first = next + sender * 1000;
                tokio::spawn(async move {
                    let mut accepted = Vec::new();
                    for number in first..first + 1000 {
                        match issue(number).send(&address).await.0 {
                            202 => accepted.push(number),
                            _ => break,
                        }
                    }
                    accepted
                })
            })
            .collect();
        next += 8000;
        tokio::time::sleep(Duration::from_millis(700 + 150 * round)).await;
        server.kill().await;
        for sender in senders {
            accepted.extend(sender.await.unwrap());
        }
    }
    assert!(accepted.len() > 40, "{} accepted", accepted.len());
    let server = WebhookServer::start(&sandbox, &[]).await;
    let inbox = inbox(&sandbox).await;
    let keys: Vec<DeliveryKey> = accepted.iter().map(|number| key(*number)).collect();
    let began = Instant::now();
    loop {
        let states = inbox.known_deliveries(&keys).await.unwrap();
        assert!(states.iter().all(Option::is_some), "a delivery that was accepted is lost");
        if states.iter().all(|state| *state == Some(DeliveryState::Done)) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(100), "{:?}", inbox.delivery_counts().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Delivered again, they are known.
    let (status, text) = issue(accepted[0]).send(&server.address).await;
    assert_eq!((status, text.as_str()), (202, "known and done\n"));
    server.stop().await;
}

#[tokio::test]
async fn locked_store_is_answered_with_503_until_it_is_free() {
    let sandbox = sandbox();
    let server = WebhookServer::start(&sandbox, &[]).await;
    assert_eq!(server.deliver(&issue(1)).await, 202);
    let inbox = inbox(&sandbox).await;
    wait_for(&inbox, 1, DeliveryState::Done).await;
    let DocumentStore::Sqlite(path) = &sandbox.stores().documents else { panic!() };
    let mut lock = std::process::Command::new("sqlite3")
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut lock.stdin.as_ref().unwrap(),
        b".timeout 5000\nBEGIN IMMEDIATE;\nUPDATE msght_store SET generation = generation;\n",
    )
    .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    assert_eq!(server.deliver(&issue(2)).await, 503);
    assert!(began.elapsed() < Duration::from_secs(10), "GitHub waits for 10 s: {:?}", began.elapsed());
    // From then on at once.
    let began = Instant::now();
    assert_eq!(server.deliver(&issue(3)).await, 503);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(HttpRequest::get("/healthz").send(&server.address).await.0, 200);
    assert_eq!(HttpRequest::get("/readyz").send(&server.admin).await.0, 503);
    lock.kill().unwrap();
    lock.wait().unwrap();
    let began = Instant::now();
    while server.deliver(&issue(2)).await != 202 {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(state(&inbox, 3).await, None);
    let log = server.stop().await;
    assert!(log.contains("rejected with 503") && log.contains("is back"), "{log}");
}

#[rstest]
#[tokio::test]
async fn killed_store_is_answered_with_503_until_it_is_back(#[values(Servers)] _stores: Backends) {
    let mongodb = tokio::task::spawn_blocking(MongoServer::start).await.unwrap();
    let documents = DocumentStore::Mongodb { url: mongodb.url("own"), database: "own".to_owned() };
    let directory = tempfile::tempdir().unwrap();
    let relational = RelationalStore::Sqlite(directory.path().join("github.db"));
    let sandbox =
        Sandbox::at(NO_GITHUB, StoredData { documents, relational }).with("MSGHT_DOCUMENTS__URL", &mongodb.url("own"));
    let server = WebhookServer::start(&sandbox, &[]).await;
    assert_eq!(server.deliver(&issue(1)).await, 202);
    mongodb.kill();
    let began = Instant::now();
    assert_eq!(server.deliver(&issue(2)).await, 503);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(server.deliver(&issue(2)).await, 503);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mongodb = tokio::task::spawn_blocking(move || {
        mongodb.restart();
        mongodb
    });
    let _mongodb = mongodb.await.unwrap();
    let began = Instant::now();
    while server.deliver(&issue(2)).await != 202 {
        assert!(began.elapsed() < Duration::from_secs(40));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let inbox = inbox(&sandbox).await;
    wait_for(&inbox, 1, DeliveryState::Done).await;
    wait_for(&inbox, 2, DeliveryState::Done).await;
    server.stop().await;
}

#[tokio::test]
async fn slow_connections_delay_no_good_ones() {
    let sandbox = sandbox();
    let server = WebhookServer::start(&sandbox, &[]).await;
    let mut slow = Vec::new();
    for number in 0..1000_u64 {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        // A third each: nothing at all, half a head, a head and half a body of 20 MB.
        let request = HttpRequest::delivery(number, "push", b"{\"a\":".to_vec()).with("content-length", "20000000");
        let head = request.head();
        let sent = match number % 3 {
            0 => String::new(),
            1 => head[..head.len() / 2].to_owned(),
            _ => format!("{head}{{\"a\":"),
        };
        stream.write_all(sent.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // 50 a second go on in time.
    let began = Instant::now();
    let mut good = Vec::new();
    for number in 10_000..10_150 {
        let address = server.address.clone();
        good.push(tokio::spawn(async move {
            let began = Instant::now();
            (issue(number).send(&address).await.0, began.elapsed())
        }));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut slowest = Duration::ZERO;
    for one in good {
        let (status, took) = one.await.unwrap();
        assert_eq!(status, 202);
        slowest = slowest.max(took);
    }
    eprintln!("150 deliveries beside 1000 slow connections in {:?}, the slowest in {slowest:?}", began.elapsed());
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    // The slow ones are closed after 10 s and 9 s.
    let mut buffer = [0; 1024];
    for mut stream in slow {
        let closed = async { while matches!(stream.read(&mut buffer).await, Ok(1..)) {} };
        tokio::time::timeout(Duration::from_secs(25), closed).await.expect("a slow connection is closed");
    }
    server.stop().await;
}

#[tokio::test]
async fn githubs_own_examples_are_accepted_and_done() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node_modules/@octokit/webhooks-examples/api.github.com/index.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: {path} is missing (npm ci --prefix tests)");
        return;
    };
    let kinds: Vec<Value> = serde_json::from_str(&text).unwrap();
    let sandbox = sandbox().with("MSGHT_WEBHOOKS__IGNORE", "none");
    std::fs::write(sandbox.path().join("orgs.txt"), "Codertocat\nOctocoders\ngithub\nTest-Organization\n").unwrap();
    let server = WebhookServer::start(&sandbox, &[]).await;
    let mut count = 0;
    for kind in &kinds {
        for example in kind["examples"].as_array().unwrap() {
            count += 1;
            let event = kind["name"].as_str().unwrap();
            let (status, text) = HttpRequest::delivery(count, event, example.to_string()).send(&server.address).await;
            assert_eq!(status, 202, "{event}: {text}");
        }
    }
    assert!(count > 300, "{count}");
    let inbox = inbox(&sandbox).await;
    let began = Instant::now();
    loop {
        let counts = inbox.delivery_counts().await.unwrap();
        if counts.pending() == 0 {
            assert_eq!(counts.dead, 0);
            eprintln!("{count} examples, {} kept and done", counts.done);
            assert!(counts.done > 200, "{counts:?}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{counts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn only_mirrored_accounts_and_wanted_events_are_kept() {
    let sandbox = sandbox();
    let server = WebhookServer::start(&sandbox, &[]).await;
    let of = |number, event: &str, login: &str| {
        let body = json!({"repository": {"id": 1, "name": "x", "owner": {"login": login}}}).to_string();
        HttpRequest::delivery(number, event, body)
    };
    let answer = async |request: HttpRequest| request.send(&server.address).await;
    assert_eq!(answer(of(1, "push", "CONTOSO")).await, (202, "stored\n".to_owned()));
    assert_eq!(answer(of(2, "push", "fabrikam")).await, (202, "fabrikam is not mirrored\n".to_owned()));
    assert_eq!(answer(of(3, "check_run", "contoso")).await, (202, "check_run is ignored\n".to_owned()));
    assert_eq!(answer(of(4, "ping", "fabrikam")).await, (202, "stored\n".to_owned()));
    assert_eq!(answer(HttpRequest::delivery(5, "unheard_of", "{}")).await, (202, "stored\n".to_owned()));
    let inbox = inbox(&sandbox).await;
    let keys: Vec<_> = (1..=5).map(key).collect();
    let kept: Vec<bool> = inbox.known_deliveries(&keys).await.unwrap().iter().map(Option::is_some).collect();
    assert_eq!(kept, [true, false, false, true, true]);
    let metrics = HttpRequest::get("/metrics").send(&server.admin).await.1;
    for line in [
        "msght_webhooks_deliveries_total{event=\"push\"} 2",
        "msght_webhooks_ignored_total{event=\"check_run\"} 1",
        "msght_webhooks_not_mirrored_total 1",
        "msght_webhooks_stored_total 3",
        "msght_webhooks_answers_total{code=\"202\"} 5",
        "msght_inbox_up 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    // The list is followed.
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nfabrikam\n").unwrap();
    let began = Instant::now();
    let mut number = 10;
    while answer(of(number, "push", "fabrikam")).await.1 != "stored\n" {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(500)).await;
        number += 1;
    }
    server.stop().await;
}

#[tokio::test]
async fn announced_event_has_its_feed_pulled() {
    let sandbox = sandbox();
    let server = WebhookServer::start(&sandbox, &[]).await;
    assert_eq!(server.deliver(&issue(1)).await, 202);
    wait_for(&inbox(&sandbox).await, 1, DeliveryState::Done).await;
    server.stop().await;
    let feeds = sandbox.stores().relational.query("SELECT owner, name FROM msght_feeds").await;
    assert_eq!(feeds, [["contoso", "web"]]);
}

#[tokio::test]
async fn admin_listener_is_for_those_with_the_token() {
    let token = "an-admin-token-of-some-length";
    let sandbox =
        sandbox().with("MSGHT_WEBHOOKS__ADMIN_TOKEN", token).with("MSGHT_WEBHOOKS__ADMIN_HOSTS", "msght.example.com");
    let server = WebhookServer::start(&sandbox, &[]).await;
    let bearer = format!("Bearer {token}");
    for (name, path, host, authorization, status) in [
        ("page", "/", "localhost", bearer.as_str(), 200),
        ("metrics", "/metrics", "127.0.0.1:4568", &bearer, 200),
        ("readiness", "/readyz", "msght.example.com:4568", &bearer, 200),
        ("address", "/readyz", "[::1]:4568", &bearer, 200),
        ("no token", "/", "localhost", "", 401),
        ("wrong token", "/metrics", "localhost", "Bearer other", 401),
        ("another site's name", "/", "evil.example.com", &bearer, 403),
        ("no deliveries", "/webhooks/github", "localhost", &bearer, 404),
    ] {
        let request = HttpRequest::get(path).with("host", host).with("authorization", authorization);
        let (found, text) = request.send(&server.admin).await;
        assert_eq!(found, status, "{name}: {text}");
        assert!(!text.contains(token));
    }
    let page = HttpRequest::get("/").with("authorization", &bearer).send(&server.admin).await.1;
    assert!(page.contains("deliveries are accepted") && page.contains("mirrored accounts"), "{page}");
    assert!(!server.stop().await.contains(token));
}

#[tokio::test]
async fn stop_is_remembered() {
    let sandbox = sandbox();
    let server = WebhookServer::start(&sandbox, &[]).await;
    assert_eq!(server.deliver(&issue(1)).await, 202);
    server.stop().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let server = WebhookServer::start(&sandbox, &[]).await;
    let page = HttpRequest::get("/").send(&server.admin).await.1;
    assert!(page.contains("nobody listened before") && page.contains("an orderly stop"), "{page}");
    let gap = inbox(&sandbox).await.last_listening_gap().await.unwrap().unwrap();
    assert!(gap.stopped_cleanly && (gap.until - gap.from).num_milliseconds() >= 1000, "{gap:?}");
    assert!(server.stop().await.contains("nobody received deliveries since"));
}

#[tokio::test]
async fn every_secret_is_accepted_while_it_is_rotated() {
    let sandbox = sandbox();
    let server = WebhookServer::start_with_secret(&sandbox, &format!("new\n{SECRET}"), &[]).await;
    let signed = |number: u64, secret: &str| {
        let delivery = issue(number);
        let signature = sign(secret, &delivery.body);
        delivery.with("x-hub-signature-256", &signature)
    };
    for (number, secret, status) in [(1, SECRET, 202), (2, "new", 202), (3, "former", 401), (4, "", 401)] {
        assert_eq!(server.deliver(&signed(number, secret)).await, status, "{secret}");
    }
    server.stop().await;
}

#[tokio::test]
async fn unusable_settings_are_rejected_before_anything_is_touched() {
    let sandbox = sandbox();
    let output = sandbox.run(&["webhooks"]).await;
    output.assert_output(2, &["webhooks.secret is not set", "--insecure-no-secret"]);
    let sandbox = sandbox.with("GHT_WEBHOOK_SECRET", "s3cret");
    sandbox.run(&["webhooks"]).await.assert_output(2, &["orgs.txt is not there"]);
    assert!(!sandbox.data_dir().join("documents.db").exists());
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    let open = sandbox.with("MSGHT_WEBHOOKS__ADMIN_LISTEN", "0.0.0.0:0");
    open.run(&["webhooks"]).await.assert_output(2, &["webhooks.admin_listen", "webhooks.admin_token"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sandbox = Sandbox::new(NO_GITHUB);
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    let output = sandbox.run(&["webhooks", "--insecure-no-secret", "--listen", &address]).await;
    output.assert_output(1, &["can't listen on", &address]);
}

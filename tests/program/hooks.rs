//! The webhooks that `msght get-repos` sees to.

use fake_github::{FakeGitHub, Hook, Options, TokenSpec, World};
use support::program::{RunOutput, Sandbox};

const URL: &str = "https://msght.example.com/hook";
const SECRET: &str = "correct-horse-battery";

/// Two organizations; the token that reads is nobody's, the one for hooks an owner's of the first.
async fn estate() -> (FakeGitHub, Sandbox) {
    let mut world = World::estate(21, &[("contoso", 2), ("fabrikam", 2)]);
    world.owners.retain(|(org, _)| world.users[*org as usize].login == "contoso");
    let hooks = TokenSpec { login: "dev0".to_owned(), ..TokenSpec::new("token-hooks") };
    let options = Options { tokens: vec![TokenSpec::new("fake-token"), hooks], ..Options::unlimited() };
    let fake = FakeGitHub::start(world, options).await;
    let sandbox = Sandbox::new(fake.url())
        .with("MSGHT_WEBHOOKS__PUBLIC_URL", URL)
        .with("GHT_WEBHOOK_SECRET", SECRET)
        .with("GHT_WEBHOOK_TOKEN", "token-hooks");
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    (fake, sandbox)
}

fn hooks(fake: &FakeGitHub) -> Vec<Hook> {
    fake.world(|w| w.hooks.clone())
}

/// What the table says of an organization's webhook.
fn state(output: &RunOutput, organization: &str) -> String {
    let line = output.out.lines().find(|line| line.starts_with(&format!("{organization} "))).unwrap();
    line.split_whitespace().rev().nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_missing_hook_is_made_once_as_it_should_be() {
    let (fake, sandbox) = estate().await;
    let output = sandbox.run(&["get-repos", "--log-level", "debug"]).await;
    output.assert_output(0, &[]);
    assert_eq!(state(&output, "contoso"), "created");
    let made = hooks(&fake);
    let [hook] = &made[..] else { panic!("{made:?}") };
    assert_eq!((hook.url.as_str(), hook.content_type.as_str(), hook.active), (URL, "json", true));
    assert_eq!((hook.secret.as_deref(), &hook.events[..]), (Some(SECRET), &["*".to_owned()][..]));
    let output = sandbox.run(&["get-repos"]).await;
    assert_eq!(state(&output, "contoso"), "active");
    assert_eq!(hooks(&fake).len(), 1);
    // Only the token for hooks changes anything, and it reads nothing else.
    for request in fake.requests() {
        let is_hook = request.path_and_query.contains("/hooks");
        assert_eq!(is_hook, request.token == "token-hooks", "{} {}", request.method, request.path_and_query);
    }
    let log = std::fs::read_to_string(sandbox.data_dir().join("logfile.txt")).unwrap();
    assert!(!log.contains(SECRET) && !log.contains("token-hooks"));
}

#[tokio::test]
async fn a_wrong_hook_is_told_and_put_right_when_asked() {
    let (fake, sandbox) = estate().await;
    type Damage = fn(&mut Hook);
    let damages: [(Damage, &str); 4] = [
        (|hook| hook.active = false, "it is not active"),
        (|hook| hook.content_type = "form".to_owned(), "it does not deliver JSON"),
        (|hook| hook.events = vec!["push".to_owned()], "it does not deliver all events"),
        (|hook| hook.secret = None, "it has no secret"),
    ];
    for (damage, told) in damages {
        fake.world_mut(|w| {
            w.hooks.clear();
            // Addresses compare without case.
            let hook = w.add_hook("contoso", "https://MSGHT.example.com/Hook");
            damage(&mut w.hooks[hook]);
        });
        let output = sandbox.run(&["get-repos"]).await;
        output.assert_output(1, &[told, "--repair-hooks"]);
        assert_eq!(state(&output, "contoso"), "wrong");
        let output = sandbox.run(&["get-repos", "--repair-hooks"]).await;
        output.assert_output(0, &["webhook repaired", told]);
        let repaired = hooks(&fake);
        let [hook] = &repaired[..] else { panic!("{repaired:?}") };
        assert!(hook.active && hook.content_type == "json" && hook.events == ["*"], "{hook:?}");
        assert!(hook.secret.is_some(), "{hook:?}");
        assert_eq!(state(&sandbox.run(&["get-repos"]).await, "contoso"), "active");
    }
    fake.world_mut(|w| _ = w.add_hook("contoso", URL));
    sandbox.run(&["get-repos", "--repair-hooks"]).await.assert_output(1, &["there are 2 webhooks for the address"]);
}

#[tokio::test]
async fn missing_hook_permission_is_one_line() {
    let (fake, sandbox) = estate().await;
    std::fs::write(sandbox.path().join("orgs.txt"), "fabrikam\ncontoso\n").unwrap();
    let output = sandbox.run(&["get-repos"]).await;
    output.assert_output(1, &["error: fabrikam: webhook: the hook token may not manage the organization's webhooks"]);
    assert_eq!((state(&output, "fabrikam").as_str(), state(&output, "contoso").as_str()), ("unknown", "created"));
    assert!(std::fs::read_to_string(sandbox.path().join("projects.txt")).unwrap().contains("fabrikam f000"));
    fake.world_mut(|w| w.hooks.clear());
    sandbox.run(&["get-repos", "--no-hooks"]).await.assert_output(0, &[]);
    assert!(hooks(&fake).is_empty());
    // Without a secret none is made.
    let sandbox =
        Sandbox::new(fake.url()).with("MSGHT_WEBHOOKS__PUBLIC_URL", URL).with("GHT_WEBHOOK_TOKEN", "token-hooks");
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    sandbox.run(&["get-repos"]).await.assert_output(1, &["webhooks.secret is not set"]);
    assert!(hooks(&fake).is_empty());
}

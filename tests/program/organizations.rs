//! `msght get-repos`: organizations, their repositories and people, as they are and as they change.

use std::collections::BTreeSet;

use serde_json::Value;

use rstest::rstest;

use fake_github::{FakeGitHub, Fault, FaultKind, Options, TokenSpec, Visible, World};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{RunOutput, Sandbox};

const ORGS: &str = "contoso\nfabrikam\n";

/// Two tokens of members with different private repositories, and one of nobody's.
fn tokens() -> Vec<TokenSpec> {
    let token = |name: &str, login: &str, private: Visible| {
        TokenSpec { login: login.to_owned(), ..TokenSpec::new(name) }.private(private)
    };
    let only = |names: &[&str]| Visible::Only(names.iter().map(|name| (*name).to_owned()).collect());
    vec![
        token("token-one", "dev0", only(&["contoso/r002", "contoso/r005"])),
        token("token-two", "dev1", only(&["contoso/r005", "contoso/r008", "fabrikam/f002"])),
        token("token-three", "outsider", Visible::None),
    ]
}

struct Estate {
    fake: FakeGitHub,
    sandbox: Sandbox,
}

impl Estate {
    async fn new(world: World, orgs: &str) -> Self {
        Self::with(world, orgs, tokens()).await
    }

    async fn with(world: World, orgs: &str, tokens: Vec<TokenSpec>) -> Self {
        let fake = FakeGitHub::start(world, Options { tokens, ..Options::default() }).await;
        let sandbox = Sandbox::new(fake.url()).tokens("token-one,token-two,token-three");
        std::fs::write(sandbox.path().join("orgs.txt"), orgs).unwrap();
        Self { fake, sandbox }
    }

    async fn list(&self) -> RunOutput {
        self.sandbox.run(&["get-repos"]).await
    }

    fn projects(&self) -> String {
        std::fs::read_to_string(self.sandbox.path().join("projects.txt")).unwrap()
    }

    /// The counted requests of what runs in between.
    async fn cost(&self, run: impl AsyncFnOnce()) -> usize {
        let before = self.fake.request_count();
        run().await;
        self.fake.requests().iter().skip(before).filter(|request| request.status != 304).count()
    }
}

/// What `get-repos` says of an organization, by column.
fn line(output: &RunOutput, organization: &str) -> Vec<String> {
    let line = output.out.lines().find(|line| line.split_whitespace().next() == Some(organization));
    let line = line.unwrap_or_else(|| panic!("no line for {organization} in\n{}\n{}", output.out, output.err));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

#[rstest]
#[tokio::test]
async fn repositories_of_every_token_are_listed(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let estate = Estate::new(World::estate(3, &[("contoso", 130), ("fabrikam", 5)]), ORGS).await;
    std::fs::write(estate.sandbox.path().join("projects.txt"), "# kept\nelsewhere thing\n").unwrap();
    let output = estate.list().await;
    output.assert_output(0, &[]);
    // Every third of 130 is private, of which the tokens are shown three.
    let expected = |org: &str, letter: &str, count: usize, shown: &[usize]| -> String {
        (0..count).filter(|r| r % 3 != 2 || shown.contains(r)).map(|r| format!("{org} {letter}{r:03}\n")).collect()
    };
    let all = format!(
        "# kept\nelsewhere thing\n{}{}",
        expected("contoso", "r", 130, &[2, 5, 8]),
        expected("fabrikam", "f", 5, &[2])
    );
    assert_eq!(estate.projects(), all);
    assert_eq!(line(&output, "contoso")[..5], ["90", "90", "0", "0", "3"]);
    assert_eq!(line(&output, "fabrikam")[..5], ["5", "5", "0", "0", "1"]);
    let stores = estate.sandbox.stores();
    let sql = "SELECT l.state, l.visibility, l.pushed_at IS NOT NULL, m.github_id FROM project_listings l \
               JOIN msght_projects m ON m.project_id = l.project_id JOIN projects p ON p.id = l.project_id \
               JOIN users u ON u.id = p.owner_id WHERE u.login = 'contoso' AND p.name = 'r008'";
    let id = estate.fake.world(|w| w.repos[w.repo("contoso/r008")].id).to_string();
    assert_eq!(stores.sql(sql).await, [["listed", "private", "1", &id]]);
    assert_eq!(stores.number("SELECT count(*) FROM project_listings").await, 95);
    assert_eq!(stores.collection("repos").await.len(), 95);
    stores.assert_sound().await;

    // A second look costs nothing but what is refused, and changes nothing.
    let before = stores.data_fingerprint().await;
    let written = std::fs::metadata(estate.sandbox.path().join("projects.txt")).unwrap().modified().unwrap();
    let cost = estate.cost(async || estate.list().await.assert_output(0, &[])).await;
    assert!(cost <= 4, "{cost} counted requests");
    assert!(stores.data_fingerprint().await == before);
    assert_eq!(std::fs::metadata(estate.sandbox.path().join("projects.txt")).unwrap().modified().unwrap(), written);
}

#[rstest]
#[tokio::test]
async fn moved_and_deleted_repositories_are_reported(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let estate = Estate::new(World::estate(4, &[("contoso", 9), ("fabrikam", 4)]), ORGS).await;
    estate.list().await.assert_output(0, &[]);
    let sandbox = &estate.sandbox;
    // One of each kind has data of its own.
    sandbox
        .run(&["retrieve-repo", "contoso/r000", "contoso/r007", "contoso/r003", "--detail", "skeleton"])
        .await
        .assert_output(0, &[]);
    estate.fake.world_mut(|w| {
        let [renamed, moved, deleted, recreated, hidden] = [0, 7, 3, 4, 6].map(|r| w.repo(&format!("contoso/r{r:03}")));
        w.rename_repo(renamed, "better");
        w.transfer_repo(moved, "fabrikam");
        w.delete_repo(deleted);
        w.delete_repo(recreated);
        let again = w.add_repo("contoso/r004");
        let user = w.user("dev1");
        let who = w.person_of(user);
        w.push(again, "main", 2, who);
        w.make_private(hidden);
        w.add_repo("fabrikam/fresh");
        w.changed();
    });
    let output = estate.list().await;
    output.assert_output(0, &[]);
    for told in [
        "renamed: contoso/r000 is now contoso/better",
        "renamed: contoso/r007 is now fabrikam/r007",
        "gone: contoso/r003, marked as deleted",
    ] {
        assert!(output.out.contains(told), "{told} is not in\n{}\n{}", output.out, output.err);
    }
    let contoso = "contoso better\ncontoso r001\ncontoso r002\ncontoso r004\ncontoso r005\ncontoso r008\n";
    assert!(estate.projects().starts_with(contoso), "{}", estate.projects());
    assert!(estate.projects().contains("fabrikam f000\n"), "{}", estate.projects());
    let stores = sandbox.stores();
    // A repository that is still there is one project, with its data under the name that it has now.
    let names = "SELECT n.owner, n.name, u.login, p.name FROM project_names n JOIN projects p ON p.id = n.project_id \
                 JOIN users u ON u.id = p.owner_id ORDER BY n.name";
    assert!(stores.sql(names).await.contains(&["contoso", "r000", "contoso", "better"].map(str::to_owned).to_vec()));
    let issues = stores.collection("issues").await;
    assert!(issues.keys().any(|id| id.starts_with("contoso/better/")), "{:?}", issues.keys());
    let deleted = "SELECT p.deleted FROM projects p JOIN users u ON u.id = p.owner_id \
                   WHERE u.login = 'contoso' AND p.name = 'r003'";
    assert_eq!(stores.sql(deleted).await, [["1"]]);
    stores.assert_sound().await;
    // What was seen to is not asked for again.
    let cost = estate.cost(async || estate.list().await.assert_output(0, &[])).await;
    assert!(cost <= 4, "{cost} counted requests");
}

#[rstest]
#[tokio::test]
async fn twenty_deleted_at_once_cost_a_request_each(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let estate = Estate::new(World::estate(7, &[("contoso", 30), ("fabrikam", 2)]), ORGS).await;
    estate.list().await.assert_output(0, &[]);
    estate.sandbox.mirror(&["contoso/r000", "contoso/r001", "--detail", "skeleton"]).await;
    let commits = estate.sandbox.stores().number("SELECT count(*) FROM commits").await;
    let before: BTreeSet<String> = estate.projects().lines().map(str::to_owned).collect();
    estate.fake.world_mut(|w| {
        for r in 0..20 {
            let repo = w.repo(&format!("contoso/r{r:03}"));
            w.delete_repo(repo);
        }
    });
    let asked = estate.fake.request_count();
    let output = estate.list().await;
    output.assert_output(0, &[]);
    let after: BTreeSet<String> = estate.projects().lines().map(str::to_owned).collect();
    let gone = before.difference(&after).count();
    assert_eq!(output.out.matches(", marked as deleted").count(), gone, "{}", output.out);
    // Of every three one is private, and of these the tokens are shown three.
    assert_eq!(gone, 17, "{}", output.out);
    let probes: Vec<String> = estate.fake.requests().into_iter().skip(asked).map(|r| r.path_and_query).collect();
    for r in (0..20).filter(|r| r % 3 != 2) {
        let path = format!("/repos/contoso/r{r:03}");
        assert_eq!(probes.iter().filter(|probe| **probe == path).count(), 3, "{path}: once with each token");
    }
    let stores = estate.sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM projects WHERE deleted = 1").await, 17);
    assert_eq!(stores.number("SELECT count(*) FROM commits").await, commits, "what was mirrored stays");
    let cost = estate.cost(async || estate.list().await.assert_output(0, &[])).await;
    assert!(cost <= 8, "{cost} requests where nothing is new");
}

#[rstest]
#[tokio::test]
async fn people_and_teams_follow_the_organization(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    // The owner is shown all, the others a part.
    let mut tokens = tokens();
    tokens[0].private = Visible::All;
    let estate = Estate::with(World::estate(5, &[("contoso", 9), ("fabrikam", 2)]), ORGS, tokens).await;
    estate.list().await.assert_output(0, &[]);
    let check = async || {
        let stores = estate.sandbox.stores();
        for org in ["contoso", "fabrikam"] {
            let login = |rows: &[Value]| -> BTreeSet<String> {
                rows.iter().map(|row| row["login"].as_str().unwrap().to_owned()).collect()
            };
            let of = async |sql: String| -> BTreeSet<String> {
                stores.sql(&sql).await.into_iter().map(|mut row| row.remove(0)).collect()
            };
            let tied = |table: &str| {
                format!(
                    "SELECT o.login FROM {table} t JOIN users o ON o.id = t.user_id JOIN users u ON u.id = t.org_id \
                     WHERE u.login = '{org}'"
                )
            };
            let all = |path: &str| estate.fake.all(&format!("/orgs/{org}/{path}"));
            assert_eq!(of(tied("organization_members")).await, login(&all("members")));
            assert_eq!(of(tied("outside_collaborators")).await, login(&all("outside_collaborators")));
            let teams = all("teams");
            let slugs: BTreeSet<String> = teams.iter().map(|team| team["slug"].as_str().unwrap().to_owned()).collect();
            let known = format!(
                "SELECT t.slug FROM teams t JOIN users u ON u.id = t.org_id WHERE u.login = '{org}' AND t.deleted = 0"
            );
            assert_eq!(of(known).await, slugs);
            for team in teams {
                let (id, slug) = (team["id"].as_u64().unwrap(), team["slug"].as_str().unwrap());
                let members = format!(
                    "SELECT o.login FROM team_members m JOIN teams t ON t.id = m.team_id \
                     JOIN users o ON o.id = m.user_id WHERE t.github_id = {id}"
                );
                assert_eq!(of(members).await, login(&all(&format!("teams/{slug}/members"))), "{slug}");
                let projects = format!(
                    "SELECT p.name FROM team_projects x JOIN teams t ON t.id = x.team_id \
                     JOIN projects p ON p.id = x.project_id WHERE t.github_id = {id}"
                );
                let shown = all(&format!("teams/{slug}/repos"));
                let shown = shown.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
                assert_eq!(of(projects).await, shown, "{slug}");
            }
        }
        stores.assert_sound().await;
    };
    check().await;
    estate.fake.world_mut(|w| {
        let (org, leaver, newcomer) = (w.user("contoso"), w.user("dev3"), w.user("dev9"));
        w.leave(org, leaver);
        w.join(org, newcomer, false);
        let gone = w.user("dev10");
        w.outside.retain(|o| o.1 != gone);
        let readers = w.teams.iter().position(|t| t.org == org && t.name == "Readers").unwrap();
        w.teams[readers].members.retain(|m| *m != leaver);
        w.teams[readers].repos.pop();
        w.teams[readers].name = "All readers".to_owned();
        w.add_team("contoso", "Fresh", &[newcomer], &[]);
        let maintainers = w.teams.iter().position(|t| t.org == org && t.name == "Maintainers").unwrap();
        w.teams[maintainers].deleted = true;
        w.changed();
    });
    estate.list().await.assert_output(0, &[]);
    check().await;
}

#[rstest]
#[tokio::test]
async fn rejecting_organization_keeps_its_lines(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let estate = Estate::new(World::estate(6, &[("contoso", 4), ("fabrikam", 3)]), ORGS).await;
    estate.list().await.assert_output(0, &[]);
    let before = estate.projects();
    estate.fake.world_mut(|w| {
        w.add_repo("fabrikam/fresh");
        w.changed();
    });
    estate.fake.set_fault(Fault::always("/orgs/contoso/repos", FaultKind::SsoRequired));
    let output = estate.list().await;
    output.assert_output(1, &["error: contoso: ", "single sign-on", "1 of 2 organizations incomplete"]);
    assert_eq!(estate.projects(), format!("{before}fabrikam fresh\n"));
    // One token's refusal is said, and what the others are shown is taken.
    estate.fake.clear_faults();
    estate.fake.set_fault(Fault::always("/orgs/contoso/repos", FaultKind::SsoRequired).on_token("token-three"));
    estate.list().await.assert_output(0, &["contoso: not listed with every token"]);
}

#[rstest]
#[tokio::test]
async fn person_or_unknown_organization_is_reported(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut world = World::estate(7, &[("contoso", 2)]);
    for (name, private) in [("dev0/open", false), ("dev0/secret", true), ("dev5/theirs", false), ("dev5/hidden", true)]
    {
        let repo = world.add_repo(name);
        world.repos[repo].private = private;
    }
    world.changed();
    let estate = Estate::new(world, "contoso\ndev0\ndev5\nnobody\n").await;
    let output = estate.list().await;
    output.assert_output(
        1,
        &["dev0: a person, not an organization", "error: nobody: ", "1 of 4 organizations incomplete"],
    );
    assert_eq!(output.err.matches("dev0: a person").count(), 1);
    assert!(estate.projects().ends_with("dev0 open\ndev0 secret\ndev5 theirs\n"), "{}", estate.projects());
}

#[rstest]
#[tokio::test]
async fn renamed_organization_keeps_its_projects(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let mut tokens = tokens();
    tokens[0].private = Visible::All;
    let estate = Estate::with(World::estate(8, &[("contoso", 4), ("fabrikam", 2)]), ORGS, tokens).await;
    estate.list().await.assert_output(0, &[]);
    let rows = "SELECT count(*) FROM projects WHERE id > 0";
    let before = estate.sandbox.stores().number(rows).await;
    estate.fake.world_mut(|w| {
        w.rename_user("contoso", "umbrella");
        w.changed();
    });
    let output = estate.list().await;
    output.assert_output(0, &["contoso: contoso is called umbrella now"]);
    assert!(!estate.projects().contains("contoso"), "{}", estate.projects());
    assert!(
        estate.projects().contains("umbrella r000\numbrella r001\numbrella r002\numbrella r003\n"),
        "{}",
        estate.projects()
    );
    assert_eq!(estate.sandbox.stores().number(rows).await, before);
    estate.list().await.assert_output(0, &[]);
    assert_eq!(estate.sandbox.stores().number(rows).await, before);
}

#[rstest]
#[tokio::test]
async fn discover_adds_the_tokens_organizations(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let estate =
        Estate::new(World::estate(9, &[("contoso", 2), ("fabrikam", 1), ("northwind", 1)]), "# ours\nContoso").await;
    let output = estate.sandbox.run(&["get-repos", "--discover", "--json"]).await;
    output.assert_output(0, &["fabrikam added to orgs.txt", "northwind added to orgs.txt"]);
    let orgs = std::fs::read_to_string(estate.sandbox.path().join("orgs.txt")).unwrap();
    assert_eq!(orgs, "# ours\nContoso\nfabrikam\nnorthwind\n");
    let json: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(json["organizations"].as_array().unwrap().len(), 3);
    assert_eq!(json["organizations"][0]["login"], "contoso");
    assert_eq!(json["organizations"][0]["new"], serde_json::json!(["contoso/r000", "contoso/r001"]));
    assert_eq!(json["organizations"][1]["complete"], true);
    // An answer that leaves organizations out is an error that says what to do.
    estate.fake.set_fault(Fault::always("/user/orgs", FaultKind::SsoPartial).on_token("token-two"));
    let output = estate.sandbox.run(&["get-repos", "--discover"]).await;
    output.assert_output(1, &["does not see all of its organizations", "authorize it for the single sign-on of"]);
}

#[rstest]
#[tokio::test]
async fn unusable_files_are_reported_before_any_request(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let estate = Estate::new(World::estate(10, &[("contoso", 2)]), ORGS).await;
    let orgs = estate.sandbox.path().join("orgs.txt");
    let projects = estate.sandbox.path().join("projects.txt");
    let refused = async |told: &[&str]| {
        let before = estate.fake.request_count();
        estate.list().await.assert_output(2, told);
        assert_eq!(estate.fake.request_count(), before, "{told:?}");
    };
    std::fs::remove_file(&orgs).unwrap();
    refused(&["orgs.txt is not there", "--orgs"]).await;
    for (content, told) in [
        (&b""[..], "names no organization"),
        (b"# nothing\n", "names no organization"),
        (b"contoso\ncaf\xe9\n", "line 2: it is not UTF-8"),
        (b"contoso\n../etc\n", "line 2: \"../etc\""),
    ] {
        std::fs::write(&orgs, content).unwrap();
        refused(&["orgs.txt", told]).await;
    }
    std::fs::write(&orgs, "\u{feff}contoso\r\nContoso\r\n").unwrap();
    std::fs::write(&projects, "contoso r000\nwhat is this\n").unwrap();
    refused(&["projects.txt, line 2"]).await;
    std::fs::remove_file(&projects).unwrap();
    std::fs::create_dir(&projects).unwrap();
    refused(&["projects.txt"]).await;
    std::fs::remove_dir(&projects).unwrap();
    estate
        .sandbox
        .run(&["get-repos", "--projects", "nowhere/projects.txt"])
        .await
        .assert_output(2, &["nowhere/projects.txt"]);
    estate.list().await.assert_output(0, &["Contoso is listed more than once"]);
}

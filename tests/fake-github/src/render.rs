//! Users, repositories and what hangs on a repository, as GitHub's JSON.
use super::json::*;
use super::world::*;
use std::fmt::Write;

/// GitHub: the two versions that `X-GitHub-Api-Version` may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApiVersion {
    V2022,
    V2026,
}

impl ApiVersion {
    pub fn name(self) -> &'static str {
        match self {
            ApiVersion::V2022 => "2022-11-28",
            ApiVersion::V2026 => "2026-03-10",
        }
    }
}

/// What depends on the reader.
#[derive(Clone, Copy)]
pub struct View {
    pub version: ApiVersion,
}

impl World {
    /// The short form of a user, from the cache.
    pub fn stub(&self, user: UserIx) -> &str {
        self.cache.users[user as usize].get_or_init(|| {
            let mut o = String::with_capacity(1200);
            o.push('{');
            self.stub_fields(&mut o, user);
            o.push('}');
            o.into()
        })
    }

    /// The short form of a user, or `null`.
    pub fn stub_opt(&self, user: Option<UserIx>) -> &str {
        user.map_or("null", |u| self.stub(u))
    }

    fn stub_fields(&self, o: &mut String, user: UserIx) {
        let u = &self.users[user as usize];
        let (api, html, login) = (&self.api, &self.html, u.login.as_str());
        let path = login.replace('[', "%5B").replace(']', "%5D");
        let page = match login.strip_suffix("[bot]") {
            Some(app) => format!("{html}apps/{app}"),
            None => format!("{html}{path}"),
        };
        let _ = write!(
            o,
            r#""login":"{login}","id":{id},"node_id":"U_kgDO{id:010x}","avatar_url":"https://avatars.githubusercontent.com/u/{id}?v=4","gravatar_id":"","url":"{api}users/{path}","html_url":"{page}","followers_url":"{api}users/{path}/followers","following_url":"{api}users/{path}/following{{/other_user}}","gists_url":"{api}users/{path}/gists{{/gist_id}}","starred_url":"{api}users/{path}/starred{{/owner}}{{/repo}}","subscriptions_url":"{api}users/{path}/subscriptions","organizations_url":"{api}users/{path}/orgs","repos_url":"{api}users/{path}/repos","events_url":"{api}users/{path}/events{{/privacy}}","received_events_url":"{api}users/{path}/received_events","type":"{kind}","user_view_type":"public","site_admin":{admin}"#,
            id = u.id,
            kind = u.kind.name(),
            admin = u.site_admin,
        );
    }

    /// `/users/{login}`.
    pub fn profile(&self, o: &mut String, user: UserIx) {
        o.push('{');
        self.profile_fields(o, user);
        o.push('}');
    }

    fn profile_fields(&self, o: &mut String, user: UserIx) {
        let u = &self.users[user as usize];
        self.stub_fields(o, user);
        o.push_str(r#","name":"#);
        esc_opt(o, u.name.as_deref());
        o.push_str(r#","company":"#);
        esc_opt(o, u.company.as_deref());
        o.push_str(r#","blog":"","location":"#);
        esc_opt(o, u.location.as_deref());
        o.push_str(r#","email":"#);
        esc_opt(o, u.email.as_deref());
        o.push_str(r#","hireable":null,"bio":"#);
        esc_opt(o, u.bio.as_deref());
        let repos = self.repos.iter().filter(|r| r.owner == user && !r.private && r.state == RepoState::Live).count();
        let (followers, following) = self.follow_counts(user);
        let _ = write!(
            o,
            r#","twitter_username":null,"public_repos":{repos},"public_gists":0,"followers":{followers},"following":{following}"#
        );
        o.push_str(r#","created_at":"#);
        time(o, u.created);
        o.push_str(r#","updated_at":"#);
        time(o, u.updated);
    }

    /// `/user`: what a token's own user sees.
    pub fn own_profile(&self, o: &mut String, user: UserIx) {
        let mut public = String::new();
        self.profile_fields(&mut public, user);
        let _ = write!(
            o,
            r#"{{{},"private_gists":0,"total_private_repos":1,"owned_private_repos":1,"disk_usage":1024,"collaborators":0,"two_factor_authentication":true,"plan":{{"name":"free","space":976562499,"collaborators":0,"private_repos":10000}}}}"#,
            public.replace(r#""user_view_type":"public""#, r#""user_view_type":"private""#)
        );
    }

    fn org_fields(&self, o: &mut String, org: UserIx) {
        let u = &self.users[org as usize];
        let (api, login) = (&self.api, &u.login);
        let _ = write!(
            o,
            r#""login":"{login}","id":{id},"node_id":"O_kgDO{id:08x}","url":"{api}orgs/{login}","repos_url":"{api}orgs/{login}/repos","events_url":"{api}orgs/{login}/events","hooks_url":"{api}orgs/{login}/hooks","issues_url":"{api}orgs/{login}/issues","members_url":"{api}orgs/{login}/members{{/member}}","public_members_url":"{api}orgs/{login}/public_members{{/member}}","avatar_url":"https://avatars.githubusercontent.com/u/{id}?v=4","description":"Open source of {login}""#,
            id = u.id
        );
    }

    /// An entry of `/user/orgs`.
    pub fn org_stub(&self, o: &mut String, org: UserIx) {
        o.push('{');
        self.org_fields(o, org);
        o.push('}');
    }

    /// `/orgs/{org}`.
    pub fn org(&self, o: &mut String, org: UserIx) {
        let u = &self.users[org as usize];
        o.push('{');
        self.org_fields(o, org);
        let repos = self.repos.iter().filter(|r| r.owner == org && !r.private && r.state == RepoState::Live).count();
        let _ = write!(
            o,
            r#","name":"{0}","company":"{0}","blog":"https://opensource.example.com","location":"Athens","email":"oss@example.com","twitter_username":null,"is_verified":true,"has_organization_projects":true,"has_repository_projects":true,"public_repos":{repos},"public_gists":0,"followers":12,"following":0,"html_url":"{1}{0}","created_at":"#,
            u.login, self.html
        );
        time(o, u.created);
        o.push_str(r#","updated_at":"#);
        time(o, u.updated);
        o.push_str(r#","archived_at":null,"type":"Organization"}"#);
    }

    /// Actor in a feed entry. GitHub: called as at that time.
    pub fn actor_json(&self, o: &mut String, user: UserIx, at: Time, display: bool) {
        let (u, login) = (&self.users[user as usize], self.login_at(user, at));
        let _ = write!(o, r#"{{"id":{},"login":"{login}""#, u.id);
        if display {
            let _ = write!(o, r#","display_login":"{}""#, login.trim_end_matches("[bot]"));
        }
        let _ = write!(
            o,
            r#","gravatar_id":"","url":"{}users/{}","avatar_url":"https://avatars.githubusercontent.com/u/{}?"}}"#,
            self.api,
            login.replace('[', "%5B").replace(']', "%5D"),
            u.id
        );
    }

    /// Address of a repository in the API, without a slash at the end.
    pub fn repo_url(&self, repo: RepoIx) -> String {
        format!("{}repos/{}", self.api, self.full_name(repo))
    }

    /// A repository as lists and pull requests embed it, from the cache.
    pub fn repo_json(&self, repo: RepoIx, view: View) -> &str {
        self.cache.repos[repo].object[view.version as usize].get_or_init(|| {
            let mut o = String::with_capacity(7000);
            o.push('{');
            self.repo_fields(&mut o, repo, view);
            o.push('}');
            o.into()
        })
    }

    fn repo_fields(&self, o: &mut String, repo: RepoIx, view: View) {
        let r = &self.repos[repo];
        let full = self.full_name(repo);
        let (api, html, id) = (&self.api, &self.html, r.id);
        let u = format!("{api}repos/{full}");
        let _ = write!(
            o,
            r#""id":{id},"node_id":"R_kgDO{id:08x}","name":"{}","full_name":"{full}","private":{},"owner":{},"html_url":"{html}{full}","description":"#,
            r.name,
            r.private,
            self.stub(r.owner)
        );
        esc_opt(o, r.description.as_deref());
        let _ = write!(o, r#","fork":{},"url":"{u}""#, r.parent.is_some());
        for (key, tail) in [
            ("forks", "forks"),
            ("keys", "keys{/key_id}"),
            ("collaborators", "collaborators{/collaborator}"),
            ("teams", "teams"),
            ("hooks", "hooks"),
            ("issue_events", "issues/events{/number}"),
            ("events", "events"),
            ("assignees", "assignees{/user}"),
            ("branches", "branches{/branch}"),
            ("tags", "tags"),
            ("blobs", "git/blobs{/sha}"),
            ("git_tags", "git/tags{/sha}"),
            ("git_refs", "git/refs{/sha}"),
            ("trees", "git/trees{/sha}"),
            ("statuses", "statuses/{sha}"),
            ("languages", "languages"),
            ("stargazers", "stargazers"),
            ("contributors", "contributors"),
            ("subscribers", "subscribers"),
            ("subscription", "subscription"),
            ("commits", "commits{/sha}"),
            ("git_commits", "git/commits{/sha}"),
            ("comments", "comments{/number}"),
            ("issue_comment", "issues/comments{/number}"),
            ("contents", "contents/{+path}"),
            ("compare", "compare/{base}...{head}"),
            ("merges", "merges"),
            ("archive", "{archive_format}{/ref}"),
            ("downloads", "downloads"),
            ("issues", "issues{/number}"),
            ("pulls", "pulls{/number}"),
            ("milestones", "milestones{/number}"),
            ("notifications", "notifications{?since,all,participating}"),
            ("labels", "labels{/name}"),
            ("releases", "releases{/id}"),
            ("deployments", "deployments"),
        ] {
            let _ = write!(o, r#","{key}_url":"{u}/{tail}""#);
        }
        for (key, at) in [("created_at", r.created), ("updated_at", r.updated), ("pushed_at", r.pushed)] {
            let _ = write!(o, r#","{key}":"#);
            time(o, at);
        }
        let _ = write!(
            o,
            r#","git_url":"git://github.com/{full}.git","ssh_url":"git@github.com:{full}.git","clone_url":"{html}{full}.git","svn_url":"{html}{full}","homepage":"#
        );
        esc_opt(o, r.homepage.as_deref());
        let open = r.issues.iter().filter(|i| i.open && !i.deleted).count();
        let (stars, forks) = (r.stars.len(), r.forks.len());
        let _ = write!(
            o,
            r#","size":{},"stargazers_count":{stars},"watchers_count":{stars},"language":"#,
            r.branches.len() * 97
        );
        esc_opt(o, r.languages.first().map(|l| l.0.as_str()));
        let _ = write!(o, r#","has_issues":{},"has_projects":true"#, r.has_issues);
        if view.version == ApiVersion::V2022 {
            o.push_str(r#","has_downloads":true"#);
        }
        let _ = write!(
            o,
            r#","has_wiki":true,"has_pages":false,"has_discussions":false,"has_pull_requests":{},"pull_request_creation_policy":"all","forks_count":{forks},"mirror_url":null,"archived":{},"disabled":false,"open_issues_count":{open},"license":{{"key":"mit","name":"MIT License","spdx_id":"MIT","url":"{api}licenses/mit","node_id":"MDc6TGljZW5zZTEz"}},"allow_forking":true,"is_template":false,"web_commit_signoff_required":false,"topics":["#,
            r.has_pull_requests, r.archived
        );
        for (i, t) in r.topics.iter().enumerate() {
            if i > 0 {
                o.push(',');
            }
            esc(o, t);
        }
        let _ = write!(
            o,
            r#"],"visibility":"{}","forks":{forks},"open_issues":{open},"watchers":{stars},"default_branch":"{}","permissions":{{"admin":false,"maintain":false,"push":true,"triage":true,"pull":true}}"#,
            if r.private { "private" } else { "public" },
            r.default_branch
        );
    }

    /// `/repos/{owner}/{repo}`.
    pub fn full_repo(&self, o: &mut String, repo: RepoIx, view: View) {
        let r = &self.repos[repo];
        o.push('{');
        self.repo_fields(o, repo, view);
        o.push_str(r#","temp_clone_token":"","allow_squash_merge":true,"allow_merge_commit":true,"allow_rebase_merge":true,"allow_auto_merge":false,"delete_branch_on_merge":false,"allow_update_branch":false"#);
        if view.version == ApiVersion::V2022 {
            o.push_str(r#","use_squash_pr_title_as_default":false"#);
        }
        o.push_str(r#","squash_merge_commit_message":"COMMIT_MESSAGES","squash_merge_commit_title":"COMMIT_OR_PR_TITLE","merge_commit_message":"PR_TITLE","merge_commit_title":"MERGE_MESSAGE","custom_properties":{}"#);
        if self.users[r.owner as usize].kind == UserKind::Organization {
            cat(o, &[r#","organization":"#, self.stub(r.owner)]);
        }
        if let Some(parent) = r.parent {
            cat(o, &[r#","parent":"#, self.repo_json(parent, view), r#","source":"#, self.repo_json(r.network, view)]);
        }
        let network = self.repos.iter().filter(|x| x.network == r.network && x.parent.is_some()).count();
        let _ = write!(
            o,
            r#","security_and_analysis":{{"secret_scanning":{{"status":"enabled"}},"secret_scanning_push_protection":{{"status":"enabled"}}}},"network_count":{network},"subscribers_count":{}}}"#,
            r.subscribers.len()
        );
    }

    /// The repository's labels, rendered; those deleted too.
    pub fn labels(&self, repo: RepoIx) -> &[Box<str>] {
        self.cache.repos[repo].labels.get_or_init(|| {
            let url = self.repo_url(repo);
            let render = |l: &Label| {
                let mut o = String::new();
                let _ = write!(
                    o,
                    r#"{{"id":{0},"node_id":"LA_kwDO{0:08x}","url":"{url}/labels/{1}","name":"#,
                    l.id,
                    percent(&l.name)
                );
                esc(&mut o, &l.name);
                let _ = write!(o, r#","color":"{}","default":{},"description":"#, l.color, l.default);
                esc_opt(&mut o, l.description.as_deref());
                o.push('}');
                o.into()
            };
            self.repos[repo].labels.iter().map(render).collect()
        })
    }

    /// The repository's milestones, rendered.
    pub fn milestones(&self, repo: RepoIx) -> &[Box<str>] {
        self.cache.repos[repo].milestones.get_or_init(|| {
            let url = self.repo_url(repo);
            let r = &self.repos[repo];
            let mut counts = vec![(0, 0); r.milestones.len()];
            for i in r.issues.iter().filter(|i| !i.deleted) {
                if let Some(m) = i.milestone {
                    let c = &mut counts[m as usize];
                    *if i.open { &mut c.0 } else { &mut c.1 } += 1;
                }
            }
            let render = |(m, (open, closed)): (&Milestone, (u32, u32))| {
                let mut o = String::new();
                let n = m.number;
                let _ = write!(
                    o,
                    r#"{{"url":"{url}/milestones/{n}","html_url":"{}{}/milestone/{n}","labels_url":"{url}/milestones/{n}/labels","id":{id},"node_id":"MI_kwDO{id:08x}","number":{n},"title":"#,
                    self.html,
                    self.full_name(repo),
                    id = m.id,
                );
                esc(&mut o, &m.title);
                o.push_str(r#","description":"#);
                esc_opt(&mut o, m.description.as_deref());
                let _ = write!(
                    o,
                    r#","creator":{},"open_issues":{open},"closed_issues":{closed},"state":"{}","created_at":"#,
                    self.stub_opt(m.creator),
                    if m.open { "open" } else { "closed" }
                );
                time(&mut o, m.created);
                o.push_str(r#","updated_at":"#);
                time(&mut o, m.updated);
                o.push_str(r#","due_on":"#);
                time_opt(&mut o, m.due);
                o.push_str(r#","closed_at":"#);
                time_opt(&mut o, m.closed);
                o.push('}');
                o.into()
            };
            r.milestones.iter().zip(counts).map(render).collect()
        })
    }

    /// An entry of `/releases`.
    pub fn release(&self, o: &mut String, repo: RepoIx, at: usize) {
        let rel = &self.repos[repo].releases[at];
        let url = self.repo_url(repo);
        let page = format!("{}{}/releases", self.html, self.full_name(repo));
        let (id, tag) = (rel.id, percent(&rel.tag));
        let _ = write!(
            o,
            r#"{{"url":"{url}/releases/{id}","assets_url":"{url}/releases/{id}/assets","upload_url":"{url}/releases/{id}/assets{{?name,label}}","html_url":"{page}/tag/{tag}","id":{id},"author":{},"node_id":"RE_kwDO{id:08x}","tag_name":"#,
            self.stub(rel.author)
        );
        esc(o, &rel.tag);
        let _ = write!(o, r#","target_commitish":"{}","name":"#, self.repos[repo].default_branch);
        esc_opt(o, rel.name.as_deref());
        let _ = write!(o, r#","draft":{},"immutable":false,"prerelease":{},"created_at":"#, rel.draft, rel.prerelease);
        time(o, rel.created);
        o.push_str(r#","updated_at":"#);
        time(o, rel.updated);
        o.push_str(r#","published_at":"#);
        time_opt(o, rel.published);
        o.push_str(r#","assets":["#);
        for (i, (name, size)) in rel.assets.iter().enumerate() {
            if i > 0 {
                o.push(',');
            }
            let asset = id * 10 + i as u64;
            let _ = write!(
                o,
                r#"{{"url":"{url}/releases/assets/{asset}","id":{asset},"node_id":"RA_kwDO{asset:08x}","name":"{name}","label":"","uploader":{},"content_type":"application/gzip","state":"uploaded","size":{size},"digest":null,"download_count":7,"created_at":"#,
                self.stub(rel.author)
            );
            time(o, rel.created);
            o.push_str(r#","updated_at":"#);
            time(o, rel.created);
            let _ = write!(o, r#","browser_download_url":"{page}/download/{tag}/{name}"}}"#);
        }
        let _ = write!(o, r#"],"tarball_url":"{url}/tarball/{tag}","zipball_url":"{url}/zipball/{tag}","body":"#);
        esc_opt(o, rel.body.as_deref());
        o.push('}');
    }

    /// An entry of `/branches`.
    pub fn branch(&self, o: &mut String, repo: RepoIx, name: &str) {
        let (url, sha) = (self.repo_url(repo), self.sha(self.repos[repo].branches[name]));
        o.push_str(r#"{"name":"#);
        esc(o, name);
        let _ = write!(o, r#","commit":{{"sha":"{sha}","url":"{url}/commits/{sha}"}},"protected":false}}"#);
    }

    /// `/branches/{branch}`.
    pub fn full_branch(&self, o: &mut String, repo: RepoIx, name: &str) {
        let url = self.repo_url(repo);
        o.push_str(r#"{"name":"#);
        esc(o, name);
        o.push_str(r#","commit":"#);
        self.commit(o, repo, self.repos[repo].branches[name]);
        let path = percent(name).replace("%2F", "/");
        let _ = write!(
            o,
            r#","_links":{{"self":"{url}/branches/{path}","html":"{}{}/tree/{path}"}},"protected":false,"protection":{{"enabled":false,"required_status_checks":{{"enforcement_level":"off","contexts":[],"checks":[]}}}},"protection_url":"{url}/branches/{path}/protection"}}"#,
            self.html,
            self.full_name(repo)
        );
    }

    /// An entry of `/tags`.
    pub fn tag(&self, o: &mut String, repo: RepoIx, name: &str) {
        let (url, sha) = (self.repo_url(repo), self.sha(self.repos[repo].tags[name]));
        let path = percent(name).replace("%2F", "/");
        o.push_str(r#"{"name":"#);
        esc(o, name);
        let _ = write!(
            o,
            r#","zipball_url":"{url}/zipball/refs/tags/{path}","tarball_url":"{url}/tarball/refs/tags/{path}","commit":{{"sha":"{sha}","url":"{url}/commits/{sha}"}},"node_id":"REF_{sha}"}}"#
        );
    }

    /// An entry of `/git/matching-refs/...`; `kind` is `heads` or `tags`.
    pub fn git_ref(&self, o: &mut String, repo: RepoIx, kind: &str, name: &str) {
        let r = &self.repos[repo];
        let commit = if kind == "heads" { r.branches[name] } else { r.tags[name] };
        let (url, sha, path) = (self.repo_url(repo), self.sha(commit), percent(name).replace("%2F", "/"));
        o.push_str(r#"{"ref":"#);
        esc(o, &format!("refs/{kind}/{name}"));
        let _ = write!(
            o,
            r#","node_id":"REF_{sha}","url":"{url}/git/refs/{kind}/{path}","object":{{"sha":"{sha}","type":"commit","url":"{url}/git/commits/{sha}"}}}}"#
        );
    }

    /// An entry of `/collaborators`.
    pub fn collaborator(&self, o: &mut String, repo: RepoIx, at: usize) {
        let (user, role) = self.repos[repo].collaborators[at];
        let (admin, push) = (role == "admin", matches!(role, "admin" | "write"));
        o.push('{');
        self.stub_fields(o, user);
        let _ = write!(
            o,
            r#","permissions":{{"admin":{admin},"maintain":{admin},"push":{push},"triage":{push},"pull":true}},"role_name":"{role}"}}"#
        );
    }

    /// An entry of `/contributors`.
    pub fn contributor(&self, o: &mut String, user: UserIx, contributions: u32) {
        o.push('{');
        self.stub_fields(o, user);
        let _ = write!(o, r#","contributions":{contributions}}}"#);
    }

    /// Users by their commits on the default branch, busiest first.
    pub fn contributors(&self, repo: RepoIx) -> Vec<(UserIx, u32)> {
        let r = &self.repos[repo];
        let mut counts = std::collections::BTreeMap::new();
        for &c in self.reach(r.branches[&r.default_branch]).iter() {
            if let Account::User(u) = self.people[self.commits[c as usize].author as usize].account {
                *counts.entry(u).or_insert(0u32) += 1;
            }
        }
        let mut list: Vec<_> = counts.into_iter().collect();
        list.sort_by_key(|&(u, n)| (std::cmp::Reverse(n), u));
        list
    }
}

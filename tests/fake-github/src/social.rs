//! Who follows whom, and who is a member of which organization: as it changes, and as GitHub answers for it.
use super::json::unpercent;
use super::paging::Query;
use super::routes::{Answer, Kind, Viewer, not_found, object, rows};
use super::world::*;

impl World {
    /// Has a user follow another, if it doesn't.
    pub fn follow(&mut self, follower: UserIx, followed: UserIx) {
        self.tick(60);
        if !self.follows.contains(&(follower, followed)) {
            self.follows.push((follower, followed));
        }
    }

    pub fn unfollow(&mut self, follower: UserIx, followed: UserIx) {
        self.tick(60);
        self.follows.retain(|&edge| edge != (follower, followed));
    }

    /// Makes a user a member of an organization, or changes whether everybody may know.
    pub fn join(&mut self, org: UserIx, user: UserIx, public: bool) {
        self.tick(60);
        match self.members.iter_mut().find(|m| m.org == org && m.user == user) {
            Some(member) => member.public = public,
            None => self.members.push(Member { org, user, public }),
        }
    }

    pub fn leave(&mut self, org: UserIx, user: UserIx) {
        self.tick(60);
        self.members.retain(|m| m.org != org || m.user != user);
    }

    /// Takes an account out of all its ties.
    pub(super) fn untie(&mut self, user: UserIx) {
        self.follows.retain(|edge| edge.0 != user && edge.1 != user);
        self.members.retain(|m| m.org != user && m.user != user);
    }

    /// Ties among these users, the same for the same users: each follows some of those behind it, a few are members.
    pub(super) fn acquaint(&mut self, users: &[UserIx], orgs: &[UserIx]) {
        for (i, &user) in users.iter().enumerate() {
            for step in 1..=(1 + i % 4) {
                let other = users[(i + step) % users.len()];
                if other != user {
                    self.follow(user, other);
                }
            }
            if i % 2 == 0 && !orgs.is_empty() {
                self.follow(user, orgs[0]);
            }
        }
        for (i, &org) in orgs.iter().enumerate() {
            for (j, &user) in users.iter().skip(i).take(5).enumerate() {
                self.join(org, user, j % 3 != 1);
            }
        }
    }

    /// How many follow an account, and how many it follows.
    pub(super) fn follow_counts(&self, user: UserIx) -> (usize, usize) {
        let count = |of: fn(&(UserIx, UserIx)) -> UserIx| self.follows.iter().filter(|edge| of(edge) == user).count();
        (count(|edge| edge.1), count(|edge| edge.0))
    }

    /// `/users/{login}/...`, `/user/{id}/...`.
    pub(super) fn user_answer(&self, found: Option<UserIx>, rest: &[&str]) -> (&'static str, Answer) {
        let template = match rest {
            [] => "/users/{login}",
            ["followers"] => "/users/{login}/followers",
            ["following"] => "/users/{login}/following",
            ["orgs"] => "/users/{login}/orgs",
            _ => return ("unknown", not_found()),
        };
        let gone = |u: &UserIx| self.find_user(&self.users[*u as usize].login) != Some(*u);
        let Some(user) = found.filter(|u| !self.users[*u as usize].profile_hidden && !gone(u)) else {
            return (template, not_found());
        };
        let follows = self.follows.iter();
        let answer = match rest {
            ["followers"] => rows(0, Kind::User, follows.filter(|e| e.1 == user).map(|e| e.0).collect()),
            ["following"] => rows(0, Kind::User, follows.filter(|e| e.0 == user).map(|e| e.1).collect()),
            ["orgs"] => {
                let public = self.members.iter().filter(|m| m.user == user && m.public);
                rows(0, Kind::Org, public.map(|m| m.org).collect())
            }
            _ => object(|o| self.profile(o, user)),
        };
        (template, answer)
    }

    /// GitHub: outsiders are sent on to the members whom everybody may know.
    pub(super) fn members_answer(&self, org: UserIx, public: bool, q: &Query, who: &Viewer) -> Answer {
        let granted = who.installation.is_some_and(|i| i.account == org && i.may("members", false));
        if !public && who.user.is_none() && !granted {
            let to = format!("{}orgs/{}/public_members{}", self.api, self.users[org as usize].login, q.with(&[]));
            return Answer::Status(302, String::new(), vec![("location", to)]);
        }
        let members = self.members.iter().filter(|m| m.org == org && (m.public || !public));
        rows(0, Kind::User, members.map(|m| m.user).collect())
    }

    /// The account of that login or number, as it stands in a path.
    pub(super) fn user_in(&self, by: &str, segment: &str) -> Option<UserIx> {
        match by {
            "user" => {
                let id: u64 = segment.parse().ok()?;
                self.users.iter().position(|u| u.id == id).map(|u| u as UserIx)
            }
            _ => self.find_user(&unpercent(segment)),
        }
    }
}

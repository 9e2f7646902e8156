//! The repository events feed.
use super::world::*;

/// GitHub: the feed holds 300 events at most; a few more are kept to show that they are cut off.
const KEPT: usize = 1_000;

impl World {
    /// Appends an entry, at the present moment.
    pub fn feed(&mut self, repo: RepoIx, actor: UserIx, payload: Payload) {
        let id = self.id() * 11;
        let created = self.clock;
        let feed = &mut self.repos[repo].feed;
        if feed.len() >= 2 * KEPT {
            feed.drain(..KEPT);
        }
        feed.push(FeedEvent { id, actor, created, shown: Shown::Always, payload });
    }
}

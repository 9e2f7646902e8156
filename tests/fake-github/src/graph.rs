//! The commit graph: what a commit reaches, and how two of them compare.
use super::world::*;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

pub struct Comparison {
    pub merge_base: CommitIx,
    /// In head and not in base, oldest first.
    pub ahead: Vec<CommitIx>,
    pub behind: usize,
}

impl World {
    /// The commit and its ancestors, newest first, as `git log` lists them.
    pub fn reach(&self, from: CommitIx) -> Arc<Vec<CommitIx>> {
        if let Some(known) = self.cache.reach.lock().unwrap().get(&from) {
            return known.clone();
        }
        let mut seen = HashSet::new();
        let mut heap = BinaryHeap::new();
        let mut out = vec![];
        seen.insert(from);
        heap.push((self.commits[from as usize].committed, from));
        while let Some((_, c)) = heap.pop() {
            out.push(c);
            for &p in &self.commits[c as usize].parents {
                if seen.insert(p) {
                    heap.push((self.commits[p as usize].committed, p));
                }
            }
        }
        let out = Arc::new(out);
        let mut known = self.cache.reach.lock().unwrap();
        // Bounded: a world with tens of thousands of pull requests has as many heads.
        if known.values().map(|v| v.len()).sum::<usize>() > 4_000_000 {
            known.clear();
        }
        known.insert(from, out.clone());
        out
    }

    /// Everything that the repository's branches and tags reach.
    pub fn reachable(&self, repo: RepoIx) -> HashSet<CommitIx> {
        let r = &self.repos[repo];
        let mut all = HashSet::new();
        let mut stack: Vec<CommitIx> = r.branches.values().chain(r.tags.values()).copied().collect();
        while let Some(c) = stack.pop() {
            if all.insert(c) {
                stack.extend(self.commits[c as usize].parents.iter());
            }
        }
        all
    }

    /// The hashes that one branch reaches, newest first.
    pub fn branch_shas(&self, repo: RepoIx, branch: &str) -> Vec<String> {
        self.reach(self.repos[repo].branches[branch]).iter().map(|&c| self.sha(c)).collect()
    }

    /// `None` when they share no history.
    pub fn compare(&self, base: CommitIx, head: CommitIx) -> Option<Comparison> {
        let base_reach = self.reach(base);
        let in_base: HashSet<CommitIx> = base_reach.iter().copied().collect();
        let head_reach = self.reach(head);
        // Newest common commit: the worlds have no criss-cross merges, so it's the best common ancestor.
        let merge_base = *head_reach.iter().find(|c| in_base.contains(c))?;
        let mut ahead: Vec<CommitIx> = head_reach.iter().copied().filter(|c| !in_base.contains(c)).collect();
        ahead.reverse();
        let in_head: HashSet<CommitIx> = head_reach.iter().copied().collect();
        let behind = base_reach.iter().filter(|c| !in_head.contains(c)).count();
        Some(Comparison { merge_base, ahead, behind })
    }
}

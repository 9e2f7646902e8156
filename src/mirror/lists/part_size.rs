//! Number of items that a server delivers per request.

use super::PER_PAGE;

/// Sizes of parts, largest first. Each divides [`PER_PAGE`], so that parts can be numbered; a server that can't deliver
/// a single item has failed.
const SIZES: [usize; 6] = [PER_PAGE, 50, 25, 10, 5, 1];
/// Pages fetched in small parts before a larger part, which failed twice, is tried again.
const MIN_HOLD: u32 = 2;
/// Maximum number of such pages.
const MAX_HOLD: u32 = 64;

/// The number of items that the server delivers per request, as one stage has observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSize {
    /// Index into [`SIZES`] of the next size.
    at: usize,
    /// True if that is larger than what succeeded last.
    trial: bool,
    /// Pages to fetch before a larger part is tried.
    hold: u32,
    /// Next value of `hold`.
    next_hold: u32,
}

impl Default for PartSize {
    fn default() -> Self {
        Self { at: 0, trial: false, hold: 0, next_hold: MIN_HOLD }
    }
}

impl PartSize {
    /// Returns whether whole pages are requested.
    pub fn is_whole(&self) -> bool {
        self.at == 0
    }

    /// Returns the size to request at this place of a page: numbered parts can only start at multiples of a size.
    pub(super) fn at_place(&self, place: usize, numbered: bool) -> usize {
        let fits = |size: &usize| place + size <= PER_PAGE && (!numbered || place.is_multiple_of(*size));
        SIZES.iter().skip(self.at).copied().find(fits).unwrap_or(1)
    }

    /// Records that a part of this size was delivered.
    pub(super) fn succeeded(&mut self, size: usize) {
        // A part that had to be smaller, to reach a place, proves nothing.
        if SIZES.get(self.at) == Some(&size) {
            self.trial = self.at > 0 && self.hold == 0;
            self.at -= usize::from(self.trial);
        }
    }

    /// Records that it was not delivered; `false` if there is no smaller size.
    pub(super) fn failed(&mut self, size: usize) -> bool {
        let Some(smaller) = SIZES.iter().position(|other| *other < size) else { return false };
        if self.trial {
            self.hold = self.next_hold;
            self.next_hold = (self.next_hold * 2).min(MAX_HOLD);
        }
        self.trial = false;
        self.at = smaller;
        true
    }

    /// Records the end of a page.
    pub(super) fn page_ended(&mut self) {
        self.hold = self.hold.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fetches pages of a numbered list from a server that delivers `most` items at a time. Returns the requests per
    /// page.
    fn read(size: &mut PartSize, most: usize, pages: usize) -> Vec<usize> {
        let one_page = |size: &mut PartSize| {
            let (mut place, mut requests) = (0, 0);
            while place < PER_PAGE {
                let part = size.at_place(place, true);
                requests += 1;
                if part > most {
                    assert!(size.failed(part));
                } else {
                    size.succeeded(part);
                    place += part;
                }
            }
            size.page_ended();
            requests
        };
        (0..pages).map(|_| one_page(size)).collect()
    }

    #[test]
    fn smaller_parts_are_remembered() {
        let mut size = PartSize::default();
        // 100, 50 and 25 fail, and 25 once more where a larger part can begin.
        assert_eq!(read(&mut size, 10, 9), [14, 10, 11, 10, 10, 10, 11, 10, 10]);
        assert!(!size.is_whole());
    }

    #[test]
    fn parts_grow_back_when_server_recovers() {
        let mut size = PartSize::default();
        read(&mut size, 1, 1);
        let requests = read(&mut size, PER_PAGE, 8);
        assert!(requests.iter().sum::<usize>() < 300, "{requests:?}");
        assert_eq!(requests.last(), Some(&1));
        assert!(size.is_whole());
    }

    #[test]
    fn single_items_are_the_end() {
        let mut size = PartSize::default();
        assert!([100, 50, 25, 10, 5].iter().all(|part| size.failed(*part)));
        assert!(!size.failed(1));
    }
}

//! Bodies read within their limits: each one's, and all bodies' together.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum bytes of all bodies that are being read or stored.
const MAX_BYTES_IN_HAND: usize = 256 * 1024 * 1024;
/// Bytes that a permit stands for.
const UNIT: usize = 1024;

/// The memory for bodies.
#[derive(Debug, Clone)]
pub(super) struct BodyBudget(Arc<Semaphore>);

/// A body in memory; its share of the budget returns when it is dropped.
#[derive(Debug)]
pub(super) struct BudgetedBody {
    pub bytes: Bytes,
    pub share: Option<OwnedSemaphorePermit>,
}

/// The reason why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It is larger than this many bytes.
    TooLarge(usize),
    /// All bodies together would be.
    OutOfMemory,
    /// The connection broke, or the length is no number.
    Broken,
}

impl BodyBudget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BYTES_IN_HAND / UNIT)))
    }

    /// Returns the number of bytes that bodies hold.
    pub(super) fn in_hand(&self) -> usize {
        MAX_BYTES_IN_HAND.saturating_sub(self.0.available_permits() * UNIT)
    }

    /// Reads a body of at most `limit` bytes. A larger one is rejected by its length before it is read, else while it is
    /// read. The budget is charged for what has arrived: a sender that only announces much takes nothing from others.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<BudgetedBody, BodyError> {
        let length = match headers.get(CONTENT_LENGTH) {
            None => 0,
            Some(value) => {
                let length =
                    value.to_str().ok().and_then(|value| value.parse::<u64>().ok()).ok_or(BodyError::Broken)?;
                usize::try_from(length).unwrap_or(usize::MAX)
            }
        };
        if length > limit {
            return Err(BodyError::TooLarge(limit));
        }
        let mut share: Option<OwnedSemaphorePermit> = None;
        let mut charged = 0;
        let mut bytes = Vec::new();
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| BodyError::Broken)?;
            let size = bytes.len() + chunk.len();
            if size > limit {
                return Err(BodyError::TooLarge(limit));
            }
            let units = size.div_ceil(UNIT);
            if units > charged {
                let more = u32::try_from(units - charged).unwrap_or(u32::MAX);
                let more = Arc::clone(&self.0).try_acquire_many_owned(more).map_err(|_| BodyError::OutOfMemory)?;
                charged = units;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
            if bytes.capacity() < size {
                // Once the first bytes have come, room for all: growing by doubling would hold twice as much.
                bytes.reserve_exact(length.max(size) - bytes.len());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(BudgetedBody { bytes: bytes.into(), share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    async fn read(budget: &BodyBudget, length: Option<&'static str>, body: Vec<u8>) -> Result<BudgetedBody, BodyError> {
        let headers = length.map(|length| (CONTENT_LENGTH, HeaderValue::from_static(length))).into_iter().collect();
        budget.read(&headers, Body::from(body), 5000).await
    }

    #[tokio::test]
    async fn bodies_are_limited_by_length_and_while_they_are_read() {
        let budget = BodyBudget::new();
        assert_eq!(read(&budget, Some("5001"), vec![]).await.unwrap_err(), BodyError::TooLarge(5000));
        assert_eq!(read(&budget, Some("99999999999999999999"), vec![]).await.unwrap_err(), BodyError::Broken);
        assert_eq!(read(&budget, None, vec![0; 5001]).await.unwrap_err(), BodyError::TooLarge(5000));
        let held = read(&budget, Some("5000"), vec![7; 5000]).await.unwrap();
        assert_eq!((held.bytes.len(), budget.in_hand()), (5000, 5 * UNIT));
        drop(held);
        assert_eq!(budget.in_hand(), 0);
        assert!(read(&budget, Some("0"), vec![]).await.unwrap().share.is_none());
    }

    #[tokio::test]
    async fn exhausted_budget_rejects_further_bodies() {
        let budget = BodyBudget(Arc::new(Semaphore::new(6)));
        let held = read(&budget, None, vec![0; 4096]).await.unwrap();
        assert_eq!(read(&budget, None, vec![0; 4096]).await.unwrap_err(), BodyError::OutOfMemory);
        drop(held);
        assert!(read(&budget, None, vec![0; 4096]).await.is_ok());
    }
}

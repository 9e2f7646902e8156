//! Pipeline from the stages to the stores: many tasks hand in pages, two tasks write them.
//!
//! The first task stores documents, the second the rows and the sync state that belong to them. A page's state is
//! therefore never stored before its data, and while one batch's rows are written the next batch's documents are. Both
//! gather waiting pages into one transaction.
//!
//! An item that a store rejects is named and does not stop the others; sync state that would not be true of it is
//! dropped ([`page_rows`]).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::MirrorError;
use super::page_rows::{self, PageRows};
use super::stats::WriteCounts;
use crate::store::documents::{BatchResult, Document, WriteOutcome};
use crate::store::relational::RowBatch;
use crate::store::{BackendError, Stores};

/// Maximum number of pages waiting for the writer.
const MAX_WAITING_PAGES: usize = 4;
/// Limit in KiB of pages that wait or are being written; a single page may exceed it.
const MAX_WAITING_KIB: usize = 12 * 1024;
/// Maximum number of batches whose documents are stored and whose rows are not.
const MAX_WAITING_BATCHES: usize = 1;
/// Approximate number of documents per transaction; a page is never split.
const DOCUMENTS_PER_BATCH: usize = 800;
/// Approximate bytes of documents per transaction.
const BYTES_PER_BATCH: usize = 3 * 1024 * 1024;

/// Documents and rows of one page.
#[derive(Debug)]
pub(super) struct WriteRequest {
    /// Counters of its stage.
    pub counts: Arc<WriteCounts>,
    /// Documents.
    pub documents: Vec<Document>,
    /// Rows, and the sync state that is true once all of it is stored.
    pub rows: RowBatch,
}

enum Message {
    Page(Box<WriteRequest>, Option<OwnedSemaphorePermit>),
    Flush(oneshot::Sender<()>),
}

enum Stored {
    Pages(Vec<PageRows>, Option<i64>),
    Flush(oneshot::Sender<()>),
}

/// The entrance to the pipeline. Cloned for each task; the pipeline ends when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    sender: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    failure: Arc<Mutex<Option<BackendError>>>,
}

/// The running pipeline.
pub(super) struct WriterTasks {
    tasks: [JoinHandle<()>; 2],
}

impl WriterTasks {
    /// Waits until everything is stored, after the last [`Writer`] is dropped.
    pub(super) async fn finished(self) {
        for task in self.tasks {
            // A panic of the writer has printed itself; the missing data are then reported as a failed flush.
            let _ = task.await;
        }
    }
}

impl Writer {
    /// Starts the pipeline.
    pub(super) fn start(stores: &Stores) -> (Self, WriterTasks) {
        let (sender, pages) = mpsc::channel(MAX_WAITING_PAGES);
        let (between, batches) = mpsc::channel(MAX_WAITING_BATCHES);
        let failure = Arc::new(Mutex::new(None));
        let documents = tokio::spawn(write_documents(stores.clone(), pages, between, Arc::clone(&failure)));
        let rows = tokio::spawn(write_rows(stores.clone(), batches, Arc::clone(&failure)));
        let room = Arc::new(Semaphore::new(MAX_WAITING_KIB));
        (Self { sender, room, failure }, WriterTasks { tasks: [documents, rows] })
    }

    /// Hands in a page; waits while the pipeline is full.
    pub(super) async fn write(&self, page: WriteRequest) -> Result<(), MirrorError> {
        let kib = bytes_of(&page.documents) / 1024 + 1;
        let kib = u32::try_from(kib.min(MAX_WAITING_KIB)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.ok();
        self.sender.send(Message::Page(Box::new(page), room)).await.map_err(|_| self.stopped())
    }

    /// Waits until everything handed in before is stored.
    pub(super) async fn flush(&self) -> Result<(), MirrorError> {
        let (done, stored) = oneshot::channel();
        self.sender.send(Message::Flush(done)).await.map_err(|_| self.stopped())?;
        stored.await.map_err(|_| self.stopped())
    }

    /// Returns the store's own error to the first caller, and to all others that the writer has stopped.
    fn stopped(&self) -> MirrorError {
        let taken = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.map_or(MirrorError::WriterStopped, MirrorError::Store)
    }
}

fn bytes_of(documents: &[Document]) -> usize {
    documents.iter().map(|document| document.json.len()).sum()
}

fn fail(failure: &Mutex<Option<BackendError>>, error: BackendError) {
    tracing::error!(%error, "the stores can't be written");
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

async fn write_documents(
    stores: Stores,
    mut pages: mpsc::Receiver<Message>,
    between: mpsc::Sender<Stored>,
    failure: Arc<Mutex<Option<BackendError>>>,
) {
    while let Some(first) = pages.recv().await {
        let mut documents: Vec<Document> = Vec::new();
        // The page that each document belongs to.
        let mut owners: Vec<usize> = Vec::new();
        let mut batch: Vec<PageRows> = Vec::new();
        let mut rooms = Vec::new();
        let mut bytes = 0;
        let mut flush = None;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Page(page, room) => {
                    rooms.push(room);
                    bytes += bytes_of(&page.documents);
                    owners.extend(std::iter::repeat_n(batch.len(), page.documents.len()));
                    documents.extend(page.documents);
                    batch.push(PageRows { counts: page.counts, rows: page.rows, lacks_documents: false });
                }
                Message::Flush(done) => {
                    flush = Some(done);
                    break;
                }
            }
            let full = documents.len() >= DOCUMENTS_PER_BATCH || bytes >= BYTES_PER_BATCH;
            next = if full { None } else { pages.try_recv().ok() };
        }
        let mut generation = None;
        if !documents.is_empty() {
            match stores.documents.upsert(documents).await {
                Ok(stored) => {
                    generation = stored.generation;
                    account_for(stored, &owners, &mut batch);
                }
                Err(error) => return fail(&failure, error),
            }
        }
        drop(rooms);
        if !batch.is_empty() && between.send(Stored::Pages(batch, generation)).await.is_err() {
            return;
        }
        if let Some(done) = flush
            && between.send(Stored::Flush(done)).await.is_err()
        {
            return;
        }
    }
}

/// Records with each page what became of its documents.
fn account_for(stored: BatchResult, owners: &[usize], batch: &mut [PageRows]) {
    for (position, reason) in stored.rejected {
        let Some(page) = owners.get(position).and_then(|owner| batch.get_mut(*owner)) else { continue };
        page.lacks_documents = true;
        page.counts.add_rejected(reason);
    }
    for (position, reduced) in stored.reduced {
        let Some(page) = owners.get(position).and_then(|owner| batch.get_mut(*owner)) else { continue };
        page.record_reduced(&reduced);
    }
    for (owner, written) in owners.iter().zip(stored.written) {
        let counts = &batch[*owner].counts;
        let counter = match written {
            WriteOutcome::Inserted => &counts.new,
            WriteOutcome::Updated => &counts.changed,
            WriteOutcome::Unchanged => &counts.unchanged,
            WriteOutcome::Rejected => continue,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

async fn write_rows(stores: Stores, mut batches: mpsc::Receiver<Stored>, failure: Arc<Mutex<Option<BackendError>>>) {
    while let Some(first) = batches.recv().await {
        let (mut pages, mut generation, mut flush) = (Vec::new(), None, None);
        let mut next = Some(first);
        while let Some(stored) = next {
            match stored {
                Stored::Pages(more, changed) => {
                    pages.extend(more);
                    generation = generation.max(changed);
                }
                Stored::Flush(done) => {
                    flush = Some(done);
                    break;
                }
            }
            next = batches.try_recv().ok();
        }
        if let Err(error) = page_rows::store(&stores.relational, pages, generation).await {
            return fail(&failure, error);
        }
        if let Some(done) = flush {
            // A stage that no longer waits was canceled.
            let _ = done.send(());
        }
    }
}

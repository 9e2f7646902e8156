//! Writes batches of documents concurrently with other processes.
//!
//! Each document's write is decided by its stored state (see [`merge`]) and carries the revision it was decided on. If
//! another process was faster, the statement fails on the unique key, and that document alone is read and decided
//! again. Nothing is ever overwritten unseen, without locks or transactions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mongodb::bson::{Bson, RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf, doc, rawdoc};
use rand::RngExt;

use super::connection::{Connection, ReadFrom, Statements, WriteResult};
use super::convert;
use super::error::MongoError;
use super::fit::{Fitted, WITHOUT_PATCHES, fit};
use super::layout::{
    self, Bookkeeping, META, REVISION, append, bookkeeping_projection, id_path, natural_key, same_key, value_at,
};
use crate::store::documents::merge::{self, Row, StoredMeta};
use crate::store::documents::{BatchResult, Collection, Document, WriteOutcome};

/// Maximum bytes of documents per command. A message may have 48 MB, but a server's reply and log prefer smaller ones.
const MAX_COMMAND_BYTES: usize = 12_000_000;
/// Maximum statements per command; the server allows 100,000.
const STATEMENTS_PER_COMMAND: usize = 1_000;
/// Documents looked up per command by id.
const IDS_PER_LOOKUP: usize = 1_000;
/// Documents looked up per command by conditions on several fields, each of which the server plans separately.
const CONDITIONS_PER_LOOKUP: usize = 100;
/// Maximum rounds of deciding again on documents that others write at the same time, before the attempt fails.
const MAX_ROUNDS: u32 = 10;
/// Maximum random delay per round, so that two batches don't collide in step.
const MAX_ROUND_DELAY: Duration = Duration::from_millis(20);

/// A batch being written, with each document's outcome so far.
pub(super) struct BatchUpsert<'a> {
    /// The documents by collection.
    pub parts: Vec<CollectionBatch<'a>>,
    written: Mutex<Vec<WriteOutcome>>,
    /// By document index; a repeated attempt gives the same.
    rejected: Mutex<BTreeMap<usize, String>>,
    reduced: Mutex<BTreeMap<usize, String>>,
}

/// The documents of one collection.
pub(super) struct CollectionBatch<'a> {
    collection: Collection,
    groups: Vec<KeyGroup<'a>>,
}

/// The documents of one key, in the batch's order: later ones are compared with earlier ones.
struct KeyGroup<'a> {
    id: String,
    members: Vec<(usize, &'a Document)>,
}

/// A stored document.
struct StoredDocument {
    state: Bookkeeping,
    /// The whole document, if it was read.
    json: Option<String>,
    id: Bson,
}

/// A planned write of a document.
struct PlannedWrite {
    group: usize,
    statement: RawDocumentBuf,
    natural: String,
    condition: RawDocumentBuf,
    results: Vec<(usize, WriteOutcome)>,
    /// Nothing was known to be stored under its key.
    is_insert: bool,
}

impl<'a> BatchUpsert<'a> {
    pub(super) fn new(documents: &'a [Document]) -> Self {
        let mut by_collection: BTreeMap<Collection, (HashMap<String, usize>, Vec<KeyGroup<'a>>)> = BTreeMap::new();
        for (position, document) in documents.iter().enumerate() {
            let (known, groups) = by_collection.entry(document.collection).or_default();
            let id = document.id();
            let group = *known.entry(id.clone()).or_insert_with(|| {
                groups.push(KeyGroup { id, members: Vec::new() });
                groups.len() - 1
            });
            groups[group].members.push((position, document));
        }
        let parts =
            by_collection.into_iter().map(|(collection, (_, groups))| CollectionBatch { collection, groups }).collect();
        let written = Mutex::new(vec![WriteOutcome::Unchanged; documents.len()]);
        Self { parts, written, rejected: Mutex::default(), reduced: Mutex::default() }
    }

    /// Returns the batch's result, with the store's generation after it.
    pub(super) fn result(self, generation: Option<i64>) -> BatchResult {
        let list = |map: Mutex<BTreeMap<_, _>>| map.into_inner().unwrap_or_else(PoisonError::into_inner);
        BatchResult {
            written: self.written.into_inner().unwrap_or_else(PoisonError::into_inner),
            rejected: list(self.rejected).into_iter().collect(),
            reduced: list(self.reduced).into_iter().collect(),
            generation,
        }
    }

    /// Returns whether anything was or may have been written.
    pub(super) fn has_written(&self) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.iter().any(|written| matches!(written, WriteOutcome::Inserted | WriteOutcome::Updated))
    }

    /// Records documents as rejected, for this reason.
    fn reject(&self, members: &[(usize, &Document)], reason: &str) {
        for (position, document) in members {
            self.record(&[(*position, WriteOutcome::Rejected)]);
            let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
            rejected.insert(*position, document.rejected(reason));
        }
    }

    /// Records documents as stored without their patches.
    fn record_reduced(&self, members: &[(usize, &Document)]) {
        let mut reduced = self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        reduced.extend(members.iter().map(|(position, _)| (*position, WITHOUT_PATCHES.to_owned())));
    }

    fn record(&self, results: &[(usize, WriteOutcome)]) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, result) in results {
            written[*position] = *result;
        }
    }
}

/// Stores the documents of one collection. Idempotent: what one attempt wrote, the next one finds unchanged.
pub(super) async fn upsert_collection(
    connection: &Connection,
    part: &CollectionBatch<'_>,
    batch: &BatchUpsert<'_>,
) -> Result<(), MongoError> {
    let mut open: Vec<usize> = (0..part.groups.len()).collect();
    let mut known = find_by_id(connection, part).await?;
    for round in 1..=MAX_ROUNDS {
        load_changed(connection, part, &open, &mut known).await?;
        let mut writes = Vec::new();
        for group in open {
            writes.extend(plan_write(part, group, known.get(&group), batch)?);
        }
        let (conflicts, reason) = write(connection, part, &mut writes, batch).await?;
        if conflicts.is_empty() {
            return Ok(());
        }
        if round == MAX_ROUNDS {
            return Err(MongoError::Contended(reason));
        }
        let rounds = f64::from(round) * rand::rng().random_range(0.0..1.0);
        tokio::time::sleep(MAX_ROUND_DELAY.mul_f64(rounds)).await;
        let conflicts: Vec<&PlannedWrite> = conflicts.into_iter().map(|write| &writes[write]).collect();
        open = conflicts.iter().map(|write| write.group).collect();
        known = find_by_key(connection, part.collection, &conflicts).await?;
    }
    Ok(())
}

/// Finds the stored documents of a batch by id.
async fn find_by_id(
    connection: &Connection,
    part: &CollectionBatch<'_>,
) -> Result<HashMap<usize, StoredDocument>, MongoError> {
    let path = id_path(part.collection);
    let mut known = HashMap::new();
    let by_id: HashMap<&str, usize> =
        part.groups.iter().enumerate().map(|(position, group)| (group.id.as_str(), position)).collect();
    for groups in part.groups.chunks(IDS_PER_LOOKUP) {
        let ids: Vec<&str> = groups.iter().map(|group| group.id.as_str()).collect();
        let condition = doc! { path: { "$in": ids } };
        let mut fields = bookkeeping_projection(part.collection);
        fields.insert(META, 1);
        for document in
            connection.find(part.collection.name(), condition, ReadFrom::Primary, Some(fields), None).await?
        {
            let id = value_at(&document, path).and_then(RawBsonRef::as_str);
            if let Some(group) = id.and_then(|id| by_id.get(id)) {
                known.insert(*group, stored_document(&document, false)?);
            }
        }
    }
    Ok(known)
}

/// Finds documents by natural key, for those stored under another id or written by others meanwhile.
async fn find_by_key(
    connection: &Connection,
    collection: Collection,
    writes: &[&PlannedWrite],
) -> Result<HashMap<usize, StoredDocument>, MongoError> {
    let mut known = HashMap::new();
    for writes in writes.chunks(CONDITIONS_PER_LOOKUP) {
        let mut conditions = Vec::new();
        for write in writes {
            conditions.push(mongodb::bson::Document::try_from(&write.condition).map_err(MongoError::from_bson)?);
        }
        let fields = Some(bookkeeping_projection(collection));
        let condition = doc! { "$or": conditions };
        for document in connection.find(collection.name(), condition, ReadFrom::Primary, fields, None).await? {
            let natural = natural_key(collection, &document);
            for write in writes.iter().filter(|write| write.natural == natural) {
                known.insert(write.group, stored_document(&document, false)?);
            }
        }
    }
    Ok(known)
}

/// Reads the stored documents that a decision needs as a whole.
async fn load_changed(
    connection: &Connection,
    part: &CollectionBatch<'_>,
    open: &[usize],
    known: &mut HashMap<usize, StoredDocument>,
) -> Result<(), MongoError> {
    if !merge::needs_stored(part.collection) {
        return Ok(());
    }
    let changes = |group: &usize| {
        let meta = known.get(group)?.state.meta?;
        let mut members = part.groups[*group].members.iter();
        members.any(|(_, document)| !merge::is_unchanged(&meta, document, document.hash())).then_some(*group)
    };
    let changed: Vec<usize> = open.iter().filter_map(changes).collect();
    for groups in changed.chunks(IDS_PER_LOOKUP) {
        let ids: Vec<Bson> = groups.iter().filter_map(|group| Some(known.get(group)?.id.clone())).collect();
        let condition = doc! { "_id": { "$in": ids.clone() } };
        let by_id: Vec<(Bson, usize)> = ids.into_iter().zip(groups.iter().copied()).collect();
        let mut by_id: HashMap<String, usize> = by_id.into_iter().map(|(id, group)| (id.to_string(), group)).collect();
        for document in connection.find(part.collection.name(), condition, ReadFrom::Primary, None, None).await? {
            let document = stored_document(&document, true)?;
            if let Some(group) = by_id.remove(&document.id.to_string()) {
                known.insert(group, document);
            }
        }
    }
    Ok(())
}

fn stored_document(document: &RawDocumentBuf, whole: bool) -> Result<StoredDocument, MongoError> {
    let id = value_at(document, "_id").map_or(Ok(Bson::Null), Bson::try_from).map_err(MongoError::from_bson)?;
    let json = if whole { Some(convert::to_json(document)?.to_string()) } else { None };
    Ok(StoredDocument { state: layout::read_bookkeeping(document), json, id })
}

/// Plans the write for the documents of one key, if any is needed.
fn plan_write(
    part: &CollectionBatch<'_>,
    group: usize,
    known: Option<&StoredDocument>,
    batch: &BatchUpsert<'_>,
) -> Result<Option<PlannedWrite>, MongoError> {
    let mut meta = known.and_then(|known| known.state.meta);
    let mut row: Option<Row> = None;
    let mut results = Vec::new();
    let KeyGroup { id, members } = &part.groups[group];
    for (position, document) in members {
        let hash = document.hash();
        let new = match meta {
            None => {
                let taken_over = known.is_some();
                results.push((*position, if taken_over { WriteOutcome::Updated } else { WriteOutcome::Inserted }));
                merge::new_row(document, hash)
            }
            Some(meta) if merge::is_unchanged(&meta, document, hash) => continue,
            Some(meta) => {
                let stored = row.as_ref().map(|row| row.json.as_str());
                let stored = stored.or(known.and_then(|known| known.json.as_deref())).unwrap_or("{}");
                let Some(row) = merge::replacement_row(&meta, stored, document, hash) else { continue };
                results.push((*position, WriteOutcome::Updated));
                row
            }
        };
        meta =
            Some(StoredMeta { hash: new.hash, summary_hash: new.summary_hash, detailed: new.detailed, deleted: false });
        row = Some(new);
    }
    let Some(row) = row else {
        if known.is_some_and(|known| known.state.is_reduced) {
            batch.record_reduced(members);
        }
        return Ok(None);
    };
    let revision = known.and_then(|known| known.state.revision);
    let stored = match fit(part.collection, id, &row, revision.unwrap_or(0) + 1)? {
        Fitted::Document { document, is_reduced } => {
            if is_reduced {
                batch.record_reduced(members);
            }
            document
        }
        Fitted::Rejected(reason) => {
            batch.reject(members, &reason);
            return Ok(None);
        }
    };
    let condition = same_key(part.collection, &stored)?;
    let natural = natural_key(part.collection, &stored);
    let statement = match known {
        // Planned as a plain insertion, which fails on the unique key if a document exists after all.
        None => stored,
        Some(known) => {
            let id = RawBson::try_from(known.id.clone()).map_err(MongoError::from_bson)?;
            let mut decided_on = rawdoc! { "_id": id };
            match revision {
                Some(revision) => append(&mut decided_on, REVISION, revision)?,
                None => append(&mut decided_on, REVISION, rawdoc! { "$exists": false })?,
            }
            // An upsert reports another stored revision by the same error.
            rawdoc! { "q": decided_on, "u": stored, "upsert": true }
        }
    };
    Ok(Some(PlannedWrite { group, statement, natural, condition, results, is_insert: known.is_none() }))
}

/// Sends the statements. Returns those whose stored state had changed, with the server's reason.
async fn write(
    connection: &Connection,
    part: &CollectionBatch<'_>,
    writes: &mut [PlannedWrite],
    batch: &BatchUpsert<'_>,
) -> Result<(Vec<usize>, String), MongoError> {
    let mut conflicts = Vec::new();
    let mut reason = String::new();
    writes.sort_by_key(|write| write.is_insert);
    let mut chunks = chunks(writes);
    while let Some(chunk) = chunks.pop() {
        let sent = &writes[chunk.clone()];
        // Once sent, it may be stored even if no reply arrives.
        sent.iter().for_each(|write| batch.record(&write.results));
        let outcome = match send(connection, part.collection, sent).await {
            Ok(outcome) => outcome,
            // The server doesn't say which document it is: each is sent separately then.
            Err(failure) if failure.is_document_rejected() => {
                match sent {
                    [write] => batch.reject(&part.groups[write.group].members, &failure.to_string()),
                    _ => chunks.extend(chunk.map(|write| write..write + 1)),
                }
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let failed: HashMap<usize, _> = outcome.errors.into_iter().map(|error| (error.index, error)).collect();
        for (index, write) in sent.iter().enumerate() {
            match failed.get(&index) {
                Some(error) if error.is_duplicate() => {
                    let unchanged: Vec<_> =
                        write.results.iter().map(|(at, _)| (*at, WriteOutcome::Unchanged)).collect();
                    batch.record(&unchanged);
                    conflicts.push(chunk.start + index);
                    reason.clone_from(&error.message);
                }
                Some(error) if error.is_document_rejected() => {
                    batch.reject(&part.groups[write.group].members, &error.message);
                }
                Some(error) => {
                    let message = format!("{} of {}: {}", write.natural, part.collection.name(), error.message);
                    return Err(MongoError::Rejected { code: error.code, message });
                }
                None => {}
            }
        }
    }
    Ok((conflicts, reason))
}

/// Groups statements into commands: of one kind, bounded in number and size.
fn chunks(writes: &[PlannedWrite]) -> Vec<Range<usize>> {
    let mut chunks: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (position, write) in writes.iter().enumerate() {
        let size = write.statement.as_bytes().len();
        match chunks.last_mut() {
            Some(chunk)
                if bytes + size <= MAX_COMMAND_BYTES
                    && chunk.len() < STATEMENTS_PER_COMMAND
                    && writes[chunk.start].is_insert == write.is_insert =>
            {
                bytes += size;
                chunk.end += 1;
            }
            _ => {
                bytes = size;
                chunks.push(position..position + 1);
            }
        }
    }
    chunks
}

async fn send(
    connection: &Connection,
    collection: Collection,
    writes: &[PlannedWrite],
) -> Result<WriteResult, MongoError> {
    let mut statements = RawArrayBuf::new();
    for write in writes {
        statements.push(RawBsonRef::Document(&write.statement));
    }
    let is_insert = writes.first().is_some_and(|write| write.is_insert);
    let kind = if is_insert { Statements::Insert } else { Statements::Update };
    let outcome = connection.write(kind, collection.name(), statements).await?;
    let handled = usize::try_from(outcome.matched).unwrap_or(0) + outcome.errors.len();
    if handled < writes.len() {
        let message = format!("the server has answered for {handled} of {} documents", writes.len());
        return Err(MongoError::Rejected { code: 0, message });
    }
    Ok(outcome)
}

//! Every limit, with its unit and its reason. Full means a refusal with a hint, never silence.

use std::time::Duration;

/// Largest frame or HTTP body in bytes: a thousand mutations of 8 KB.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// Largest body of a request that is not a batch of frames, in bytes: activation, tokens, administration.
pub const API_BODY_BYTES_MAX: usize = 256 << 10;

/// Largest body of an import of accounts or of seeds, in bytes: what comes from a file that somebody has written.
pub const IMPORT_BODY_BYTES_MAX: usize = 8 << 20;

/// Most accounts of one import: they are one transaction, and other writes wait for it.
pub const IMPORT_ACCOUNTS_MAX: usize = 10_000;

/// How long a request's head may take (attack C25).
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a request's body may take, unless it is a stream of frames.
pub const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Largest head of a request in bytes.
pub const HEAD_BYTES_MAX: usize = 32 << 10;

/// Most open connections; a new one beyond that is closed at once. Each is a file descriptor.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Largest answer that the command line reads from a server, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long the command line waits for an answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Largest message after decompression, in bytes (attack C26).
pub const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// Target size of one `rows` frame in bytes: large enough for zstd, small enough for a phone's memory.
pub const ROWS_FRAME_BYTES: usize = 256 << 10;

/// Frames at or above this many bytes are compressed where the device asked for it.
pub const COMPRESS_FROM_BYTES: usize = 512;

/// Most scopes that one record may be in: each costs a row in the member table at every change.
pub const SCOPES_PER_RECORD_MAX: usize = 64;

/// Most scopes that one account may hold.
pub const SCOPES_PER_ACCOUNT_MAX: usize = 1024;

/// Bytes queued for a device that does not read, before its session is closed with 1013 (attack C34).
pub const SESSION_QUEUE_BYTES_MAX: usize = 1 << 20;

/// How long a device may not read before its session is closed with 1013.
pub const SESSION_STALL: Duration = Duration::from_secs(30);

/// How long one message to a device may take while its queue is full, before the session is closed with 1013: a link of
/// 0.5 Mbit/s takes a `rows` frame in that time, and a device behind a slower one catches up again from its cursor.
pub const SESSION_FULL_STALL: Duration = Duration::from_secs(5);

/// How long a message to a device may still take once its session is over: a device that is revoked or wiped, or that has a
/// newer session, does not keep it open by not reading.
pub const SESSION_OVER_STALL: Duration = Duration::from_secs(2);

/// How long the last word of a session may take to reach its device.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How long a socket may stay silent before its `hello`.
pub const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Most mutations that are planned and written as one run: bounds the time a backend's transaction is open.
pub const RUN_MUTATIONS_MAX: usize = 500;

/// Most unsettled mutations that the inbox holds for one device.
pub const INBOX_PER_DEVICE_MAX: usize = 10_000;

/// Tries for a mutation that alone keeps failing while its backend is otherwise healthy.
pub const TRIES_MAX: u32 = 3;

/// For how long receipts, dedupe rows and settled mutations are kept, so that a restored server or device meets them.
pub const RESTORE_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a device may say `hello` in one session: each fences, and reads all its scopes. One that is well does so a few
/// times in months; a later session begins at 1 again.
pub const HELLOS_PER_SESSION_MAX: u32 = 1000;

/// How long a mutation that is offered again waits for a create that it builds on: another device may still offer it.
pub const OFFERED_WAIT: Duration = Duration::from_secs(600);

/// For how long tombstones are kept; an older cursor reconciles.
pub const TOMBSTONES_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long the store's writer waits for company before it commits, at most; it never waits when nobody else is there.
pub const GROUP_COMMIT_MAX: usize = 256;

/// Rows read from a backend in one piece while ingesting.
pub const INGEST_CHUNK_ROWS: usize = 2_000;

/// Poll interval of a channel without a change queue, unless its YAML says otherwise.
pub const POLL_EVERY: Duration = Duration::from_secs(20);

/// How often a change queue is looked at.
pub const QUEUE_POLL_EVERY: Duration = Duration::from_millis(100);

/// The window in which a channel's deletes are counted.
pub const MASS_DELETE_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Deletes inferred from absence are held above this many in that window …
pub const MASS_DELETE_RECORDS: u64 = 50;
/// … or above this share of the channel in percent, …
pub const MASS_DELETE_PERCENT: u64 = 20;
/// … but not below this many, …
pub const MASS_DELETE_PERCENT_FLOOR: u64 = 10;
/// … and always when they would empty a channel of more than this many records.
pub const MASS_DELETE_EMPTY_ABOVE: u64 = 10;

/// Deletes that a change queue told of are held above this many in that window: a trigger does not err as a read does,
/// and a nightly clean-up is everyday work, but a `DELETE` without its `WHERE` comes through triggers too …
pub const TOLD_DELETE_RECORDS: u64 = 10_000;
/// … or above this share of a channel in percent, …
pub const TOLD_DELETE_PERCENT: u64 = 90;
/// … if that has more than this many records: smaller ones are emptied on purpose, in tests and by people.
pub const TOLD_DELETE_PERCENT_ABOVE: u64 = 1_000;

/// A record that a complete read did not meet is looked for by another one after this time, or at the channel's poll
/// interval if that is shorter: long enough for an import that empties a table and fills it again, short against the
/// 30 s within which devices converge.
pub const MISSING_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Most rejected mutations or conflicts that one request lists.
pub const VERDICTS_MAX: usize = 1_000;

/// Events of the log that a server keeps in memory for `omctl logs`: at most some MB.
pub const LOG_EVENTS_KEPT: usize = 2_000;

/// Longest text of such an event, in bytes: its sentence, or one field.
pub const LOG_TEXT_BYTES_MAX: usize = 1_024;

/// Events that a reader of the log gets at a time.
pub const LOG_EVENTS_AT_ONCE: usize = 256;

/// Most readers who follow the log at the same time: each is an open connection.
pub const LOG_READERS_MAX: usize = 16;

/// Life of an access token.
pub const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// How long a rotated refresh token still brings the same successor for the same device key (a lost answer).
pub const REFRESH_GRACE: Duration = Duration::from_secs(60);

/// Life of a refresh token that is not used.
pub const REFRESH_TOKEN_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Life of an activation code.
pub const ACTIVATION_CODE_LIFE: Duration = Duration::from_secs(600);

/// Activation tries per minute and address (attack C13).
pub const ACTIVATIONS_PER_MINUTE: u32 = 10;

/// Wrong tries that burn a targeted activation code (attack C13).
pub const ACTIVATION_MISSES_MAX: u32 = 5;

/// Life of a server nonce.
pub const NONCE_LIFE: Duration = Duration::from_secs(120);

/// Time from revocation to closed sockets (attack C17), and the period of the check behind it.
pub const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// How long an operator's write waits for its receipt: shorter than the command line waits for an answer.
pub const ORDER_WITHIN: Duration = Duration::from_secs(30);

/// Drain time at shutdown before what is left is dropped.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Orders to one device that are kept, for whoever asks what became of them: a server that was set back makes new ones as
/// often as the device says that it has done more.
pub const COMMANDS_KEPT: u32 = 100;

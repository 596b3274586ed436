//! The SQL text of tables, triggers and views: from a channel's schema to statements, and nothing is executed here.
//!
//! The triggers are plain SQL, because any SQLite may write the file. A statement inside a trigger takes over the
//! conflict clause of the statement that fired it (<https://sqlite.org/lang_createtrigger.html>), so none here relies
//! on one of its own: where a row may exist, `WHERE NOT EXISTS` says so.

use omctl_protocol::{ChannelName, ChannelSchema, Field, RECORD_ID_BYTES_MAX, Value};

/// Milliseconds since 1970, in plain SQL. A SQLite before 3.42 knows no `subsec` and answers NULL: then whole seconds.
const NOW_MS: &str = "CAST(round(coalesce(unixepoch('subsec'), unixepoch()) * 1000) AS INTEGER)";

/// A new UUIDv7 in text form, in plain SQL.
fn uuid_v7() -> String {
    format!(
        "lower(substr(printf('%012x', {NOW_MS}), 1, 8) || '-' || substr(printf('%012x', {NOW_MS}), 9, 4) || '-7' \
         || substr(hex(randomblob(2)), 2) || '-' \
         || substr('89AB', 1 + instr('0123456789ABCDEF', substr(hex(randomblob(1)), 1, 1)) % 4, 1) \
         || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
    )
}

/// The tables that exist once in a file.
pub(crate) const INTERNAL: &str = "
CREATE TABLE IF NOT EXISTS om_state (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- The one order of all captures (n), the group of the library transaction now open (grp), and the last group given.
CREATE TABLE IF NOT EXISTS om_sequence (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL, grp INTEGER, groups INTEGER NOT NULL);
INSERT INTO om_sequence (one, n, grp, groups) SELECT 1, 0, NULL, 0 WHERE NOT EXISTS (SELECT 1 FROM om_sequence);
-- Every version of a channel's fields that rows or mutations may name; one of them is current.
CREATE TABLE IF NOT EXISTS om_channels (channel TEXT NOT NULL, version INTEGER NOT NULL, schema TEXT NOT NULL,
    current INTEGER NOT NULL, filled INTEGER NOT NULL, PRIMARY KEY (channel, version)) WITHOUT ROWID;
-- A scope that is held, or (gaining = 1) whose content replaces what is held at the next commit. progress: everything
-- up to here is durable in a hidden table or in om_stage. sum, expected: 16 bytes, ours and the server's. reconcile: what
-- is held is in doubt, and the next hello gives its slice sums.
CREATE TABLE IF NOT EXISTS om_scopes (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, channel TEXT NOT NULL,
    gaining INTEGER NOT NULL, progress INTEGER, sum BLOB NOT NULL, expected BLOB, reconcile INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS om_stage (n INTEGER PRIMARY KEY, scope INTEGER NOT NULL, line TEXT NOT NULL);
-- Sealed mutations without a receipt. payload: the JSON text exactly as it is sent.
CREATE TABLE IF NOT EXISTS om_outbox (seq INTEGER PRIMARY KEY, mutation TEXT NOT NULL UNIQUE, channel TEXT NOT NULL,
    record TEXT NOT NULL, op INTEGER NOT NULL, grp INTEGER, payload TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS om_outbox_record ON om_outbox (channel, record, seq);
CREATE INDEX IF NOT EXISTS om_outbox_grp ON om_outbox (grp);
-- Mutations with a receipt, for the restore window. at_ms: this device's clock when the receipt came. n: the order of
-- their coming, in which each stands behind what it builds on.
CREATE TABLE IF NOT EXISTS om_settled (mutation TEXT PRIMARY KEY, grp INTEGER, at_ms INTEGER NOT NULL,
    payload TEXT NOT NULL, receipt TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS om_settled_grp ON om_settled (grp);
-- Mutations that were rejected, by the server or (seq NULL) already here, until the app retries or discards them.
CREATE TABLE IF NOT EXISTS om_rejected (mutation TEXT PRIMARY KEY, seq INTEGER, grp INTEGER, at_ms INTEGER NOT NULL,
    payload TEXT NOT NULL, code TEXT NOT NULL, message TEXT, field TEXT) WITHOUT ROWID;
-- Groups of which the server shall apply everything or nothing, until they are sealed.
CREATE TABLE IF NOT EXISTS om_atomic (grp INTEGER PRIMARY KEY);
-- A group whose write went into a mutation that an earlier group began.
CREATE TABLE IF NOT EXISTS om_joined (grp INTEGER NOT NULL, mutation TEXT NOT NULL, PRIMARY KEY (grp, mutation)) WITHOUT ROWID;
-- Counts the changes of a channel's table, for live queries of every process.
CREATE TABLE IF NOT EXISTS om_dirty (channel TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
";

/// A quoted SQL identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted SQL string.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// The names of one channel's tables, quoted.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) table: String,
    pub(crate) base: String,
    pub(crate) cap: String,
    pub(crate) row: String,
    pub(crate) fill: String,
    pub(crate) fill_row: String,
}

impl Names {
    pub(crate) fn of(channel: &ChannelName) -> Self {
        let with = |prefix: &str| quote(&format!("{prefix}{channel}"));
        Self {
            table: with(""),
            base: with("om_base_"),
            cap: with("om_cap_"),
            row: with("om_row_"),
            fill: with("om_fill_"),
            fill_row: with("om_fillrow_"),
        }
    }
}

/// The app's table, under its own name or the hidden one.
pub(crate) fn create_table(schema: &ChannelSchema, name: &str) -> String {
    let mut sql = format!("CREATE TABLE {name} (id TEXT PRIMARY KEY DEFAULT ({})", uuid_v7());
    for field in &schema.fields {
        sql += &format!(", {} {}{}", quote(&field.name), field.kind.sqlite_type(), default_clause(field));
    }
    sql + ");"
}

fn default_clause(field: &Field) -> String {
    let literal = match field.default.as_ref().map(|json| field.kind.from_json(json)) {
        Some(Ok(Value::Bool(truth))) => i64::from(truth).to_string(),
        Some(Ok(Value::Int(number))) => number.to_string(),
        Some(Ok(Value::Float(number))) => format!("{number:e}"),
        Some(Ok(Value::Text(value))) => text(&value),
        Some(Ok(Value::Bytes(bytes))) => {
            format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        // The server checked the default; one that this client cannot read is the server's to fill in.
        None | Some(Ok(Value::Null) | Err(_)) => return String::new(),
    };
    format!(" DEFAULT ({literal})")
}

/// The server's row of each record that has pending changes. It has the defaults of the app's table: a row of an older
/// version says nothing of a field that is new.
pub(crate) fn create_base(schema: &ChannelSchema, name: &str) -> String {
    let column = |f: &Field| format!(", {} {}{}", quote(&f.name), f.kind.sqlite_type(), default_clause(f));
    let columns: String = schema.fields.iter().map(column).collect();
    format!("CREATE TABLE {name} (id TEXT PRIMARY KEY, om_present INTEGER NOT NULL{columns}) WITHOUT ROWID;")
}

/// What triggers write: one row a change, with typed old and new columns (JSON could hold neither blobs nor all numbers).
pub(crate) fn create_cap(schema: &ChannelSchema, name: &str) -> String {
    let mut sql = format!(
        "CREATE TABLE {name} (n INTEGER PRIMARY KEY, op INTEGER NOT NULL, id TEXT NOT NULL, grp INTEGER, \
         at INTEGER DEFAULT ({NOW_MS}), rnd BLOB DEFAULT (randomblob(10))"
    );
    for side in ["o_", "n_"] {
        for field in &schema.fields {
            sql += &format!(", {} {}", quote(&format!("{side}{}", field.name)), field.kind.sqlite_type());
        }
    }
    sql + ");"
}

/// Which scopes hold a record, and the hash of what they hold. v: the schema version whose body was hashed, 0 where a
/// file older than this column does not know it.
pub(crate) fn create_row(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (id TEXT NOT NULL, scope INTEGER NOT NULL, life INTEGER NOT NULL, hash BLOB NOT NULL, \
         v INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (id, scope)) WITHOUT ROWID;"
    )
}

/// Finds the tables of a file that was made before a column existed.
pub(crate) const OLDER_TABLES: &str = "
SELECT 'ALTER TABLE om_scopes ADD COLUMN reconcile INTEGER NOT NULL DEFAULT 0;'
WHERE NOT EXISTS (SELECT 1 FROM pragma_table_info('om_scopes') WHERE name = 'reconcile')
UNION ALL
SELECT 'ALTER TABLE om_settled ADD COLUMN n INTEGER NOT NULL DEFAULT 0;'
WHERE NOT EXISTS (SELECT 1 FROM pragma_table_info('om_settled') WHERE name = 'n')
UNION ALL
SELECT 'ALTER TABLE \"' || s.name || '\" ADD COLUMN v INTEGER NOT NULL DEFAULT 0;' FROM sqlite_schema AS s
WHERE s.type = 'table' AND (s.name GLOB 'om_row_*' OR s.name GLOB 'om_fillrow_*')
AND NOT EXISTS (SELECT 1 FROM pragma_table_info(s.name) WHERE name = 'v')";

/// An index on each reference, under names of our own.
pub(crate) fn create_indexes(schema: &ChannelSchema) -> String {
    let table = quote(schema.channel.as_str());
    let refs = schema.fields.iter().filter(|field| field.to.is_some());
    refs.map(|field| {
        let index = quote(&format!("om_ix_{}_{}", schema.channel, field.name));
        format!("CREATE INDEX {index} ON {table} ({});\n", quote(&field.name))
    })
    .collect()
}

/// Field names, quoted, each after the same prefix.
fn list(schema: &ChannelSchema, prefix: &str) -> String {
    schema.fields.iter().map(|field| format!(", {prefix}{}", quote(&field.name))).collect()
}

fn capture_columns(schema: &ChannelSchema, side: &str) -> String {
    schema.fields.iter().map(|field| format!(", {}", quote(&format!("{side}{}", field.name)))).collect()
}

/// The triggers of the app's table.
pub(crate) fn create_triggers(schema: &ChannelSchema) -> String {
    let Names { table, base, cap, .. } = Names::of(&schema.channel);
    let channel = &schema.channel;
    let name = |event: &str| quote(&format!("om_{channel}_{event}"));
    let (fields, old, new) = (list(schema, ""), list(schema, "OLD."), list(schema, "NEW."));
    let (cap_old, cap_new) = (capture_columns(schema, "o_"), capture_columns(schema, "n_"));
    let count = format!(
        "UPDATE om_sequence SET n = n + 1; UPDATE om_dirty SET n = n + 1 WHERE channel = {};",
        text(channel.as_str())
    );
    let keep_old = format!(
        "INSERT INTO {base} (id, om_present{fields}) SELECT OLD.id, 1{old} \
         WHERE NOT EXISTS (SELECT 1 FROM {base} WHERE id = OLD.id);"
    );
    let (update_guard, insert_guard) = guards(schema, &base);
    let changed: String = schema.fields.iter().map(|f| format!(" OR OLD.{0} IS NOT NEW.{0}", quote(&f.name))).collect();
    format!(
        "CREATE TRIGGER {before_insert} BEFORE INSERT ON {table} BEGIN
  SELECT RAISE(ABORT, 'the id of a record must be text') WHERE typeof(NEW.id) <> 'text';
  INSERT INTO {base} (id, om_present{fields}) SELECT id, 1{fields} FROM {table} WHERE id = NEW.id
    AND NOT EXISTS (SELECT 1 FROM {base} WHERE id = NEW.id);
END;
CREATE TRIGGER {insert} AFTER INSERT ON {table} BEGIN
  SELECT RAISE(ABORT, 'the id of a record is empty or too long')
    WHERE length(CAST(NEW.id AS BLOB)) NOT BETWEEN 1 AND {RECORD_ID_BYTES_MAX};
  {insert_guard}
  {count}
  INSERT INTO {cap} (n, op, id, grp{cap_new}) SELECT n, 1, NEW.id, grp{new} FROM om_sequence;
  INSERT INTO {base} (id, om_present) SELECT NEW.id, 0 WHERE NOT EXISTS (SELECT 1 FROM {base} WHERE id = NEW.id);
END;
CREATE TRIGGER {update} AFTER UPDATE ON {table} WHEN OLD.id IS NOT NEW.id{changed} BEGIN
  SELECT RAISE(ABORT, 'the id of a record never changes') WHERE OLD.id IS NOT NEW.id;
  {update_guard}
  {keep_old}
  {count}
  INSERT INTO {cap} (n, op, id, grp{cap_old}{cap_new}) SELECT n, 2, NEW.id, grp{old}{new} FROM om_sequence;
END;
CREATE TRIGGER {delete} AFTER DELETE ON {table} BEGIN
  {keep_old}
  {count}
  INSERT INTO {cap} (n, op, id, grp{cap_old}) SELECT n, 3, OLD.id, grp{old} FROM om_sequence;
END;
",
        before_insert = name("before_insert"),
        insert = name("insert"),
        update = name("update"),
        delete = name("delete"),
    )
}

/// Statements that abort a change of a key field or of a field that only the server writes.
fn guards(schema: &ChannelSchema, base: &str) -> (String, String) {
    let (mut update, mut insert) = (String::new(), String::new());
    for field in &schema.fields {
        let key = schema.is_key_field(&field.name);
        if !key && !field.read_only {
            continue;
        }
        let why = if key { "is part of the key and never changes" } else { "is written by the server only" };
        let (name, message) = (quote(&field.name), text(&format!("`{}.{}` {why}", schema.channel, field.name)));
        update += &format!("SELECT RAISE(ABORT, {message}) WHERE OLD.{name} IS NOT NEW.{name};\n  ");
        // INSERT OR REPLACE of an existing record: NULL means that the app does not know the value.
        insert += &format!(
            "SELECT RAISE(ABORT, {message}) WHERE NEW.{name} IS NOT NULL AND EXISTS \
             (SELECT 1 FROM {base} WHERE id = NEW.id AND om_present = 1 AND {name} IS NOT NEW.{name});\n  "
        );
    }
    (update, insert)
}

/// The view that shows a channel's rows as the backend spells them: its key, its column names, its references.
/// `target` finds the schema of a referenced channel, where this device has it.
pub(crate) fn create_backend_view<'a>(
    schema: &'a ChannelSchema,
    target: impl Fn(&ChannelName) -> Option<&'a ChannelSchema>,
) -> String {
    let view = quote(&format!("backend_{}", schema.channel));
    let mut columns: Vec<String> = Vec::new();
    for key in schema.key.columns.iter().filter(|key| key.field.is_none()) {
        columns.push(format!("r.id AS {}", quote(&key.column)));
    }
    for field in &schema.fields {
        let name = quote(&field.name);
        let shown = field.to.as_ref().and_then(&target).and_then(|to| Some((to, single_key_field(to)?)));
        let value = match shown {
            Some((to, key)) => format!(
                "COALESCE((SELECT t.{} FROM {} AS t WHERE t.id = r.{name}), r.{name})",
                quote(key),
                quote(to.channel.as_str())
            ),
            None => format!("r.{name}"),
        };
        columns.push(format!("{value} AS {}", quote(field.column())));
    }
    if columns.is_empty() {
        columns.push("r.id".to_owned());
    }
    format!(
        "DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS SELECT {} FROM {} AS r;",
        columns.join(", "),
        quote(schema.channel.as_str())
    )
}

/// The field that shows the key, where the key is one column and not the id itself.
fn single_key_field(schema: &ChannelSchema) -> Option<&str> {
    match schema.key.columns.as_slice() {
        [only] => only.field.as_deref(),
        _ => None,
    }
}

//! What tables a live database has, in the terms a channel is written in. Pure reading.
//!
//! The declared type of a column is only half of the answer where a database does not hold its values to it: the data is
//! looked at too. *Invariant:* nothing here writes YAML or knows the project.

mod sqlite;

pub use sqlite::{key_fits as sqlite_key_fits, tables as sqlite};

use omctl_protocol::value::Value;
use omctl_protocol::{AssignedBy, FieldType};

/// Rows of a table that are looked at before a type is believed.
pub const SAMPLE_ROWS: usize = 10_000;

/// One table or view.
#[derive(Clone, Debug, PartialEq)]
pub struct TableShape {
    /// Its name.
    pub name: String,
    /// Whether it is a view: it has no key of its own and is not written.
    pub is_view: bool,
    /// Whether a module of the database makes its rows up (a full-text index, for example); its columns are not looked at.
    pub is_virtual: bool,
    /// The columns that identify a row, in their order; empty where nothing does.
    pub key: Vec<String>,
    /// Who seems to make a new row's key; `None` where there is no key.
    pub assigned_by: Option<AssignedBy>,
    /// Its columns in their order.
    pub columns: Vec<ColumnShape>,
    /// What to know, in sentences: values that are not of their column's type, a type that was taken from the data, …
    pub notes: Vec<String>,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnShape {
    /// Its name.
    pub name: String,
    /// Its type as declared, in the database's words.
    pub declared: String,
    /// The field type; [`FieldType::Ref`] where [`ColumnShape::references`] is there.
    pub kind: FieldType,
    /// The type of the values beneath a reference; otherwise the same as [`ColumnShape::kind`].
    pub base: FieldType,
    /// Longest text in characters, where the declaration says so and the data keeps to it.
    pub max_length: Option<u32>,
    /// Whether the database refuses NULL and does not fill the column in by itself.
    pub required: bool,
    /// Its default, where that is a constant; canonical.
    pub default: Option<Value>,
    /// Whether the database alone writes it.
    pub read_only: bool,
    /// The row of another (or the same) table that it names.
    pub references: Option<Reference>,
    /// Of an enum: the words that the database takes.
    pub values: Vec<String>,
    /// What else the database demands of this column alone, in its own words.
    pub checks: Vec<String>,
}

/// Whether columns tell the rows of a table apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFit {
    /// Each row has a value of its own there.
    Unique,
    /// So many rows have NULL in one of them.
    Null(u64),
    /// So many values stand in more than one row.
    Shared(u64),
}

/// The target of a reference: a table whose key is this one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The table.
    pub table: String,
    /// Its key column.
    pub column: String,
}

impl TableShape {
    /// Whether a row can be identified: without that a table is no channel.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&ColumnShape> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

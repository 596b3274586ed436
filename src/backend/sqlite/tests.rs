//! The contract suite over both modes, and what only SQLite can do.

//! The edge.
pub mod drive;

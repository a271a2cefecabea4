//! One row per kind of error.

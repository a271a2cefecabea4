//! One file per verb of `lb`.

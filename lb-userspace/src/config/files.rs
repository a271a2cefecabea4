//! The files that checks name, held against this machine. Pure; whoever has a file system looks at them.

use super::report::{Error, Findings};
use super::{CheckKind, Loaded, Span};

/// A file that a check names and can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Where it is named; `None` where the check itself is meant.
    pub place: Option<Span>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub mend: String,
}

/// Reports what `look` finds wrong with the files of each check.
///
/// # Errors
/// All of it, at its places in the file.
pub fn check_files(loaded: &Loaded, look: impl Fn(&CheckKind) -> Vec<Unusable>) -> Result<(), Error> {
    let Loaded { config, places, .. } = loaded;
    let pools = config.pools.iter().zip(&places.pools);
    let pools = pools.map(|(pool, places)| (&pool.checks, &pool.reals, &places.header));
    // A pool's checks are its services' too.
    let own = config.services.iter().zip(&places.services).filter(|(service, _)| service.pool.is_none());
    let own = own.map(|(service, places)| (&service.checks, &service.reals, &places.header));
    let mut findings = Findings::default();
    for (checks, reals, header) in pools.chain(own) {
        let of_one_real = reals.iter().filter_map(|real| real.checks.as_ref());
        for check in checks.iter().chain(of_one_real.flat_map(|checks| checks.iter())) {
            for Unusable { place, message, mend } in look(&check.kind) {
                findings.report(place.unwrap_or_else(|| header.clone()), message, mend);
            }
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(findings.into_error(loaded.source.clone())) }
}

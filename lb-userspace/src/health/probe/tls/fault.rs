//! What can be wrong with a TLS session, in words.

use std::io;
use std::time::Duration;

use tokio_rustls::rustls::{CertificateError, Error};

use super::DAY;
use crate::config::short;

/// Why a TLS session wasn't good. The texts are shown to people as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its certificate was good once.
    #[error("certificate ended {} ago", days(*.0))]
    Ended(Duration),
    /// Sooner than the check wants.
    #[error("certificate ends in {}", days(*.0))]
    Ends(Duration),
    /// Its certificate will be good.
    #[error("certificate begins in {}: is this director's or the real's clock wrong?", days(*.0))]
    Begins(Duration),
    /// It is another's certificate.
    #[error("certificate is for {presented}, not {expected}")]
    Name {
        /// What was asked for.
        expected: String,
        /// The names that it has.
        presented: String,
    },
    /// Nobody vouches for it.
    #[error("certificate is signed by nobody that the check trusts: name its authority in `ca`")]
    Issuer,
    /// It isn't one that can be read.
    #[error("certificate can't be read")]
    Unreadable,
    /// Another fault of the certificate.
    #[error("certificate is refused: {0}")]
    Certificate(String),
    /// What came is something else.
    #[error("the answer is not TLS")]
    NotTls,
    /// The real ended it by an alert.
    #[error("the real refused the TLS session: {0}")]
    Refused(String),
    /// The real closed the connection in the middle of the handshake.
    #[error("closed in the TLS handshake")]
    Closed,
    /// The rest.
    #[error("TLS: {0}")]
    Other(String),
}

/// What an error of a TLS stream says of the real.
pub(in super::super) fn of_io(error: &io::Error) -> super::super::Fault {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return of(error).into();
    }
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code).into(),
        None => Fault::Closed.into(),
    }
}

/// Whether an error within a stream's is of TLS.
pub(in super::super) fn is_tls(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<Error>()
}

fn of(error: &Error) -> Fault {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerSentOversizedRecord => Fault::NotTls,
        Error::NoCertificatesPresented => Fault::Certificate("it sent none".to_owned()),
        Error::AlertReceived(alert) => Fault::Refused(spaced(&format!("{alert:?}"))),
        other => Fault::Other(other.to_string()),
    }
}

fn of_certificate(error: &CertificateError) -> Fault {
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            Fault::Ended(Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs())))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            Fault::Begins(Duration::from_secs(not_before.as_secs().saturating_sub(time.as_secs())))
        }
        CertificateError::NotValidForNameContext { expected, presented } => Fault::Name {
            expected: expected.to_str().into_owned(),
            presented: match presented.as_slice() {
                [] => "no name".to_owned(),
                names => names.iter().take(NAMES).map(|name| plain(name)).collect::<Vec<_>>().join(", "),
            },
        },
        CertificateError::UnknownIssuer => Fault::Issuer,
        CertificateError::BadEncoding => Fault::Unreadable,
        other => Fault::Certificate(other.to_string()),
    }
}

/// Names of a certificate that are told.
const NAMES: usize = 4;

/// `DnsName("www.example.org")`, as rustls writes them, without its wrapping.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    short(inner.trim_matches('"'))
}

/// `HandshakeFailure` as words.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for char in name.chars() {
        if char.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(char.to_lowercase());
    }
    words
}

/// Whole days, or hours where there are less than two.
fn days(length: Duration) -> String {
    let (days, hours) = (length.as_secs() / DAY.as_secs(), length.as_secs() / 3600);
    match (days, hours) {
        (2.., _) => format!("{days} days"),
        (_, 2..) => format!("{hours} hours"),
        _ => format!("{} minutes", length.as_secs() / 60),
    }
}

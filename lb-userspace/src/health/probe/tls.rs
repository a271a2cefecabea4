//! TLS around a check's connection: 1.2 and 1.3 by rustls. A real is asked for its certificate by name, or by its
//! address where the check has none; it is verified unless the check says otherwise, and its end is looked at each time.
//!
//! Sessions are resumed, which spares both sides the costly part of a handshake, but not the certificate's: one that was
//! replaced would not be seen. So what was kept is forgotten after [`RENEWED`], and whenever a handshake fails.

mod fault;
mod material;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Connection, Deadline};
use crate::config::Tls;

pub use fault::Fault;
pub(super) use fault::{is_tls, of_io};
use material::Material;
pub(super) use material::unusable;

/// How long sessions are resumed, and files are taken to be as they were.
const RENEWED: Duration = Duration::from_secs(300);

/// What the checks of one target keep from one to the next.
#[derive(Debug, Default)]
pub struct Memory {
    tls: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    config: Arc<ClientConfig>,
    /// Held for others, who share it.
    _material: Arc<Material>,
    until: Instant,
}

impl Memory {
    /// What the next session is made with.
    async fn config(&self, tls: &Tls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, super::Fault> {
        let now = Instant::now();
        if let Some(kept) = self.kept().as_ref().filter(|kept| now < kept.until) {
            return Ok(kept.config.clone());
        }
        let asked = tls.clone();
        // Files are read there, which may take its time.
        let material = tokio::task::spawn_blocking(move || Material::of(&asked)).await;
        let material = match material {
            Ok(read) => read.map_err(|fault| super::Fault::File(fault.message))?,
            Err(error) => return Err(super::Fault::File(format!("this director can't read its files: {error}"))),
        };
        let mut config = material.base.clone();
        // Sessions are this target's own: another real doesn't know them.
        config.resumption = Resumption::in_memory_sessions(1);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let config = Arc::new(config);
        *self.kept() = Some(Kept { config: config.clone(), _material: material, until: now + RENEWED });
        Ok(config)
    }

    fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session is asked with, besides the check's `tls`.
pub(super) struct Asked<'a> {
    pub(super) tls: &'a Tls,
    /// The check's host, perhaps with a port.
    pub(super) host: Option<&'a str>,
    pub(super) real: SocketAddr,
    /// Protocols within, the best first.
    pub(super) alpn: &'a [&'a [u8]],
}

/// Makes a session on this connection.
pub(super) async fn wrap(
    stream: Connection,
    asked: &Asked<'_>,
    memory: &Memory,
    deadline: &Deadline,
) -> Result<TlsStream<Connection>, super::Fault> {
    let made = shake(stream, asked, memory, deadline).await;
    if made.is_err() {
        memory.forget();
    }
    made
}

async fn shake(
    stream: Connection,
    asked: &Asked<'_>,
    memory: &Memory,
    deadline: &Deadline,
) -> Result<TlsStream<Connection>, super::Fault> {
    let config = memory.config(asked.tls, asked.alpn).await?;
    let name = name(asked);
    let session = timeout_at(deadline.at, TlsConnector::from(config).connect(name, stream)).await;
    let session = session.map_err(|_| super::Fault::Shaking(deadline.timeout))?.map_err(|error| of_io(&error))?;
    let (_, state) = session.get_ref();
    tracing::trace!(real = %asked.real, resumed = state.handshake_kind() == Some(HandshakeKind::Resumed), "TLS");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    judge_end(asked.tls, state.peer_certificates().and_then(|chain| chain.first()), now)?;
    Ok(session)
}

/// The name that the certificate is to be for.
fn name(asked: &Asked<'_>) -> ServerName<'static> {
    let host = asked.host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    });
    let names = asked.tls.sni.as_deref().into_iter().chain(host);
    let mut read = names.filter_map(|name| ServerName::try_from(name.to_owned()).ok());
    read.next().unwrap_or_else(|| asked.real.ip().into())
}

/// When the certificate ends. A resumed session's was verified some minutes ago.
fn judge_end(tls: &Tls, certificate: Option<&CertificateDer<'_>>, now: Duration) -> Result<(), Fault> {
    if tls.insecure && tls.certificate_days.is_none() {
        return Ok(());
    }
    let read = certificate.and_then(|der| X509Certificate::from_der(der).ok());
    let (_, read) = read.ok_or(Fault::Unreadable)?;
    let end = read.validity().not_after.timestamp();
    let left = end.saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let Ok(left) = u64::try_from(left).map(Duration::from_secs) else {
        return Err(Fault::Ended(Duration::from_secs(left.unsigned_abs())));
    };
    match tls.certificate_days {
        Some(days) if left < DAY * u32::from(days) => Err(Fault::Ends(left)),
        _ => Ok(()),
    }
}

/// A day of a certificate.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;

//! What TLS sessions are made of: the certificates that are trusted, and this director's own, from their files. Checks
//! that name the same files share what was read of them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use toml::Spanned;

use crate::config::{CheckKind, Identity, Span, Tls, Unusable};

/// Bytes of a file that are read at most: all authorities of a distribution are a quarter of a MiB.
const FILE: u64 = 4 << 20;
/// How long this machine's own list of authorities is taken to be as it was.
const OWN_LIST: Duration = Duration::from_secs(3600);

/// What is wrong with the files that a check's TLS names, as they are now.
pub(in super::super) fn unusable(kind: &CheckKind) -> Vec<Unusable> {
    kind.tls().and_then(|tls| Material::of(tls).err()).into_iter().collect()
}

/// What sessions begin with.
#[derive(Debug)]
pub(super) struct Material {
    /// Without sessions to resume.
    pub(super) base: ClientConfig,
    stamps: Vec<Option<Stamp>>,
    read: Instant,
}

/// What tells that a file was changed: device, number, size, and when, in nanoseconds too.
type Stamp = (u64, u64, u64, i64, i64);

static SHARED: LazyLock<Mutex<HashMap<Tls, Weak<Material>>>> = LazyLock::new(Mutex::default);

impl Material {
    /// Of these files, as they are now.
    pub(super) fn of(tls: &Tls) -> Result<Arc<Self>, Unusable> {
        // What isn't of the files is no difference.
        let key = Tls { sni: None, certificate_days: None, ..tls.clone() };
        let stamps: Vec<Option<Stamp>> = paths(&key).map(stamp).collect();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |held: &Material| {
            held.stamps == stamps && (key.ca.is_some() || key.insecure || held.read.elapsed() < OWN_LIST)
        };
        if let Some(held) = shared.get(&key).and_then(Weak::upgrade).filter(|held| is_fresh(held)) {
            return Ok(held);
        }
        let made = Arc::new(Self { base: base(&key)?, stamps, read: Instant::now() });
        shared.retain(|_, held| held.strong_count() > 0);
        shared.insert(key, Arc::downgrade(&made));
        Ok(made)
    }
}

fn paths(tls: &Tls) -> impl Iterator<Item = &Path> {
    let own = tls.identity.iter().flat_map(|Identity { cert, key }| [cert, key]);
    tls.ca.iter().chain(own).map(|path| path.get_ref().as_path())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

fn base(tls: &Tls) -> Result<ClientConfig, Unusable> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(tls, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(None, format!("TLS can't be set up: {error}"), "report this"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(Identity { cert, key }) = &tls.identity else { return Ok(config.with_no_client_auth()) };
    let chain = certificates(cert)?;
    let (path, text) = (key.get_ref().display(), read(key)?);
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let message = format!("{path} has no private key in PEM that can be used");
        fault(key.span(), message, "write an unencrypted one: PKCS #8 (BEGIN PRIVATE KEY), RSA or EC")
    })?;
    config.with_client_auth_cert(chain, secret).map_err(|error| match error {
        Error::InconsistentKeys(_) => fault(
            key.span(),
            format!("{path} is not the key of {}", cert.get_ref().display()),
            "name the two that belong together",
        ),
        error => fault(key.span(), format!("{path} can't be used: {error}"), "write an RSA, ECDSA or Ed25519 key"),
    })
}

fn verifier(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Unusable> {
    if tls.insecure {
        return Ok(Arc::new(Anybody(provider.clone())));
    }
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| {
                    let message =
                        format!("{} has a certificate that can't vouch for others: {error}", file.get_ref().display());
                    fault(file.span(), message, "name the file of the authority's own certificate")
                })?;
            }
        }
        // Some of a distribution's may be of kinds that aren't known here.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        let mend = "install ca-certificates, or write ca = \"/path/ca.pem\", or insecure = true";
        return Err(fault(None, "this machine trusts no authority of certificates".to_owned(), mend));
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    built
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| fault(None, format!("certificates can't be verified: {error}"), "report this"))
}

/// All certificates of a file, at least one.
fn certificates(file: &Spanned<PathBuf>) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let text = read(file)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let path = file.get_ref().display();
    let message = match read {
        Ok(all) if !all.is_empty() => return Ok(all),
        Ok(_) => format!("{path} has no certificate in PEM"),
        Err(error) => format!("{path} is not whole PEM: {error}"),
    };
    Err(fault(file.span(), message, "a certificate is what stands from -----BEGIN CERTIFICATE----- to its END"))
}

fn read(file: &Spanned<PathBuf>) -> Result<Vec<u8>, Unusable> {
    const MEND: &str = "name a file in PEM that the agent may read";
    let path = file.get_ref();
    let fails = |why: String| fault(file.span(), format!("{} {why}", path.display()), MEND);
    let about = fs::metadata(path).map_err(|error| fails(format!("can't be read: {error}")))?;
    if !about.is_file() {
        return Err(fails("is not a file".to_owned()));
    }
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE + 1).read_to_end(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > FILE => Err(fails(format!("is larger than {} MiB", FILE >> 20))),
        Ok(_) => Ok(text),
        Err(error) => Err(fails(format!("can't be read: {error}"))),
    }
}

fn fault(place: impl Into<Option<Span>>, message: String, mend: &str) -> Unusable {
    Unusable { place: place.into(), message, mend: mend.to_owned() }
}

/// Takes any certificate, but only from who has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

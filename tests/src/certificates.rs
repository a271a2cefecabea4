//! Authorities and their certificates, for servers that checks ask by TLS. (The unit tests of `lb-userspace` have this
//! file too, by its path.)

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, Error, IsCa, KeyPair, date_time_ymd};

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, both in PEM.
pub struct Issued {
    /// The certificate alone.
    pub cert: String,
    /// PKCS #8.
    pub key: String,
}

impl Authority {
    /// A new one of this name.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for these names and addresses, good from `days.0` to `days.1` days from now, both and half
    /// a day: so a test that takes a moment sees whole days.
    ///
    /// # Errors
    /// A name is none.
    pub fn issue(&self, names: &[&str], days: (i64, i64)) -> Result<Issued, Error> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let at = |days: i64| {
            let seconds = now.saturating_add_signed((2 * days + 1) * 12 * 60 * 60);
            date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        (params.not_before, params.not_after) = (at(days.0), at(days.1));
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.0)?;
        Ok(Issued { cert: cert.pem(), key: key.serialize_pem() })
    }
}

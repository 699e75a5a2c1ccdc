//! Whom we trust: the system's authorities, and for one host those of its `certs.d` directories.
//!
//! ```text
//! /etc/docker/certs.d/HOST[:PORT]/     *.crt             authorities, beside the system's
//! /etc/containers/certs.d/...          *.cert and *.key  what we show to the host, of the same name
//! /etc/mycontainer/certs.d/...         [docs.docker.com, certificates; containers-certs.d(5)]
//! ```
//!
//! Nothing of it is read before the first connection that needs it: the system's bundle alone has some 140
//! certificates.

use crate::environment::Environment;
use crate::error::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

/// What one host has of its own.
#[derive(Clone, Default)]
pub(crate) struct HostCertificates {
    authorities: Vec<Certificate<'static>>,
    client: Option<ClientCert>,
}

/// The directories of a host that may be there.
fn directories(environment: &Environment, authority: &str) -> Vec<PathBuf> {
    // Docker keeps Docker Hub's under the name that people write.
    let name = if authority == "registry-1.docker.io" { "docker.io" } else { authority };
    let system = ["docker", "containers", "mycontainer"].map(|tool| environment.etc(&format!("{tool}/certs.d/{name}")));
    let user = ["containers", "mycontainer"].map(|tool| environment.config(&format!("{tool}/certs.d/{name}")));
    system.into_iter().chain(user.into_iter().flatten()).collect()
}

impl HostCertificates {
    /// What is there for a host; `None` when nothing is.
    pub(crate) fn of(environment: &Environment, authority: &str) -> Result<Option<HostCertificates>, Error> {
        let mut found = HostCertificates::default();
        for directory in directories(environment, authority) {
            found.add(&directory)?;
        }
        Ok((!found.authorities.is_empty() || found.client.is_some()).then_some(found))
    }

    fn add(&mut self, directory: &Path) -> Result<(), Error> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if crate::config::absent(&error) => return Ok(()),
            Err(source) => return Err(Error::ReadFile { path: directory.to_owned(), source }),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.extend(certificates(&path)?.iter().map(own)),
                Some("cert") => self.client = Some(client(&path)?),
                _ => {}
            }
        }
        Ok(())
    }
}

fn own(certificate: &CertificateDer<'static>) -> Certificate<'static> {
    Certificate::from_der(certificate).to_owned()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::ReadFile { path: path.to_owned(), source })?;
    let bad = |why: String| Error::Certificate { path: path.to_owned(), why };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| bad(error.to_string()))?;
    if found.is_empty() { Err(bad("it holds no certificate in PEM".to_owned())) } else { Ok(found) }
}

/// A certificate and its key.
fn client(path: &Path) -> Result<ClientCert, Error> {
    let chain = certificates(path)?;
    let key_path = path.with_extension("key");
    let bad = |why: String| Error::Certificate { path: key_path.clone(), why };
    let bytes = std::fs::read(&key_path).map_err(|source| Error::ReadFile { path: key_path.clone(), source })?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    // Asked here, since the HTTP client panics on a key that is not the certificate's.
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| bad(error.to_string()))?.with_root_certificates(rustls::RootCertStore::empty());
    config.with_client_auth_cert(chain.clone(), key).map_err(|error| bad(error.to_string()))?;
    let key = PrivateKey::from_pem(&bytes).map_err(|error| bad(error.to_string()))?;
    Ok(ClientCert::new_with_certs(&chain.iter().map(own).collect::<Vec<_>>(), key))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The system's authorities. None at all is no error: a host may have its own.
pub(crate) fn system(environment: &Environment) -> Vec<Certificate<'static>> {
    let file = environment.get("SSL_CERT_FILE").map(Path::new);
    let directory = environment.get("SSL_CERT_DIR").map(Path::new);
    let loaded = match (file, directory) {
        (None, None) => rustls_native_certs::load_native_certs(),
        (file, directory) => rustls_native_certs::load_certs_from_paths(file, directory),
    };
    loaded.certs.iter().map(own).collect()
}

/// Where was looked, for the message.
pub(crate) fn looked(environment: &Environment, authority: &str) -> String {
    let own = directories(environment, authority).into_iter().map(|path| path.display().to_string());
    let system =
        environment.get("SSL_CERT_FILE").or(environment.get("SSL_CERT_DIR")).unwrap_or("the system's authorities");
    own.chain([system.to_owned()]).collect::<Vec<_>>().join(", ")
}

/// How to speak TLS to one host; `None` for the system's: who the host is does not matter.
pub(crate) fn config(system: Option<&[Certificate<'static>]>, host: Option<&HostCertificates>) -> TlsConfig {
    let mut roots = system.unwrap_or_default().to_vec();
    roots.extend(host.iter().flat_map(|host| host.authorities.iter().cloned()));
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider())
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .disable_verification(system.is_none())
        .client_cert(host.and_then(|host| host.client.clone()))
        .build()
}

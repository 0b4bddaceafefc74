//! The environment and the system → the certificates that servers are trusted by.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` say all, as they do to OpenSSL. Otherwise the system's
//! certificates are trusted, which hold those of a user's own network, and Mozilla's, without which
//! nothing could be fetched in a container that has none.

use super::Fault;
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use ureq::tls::{Certificate, RootCerts};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Loads them; tens of milliseconds, so only where there is something secure to be fetched.
///
/// *Errors* when a variable names something without certificates.
pub fn load() -> Result<RootCerts, Fault> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let mut trusted = named(variable("SSL_CERT_FILE"), variable("SSL_CERT_DIR"))?;
    if trusted.is_empty() {
        // What the system has and cannot be read is no reason not to use what can.
        trusted = owned(&load_native_certs());
        trusted.extend(TLS_SERVER_ROOT_CERTS.iter().map(|root| Certificate::from_der(root)));
    }
    Ok(RootCerts::Specific(Arc::new(trusted)))
}

/// What the variables name, which is nothing only where they are not set.
fn named(file: Option<OsString>, folders: Option<OsString>) -> Result<Vec<Certificate<'static>>, Fault> {
    let mut trusted = Vec::new();
    let mut add = |variable, path: PathBuf, found: CertificateResult| {
        let cause = match found.errors.first() {
            _ if !found.certs.is_empty() => {
                trusted.extend(owned(&found));
                return Ok(());
            }
            Some(error) => error.to_string(),
            None => "there is no certificate in it".to_owned(),
        };
        Err(Fault::Certificates { variable, path, cause })
    };
    if let Some(file) = file.map(PathBuf::from) {
        let found = load_certs_from_paths(Some(&file), None);
        add("SSL_CERT_FILE", file, found)?;
    }
    for folder in folders.iter().flat_map(env::split_paths).filter(|path| !path.as_os_str().is_empty()) {
        let found = load_certs_from_paths(None, Some(&folder));
        add("SSL_CERT_DIR", folder, found)?;
    }
    Ok(trusted)
}

fn owned(found: &CertificateResult) -> Vec<Certificate<'static>> {
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(file: Option<OsString>, folders: Option<OsString>) -> String {
        named(file, folders).err().map(|fault| fault.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_variable_that_names_no_certificates_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let message = refused(Some(file.clone().into()), None);
        assert!(message.contains("SSL_CERT_FILE") && message.contains("ca.pem"), "{message}");
        std::fs::write(&file, "no certificate").unwrap();
        assert!(refused(Some(file.into()), None).contains("no certificate"));
        let message = refused(None, Some(folder.path().join("gone").into()));
        assert!(message.contains("SSL_CERT_DIR") && message.contains("gone"), "{message}");
        assert_eq!(refused(None, None), "");
    }
}

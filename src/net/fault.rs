//! What can go wrong with an address, and what ureq's errors come to.

use super::proxy::ChosenProxy;
use super::{CONNECT_TIMEOUT, MOST_REDIRECTS, StatusCode};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

/// Why an address gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("{fault}{}", after(*.tries))]
pub struct NetError {
    pub fault: Fault,
    /// How often it was tried.
    pub tries: u32,
}

fn after(tries: u32) -> String {
    if tries > 1 { format!(" (after {tries} tries)") } else { String::new() }
}

fn through(proxy: Option<&str>) -> String {
    proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"))
}

/// What went wrong with an address.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("not an address that can be asked for: {0}")]
    Address(String),
    #[error("cannot reach {host}{}: {cause}", through(.proxy.as_deref()))]
    Unreachable {
        host: String,
        /// The proxy between here and the host, and the variable that names it.
        proxy: Option<String>,
        cause: String,
    },
    #[error(
        "no secure connection to {host}: {cause}; if your network has its own certificates, \
         SSL_CERT_FILE can name them"
    )]
    Insecure { host: String, cause: String },
    #[error("cannot use {variable}, {}: {cause}", path.display())]
    Certificates { variable: &'static str, path: PathBuf, cause: String },
    #[error("{0} is not the address of a proxy, which has the form http://host:port or socks5h://host:port")]
    Proxy(&'static str),
    #[error("the proxy makes no connection to {host}: {cause}")]
    NoTunnel { host: String, cause: String },
    #[error("the connection broke off: {0}")]
    BrokenOff(String),
    #[error("the server was silent for {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error("it took more than {} seconds", .0.as_secs())]
    TooSlow(Duration),
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    #[error("the server answers with status {0}")]
    Status(StatusCode),
    #[error("more than {MOST_REDIRECTS} redirects")]
    TooManyRedirects,
    #[error("a redirect leads to {location}: {cause}")]
    Redirect { location: String, cause: String },
    #[error("its content is encoded as {0}, which was not asked for and is not known here")]
    Coding(String),
    #[error("its content cannot be unpacked: {0}")]
    Damaged(String),
    #[error("the server does not speak HTTP: {0}")]
    Protocol(String),
}

/// A fault of one try.
#[derive(Debug)]
pub(super) struct Trouble {
    pub fault: Fault,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self { fault, retry_after: None }
    }
}

impl Fault {
    /// What ureq's error, in asking `host` directly or through a proxy, comes to.
    pub(super) fn of(
        error: ureq::Error,
        host: String,
        proxy: Option<ChosenProxy>,
        silence: Duration,
    ) -> Self {
        let unreachable = |host, cause: &dyn std::fmt::Display| Self::Unreachable {
            host,
            proxy: proxy.map(|proxy| proxy.to_string()),
            cause: cause.to_string(),
        };
        match error {
            ureq::Error::Tls(cause) => Self::Insecure { host, cause: cause.to_owned() },
            ureq::Error::Rustls(cause) => Self::Insecure { host, cause: cause.to_string() },
            // What rustls finds wrong with what the server sends.
            ureq::Error::Io(cause) if cause.kind() == ErrorKind::InvalidData => {
                Self::Insecure { host, cause: cause.to_string() }
            }
            ureq::Error::Io(cause) if is_broken_off(&cause) => Self::BrokenOff(cause.to_string()),
            ureq::Error::Io(cause) => unreachable(host, &cause),
            ureq::Error::HostNotFound => unreachable(host, &"there is no such host"),
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                unreachable(host, &format_args!("no connection within {} seconds", CONNECT_TIMEOUT.as_secs()))
            }
            ureq::Error::Timeout(_) => Self::Silent(silence),
            ureq::Error::ConnectProxyFailed(cause) => Self::NoTunnel { host, cause },
            ureq::Error::BadUri(cause) => Self::Address(cause),
            ureq::Error::Http(cause) => Self::Address(cause.to_string()),
            ureq::Error::Protocol(cause) => Self::Protocol(cause.to_string()),
            error => Self::Protocol(error.to_string()),
        }
    }
}

/// Whether a connection that stood has ended.
pub(super) fn is_broken_off(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

//! An address → bytes or a stream: the one HTTP client, for the hub and for images.
//!
//! [`Client`] knows proxies, certificates, redirects, time-outs, limits and when to try again; what
//! is asked for, and what an answer means, is its callers' business. Bytes go through ureq, which
//! blocks: a thread that waits for a server costs nothing, and brings no runtime into the house.

mod address;
mod answer;
mod certificates;
mod fault;
mod forward;
mod proxy;
mod retry;
mod stream;

pub use address::{Address, content_of, file_of};
pub use answer::{Answer, Content};
pub use fault::{Fault, NetError};
pub use retry::Tries;
pub use stream::Stream;
pub use ureq::http::{StatusCode, header};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fault::Trouble;
use forward::ForwardConnector;
use proxy::Proxies;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector, RustlsConnector, SocksConnector, TcpConnector,
};
use ureq::{Agent, Proxy};

const MOST_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub address: &'a Address,
    /// The first byte that is wanted.
    pub from_byte: u64,
    /// What names the content that the first bytes are of: of another, all is wanted.
    pub if_still: Option<&'a str>,
    /// A token for the server.
    pub bearer: Option<&'a str>,
    /// How the content may be encoded on its way.
    pub coding: ContentCoding,
}

/// How content may be encoded on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentCoding {
    /// Not at all: its bytes are counted.
    Identity,
    /// As it is or, if the server must, packed by gzip.
    IdentityOrGzip,
}

impl<'a> Request<'a> {
    /// All of what an address has.
    pub fn whole(address: &'a Address, coding: ContentCoding) -> Self {
        Self { address, from_byte: 0, if_still: None, bearer: None, coding }
    }
}

/// Asks servers, with connections kept between requests.
#[derive(Debug)]
pub struct Client {
    silence: Duration,
    proxies: Proxies,
    /// One for each proxy, secure or not.
    agents: Mutex<HashMap<(Security, Option<Proxy>), Agent>>,
    certificates: OnceLock<RootCerts>,
    /// Those that have been reached before; when they are gone, they may be back soon.
    known_hosts: Mutex<HashSet<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Security {
    Plain,
    Tls,
}

impl Client {
    /// A client that gives a connection up after so long a silence. Proxies and certificates are the
    /// environment's.
    pub fn new(silence: Duration) -> Self {
        Self {
            silence,
            proxies: Proxies::from_env(),
            agents: Mutex::default(),
            certificates: OnceLock::new(),
            known_hosts: Mutex::default(),
        }
    }

    /// Asks once more whenever that may help, and gives the answer, be it a refusal or a redirect.
    ///
    /// *Errors* when there is no answer, or one that may pass has not passed.
    pub fn ask(&self, request: &Request) -> Result<Answer, NetError> {
        self.retried(self.tries(), || self.try_once(request))
    }

    /// Asks a single time, for an answer within `time`.
    ///
    /// *Errors* when there is none, or one that may pass.
    pub fn ask_once(&self, request: &Request, time: Duration) -> Result<Answer, NetError> {
        self.try_within(request, Some(time)).map_err(|trouble| NetError { fault: trouble.fault, tries: 1 })
    }

    /// The proxy that an address is asked for through, without its user and password.
    ///
    /// *Errors* when the variable that names it cannot be used.
    pub fn proxy_towards(&self, address: &Address) -> Result<Option<String>, Fault> {
        let chosen = self.proxies.towards(address)?;
        Ok(chosen.map(|chosen| format!("{}:{}", chosen.proxy.host(), chosen.proxy.port())))
    }

    /// The content of an address, wherever redirects lead, of at most `limit_bytes` and within `time`.
    ///
    /// *Errors* also when the server refuses.
    pub fn fetch(&self, address: &Address, limit_bytes: u64, time: Duration) -> Result<Vec<u8>, NetError> {
        let deadline = Instant::now() + time;
        self.retried(Tries::new(Some(deadline)), || {
            let content = self.follow(&Request::whole(address, ContentCoding::IdentityOrGzip))?.content;
            Ok(content.read_within(limit_bytes, deadline, time)?)
        })
    }

    /// A count of tries, for a caller that can make something of half an answer.
    pub fn tries(&self) -> Tries {
        Tries::new(None)
    }

    fn retried<T>(
        &self,
        mut tries: Tries,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, NetError> {
        loop {
            let Trouble { fault, retry_after } = match attempt() {
                Ok(got) => return Ok(got),
                Err(trouble) => trouble,
            };
            if !self.is_passing(&fault) || !tries.again(retry_after) {
                return Err(NetError { fault, tries: tries.made() });
            }
        }
    }

    /// Whether what failed may succeed in a while.
    fn is_passing(&self, fault: &Fault) -> bool {
        match fault {
            Fault::BrokenOff(_) | Fault::Silent(_) => true,
            Fault::Status(status) => retry::is_passing(*status),
            // A host that never was there is not waited for.
            Fault::Unreachable { host, .. } => lock(&self.known_hosts).contains(host),
            _ => false,
        }
    }

    /// Goes from redirect to redirect to what is asked for. A token goes nowhere.
    fn follow(&self, request: &Request) -> Result<Answer, Trouble> {
        let mut address = request.address.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.try_once(&Request { address: &address, bearer: None, ..*request })?;
            match answer.redirect() {
                Some(location) => address = address.join(location)?,
                None if answer.status.is_success() => return Ok(answer),
                None => return Err(Fault::Status(answer.status).into()),
            }
        }
        Err(Fault::TooManyRedirects.into())
    }

    /// Asks once; a refusal that may pass is a failure.
    fn try_once(&self, request: &Request) -> Result<Answer, Trouble> {
        self.try_within(request, None)
    }

    /// Asks once, and gives up when the answer has not begun within `time`.
    fn try_within(&self, request: &Request, time: Option<Duration>) -> Result<Answer, Trouble> {
        let Request { address, from_byte, if_still, bearer, coding } = *request;
        let chosen = self.proxies.towards(address)?;
        let proxy = chosen.map(|chosen| chosen.proxy);
        let agent = self.agent(address, proxy)?;
        let mut call = agent.get(address.request_target()).header(
            header::ACCEPT_ENCODING,
            match coding {
                ContentCoding::Identity => "identity",
                // Images are packed already; what a server keeps packed it need not unpack.
                ContentCoding::IdentityOrGzip => "identity, gzip;q=0.5",
            },
        );
        if from_byte > 0 {
            call = call.header(header::RANGE, format!("bytes={from_byte}-"));
            if let Some(validator) = if_still {
                call = call.header(header::IF_RANGE, validator);
            }
        }
        if let Some(token) = bearer {
            call = call.header(header::AUTHORIZATION, format!("Bearer {token}"));
        } else if let Some((user, password)) = address.credentials() {
            call = call.header(header::AUTHORIZATION, basic(&user, &password));
        }
        // A tunnel's connector tells the proxy by itself who we are.
        let forward = proxy.filter(|proxy| !is_secure(address) && forward::is_http(proxy.protocol()));
        if let Some(proxy) = forward.filter(|proxy| proxy.username().is_some()) {
            let [user, password] =
                [proxy.username(), proxy.password()].map(|text| text.unwrap_or_default().as_bytes());
            call = call.header(header::PROXY_AUTHORIZATION, basic(user, password));
        }
        let call = call.config().timeout_global(time).build();
        let response = call.call().map_err(|error| match (error, time) {
            (ureq::Error::Timeout(_), Some(time)) => Fault::TooSlow(time),
            (error, _) => Fault::of(error, address.host(), chosen, self.silence),
        })?;
        lock(&self.known_hosts).insert(address.host());
        if retry::is_passing(response.status()) {
            let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = asked.and_then(|value| retry::retry_after(value, SystemTime::now()));
            return Err(Trouble { fault: Fault::Status(response.status()), retry_after });
        }
        Ok(Answer::new(response, self.silence)?)
    }

    /// The agent that asks for an address, made when it is first needed.
    fn agent(&self, address: &Address, proxy: Option<&Proxy>) -> Result<Agent, Fault> {
        let is_secure =
            is_secure(address) || proxy.is_some_and(|proxy| proxy.uri().scheme_str() == Some("https"));
        let security = if is_secure { Security::Tls } else { Security::Plain };
        let key = (security, proxy.cloned());
        if let Some(agent) = lock(&self.agents).get(&key) {
            return Ok(agent.clone());
        }
        let mut tls = TlsConfig::builder();
        if security == Security::Tls {
            let certificates = match self.certificates.get() {
                Some(certificates) => certificates.clone(),
                None => self
                    .certificates
                    .get_or_init({
                        let certificates = certificates::load()?;
                        || certificates
                    })
                    .clone(),
            };
            tls = tls.root_certs(certificates);
        }
        let tls = tls.build();
        let config = |proxy| {
            Agent::config_builder()
                .tls_config(tls.clone())
                .user_agent(concat!("clipclass/", env!("CARGO_PKG_VERSION")))
                .http_status_as_error(false)
                .max_redirects(0)
                .timeout_resolve(Some(CONNECT_TIMEOUT))
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_per_read(Some(self.silence))
                .timeout_per_write(Some(self.silence))
                .proxy(proxy)
                .build()
        };
        // ureq's own chain of connectors, with the one for plain requests through a proxy.
        let connector =
            ().chain(SocksConnector::default())
                .chain(ForwardConnector { config: config(None) })
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(RustlsConnector::default());
        let config = config(proxy.cloned());
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(lock(&self.agents).entry(key).or_insert(agent).clone())
    }
}

fn is_secure(address: &Address) -> bool {
    address.url().scheme() == "https"
}

fn basic(user: &[u8], password: &[u8]) -> String {
    format!("Basic {}", BASE64_STANDARD.encode([user, b":", password].concat()))
}

/// What a thread that panicked has left is whole: all that is done under these locks is one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

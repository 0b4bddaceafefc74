//! A web server on loopback that answers as a test decides, and remembers what it was asked.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The authority that [`Server::start_tls`] has its certificate from.
pub const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tls/ca.pem");

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// The second word of the request's line.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    fn read(stream: &mut impl BufRead) -> Option<Self> {
        let mut lines = stream.lines();
        let line = lines.next()?.ok()?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        for line in lines {
            match line.ok()?.split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        Some(Self { method, target, headers })
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    length: Length,
    /// How much of the body comes.
    sent_bytes: usize,
    then: Then,
    delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Told(usize),
    /// The body ends with the connection.
    Untold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    /// The connection stays open, and nothing comes.
    BeSilent,
    /// Bytes go to and from another server.
    Tunnel(SocketAddr),
    /// There is no answer at all.
    Drop,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let (length, sent_bytes) = (Length::Told(body.len()), body.len());
        Self {
            status,
            headers: Vec::new(),
            body,
            length,
            sent_bytes,
            then: Then::Close,
            delay: Duration::ZERO,
        }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    pub fn redirect(location: impl Into<Vec<u8>>) -> Self {
        Self::new(302, "").header("Location", location)
    }

    /// A failure that passes, and may be asked for again at once.
    pub fn passing(status: u16) -> Self {
        Self::new(status, "").header("Retry-After", "0")
    }

    /// The connection ends without an answer.
    pub fn dropped() -> Self {
        Self { then: Then::Drop, ..Self::ok("") }
    }

    /// A proxy's yes to a tunnel.
    pub fn tunnel(to: SocketAddr) -> Self {
        Self { then: Then::Tunnel(to), length: Length::Untold, ..Self::ok("") }
    }

    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The connection ends after so many bytes of the body.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.sent_bytes = bytes;
        self
    }

    /// Nothing comes after so many bytes of the body.
    pub fn silent_after(mut self, bytes: usize) -> Self {
        (self.sent_bytes, self.then) = (bytes, Then::BeSilent);
        self
    }

    pub fn without_length(mut self) -> Self {
        self.length = Length::Untold;
        self
    }

    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn write(&self, stream: &mut dyn Both) -> io::Result<()> {
        thread::sleep(self.delay);
        if self.then == Then::Drop {
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} x\r\n", self.status).into_bytes();
        if let Length::Told(length) = self.length {
            head.extend(format!("Connection: close\r\nContent-Length: {length}\r\n").bytes());
        }
        for (name, value) in &self.headers {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        stream.write_all(&head)?;
        stream.write_all(&self.body[..self.sent_bytes])?;
        stream.flush()
    }
}

/// A server that is there as long as the test.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(answer, |stream, answer| answer(stream))
    }

    /// A server that proves to be 127.0.0.1 or images.example to whoever trusts [`AUTHORITY`].
    pub fn start_tls(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tls");
        let certificate = CertificateDer::from_pem_file(format!("{folder}/server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(format!("{folder}/server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        Self::serve(answer, move |stream, answer| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.try_clone().unwrap());
            answer(&mut stream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }

    fn serve(
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
        secure: impl Fn(&mut TcpStream, &dyn Fn(&mut dyn Both)) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = server.requests.clone();
        let (answer, secure) = (Arc::new(answer), Arc::new(secure));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (answer, secure, requests) = (answer.clone(), secure.clone(), requests.clone());
                // A client that goes away is none of the server's business.
                thread::spawn(move || {
                    let tcp = stream.try_clone().unwrap();
                    secure(&mut stream, &|stream| {
                        let Some(request) = Request::read(&mut BufReader::new(&mut *stream)) else { return };
                        requests.lock().unwrap().push(request.clone());
                        let answer = answer(&request);
                        let _ = answer.write(stream);
                        match answer.then {
                            Then::Close | Then::Drop => {}
                            Then::BeSilent => thread::sleep(Duration::from_secs(60)),
                            Then::Tunnel(to) => tunnel(&tcp, to),
                        }
                    });
                });
            }
        });
        server
    }

    /// The server's host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `path` at this server.
    pub fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests since this was last asked.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// The targets of the requests since this was last asked.
    pub fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }
}

/// What can be read and written.
pub trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

fn tunnel(client: &TcpStream, to: SocketAddr) {
    let server = TcpStream::connect(to).unwrap();
    thread::scope(|scope| {
        for (mut from, mut to) in [(client, &server), (&server, client)] {
            scope.spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    });
}

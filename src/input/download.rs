//! An image's address on the web → its bytes.

use super::{IMAGE_LIMIT_BYTES, ReadError};
use std::ffi::OsStr;
use std::sync::LazyLock;
use std::time::Duration;
use ureq::{Agent, Error};

const REDIRECTS: u32 = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that says nothing for so long has died; one that only trickles has until the end.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Shared by all threads, so that connections are.
static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    Agent::config_builder()
        .user_agent(concat!("clipclass/", env!("CARGO_PKG_VERSION")))
        .max_redirects(REDIRECTS)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT))
        .timeout_global(Some(WHOLE_TIMEOUT))
        .build()
        .new_agent()
});

/// Whether the user named an address and not a path.
pub(super) fn is_address(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    [&b"http://"[..], b"https://"]
        .iter()
        .any(|scheme| name.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// Fetches an image.
///
/// *Errors* of the kinds `download` and `limit`.
pub(super) fn download(address: &str) -> Result<Vec<u8>, ReadError> {
    download_within(address, IMAGE_LIMIT_BYTES)
}

fn download_within(address: &str, limit_bytes: u64) -> Result<Vec<u8>, ReadError> {
    let fetch = || {
        let mut response = AGENT.get(address).call()?;
        // The reader stops at the limit without telling whether more would come.
        response.body_mut().with_config().limit(limit_bytes + 1).read_to_vec()
    };
    let bytes = fetch().map_err(|error| match error {
        Error::BodyExceedsLimit(_) => ReadError::limit(None, limit_bytes),
        error => ReadError::new("download", reason(&error)),
    })?;
    if bytes.len() as u64 > limit_bytes { Err(ReadError::limit(None, limit_bytes)) } else { Ok(bytes) }
}

fn reason(error: &Error) -> String {
    match error {
        Error::StatusCode(status) => format!("the server answers with status {status}"),
        Error::TooManyRedirects => format!("more than {REDIRECTS} redirects"),
        Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A server on this machine that gives each connection the next answer.
    fn serve(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/a.jpg", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    fn answer(status: &str, length: usize, rest: &str) -> String {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{rest}")
    }

    fn kind_and_reason(answers: Vec<String>, limit_bytes: u64) -> (&'static str, String) {
        let error = download_within(&serve(answers), limit_bytes).unwrap_err();
        (error.kind, error.message)
    }

    #[test]
    fn an_address_is_told_from_a_path_by_its_scheme() {
        for name in ["http://a/b.jpg", "HTTPS://a"] {
            assert!(is_address(OsStr::new(name)), "{name}");
        }
        for name in ["http", "https.jpg", "http:/a", "ftp://a/b.jpg", "./http://a"] {
            assert!(!is_address(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_redirect_is_followed_to_the_image() {
        let moved = answer("302 Found", 0, "Location: /b.jpg\r\n\r\n");
        let address = serve(vec![moved, answer("200 OK", 4, "\r\nJPEG")]);
        assert_eq!(download(&address).unwrap(), b"JPEG");
    }

    #[test]
    fn redirects_that_lead_nowhere_are_given_up() {
        let moved = answer("302 Found", 0, "Location: /a.jpg\r\n\r\n");
        let (kind, reason) = kind_and_reason(vec![moved; REDIRECTS as usize + 1], 100);
        assert_eq!((kind, reason.as_str()), ("download", "more than 5 redirects"));
    }

    #[test]
    fn what_a_server_refuses_or_cuts_off_is_a_failed_download() {
        let (kind, reason) = kind_and_reason(vec![answer("404 Not Found", 0, "\r\n")], 100);
        assert_eq!((kind, reason.as_str()), ("download", "the server answers with status 404"));
        assert_eq!(kind_and_reason(vec![answer("200 OK", 9, "\r\nhalf")], 100).0, "download");
        assert_eq!(download("http://").unwrap_err().kind, "download");
    }

    #[test]
    fn an_image_beyond_the_limit_is_not_fetched() {
        assert_eq!(kind_and_reason(vec![answer("200 OK", 9, "\r\ntoo large")], 8).0, "limit");
        assert_eq!(download_within(&serve(vec![answer("200 OK", 4, "\r\nfits")]), 4).unwrap(), b"fits");
    }
}

//! Text → an address that can be asked for, as browsers read it.
//!
//! People and servers write spaces, `<`, backticks and letters of all alphabets into addresses. The
//! WHATWG's URL standard says what each of them stands for; the `url` crate implements it.

use super::Fault;
use std::fmt;
use std::path::PathBuf;
use url::Url;

/// An `http://` or `https://` address, with everything encoded that has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Reads an address as it was typed; bytes that are not UTF-8 stand for themselves.
    ///
    /// *Errors* when it has no host, or another scheme than `http` and `https`.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Fault> {
        let text = ascii(text.as_ref());
        Self::checked(Url::parse(&text).map_err(|cause| Fault::Address(cause.to_string()))?)
    }

    /// Where a `Location` leads from here.
    ///
    /// *Errors* when it is not the address of a web server.
    pub fn join(&self, location: &[u8]) -> Result<Self, Fault> {
        let location = ascii(location);
        let nowhere = |cause: String| Fault::Redirect { location: location.clone(), cause };
        let url = self.0.join(&location).map_err(|cause| nowhere(cause.to_string()))?;
        Self::checked(url).map_err(|fault| nowhere(fault.to_string()))
    }

    /// The address below this one whose path goes on with these parts; a `/` within one is encoded.
    pub fn below<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        Self(url)
    }

    /// Whether both have the same scheme, host and port: what one may see, the other may.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// Host and, where it is not the usual one, port.
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The path, encoded.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// What follows a `#`; servers never see it.
    pub fn fragment(&self) -> Option<&str> {
        self.0.fragment()
    }

    fn checked(url: Url) -> Result<Self, Fault> {
        match url.scheme() {
            "http" | "https" => Ok(Self(url)),
            scheme => Err(Fault::Address(format!("{scheme}: is not a scheme of the web"))),
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// User name and password, as they were before they were encoded.
    pub(super) fn credentials(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let password = self.0.password();
        (!self.0.username().is_empty() || password.is_some())
            .then(|| (decoded(self.0.username()), decoded(password.unwrap_or_default())))
    }

    /// What a request names: no user, no password, no fragment.
    pub(super) fn request_target(&self) -> String {
        let mut url = self.0.clone();
        url.set_fragment(None);
        // Neither fails where there is a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.into()
    }
}

/// For people: a password stays secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.request_target())
    }
}

/// The file that a `file:` address names.
///
/// *Errors* when it is on another machine, or its path is not absolute.
pub fn file_of(address: impl AsRef<[u8]>) -> Result<PathBuf, Fault> {
    let text = ascii(address.as_ref());
    let url = Url::parse(&text).map_err(|cause| Fault::Address(cause.to_string()))?;
    let refused = |cause: &str| Err(Fault::Address(cause.to_owned()));
    if !text.get(5..).is_some_and(|rest| rest.starts_with(['/', '\\'])) {
        return refused("a file: address has an absolute path, as in file:///photos/tree.jpg");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refused("? and # in the path of a file: address are written %3F and %23");
    }
    url.to_file_path().or_else(|()| refused("a file: address cannot name a file on another machine"))
}

/// The content of a `data:` address.
///
/// *Errors* when it has no comma, or what should be base64 is not.
pub fn content_of(address: &str) -> Result<Vec<u8>, Fault> {
    let refused = |cause: String| Fault::Address(cause);
    let url = data_url::DataUrl::process(address).map_err(|cause| refused(cause.to_string()))?;
    let (content, _) = url.decode_to_vec().map_err(|cause| refused(cause.to_string()))?;
    Ok(content)
}

/// Text with all bytes beyond ASCII percent-encoded, so that none of them is lost.
fn ascii(bytes: &[u8]) -> String {
    let encoded = |&byte: &u8| match byte {
        0..=127 => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(encoded).collect()
}

fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> String {
        Address::parse(text).unwrap().request_target()
    }

    #[test]
    fn what_an_address_may_not_hold_is_encoded_as_browsers_do() {
        assert_eq!(
            target("http://h/a b<c>`d`/é?q=ü x#f"),
            "http://h/a%20b%3Cc%3E%60d%60/%C3%A9?q=%C3%BC%20x"
        );
        assert_eq!(target("HTTP://H:80/a%20b%2fc"), "http://h/a%20b%2fc");
        assert_eq!(target("https://bücher.example"), "https://xn--bcher-kva.example/");
        let latin1 = Address::parse(b"http://h/caf\xe9.jpg").unwrap();
        assert_eq!(latin1.request_target(), "http://h/caf%E9.jpg");
    }

    #[test]
    fn a_user_goes_into_the_request_and_not_into_its_target() {
        let address = Address::parse("https://me%40home:p%3Ass@h:8443/a").unwrap();
        assert_eq!(address.request_target(), "https://h:8443/a");
        assert_eq!(address.credentials(), Some((b"me@home".to_vec(), b"p:ss".to_vec())));
        assert_eq!(Address::parse("https://h").unwrap().credentials(), None);
    }

    #[test]
    fn what_is_no_address_of_the_web_is_refused() {
        for text in ["http://", "https:// /", "http://a b/", "ftp://h/a", "a.jpg", "http://h:99999/"] {
            assert!(matches!(Address::parse(text), Err(Fault::Address(_))), "{text}");
        }
    }

    #[test]
    fn a_redirect_may_name_a_host_or_a_path_or_a_neighbour() {
        let from = Address::parse("https://hub.example/a/resolve/main/b?c").unwrap();
        let to = |location: &[u8]| from.join(location).unwrap().request_target();
        assert_eq!(to(b"http://cdn.example/b"), "http://cdn.example/b");
        assert_eq!(to(b"//cdn.example/b"), "https://cdn.example/b");
        assert_eq!(to(b"/api/b c"), "https://hub.example/api/b%20c");
        assert_eq!(to(b"../b"), "https://hub.example/a/resolve/b");
        assert_eq!(to(b"?d"), "https://hub.example/a/resolve/main/b?d");
        assert_eq!(to("/é".as_bytes()), "https://hub.example/%C3%A9");
        assert!(matches!(from.join(b"file:///etc/passwd"), Err(Fault::Redirect { .. })));
    }

    #[test]
    fn a_revision_is_one_part_of_a_path() {
        let hub = Address::parse("https://hub.example/hf/").unwrap();
        let below = hub.below(["a", "b", "resolve", "refs/pr/15", "v1.0-ä_~"]);
        assert_eq!(below.request_target(), "https://hub.example/hf/a/b/resolve/refs%2Fpr%2F15/v1.0-%C3%A4_~");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = Address::parse("https://hub.example/a").unwrap();
        let same = |text: &str| hub.is_same_origin(&Address::parse(text).unwrap());
        assert!(same("https://HUB.example:443/b"));
        assert!(!same("http://hub.example/a"));
        assert!(!same("https://hub.example:8443/a"));
        assert!(!same("https://cdn.hub.example/a"));
    }

    #[test]
    fn a_data_address_holds_its_content() {
        assert_eq!(content_of("data:image/png;base64,SlBF\nRw==").unwrap(), b"JPEG");
        assert_eq!(content_of("DATA:,a%20b%FF").unwrap(), b"a b\xff");
        assert!(content_of("data:image/png;base64").is_err());
        assert!(content_of("data:;base64,*").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_address_is_an_absolute_path_on_this_machine() {
        use std::os::unix::ffi::OsStrExt;
        for text in ["file:///a%20b/c d.jpg", "file:/a%20b/c d.jpg", "FILE://localhost/a b/c%20d.jpg"] {
            assert_eq!(file_of(text).unwrap(), PathBuf::from("/a b/c d.jpg"), "{text}");
        }
        assert_eq!(file_of("file:///caf%E9").unwrap().as_os_str().as_bytes(), b"/caf\xe9");
        for text in ["file:a.jpg", "file://server/a.jpg", "file:", "file:///a?b", "file:///a#b"] {
            assert!(file_of(text).is_err(), "{text}");
        }
    }
}
